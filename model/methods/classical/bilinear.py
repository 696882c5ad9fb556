"""Each total read as a density at its block's centre, and in between in proportion to distance."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import merge
from model.ground.scene import Scene
from model.ground.survey import Survey
from model.method import Facts, NothingLearned, Phase
from model.options import MethodOptions
from model.priors.pycnophylactic import bilinear, pycnophylactic, rescale_to_totals
from model.training.options import TrainingOptions


class Bilinear:
    """Bilinear interpolation of mass per valid cell, scaled back to the totals; knows no covariate."""

    def __init__(self, options: MethodOptions | None = None, training: TrainingOptions | None = None) -> None:
        """There is nothing to choose."""

    def prepare(self, survey: Survey) -> None:
        """Nothing to look at.

        What it needs, the totals and the valid cells, comes with every scene.
        """

    def phases(self) -> tuple[Phase, ...]:
        """None: it does not learn.

        The training loop is left out and the checkpoint is written right after prepare.
        """
        return ()

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """A block of unknown total takes the density its neighbours suggest; no block is ruled out for good.

        Why by valid cells: on a coast the little land of a block is as dense as its total says.
        Returns: (sectors, time, H, W) mass per fine cell, 0 in cells that are not valid.
        """
        cells = merge(scene.valid.astype(np.float64), scene.side)
        known = scene.known & (cells > 0.0)
        means = scene.totals / np.maximum(cells, 1.0)
        filled = pycnophylactic(means, known, parts=1, sweeps=0)
        return rescale_to_totals(bilinear(filled, 1, scene.side) * scene.valid, scene)

    def state(self) -> tuple[dict[str, NDArray], NothingLearned]:
        """Nothing learned.

        Returns: no arrays, and an empty record.
        """
        return {}, {}

    def load_state(self, arrays: Mapping[str, NDArray], plain: NothingLearned) -> None:
        """Nothing to restore."""

    def describe(self) -> Facts:
        """One sentence for the report."""
        return {"summary": "density of the totals, interpolated between block centres", "learns": False}
