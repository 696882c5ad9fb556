"""The learning rate over a phase, as a share of its highest."""

from dataclasses import dataclass
from math import cos, pi


@dataclass(frozen=True)
class Schedule:
    """How the learning rate rises and falls.

    Attributes:
      kind: one_cycle (up along a cosine, then down to almost nothing, Smith 2018), cosine (up along a line, down
        along a cosine, Loshchilov and Hutter 2017), plateau (up along a line, then halved where validation stands
        still).
      warm_up: share of a phase's steps on the way up.
      first: share of the highest rate in the first step; None: as much as every step of the rise adds.
      last: share of the highest rate at the end of one cycle or a cosine.
    """

    kind: str = "one_cycle"
    warm_up: float = 0.3
    first: float | None = None
    last: float = 0.0

    def pace(self, step: int, length: int, halvings: int = 0) -> float:
        """Share of the highest learning rate.

        Args:
          step: finished before this one; length: steps in all.
          halvings: how often a plateau was met.
        """
        rise = max(1.0, self.warm_up * length)
        if self.kind == "one_cycle":
            return self._one_cycle(step, length, rise)
        if step < rise:
            return self._rising(step, rise)
        if self.kind == "plateau":
            return float(0.5**halvings)
        fall = max(length - rise, 1.0)
        return self.last + (1.0 - self.last) * (1.0 + cos(pi * min((step - rise) / fall, 1.0))) / 2.0

    def _rising(self, step: int, rise: float) -> float:
        if self.first is None:
            return min(1.0, (step + 1) / rise)
        return self.first + (1.0 - self.first) * step / rise

    def _one_cycle(self, step: int, length: int, rise: float) -> float:
        """Up along a cosine in `rise` steps, then down to almost nothing."""
        if step < rise:
            start, end, part = FIRST if self.first is None else self.first, 1.0, step / rise
        else:
            start, end, part = 1.0, max(self.last, LAST), (step - rise) / max(length - rise, 1)
        return end + (start - end) * (1.0 + cos(pi * min(part, 1.0))) / 2.0


FIRST, LAST = 1 / 25, 1e-5  # of the highest learning rate, in one cycle
ONE_CYCLE = Schedule()
WARM_COSINE = Schedule("cosine", 0.1, first=0.1, last=0.02)
