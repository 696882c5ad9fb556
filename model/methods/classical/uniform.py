"""Each total spread evenly over the valid cells of its block: the row every table must beat."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Scene
from model.ground.survey import Survey
from model.method import Facts, NothingLearned, Phase
from model.options import MethodOptions
from model.priors.pycnophylactic import rescale_to_totals
from model.training.options import TrainingOptions


class Uniform:
    """Knows nothing but which cells are valid."""

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
        """Equal mass in every valid cell of a block: areal weighting (Goodchild and Lam 1980).

        Returns: (sectors, time, H, W) mass per fine cell; 0 in cells that are not valid, 1 in valid cells of a
          block whose total is unknown.
        """
        shape = (*scene.totals.shape[:2], *scene.valid.shape)
        return rescale_to_totals(np.broadcast_to(scene.valid, shape).astype(np.float64), scene)

    def state(self) -> tuple[dict[str, NDArray], NothingLearned]:
        """Nothing learned.

        Returns: no arrays, and an empty record.
        """
        return {}, {}

    def load_state(self, arrays: Mapping[str, NDArray], plain: NothingLearned) -> None:
        """Nothing to restore."""

    def describe(self) -> Facts:
        """One sentence for the report."""
        return {"summary": "each total spread evenly over the valid cells of its block", "learns": False}
