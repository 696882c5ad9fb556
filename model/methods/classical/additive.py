"""Each total shared out in proportion to a non-negative sum of the covariates that explains the totals."""

from collections.abc import Mapping
from typing import ClassVar, TypedDict

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Masses, Scene
from model.ground.survey import Survey
from model.method import Facts, Phase
from model.options import MethodOptions
from model.priors.dasymetric import Evidence, Exposure, ExposureRecord
from model.priors.pycnophylactic import rescale_to_totals
from model.training.options import TrainingOptions


class AdditiveRecord(TypedDict):
    """The weights as a checkpoint keeps them."""

    exposure: ExposureRecord
    layers: list[str]
    sectors: list[str]


class AdditiveFacts(Facts):
    """What the report tells of it: by sector, by covariate."""

    weights: dict[str, dict[str, float]]


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
        """Fits the sum to the known totals of the training split, at the inventory's own scale.

        The sum is linear, so weights found on block sums hold for fine cells too; none is below 0.
        """
        self.exposure = Exposure.fit(Evidence.of(survey), self.how)
        self.layers = tuple(layer.name for layer in survey.layers)
        self.sectors = survey.sectors

    def phases(self) -> tuple[Phase, ...]:
        """None: it does not learn.

        The training loop is left out and the checkpoint is written right after prepare.
        """
        return ()

    def raw(self, scene: Scene) -> Masses:
        """The fitted sum of a scene, before it is made to meet the totals.

        Returns: (sectors, time, H, W) mass per fine cell, float64.
        """
        return self.exposure(scene)

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """The sum of the covariates, scaled to the totals shown.

        Returns: (sectors, time, H, W) mass per fine cell, float32; a block where the sum is 0 stays empty.
        """
        return rescale_to_totals(self.raw(scene), scene)

    def state(self) -> tuple[dict[str, NDArray], AdditiveRecord]:
        """The weights as JSON values.

        Returns: no arrays; layers by name and by index, a row of weights for each sector.
        """
        return {}, {
            "exposure": self.exposure.plain(),
            "layers": list(self.layers),
            "sectors": list(self.sectors),
        }

    def load_state(self, arrays: Mapping[str, NDArray], plain: AdditiveRecord) -> None:
        """Restores the weights.

        Raises: KeyError when the record lacks one of its parts.
        """
        self.exposure = Exposure.from_json(plain["exposure"])
        self.layers, self.sectors = tuple(plain["layers"]), tuple(plain["sectors"])

    def describe(self) -> AdditiveFacts:
        """The weight of each covariate in each sector: mass per fine cell and unit of the covariate.

        Weights of 0 are left out; the constant stands under "every valid cell", in mass per fine cell.
        """
        names = [*map(self.layers.__getitem__, self.exposure.layers), "every valid cell"]
        weights: dict[str, dict[str, float]] = {}
        for sector, row, constant in zip(
            self.sectors, self.exposure.weights, self.exposure.constant, strict=True
        ):
            values = zip(names, (*row, constant), strict=True)
            weights[sector] = {name: value for name, value in values if value > 0.0}
        return {
            "summary": self.summary,
            "learns": False,
            "weights": weights,
        }


class AdditiveLeastSquares(AdditivePoisson):
    """Weights by least squares: the largest totals steer the fit."""

    how: ClassVar[str] = "least_squares"
    summary: ClassVar[str] = "each total shared out by a non-negative sum of covariates (least squares)"
