"""Each total spread evenly over the valid cells of its block: the row every table must beat."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Scene
from model.method import Phase, Survey
from model.options import MethodOptions
from model.priors.pycnophylactic import meet_totals
from model.training.options import TrainingOptions


class Uniform:
    """Knows nothing but which cells are valid."""

    def __init__(self, options: MethodOptions | None = None, training: TrainingOptions | None = None) -> None:
        """There is nothing to choose."""

    def prepare(self, survey: Survey) -> None:
        """Nothing to look at."""

    def phases(self) -> tuple[Phase, ...]:
        """It does not learn."""
        return ()

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """Equal mass in every valid cell of a block; a block of unknown total holds ones."""
        shape = (*scene.totals.shape[:2], *scene.valid.shape)
        return meet_totals(np.broadcast_to(scene.valid, shape).astype(np.float64), scene)

    def state(self) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """Nothing learned."""
        return {}, {}

    def load_state(self, arrays: Mapping[str, NDArray], plain: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    def describe(self) -> dict[str, Any]:
        """One sentence for the report."""
        return {"summary": "each total spread evenly over the valid cells of its block", "learns": False}
