"""The depthwise convolution against torch's own, values and gradients."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from model.layers.kernels import depthwise as place
from model.layers.kernels import depthwise_numba as depthwise_compiled
from model.layers.kernels.depthwise import Depthwise, depthwise

CASES = [
    ((2, 8, 3, 12, 10), (3, 3, 3), (1, 1, 1), (1, 1, 1)),
    ((1, 5, 1, 7, 9), (3, 3, 3), (2, 2, 2), (2, 2, 2)),
    ((2, 4, 5, 20, 13), (3, 3, 3), (0, 0, 0), (1, 2, 4)),
    ((1, 3, 4, 6, 6), (1, 5, 3), (0, 2, 1), (1, 1, 1)),
]


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("cells", [1, 700, 400_000])
@pytest.mark.parametrize(("shape", "taps", "padding", "dilation"), CASES)
def test_it_equals_the_convolution_of_torch(shape, taps, padding, dilation, cells, monkeypatch):
    """Whatever the number of rows that are worked on at once."""
    monkeypatch.setattr(place, "CELLS", cells)
    channels = shape[1]
    given = [noise(*shape), noise(channels, 1, *taps, seed=1), noise(channels, seed=2)]
    ours, theirs = ([value.clone().requires_grad_(True) for value in given] for _ in range(2))
    here = depthwise(*ours, padding=padding, dilation=dilation)
    there = functional.conv3d(*theirs, padding=padding, dilation=dilation, groups=channels)
    torch.testing.assert_close(here, there)
    weight = noise(*there.shape, seed=3)
    (here * weight).sum().backward()
    (there * weight).sum().backward()
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left.grad, right.grad)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("years", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("kind", [torch.float64, torch.float32])  # by torch, by compiled loops
def test_the_module_equals_one_of_torch_with_repeating_edges(kind, dilation, years, bias, monkeypatch):
    monkeypatch.setattr(
        depthwise_compiled, "RUN", 20
    )  # so that a row of 8 places by 6 channels takes several
    monkeypatch.setattr(depthwise_compiled, "BAND", 4)
    ours = Depthwise(6, dilation=dilation, bias=bias).to(kind)
    settings = {"dilation": dilation, "groups": 6, "padding_mode": "replicate", "bias": bias}
    theirs = nn.Conv3d(6, 6, 3, padding=dilation, **settings).to(kind)
    theirs.load_state_dict(ours.state_dict())
    given = [noise(2, 6, years, 9, 8).to(kind).requires_grad_(True) for _ in range(2)]
    weight = noise(2, 6, years, 9, 8, seed=1).to(kind)
    found = [layer(x) for layer, x in zip((ours, theirs), given, strict=True)]
    torch.testing.assert_close(*found)
    for y in found:
        (y * weight).sum().backward()
    torch.testing.assert_close(given[0].grad, given[1].grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    if bias:
        torch.testing.assert_close(ours.bias.grad, theirs.bias.grad)


def test_the_compiled_loops_pass_the_check_of_gradients():
    x, weight, bias = (noise(*shape, seed=len(shape)) for shape in ((1, 2, 3, 5, 4), (2, 1, 3, 3, 3), (2,)))
    given = [part.requires_grad_(True) for part in (x, weight, bias)]
    assert torch.autograd.gradcheck(lambda *parts: depthwise_compiled.compiled_depthwise(*parts, 2), given)


def test_the_compiled_loops_are_in_use_and_without_their_extra_torch_is(monkeypatch):
    assert place.compiled() is depthwise_compiled.compiled_depthwise
    monkeypatch.setitem(sys.modules, "model.layers.kernels.depthwise_numba", None)  # importing it now fails
    place.compiled.cache_clear()
    layer, x = Depthwise(4), noise(1, 4, 2, 8, 8).float()
    try:
        plain = layer(x)
    finally:
        place.compiled.cache_clear()
    torch.testing.assert_close(layer(x), plain)


def test_the_number_of_threads_changes_no_byte():
    layer, found = Depthwise(5), []
    for threads in (1, 2):
        x, before = noise(2, 5, 2, 40, 30).float().requires_grad_(True), torch.get_num_threads()
        torch.set_num_threads(threads)
        layer.zero_grad()
        try:
            layer(x).square().sum().backward()
        finally:
            torch.set_num_threads(before)
        found.append((x.grad, layer.weight.grad.clone()))
    assert all(torch.equal(left, right) for left, right in zip(*found, strict=True))


def test_channels_stay_last_in_memory_from_end_to_end():
    x = noise(1, 4, 2, 8, 8).float().contiguous(memory_format=torch.channels_last_3d).requires_grad_(True)
    y = Depthwise(4)(x)
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    (inner,) = torch.autograd.grad(y.square().sum(), x)
    assert inner.is_contiguous(memory_format=torch.channels_last_3d)
