"""What training consists of: phases, the steps of optimisation in each, what is kept of them and when they stop."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from model.training.schedule import ONE_CYCLE, Schedule

Loss = Callable[[Sequence[Any], Any], Any]


@dataclass(frozen=True)
class OptimisationStep:
    """One network's part in a step of training: the loss it is to lower.

    Attributes:
      name: distinct among the steps of a phase.
      network: a torch module; several may share one.
      loss: (items of the data, generator) -> scalar tensor; all chance comes from the torch generator.
      terms: what the last loss was made of, by name, for those who watch.
    """

    name: str
    network: Any
    loss: Loss
    terms: Callable[[], Mapping[str, float]] = dict


@dataclass(frozen=True)
class Optim:
    """How weights are moved: AdamW (Loshchilov and Hutter 2019) with clipped gradients.

    Attributes:
      learning_rate: the highest of the schedule.
      weight_decay: decoupled, of AdamW.
      max_grad_norm: beyond which a gradient is scaled down to it.
      ema_decay: memory of the exponential moving average of the weights, which is what is validated and kept;
        0: the weights themselves.
      schedule: of the learning rate.
    """

    learning_rate: float
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    ema_decay: float = 0.0
    schedule: Schedule = ONE_CYCLE


@dataclass(frozen=True)
class Keep:
    """What stands when a phase is over.

    Attributes:
      best: the state of the best validation, the earliest within the tolerance; False: the last state.
      tolerance: share by which an earlier state may be worse than the best and still be preferred.
    """

    best: bool = True
    tolerance: float = 0.0

    @classmethod
    def best_within(cls, tolerance: float = 0.0) -> "Keep":
        """The earliest state that is worse than the best by no more than this share."""
        return cls(True, tolerance)

    @classmethod
    def last(cls) -> "Keep":
        """The state in which the phase ends."""
        return cls(False)


@dataclass(frozen=True)
class Standing:
    """Where a phase stands, as rules for stopping see it.

    Attributes:
      step: finished in all phases.
      stale: validations in this phase since the best one.
      losses: mean of each step's loss over the last whole epoch, by name; empty before one is over.
    """

    step: int
    stale: int
    losses: Mapping[str, float]


class Stop(Protocol):
    """A rule that ends a phase early."""

    def met(self, standing: Standing) -> str | None:
        """None: go on. Else stop, and say this (nothing where it is empty)."""


@dataclass(frozen=True)
class Patience:
    """Early stopping: so many validations in a row without a better score (Prechelt 1998)."""

    validations: int

    def met(self, standing: Standing) -> str | None:
        """Silent: that training ended early shows in the history."""
        return "" if standing.stale >= self.validations else None


@dataclass(frozen=True)
class WhenWon:
    """A network that judges another has won: its mean loss over an epoch fell to nothing, so it teaches no more.

    Attributes:
      step: the name of the judge's optimisation step.
      below: mean loss over an epoch below which it has won.
    """

    step: str
    below: float

    def met(self, standing: Standing) -> str | None:
        """Says at which step."""
        loss = standing.losses.get(self.step)
        if loss is None or loss >= self.below:
            return None
        return (
            f"the {self.step} had won at step {standing.step}: its loss was {loss:.3g} over an epoch, so nothing "
            "more could be learned from it and training stopped there"
        )


@dataclass(frozen=True)
class Phase:
    """A stretch of training.

    Attributes:
      steps: in an epoch, each of which ends with a validation; batch: items a step learns from.
      turns: whose networks are moved in each step, in this order.
      stop: rules, any of which ends it before its epochs are over.
    """

    name: str
    epochs: int
    steps: int
    batch: int
    turns: tuple[OptimisationStep, ...]
    optim: Optim
    keep: Keep = Keep()
    stop: tuple[Stop, ...] = ()

    @property
    def length(self) -> int:
        """Steps in all, where nothing stops it."""
        return self.epochs * self.steps
