"""The parts of the network: what they leave alone at first, and the shapes they work on."""

import pytest
import torch

from model.layers.blocks import Modulation, Years
from model.layers.context import Context
from model.layers.networks.dual_stream import DualStream


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_modulation_passes_the_main_stream_unchanged_at_first():
    main, auxiliary = noise(2, 8, 3, 10, 12), noise(2, 8, 3, 10, 12, seed=1)
    assert torch.equal(Modulation(8)(main, auxiliary), main)


def test_modulation_scales_and_shifts_by_what_the_auxiliary_stream_says():
    layer, main, auxiliary = Modulation(4), noise(1, 4, 1, 5, 5), noise(1, 4, 1, 5, 5, seed=1)
    with torch.no_grad():
        layer.tell.convolution.bias[:4] = 1.0
        layer.tell.convolution.bias[4:] = 3.0
    torch.testing.assert_close(layer(main, auxiliary), main * 2.0 + 3.0)


def test_a_single_year_passes_the_mixing_of_years_unchanged():
    layer = Years(4)
    torch.nn.init.normal_(layer.earlier)
    x = noise(1, 4, 1, 6, 6)
    assert torch.equal(layer(x), x)


def test_a_year_takes_part_of_its_neighbours():
    layer = Years(1)
    with torch.no_grad():
        layer.earlier.fill_(0.5)
    years = torch.tensor([0.0, 10.0, 20.0]).reshape(1, 1, 3, 1, 1)
    assert layer(years).flatten().tolist() == [0.0, 5.0, 15.0]


@pytest.mark.parametrize("years", [1, 2, 3])
def test_the_mixing_of_years_and_its_gradient_equal_the_definition(years):
    layer, x = Years(2).double(), noise(2, 2, years, 3, 2).double().requires_grad_(True)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(1))
    before = torch.cat([x[:, :, :1], x[:, :, :-1]], dim=2)
    after = torch.cat([x[:, :, 1:], x[:, :, -1:]], dim=2)
    torch.testing.assert_close(layer(x), x + layer.earlier * (before - x) + layer.later * (after - x))
    given = (x, layer.earlier, layer.later)
    assert torch.autograd.gradcheck(lambda values, *weights: layer(values), given)


@pytest.mark.parametrize("shape", [(1, 8, 1, 7, 9), (2, 8, 3, 16, 16), (1, 8, 2, 33, 20)])
def test_context_keeps_the_shape_of_any_field(shape):
    assert Context(8, 8)(noise(*shape)).shape == shape


def test_context_carries_news_from_one_corner_to_the_other_in_both_directions():
    layer, x = Context(8, 4).double(), noise(1, 8, 1, 32, 32).double()
    for direction in (layer.forwards, layer.backwards):
        direction.start_steps(torch.Generator().manual_seed(0))
    first, last = x.clone(), x.clone()
    first[..., :4, :4] *= -3.0
    last[..., -4:, -4:] *= -3.0
    with torch.no_grad():
        plain = layer(x)
        assert (layer(first) - plain)[..., -4:, -4:].abs().max() > 0
        assert (layer(last) - plain)[..., :4, :4].abs().max() > 0


@pytest.mark.parametrize("years", [1, 3])
@pytest.mark.parametrize("sectors", [1, 2, 5])
def test_the_untrained_network_changes_nothing(years, sectors):
    network = DualStream(4, sectors, sectors, width=8)
    network.start(torch.Generator().manual_seed(0))
    out = network(noise(2, 4, years, 20, 30), noise(2, sectors, years, 20, 30))
    assert out.shape == (2, sectors, years, 20, 30)
    assert torch.equal(out, torch.zeros_like(out))


def test_first_weights_follow_from_the_generator_alone():
    def weights(seed):
        network = DualStream(4, 2, 2, width=8)
        network.start(torch.Generator().manual_seed(seed))
        return torch.cat([weight.flatten() for weight in network.parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_every_weight_takes_part_once_the_head_speaks():
    network = DualStream(4, 2, 2, width=8)
    network.start(torch.Generator().manual_seed(0))
    torch.nn.init.normal_(network.head.convolution.weight)
    torch.nn.init.normal_(network.modulation.tell.convolution.weight)
    network(noise(1, 4, 2, 24, 24), noise(1, 2, 2, 24, 24)).square().sum().backward()
    silent = [
        name
        for name, weight in network.named_parameters()
        if weight.grad is None or not weight.grad.abs().max() > 0
    ]
    assert silent == []
