"""Losses on sums by hand: weights from rarity and unevenness, and the deviance of a Tweedie law."""

from math import log, log1p, sqrt

import numpy as np
import pytest
import torch

from model.layers.losses.aggregate import (
    ZeroStatistics,
    log_sum_loss,
    macro_micro_loss,
    macro_micro_weights,
    tweedie_loss,
)

TOTALS = np.array([[[[1.0, 3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]])
COUNTED = np.ones(TOTALS.shape, bool)


def test_the_statistics_by_hand():
    found = ZeroStatistics.of(TOTALS, COUNTED)
    low, high = log1p(0.5), log1p(1.5)  # in units of the mean, 2
    assert found.unit.tolist() == [2.0]
    assert found.zero_ratio.tolist() == [[3.0]]
    assert found.log_spread[0, 0] == pytest.approx((high - low) / 2 / ((high + low) / 2))


def test_cells_that_do_not_count_leave_the_statistics_alone():
    counted = COUNTED.copy()
    counted[..., 1, :] = False
    assert ZeroStatistics.of(TOTALS, counted).zero_ratio.tolist() == [[1.0]]


def test_no_mass_at_all_gives_finite_statistics():
    found = ZeroStatistics.of(0 * TOTALS, COUNTED)
    assert np.isfinite(found.zero_ratio).all() and np.isfinite(found.log_spread).all()
    assert found.unit.tolist() == [1.0]


def test_the_weight_of_a_cell_by_hand():
    statistics = ZeroStatistics(np.array([[30.0]]), np.array([[2.0]]), np.array([2.0]))
    weights = macro_micro_weights(torch.from_numpy(TOTALS), statistics).flatten()
    assert weights[:3].tolist() == pytest.approx(
        [log(30) * (1 + log1p(0.5)) * 2, log(30) * (1 + log1p(1.5)) * 2, 1.0]
    )


@pytest.mark.parametrize(("ratio", "weight"), [(0.5, 1.0), (1e30, 20.0)])
def test_weights_stay_between_1_and_20(ratio, weight):
    statistics = ZeroStatistics(np.array([[ratio]]), np.array([[1.0]]), np.array([2.0]))
    assert macro_micro_weights(torch.from_numpy(TOTALS), statistics)[0, 0, 0, 1] == weight


@pytest.mark.parametrize("loss", [macro_micro_loss, log_sum_loss, tweedie_loss])
def test_the_totals_themselves_cost_nothing_and_every_change_something(loss):
    statistics = ZeroStatistics.of(TOTALS, COUNTED)
    totals, counted = torch.from_numpy(TOTALS), torch.from_numpy(COUNTED)
    assert float(loss(totals, totals, counted, statistics)) == pytest.approx(0.0, abs=4e-3)
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert float(loss(factor * totals, totals, counted, statistics)) > 5e-3


@pytest.mark.parametrize("loss", [macro_micro_loss, log_sum_loss, tweedie_loss])
def test_losses_on_sums_have_no_unit(loss):
    totals, counted = torch.from_numpy(TOTALS), torch.from_numpy(COUNTED)
    sums = totals.flip(-1) + 0.1
    tonnes = loss(sums, totals, counted, ZeroStatistics.of(TOTALS, COUNTED))
    grams = loss(1e6 * sums, 1e6 * totals, counted, ZeroStatistics.of(1e6 * TOTALS, COUNTED))
    torch.testing.assert_close(grams, tonnes)


def test_the_deviance_of_a_tweedie_law_by_hand():
    """For power 1.5: 4 (sqrt(y) - sqrt(mu))^2 / sqrt(mu)."""
    statistics = ZeroStatistics(np.array([[1.0]]), np.array([[1.0]]), np.array([1.0]))
    totals, sums = torch.full((1, 1, 1, 1), 4.0), torch.full((1, 1, 1, 1), 9.0)
    by_hand = 4 * (sqrt(4) - sqrt(9)) ** 2 / sqrt(9)
    assert float(tweedie_loss(sums, totals, totals > 0, statistics)) == pytest.approx(by_hand, rel=1e-6)


def test_an_estimate_of_zero_where_there_is_mass_stays_finite():
    statistics = ZeroStatistics.of(TOTALS, COUNTED)
    sums = torch.zeros(TOTALS.shape, dtype=torch.float64, requires_grad=True)
    tweedie_loss(sums, torch.from_numpy(TOTALS), torch.from_numpy(COUNTED), statistics).backward()
    assert torch.isfinite(sums.grad).all()
