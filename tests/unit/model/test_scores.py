"""Scores add up over tiles and mean what their names say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.scores import Scores

WHERE = np.ones((2, 2), bool)
TRUTH = np.array([[0.0, 1.0], [3.0, 4.0]])
GUESS = np.array([[1.0, 1.0], [1.0, 5.0]])  # errors 1, 0, 2, 1


def test_scores_of_four_cells_by_hand():
    score = Scores.of(GUESS, TRUTH, WHERE)
    assert score.misallocated_share == pytest.approx(0.5 * 4 / 8)
    assert score.nonzero_mae == pytest.approx(3 / 3)
    assert score.relative_nonzero_mae == pytest.approx(3 / 8)
    assert score.top_mae == pytest.approx(1.0)  # the 99 % quantile of 1, 3, 4 leaves only the 4
    assert score.r2 == pytest.approx(1 - 6 / 10)  # mean 2, deviations 4 + 1 + 1 + 4
    assert score.false_share == 1.0


@settings(max_examples=50, deadline=None)
@given(values=arrays(np.float64, (2, 60), elements=st.floats(0, 1e6)), cut=st.integers(0, 60))
def test_pooling_parts_equals_scoring_the_whole(values, cut):
    guess, truth = values
    where = np.ones(60, bool)
    whole = Scores.of(guess, truth, where)
    parts = Scores() + Scores.of(guess[:cut], truth[:cut], where[:cut])
    parts = parts + Scores.of(guess[cut:], truth[cut:], where[cut:])
    for name, value in whole.finish().items():
        assert parts.finish()[name] == pytest.approx(value, rel=1e-6, abs=1e-6, nan_ok=True)


def test_cells_that_do_not_count_change_nothing():
    where = np.array([[True, True], [True, False]])
    changed = GUESS.copy()
    changed[1, 1] = np.nan
    assert Scores.of(changed, TRUTH, where).finish() == Scores.of(GUESS, TRUTH, where).finish()


def test_a_perfect_estimate_scores_perfectly():
    score = Scores.of(TRUTH, TRUTH, WHERE)
    assert (score.misallocated_share, score.nonzero_mae, score.top_mae, score.r2) == (0.0, 0.0, 0.0, 1.0)
    assert score.false_share == 0.0


def test_nothing_to_score_is_not_a_perfect_score():
    assert all(np.isnan(value) for value in Scores().finish().values())
