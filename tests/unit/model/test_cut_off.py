"""The least an inventory reports in a cell: found in totals that were cut off, and in no others; used exactly."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.cut_off import CutOff
from model.methods.dst_carbon_former import DSTCarbonFormer, Options
from model.sample import Scene, merge, spread
from model.surface import meet_totals

FACTOR = 4


@pytest.fixture
def survey_with(make_tile, make_survey):
    """Survey of the given totals, (h, w), one sector and year."""

    def make(totals):
        totals = np.asarray(totals, float)[None, None]
        survey = make_survey(make_tile(0, factor=FACTOR))
        return replace(survey, sectors=("all",), totals=totals, known=np.ones(totals.shape, bool))

    return make


def fine_field(seed, blocks=60):
    """Lognormal cells, on hardly any of the ground in the west and on nearly all of it in the east."""
    rng = np.random.default_rng(seed)
    side = blocks * FACTOR
    return rng.lognormal(1.0, 1.5, (side, side)) * (rng.random((side, side)) < np.linspace(0, 1, side) ** 2)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_read_off_totals_of_cells_that_were_cut_off(seed, survey_with):
    fine, least = fine_field(seed), 1.5
    cut = np.where(fine >= least, fine, 0.0)
    (found,) = CutOff.of(survey_with(merge(cut, FACTOR))).least
    # No total is smaller than the least; of some hundred blocks with one cell, the smallest comes near it.
    assert least <= found <= 1.05 * least


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_found_in_totals_that_were_not(seed, survey_with):
    assert CutOff.of(survey_with(merge(fine_field(seed), FACTOR))).least == (0.0,)


def test_totals_that_are_alike_are_no_cut_off(survey_with):
    # Every block is full of cells: its total is 16 times what a cell holds, so the smallest total is no cell's.
    rng = np.random.default_rng(0)
    assert CutOff.of(survey_with(rng.uniform(0.9, 1.1, (20, 20)))).least == (0.0,)


def test_totals_that_were_rounded_are_no_cut_off(survey_with):
    rounded = np.round(merge(fine_field(0), FACTOR) / 5.0) * 5.0  # 5, 5, 5, ... 10, 15
    assert np.sum(rounded == 5.0) > 6
    assert CutOff.of(survey_with(rounded)).least == (0.0,)


@pytest.mark.parametrize("totals", [np.zeros((3, 3)), np.eye(5)])
def test_few_totals_tell_nothing(totals, survey_with):
    assert CutOff.of(survey_with(totals)).least == (0.0,)


def test_unknown_totals_are_not_looked_at(survey_with):
    survey = survey_with(np.geomspace(1.0, 1e3, 60).reshape(6, 10).clip(2.0))  # steps of 12 %
    assert CutOff.of(survey).least == (2.0,)
    assert CutOff.of(replace(survey, known=survey.totals > 2.0)).least == (0.0,)


def test_it_can_be_told(survey_with):
    survey = survey_with(np.full((9, 9), 30.0))
    assert CutOff.of(survey, 10.0).least == (10.0,)
    assert CutOff.of(survey, "none").least == (0.0,)


def blocks_of(values):
    """(2, 2) blocks of 4 x 4 cells, with their row and column."""
    for row in range(2):
        for col in range(2):
            yield row, col, values[0, 0, 4 * row : 4 * row + 4, 4 * col : 4 * col + 4]


drawn = {"seed": st.integers(0, 10**6), "least": st.floats(0.01, 5.0), "zeros": st.floats(0, 0.9)}


def drawn_case(seed, zeros, make_scene):
    rng = np.random.default_rng(seed)
    estimate = rng.lognormal(0, 2, (1, 1, 8, 8)) * (rng.random((1, 1, 8, 8)) >= zeros)
    return estimate, make_scene(rng.lognormal(1, 1.5, (1, 1, 2, 2)))


@pytest.mark.parametrize("sparse", [True, False])
@settings(max_examples=60, deadline=None)
@given(**drawn)
def test_a_cell_holds_nothing_or_at_least_that_much(seed, least, zeros, sparse, make_scene):
    estimate, scene = drawn_case(seed, zeros, make_scene)
    out = CutOff((least,), (sparse,), (True,))(estimate, scene)
    for (row, col, made), (*_, given_) in zip(blocks_of(out), blocks_of(estimate), strict=True):
        total = scene.totals[0, 0, row, col]
        untouched = (
            total < least or not given_.any() or given_[given_ > 0].min() * total >= least * given_.sum()
        )
        if untouched:
            assert np.array_equal(made, given_)
            continue
        assert made[made > 0].min() >= least * (1 - 1e-12)
        assert made.sum() == pytest.approx(total, rel=1e-12)
        order = np.argsort(given_, axis=None)
        assert np.all(np.diff(made.ravel()[order]) >= -1e-12 * total)  # never upside down


@settings(max_examples=60, deadline=None)
@given(**drawn)
def test_in_a_sparse_sector_as_many_stay_as_reach_it_unraised(seed, least, zeros, make_scene):
    estimate, scene = drawn_case(seed, zeros, make_scene)
    out = CutOff((least,), (True,), (True,))(estimate, scene)
    for (row, col, made), (*_, given_) in zip(blocks_of(out), blocks_of(estimate), strict=True):
        gone, stays = given_[(made == 0) & (given_ > 0)], given_[made > 0]
        if gone.size:
            total = scene.totals[0, 0, row, col]
            assert made[made > 0] == pytest.approx(stays * total / stays.sum(), rel=1e-9)
            assert gone.max() * total < least * (stays.sum() + gone.max())  # one more would hold too little


def test_elsewhere_cells_are_raised_and_the_others_pay(make_scene):
    estimate = np.zeros((1, 1, 4, 4))
    estimate[0, 0, 0] = [0.5, 1.0, 3.0, 5.5]
    scene = make_scene(np.array([[[[10.0]]]]))
    # 2 each for the first two leave 6 for 3.0 : 5.5, so 3 x 6 / 8.5 = 2.118 stays above 2.
    wanted = [2.0, 2.0, 3.0 * 6.0 / 8.5, 5.5 * 6.0 / 8.5]
    assert CutOff((2.0,), (False,), (True,))(estimate, scene)[0, 0, 0] == pytest.approx(wanted)
    # In a sparse sector 3.0 and 5.5 share all, since 1.0 x 10 / 9.5 is below 2.
    assert CutOff((2.0,), (True,), (True,))(estimate, scene)[0, 0, 0] == pytest.approx(
        [0.0, 0.0, 3.0 * 10.0 / 8.5, 5.5 * 10.0 / 8.5]
    )
    # Of a total of 5, two cells of 2 at most; the smaller one is raised.
    scene = make_scene(np.array([[[[5.0]]]]))
    assert CutOff((2.0,), (False,), (True,))(estimate, scene)[0, 0, 0] == pytest.approx([0.0, 0.0, 2.0, 3.0])


@pytest.mark.parametrize("sparse", [True, False])
def test_equals_stay_together(sparse, make_scene):
    out = CutOff((2.0,), (sparse,), (True,))(np.ones((1, 1, 4, 4)), make_scene(np.array([[[[8.0]]]])))
    assert out == pytest.approx(np.full((1, 1, 4, 4), 0.5))


@pytest.fixture(scope="module")
def make_scene():
    """Scene of blocks of 4 x 4 cells with the given totals, without covariates."""

    def make(totals):
        shape = spread(totals, FACTOR).shape
        return Scene(
            np.zeros((0, *shape[1:]), np.float32),
            np.ones(shape[-2:], bool),
            totals,
            np.ones(totals.shape, bool),
            FACTOR,
            (),
        )

    return make


def test_a_block_whose_total_is_not_known_is_left_as_it_is(make_scene):
    scene = make_scene(np.full((1, 1, 1, 2), 2.0))
    scene = replace(scene, known=np.array([[[[True, False]]]]))
    estimate = np.arange(32.0).reshape(1, 1, 4, 8)
    out = CutOff((1.0,), (True,), (True,))(estimate, scene)
    assert np.array_equal(out[..., 4:], estimate[..., 4:])
    assert np.count_nonzero(out[..., :4]) == 1  # of 27 and 26 the second would get 2 x 26 / 53 < 1


@pytest.mark.parametrize(("share", "sparse"), [(0.1, True), (0.9, False)])
def test_small_totals_tell_how_many_of_the_allowed_cells_are_empty(share, sparse, make_tile, make_survey):
    tile = make_tile(0)
    rng = np.random.default_rng(0)
    inside = tile.covariates[0] > 0  # the cells a base would allow
    mass = np.where(inside & (rng.random(inside.shape) < share), 1.0 + rng.random(inside.shape), 0.0)[None]
    tile = replace(tile, totals=merge(mass, tile.factor))
    cut_off = CutOff.of(replace(make_survey(tile), sectors=("all",)), 1.0)

    def measured(cut_off):
        return cut_off.measured([tile], lambda scene: inside[None].astype(float))

    assert measured(cut_off).sparse == (sparse,)
    assert measured(cut_off).least == (1.0,)
    blunt = replace(cut_off, sharp=(False,))  # nothing is raised to a least that may lie far too high
    assert measured(blunt).least == ((1.0,) if sparse else (0.0,))


def test_the_method_heeds_it_at_the_totals_own_scale_alone(make_tile, make_survey):
    tile = make_tile(0)
    made = {}
    for least in ("none", 3.0):
        method = DSTCarbonFormer(Options(width=8, least=least))
        method.prepare(make_survey(tile))
        method.calibrate([tile])
        made[least] = method.estimate(tile.scene(1))
    inside = spread(tile.totals >= 3.0, tile.factor)
    assert ((made["none"] > 0) & (made["none"] < 1.0) & inside).any()
    assert made[3.0][inside & (made[3.0] > 0)].min() >= 3.0 * (1 - 1e-6)
    assert np.allclose(merge(made[3.0].astype(float), tile.factor), tile.totals, rtol=1e-5)
    merged = tile.fitted(2).scene(2)
    assert np.array_equal(method.estimate(merged), meet_totals(method.base(merged), merged))
