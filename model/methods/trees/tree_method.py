"""What the two methods made of decision trees share: features, the mask, and trees as plain arrays."""

from collections.abc import Mapping
from importlib import import_module
from itertools import repeat
from typing import Any, ClassVar, TypedDict

import numpy as np
from numpy.typing import NDArray

from model.ground.block_focal import around, radius_in_cells
from model.ground.errors import UsageError
from model.ground.scene import Masses, Scene
from model.ground.survey import Survey
from model.method import Facts, Phase
from model.options import MethodOptions
from model.priors.forest import Forest
from model.priors.pycnophylactic import Base, BaseRecord, rescale_to_totals
from model.training.options import TrainingOptions

BLOCKS_AROUND = (1, 2)  # squares of 3 and of 5 blocks; the halo of inference holds most of the latter


class TreeRecord(TypedDict):
    """The choices as a checkpoint keeps them beside the trees; `used` are indices of layers."""

    used: list[int]
    layers: list[str]
    sectors: list[str]
    base: BaseRecord
    factor: int


class TreeFacts(Facts):
    """What the report tells of it; `trees` by sector."""

    inputs: list[str]
    scales: list[str]
    trees: dict[str, int]
    mask: list[str]


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

        Raises: UsageError (exit 2) when the library that grows them is not installed.
        """
        self.base = Base.of(survey)
        self.layers, self.sectors = tuple(layer.name for layer in survey.layers), survey.sectors
        self.used = tuple(index for index, layer in enumerate(survey.layers) if not layer.blocky)
        self.factor = survey.factor
        features = self._features(survey.sums, survey.cells, BLOCKS_AROUND)
        forests = []
        for sector in range(len(self.sectors)):
            forests.append(self._of_sector(survey, sector, features))
        self.forests = tuple(forests)

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
        """None: the trees are grown in prepare, there are no steps to take.

        So the checkpoint is complete as soon as the map has been looked at.
        """
        return ()

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """The density on cells the mask allows, scaled to the totals shown.

        Returns: (sectors, time, H, W) mass per fine cell, float32; 0 off the mask.
        A constant of the density makes no difference: each block is scaled to its total.
        """
        radii = tuple(map(radius_in_cells, BLOCKS_AROUND, repeat(self.factor)))
        mask = self.base.mask(scene)
        rows = self._features(np.where(scene.valid, scene.covariates, 0.0), scene.valid, radii)[mask]
        out = np.zeros((len(self.forests), *mask.shape))
        for sector, forest in enumerate(self.forests):
            out[sector][mask] = np.exp(forest(rows))
        return rescale_to_totals(out, scene)

    def state(self) -> tuple[dict[str, NDArray], TreeRecord]:
        """The trees as arrays, the choices as JSON values.

        Returns: arrays named after the place of their sector, `sector0...`; the choices made in prepare.
        """
        arrays: dict[str, NDArray] = {}
        for index, forest in enumerate(self.forests):
            arrays |= forest.arrays(f"sector{index}")
        return arrays, {
            "used": list(self.used),
            "layers": list(self.layers),
            "sectors": list(self.sectors),
            "base": self.base.plain(),
            "factor": self.factor,
        }

    def load_state(self, arrays: Mapping[str, NDArray], plain: TreeRecord) -> None:
        """Restores trees and choices.

        Raises: ValueError when the trees ask for more features than there are.
        """
        self.used = tuple(plain["used"])
        self.layers, self.sectors = tuple(plain["layers"]), tuple(plain["sectors"])
        self.base, self.factor = Base.from_json(plain["base"]), int(plain["factor"])
        width = len(self.used) * (1 + len(BLOCKS_AROUND))
        forests = []
        for index in range(len(self.sectors)):
            forest = Forest.from_arrays(arrays, f"sector{index}")
            if forest.features > width:
                raise ValueError(f"a tree asks for more than {width} features")
            forests.append(forest)
        self.forests = tuple(forests)

    def describe(self) -> TreeFacts:
        """Size, features and mask.

        `scales` are the squares over which every input enters, beside its own value.
        """
        mask = list(map(self.layers.__getitem__, self.base.mask_layers))
        trees = {}
        for sector, forest in zip(self.sectors, self.forests, strict=True):
            trees[sector] = int(forest.roots.size)
        squares = [f"{2 * blocks + 1} blocks around" for blocks in BLOCKS_AROUND]
        return {
            "summary": self.summary,
            "learns": True,
            "inputs": list(map(self.layers.__getitem__, self.used)),
            "scales": ["own value", *squares],
            "trees": trees,
            "mask": mask or ["every valid cell"],
        }


def library(name: str, package: str, method: str) -> Any:
    """A library that is no part of the core, imported now.

    Raises: UsageError (exit 2) when it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(
            "train.method",
            f"{method}, but {package} cannot be imported ({error})",
            "the packages of the extra `trees`",
            "pip install -e '.[trees]' in the checkout, or choose another method",
        ) from error
