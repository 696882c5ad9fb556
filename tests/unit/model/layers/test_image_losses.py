"""The terms of v1.7 by hand, and weights that cannot run to the smallest term."""

import pytest
import torch

from model.layers.losses.image import LearnedWeights, balanced_charbonnier, roughness, ssim_loss


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


EVERY = torch.ones(1, 2, 2, dtype=torch.bool)


def test_sources_and_background_count_half_each_however_few_the_sources():
    truth = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    estimate = torch.tensor([[[0.6, 0.2], [0.2, 0.2]]])
    assert float(balanced_charbonnier(estimate, truth, EVERY)) == pytest.approx((0.4 + 0.2) / 2, abs=1e-5)


def test_where_there_is_no_source_the_background_counts_whole():
    assert float(balanced_charbonnier(0.2 * EVERY, 0.0 * EVERY, EVERY)) == pytest.approx(0.2, abs=1e-5)


def test_a_picture_equal_to_the_truth_costs_nothing():
    truth = noise(2, 20, 20)
    assert float(ssim_loss(truth, truth, truth >= 0)) == pytest.approx(0.0, abs=1e-9)


def test_ssim_of_flat_pictures_by_hand():
    """Without spread SSIM is (2 a b + c1) / (a^2 + b^2 + c1)."""
    ones = torch.ones(1, 16, 16, dtype=torch.float64)
    by_hand = 1 - (2 * 0.2 * 0.8 + 1e-4) / (0.04 + 0.64 + 1e-4)
    assert float(ssim_loss(0.2 * ones, 0.8 * ones, ones > 0)) == pytest.approx(by_hand, rel=1e-6)


def test_roughness_by_hand():
    """Pairs down: 2 and 2, mean of squares 4; across: 1 and 1, mean 1; twice the sum is 10."""
    assert float(roughness(torch.tensor([[[0.0, 1.0], [2.0, 3.0]]]), EVERY)) == pytest.approx(10.0)


@pytest.mark.parametrize("loss", [balanced_charbonnier, lambda e, t, c: roughness(e, c)])
def test_what_is_not_counted_does_not_matter(loss):
    truth, counted = noise(1, 12, 12), torch.ones(1, 12, 12, dtype=torch.bool)
    counted[:, :4] = False
    estimate = noise(1, 12, 12, seed=1)
    changed = estimate.clone()
    changed[:, :4] = 7.0
    assert torch.equal(loss(estimate, truth, counted), loss(changed, truth, counted))


def test_nothing_counted_costs_nothing():
    none = torch.zeros(1, 2, 2, dtype=torch.bool)
    for loss in (balanced_charbonnier, ssim_loss):
        assert torch.isfinite(loss(0.5 * EVERY, 0.1 * EVERY, none))
    assert float(balanced_charbonnier(0.5 * EVERY, 0.1 * EVERY, none)) == 0.0


def learned(weigh, parameters, losses):
    optimiser = torch.optim.Adam(parameters, 0.05)
    for _ in range(500):
        optimiser.zero_grad()
        weigh(losses).backward()
        optimiser.step()


def test_the_plain_softmax_collapses_onto_the_smallest_loss_and_ours_does_not():
    """Three losses that do not change, one a hundredth of the others, as roughness is of the pixel loss."""
    losses = torch.tensor([0.5, 0.4, 0.005])
    theta = torch.nn.Parameter(torch.zeros(3))
    learned(lambda given: 3 * (theta.softmax(0) * given).sum(), [theta], losses)
    assert 3 * theta.softmax(0)[2].item() > 2.99
    ours = LearnedWeights(3)
    learned(ours, ours.parameters(), losses)
    weights = ours.weights().detach()
    assert float(weights.min()) >= 0.6
    assert float(weights.sum()) == pytest.approx(3.0)


def test_even_without_a_floor_no_weight_vanishes():
    ours = LearnedWeights(3, floor=0.0, pull=1.0)
    learned(ours, ours.parameters(), torch.tensor([0.5, 0.4, 0.005]))
    assert float(ours.weights().min()) > 0.3


def test_a_floor_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="5 terms"):
        LearnedWeights(5, floor=0.2)
