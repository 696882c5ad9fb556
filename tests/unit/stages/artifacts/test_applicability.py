"""Beside each product lies a map of how unlike its cells are to the training ground."""

import json

import numpy as np
import pytest
import rasterio

from stages.artifacts import field
from stages.artifacts.applicability import draw_reference
from stages.artifacts.cube import Cube
from tests.small_world import build_world


@pytest.fixture
def world(tmp_path):
    """40 x 30 coarse cells, so that the training ground has several spatial blocks."""
    rng = np.random.default_rng(4)
    return build_world(tmp_path, totals=rng.lognormal(3, 1, (1, 1, 40, 30)), sectors=("homes",))


def test_it_says_where_the_map_rests_on_no_example(world):
    cube = Cube.open(world.cube)
    target = np.ones(cube.coarse.shape, bool)
    reference = draw_reference(cube, target, seed=0)
    assert reference == draw_reference(cube, target, seed=0)
    facts = json.loads((world.field / field.FACTS).read_text())
    reference["points"] = [[0.0]]  # as if only cells at the mean had been seen
    reference["threshold"] = 0.5
    (world.field / field.FACTS).write_text(json.dumps({**facts, "reference": reference}))
    maps = world.make_maps()
    with rasterio.open(maps / "heat_applicability.tif") as data:
        index, tags = data.read(1), data.tags()
    layer = cube.covariates(0, 0, *cube.fine.shape)[0, 0].astype(np.float64)
    wanted = np.abs(layer - reference["mean"][0]) / reference["std"][0] / reference["scale"]
    np.testing.assert_allclose(index, wanted, rtol=1e-4, atol=1e-5)
    assert tags["threshold"] == "0.5" and tags["layers"] == "built"
    told = json.loads((maps / "report.json").read_text())["notes"][-1]
    assert told.startswith(f"{(wanted > 0.5).mean():.1%} of the valid cells are unlike")
    assert "heat_applicability.tif" in (maps / "report.html").read_text()


def test_a_map_without_training_ground_has_none(world):
    cube = Cube.open(world.cube)
    assert draw_reference(cube, np.zeros(cube.coarse.shape, bool), seed=0) is None
    assert not list(world.make_maps().glob("*applicability*"))
