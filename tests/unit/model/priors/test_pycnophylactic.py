"""The smooth surface keeps totals, stays non-negative and copes with what is not known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.ground.blocks import merge
from model.ground.scene import Scene
from model.priors.pycnophylactic import Base, bilinear, pycnophylactic, rescale_to_totals, smooth_density
from tests.examples import examples


@examples(40)
@given(
    totals=arrays(np.float64, (2, 3, 4), elements=st.floats(0, 1e9, allow_subnormal=False)),
    parts=st.integers(1, 10),
)
def test_the_smooth_surface_keeps_every_total_and_is_never_negative(totals, parts):
    surface = pycnophylactic(totals, np.ones(totals.shape, bool), parts)
    assert surface.min() >= 0.0
    np.testing.assert_allclose(merge(surface, parts), totals, rtol=1e-9, atol=1e-250)


def test_equal_totals_give_a_flat_surface():
    surface = pycnophylactic(np.full((3, 3), 50.0), np.ones((3, 3), bool), 5)
    np.testing.assert_allclose(surface, 2.0)


def test_mass_leans_towards_the_heavier_neighbour():
    surface = pycnophylactic(np.array([[0.0, 10.0, 100.0]]), np.ones((1, 3), bool), 4)
    middle = surface[:, 4:8].sum(axis=0)
    assert (np.diff(middle) > 0).all()


def test_an_unknown_block_takes_what_its_neighbours_suggest():
    totals = np.array([[8.0, 999.0, 8.0]])
    known = np.array([[True, False, True]])
    np.testing.assert_allclose(pycnophylactic(totals, known, 2), 2.0)


def test_a_map_of_which_nothing_is_known_stays_empty():
    assert not pycnophylactic(np.ones((2, 2)), np.zeros((2, 2), bool), 3).any()


@pytest.mark.parametrize(("block", "side"), [(10, 20), (10, 15), (10, 10), (10, 60), (4, 4)])
def test_reading_a_slope_at_other_places_gives_the_same_slope(block, side):
    pixels = np.tile((np.arange(3 * block) + 0.5) / block, (2 * block, 1))
    fine = bilinear(pixels, block, side)
    assert fine.shape == (2 * side, 3 * side)
    wanted = (np.arange(3 * side) + 0.5) / side
    inner = (wanted > 0.5 / block) & (wanted < 3 - 0.5 / block)
    np.testing.assert_allclose(fine[:, inner], np.tile(wanted[inner], (2 * side, 1)))


def test_density_keeps_the_mass_of_the_map_at_any_size_of_block(make_tile):
    tile = make_tile(0, blocks=12, factor=10)
    for group in (1, 2, 3, 4, 6, 12):
        density = smooth_density(tile.scene(group))
        assert density.sum() == pytest.approx(tile.totals.sum(), rel=0.05)


def test_nothing_lies_outside_the_mask_or_on_invalid_ground(make_tile, make_survey):
    tile = make_tile(0)
    tile.valid[:8] = False
    base = Base.of(make_survey(tile))
    scene = tile.scene()
    outside = ~((tile.covariates[:2] > 0).any(0) & tile.valid)
    assert base.mask_layers == (0, 1)
    assert not base(scene)[:, outside].any()
    assert (base(scene)[:, ~outside] > 0).all()


def test_a_layer_that_is_positive_nearly_everywhere_makes_no_mask(make_tile, make_survey):
    tile = make_tile(0)
    tile.covariates[0] = 1.0
    tile.covariates[0, :, :1] = 0.0
    base = Base.of(make_survey(tile))
    assert base.mask_layers == ()
    assert base.mask(tile.scene()).all()


def test_scaling_meets_known_totals_and_leaves_the_rest(make_tile):
    tile = make_tile(0)
    tile.known[0, 0, 0, 0] = False
    scene = tile.scene()
    estimate = np.ones((2, 2, 48, 48))
    scaled = rescale_to_totals(estimate, scene)
    assert (scaled[0, 0, :4, :4] == 1.0).all()
    np.testing.assert_allclose(
        merge(scaled.astype(float), 4)[scene.known], scene.totals[scene.known], rtol=1e-6, atol=1e-12
    )


def test_a_block_with_mass_but_no_estimate_stays_empty_for_the_ladder():
    one = np.ones((1, 1, 1, 1))
    scene = Scene(np.zeros((0, 1, 2, 2), np.float32), np.ones((2, 2), bool), 5 * one, one > 0, 2, ())
    assert not rescale_to_totals(np.zeros((1, 1, 2, 2)), scene).any()
