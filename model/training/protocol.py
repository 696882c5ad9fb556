"""What the training loop asks of what it trains, of where states are kept, and what it tells about each step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from model.training.phase import Phase

State = tuple[dict[str, NDArray], dict[str, Any]]


class Learner(Protocol):
    """What the loop trains: the networks that learn together."""

    def phases(self) -> tuple[Phase, ...]:
        """What the training loop is to do."""

    def choose(self, name: str) -> None:
        """Settles on one of the candidates that validation compares."""


class Validation(Protocol):
    """What a state of training is worth; the loop only compares the numbers."""

    def __call__(self) -> Mapping[str, float]:
        """By the name of each candidate, a score of which less is better; NaN where nothing can be judged."""


class StateStore(Protocol):
    """Where the state of unfinished training outlives a crash."""

    def save(self, state: State, epoch: int | None = None, best: bool = False) -> None:
        """Keeps the state, at once or not at all.

        Args:
          epoch: finished ones, when one has just ended; best: validation has just found it the best so far.
        """

    def load(self) -> State | None:
        """The latest that was kept; None at first."""


class Forgetful:
    """A store that keeps nothing, for steps that are only measured."""

    def save(self, state: State, epoch: int | None = None, best: bool = False) -> None:
        """Keeps nothing."""

    def load(self) -> State | None:
        """There is nothing."""
        return None


@dataclass(frozen=True)
class StepNews:
    """What there is to say after a step.

    Attributes:
      done: steps of all phases; total: steps of all phases, where nothing stops them.
      loss: of the last network's turn; terms: what it was made of, and of several networks the loss of each.
      rate: the learning rate; best: validation score so far.
      skipped: steps left out because a number was not finite.
      waiting: share of the time since this attempt began that was spent on reading data.
    """

    done: int
    total: int
    loss: float
    terms: Mapping[str, float]
    rate: float
    best: float
    skipped: int
    waiting: float
