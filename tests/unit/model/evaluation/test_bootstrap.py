"""Intervals come from whole spatial blocks, the same for every method."""

import numpy as np
import pytest

from model.evaluation.bootstrap import Interval, draw_blocks, interval, spatial_blocks


def test_blocks_are_squares_of_coarse_cells_and_the_last_ones_may_be_smaller():
    label, count = spatial_blocks(3, 5, 2)
    assert label.tolist() == [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]] and count == 6


def test_a_draw_takes_as_many_blocks_as_there_are_and_no_empty_one():
    drawn = draw_blocks(np.array([True, False, True, True]), 50, np.random.default_rng(0))
    assert (drawn.sum(axis=1) == 3).all() and (drawn[:, 1] == 0).all()
    assert np.array_equal(
        drawn, draw_blocks(np.array([True, False, True, True]), 50, np.random.default_rng(0))
    )


def test_the_interval_of_a_mean_is_as_wide_as_theory_says():
    """The mean of n independent blocks has standard error s / sqrt(n); 1.96 of them on each side hold 95 %."""
    values = np.random.default_rng(5).normal(10.0, 2.0, 400)
    weights = draw_blocks(np.ones(400, bool), 4000, np.random.default_rng(6))
    found = interval(values.mean(), weights @ values / 400, 400)
    error = values.std() / np.sqrt(400)
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_one_block_or_an_undefined_score_has_no_interval():
    assert interval(0.4, np.full(10, 0.4), 1) == Interval(0.4, None, None)
    assert interval(float("nan"), np.ones(10), 9) == Interval(None, None, None)
    assert not Interval(0.4, None, None).excludes_zero
    assert Interval(0.4, 0.1, 0.5).excludes_zero and not Interval(0.4, -0.1, 0.5).excludes_zero


def test_two_blocks_are_enough_for_an_interval_and_it_is_that_of_the_percentiles():
    # Percentiles 2.5 and 97.5 of 0, 1, ..., 40 are 1 and 39.
    assert interval(20.0, np.arange(41.0), 2) == Interval(20.0, 1.0, 39.0)


def test_no_score_is_a_negative_zero():
    found = interval(-0.0, np.full(5, -0.0), 9)
    assert [np.copysign(1.0, number) for number in (found.value, found.low, found.high)] == [1.0, 1.0, 1.0]
