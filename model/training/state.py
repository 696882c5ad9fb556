"""Where training stands, as arrays and plain values that outlive a crash."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.training.protocol import State

Weights = Mapping[str, Tensor]
Optimisers = Mapping[str, torch.optim.Optimizer]


@dataclass
class Kept:
    """A state that may turn out to be the one to use: averaged weights, and what validation said of them."""

    step: int
    choice: str
    score: float
    weights: dict[str, Tensor]


@dataclass
class Progress:
    """Where training stands; survives a crash. Chance needs no state: it follows from seed and step.

    Attributes:
      phase: the one under way; step: finished in it; total: finished in all phases.
      stale: validations in this phase since the best one; halvings: of the learning rate, on plateaus.
      parts: pieces in which a batch is worked on, more than one where memory was too small for the whole.
      skipped: steps left out because a number was not finite; in_a_row: the last ones among them.
      kept: the latest is the best.
      losses: sums of each loss over the epoch so far, by name; epoch: means over the last whole one.
      notes: what those who read of the training must know.
      history: a line for each validation.
    """

    phase: int = 0
    step: int = 0
    total: int = 0
    stale: int = 0
    halvings: int = 0
    parts: int = 1
    skipped: int = 0
    in_a_row: int = 0
    kept: list[Kept] = field(default_factory=list)
    losses: dict[str, float] = field(default_factory=dict)
    epoch: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def first_score(self) -> float:
        """Of the untrained method."""
        return min(self.history[0]["scores"].values())


def packed(now: Weights, average: Weights, optimisers: Optimisers, progress: Progress) -> State:
    """Everything from which training goes on as if it had never stopped.

    Networks with the weights their losses learn, averages, optimisers and progress. Schedule, chance and the
    order of the data follow from progress and the data's seed; bf16 needs no scaler.
    """
    groups: dict[str, Mapping[str, Tensor]] = {"now": now, "average": average}
    groups |= {f"kept{index}": kept.weights for index, kept in enumerate(progress.kept)}
    plain = {item.name: getattr(progress, item.name) for item in fields(Progress) if item.name != "kept"}
    plain["kept"] = [
        {"step": kept.step, "choice": kept.choice, "score": kept.score} for kept in progress.kept
    ]
    return to_arrays(groups, optimisers), plain


def unpacked(state: State, optimisers: Optimisers) -> tuple[Weights, Weights, Progress]:
    """The inverse: weights now, averages, progress; optimisers are filled in place."""
    arrays, plain = state
    groups = from_arrays(arrays, optimisers)
    kept = [Kept(**entry, weights=groups[f"kept{index}"]) for index, entry in enumerate(plain["kept"])]
    known = {name: value for name, value in plain.items() if name != "kept"}
    return groups["now"], groups["average"], Progress(**known, kept=kept)


def to_arrays(groups: Mapping[str, Weights], optimisers: Optimisers) -> dict[str, NDArray]:
    """`group/name` -> values, of the groups given and of what each optimiser remembers."""
    every = dict(groups)
    for turn, optimiser in optimisers.items():
        for index, slots in optimiser.state_dict()["state"].items():
            every[f"optimiser.{turn}.{index}"] = slots
    return {
        f"{group}/{name}": value.detach().cpu().numpy()
        for group, values in every.items()
        for name, value in values.items()
    }


def from_arrays(arrays: Mapping[str, NDArray], optimisers: Optimisers) -> dict[str, dict[str, Tensor]]:
    """The inverse; optimisers are filled in place."""
    groups: dict[str, dict[str, Tensor]] = {}
    for path, array in arrays.items():
        group, _, name = path.partition("/")
        groups.setdefault(group, {})[name] = torch.from_numpy(np.array(array))
    for turn, optimiser in optimisers.items():
        content, prefix = optimiser.state_dict(), f"optimiser.{turn}."
        content["state"] = {
            int(name.removeprefix(prefix)): groups[name] for name in groups if name.startswith(prefix)
        }
        optimiser.load_state_dict(content)
    return groups
