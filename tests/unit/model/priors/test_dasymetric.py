"""Exposure finds what totals are made of, at any scale, and a smooth intensity bends it without losing a total."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from model.ground.blocks import merge
from model.ground.scene import Scene
from model.priors.dasymetric import FITS, Evidence, Exposure, gaussian, with_smoothed_ratio

BOTH = pytest.mark.parametrize("how", FITS)


def plain_scene(totals, cells=None, side=2):
    """One sector, one year, no layers."""
    totals = np.asarray(totals, float)[None, None]
    valid = np.ones(tuple(side * size for size in totals.shape[2:]), bool) if cells is None else cells
    return Scene(
        np.zeros((0, 1, *valid.shape), np.float32), valid, totals, np.ones(totals.shape, bool), side, ()
    )


@BOTH
@pytest.mark.parametrize("group", [1, 2, 3])
def test_the_sum_of_layers_behind_the_totals_is_found_at_any_scale(make_tile, make_survey, how, group):
    """Mass is 3 x built + 0.5 x age + 0.1 on every cell, so 16 x 0.1 and the sums on a block of 4 x 4."""
    tile = make_tile(0, sectors=1)
    mass = 3.0 * tile.covariates[0].astype(float) + 0.5 * tile.covariates[1] + 0.1
    tile = replace(tile, totals=merge(mass, tile.factor)[None])
    exposure = Exposure.fit(Evidence.of(make_survey(tile), group), how)
    assert exposure.layers == (0, 1)
    rough = 0.15 if how == "poisson" else 1e-6  # EM creeps towards the optimum
    np.testing.assert_allclose(exposure.weights[0], (3.0, 0.5), rtol=rough)
    np.testing.assert_allclose(exposure(tile.scene(group))[0].sum(), mass.sum(), rtol=1e-2)


@BOTH
def test_cells_and_blocks_hold_the_same_exposure(make_tile, make_survey, how):
    tile = make_tile(1)
    tile.valid[:3, :5] = False
    survey = make_survey(replace(tile, covariates=np.where(tile.valid, tile.covariates, 0.0)))
    exposure = Exposure.fit(Evidence.of(survey), how)
    of_blocks = exposure.of(survey.sums, survey.cells)
    np.testing.assert_allclose(merge(exposure(tile.scene()), tile.factor), of_blocks, rtol=1e-6)


@BOTH
def test_only_known_cells_of_the_training_split_are_looked_at(make_tile, make_survey, how):
    tile = make_tile(2)
    target, known = tile.target.copy(), tile.known.copy()
    target[:, 6:], known[..., 0, :] = False, False
    wild = tile.totals.copy()
    wild[..., 6:] *= 1e6
    wild[..., 0, :] = 7e9
    calm, spoilt = (
        make_survey(replace(tile, totals=totals, known=known, target=target))
        for totals in (tile.totals, wild)
    )
    for group in (1, 2):
        assert Exposure.fit(Evidence.of(calm, group), how) == Exposure.fit(Evidence.of(spoilt, group), how)


def test_a_group_that_is_not_whole_is_left_out(make_tile, make_survey):
    survey = make_survey(make_tile(0))
    evidence = Evidence.of(survey, group=5, start=(1, 0))
    assert evidence.totals.shape[-2:] == (2, 2)
    np.testing.assert_allclose(evidence.totals[0, 0, 0, 0], survey.totals[0, 0, 1:6, :5].sum())
    assert (evidence.cells == 25 * 16).all()


def test_a_sector_without_target_cells_counts_every_known_one(make_tile, make_survey):
    tile = make_tile(0)
    survey = make_survey(replace(tile, target=np.zeros_like(tile.target)))
    assert Evidence.of(survey).counted.all()


@BOTH
def test_without_mass_every_place_is_as_good_as_any(make_tile, make_survey, how):
    tile = make_tile(0)
    empty = replace(tile, totals=np.zeros_like(tile.totals))
    exposure = Exposure.fit(Evidence.of(make_survey(empty)), how)
    assert (exposure(empty.scene()) == 1.0).all()


@BOTH
def test_values_below_zero_count_as_zero_in_blocks_and_cells(make_tile, make_survey, how):
    tile = make_tile(3)
    sunk = tile.covariates.copy()
    sunk[0] -= 5.0 * (sunk[0] == 0.0)
    clipped, below = tile, replace(tile, covariates=sunk)
    survey = replace(make_survey(below), positive_sums=make_survey(clipped).sums)
    exposure = Exposure.fit(Evidence.of(survey), how)
    assert exposure == Exposure.fit(Evidence.of(make_survey(clipped)), how)
    assert np.array_equal(exposure(below.scene()), exposure(clipped.scene()))


def test_a_choice_survives_as_plain_values(make_tile, make_survey):
    exposure = Exposure.fit(Evidence.of(make_survey(make_tile(0))), "poisson")
    assert Exposure.from_json(exposure.plain()) == exposure


@pytest.mark.parametrize(("size", "sigma"), [(30, 2.0), (7, 5.0), (24, 0.5)])
def test_the_smoothing_is_scipys(size, sigma):
    values = np.random.default_rng(0).random((size, 12))
    ours = gaussian(size, sigma) @ values @ gaussian(12, sigma).T
    np.testing.assert_allclose(ours, gaussian_filter(values, sigma, mode="reflect"), rtol=1e-12)


def test_exposure_that_needs_no_bending_stays_as_it_is():
    """Totals that are exposure times 3 everywhere: the intensity is 3, smooth already."""
    exposure = np.random.default_rng(0).random((1, 1, 8, 8))
    scene = plain_scene(3.0 * merge(exposure, 2)[0, 0])
    np.testing.assert_allclose(with_smoothed_ratio(exposure, scene), 3.0 * exposure, rtol=1e-12)


def test_bending_meets_every_total_and_leans_towards_the_heavier_neighbour():
    scene = plain_scene([[0.0, 10.0, 100.0]], side=4)
    bent = with_smoothed_ratio(np.ones((1, 1, 4, 12)), scene)
    np.testing.assert_allclose(merge(bent, 4), scene.totals, rtol=1e-12)
    assert (np.diff(bent[0, 0, 0, 4:8]) > 0.0).all()
    assert bent.min() >= 0.0


def test_a_block_with_mass_and_no_exposure_holds_it_on_valid_ground():
    valid = np.ones((2, 4), bool)
    valid[0, 0] = False
    exposure = np.array([[[[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]]])
    scene = plain_scene([[6.0, 4.0]], valid)
    bent = with_smoothed_ratio(exposure, scene)
    np.testing.assert_allclose(merge(bent, 2), scene.totals, rtol=1e-12)
    assert bent[0, 0, 0, 0] == 0.0


def test_where_nothing_is_known_near_by_the_exposure_stays_as_it_is():
    scene = plain_scene(np.zeros((2, 2)))
    scene = replace(scene, known=np.zeros_like(scene.known))
    exposure = np.arange(16.0).reshape(1, 1, 4, 4)
    assert np.array_equal(with_smoothed_ratio(exposure, scene), exposure)
