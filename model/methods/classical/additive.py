"""Each total shared out in proportion to a non-negative sum of the covariates that explains the totals."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Masses, Scene
from model.method import Phase, Survey
from model.options import MethodOptions
from model.priors.dasymetric import Evidence, Exposure
from model.priors.pycnophylactic import meet_totals
from model.training.options import TrainingOptions


class AdditivePoisson:
    """Weights by Poisson likelihood: an error counts by how large a total is, not by its square."""

    how: ClassVar[str] = "poisson"
    summary: ClassVar[str] = "each total shared out by a non-negative sum of covariates (Poisson)"

    def __init__(self, options: MethodOptions | None = None, training: TrainingOptions | None = None) -> None:
        """There is nothing to choose."""
        self.exposure = Exposure((), (), ())
        self.layers: tuple[str, ...] = ()
        self.sectors: tuple[str, ...] = ()

    def prepare(self, survey: Survey) -> None:
        """Fits the sum to the known totals of the training split, at the inventory's own scale."""
        self.exposure = Exposure.fit(Evidence.of(survey), self.how)
        self.layers = tuple(layer.name for layer in survey.layers)
        self.sectors = survey.sectors

    def phases(self) -> tuple[Phase, ...]:
        """It does not learn."""
        return ()

    def raw(self, scene: Scene) -> Masses:
        """(sectors, time, H, W) before it is made to meet the totals."""
        return self.exposure(scene)

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """The sum of the covariates, scaled to the totals shown."""
        return meet_totals(self.raw(scene), scene)

    def state(self) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """The weights as JSON values."""
        names = {"layers": list(self.layers), "sectors": list(self.sectors)}
        return {}, {"exposure": self.exposure.plain(), **names}

    def load_state(self, arrays: Mapping[str, NDArray], plain: Mapping[str, Any]) -> None:
        """Restores the weights."""
        self.exposure = Exposure.from_plain(plain["exposure"])
        self.layers, self.sectors = tuple(plain["layers"]), tuple(plain["sectors"])

    def describe(self) -> dict[str, Any]:
        """The weight of each covariate in each sector: mass per fine cell and unit of the covariate."""
        names = [*(self.layers[index] for index in self.exposure.layers), "every valid cell"]
        rows = zip(self.exposure.weights, self.exposure.constant, strict=True)
        weights = [
            {name: value for name, value in zip(names, (*row, constant), strict=True) if value > 0.0}
            for row, constant in rows
        ]
        return {
            "summary": self.summary,
            "learns": False,
            "weights": dict(zip(self.sectors, weights, strict=True)),
        }


class AdditiveLeastSquares(AdditivePoisson):
    """Weights by least squares: the largest totals steer the fit."""

    how: ClassVar[str] = "least_squares"
    summary: ClassVar[str] = "each total shared out by a non-negative sum of covariates (least squares)"
