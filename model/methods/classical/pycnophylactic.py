"""A smooth surface that keeps every total, on all valid ground; knows no covariate."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Scene
from model.ground.survey import Survey
from model.method import Facts, NothingLearned, Phase
from model.options import MethodOptions
from model.priors.pycnophylactic import rescale_to_totals, smooth_density
from model.training.options import TrainingOptions


class Pycnophylactic:
    """Tobler's (1979) smooth density alone: what a base is worth before any layer says where mass may be."""

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
        """The smooth density on valid cells, scaled to the totals shown.

        Returns: (sectors, time, H, W) mass per fine cell. Why scaled again: drawn on fine cells the surface meets
          totals only nearly, and the mask of valid cells takes mass away.
        """
        return rescale_to_totals(smooth_density(scene) * scene.valid, scene)

    def state(self) -> tuple[dict[str, NDArray], NothingLearned]:
        """Nothing learned.

        Returns: no arrays, and an empty record.
        """
        return {}, {}

    def load_state(self, arrays: Mapping[str, NDArray], plain: NothingLearned) -> None:
        """Nothing to restore."""

    def describe(self) -> Facts:
        """One sentence for the report."""
        return {"summary": "smooth surface that keeps every total (pycnophylactic)", "learns": False}
