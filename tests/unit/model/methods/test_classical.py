"""What each method that learns nothing does, on maps small enough to see through."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from model.ground.blocks import merge
from model.ground.scene import Layer, Scene, Tile
from model.methods import method_class
from model.methods.classical.proxy_product import FLOOR, rank_correlation


def ground(totals, layers, side: int = 2, valid=None) -> Tile:
    """One sector, one year; layers: name -> (H, W)."""
    totals = np.asarray(totals, float)[None, None]
    shape = tuple(side * size for size in totals.shape[2:])
    values = np.array(list(layers.values()), np.float32).reshape(len(layers), 1, *shape)
    return Tile(
        values, np.ones(shape, bool) if valid is None else valid, totals, np.ones(totals.shape, bool),
        np.ones(totals.shape[2:], bool), side, tuple(Layer(name, "continuous") for name in layers),
    )  # fmt: skip


def estimate(name: str, tile: Tile, make_survey, scene: Scene | None = None) -> np.ndarray:
    method = method_class(name)(None)
    method.prepare(make_survey(tile))
    return method.estimate(scene or tile.scene())[0, 0]


def test_bilinear_puts_a_slope_of_totals_on_a_slope_of_cells(make_survey):
    """Blocks of 16 cells that hold 32, 64, 96: 2, 4, 6 a cell at their centres, 2 more for each block of way."""
    tile = ground([[32.0, 64.0, 96.0]], {"any": np.ones((4, 12))}, side=4)
    middle = estimate("bilinear", tile, make_survey)[:, 4:8]
    np.testing.assert_allclose(middle, np.tile([3.25, 3.75, 4.25, 4.75], (4, 1)), rtol=1e-6)


def test_bilinear_counts_mass_by_valid_cell(make_survey):
    """8 on four cells beside 2 on one: equally dense, so no slope between them."""
    valid = np.ones((2, 4), bool)
    valid[:, 2:] = [[True, False], [False, False]]
    tile = ground([[8.0, 2.0]], {"any": np.ones((2, 4))}, valid=valid)
    np.testing.assert_allclose(estimate("bilinear", tile, make_survey), 2.0 * valid, rtol=1e-6)


def test_the_smooth_surface_leans_towards_the_heavier_neighbour_whatever_the_layers(make_survey):
    totals = [[0.0, 10.0, 100.0]]
    rising, falling = ({"any": np.tile(np.arange(12.0)[::step], (4, 1))} for step in (1, -1))
    found = estimate("pycnophylactic", ground(totals, rising, side=4), make_survey)
    assert (np.diff(found[:, 4:8].sum(0)) > 0).all()
    np.testing.assert_array_equal(
        found, estimate("pycnophylactic", ground(totals, falling, side=4), make_survey)
    )


def test_the_product_multiplies_the_layers_that_rise_with_the_totals(make_survey):
    """Left block: means over the map are 2 and 1, so cells hold sqrt((x / 2 + c)(y / 1 + c)); `far` falls."""
    lights = np.array([[1.0, 3.0, 1.0, 1.0], [4.0, 4.0, 1.0, 1.0]])
    people = np.array([[2.0, 2.0, 0.0, 0.0], [4.0, 0.0, 0.0, 0.0]])
    far = np.array([[0.0, 0.0, 5.0, 5.0], [0.0, 0.0, 5.0, 5.0]])
    tile = ground([[90.0, 10.0]], {"lights": lights, "people": people, "far": far})
    weight = np.sqrt((lights / 2.0 + FLOOR) * (people / 1.0 + FLOOR))[:, :2]
    found = estimate("proxy_product", tile, make_survey)
    np.testing.assert_allclose(found[:, :2], 90.0 * weight / weight.sum(), rtol=1e-6)
    np.testing.assert_allclose(found[:, 2:], 2.5, rtol=1e-6)


def test_the_product_leaves_out_a_cell_only_when_every_layer_does(make_survey):
    lights = np.array([[0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    people = np.array([[0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    tile = ground([[9.0, 0.0]], {"lights": lights, "people": people})
    found = estimate("proxy_product", tile, make_survey)
    assert found[0, 0] == 0.0
    assert found[1, 0] > 0.0


def test_without_a_layer_that_rises_the_product_is_even(make_survey):
    tile = ground([[4.0, 8.0]], {"far": [[2.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]})
    np.testing.assert_allclose(
        estimate("proxy_product", tile, make_survey), [[1, 1, 2, 2], [1, 1, 2, 2]], rtol=1e-6
    )


def test_the_rank_correlation_is_scipys():
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, other = rng.integers(0, 6, (2, 30)).astype(float)
        assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)
    assert rank_correlation(np.ones(5), np.arange(5.0)) == 0.0


@pytest.mark.parametrize(("name", "near"), [("additive_nnls", 1e-5), ("additive_poisson", 0.1)])
def test_an_additive_fit_shares_out_by_the_sum_behind_the_totals(make_survey, name, near):
    """Totals are 3 x houses + 1 x roads; in the first block of four cells that is 3 : 1 : 4 : 0 of 8.

    EM creeps: after 600 rounds some mass still sits on the constant.
    """
    rng = np.random.default_rng(1)
    houses, roads = rng.integers(0, 4, (2, 8, 12)).astype(float)
    houses[:2, :2], roads[:2, :2] = [[1, 0], [1, 0]], [[0, 1], [1, 0]]
    tile = ground(merge(3.0 * houses + roads, 2), {"houses": houses, "roads": roads})
    found = estimate(name, tile, make_survey)
    np.testing.assert_allclose(found[:2, :2], [[3.0, 1.0], [4.0, 0.0]], atol=near)


def test_least_squares_and_poisson_part_where_one_total_is_huge(make_survey):
    """A plant in one block drags least squares along; Poisson weighs it by its size, not by its square."""
    rng = np.random.default_rng(2)
    houses, roads = rng.random((2, 16, 16))
    totals = merge(houses, 2)
    totals[0, 0] += 40.0
    roads[:2, :2] = 1.0
    tile = ground(totals, {"houses": houses, "roads": roads})
    truth = houses / np.kron(merge(houses, 2), np.ones((2, 2))) * np.kron(totals, np.ones((2, 2)))
    wrong = {
        name: np.abs(estimate(name, tile, make_survey) - truth)[2:].sum()
        for name in ("additive_nnls", "additive_poisson")
    }
    assert wrong["additive_poisson"] < wrong["additive_nnls"]


def test_an_intensity_turns_steps_at_the_edges_of_blocks_into_slopes(make_survey):
    """The same houses everywhere, ever more mass: only the intensity can tell the cells of a block apart."""
    tile = ground([[10.0, 20.0, 90.0]], {"houses": np.ones((4, 12))}, side=4)
    flat, bent = (estimate(name, tile, make_survey)[0] for name in ("additive_poisson", "exposure"))
    np.testing.assert_allclose(flat[4:8], 20.0 / 16.0, rtol=1e-6)
    assert np.diff(bent[4:8]).min() > 0.0
    assert bent[8] - bent[7] < flat[8] - flat[7]


@pytest.mark.parametrize("name", ["additive_nnls", "additive_poisson", "exposure", "proxy_product"])
def test_a_layer_as_coarse_as_a_block_is_never_used(make_tile, make_survey, name):
    """The census of this ground equals the totals of one sector: whoever used it would know everything."""
    tile = make_tile(0)
    other = tile.covariates.copy()
    other[2] = np.random.default_rng(0).random(other[2].shape)
    spoilt = replace(tile, covariates=other)
    np.testing.assert_array_equal(
        estimate(name, tile, make_survey), estimate(name, spoilt, make_survey, tile.scene())
    )


@pytest.mark.parametrize("name", ["additive_nnls", "additive_poisson", "exposure"])
def test_the_report_names_the_weight_of_each_layer(make_tile, make_survey, name):
    method = method_class(name)(None)
    method.prepare(make_survey(make_tile(0)))
    weights = method.describe()["weights"]
    assert set(weights) == {"sector0", "sector1"}
    assert set(weights["sector0"]) <= {"built", "age", "every valid cell"}
    assert weights["sector0"]["built"] > 0.0
