"""What the training loop asks of a method that learns, of the tiles it learns from, and tells about each step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Scene, Tile
from model.method import Method, Phase, Survey

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


class Tiles(Protocol):
    """Tiles of one split, read when asked for, and the mass of their target cells."""

    mass: NDArray[np.float64]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Tile: ...


class Keeper(Protocol):
    """Where the state of unfinished training outlives a crash."""

    def save(self, state: State, epoch: int | None = None, best: bool = False) -> None:
        """Keeps the state, at once or not at all.

        Args:
          epoch: finished ones, when one has just ended; best: validation has just found it the best so far.
        """

    def load(self) -> State | None:
        """The latest that was kept; None at first."""


@dataclass(frozen=True)
class StepNews:
    """What there is to say after a step.

    Attributes:
      done, total: steps of this phase; step: finished in all phases.
      loss: of the batch; terms: what it was made of, if the method tells.
      rate: the learning rate; best: validation score so far.
      skipped: steps left out because a number was not finite.
      waiting: share of the time since this attempt began that was spent on reading tiles.
    """

    done: int
    total: int
    step: int
    loss: float
    terms: Mapping[str, float]
    rate: float
    best: float
    skipped: int
    waiting: float
