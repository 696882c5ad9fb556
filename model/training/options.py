"""What the training loop may be told, whatever method learns: how long, how fast, from how much at once."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from model.options import StrictModel

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
    # Memory of the exponential moving average (EMA) of the weights, which are the ones used.
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9

    def phase(self, steps: int, tolerance: float) -> dict[str, Any]:
        """Options of a phase of so many steps an epoch.

        Args:
          tolerance: share by which an earlier state may be worse than the best and still be preferred.
        """
        return {
            "steps": steps,
            "batch": self.batch_tiles,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "clip": self.max_grad_norm,
            "average": self.ema_decay,
            "patience": self.patience,
            "tolerance": tolerance,
        }
