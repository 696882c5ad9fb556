"""The sum of covariates that explains the totals, bent by a smooth intensity that keeps every total."""

from typing import ClassVar

from model.ground.scene import Masses, Scene
from model.methods.classical.additive import AdditivePoisson
from model.priors.dasymetric import with_smoothed_ratio


class ExposureIntensity(AdditivePoisson):
    """Exposure x intensity: what covariates miss varies smoothly in space, without steps at the edges of blocks."""

    summary: ClassVar[str] = "sum of covariates (Poisson) x a smooth intensity that keeps every total"

    def raw(self, scene: Scene) -> Masses:
        """The sum bent by a smooth intensity, so that known totals are met already.

        Returns: (sectors, time, H, W) mass per fine cell, float64.
        """
        return with_smoothed_ratio(self.exposure(scene), scene)
