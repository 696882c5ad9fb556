"""Names one of the runs that an evaluation compares."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RunKey:
    """Which run an artifact comes from; what an evaluation does not vary stays empty.

    Attributes:
      case: the named subset of layers.
      part: the factor totals were merged by, the number of what was hidden, or the layer that was spoilt.
      method: that made it; "" where every run has the method of the run itself.
      change: what was done to the layer, in words.
    """

    method: str = ""
    case: str = ""
    part: int | str = ""
    change: str = ""

    def __str__(self) -> str:
        """As it stands in manifests and messages, e.g. dark/uniform."""
        named = (self.case, str(self.part), self.method, self.change)
        return "/".join(word for word in named if word)
