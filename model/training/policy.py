"""How training behaves around a step: its precision, and what follows a number that is not finite."""

from dataclasses import dataclass

HALVE_AFTER = 2  # validations without a better score before a plateau halves the rate
SKIPS_IN_A_ROW = 10  # more than these are no accident


@dataclass(frozen=True)
class Policy:
    """What the loop does around each step.

    Attributes:
      accumulate: batches whose gradients make one step.
      not_finite: stop names the place and ends; skip leaves the step out and counts it.
      precision: float32, bf16 inside networks (weights, losses and the optimiser stay float32), or auto: bf16
        on a GPU, float32 on a CPU, where bf16 without matrix units takes twice as long.
    """

    accumulate: int = 1
    not_finite: str = "stop"
    precision: str = "auto"

    def halves(self, device: str) -> bool:
        """Whether networks on this kind of device work in bf16."""
        return self.precision == "bf16" or (self.precision == "auto" and device == "cuda")


USUAL = Policy()
