"""Point sources and their totals: what is placed, what is too much, what is outside."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.conservation.point_sources import remainder, settle


def test_points_that_fit_stay_whole():
    found = settle(np.array([3.0, 4.0]), np.array([0, 0]), np.array([10.0]), np.array([True]))
    assert found.placed.tolist() == [3.0, 4.0] and found.excess.sum() == found.outside.sum() == 0


def test_points_beyond_the_total_shrink_by_one_factor_and_fill_it():
    found = settle(np.array([6.0, 2.0]), np.array([1, 1]), np.array([9.0, 4.0]), np.array([True, True]))
    assert found.placed.tolist() == [3.0, 1.0] and found.excess.tolist() == [3.0, 1.0]


def test_off_the_map_or_without_a_total_a_point_is_outside():
    found = settle(np.array([6.0, 2.0]), np.array([-1, 1]), np.array([9.0, 0.0]), np.array([True, False]))
    assert found.outside.tolist() == [6.0, 2.0] and found.placed.sum() == 0


def test_a_sink_has_no_room_for_sources():
    found = settle(np.array([6.0]), np.array([0]), np.array([-3.0]), np.array([True]))
    assert found.excess.tolist() == [6.0]


@pytest.mark.parametrize("total", [1.1e-308, 5e-324, 2.0**-1022 * 100.0])
def test_a_total_with_too_few_digits_to_be_shared_has_no_room_for_sources(total):
    """The third is a normal number, but no normal share of 18,235."""
    found = settle(np.array([18_235.0]), np.array([0]), np.array([total]), np.array([True]))
    assert found.placed.tolist() == [0.0] and found.excess.tolist() == [18_235.0]
    assert remainder(np.array([total]), found.placed).tolist() == [total]


def test_the_smallest_normal_total_is_filled_by_sources():
    least = 2.0**-1022
    found = settle(np.array([least, 3 * least]), np.array([0, 0]), np.array([2 * least]), np.array([True]))
    assert found.placed.tolist() == [0.5 * least, 1.5 * least]


@example([(18_235.0, 0)], [1.1e-308, 0.0, 0.0, 0.0], [True] * 4)
@example([(1.0, 0), (1e9, 0)], [1e-300, 0.0, 0.0, 0.0], [True] * 4)
@given(
    st.lists(st.tuples(st.floats(0, 1e9), st.integers(-1, 3)), min_size=1, max_size=40),
    st.lists(st.floats(-1e6, 1e9), min_size=4, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_placed_excess_and_outside_are_all_there_is_and_no_total_is_exceeded(points, totals, known):
    mass, block = np.array([p[0] for p in points]), np.array([p[1] for p in points])
    found = settle(mass, block, np.array(totals), np.array(known))
    assert found.placed + found.excess + found.outside == pytest.approx(mass, rel=1e-12, abs=0)
    sums = np.bincount(np.maximum(block, 0), found.placed * (block >= 0), 4)
    assert (sums <= np.maximum(totals, 0) * (1 + 1e-12)).all()
    assert (remainder(np.array(totals), sums)[sums > 0] >= 0).all()


def test_what_only_rounding_leaves_is_nothing():
    thirds = np.array([0.1 + 0.2])
    assert remainder(np.array([0.3]), thirds).tolist() == [0.0]
    assert remainder(np.array([0.3]), np.array([0.0])).tolist() == [0.3]


def test_what_points_leave_of_a_total_is_shared_out():
    assert remainder(np.array([10.0, 8.0]), np.array([4.0, 0.0])).tolist() == [6.0, 8.0]


def test_a_point_off_the_map_takes_no_room_from_any_block():
    found = settle(np.array([6.0, 50.0]), np.array([0, -1]), np.array([6.0]), np.array([True]))
    assert found.placed.tolist() == [6.0, 0.0] and found.outside.tolist() == [0.0, 50.0]


def test_the_smallest_share_that_keeps_its_digits_is_placed():
    found = settle(np.array([1.0]), np.array([0]), np.array([2.0**-1022]), np.array([True]))
    assert found.placed.tolist() == [2.0**-1022]
