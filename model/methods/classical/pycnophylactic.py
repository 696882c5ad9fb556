"""A smooth surface that keeps every total, on all valid ground; knows no covariate."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Scene
from model.method import Phase, Survey
from model.options import MethodOptions
from model.priors.pycnophylactic import meet_totals, smooth_density
from model.training.options import TrainingOptions


class Pycnophylactic:
    """Tobler's (1979) smooth density alone: what a base is worth before any layer says where mass may be."""

    def __init__(self, options: MethodOptions | None = None, training: TrainingOptions | None = None) -> None:
        """There is nothing to choose."""

    def prepare(self, survey: Survey) -> None:
        """Nothing to look at."""

    def phases(self) -> tuple[Phase, ...]:
        """It does not learn."""
        return ()

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """The smooth density on valid cells, scaled to the totals shown."""
        return meet_totals(smooth_density(scene) * scene.valid, scene)

    def state(self) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """Nothing learned."""
        return {}, {}

    def load_state(self, arrays: Mapping[str, NDArray], plain: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    def describe(self) -> dict[str, Any]:
        """One sentence for the report."""
        return {"summary": "smooth surface that keeps every total (pycnophylactic)", "learns": False}
