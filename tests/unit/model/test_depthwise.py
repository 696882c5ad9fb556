"""The depthwise convolution against torch's own, values and gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from model.layers import depthwise as place
from model.layers.depthwise import Depthwise, depthwise

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


@pytest.mark.parametrize("years", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_the_module_equals_one_of_torch_with_repeating_edges(dilation, years):
    ours = Depthwise(6, dilation=dilation).double()
    theirs = nn.Conv3d(
        6, 6, 3, padding=dilation, dilation=dilation, groups=6, padding_mode="replicate"
    ).double()
    theirs.load_state_dict(ours.state_dict())
    given = [noise(2, 6, years, 9, 8).requires_grad_(True) for _ in range(2)]
    torch.testing.assert_close(ours(given[0]), theirs(given[1]))
    ours(given[0]).square().sum().backward()
    theirs(given[1]).square().sum().backward()
    torch.testing.assert_close(given[0].grad, given[1].grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad)


def test_channels_stay_last_in_memory_from_end_to_end():
    x = noise(1, 4, 2, 8, 8).float().contiguous(memory_format=torch.channels_last_3d).requires_grad_(True)
    y = Depthwise(4)(x)
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    (inner,) = torch.autograd.grad(y.square().sum(), x)
    assert inner.is_contiguous(memory_format=torch.channels_last_3d)
