"""The least an inventory reports in a cell: found in totals that were cut off, and in no others; used exactly."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.ground.blocks import merge
from model.methods.dst_carbon_former.method import DSTCarbonFormer
from model.methods.dst_carbon_former.options import DSTCarbonFormerOptions
from model.priors.reporting_threshold import CROWD, NEAR, ReportingThreshold
from tests.examples import examples

FACTOR = 4
LEAST = 1.5


@pytest.fixture
def survey_with(make_tile, make_survey):
    """Survey of the given totals, (time, h, w) or (h, w), of one sector."""

    def make(totals):
        totals = np.atleast_3d(totals) if np.ndim(totals) == 3 else np.asarray(totals)[None]
        survey = make_survey(make_tile(0, factor=FACTOR))
        totals = totals.astype(float)[None]
        return replace(survey, sectors=("all",), totals=totals, known=np.ones(totals.shape, bool))

    return make


def fine_field(seed, blocks=160):
    """Lognormal cells, on hardly any of the ground in the west and on nearly all of it in the east."""
    rng = np.random.default_rng(seed)
    side = blocks * FACTOR
    return rng.lognormal(1.0, 1.5, (side, side)) * (rng.random((side, side)) < np.linspace(0, 1, side) ** 2)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_read_off_totals_of_cells_that_were_cut_off(seed, survey_with):
    fine = fine_field(seed)
    cut = np.where(fine >= LEAST, fine, 0.0)
    (found,) = ReportingThreshold.of(survey_with(merge(cut, FACTOR))).least
    # No total is smaller than the least; of hundreds of blocks with one cell, the smallest comes near it.
    assert LEAST <= found <= 1.02 * LEAST


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_found_in_totals_that_were_not(seed, survey_with):
    assert ReportingThreshold.of(survey_with(merge(fine_field(seed), FACTOR))).least == (0.0,)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("ratio", [100.0, 3000.0])
def test_the_rim_of_a_smooth_field_is_no_cut_off(noise, ratio, survey_with):
    """There the smallest totals crowd too, and every cell of theirs is full."""
    rng = np.random.default_rng(0)
    side = 50 * FACTOR
    fine = np.geomspace(1.0, ratio, side) * rng.lognormal(0.0, noise + 1e-9, (side, side))
    totals = merge(fine, FACTOR)
    held = np.sort(totals.ravel())
    assert noise > 0.1 or held[CROWD - 1] < 1.05 * held[0]  # they do crowd
    assert ReportingThreshold.of(survey_with(totals)).least == (0.0,)


def test_one_small_block_over_many_years_is_no_crowd(survey_with):
    rng = np.random.default_rng(0)
    totals = rng.lognormal(0.0, 2.0, (20, 20)) * rng.normal(1.0, 0.002, (30, 20, 20))
    assert np.sort(totals.ravel())[CROWD - 1] < 1.05 * totals.min()  # counted year by year they would be one
    assert ReportingThreshold.of(survey_with(totals)).least == (0.0,)


def test_totals_that_are_alike_are_no_cut_off(survey_with):
    # Every block is full of cells: its total is 16 times what a cell holds, so the smallest total is no cell's.
    rng = np.random.default_rng(0)
    assert ReportingThreshold.of(survey_with(rng.uniform(0.9, 1.1, (20, 20)))).least == (0.0,)


def test_totals_that_were_rounded_are_no_cut_off(survey_with):
    rounded = np.round(merge(fine_field(0), FACTOR) / 2.0) * 2.0  # 2, 2, 2, ... 4, 6
    assert np.sum(rounded == 2.0) > CROWD and rounded[rounded > 0].mean() > 2.0 / 0.05
    assert ReportingThreshold.of(survey_with(rounded)).least == (0.0,)


@pytest.mark.parametrize("totals", [np.zeros((3, 3)), np.eye(5)])
def test_few_totals_tell_nothing(totals, survey_with):
    assert ReportingThreshold.of(survey_with(totals)).least == (0.0,)


def test_unknown_totals_are_not_looked_at(survey_with):
    fine = fine_field(0)
    survey = survey_with(merge(np.where(fine >= LEAST, fine, 0.0), FACTOR))
    (found,) = ReportingThreshold.of(survey).least
    assert found > 0.0
    assert ReportingThreshold.of(replace(survey, known=survey.totals > 3.0 * found)).least != (found,)
    assert ReportingThreshold.of(replace(survey, known=np.zeros_like(survey.known))).least == (0.0,)


def test_it_can_be_told(survey_with):
    survey = survey_with(np.full((9, 9), 30.0))
    assert ReportingThreshold.of(survey, 10.0).least == (10.0,)
    assert ReportingThreshold.of(survey, "none").least == (0.0,)


def drawn_case(seed, zeros):
    """Estimate and totals of two sectors, two years and 3 x 2 blocks of 4 x 4 cells."""
    rng = np.random.default_rng(seed)
    shape = (2, 2, 12, 8)
    estimate = rng.lognormal(0, 2, shape) * (rng.random(shape) >= zeros)
    return estimate, rng.lognormal(1, 1.5, (2, 2, 3, 2))


def blocks_of(estimate, made, totals):
    """Estimate, result and total of every block, with its sector."""
    for sector, year, row, col in np.ndindex(totals.shape):
        cells = np.s_[sector, year, 4 * row : 4 * row + 4, 4 * col : 4 * col + 4]
        yield sector, estimate[cells], made[cells], totals[sector, year, row, col]


drawn = {"seed": st.integers(0, 10**6), "zeros": st.floats(0, 0.9)}
some_least = st.tuples(st.floats(0.01, 5.0), st.floats(0.01, 5.0))


@pytest.mark.parametrize("sparse", [(True, False), (False, True)])
@examples(40)
@given(**drawn, least=some_least)
def test_a_cell_holds_nothing_or_at_least_that_much(seed, zeros, least, sparse):
    estimate, totals = drawn_case(seed, zeros)
    out = ReportingThreshold(least, sparse)(estimate, totals, np.ones(totals.shape, bool))
    for sector, given_, made, total in blocks_of(estimate, out, totals):
        small = given_[given_ > 0].min(initial=np.inf) * total < least[sector] * given_.sum()
        if total < least[sector] or not small:
            assert np.array_equal(made, given_)
            continue
        assert made[made > 0].min() >= least[sector] * (1 - 1e-12)
        assert made.sum() == pytest.approx(total, rel=1e-12)
        order = np.argsort(given_, axis=None)
        assert np.all(np.diff(made.ravel()[order]) >= -1e-12 * total)  # never upside down


@examples(40)
@given(**drawn, least=some_least)
def test_in_a_sparse_sector_as_many_stay_as_come_near_it(seed, zeros, least):
    estimate, totals = drawn_case(seed, zeros)
    out = ReportingThreshold(least, (True, True))(estimate, totals, np.ones(totals.shape, bool))
    for sector, given_, made, total in blocks_of(estimate, out, totals):
        gone, stays = given_[(made == 0) & (given_ > 0)], given_[made > 0]
        if gone.size:
            near = NEAR * least[sector]
            assert stays.min() * total >= near * stays.sum() * (1 - 1e-12)
            too_small = gone.max() * total < near * (stays.sum() + gone.max())
            assert too_small or (stays.size + 1) * least[sector] > total  # one more would not do


def one_block(least, sparse, cells, total):
    estimate = np.zeros((1, 1, 4, 4))
    estimate[0, 0, 0, : len(cells)] = cells
    out = ReportingThreshold((least,), (sparse,))(
        estimate, np.full((1, 1, 1, 1), total), np.ones((1, 1, 1, 1), bool)
    )
    return out[0, 0, 0, : len(cells)]


def test_elsewhere_cells_are_raised_and_the_others_pay():
    cells = [0.5, 1.0, 3.0, 5.5]
    # 2 each for the first two leave 6 for 3.0 : 5.5, so 3 x 6 / 8.5 = 2.118 stays above 2.
    assert one_block(2.0, False, cells, 10.0) == pytest.approx([2.0, 2.0, 3.0 * 6.0 / 8.5, 5.5 * 6.0 / 8.5])
    # In a sparse sector 3.0 and 5.5 share all, since 1.0 x 10 / 9.5 is below 0.7 x 2.
    assert one_block(2.0, True, cells, 10.0) == pytest.approx([0.0, 0.0, 3.0 * 10.0 / 8.5, 5.5 * 10.0 / 8.5])
    # Of a total of 5, two cells of 2 at most; the smaller one is raised.
    assert one_block(2.0, False, cells, 5.0) == pytest.approx([0.0, 0.0, 2.0, 3.0])


@pytest.mark.parametrize("sparse", [True, False])
def test_equals_stay_together(sparse):
    assert one_block(2.0, sparse, [1.0] * 4, 6.0) == pytest.approx([1.5] * 4)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_block_without_a_total_or_with_a_cell_not_finite_is_left_as_it_is(odd):
    estimate = np.arange(48.0).reshape(1, 1, 4, 12)
    estimate[0, 0, 0, 11] = odd
    totals, known = np.full((1, 1, 1, 3), 2.0), np.array([[[[True, False, True]]]])
    out = ReportingThreshold((1.0,), (True,))(estimate, totals, known)
    assert np.array_equal(out[..., 4:], estimate[..., 4:], equal_nan=True)
    # Of 39, 38 and 37 the second would get 2 x 38 / 77, near 1, so it is raised; a third does not fit.
    assert out[0, 0, 3, 2:4] == pytest.approx([1.0, 1.0]) and np.count_nonzero(out[..., :4]) == 2


@pytest.mark.parametrize(("share", "sparse"), [(0.1, True), (0.9, False)])
def test_small_totals_tell_how_many_of_the_allowed_cells_are_empty(share, sparse, make_tile, make_survey):
    tile = make_tile(0)
    rng = np.random.default_rng(0)
    inside = tile.covariates[0] > 0  # the cells a base would allow
    mass = np.where(inside & (rng.random(inside.shape) < share), 1.0 + rng.random(inside.shape), 0.0)[None]
    tile = replace(tile, totals=merge(mass, tile.factor))
    cut_off = ReportingThreshold.of(replace(make_survey(tile), sectors=("all",)), 1.0)
    assert cut_off.measured([tile], lambda scene: inside[None].astype(float)).sparse == (sparse,)


def test_large_totals_do_not_tell_it(make_tile, make_survey):
    """Blocks that hold a hundred times the least would say that every cell can be filled."""
    tile = make_tile(0)
    inside = np.ones_like(tile.covariates[0])
    totals = np.where(np.arange(12)[:, None] < 2, 1.5, 100.0) * np.ones((1, 2, 12, 12))
    tile = replace(tile, totals=totals)
    cut_off = ReportingThreshold.of(replace(make_survey(tile), sectors=("all",)), 1.0)
    assert cut_off.measured([tile], lambda scene: inside[None]).sparse == (True,)


def test_the_method_heeds_it_once_seams_are_blended(make_tile, make_survey):
    tile = make_tile(0)
    method = DSTCarbonFormer(DSTCarbonFormerOptions(width=8, reporting_threshold=3.0))
    method.prepare(make_survey(tile))
    method.calibrate([tile])
    rng = np.random.default_rng(0)
    estimate = method.estimate(tile.scene(1)) * rng.uniform(1.0, 1.01, tile.valid.shape)  # no equals
    inside = np.kron(tile.totals >= 3.0, np.ones((tile.factor, tile.factor), bool))
    assert ((estimate > 0) & (estimate < 1.0) & inside).any()
    made = method.finish(estimate, tile.totals, tile.known)
    assert made[inside & (made > 0)].min() >= 3.0 * (1 - 1e-12)
    method.forget_threshold()
    assert np.array_equal(method.finish(estimate, tile.totals, tile.known), estimate)
