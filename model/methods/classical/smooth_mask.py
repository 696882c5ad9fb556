"""A smooth surface that keeps every total, on the cells the covariates allow; learns nothing."""

from collections.abc import Mapping
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Scene
from model.ground.survey import Survey
from model.method import Facts, Phase
from model.options import MethodOptions
from model.priors.pycnophylactic import Base, BaseRecord, rescale_to_totals
from model.training.options import TrainingOptions


class SmoothMaskRecord(TypedDict):
    """The choices of the method as a checkpoint keeps them."""

    base: BaseRecord
    layers: list[str]


class SmoothMaskFacts(Facts):
    """What the report tells of it."""

    mask: list[str]


class SmoothMask:
    """Pycnophylactic density times the mask; also what a learning method falls back to on a small map."""

    def __init__(self, options: MethodOptions | None = None, training: TrainingOptions | None = None) -> None:
        """There is nothing to choose."""
        self.base = Base((), ())
        self.layers: tuple[str, ...] = ()

    def prepare(self, survey: Survey) -> None:
        """Picks the layers of the mask and the floor of the density.

        Layers count by their share of zeros: see Base.of in model/priors/pycnophylactic.py.
        """
        self.base = Base.of(survey)
        self.layers = tuple(layer.name for layer in survey.layers)

    def phases(self) -> tuple[Phase, ...]:
        """None: it does not learn.

        The training loop is left out and the checkpoint is written right after prepare.
        """
        return ()

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """The base, scaled to the totals shown.

        Returns: (sectors, time, H, W) mass per fine cell. A block whose cells the mask rules out stays empty even
          where its total is known; the fallback of inference has a place for it.
        """
        return rescale_to_totals(self.base(scene), scene)

    def state(self) -> tuple[dict[str, NDArray], SmoothMaskRecord]:
        """The choices made in prepare.

        Returns: no arrays, and the indices of the mask's layers beside the names of all layers.
        """
        return {}, {"base": self.base.plain(), "layers": list(self.layers)}

    def load_state(self, arrays: Mapping[str, NDArray], plain: SmoothMaskRecord) -> None:
        """Restores the choices.

        Raises: KeyError when the record lacks the base or the layers.
        """
        self.base = Base.from_json(plain["base"])
        self.layers = tuple(plain["layers"])

    def describe(self) -> SmoothMaskFacts:
        """What the mask is made of.

        Returns: names of the layers any of which allows a cell by being positive.
        """
        mask = list(map(self.layers.__getitem__, self.base.mask_layers))
        return {
            "summary": "smooth surface that keeps every total, on the cells the covariates allow",
            "learns": False,
            "mask": mask or ["every valid cell"],
        }
