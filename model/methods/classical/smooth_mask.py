"""A smooth surface that keeps every total, on the cells the covariates allow; learns nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Scene
from model.method import Phase, Survey
from model.options import MethodOptions
from model.priors.pycnophylactic import Base, meet_totals
from model.training.options import TrainingOptions


class SmoothMask:
    """Pycnophylactic density times the mask; also what a learning method falls back to on a small map."""

    def __init__(self, options: MethodOptions | None = None, training: TrainingOptions | None = None) -> None:
        """There is nothing to choose."""
        self.base = Base((), ())
        self.layers: tuple[str, ...] = ()

    def prepare(self, survey: Survey) -> None:
        """Picks the layers of the mask and the floor of the density."""
        self.base = Base.of(survey)
        self.layers = tuple(layer.name for layer in survey.layers)

    def phases(self) -> tuple[Phase, ...]:
        """It does not learn."""
        return ()

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """The base, scaled to the totals shown."""
        return meet_totals(self.base(scene), scene)

    def state(self) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """The choices made in prepare."""
        return {}, {"base": self.base.plain(), "layers": list(self.layers)}

    def load_state(self, arrays: Mapping[str, NDArray], plain: Mapping[str, Any]) -> None:
        """Restores the choices."""
        self.base = Base.from_plain(plain["base"])
        self.layers = tuple(plain["layers"])

    def describe(self) -> dict[str, Any]:
        """What the mask is made of."""
        mask = [self.layers[index] for index in self.base.mask_layers]
        return {
            "summary": "smooth surface that keeps every total, on the cells the covariates allow",
            "learns": False,
            "mask": mask or ["every valid cell"],
        }
