"""The selective scan against its definition, one step at a time in float64."""

import sys
from types import ModuleType

import pytest
import torch

from model.layers.kernels import scan, scan_fused
from model.layers.kernels import scan_numba as scan_compiled
from model.layers.kernels.scan import selective_scan

LENGTHS = (1, 2, 3, 7, 16, 17, 100, 257)


@pytest.fixture(params=["compiled", "plain on a CPU", "plain on a GPU"])
def form(request, monkeypatch):
    """Chunks of few steps, so that short sequences cross their borders too; inside them a loop, or two levels."""
    monkeypatch.setattr(scan, "STEPS", 16)
    if request.param == "compiled":
        monkeypatch.setattr(scan_compiled, "CHANNELS", 2)  # of 3: what blocks of them share is added up
        return
    monkeypatch.setattr(scan, "fastest", lambda: scan.plain_scan)
    if request.param == "plain on a GPU":

        def wide(factors, values, backwards=False):
            order = (factors.flip(0), values.flip(0)) if backwards else (factors, values)
            found = scan._two_level(*order)
            values.copy_(found.flip(0) if backwards else found)

        monkeypatch.setattr(scan, "_recur", wide)


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
def test_the_scan_equals_the_loop_it_stands_for(length, form):
    given = inputs(length)
    exact = by_the_book(*(value.detach().double() for value in given))
    torch.testing.assert_close(selective_scan(*given).double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_gradient_of_the_scan_equals_that_of_the_loop(length, form):
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


def test_a_long_sequence_keeps_far_less_than_its_states():
    """One state in every chunk: a sixteenth of one copy of the states here, whatever backward needs later."""
    u, step, decay, into, out, skip = inputs(4096, width=8)
    kept = 0

    def count(tensor):
        nonlocal kept
        kept += tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        selective_scan(u, step, decay, into, out, skip)
    given = sum(value.numel() for value in (u, u, step, decay, into, out, skip))
    states = 2 * 4096 * 8 * 4
    assert kept - given <= states / 16


def test_the_fast_form_is_the_one_in_use_and_without_its_extra_the_plain_one(monkeypatch):
    assert scan.fastest() is scan_compiled.compiled_scan
    monkeypatch.setitem(sys.modules, "model.layers.kernels.scan_numba", None)  # importing it now fails
    scan.fastest.cache_clear()
    try:
        assert scan.fastest() is scan.plain_scan
    finally:
        scan.fastest.cache_clear()


def test_the_number_of_threads_changes_no_byte():
    drawn, found = [value.detach() for value in inputs(200, width=150)], []
    for threads in (1, 2):
        given, before = [value.clone().requires_grad_(True) for value in drawn], torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            y = selective_scan(*given)
            y.square().sum().backward()
        finally:
            torch.set_num_threads(before)
        found.append([y.detach(), *(value.grad for value in given[:5])])
    assert all(torch.equal(left, right) for left, right in zip(*found, strict=True))


def test_no_shape_is_compiled_anew():
    """Loops compiled for any length, and torch.compile, which gives up after eight shapes, takes no part."""
    from torch._dynamo.utils import counters

    counters.clear()
    for length in range(1, 20):
        selective_scan(*inputs(length, batch=1 + length % 3)).sum().backward()
    assert not counters
    assert len(scan_compiled._forward.signatures) == len(scan_compiled._backward.signatures) == 1


def test_half_precision_is_computed_in_single():
    given = [value.detach() for value in inputs(300)]
    half = [value.bfloat16() for value in given]
    exact = selective_scan(*(value.float() for value in half))
    assert torch.equal(selective_scan(*half), exact.bfloat16())


@pytest.fixture
def kernel(monkeypatch):
    """Puts a module in the place of mamba-ssm and lets the door believe that it serves here."""
    monkeypatch.setattr(scan_fused, "_serves", lambda values: True)
    monkeypatch.setattr(scan_fused, "_broken", [])
    scan_fused._kernel.cache_clear()

    def put(module):
        monkeypatch.setitem(sys.modules, "mamba_ssm", ModuleType("mamba_ssm"))
        monkeypatch.setitem(sys.modules, "mamba_ssm.ops", ModuleType("mamba_ssm.ops"))
        monkeypatch.setitem(sys.modules, "mamba_ssm.ops.selective_scan_interface", module)

    yield put
    scan_fused._kernel.cache_clear()


def test_the_kernel_gets_the_same_weights_with_channels_before_time(kernel):
    module = ModuleType("interface")
    seen = {}

    def selective_scan_fn(u, delta, A, B, C, D):
        seen.update(u=u, A=A, B=B)
        back = [value.transpose(1, 2) for value in (u, delta, B, C)]
        return by_the_book(back[0], back[1], A, back[2], back[3], D).transpose(1, 2)

    module.selective_scan_fn = selective_scan_fn
    kernel(module)
    given = inputs(20)
    torch.testing.assert_close(selective_scan(*given), scan.plain_scan(*given))
    assert (seen["u"].shape, seen["A"].shape, seen["B"].shape) == ((2, 3, 20), (3, 4), (2, 4, 20))


class Broken(ModuleType):
    def __getattr__(self, name):
        raise OSError("libcudart is not there")


def test_a_kernel_that_fails_at_import_means_the_plain_form(kernel):
    kernel(Broken("interface"))
    given = inputs(20)
    assert torch.equal(selective_scan(*given), scan.fastest()(*given))
    assert "libcudart" in scan_fused.why_not_fused()


def test_a_kernel_that_fails_when_called_is_called_once(kernel):
    module, calls = ModuleType("interface"), []

    def selective_scan_fn(*given):
        calls.append(given)
        raise RuntimeError("no kernel image for this device")

    module.selective_scan_fn = selective_scan_fn
    kernel(module)
    given = inputs(20)
    for _ in range(3):
        assert torch.equal(selective_scan(*given), scan.fastest()(*given))
    assert len(calls) == 1
    assert "no kernel image" in scan_fused.why_not_fused()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_scan_on_a_gpu_equals_that_on_the_cpu():
    given = inputs(500)
    there = [value.detach().cuda().requires_grad_(True) for value in given]
    selective_scan(*given).square().sum().backward()
    selective_scan(*there).square().sum().backward()
    for ours, theirs in zip(given, there, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad.cpu(), rtol=1e-4, atol=1e-4)
