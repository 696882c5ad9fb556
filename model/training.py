"""The one training loop: phases, epochs, steps and turns; it knows no method from another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import cos, inf, isfinite, pi
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.fault import NumberFault
from model.losses import counted_groups
from model.method import Method, Phase, Survey, Turn
from model.sample import Scene, Tile, merge, spread
from model.scores import Scores

CALIBRATION_TILES = 48
VALIDATION_TILES = 40  # evenly spaced over the split; more cost time and hardly move the score
WARM_UP = 0.3  # of a phase, as in the one-cycle policy (Smith 2018)
FIRST, LAST = 1 / 25, 1e-5  # of the highest learning rate

State = tuple[dict[str, NDArray], dict[str, Any]]


class Learner(Protocol):
    """What the loop trains: the networks of a method that learn together, from one part of the ground."""

    def phases(self) -> tuple[Phase, ...]:
        """What the training loop is to do."""

    def candidates(self, scene: Scene) -> Mapping[str, NDArray]:
        """Estimates among which validation chooses; plain variants of one trained state."""

    def choose(self, name: str) -> None:
        """Settles on one of the candidates' names."""


class LearningMethod(Method, Protocol):
    """A method with phases offers this beside the rest."""

    def refusal(self, survey: Survey) -> str | None:
        """Why it would rather not learn from this map; None when it may."""

    def calibrate(self, tiles: Sequence[Tile]) -> None:
        """Measures what it needs on some tiles of the learned ground, after prepare and before training."""

    def place(self, device: str) -> None:
        """Moves its networks to cpu or cuda."""

    def members(self, folds: Sequence[int]) -> tuple[Learner, ...]:
        """One learner for each fold, trained while it is held out; what had been learned is forgotten.

        Without folds the method is what it knows before it learns.
        """

    def keep(self, folds: Sequence[int]) -> None:
        """Forgets what could not be trained."""


class Judged(Protocol):
    """What validation needs of a learner."""

    def candidates(self, scene: Scene) -> Mapping[str, NDArray]:
        """As in Learner."""


class Tiles(Protocol):
    """Tiles of one split, read when asked for, and the mass of their target cells."""

    mass: NDArray[np.float64]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Tile: ...


class Keeper(Protocol):
    """Where the state of unfinished training outlives a crash."""

    def save(self, state: State) -> None:
        """Replaces the kept state at once or not at all."""

    def load(self) -> State | None:
        """What was kept; None at first."""


@dataclass
class Kept:
    """A state that may turn out to be the one to use: averaged weights, and what validation said of them."""

    step: int
    choice: str
    score: float
    weights: dict[str, Tensor]


@dataclass
class Progress:
    """Where training stands; survives a crash. Chance needs no state: it follows from seed and step."""

    phase: int = 0
    step: int = 0  # finished in this phase
    total: int = 0  # finished in all phases
    stale: int = 0  # validations in this phase since the best one
    kept: list[Kept] = field(default_factory=list)  # the latest is the best
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def first_score(self) -> float:
        """Of the untrained method."""
        return min(self.history[0]["scores"].values())


class Trainer:
    """Trains a method on tiles and leaves it in the state that did best on unseen blocks.

    Args:
      method: prepared and calibrated.
      tiles, validation: of the two splits.
      groups: coarse cells merged along each axis when validation scores are taken; fixed.
      seed: from which all chance follows, together with the step.
      keeper: for resuming.
      every: steps between two saves.
      report: told (steps done, steps in all, detail) after each step.
    """

    def __init__(
        self,
        method: Learner,
        tiles: Tiles,
        validation: Tiles,
        groups: tuple[int, ...],
        seed: int,
        keeper: Keeper,
        every: int = 50,
        report: Callable[[int, int, str], None] = lambda done, total, detail: None,
    ) -> None:
        self.method, self.tiles, self.seed, self.keeper = method, tiles, seed, keeper
        self.every, self.report, self.groups = every, report, groups
        self.validation = [validation[index] for index in evenly(len(validation), VALIDATION_TILES)]
        self.phases = method.phases()
        self.networks = {turn.name: turn.network for phase in self.phases for turn in phase.turns}
        self.average = {name: value.clone() for name, value in self._weights().items()}
        self.progress = Progress()

    def run(self) -> Progress | None:
        """Trains to the end, from where an earlier attempt stopped; None if validation can judge nothing."""
        state = self.keeper.load()
        optimisers = self._optimisers(self.phases[state[1]["phase"] if state else 0])
        if state is None:
            self._judge(self.phases[0])
            if not self.progress.kept:
                return None
        else:
            self._restore(state, optimisers)
        while self.progress.phase < len(self.phases):
            self._train(self.phases[self.progress.phase], optimisers)
            self.progress.phase += 1
            self.progress.step = self.progress.stale = 0
            if self.progress.phase < len(self.phases):
                optimisers = self._optimisers(self.phases[self.progress.phase])
        self._settle()
        return self.progress

    def _train(self, phase: Phase, optimisers: dict[str, torch.optim.Optimizer]) -> None:
        steps = phase.options["steps"]
        last = phase.epochs * steps
        for _ in range(self.progress.step, last):
            if self.progress.stale >= phase.options["patience"]:
                break
            loss = self._step(phase, optimisers, last)
            at_end = self.progress.step % steps == 0
            if at_end:
                self._judge(phase)
            if at_end or self.progress.step % self.every == 0:
                self.keeper.save(self._state(optimisers))
            detail = f"loss {loss:.4f}, best score {self.progress.kept[-1].score:.4f}"
            try:
                self.report(self.progress.step, last, detail)
            except BaseException:  # whoever listens may ask to stop here; what is learned must outlive that
                self.keeper.save(self._state(optimisers))
                raise

    def _step(self, phase: Phase, optimisers: dict[str, torch.optim.Optimizer], last: int) -> float:
        """One batch, every turn once; chance follows from (seed, step) alone."""
        chance = np.random.default_rng([self.seed, self.progress.total])
        drawn = chance.choice(len(self.tiles), phase.options["batch"], p=draw_chances(self.tiles.mass))
        batch = [self.tiles[int(index)] for index in drawn]
        generator = torch.Generator().manual_seed(int(chance.integers(2**62)))
        rate = phase.options["learning_rate"] * one_cycle(self.progress.step, last)
        for turn in phase.turns:
            loss = turn.loss(batch, generator)
            if not isfinite(loss.item()):
                raise _unusable(loss.item(), self.progress.total + 1, drawn, batch)
            optimiser = optimisers[turn.name]
            optimiser.param_groups[0]["lr"] = rate
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(turn.network.parameters(), phase.options["clip"])
            optimiser.step()
        self._move_average(phase.options["average"])
        self.progress.step += 1
        self.progress.total += 1
        return float(loss.item())

    def _move_average(self, memory: float) -> None:
        with torch.no_grad():
            for name, value in self._weights().items():
                self.average[name].lerp_(value, 1.0 - memory)

    def _judge(self, phase: Phase) -> None:
        """Scores the averaged weights and keeps them if they may be the ones to use."""
        current = {name: value.clone() for name, value in self._weights().items()}
        self._put(self.average)
        scores = candidate_scores(self.method, self.validation, self.groups)
        self._put(current)
        choice = min(scores, key=lambda name: scores[name])
        progress, score = self.progress, scores[choice]
        line = {"phase": phase.name, "step": progress.total, "scores": scores}
        progress.history.append(line)
        better = score < (progress.kept[-1].score if progress.kept else inf)
        progress.stale = 0 if better else progress.stale + 1
        if better:
            weights = {name: value.detach().cpu().clone() for name, value in self.average.items()}
            progress.kept.append(Kept(progress.total, choice, score, weights))
            limit = score * (1.0 + phase.options["tolerance"])
            progress.kept = [kept for kept in progress.kept if kept.score <= limit]

    def _settle(self) -> None:
        """The earliest state within the tolerance of the best one."""
        chosen = self.progress.kept[0]
        self._put(chosen.weights)
        self.method.choose(chosen.choice)

    def _weights(self) -> dict[str, Tensor]:
        return {
            f"{turn}.{name}": value
            for turn, network in self.networks.items()
            for name, value in network.state_dict().items()
        }

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self._weights().items():
                value.copy_(weights[name])

    def _optimisers(self, phase: Phase) -> dict[str, torch.optim.Optimizer]:
        decay = phase.options["weight_decay"]
        return {turn.name: _adamw(turn, decay) for turn in phase.turns}

    def _state(self, optimisers: dict[str, torch.optim.Optimizer]) -> State:
        groups = {"now": self._weights(), "average": self.average}
        groups |= {f"kept{index}": kept.weights for index, kept in enumerate(self.progress.kept)}
        for turn, optimiser in optimisers.items():
            for index, slots in optimiser.state_dict()["state"].items():
                groups[f"optimiser.{turn}.{index}"] = slots
        arrays = {
            f"{group}/{name}": value.detach().cpu().numpy()
            for group, values in groups.items()
            for name, value in values.items()
        }
        progress = self.progress
        plain = {name: getattr(progress, name) for name in ("phase", "step", "total", "stale", "history")}
        plain["kept"] = [
            {"step": kept.step, "choice": kept.choice, "score": kept.score} for kept in progress.kept
        ]
        return arrays, plain

    def _restore(self, state: State, optimisers: dict[str, torch.optim.Optimizer]) -> None:
        arrays, plain = state
        groups: dict[str, dict[str, Tensor]] = {}
        for path, array in arrays.items():
            group, _, name = path.partition("/")
            groups.setdefault(group, {})[name] = torch.from_numpy(np.array(array))
        self._put(groups["now"])
        for name, value in self.average.items():
            value.copy_(groups["average"][name])
        for turn, optimiser in optimisers.items():
            content = optimiser.state_dict()
            prefix = f"optimiser.{turn}."
            content["state"] = {
                int(g.removeprefix(prefix)): groups[g] for g in groups if g.startswith(prefix)
            }
            optimiser.load_state_dict(content)
        kept = [Kept(**entry, weights=groups[f"kept{index}"]) for index, entry in enumerate(plain["kept"])]
        self.progress = Progress(**{**plain, "kept": kept})


def _adamw(turn: Turn, decay: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(turn.network.parameters(), weight_decay=decay)


def one_cycle(step: int, last: int) -> float:
    """Share of the highest learning rate: up along a cosine, then down to almost nothing (Smith 2018)."""
    rise = max(1.0, WARM_UP * last)
    start, end, part = (
        (FIRST, 1.0, step / rise) if step < rise else (1.0, LAST, (step - rise) / max(last - rise, 1))
    )
    return end + (start - end) * (1.0 + cos(pi * min(part, 1.0))) / 2.0


def draw_chances(mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half by mass, half evenly: a city teaches most, but villages must be seen too."""
    return 0.5 * mass / mass.sum() + 0.5 / mass.size


def evenly(count: int, wanted: int) -> list[int]:
    """At most `wanted` indices, evenly spaced over `count`."""
    return (
        sorted({int(place) for place in np.linspace(0, count - 1, min(count, wanted)).round()})
        if count
        else []
    )


def candidate_scores(method: Judged, tiles: Sequence[Tile], groups: tuple[int, ...]) -> dict[str, float]:
    """What each candidate misses of the 1 km totals when it is shown merged ones.

    Returns: by name, the mean over sectors and groups of Nonzero-MAE divided by the mean non-zero total,
      pooled over the tiles; NaN when no group of target cells holds mass.
    """
    pooled: dict[str, dict[tuple[int, int], Scores]] = {}
    for tile in tiles:
        for group in groups:
            part = tile.fitted(group)
            counted = spread(counted_groups(part, group), group)
            for name, estimate in method.candidates(part.scene(group)).items():
                cells = merge(estimate.astype(np.float64), tile.factor)
                sums = pooled.setdefault(name, {})
                for sector in range(cells.shape[0]):
                    score = Scores.of(cells[sector], part.totals[sector], counted[sector])
                    sums[sector, group] = sums.get((sector, group), Scores()) + score
    return {
        name: _mean([score.relative_nonzero_mae for score in sums.values()]) for name, sums in pooled.items()
    }


def _mean(values: list[float]) -> float:
    usable = [value for value in values if isfinite(value)]
    return float(np.mean(usable)) if usable else float("nan")


def _unusable(loss: float, step: int, drawn: NDArray, batch: Sequence[Tile]) -> NumberFault:
    """Names the step, the tiles and the range of every layer in them."""
    ranges = []
    for index, layer in enumerate(batch[0].layers):
        values = np.stack([tile.covariates[index] for tile in batch])
        ranges.append(f"{layer.name} {values.min():.6g} to {values.max():.6g}")
    return NumberFault(
        f"train: step {step}, tiles {', '.join(str(index) for index in drawn)}",
        f"the loss is {loss}; layers there: {'; '.join(ranges)}",
        "a finite loss",
        "look at the named layers in those tiles, or lower train.learning_rate; the last good state is kept",
    )
