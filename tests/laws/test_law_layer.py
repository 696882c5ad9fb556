"""The layer learns through the law: its gradient is the closed form, checked against finite differences."""

import pytest
import torch

from model.conservation.torch_layer import project

torch.manual_seed(3)
RAW = torch.rand(20, 7, dtype=torch.float64) * 10
TOTALS = torch.rand(20, dtype=torch.float64) * 40 + 1
SUPPORT = torch.rand(20, 7) < 0.8
SUPPORT[:, :2] = True
WEIGHTS = torch.rand(20, 7, dtype=torch.float64) + 0.3


def leaf(values):
    return values.clone().requires_grad_()


@pytest.mark.parametrize("support", [None, SUPPORT], ids=["everywhere", "masked"])
def test_the_gradient_of_water_filling_agrees_with_finite_differences(support):
    assert torch.autograd.gradcheck(lambda p, s: project(p, s, support), (leaf(RAW), leaf(TOTALS)))


@pytest.mark.parametrize("tightness", [1.0, 0.25], ids=["loose", "tight"])
def test_the_gradient_in_estimate_total_and_weight_agrees_with_finite_differences(tightness):
    def law(p, s, w):
        return project(p, s, SUPPORT, weights=w)

    totals = TOTALS * tightness
    assert torch.autograd.gradcheck(law, (leaf(RAW), leaf(totals), leaf(WEIGHTS)), eps=1e-7, atol=1e-5)


def test_the_layer_gives_the_gradient_of_autograd_through_a_sort():
    def by_sort(raw, totals):
        high = raw.sort(dim=1, descending=True).values
        shifts = (high.cumsum(1) - totals[:, None]) / torch.arange(1, raw.shape[1] + 1)
        last = (high > shifts).sum(1, keepdim=True) - 1
        return (raw - shifts.gather(1, last)).clamp_min(0)

    pull = torch.randn(20, 7, dtype=torch.float64)
    grads = []
    for law in (project, by_sort):
        raw, totals = leaf(RAW), leaf(TOTALS)
        law(raw, totals).backward(pull)
        grads.append((raw.grad, totals.grad))
    torch.testing.assert_close(grads[0], grads[1])


def test_a_step_against_the_gradient_leaves_every_total_met():
    raw = leaf(RAW.float())
    project(raw, TOTALS.float()).pow(2).sum().backward()
    assert raw.grad is not None and raw.grad.dtype == torch.float32
    assert raw.grad.sum(1).abs().max() < 1e-4
    moved = project(raw.detach() - 0.1 * raw.grad, TOTALS.float())
    assert ((moved.double().sum(1) - TOTALS).abs() <= 2e-7 * TOTALS).all()


def test_a_block_without_mass_has_no_gradient():
    raw = leaf(RAW)
    project(raw, torch.zeros(20, dtype=torch.float64)).sum().backward()
    assert raw.grad is not None and (raw.grad == 0).all()


@pytest.mark.parametrize(
    "totals, support, fact",
    [
        (-TOTALS, None, "negative"),
        (TOTALS * float("nan"), None, "not finite"),
        (TOTALS, torch.zeros(20, 7, dtype=torch.bool), "no cell may receive"),
    ],
)
def test_the_layer_refuses_what_cannot_be_met(totals, support, fact):
    with pytest.raises(ValueError, match=fact):
        project(RAW, totals, support)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_gpu_gives_the_same_numbers(kind):
    args = (RAW.to(kind), TOTALS, SUPPORT)
    near = 1e-12 if kind == torch.float64 else 1e-6
    there = project(*(part.cuda() for part in args)).cpu()
    torch.testing.assert_close(there, project(*args), rtol=near, atol=near)
