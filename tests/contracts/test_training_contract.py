"""Every method that learns, through everything the training loop offers."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from model.ground.blocks import merge
from model.ground.errors import NumberError
from model.ground.scene import Layer, Tile
from model.ground.survey import Survey
from model.method import PairTrainable, Trainable
from model.methods import METHODS, method_class
from model.training.pairs import Pair
from model.training.phase import Keep, Patience, Phase, WhenWon
from model.training.policy import USUAL, Policy
from model.training.protocol import StepNews
from model.training.sampler import PairData, TileData
from model.training.schedule import Schedule
from model.training.state import Progress
from model.training.trainer import Trainer
from model.training.validation import PairValidation, TotalsValidation
from tests.train_settings import told

FACTOR, BLOCKS = 3, 6
LAYERS = (Layer("built", "share"), Layer("age", "share"))
SHORT = {"epochs": 2, "steps_per_epoch": 2, "batch_tiles": 2, "width": 4, "learning_rate": 1e-2}
SMALL: dict[str, dict[str, Any]] = {
    "dst_carbon_former": {},
    "dst_carbon_former_v1_7": {"without": ("experts",)},
    "dst_carbon_former_v3_0": {"without": ("experts",)},
    "srresnet": {"residual_blocks": 1},
    "srgan": {"residual_blocks": 1, "adversarial_epochs": 1},
}
every_learner = pytest.mark.parametrize("name", SMALL)


def tile(seed: int) -> Tile:
    """Mass follows what is built; the second layer says nothing."""
    rng = np.random.default_rng(seed)
    side = BLOCKS * FACTOR
    built = np.where(rng.random((side, side)) < 0.7, rng.random((side, side)), 0.0)
    layers = np.stack([built, rng.random((side, side))])[:, None].astype(np.float32)
    totals = merge(built[None, None] * 4.0, FACTOR)
    known, target = np.ones(totals.shape, bool), np.ones((BLOCKS, BLOCKS), bool)
    return Tile(layers, np.ones((side, side), bool), totals, known, target, FACTOR, LAYERS)


def survey(ground: Tile) -> Survey:
    """Of a map that is one tile."""
    values = ground.covariates.reshape(len(LAYERS), -1).astype(np.float64)
    medians = np.array([np.median(row[row > 0]) for row in values])
    sums = merge(ground.covariates.astype(np.float64), FACTOR)
    cells = merge(ground.valid.astype(np.int64), FACTOR)
    facts = (ground.totals, ground.known, sums, cells, ground.target, (values == 0).mean(1), medians)
    return Survey(LAYERS, ("homes",), FACTOR, *facts)


class Tiles:
    """A split of tiles."""

    def __init__(self, seeds: range) -> None:
        self.tiles = [tile(seed) for seed in seeds]
        self.mass = np.array([each.totals.sum() for each in self.tiles])

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, index: int) -> Tile:
        return self.tiles[index]


class Fields:
    """A split of fine fields."""

    def __init__(self, seeds: range) -> None:
        whole = np.ones((BLOCKS * FACTOR, BLOCKS * FACTOR), bool)
        rngs = [np.random.default_rng(seed) for seed in seeds]
        self.pairs = [Pair.of(rng.gamma(1.0, 3.0, whole.shape), whole, whole, FACTOR) for rng in rngs]

    def __len__(self) -> int:
        return len(self.pairs)

    def draw(self, rng: np.random.Generator, count: int) -> list[Pair]:
        return [self.pairs[int(index)] for index in rng.integers(len(self.pairs), size=count)]

    def whole(self, index: int) -> Pair:
        return self.pairs[index]


class Killed(Exception):
    """Stands for SIGKILL."""


class Store:
    """Keeps states as bytes would; may die at one of its saves."""

    def __init__(self, kill_at: int = -1) -> None:
        self.states: list[Any] = []
        self.best: Any = None
        self.kill_at = kill_at

    def save(self, state: Any, epoch: int | None = None, best: bool = False) -> None:
        self.states.append(copy.deepcopy(state))
        self.best = self.states[-1] if best else self.best
        if len(self.states) == self.kill_at:
            raise Killed

    def load(self) -> Any:
        return copy.deepcopy(self.states[-1]) if self.states else None


@dataclass
class Training:
    """One training of one method, and what it told."""

    learner: Any
    data: Any
    store: Store
    news: list[StepNews]
    notes: list[str]
    progress: Progress | None = None

    def weights(self) -> bytes:
        networks = {turn.name: turn.network for phase in self.learner.phases() for turn in phase.turns}
        values = [value for name in sorted(networks) for value in networks[name].state_dict().values()]
        return b"".join(value.numpy().tobytes() for value in values)


def made(name: str, **settings: Any) -> tuple[Any, Any, Any]:
    """A learner ready to be trained, its data, and what judges it."""
    method = method_class(name)(*told(METHODS[name].options_class(), **(SHORT | SMALL[name] | settings)))
    method.prepare(survey(tile(0)))
    if isinstance(method, PairTrainable):
        fields = Fields(range(4))
        method.fit(fields.pairs)
        return method, PairData(fields, 5), PairValidation(method.estimate, Fields(range(10, 12)).pairs)
    assert isinstance(method, Trainable)
    tiles = Tiles(range(4))
    method.calibrate(tiles.tiles)
    (learner,) = method.members((0,))
    return learner, TileData(tiles, 5), TotalsValidation(learner, Tiles(range(10, 12)).tiles, (2,))


def training(
    name: str,
    policy: Policy = USUAL,
    change: Callable[[Phase], Phase] | None = None,
    store: Store | None = None,
    start: Any = None,
    **settings: Any,
) -> Training:
    """Trains; `change` is done to every phase."""
    learner, data, validation = made(name, **settings)
    if change is not None:
        changed = tuple(change(phase) for phase in learner.phases())
        learner.phases = lambda: changed
    run = Training(learner, data, store or Store(), [], [])
    trainer = Trainer(
        learner, data, validation, run.store, 1, run.news.append, run.notes.append, policy, start
    )
    run.progress = trainer.run()
    return run


def watched(change: Callable[[Any, Any], Any]) -> Callable[[Phase], Phase]:
    """Puts `change(loss, samples)` in the place of each loss."""

    def around(loss):
        return lambda samples, generator: change(loss(samples, generator), samples)

    def phase_of(phase: Phase) -> Phase:
        return replace(phase, turns=tuple(replace(turn, loss=around(turn.loss)) for turn in phase.turns))

    return phase_of


def length(name: str) -> int:
    return sum(phase.length for phase in made(name)[0].phases())


def test_every_method_that_learns_in_phases_is_here():
    assert {name for name, row in METHODS.items() if row.trained_on is not None} == set(SMALL)


@every_learner
def test_training_changes_the_weights_and_the_same_seed_gives_the_same_bytes(name):
    once, twice = training(name), training(name)
    assert once.weights() == twice.weights()
    assert once.news[-1].done == length(name)
    last, first = once.store.states[-1][0], once.store.states[0][0]
    assert any(not np.array_equal(last[path], first[path]) for path in last if path.startswith("now/"))


@every_learner
def test_accumulated_batches_show_the_samples_of_one_larger_batch(name):
    """Pieces of two make a step of six; what they hold is what a batch of six would hold."""
    seen: dict[str, list[int]] = {"pieces": [], "whole": []}

    def watch(key):
        return watched(lambda loss, samples: seen[key].append(len(samples)) or loss)

    pieces = training(name, Policy(accumulate=3), watch("pieces"))
    whole = training(name, change=lambda phase: watch("whole")(replace(phase, batch=6)))
    assert set(seen["pieces"]) == {2} and set(seen["whole"]) == {6}
    assert sum(seen["pieces"]) == sum(seen["whole"])
    assert pieces.news[-1].done == whole.news[-1].done


@every_learner
def test_accumulated_gradients_are_those_of_one_larger_batch_where_the_loss_is_a_mean(name):
    """The loss is the mean over samples of the weights' squares, so two ways of cutting a batch agree."""

    def means(phase: Phase) -> Phase:
        def squares(network):
            return lambda samples, generator: sum(w.square().sum() for w in network.parameters()) / 1000.0

        turns = tuple(replace(turn, loss=squares(turn.network)) for turn in phase.turns)
        return replace(phase, turns=turns)

    ends = []
    for policy, batch in ((Policy(accumulate=3), 2), (Policy(), 6)):
        run = training(name, policy, lambda phase, batch=batch: replace(means(phase), batch=batch))
        ends.append(np.frombuffer(run.weights(), np.uint8).size and [news.loss for news in run.news])
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-5)


@every_learner
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "plateau"])
def test_each_schedule_is_the_rate_that_is_told(name, schedule):
    run = training(name, schedule=schedule, warm_up=0.5)
    first = run.learner.phases()[0]
    assert first.optim.schedule == Schedule(schedule, 0.5)
    pace = [first.optim.schedule.pace(step, first.length) for step in range(first.steps)]
    wanted = [first.optim.learning_rate * share for share in pace]
    assert [news.rate for news in run.news[: first.steps]] == pytest.approx(wanted)


@every_learner
def test_bf16_is_used_inside_networks_and_weights_stay_float32(name):
    seen = []

    def listen(phase: Phase) -> Phase:
        for turn in phase.turns:
            for module in turn.network.modules():
                if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                    module.register_forward_hook(lambda _, given, out: seen.append(out.dtype))
        return phase

    run = training(name, Policy(precision="bf16"), listen)
    assert torch.bfloat16 in seen
    arrays, _ = run.store.states[-1]
    assert torch.float64 not in seen and all(array.dtype != np.float64 for array in arrays.values())
    assert all(np.isfinite(news.loss) for news in run.news)


def spoilt_once(at: int) -> Callable[[Phase], Phase]:
    calls = [0]

    def spoil(loss, samples):
        calls[0] += 1
        return loss * float("nan") if calls[0] == at else loss

    return watched(spoil)


@every_learner
def test_a_loss_that_is_no_number_is_skipped_or_stops(name):
    skipped = training(name, Policy(not_finite="skip"), spoilt_once(2))
    assert skipped.progress is not None and skipped.progress.skipped == 1
    assert len(skipped.notes) == 1 and "step 2" in skipped.notes[0]
    assert np.isfinite(skipped.news[-1].loss)
    with pytest.raises(NumberError, match="step 2"):
        training(name, change=spoilt_once(2))


@every_learner
def test_where_memory_ends_a_batch_is_halved_and_training_goes_on(name):
    def cramped(loss, samples):
        if len(samples) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return loss

    run = training(name, change=watched(cramped))
    assert run.progress is not None and run.progress.parts == 2
    assert len(run.notes) == 1 and "still sees 2" in run.notes[0]
    assert run.news[-1].done == length(name)


@every_learner
def test_averaged_weights_lag_behind_and_without_memory_are_the_weights(name):
    for decay, equal in ((0.0, True), (0.9, False)):
        arrays, _ = training(name, ema_decay=decay).store.states[0]
        pairs = [(array, arrays[path.replace("now/", "average/", 1)]) for path, array in arrays.items()
                 if path.startswith("now/")]  # fmt: skip
        assert all(np.array_equal(now, average) for now, average in pairs) is equal


@every_learner
@pytest.mark.parametrize("kill_at", [1, 3])
def test_a_killed_and_resumed_training_ends_in_the_same_bytes(name, kill_at):
    whole = training(name)
    store = Store(kill_at)
    with pytest.raises(Killed):
        training(name, store=store)
    store.kill_at = -1
    resumed = training(name, store=store)
    assert resumed.weights() == whole.weights()
    assert resumed.progress.history == whole.progress.history


@every_learner
def test_history_has_a_line_for_each_validation_with_scores_and_losses(name):
    history = training(name).progress.history
    epochs = sum(phase.epochs for phase in made(name)[0].phases())
    assert [line["step"] for line in history] == [2 * epoch for epoch in range(epochs + 1)]
    assert all(np.isfinite(list(line["scores"].values())).all() for line in history)
    assert all(np.isfinite(list(line["losses"].values())).all() for line in history[1:])
    assert all(line["losses"] for line in history[1:])


@every_learner
def test_training_may_start_from_the_state_of_another(name):
    first = training(name)
    state = first.store.states[1]
    run = training(name, start=state)
    assert run.progress.history[1]["step"] == 0
    assert len(run.progress.history) == len(first.progress.history) + 1
    assert run.progress.history[1]["scores"] != run.progress.history[0]["scores"]


@every_learner
def test_patience_ends_training_before_its_epochs_are_over(name):
    """Scores only get worse, so two epochs without a better one end a phase of fifty."""

    def patient(phase: Phase) -> Phase:
        return replace(phase, epochs=50, keep=Keep.best_within(), stop=(Patience(2),))

    learner, data, _ = made(name)
    changed = tuple(patient(phase) for phase in learner.phases()[:1])
    learner.phases = lambda: changed
    learner.choose = lambda choice: None
    scores = iter(range(1, 99))
    progress = Trainer(learner, data, lambda: {"only": float(next(scores))}, Store()).run()
    assert progress.total == 2 * changed[0].steps and progress.kept[0].step == 0


@every_learner
def test_a_network_that_has_won_ends_training_and_that_is_noted(name):
    """Any loss lies below a threshold of infinity: the first epoch is the last."""

    def won(phase: Phase) -> Phase:
        return replace(phase, epochs=50, stop=(WhenWon(phase.turns[0].name, float("inf")),))

    run = training(name, change=won)
    assert run.progress.total == sum(phase.steps for phase in run.learner.phases())
    assert len(run.progress.notes) == len(run.learner.phases())
    assert "had won at step 2" in run.progress.notes[0]
