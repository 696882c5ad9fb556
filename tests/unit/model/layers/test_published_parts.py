"""The parts of the published networks: what each does, on fields small enough to see it."""

import pytest
import torch
from torch.nn import functional

from model.conservation.torch_layer import project
from model.layers.attention import ChannelAttention, GlobalContext
from model.layers.context import Valley
from model.layers.convolutions import ManyScales, Pointwise, Residual, Separable
from model.layers.experts import Experts
from model.layers.frequency import constrain_frequencies, low_pass
from model.layers.fusion import GatedFusion, Sft
from model.layers.zero_head import ZeroHead


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def reach(layer, size=15, years=1):
    """How far around the middle a change there is felt, in cells."""
    x = noise(1, 8, years, size, size).requires_grad_(True)
    middle = layer(x)[:, :, years // 2, size // 2, size // 2].square().sum()
    (felt,) = torch.autograd.grad(middle, x)
    rows = felt.abs().sum((0, 1, 2, 4)).nonzero()[:, 0] - size // 2
    return int(rows.abs().max())


def test_a_pointwise_map_is_a_convolution_of_size_one():
    layer, x = Pointwise(5, 7), noise(2, 5, 3, 4, 6)
    weight = layer.linear.weight[:, :, None, None, None]
    torch.testing.assert_close(layer(x), functional.conv3d(x, weight, layer.linear.bias))


@pytest.mark.parametrize(
    ("build", "channels", "cells"),
    [(Separable, (8, 8), 1), (Residual, (8,), 2), (ManyScales, (8,), 4), (Pointwise, (8, 8), 0)],
)
def test_convolutions_see_as_far_as_they_say(build, channels, cells):
    assert reach(build(*channels)) == cells


def test_a_part_at_three_scales_sees_the_years_beside_its_own():
    layer, x = ManyScales(8), noise(1, 8, 3, 6, 6)
    changed = x.clone()
    changed[:, :, 0] += 1.0
    assert (layer(changed) - layer(x))[:, :, 1].abs().max() > 0


def test_sft_starts_silent_then_scales_and_shifts():
    layer, main, auxiliary = Sft(4), noise(1, 4, 2, 5, 5), noise(1, 4, 2, 5, 5, seed=1)
    assert torch.equal(layer(main, auxiliary), main)
    with torch.no_grad():
        layer.tell.linear.bias[:4], layer.tell.linear.bias[4:] = 1.0, 3.0
    torch.testing.assert_close(layer(main, auxiliary), main * 2 + 3)


@pytest.mark.parametrize(("bias", "which"), [(50.0, 0), (-50.0, 1)])
def test_the_gate_chooses_between_the_streams(bias, which):
    layer, streams = GatedFusion(4), [noise(1, 4, 2, 5, 5, seed=seed) for seed in (0, 1)]
    with torch.no_grad():
        layer.gate.linear.bias.fill_(bias)
    torch.testing.assert_close(layer(*streams), streams[which])


@pytest.mark.parametrize("chosen", [1, 2])
def test_experts_equal_their_definition_place_by_place(chosen):
    layer, x = Experts(4, 3, chosen), noise(2, 4, 1, 3, 5)
    out, routing = layer(x)
    for place in range(5):
        features = x[0, :, 0, 1, place]
        logits = layer.gate(features)
        best = logits.topk(chosen).indices
        weights = logits[best].softmax(0) if chosen > 1 else logits.softmax(0)[best]
        said = sum(
            weight * layer.experts[number](features) for weight, number in zip(weights, best, strict=True)
        )
        torch.testing.assert_close(out[0, :, 0, 1, place], features + said)
        assert routing.where[0, 0, 1, place] == best[0]
    assert float(routing.usage.sum()) == pytest.approx(chosen)


def test_the_balance_is_one_when_experts_share_and_their_number_when_one_takes_all():
    layer, x = Experts(4, 4, 1), noise(1, 4, 1, 40, 40)
    with torch.no_grad():
        layer.gate.weight.copy_(torch.eye(4))
        layer.gate.bias.zero_()
    assert layer(x)[1].balance.item() == pytest.approx(1.0, abs=0.05)
    with torch.no_grad():
        layer.gate.bias[2] = 50.0
    crowded = layer(x)[1]
    assert crowded.balance.item() == pytest.approx(4.0, abs=1e-3)
    assert crowded.usage.tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("chosen", [1, 2])
def test_the_balance_term_spreads_the_work(chosen):
    torch.manual_seed(0)
    layer, x = Experts(4, 4, chosen), noise(1, 4, 1, 30, 30)
    with torch.no_grad():
        layer.gate.bias[0] = 2.0
    before = layer(x)[1].usage.max()
    optimiser = torch.optim.Adam(layer.gate.parameters(), 0.05)
    for _ in range(40):
        optimiser.zero_grad()
        layer(x)[1].balance.backward()
        optimiser.step()
    assert layer(x)[1].usage.max() < 0.75 * before


@pytest.mark.parametrize("chosen", [1, 2])
def test_the_gate_learns_from_the_answer_even_of_a_single_expert(chosen):
    layer = Experts(4, 3, chosen)
    layer(noise(1, 4, 1, 4, 4))[0].square().sum().backward()
    assert layer.gate.weight.grad.abs().max() > 0


def test_channel_attention_damps_and_hears_a_single_hot_cell():
    layer, x = ChannelAttention(8), noise(1, 8, 1, 6, 6)
    ratio = layer(x) / x
    assert float(ratio.min()) > 0 and float(ratio.max()) < 1
    hot = x.clone()
    hot[0, 3, 0, 0, 0], hot[0, 3, 0, 0, 1] = 60.0, x[0, 3, 0, 0, 1] - 60.0 + x[0, 3, 0, 0, 0]
    torch.testing.assert_close(hot.mean((2, 3, 4)), x.mean((2, 3, 4)))
    assert not torch.allclose((layer(hot) / hot)[..., 5, 5], ratio[..., 5, 5])


def test_global_context_adds_the_same_vector_everywhere():
    layer, x = GlobalContext(8), noise(2, 8, 2, 5, 5)
    assert torch.equal(layer(x), x)
    torch.nn.init.normal_(layer.tell.weight)
    added = layer(x) - x
    torch.testing.assert_close(added, added[..., :1, :1, :1].expand_as(added), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 1, 16, 16), (2, 8, 3, 19, 25)])
def test_the_valley_keeps_the_shape_and_hears_across_the_field(shape):
    layer, x = Valley(8, 2).double(), noise(*shape).double()
    changed = x.clone()
    changed[..., :2, :2] *= -3.0
    with torch.no_grad():
        before, after = layer(x), layer(changed)
    assert before.shape == x.shape
    assert (after - before)[..., -2:, -2:].abs().max() > 0


def test_the_mask_passes_six_cycles_in_120_cells_and_no_more():
    mask = low_pass(torch.Size((1, 120, 120)), 1 / 20, 0.0)[0]
    assert mask[0, :8].tolist() == [1, 1, 1, 1, 1, 1, 1, 0]
    soft = low_pass(torch.Size((1, 120, 120)), 1 / 20, 0.5)[0, 0]
    assert float(soft[6]) == pytest.approx(0.5)
    assert torch.all(soft[:-1] >= soft[1:])


@pytest.mark.parametrize("years_cut", [None, 0.25])
def test_slow_waves_come_from_the_coarse_field_and_fast_ones_from_the_estimate(years_cut):
    rows = torch.arange(120.0).double()[:, None].expand(120, 120)

    def wave(cycles):
        return torch.cos(torch.pi * (rows + 0.5) * cycles / 60)[None, None, None].repeat(1, 1, 4, 1, 1)

    estimate, coarse = wave(2) + wave(30), 5 * wave(2) + wave(40)
    out = constrain_frequencies(estimate, coarse, 10, 0.5, years_cut)
    inner = (out - 5 * wave(2) - wave(30))[..., 20:-20, 20:-20]
    assert inner.abs().max() < 0.05


def test_cutting_time_as_well_leaves_what_changes_from_year_to_year():
    years = torch.tensor([1.0, -1.0, 1.0, -1.0]).reshape(1, 1, 4, 1, 1).expand(1, 1, 4, 40, 40)
    flat, zero = years.clone(), torch.zeros(1, 1, 4, 40, 40)
    torch.testing.assert_close(constrain_frequencies(flat, zero, 10, 0.5, None), zero, atol=1e-5, rtol=0)
    torch.testing.assert_close(constrain_frequencies(flat, zero, 10, 0.5, 0.25), flat, atol=1e-5, rtol=0)


def staircase(field, side):
    """How much larger steps across block borders are than steps inside."""
    steps = (field[..., 1:] - field[..., :-1]).abs().mean((0, 1, 2, 3))
    border = torch.arange(1, len(steps) + 1) % side == 0
    return float(steps[border].mean() - steps[~border].mean())


def test_the_staircase_of_the_coarse_grid_is_weaker_with_the_constraint():
    """An estimate that is right in detail and wrong over regions; totals of the truth; then water-filling."""
    side, size = 10, 120
    place = torch.linspace(0, 1, size).double()
    slow = 20 + 10 * torch.sin(7 * place)[:, None] * torch.cos(5 * place)
    detail = functional.avg_pool2d(noise(1, 1, size, size).double(), 3, 1, 1)[0, 0]
    totals = functional.avg_pool2d((slow + detail)[None, None], side)[0, 0]
    coarse = totals.repeat_interleave(side, 0).repeat_interleave(side, 1)[None, None, None]
    estimate = (slow.flip(1) + detail)[None, None, None]

    def projected(field):
        parts = field.reshape(12, side, 12, side).transpose(1, 2).reshape(144, side * side)
        met = project(parts, totals.flatten() * side * side)
        return met.reshape(12, 12, side, side).transpose(1, 2).reshape(1, 1, 1, size, size)

    plain = staircase(projected(estimate), side)
    assert plain > 0.5
    assert staircase(projected(constrain_frequencies(estimate, coarse, side)), side) < 0.5 * plain


def test_the_head_says_exactly_nothing_where_its_gate_is_shut():
    head, x = ZeroHead(4, 2), noise(1, 4, 1, 8, 8)
    assert float(head(x).min()) > 0
    with torch.no_grad():
        head.gate.linear.weight[:, 0] = 10.0
    out = head(x)
    shut, open_ = ((x[:, :1] * sign > 0.5).expand(1, 2, 1, 8, 8) for sign in (-1, 1))
    assert not out[shut].any()
    assert float(out[open_].min()) > 0
