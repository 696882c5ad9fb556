"""Without a truth the totals themselves are the truth: merged, downscaled again, compared."""

import json

import numpy as np
import pytest

from stages.artifacts import field
from stages.artifacts.cube import Cube
from stages.contract.run_key import RunKey
from stages.evaluate.experiments import perturb, scale_shift
from stages.formats import zarr_groups as arrays
from tests.small_world import build_world


@pytest.fixture
def rescored(tmp_path):
    """Fields on totals merged 2 x 2; a field is made by `give`, (8, 6) mass of each known coarse cell."""
    world = build_world(
        tmp_path, totals=np.random.default_rng(3).lognormal(3.0, 1.0, (1, 1, 8, 6)), sectors=("homes",)
    )
    merged = tmp_path / "merged"
    merged.mkdir()
    perturb.run(perturb.Config(group=2), cube=world.cube, out=merged)
    totals = Cube.open(world.cube).totals()[0, 0]

    def make(**fields):
        folders = {}
        for name, give in fields.items():
            folder = tmp_path / name
            group = field.lay_out(folder / field.STORE, Cube.open(merged), 20)
            group["mass"][0, 0] = np.kron(give(totals), np.ones((10, 10))) / 100
            (folder / field.FACTS).write_text(json.dumps({"training": {}}))
            arrays.seal(folder / field.STORE)
            folders[RunKey(name, part=2)] = folder
        out = tmp_path / "out"
        out.mkdir()
        scale_shift.run(scale_shift.Config(spatial_block=2), cube=world.cube, fields=folders, out=out)
        return json.loads((out / "scores.json").read_text()), totals

    return make


def even(totals):
    """Each merged total in four equal parts."""
    pairs = totals.reshape(4, 2, 3, 2).mean(axis=(1, 3))
    return np.kron(pairs, np.ones((2, 2)))


def test_a_field_that_returns_the_totals_is_perfect_and_an_even_one_is_not(rescored):
    told, totals = rescored(right=lambda totals: totals, uniform=even)
    share = {row["method"]: row["misallocated_share"] for row in told["rows"]}
    assert share["right"] == pytest.approx(0.0, abs=1e-12)
    assert share["uniform"] == pytest.approx(0.5 * np.abs(even(totals) - totals).sum() / totals.sum())
    assert told["words"][0].startswith("2 x 2 homes 2012: right beats uniform by")


def test_distances_are_those_between_coarse_cells(rescored):
    """Of four cells in a square of 2 km, all mass of the first moved to its neighbour travels 1 km."""

    def to_the_right(totals):
        moved = totals.copy()
        moved[:, 1::2] += moved[:, ::2]
        moved[:, ::2] = 0.0
        return moved

    told, totals = rescored(right=to_the_right)
    row = told["rows"][0]
    assert row["earth_movers_distance"] == pytest.approx(1000.0 * totals[:, ::2].sum() / totals.sum())


def test_the_shift_in_what_layers_tell_is_reported(tmp_path):
    """A layer's spread inside blocks, and between the blocks of a merged one, as numpy finds them."""
    world = build_world(
        tmp_path, totals=np.random.default_rng(3).lognormal(3.0, 1.0, (1, 1, 8, 6)), sectors=("homes",)
    )
    cube = Cube.open(world.cube)
    layer = cube.covariates(0, 0, 80, 60)[0, 0].astype(np.float64)
    means = layer.reshape(8, 10, 6, 10).mean(axis=(1, 3))
    (found,) = scale_shift.layer_statistics(cube, [2])
    assert found.inside == pytest.approx((layer - np.kron(means, np.ones((10, 10)))).std())
    pairs = means.reshape(4, 2, 3, 2).mean(axis=(1, 3))
    assert found.merged[2] == pytest.approx((means - np.kron(pairs, np.ones((2, 2)))).std())
