"""Every row of METHODS on the same scenes: right shape, never negative, finite, true to the totals shown."""

from dataclasses import replace

import numpy as np
import pytest

from model.ground.blocks import merge
from model.ground.scene import Layer, Tile
from model.ground.survey import Survey
from model.methods import METHODS, method_class

FACTOR = 5
LAYERS = (Layer("built", "share"), Layer("lights", "continuous"), Layer("census", "total", blocky=True))


def ground(rows: int = 4, cols: int = 6, years: int = 2, sectors: int = 2, seed: int = 0) -> Tile:
    """Some built-up ground in every block, one block without mass."""
    rng = np.random.default_rng(seed)
    shape = (rows * FACTOR, cols * FACTOR)
    built = np.where(rng.random(shape) < 0.4, rng.random(shape), 0.0)
    built[::FACTOR, ::FACTOR] = 0.5
    totals = rng.lognormal(3.0, 1.0, (sectors, years, rows, cols))
    totals[..., 0, 1] = 0.0
    layers = np.stack([built, 100.0 * rng.random(shape), np.kron(totals[0, 0], np.ones((FACTOR, FACTOR)))])
    covariates = np.repeat(layers[:, None], years, axis=1).astype(np.float32)
    full = np.ones(totals.shape, bool)
    return Tile(covariates, np.ones(shape, bool), totals, full, np.ones((rows, cols), bool), FACTOR, LAYERS)


def survey(tile: Tile) -> Survey:
    values = tile.covariates.reshape(len(LAYERS), -1).astype(np.float64)
    sums = merge(tile.covariates.astype(np.float64), FACTOR)
    cells = merge(tile.valid.astype(np.int64), FACTOR)
    medians = np.array([np.median(row[row > 0]) for row in values])
    statistics = ((values == 0).mean(1), medians)
    sectors = tuple("abcde"[: tile.totals.shape[0]])
    return Survey(LAYERS, sectors, FACTOR, tile.totals, tile.known, sums, cells, tile.target, *statistics)


def prepared(name: str, tile: Tile):
    """A method ready for use; one that learns gets weights that do something."""
    method = method_class(name)(None)
    method.prepare(survey(tile))
    for phase in method.phases():
        import torch

        method.calibrate([tile])
        generator = torch.Generator().manual_seed(1)
        for turn in phase.turns:
            for weight in turn.network.parameters():
                torch.nn.init.normal_(weight, std=0.1, generator=generator)
    return method


every_method = pytest.mark.parametrize("name", METHODS)


@every_method
@pytest.mark.parametrize(
    ("rows", "cols", "years", "sectors"), [(4, 6, 1, 1), (2, 2, 3, 2), (7, 5, 1, 3), (1, 1, 2, 1)]
)
def test_an_estimate_has_the_shape_of_the_scene_is_finite_and_not_negative(name, rows, cols, years, sectors):
    tile = ground(max(rows, 2), max(cols, 2), years, sectors)
    method = prepared(name, tile)
    scene = ground(max(rows, 2), max(cols, 2), years, sectors, seed=5).scene()
    estimate = method.estimate(scene)
    assert estimate.shape == (sectors, years, *scene.valid.shape)
    assert estimate.dtype == np.float32
    assert np.isfinite(estimate).all()
    assert estimate.min() >= 0.0


@every_method
@pytest.mark.parametrize("group", [1, 2])
def test_an_estimate_meets_the_totals_shown(name, group):
    tile = ground()
    scene = tile.scene(group)
    sums = merge(prepared(name, tile).estimate(scene).astype(np.float64), scene.side)
    np.testing.assert_allclose(sums, scene.totals, rtol=1e-5, atol=1e-9)


@every_method
def test_totals_that_are_not_known_leave_no_trace(name):
    """What the array holds where nothing is known must not matter."""
    tile = ground()
    method = prepared(name, tile)
    known = tile.known.copy()
    known[:, :, 1, 2] = False
    wild = tile.totals.copy()
    wild[:, :, 1, 2] = 1e9
    blank, filled = replace(tile, known=known).scene(), replace(tile, known=known, totals=wild).scene()
    assert np.array_equal(method.estimate(blank), method.estimate(filled))
    assert np.isfinite(method.estimate(blank)).all()


@every_method
@pytest.mark.parametrize("group", [2])
def test_nothing_finer_than_the_totals_shown_reaches_the_estimate(name, group):
    """Moving mass inside a group changes the estimate of a method that sees 1 km totals, and of no other."""
    tile = ground()
    method = prepared(name, tile)
    moved = tile.totals.copy()
    moved[..., 0, 0] += moved[..., 1, 1]
    moved[..., 1, 1] = 0.0
    covariates = tile.covariates.copy()
    first = np.s_[..., :FACTOR, :FACTOR]
    second = np.s_[..., FACTOR : 2 * FACTOR, FACTOR : 2 * FACTOR]
    covariates[2][first] += covariates[2][second]
    covariates[2][second] = 0.0
    other = replace(tile, totals=moved, covariates=covariates)
    before, after = method.estimate(tile.scene(group)), method.estimate(other.scene(group))
    np.testing.assert_allclose(after, before, rtol=1e-5)


@every_method
def test_cells_that_are_not_valid_receive_nothing(name):
    tile = ground()
    tile.valid[:3] = False
    assert not prepared(name, tile).estimate(tile.scene())[..., :3, :].any()


@every_method
def test_the_same_scene_gives_the_same_bytes(name):
    tile = ground()
    method = prepared(name, tile)
    assert method.estimate(tile.scene()).tobytes() == method.estimate(tile.scene()).tobytes()


@every_method
def test_a_method_restored_from_its_state_estimates_the_same(name):
    tile = ground()
    method = prepared(name, tile)
    arrays, plain = method.state()
    again = method_class(name)(None)
    again.load_state(arrays, plain)
    assert again.estimate(tile.scene()).tobytes() == method.estimate(tile.scene()).tobytes()
    assert again.describe() == method.describe()
