"""The selective scan against its definition, one step at a time in float64."""

import pytest
import torch

from model.layers.scan import selective_scan

LENGTHS = (1, 2, 3, 7, 16, 17, 100, 257)


def inputs(length, dtype=torch.float32, batch=2, width=3, state=4, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    step = torch.nn.functional.softplus(draw(batch, length, width))
    decay = -torch.exp(draw(width, state) * 0.5)
    values = [
        draw(batch, length, width),
        step,
        decay,
        draw(batch, length, state),
        draw(batch, length, state),
        draw(width),
    ]
    return [value.clone().requires_grad_(True) for value in values]


def by_the_book(u, step, decay, into, out, skip):
    state = torch.zeros(u.shape[0], u.shape[2], decay.shape[1], dtype=u.dtype)
    seen = []
    for t in range(u.shape[1]):
        gone = torch.exp(step[:, t, :, None] * decay)
        state = gone * state + (step[:, t] * u[:, t])[..., None] * into[:, t, None, :]
        seen.append((state * out[:, t, None, :]).sum(-1) + skip * u[:, t])
    return torch.stack(seen, 1)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_scan_equals_the_loop_it_stands_for(length):
    given = inputs(length)
    exact = by_the_book(*(value.detach().double() for value in given))
    torch.testing.assert_close(selective_scan(*given).double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_gradient_of_the_scan_equals_that_of_the_loop(length):
    given = inputs(length)
    exact = [value.detach().double().requires_grad_(True) for value in given]
    weight = torch.randn(2, length, 3, generator=torch.Generator().manual_seed(9))
    (selective_scan(*given) * weight).sum().backward()
    (by_the_book(*exact) * weight.double()).sum().backward()
    for ours, theirs in zip(given, exact, strict=True):
        scale = float(theirs.grad.abs().max()) + 1.0
        torch.testing.assert_close(ours.grad.double() / scale, theirs.grad / scale, rtol=1e-5, atol=1e-5)


def test_a_place_never_sees_what_comes_after_it():
    given = inputs(50)
    before = selective_scan(*given)
    later = [given[0].detach().clone(), *given[1:]]
    later[0][:, 30:] += 5.0
    after = selective_scan(*later)
    assert torch.equal(before[:, :30], after[:, :30])
    assert not torch.equal(before[:, 30:], after[:, 30:])


@pytest.mark.parametrize("size", [1e-8, 1.0, 1e4])
def test_no_step_however_large_or_small_overflows(size):
    u, step, decay, into, out, skip = inputs(500)
    step = (step.detach() * size).requires_grad_(True)
    y = selective_scan(u, step, decay, into, out, skip)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(step.grad).all()
