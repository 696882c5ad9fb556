"""What the two methods made of decision trees share: features, the mask, and trees as plain arrays."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from model.ground.block_focal import around, radius_in_cells
from model.ground.errors import UsageFault
from model.ground.scene import Masses, Scene
from model.method import Phase, Survey
from model.options import MethodOptions
from model.priors.forest import Forest
from model.priors.pycnophylactic import Base, meet_totals
from model.training.options import TrainingOptions

BLOCKS_AROUND = (1, 2)  # squares of 3 and of 5 blocks; the halo of inference holds most of the latter


class TreeMethod:
    """The density of blocks, learned from the layers' means in and around them, asked of fine cells.

    The random forest of WorldPop (Stevens et al. 2015) on a regular grid. A fine cell enters with its own value
    where a block entered with its mean, and with squares as wide as those around a block. Blocky layers are left out.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""

    def __init__(self, options: MethodOptions | None = None, training: TrainingOptions | None = None) -> None:
        """There is nothing to choose; of the train section the seed is used."""
        self.seed = (training or TrainingOptions()).seed
        self.base = Base((), ())
        self.used: tuple[int, ...] = ()
        self.layers: tuple[str, ...] = ()
        self.sectors: tuple[str, ...] = ()
        self.factor = 1
        self.forests: tuple[Forest, ...] = ()

    def prepare(self, survey: Survey) -> None:
        """Grows the trees of each sector on the known blocks of the training split.

        Raises: UsageFault (exit 2) when the library that grows them is not installed.
        """
        self.base = Base.of(survey)
        self.layers, self.sectors = tuple(layer.name for layer in survey.layers), survey.sectors
        self.used = tuple(index for index, layer in enumerate(survey.layers) if not layer.blocky)
        self.factor = survey.factor
        features = self._features(survey.sums, survey.cells, BLOCKS_AROUND)
        self.forests = tuple(self._of_sector(survey, sector, features) for sector in range(len(self.sectors)))

    def _of_sector(self, survey: Survey, sector: int, features: NDArray[np.float32]) -> Forest:
        known = survey.known[sector] & (survey.cells > 0)
        counted = known & survey.target
        counted = counted if counted.any() else known
        cells = np.broadcast_to(survey.cells, counted.shape)[counted].astype(np.float64)
        density = survey.totals[sector][counted] / cells
        if not (density > 0.0).any() or not self.used:
            return Forest.constant()
        return self.grow(features[counted], density, cells)

    def grow(self, rows: NDArray[np.float32], density: Masses, cells: Masses) -> Forest:
        """Trees whose sum is the logarithm of the density, up to a constant.

        Args:
          rows: (n, features). density: (n,) mass per valid cell, somewhere above 0. cells: (n,) valid cells.
        """
        raise NotImplementedError

    def _features(self, values: NDArray, cells: NDArray, radii: tuple[int, ...]) -> NDArray[np.float32]:
        """(time, H, W, features): each layer's own mean, then its mean over every square."""
        chosen = values[list(self.used)]
        squares = [around(chosen, cells, radius) for radius in (0, *radii)]
        return np.moveaxis(np.concatenate(squares), 0, -1).astype(np.float32)

    def phases(self) -> tuple[Phase, ...]:
        """The trees are grown in prepare: there are no steps to take."""
        return ()

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """The density on cells the mask allows, scaled to the totals shown."""
        radii = tuple(radius_in_cells(blocks, self.factor) for blocks in BLOCKS_AROUND)
        mask = self.base.mask(scene)
        rows = self._features(np.where(scene.valid, scene.covariates, 0.0), scene.valid, radii)[mask]
        out = np.zeros((len(self.forests), *mask.shape))
        for sector, forest in enumerate(self.forests):
            out[sector][mask] = np.exp(forest(rows))
        return meet_totals(out, scene)

    def state(self) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """The trees as arrays, the choices as JSON values."""
        arrays: dict[str, NDArray] = {}
        for index, forest in enumerate(self.forests):
            arrays |= forest.arrays(f"sector{index}")
        plain = {name: list(getattr(self, name)) for name in ("used", "layers", "sectors")}
        return arrays, plain | {"base": self.base.plain(), "factor": self.factor}

    def load_state(self, arrays: Mapping[str, NDArray], plain: Mapping[str, Any]) -> None:
        """Restores trees and choices; ValueError when the trees ask for more features than there are."""
        for name in ("used", "layers", "sectors"):
            setattr(self, name, tuple(plain[name]))
        self.base, self.factor = Base.from_plain(plain["base"]), int(plain["factor"])
        self.forests = tuple(
            Forest.from_arrays(arrays, f"sector{index}") for index in range(len(self.sectors))
        )
        width = len(self.used) * (1 + len(BLOCKS_AROUND))
        if any(forest.features > width for forest in self.forests):
            raise ValueError(f"a tree asks for more than {width} features")

    def describe(self) -> dict[str, Any]:
        """Size, features and mask."""
        mask = [self.layers[index] for index in self.base.mask_layers]
        squares = [f"{2 * blocks + 1} blocks around" for blocks in BLOCKS_AROUND]
        return {
            "summary": self.summary,
            "learns": True,
            "inputs": [self.layers[index] for index in self.used],
            "scales": ["own value", *squares],
            "trees": {
                name: forest.roots.size for name, forest in zip(self.sectors, self.forests, strict=True)
            },
            "mask": mask or ["every valid cell"],
        }


def library(name: str, package: str, method: str) -> Any:
    """A library that is no part of the core, imported now.

    Raises: UsageFault (exit 2) when it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageFault(
            "train.method",
            f"{method}, but {package} cannot be imported ({error})",
            "the packages of the extra `trees`",
            "pip install -e '.[trees]' in the checkout, or choose another method",
        ) from error
