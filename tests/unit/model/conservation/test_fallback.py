"""The ladder places every block's total somewhere, and says on which level."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.conservation.fallback import FallbackLevel, place
from model.conservation.laws import LAWS, water_fill
from tests.examples import examples

CELLS = 12
estimates = arrays(np.float64, (3, CELLS), elements=st.floats(0, 1e10, allow_subnormal=False))
totals = arrays(np.float64, 3, elements=st.one_of(st.just(0.0), st.floats(1e-9, 1e12)))
masks = arrays(bool, (3, CELLS))


@given(raw=estimates, total=totals, valid=masks, proxy=estimates)
@examples(100)
def test_the_ladder_loses_no_mass_for_any_mask(raw, total, valid, proxy):
    placed = place(raw, total, np.ones(3, bool), valid, proxy, water_fill)
    assert np.nansum(placed.mass, axis=1) == pytest.approx(total, rel=1e-12, abs=0)


def _one(raw, total, valid, proxy=(0.0, 0.0), known=True):
    return place(
        np.array([raw], float),
        np.array([total]),
        np.array([known]),
        np.array([valid]),
        np.array([proxy], float),
        water_fill,
    )


def test_each_rung_of_the_ladder_is_named():
    assert _one([1, 0], 2.0, [True, True]).fallback_levels[0] == FallbackLevel.MODEL
    assert _one([0, 0], 2.0, [True, True], (0, 1)).fallback_levels[0] == FallbackLevel.PROXY
    assert _one([0, 0], 2.0, [True, False]).fallback_levels[0] == FallbackLevel.LAND
    assert _one([1, 1], 2.0, [False, False]).fallback_levels[0] == FallbackLevel.UNIFORM
    assert _one([1, 1], -2.0, [True, True]).fallback_levels[0] == FallbackLevel.SINK
    assert _one([1, 1], 0.0, [True, True]).fallback_levels[0] == FallbackLevel.NOTHING
    assert _one([1, 1], 0.0, [True, True], known=False).fallback_levels[0] == FallbackLevel.OUTSIDE


def test_mas_04_all_mass_of_a_partly_masked_block_lies_in_its_valid_cells():
    placed = _one([3, 3], 4.0, [True, False])
    assert placed.mass[0, 0] == 4.0 and np.isnan(placed.mass[0, 1])


def test_mas_01_a_block_without_mass_is_exactly_zero():
    assert _one([3, 9], 0.0, [True, True]).mass.tolist() == [[0.0, 0.0]]


def test_run_02_an_estimate_that_is_not_a_number_is_counted_and_its_block_still_placed():
    placed = _one([np.nan, np.nan], 4.0, [True, True])
    assert (
        placed.not_finite == 2
        and placed.fallback_levels[0] == FallbackLevel.LAND
        and placed.mass.sum() == 4.0
    )


def test_an_exact_zero_of_the_method_stays_empty_while_the_block_has_another_place():
    # Water-filling alone would lift the second cell: 10 against 1 leaves 4.5 to each.
    assert _one([1.0, 0.0], 10.0, [True, True]).mass.tolist() == [[10.0, 0.0]]


def test_a_sink_is_spread_evenly_and_stays_negative():
    assert _one([5.0, 1.0], -2.0, [True, True]).mass.tolist() == [[-1.0, -1.0]]


@pytest.mark.parametrize("name", sorted(LAWS))
@given(raw=estimates, total=totals, valid=masks, proxy=estimates, known=arrays(bool, 3))
@examples(60)
def test_placed_and_outside_add_up_to_the_input_under_every_law(name, raw, total, valid, proxy, known):
    placed = place(raw, total, known, valid, proxy, LAWS[name](0.5))
    outside = total[placed.fallback_levels == FallbackLevel.OUTSIDE].sum()
    assert np.nansum(placed.mass) + outside == pytest.approx(total.sum(), rel=1e-12, abs=0)
    assert (placed.fallback_levels[~known] == FallbackLevel.OUTSIDE).all()


def test_rungs_keep_the_numbers_that_maps_are_written_with():
    assert [(level.name, int(level)) for level in FallbackLevel] == [
        ("NOTHING", 0), ("MODEL", 1), ("PROXY", 2), ("LAND", 3), ("UNIFORM", 4), ("SINK", 5), ("POINT", 6),
        ("OUTSIDE", 255),
    ]  # fmt: skip


def test_only_valid_cells_are_counted_as_not_finite():
    assert _one([np.nan, np.inf], 4.0, [True, False]).not_finite == 1
    assert _one([1.0, 1.0], 4.0, [True, False]).not_finite == 0


def test_a_sink_without_valid_cells_lies_over_its_whole_block():
    assert _one([5.0, 1.0], -2.0, [False, False]).mass.tolist() == [[-1.0, -1.0]]


def test_a_sink_with_valid_cells_lies_in_them_alone():
    mass = _one([5.0, 1.0], -2.0, [True, False]).mass
    assert mass[0, 0] == -2.0 and np.isnan(mass[0, 1])
