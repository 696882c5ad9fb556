"""The training loop of methods that learn from pairs: phases, epochs, steps, turns; it knows no method by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import cos, inf, isfinite, pi, sqrt
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.ground.errors import NumberFault
from model.ground.scene import Scene
from model.method import Phase
from model.training.pairs import Drawn, Pair, squared_errors
from model.training.protocol import State, StepNews
from model.training.state import Optimisers, from_arrays, to_arrays

WARM_UP, FIRST, LAST = 0.1, 0.1, 0.02  # share of a phase; shares of the highest learning rate
WON = 0.02  # mean loss of a judge over an epoch below which it has won: nothing is learned from it any more
SCORED = 24  # fields scored after each epoch, evenly spaced

Weights = dict[str, Tensor]


class PairLearner(Protocol):
    """What the loop trains; it may tell parts of its last loss by name in `told`."""

    def phases(self) -> tuple[Phase, ...]:
        """What it is to do; options: steps, batch, learning_rate, weight_decay, clip, patience, keep (best or last).

        A turn named in the option `judge` ends its phase when its loss has fallen to nothing.
        """

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """As in Method."""


class Keeper(Protocol):
    """Where the state of unfinished training outlives a crash."""

    def save(self, state: State) -> None:
        """Replaces the kept state at once or not at all."""

    def load(self) -> State | None:
        """What was kept; None at first."""


@dataclass
class Progress:
    """Where training stands; survives a crash. Chance needs no state: it follows from seed and step."""

    phase: int = 0
    step: int = 0  # finished in this phase
    total: int = 0  # finished in all phases
    stale: int = 0  # validations in this phase since the best one
    best: float = inf  # root mean squared error of the state kept
    losses: dict[str, float] = field(default_factory=dict)  # sums over the epoch so far, by turn
    history: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class PairTrainer:
    """Trains a method on pairs and leaves it in the state its last phase keeps.

    Args:
      train, valid: fields of the two splits.
      seed: from which all chance follows, together with the step.
      every: steps between two saves.
      report: hears of each step; the best score is a root mean squared error.
    """

    def __init__(
        self,
        method: PairLearner,
        train: Drawn,
        valid: Sequence[Pair],
        seed: int,
        keeper: Keeper,
        every: int = 50,
        report: Callable[[StepNews], None] = lambda news: None,
    ) -> None:
        self.method, self.train, self.valid, self.seed, self.keeper = method, train, valid, seed, keeper
        self.every, self.report = every, report
        self.phases = method.phases()
        self.networks = {turn.name: turn.network for phase in self.phases for turn in phase.turns}
        self.progress = Progress()
        self._terms: dict[str, float] = {}  # of the last step, the first turn's loss first
        self._began, self._waited = perf_counter(), 0.0
        self.kept = self._copied()

    def run(self) -> Progress:
        """Trains to the end, from where an earlier attempt stopped."""
        state = self.keeper.load()
        optimisers = self._optimisers(self.phases[state[1]["phase"] if state else 0])
        if state is None:
            self._judge(self.phases[0], "before training")
        else:
            self._restore(state, optimisers)
        while self.progress.phase < len(self.phases):
            phase = self.phases[self.progress.phase]
            self._train(phase, optimisers)
            if phase.options["keep"] == "best":
                self._put(self.kept)
            self.progress.phase += 1
            self.progress.step = self.progress.stale = 0
            if self.progress.phase < len(self.phases):
                optimisers = self._optimisers(self.phases[self.progress.phase])
        for network in self.networks.values():
            network.eval()
        return self.progress

    def _train(self, phase: Phase, optimisers: Optimisers) -> None:
        steps, last = phase.options["steps"], phase.epochs * phase.options["steps"]
        whole = sum(each.epochs * each.options["steps"] for each in self.phases)
        while self.progress.step < last:
            if self.progress.stale >= phase.options["patience"] and phase.options["keep"] == "best":
                break
            self._step(phase, optimisers, last)
            if at_end := self.progress.step % steps == 0:
                self._judge(phase, phase.name)
            if at_end or self.progress.step % self.every == 0:
                self.keeper.save(self._state(optimisers))
            self.report(self._news(phase, last, whole))
            if at_end and self._is_won(phase):
                break

    def _news(self, phase: Phase, last: int, whole: int) -> StepNews:
        progress = self.progress
        return StepNews(
            done=progress.total,
            total=whole,
            step=progress.total,
            loss=next(iter(self._terms.values())),
            terms=self._terms,
            rate=phase.options["learning_rate"] * pace(progress.step - 1, last),
            best=progress.history[-1]["rmse"] if progress.best == inf else progress.best,
            skipped=0,
            waiting=self._waited / max(perf_counter() - self._began, 1e-9),
        )

    def _step(self, phase: Phase, optimisers: Optimisers, last: int) -> None:
        progress, options = self.progress, phase.options
        chance = np.random.default_rng([self.seed, progress.total])
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + progress.total)
        asked = perf_counter()
        batch = self.train.draw(chance, options["batch"])
        self._waited += perf_counter() - asked
        self._terms = {}
        for network in self.networks.values():
            network.train()
        for turn in phase.turns:
            optimiser = optimisers[turn.name]
            for group in optimiser.param_groups:
                group["lr"] = options["learning_rate"] * pace(progress.step, last)
            loss = turn.loss(batch, generator)
            value = float(loss.item())
            if not isfinite(value):
                raise NumberFault(
                    f"train: step {progress.total}, {turn.name}", f"the loss is {value}", "a finite loss",
                    "lower train.learning_rate; the last good state is kept",
                )  # fmt: skip
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(turn.network.parameters(), options["clip"])
            optimiser.step()
            told = getattr(self.method, "told", {}) if turn is phase.turns[-1] else {}
            for name, part in {turn.name: value, **told}.items():
                progress.losses[name] = progress.losses.get(name, 0.0) + part / options["steps"]
                self._terms[name] = part
        progress.step += 1
        progress.total += 1

    def _judge(self, phase: Phase, name: str) -> None:
        """Scores the networks as they are; keeps them where the phase keeps the best."""
        score = error_of(self.method.estimate, self.valid)
        progress = self.progress
        progress.history.append(
            {
                "phase": name,
                "step": progress.total,
                "rmse": score,
                **{f"loss_{k}": v for k, v in progress.losses.items()},
            }
        )
        progress.losses = {}
        better = score < progress.best
        progress.stale = 0 if better else progress.stale + 1
        if better and phase.options["keep"] == "best":
            progress.best, self.kept = score, self._copied()

    def _is_won(self, phase: Phase) -> bool:
        judge = phase.options.get("judge")
        loss = self.progress.history[-1].get(f"loss_{judge}")
        if judge is None or loss is None or loss >= WON:
            return False
        self.progress.notes.append(
            f"the {judge} had won at step {self.progress.total}: its loss was {loss:.3g} over an epoch, so nothing "
            "more could be learned from it and training stopped there"
        )
        return True

    def _weights(self) -> Weights:
        return {
            f"{turn}.{name}": value
            for turn, network in self.networks.items()
            for name, value in network.state_dict().items()
        }

    def _copied(self) -> Weights:
        return {name: value.detach().cpu().clone() for name, value in self._weights().items()}

    def _put(self, weights: Weights) -> None:
        with torch.no_grad():
            for name, value in self._weights().items():
                value.copy_(weights[name])

    def _optimisers(self, phase: Phase) -> dict[str, torch.optim.Optimizer]:
        options = phase.options
        return {
            turn.name: torch.optim.AdamW(
                turn.network.parameters(), lr=options["learning_rate"], weight_decay=options["weight_decay"]
            )
            for turn in phase.turns
        }

    def _state(self, optimisers: Optimisers) -> State:
        arrays = to_arrays({"now": self._weights(), "kept": self.kept}, optimisers)
        plain = {name: value for name, value in vars(self.progress).items() if name != "best"}
        return arrays, {**plain, "best": self.progress.best if isfinite(self.progress.best) else None}

    def _restore(self, state: State, optimisers: Optimisers) -> None:
        arrays, plain = state
        groups = from_arrays(arrays, optimisers)
        self._put(groups["now"])
        self.kept = groups["kept"]
        self.progress = Progress(**{**plain, "best": inf if plain["best"] is None else plain["best"]})


def error_of(estimate: Callable[[Scene], NDArray], pairs: Sequence[Pair]) -> float:
    """Root mean squared error over the counted cells of all pairs; NaN when there is none."""
    found = [squared_errors(estimate(pair.scene())[0, 0], pair) for pair in pairs]
    cells = sum(count for _, count in found)
    return sqrt(sum(total for total, _ in found) / cells) if cells else float("nan")


def pace(step: int, last: int) -> float:
    """Share of the highest learning rate: up for a tenth of the phase, then down along a cosine."""
    rise = max(1.0, WARM_UP * last)
    if step < rise:
        return FIRST + (1.0 - FIRST) * step / rise
    return LAST + (1.0 - LAST) * (1.0 + cos(pi * (step - rise) / max(last - rise, 1.0))) / 2.0
