"""How training behaves whatever it trains: its pace, its precision, and what follows a number that is not finite."""

from dataclasses import dataclass
from math import cos, pi

FIRST, LAST = 1 / 25, 1e-5  # of the highest learning rate, in one cycle
HALVE_AFTER = 2  # validations without a better score before a plateau halves the rate
SKIPS_IN_A_ROW = 10  # more than these are no accident


@dataclass(frozen=True)
class Policy:
    """What the loop does around each step.

    Attributes:
      accumulate: batches whose gradients make one step.
      schedule: one_cycle (up along a cosine, then down to almost nothing, Smith 2018), cosine (up along a line,
        down along a cosine), plateau (up along a line, then halved where validation stands still).
      warm_up: share of a phase's steps on the way up.
      not_finite: stop names the place and ends; skip leaves the step out and counts it.
      precision: float32, bf16 inside networks (weights, losses and the optimiser stay float32), or auto: bf16
        on a GPU, float32 on a CPU, where bf16 without matrix units takes twice as long.
      judge_by: score of validation; see model/training/validation.py.
    """

    accumulate: int = 1
    schedule: str = "one_cycle"
    warm_up: float = 0.3
    not_finite: str = "stop"
    precision: str = "auto"
    judge_by: str = "nonzero_mae"

    def halves(self, device: str) -> bool:
        """Whether networks on this kind of device work in bf16."""
        return self.precision == "bf16" or (self.precision == "auto" and device == "cuda")

    def pace(self, step: int, last: int, halvings: int = 0) -> float:
        """Share of the highest learning rate.

        Args:
          step: finished before this one; last: steps in all.
          halvings: how often a plateau was met.
        """
        rise = max(1.0, self.warm_up * last)
        if self.schedule == "one_cycle":
            return one_cycle(step, last, rise)
        if step < rise:
            return min(1.0, (step + 1) / rise)
        if self.schedule == "plateau":
            return float(0.5**halvings)
        return (1.0 + cos(pi * min((step - rise) / max(last - rise, 1), 1.0))) / 2.0


USUAL = Policy()


def one_cycle(step: int, last: int, rise: float) -> float:
    """Share of the highest learning rate: up along a cosine in `rise` steps, then down to almost nothing."""
    start, end, part = (
        (FIRST, 1.0, step / rise) if step < rise else (1.0, LAST, (step - rise) / max(last - rise, 1))
    )
    return end + (start - end) * (1.0 + cos(pi * min(part, 1.0))) / 2.0
