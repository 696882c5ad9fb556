"""Each total read as a density at its block's centre, and in between in proportion to distance."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import merge
from model.ground.scene import Scene
from model.ground.survey import Survey
from model.method import Phase
from model.options import MethodOptions
from model.priors.pycnophylactic import bilinear, meet_totals, pycnophylactic
from model.training.options import TrainingOptions


class Bilinear:
    """Bilinear interpolation of mass per valid cell, scaled back to the totals; knows no covariate."""

    def __init__(self, options: MethodOptions | None = None, training: TrainingOptions | None = None) -> None:
        """There is nothing to choose."""

    def prepare(self, survey: Survey) -> None:
        """Nothing to look at."""

    def phases(self) -> tuple[Phase, ...]:
        """It does not learn."""
        return ()

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """A block of unknown total takes the density its neighbours suggest; no block is ruled out for good.

        Why by valid cells: on a coast the little land of a block is as dense as its total says.
        """
        cells = merge(scene.valid.astype(np.float64), scene.side)
        known = scene.known & (cells > 0.0)
        means = scene.totals / np.maximum(cells, 1.0)
        filled = pycnophylactic(means, known, parts=1, sweeps=0)
        return meet_totals(bilinear(filled, 1, scene.side) * scene.valid, scene)

    def state(self) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """Nothing learned."""
        return {}, {}

    def load_state(self, arrays: Mapping[str, NDArray], plain: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    def describe(self) -> dict[str, Any]:
        """One sentence for the report."""
        return {"summary": "density of the totals, interpolated between block centres", "learns": False}
