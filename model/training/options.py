"""What the training loop may be told, whatever method learns: how long, how fast, from how much at once."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from model.options import StrictModel
from model.training.phase import Optim
from model.training.schedule import Schedule

# Why these: they divide a window of 12 coarse cells.
Coarsening = Literal[2, 3, 4, 6, 12]


class TrainingOptions(StrictModel):
    """The part of the train section that a method's phases are made of; a method without any takes the defaults."""

    seed: NonNegativeInt = 0  # the same seed gives the same weights, byte for byte, on the same kind of CPU
    # Coarse cells merged along an axis before totals are shown, one factor drawn for each tile: 2 merges 2 x 2.
    coarsen: Annotated[tuple[Coarsening, ...], Field(min_length=1)] = (2,)
    epochs: PositiveInt = 8  # each ends with a validation
    steps_per_epoch: PositiveInt = 25  # fewer on a map with under 600 coarse cells that hold mass
    batch_tiles: PositiveInt = 3  # tiles a step; memory grows with it
    learning_rate: PositiveFloat = 3e-3  # the highest of the cycle
    patience: PositiveInt = 5  # epochs without a better validation score before it stops
    weight_decay: NonNegativeFloat = 1e-3  # of AdamW
    max_grad_norm: PositiveFloat = 1.0  # beyond which the gradient is scaled down
    # Memory of the exponential moving average (EMA) of the weights, which are the ones used; 0: none. None: the
    # method's own, 0.9 for those that learn from totals, 0 for those that learn from pairs.
    ema_decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    # Of the learning rate. None: the method's own, one_cycle from totals, cosine from pairs.
    schedule: Literal["one_cycle", "cosine", "plateau"] | None = None
    # Share of a phase's steps on the way to the highest rate. None: 0.3, or 0.1 of the method's own cosine.
    warm_up: Annotated[float, Field(ge=0, lt=1)] | None = None

    def optim(self, schedule: Schedule, ema_decay: float, rate: float = 1.0) -> Optim:
        """How weights are moved, where what was not asked for is the method's own.

        Args:
          schedule, ema_decay: the method's own.
          rate: share of the highest learning rate that this phase takes.
        """
        return Optim(
            learning_rate=self.learning_rate * rate,
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
            ema_decay=ema_decay if self.ema_decay is None else self.ema_decay,
            schedule=self._chosen(schedule),
        )

    def _chosen(self, own: Schedule) -> Schedule:
        chosen = own if self.schedule is None else Schedule(self.schedule)
        return chosen if self.warm_up is None else replace(chosen, warm_up=self.warm_up)
