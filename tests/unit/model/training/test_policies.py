"""What the loop does around a step: pace, precision, numbers that are not finite, memory that ends."""

from concurrent.futures import wait
from dataclasses import replace
from time import sleep

import numpy as np
import pytest
import torch

from model.ground.errors import NumberError, ResourceError
from model.methods.classical.smooth_mask import SmoothMask
from model.methods.dst_carbon_former.method import DSTCarbonFormer
from model.methods.dst_carbon_former.options import DSTCarbonFormerOptions, V17Options, V30Options
from model.methods.dst_carbon_former.published import V17, V30
from model.training.phase import Keep, Optim, OptimisationStep, Phase
from model.training.policy import HALVE_AFTER, SKIPS_IN_A_ROW, USUAL, Policy
from model.training.protocol import StepNews
from model.training.sampler import ReadAhead, TileData
from model.training.schedule import ONE_CYCLE, Schedule
from model.training.trainer import Trainer
from tests.train_settings import told, totals_trainer


class Memory:
    """Keeps the state as the loop hands it over."""

    def __init__(self) -> None:
        self.state = None

    def save(self, state, epoch=None, best=False):
        self.state = ({name: array.copy() for name, array in state[0].items()}, state[1])

    def load(self):
        return self.state


class Line(SmoothMask):
    """One weight that is to become what the tiles hold on average; the loss of a call may be spoilt."""

    def __init__(
        self, steps=4, batch=4, spoilt=(), tiles_that_fit=99, clip=1e9, schedule=ONE_CYCLE, epochs=1
    ):
        super().__init__()
        self.network = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.ones_(self.network.weight)
        self.steps, self.batch, self.spoilt, self.fit, self.clip = steps, batch, spoilt, tiles_that_fit, clip
        self.schedule, self.epochs = schedule, epochs
        self.calls, self.seen, self.slopes = 0, [], []

    def phases(self):
        turn = OptimisationStep("only", self.network, self.loss, lambda: {"square": 3.0})
        optim = Optim(0.1, max_grad_norm=self.clip, schedule=self.schedule)
        return (Phase("line", self.epochs, self.steps, self.batch, (turn,), optim),)

    def loss(self, tiles, generator):
        if len(tiles) > self.fit:
            raise torch.OutOfMemoryError(f"out of memory with {len(tiles)} tiles")
        self.calls += 1
        self.seen.append(len(tiles))
        self.slopes.append(self.network.weight.item())
        held = torch.tensor([[tile.totals.sum() / 500.0] for tile in tiles], dtype=torch.float32)
        loss = (self.network(torch.ones_like(held)) - held).square().mean()
        return loss * float("nan") if self.calls in self.spoilt else loss

    def candidates(self, scene):
        even = scene.totals.repeat(scene.side, -1).repeat(scene.side, -2) / scene.side**2
        return {"even": even}

    def choose(self, name):
        pass


def learned(method, training, validation, policy=USUAL, **how):
    told, notes = [], []
    trainer = totals_trainer(
        method, training, validation, (2,), 7, Memory(),
        report=told.append, note=notes.append, policy=policy, **how,
    )  # fmt: skip
    return trainer.run(), told, notes


def test_the_learning_rate_rises_then_falls_to_almost_nothing():
    rates = [ONE_CYCLE.pace(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 25)
    assert max(rates) == rates[30] == pytest.approx(1.0)
    assert rates[99] < 0.002


def test_a_cosine_warms_up_along_a_line_and_ends_near_nothing():
    """Ten steps up: 0.1, 0.2, ... 1; half-way down, at step 10 + 45, half of it is left."""
    rates = [Schedule("cosine", 0.1).pace(step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[10] == 1.0 and rates[55] == pytest.approx(0.5)
    assert rates[99] == pytest.approx((1 + np.cos(np.pi * 89 / 90)) / 2)


def test_a_plateau_halves_the_rate_each_time_validation_stands_still(
    training_plan, validation_plan, monkeypatch
):
    """Scores 1, then worse for four validations: halved after the second and the fourth."""
    assert HALVE_AFTER == 2
    plateau = Schedule("plateau", 0.0)
    assert [plateau.pace(50, 100, halvings) for halvings in range(3)] == [1.0, 0.5, 0.25]
    scores = iter([{"a": value} for value in (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6)])
    monkeypatch.setattr("model.training.validation.candidate_scores", lambda *_: next(scores))
    method = Line(steps=1, schedule=plateau, epochs=6)
    _, told, _ = learned(method, training_plan, validation_plan)
    assert [news.rate for news in told] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])


def test_a_step_that_is_not_finite_is_left_out_and_counted(training_plan, validation_plan):
    method = Line(spoilt=(2,), schedule=Schedule("plateau", 0.0))
    progress, told, notes = learned(method, training_plan, validation_plan, Policy(not_finite="skip"))
    assert (progress.skipped, progress.total) == (1, 4)
    assert [news.skipped for news in told] == [0, 1, 1, 1]
    assert len(notes) == 1 and "step 2, tile " in notes[0] and "built" in notes[0]
    assert method.slopes[1] == method.slopes[2]  # nothing was learned from the second step
    assert progress.history[-1]["skipped"] == 1


def test_many_in_a_row_are_no_accident(training_plan, validation_plan):
    method = Line(steps=30, spoilt=range(3, 99))
    with pytest.raises(NumberError) as caught:
        learned(method, training_plan, validation_plan, Policy(not_finite="skip"))
    assert caught.value.where.startswith(f"train: step {3 + SKIPS_IN_A_ROW}, tile ")


def test_a_gradient_that_is_not_finite_stops_although_the_loss_is(training_plan, validation_plan):
    """The square root of |w - w| is 0, and its slope there is not a number."""
    method = Line()
    weight = method.network.weight
    method.loss = lambda tiles, generator: (weight - weight.detach()).abs().sqrt().sum() * 0 + weight.sum()
    with pytest.raises(NumberError, match="norm nan"):
        learned(method, training_plan, validation_plan)
    assert weight.item() == 1.0


def test_accumulated_batches_make_the_step_of_one_large_batch(training_plan, validation_plan):
    large, small = Line(batch=6), Line(batch=2)
    learned(large, training_plan, validation_plan)
    learned(small, training_plan, validation_plan, Policy(accumulate=3))
    assert set(large.seen) == {6} and set(small.seen) == {2}
    assert len(small.seen) == 3 * len(large.seen)
    assert small.network.weight.item() == pytest.approx(large.network.weight.item(), rel=1e-6)


def test_where_memory_ends_the_batch_is_halved_and_that_is_said(training_plan, validation_plan):
    whole, cramped = Line(batch=4), Line(batch=4, tiles_that_fit=1)
    learned(whole, training_plan, validation_plan)
    progress, _, notes = learned(cramped, training_plan, validation_plan)
    assert progress.parts == 4 and set(cramped.seen) == {1}
    assert [note.split("; ")[0] for note in notes] == [
        "train: step 1: memory ran out with 4 items at once",
        "train: step 1: memory ran out with 2 items at once",
    ]
    assert "goes on with 1" in notes[1] and "still sees 4" in notes[1]
    assert cramped.network.weight.item() == pytest.approx(whole.network.weight.item(), rel=1e-6)


class Normed(Line):
    """Its network counts the batches it has seen in training, and runs before memory ends."""

    def __init__(self, **how):
        super().__init__(**how)
        self.network = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.Linear(1, 1, bias=False))
        self.tracked = []

    def loss(self, tiles, generator):
        held = torch.tensor([[tile.totals.sum() / 500.0] for tile in [*tiles, *tiles]], dtype=torch.float32)
        made = self.network(held)
        if len(tiles) > self.fit:
            raise torch.OutOfMemoryError(f"out of memory with {len(tiles)} tiles")
        self.calls += 1
        self.tracked.append(self.network[0].num_batches_tracked.item())
        loss = (made - held).square().mean()
        return loss * float("nan") if self.calls in self.spoilt else loss


def test_a_step_left_out_leaves_no_trace_in_the_running_means_of_batches(training_plan, validation_plan):
    method = Normed(steps=3, spoilt=(2,))
    learned(method, training_plan, validation_plan, Policy(not_finite="skip"))
    assert method.tracked == [1, 2, 2]  # the third step is the second that counts


def test_a_batch_taken_again_for_want_of_memory_is_counted_once(training_plan, validation_plan):
    method = Normed(steps=1, batch=4, tiles_that_fit=2)
    learned(method, training_plan, validation_plan)
    assert method.tracked == [1, 2]  # its two halves, and not the whole before them


def test_the_best_state_of_a_phase_that_keeps_its_last_is_told_once(training_plan, validation_plan):
    """Scores by hand: 4 before, 3 kept, then 1 and 2, both below what the phase before kept; 2 is no new best."""
    scores = iter([4.0, 3.0, 1.0, 2.0])

    class Store(Memory):
        def __init__(self):
            super().__init__()
            self.best = []

        def save(self, state, epoch=None, best=False):
            self.best.append(best)

    class Second(Line):
        def phases(self):
            (first,) = super().phases()
            second = replace(first, name="second", epochs=2, keep=Keep(best=False))
            return replace(first, name="first", epochs=1), second

    store = Store()
    trainer = Trainer(Second(steps=1), TileData(training_plan, 7), lambda: {"even": next(scores)}, store)
    trainer.run()
    assert store.best == [True, True, False]


def test_memory_too_small_for_a_single_tile_is_a_fault_that_says_what_to_try(training_plan, validation_plan):
    with pytest.raises(ResourceError) as caught:
        learned(Line(batch=2, tiles_that_fit=0), training_plan, validation_plan)
    assert caught.value.code == 6
    assert "single item" in caught.value.found and "train.method.width" in caught.value.fix


def test_another_error_of_the_library_is_not_taken_for_memory(training_plan, validation_plan):
    method = Line()
    method.loss = lambda tiles, generator: torch.ones(2) @ torch.ones(3)
    with pytest.raises(RuntimeError, match="size"):
        learned(method, training_plan, validation_plan)


def test_each_step_is_told_with_its_terms_and_the_share_of_waiting(training_plan, validation_plan):
    _, told, _ = learned(Line(steps=3), training_plan, validation_plan)
    news = told[-1]
    assert isinstance(news, StepNews)
    assert (news.done, news.total, news.terms) == (3, 3, {"square": 3.0})
    assert 0.0 <= news.waiting < 1.0
    assert [each.rate for each in told] == [0.1 * ONE_CYCLE.pace(step, 3) for step in range(3)]


def test_slow_tiles_show_in_the_share_of_waiting(training_plan, validation_plan, monkeypatch):
    """Four tiles of 20 ms for a step of far less: most of the time is waiting, although they are read ahead."""
    read = type(training_plan).__getitem__

    def slowly(plan, index):
        sleep(0.02)
        return read(plan, index)

    monkeypatch.setattr(type(training_plan), "__getitem__", slowly)
    _, told, _ = learned(Line(), training_plan, validation_plan)
    assert 0.5 < told[-1].waiting < 1.0


def test_tiles_are_read_while_the_step_before_is_computed(training_plan):
    """What the next step needs is there without being asked for, and is what it would have been anyway."""
    asked = []

    class Watched:
        mass = training_plan.mass

        def __len__(self):
            return len(training_plan)

        def __getitem__(self, index):
            asked.append(index)
            return training_plan[index]

    draws, alone = ReadAhead(TileData(Watched(), 7)), ReadAhead(TileData(training_plan, 7))
    draws.at(0, 3, more=True)
    wait(draws._ahead.values(), timeout=10)
    assert len(asked) == 6
    ahead = draws.at(1, 3, more=False)
    assert len(asked) == 6
    without = alone.at(1, 3, more=False)
    assert ahead.seed == without.seed
    assert ahead.names == without.names == tuple(f"tile {number}" for number in asked[3:])


def test_an_error_while_reading_ahead_is_told_by_the_step_that_needs_the_tiles(training_plan):
    class Torn:
        mass = training_plan.mass
        reads = 0

        def __len__(self):
            return len(training_plan)

        def __getitem__(self, index):
            Torn.reads += 1
            if Torn.reads > 2:
                raise OSError("a chunk is gone")
            return training_plan[index]

    draws = ReadAhead(TileData(Torn(), 7))
    draws.at(0, 2, more=True)
    with pytest.raises(OSError, match="a chunk is gone"):
        draws.at(1, 2, more=False)
    draws.close()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_half_precision_is_for_gpus_unless_asked_for(device):
    assert Policy().halves(device) is (device == "cuda")
    assert Policy(precision="bf16").halves(device)
    assert not Policy(precision="float32").halves(device)


NETWORKS = {
    "plain": lambda: DSTCarbonFormer(
        *told(DSTCarbonFormerOptions, width=8, batch_tiles=1, steps_per_epoch=2, epochs=1)
    ),
    "dual stream": lambda: DSTCarbonFormer(
        *told(
            DSTCarbonFormerOptions, width=8, batch_tiles=1, steps_per_epoch=2, epochs=1, network="dual_stream"
        )
    ),
    "v1.7": lambda: V17(
        *told(V17Options, coarsen=(12,), width=8, batch_tiles=1, steps_per_epoch=2, epochs=1)
    ),
    "v3.0": lambda: V30(
        *told(V30Options, coarsen=(12,), width=8, batch_tiles=1, steps_per_epoch=2, epochs=1)
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_learn_in_bf16_with_weights_losses_and_statistics_in_float32(
    name, training_plan, validation_plan, make_survey
):
    """On a CPU, by autocast as on a GPU: the kinds of numbers are the same, only the speed is not."""
    losses, halves = {}, []
    for precision in ("float32", "bf16"):
        torch.manual_seed(0)
        method = NETWORKS[name]()
        method.prepare(make_survey(training_plan[0]))
        method.calibrate(training_plan.tiles)
        (member,) = method.members((0,))
        ((turn,),) = (phase.turns for phase in member.phases())
        for module in turn.network.modules():
            if precision == "bf16" and isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
                module.register_forward_hook(lambda _, given, made: halves.append(made.dtype))
        memory, told = Memory(), []
        trainer = totals_trainer(
            member, training_plan, validation_plan, (2,), 7, memory, report=told.append,
            policy=Policy(precision=precision),
        )  # fmt: skip
        trainer.run()
        losses[precision] = [news.loss for news in told]
        assert all(array.dtype == np.float32 for array in memory.state[0].values())
    assert torch.bfloat16 in halves
    np.testing.assert_allclose(losses["bf16"], losses["float32"], rtol=0.05)


def test_what_measures_is_not_touched_by_half_precision():
    """Matrix products are rounded to bf16 under autocast: 1 + 1/512 is lost; inside `measuring` it is not."""
    from model.layers.precision import measuring

    fine = torch.tensor([[1.0 + 1 / 512]])
    with torch.autocast("cpu", torch.bfloat16):
        assert (fine @ torch.ones(1, 1)).item() == 1.0
        with measuring(fine):
            assert (fine @ torch.ones(1, 1)).item() == 1.0 + 1 / 512
