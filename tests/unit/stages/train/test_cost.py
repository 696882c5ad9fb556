"""What a training will cost is told before it starts, from steps on ground of the same size."""

from dataclasses import replace

import pytest
import torch

from model.ground.errors import InputError
from model.methods import METHODS
from stages.contract.body import Preview
from stages.tile import stage as tile
from stages.train import cost as rehearsal
from stages.train import stage as train
from stages.train.cost import Sizes, rehearse
from tests.train_settings import section

SIZES = Sizes(layers=3, sectors=2, years=1, factor=4, side=12, halo=2)
QUICK = {"width": 8, "device": "cpu", "years": 1}


def scripted(monkeypatch, seconds, memory):
    """Steps whose cost is known: by the number of tiles."""
    monkeypatch.setattr(
        rehearsal, "measured", lambda step, device: (seconds[step.args[0]], memory[step.args[0]])
    )


def test_cost_grows_by_what_a_second_tile_adds(monkeypatch):
    """1 s and 30 MB for one, 1.5 s and 50 MB for two: three take 2 s and 70 MB.

    Of 230 MB a fifth is spared: 184 - 30 leaves room for 7 more of 20 MB.
    """
    scripted(monkeypatch, {1: 1.0, 2: 1.5}, {1: 30_000_000, 2: 50_000_000})
    cost = rehearse(section(**QUICK, batch_tiles=3), "cpu", SIZES, 230_000_000)
    assert (cost.seconds, cost.memory, cost.fits) == (2.0, 70_000_000, 8)
    assert rehearse(section(**QUICK), "cpu", SIZES, 30_000_000).fits == 0


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.trained_on is not None])
def test_a_step_is_taken_by_every_method_that_learns(method):
    cost = rehearse(section(**QUICK, method=method), "cpu", SIZES, 10**10)
    assert cost.seconds > 0 and cost.fits >= 0


def test_wider_networks_take_more_memory():
    """Activations dominate: 16 times the channels, at least 4 times the memory of a step."""
    torch.set_num_threads(1)
    narrow, wide = (
        rehearse(section(**(QUICK | {"width": width})), "cpu", replace(SIZES, side=24), 10**10)
        for width in (4, 64)
    )
    assert wide.memory > 4 * max(narrow.memory, 1)


def test_check_tells_step_memory_and_the_batch_that_fits(monkeypatch):
    scripted(monkeypatch, {1: 1.0, 2: 1.5}, {1: 30_000_000, 2: 50_000_000})
    preview = Preview(layers=("a", "b", "c"), sectors=("homes",), years=(2012,), factor=4)
    preview = tile.expect(tile.Config(size=48, halo=8), preview, 0)
    assert (preview.tile_side, preview.tile_halo) == (12, 2)
    told = train.expect(section(**QUICK, epochs=2, steps_per_epoch=30), preview, 230_000_000)
    assert told.costs == (
        ("a training step", "2 s and 70 MB on cpu"),
        ("tiles a step", "3 set, 8 would fit"),
        ("training of one network, at most", "60 steps, 2 min"),
    )
    assert told.lines()[-2:] == [
        "tiles a step: 3 set, 8 would fit",
        "training of one network, at most: 60 steps, 2 min",
    ]


def test_of_several_phases_the_costliest_counts_and_their_times_add_up(monkeypatch):
    """SRGAN: 2 epochs of pixels at 1 + 0.5 s a step of two, then 3 with a discriminator at 4 + 2 s.

    Ten steps an epoch: 20 x 1.5 + 30 x 6 = 210 s. Of 100 MB a fifth is spared: (80 - 40) / 20 = 2 more than one.
    """
    calls = []

    def scripted_by_phase(step, device):
        (phase,) = step.func.__self__.phases
        calls.append((phase.name, step.args[0]))
        scale = {"pretrain": 1, "adversarial": 4}[phase.name]
        seconds, memory = {1: (1.0, 10_000_000), 2: (1.5, 15_000_000)}[step.args[0]]
        return scale * seconds, scale * memory

    monkeypatch.setattr(rehearsal, "measured", scripted_by_phase)
    settings = section(
        "srgan", **QUICK, epochs=2, steps_per_epoch=10, batch_tiles=2, adversarial_epochs=3, residual_blocks=1
    )
    cost = rehearse(settings, "cpu", SIZES, 100_000_000)
    assert calls == [("pretrain", 1), ("pretrain", 2), ("adversarial", 1), ("adversarial", 2)]
    assert (cost.seconds, cost.memory, cost.fits) == (6.0, 60_000_000, 3)
    assert (cost.steps, cost.total_seconds) == (50, 210.0)


def test_check_tells_the_cost_of_a_method_that_learns_from_pairs():
    preview = Preview(layers=(), sectors=("rain",), years=(2001, 2002), factor=3, tile_side=6)
    settings = section("srresnet", **QUICK, epochs=2, steps_per_epoch=5, residual_blocks=1)
    told = dict(train.expect(settings, preview, 10**10).costs)
    assert list(told) == ["a training step", "tiles a step", "training of one network, at most"]
    assert told["training of one network, at most"].startswith("10 steps, ")


def test_weights_to_compare_contents_by_that_are_not_there_are_refused(tmp_path):
    settings = section("srgan", **QUICK, content="vgg19", vgg19=str(tmp_path / "absent.pt"))
    with pytest.raises(InputError, match="no such file"):
        rehearse(settings, "cpu", SIZES, 10**10)


def test_a_method_that_learns_nothing_costs_no_steps():
    assert train.expect(train.Config(method="uniform"), Preview(), 0) == Preview()
