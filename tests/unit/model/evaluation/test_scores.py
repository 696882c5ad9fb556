"""Scores add up over tiles and mean what their names say."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import uniform_filter

from model.evaluation.scores import Cuts, Scores
from tests.examples import examples

WHERE = np.ones((2, 2), bool)
TRUTH = np.array([[0.0, 1.0], [3.0, 4.0]])
GUESS = np.array([[1.0, 1.0], [1.0, 5.0]])  # errors 1, 0, 2, 1
CUTS = Cuts.of(lambda: [TRUTH])


def test_scores_of_four_cells_by_hand():
    score = Scores.of(GUESS, TRUTH, WHERE, cuts=CUTS)
    assert score.misallocated_share == pytest.approx(0.5 * 4 / 8)
    assert score.nonzero_mae == pytest.approx(3 / 3)
    assert score.relative_nonzero_mae == pytest.approx(3 / 8)
    assert score.balanced_mae == pytest.approx((3 / 3 + 1 / 1) / 2)  # three cells with truth, one without
    assert score.top_mae(0) == pytest.approx(1.0)  # the 99 % quantile of 1, 3, 4 leaves only the 4
    assert score.top_mae(1) == pytest.approx(1.0)  # so does the 95 % quantile, 3.9
    assert score.r2 == pytest.approx(1 - 6 / 10)  # mean 2, deviations 4 + 1 + 1 + 4
    assert score.false_share == 1.0
    assert (
        score.finish()["hot_spot_precision"] == 1.0
    )  # only the 5 reaches 3.98, and the truth's 4 lies there
    assert score.finish()["hot_spot_recall"] == 1.0


def test_the_cuts_are_quantiles_of_what_is_not_zero():
    assert CUTS.median == 3.0 and CUTS.top_1 == pytest.approx(3 + 0.98) and CUTS.top_5 == pytest.approx(3.9)


def test_the_correlation_of_logarithms_is_the_one_numpy_finds():
    found = Scores.of(GUESS, TRUTH, WHERE).r_log1p
    wanted = np.corrcoef(np.log1p(GUESS).ravel(), np.log1p(TRUTH).ravel())[0, 1]
    assert found == pytest.approx(wanted)


def test_a_hot_spot_in_the_wrong_cell_is_neither_precise_nor_found():
    moved = np.array([[0.0, 4.0], [3.0, 1.0]])
    score = Scores.of(moved, TRUTH, WHERE, cuts=CUTS).finish()
    assert score["hot_spot_precision"] == 0.0 and score["hot_spot_recall"] == 0.0


@examples(50)
@given(values=arrays(np.float64, (2, 60), elements=st.floats(0, 1e6)), cut=st.integers(0, 60))
def test_pooling_parts_equals_scoring_the_whole(values, cut):
    guess, truth = values
    where, cuts = np.ones(60, bool), Cuts.of(lambda: [truth])
    whole = Scores.of(guess, truth, where, cuts=cuts)
    parts = Scores() + Scores.of(guess[:cut], truth[:cut], where[:cut], cuts=cuts)
    parts = parts + Scores.of(guess[cut:], truth[cut:], where[cut:], cuts=cuts)
    for name, value in whole.finish().items():
        assert parts.finish()[name] == pytest.approx(value, rel=1e-6, abs=1e-6, nan_ok=True)


# The same two values in the same cells of estimate and truth: they vary together, so their correlation is 1.
HARDLY_VARYING = np.full((2, 60), 2428.0)
HARDLY_VARYING[:, 0] = 2423.0, 0.0


@examples(50)
@example(values=HARDLY_VARYING, labels=np.zeros(60, np.int64), times=np.ones(5, np.int64))
@given(
    values=arrays(np.float64, (2, 60), elements=st.floats(0, 1e4)),
    labels=arrays(np.int64, 60, elements=st.integers(0, 4)),
    times=arrays(np.int64, 5, elements=st.integers(0, 3)),
)
def test_weighted_labels_equal_scoring_each_cell_that_often(values, labels, times):
    guess, truth = values
    where, cuts = np.ones(60, bool), Cuts.of(lambda: [truth])
    labelled = Scores.of(guess, truth, where, cuts=cuts, labels=labels, count=5)
    drawn = labelled.weighted(times[None].astype(float)).at(0).finish()
    again = np.repeat(np.arange(60), times[labels])
    wanted = Scores.of(guess[again], truth[again], where[again], cuts=cuts).finish()
    for name, value in wanted.items():
        assert drawn[name] == pytest.approx(value, rel=1e-6, abs=1e-6, nan_ok=True), name


def test_cells_that_do_not_count_change_nothing():
    where = np.array([[True, True], [True, False]])
    changed = GUESS.copy()
    changed[1, 1] = np.nan
    assert _same(
        Scores.of(changed, TRUTH, where, cuts=CUTS).finish(),
        Scores.of(GUESS, TRUTH, where, cuts=CUTS).finish(),
    )


def _same(one, other):
    return all(one[name] == pytest.approx(other[name], nan_ok=True) for name in one)


def test_a_perfect_estimate_scores_perfectly():
    score = Scores.of(TRUTH, TRUTH, WHERE, cuts=CUTS)
    assert (score.misallocated_share, score.nonzero_mae, score.top_mae(0), score.r2) == (0.0, 0.0, 0.0, 1.0)
    assert score.false_share == 0.0 and score.r_log1p == pytest.approx(1.0)


def test_nothing_to_score_is_not_a_perfect_score():
    assert all(np.isnan(value) for value in Scores().finish().values())


def test_an_event_one_cell_away_is_missed_at_one_cell_and_nearly_found_at_ten():
    truth, guess = np.zeros((40, 40)), np.zeros((40, 40))
    truth[20, 20], guess[20, 21] = 5.0, 5.0
    found = Scores.of_fractions(guess, truth, np.ones((40, 40), bool), 5.0, slice(0, 40))
    assert found.fraction_skill(0) == 0.0
    # Of the 9 windows of 3 x 3 around each event 6 are shared: (18 - 12) / 18 differ.
    assert found.fraction_skill(1) == pytest.approx(1 - 6 / 18)
    assert found.fraction_skill(2) == pytest.approx(1 - 20 / 200)


def test_fractions_agree_with_an_independent_filter_and_with_any_bands():
    rng = np.random.default_rng(3)
    guess, truth = rng.random((50, 30)), rng.random((50, 30))
    everywhere = np.ones((50, 30), bool)
    whole = Scores.of_fractions(guess, truth, everywhere, 0.5, slice(0, 50))
    shares = [uniform_filter((field >= 0.5).astype(float), 3, mode="constant") for field in (guess, truth)]
    near = uniform_filter(np.ones((50, 30)), 3, mode="constant")
    p, o = (share / near for share in shares)
    assert whole.fraction_skill(1) == pytest.approx(1 - ((p - o) ** 2).sum() / (p**2 + o**2).sum())
    first = Scores.of_fractions(guess[:30], truth[:30], everywhere[:30], 0.5, slice(0, 20))
    second = Scores.of_fractions(guess[10:], truth[10:], everywhere[10:], 0.5, slice(10, 40))
    both = first + second
    assert [both.fraction_skill(index) for index in range(3)] == pytest.approx(
        [whole.fraction_skill(index) for index in range(3)]
    )


def test_values_that_hardly_vary_keep_their_correlation():
    guess, truth = HARDLY_VARYING
    where, labels = np.ones(60, bool), np.arange(60) % 7
    assert Scores.of(guess, truth, where).r_log1p == pytest.approx(1.0, abs=1e-12)
    assert Scores.of(guess, truth, where, labels=labels, count=7).pooled().r_log1p == pytest.approx(
        1.0, abs=1e-12
    )
    parts = Scores.of(guess[:30], truth[:30], where[:30]) + Scores.of(guess[30:], truth[30:], where[30:])
    assert parts.r_log1p == pytest.approx(1.0, abs=1e-12)


def test_a_draw_of_labels_that_are_alike_keeps_its_small_deviations():
    # Label 0 holds 1e6 and 1e6 + 2, label 1 nothing but 0: drawn alone, label 0 spreads by 2.
    truth, labels = np.array([1e6, 1e6 + 2.0, 0.0]), np.array([0, 0, 1])
    scores = Scores.of(truth, truth, np.ones(3, bool), labels=labels, count=2)
    assert scores.weighted(np.array([[1.0, 0.0]])).spread[0] == pytest.approx(2.0, rel=1e-12)
