"""Where mass is to be expected: a non-negative sum of layers, bent by what the totals shown say of each place."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import merge, spread
from model.ground.scene import Bools, Masses, Scene
from model.ground.survey import Survey
from model.priors.nonnegative import least_squares_weights, poisson_weights

ROUNDS = 8  # of smoothing; the totals are met again after each
CUT = 4.0  # standard deviations after which the Gaussian is cut
# Of the Gaussian, in blocks. Chosen by what is missed of totals that were merged 2 x 2: on five maps of six it is
# the best of 0.12 to 0.5 or within 0.6 % of it; on the sixth 0.5 is better by 2 %.
REACH = 0.35
FITS: dict[str, Callable[[Masses, Masses], NDArray[np.float64]]] = {
    "poisson": poisson_weights,
    "least_squares": least_squares_weights,
}


@dataclass(frozen=True)
class Evidence:
    """Block totals beside the block sums of the layers that may explain them, at one scale.

    Attributes:
      layers: indices of the covariates used; those as coarse as a block tell nothing inside it and are left out.
      sums: (layers, time, h, w) over the valid fine cells of a block, of values clipped at 0.
      cells: (h, w) valid fine cells.
      totals: (sectors, time, h, w) mass per block.
      counted: same shape, True = the fit may look at it.
    """

    layers: tuple[int, ...]
    sums: Masses
    cells: NDArray[np.int64]
    totals: Masses
    counted: Bools

    @classmethod
    def of(cls, survey: Survey, group: int = 1, start: tuple[int, int] = (0, 0)) -> "Evidence":
        """What is seen when the totals of group x group coarse cells are merged.

        A merged total counts when all its members are known, of the training split and outside the buffer.
        A sector of which no such block is left counts every known one.

        Args: start: row and column of the first group; what makes no whole group is left out.
        """
        chosen = tuple(index for index, layer in enumerate(survey.layers) if not layer.blocky)
        sums = survey.sums if survey.positive_sums is None else survey.positive_sums
        height, width = survey.cells.shape
        part = (..., _whole(height, start[0], group), _whole(width, start[1], group))
        cells = merge(survey.cells[part], group)
        totals = merge(np.where(survey.known, survey.totals, 0.0)[part], group)
        known = (merge(survey.known[part], group) == group * group) & (cells > 0)
        counted = known & (merge(survey.target[part], group) == group * group)
        lost = ~counted.any(axis=(1, 2, 3), keepdims=True)
        positive = np.maximum(merge(sums[list(chosen)][part], group), 0.0)
        return cls(chosen, positive, cells, totals, np.where(lost, known, counted))


def _whole(size: int, first: int, group: int) -> slice:
    """From the first on, as many as make whole groups."""
    return slice(first, first + (size - first) // group * group)


class ExposureRecord(TypedDict):
    """A dasymetric regression as a checkpoint keeps it: a row of weights for each sector."""

    layers: list[int]
    weights: list[list[float]]
    constant: list[float]


@dataclass(frozen=True)
class Exposure:
    """E = sum over layers of weight x layer, plus a constant, in mass per fine cell; nothing is negative.

    Attributes:
      layers: indices of the covariates used.
      weights: one tuple a sector, mass per fine cell and unit of each layer.
      constant: one a sector, mass per valid fine cell.
    """

    layers: tuple[int, ...]
    weights: tuple[tuple[float, ...], ...]
    constant: tuple[float, ...]

    @classmethod
    def fit(cls, evidence: Evidence, how: str) -> "Exposure":
        """Explains the totals by the layers' block sums, each sector alone, all years together.

        Args: how: a key of FITS.
        """
        weights, constants = [], []
        for totals, counted in zip(evidence.totals, evidence.counted, strict=True):
            even = np.broadcast_to(evidence.cells, counted.shape)[counted].astype(np.float64)
            columns = np.column_stack([*evidence.sums[:, counted], even])
            found = FITS[how](columns, totals[counted])
            if not found.any():  # no mass to learn from: as good as any place
                found[-1] = 1.0
            weights.append(tuple(found[:-1].tolist()))
            constants.append(float(found[-1]))
        return cls(evidence.layers, tuple(weights), tuple(constants))

    def of(self, layers: NDArray, cells: NDArray) -> Masses:
        """E of cells or of whole blocks: it is linear, so both are one formula.

        Args:
          layers: (all layers, time, H, W), sums over `cells` valid fine cells each; values below 0 count as 0.
          cells: (H, W) number of valid fine cells; one or none where an element is a fine cell.
        Returns: (sectors, time, H, W).
        """
        out = np.empty((len(self.constant), *layers.shape[1:]))
        for sector, (weights, constant) in enumerate(zip(self.weights, self.constant, strict=True)):
            out[sector] = constant * cells
            for index, weight in zip(self.layers, weights, strict=True):
                if weight > 0.0:
                    out[sector] += weight * np.maximum(layers[index], 0.0).astype(np.float64)
        return out

    def __call__(self, scene: Scene) -> Masses:
        """E of the fine cells, (sectors, time, H, W); 0 where not valid."""
        return self.of(scene.covariates, scene.valid) * scene.valid

    def plain(self) -> ExposureRecord:
        """As JSON values."""
        weights = list(map(list, self.weights))
        return {"layers": list(self.layers), "weights": weights, "constant": list(self.constant)}

    @classmethod
    def from_json(cls, plain: ExposureRecord) -> "Exposure":
        """The inverse of plain()."""
        weights = tuple(map(tuple, plain["weights"]))
        return cls(tuple(plain["layers"]), weights, tuple(plain["constant"]))


def with_smoothed_ratio(exposure: Masses, scene: Scene, reach: float = REACH, rounds: int = ROUNDS) -> Masses:
    """Exposure x a smooth intensity, so that every total shown is met without steps at the edges of blocks.

    The intensity starts as total / exposure of each block. Each round replaces it by its mean over the
    surroundings, weighted by exposure with a Gaussian, and rescales it to the totals (a mass-true
    smoothing after Tobler 1979, on risk instead of density). Where nothing is known near by it is 1: the exposure
    is in mass already.

    Args:
      exposure: (sectors, time, H, W) mass per fine cell, 0 where not valid. A block with mass and no exposure
        is taken to hold its mean on every valid cell.
      reach: standard deviation of the Gaussian, in blocks.
    Returns: same shape.
    """
    exposure = _never_bare(exposure, scene)
    seen = exposure * spread(scene.known, scene.side)
    rows, cols = scene.valid.shape
    down, across = gaussian(rows, reach * scene.side), gaussian(cols, reach * scene.side)
    weight = down @ seen @ across.T
    intensity = _meeting(np.ones_like(exposure), exposure, scene)
    for _ in range(rounds):
        mean = down @ (seen * intensity) @ across.T
        intensity = np.divide(mean, weight, out=np.ones_like(mean), where=weight > 0.0)
        intensity = _meeting(intensity, exposure, scene)
    return exposure * intensity


def _never_bare(exposure: Masses, scene: Scene) -> Masses:
    """Gives blocks that hold mass but no exposure their mean on every valid cell."""
    bare = scene.known & (scene.totals > 0.0) & (merge(exposure, scene.side) <= 0.0)
    if not bare.any():
        return exposure
    cells = np.maximum(merge(scene.valid.astype(np.float64), scene.side), 1.0)
    return exposure + spread(np.where(bare, scene.totals / cells, 0.0), scene.side) * scene.valid


def _meeting(intensity: Masses, exposure: Masses, scene: Scene) -> Masses:
    """The intensity, scaled in each known block so that exposure x intensity sums to the total."""
    found = merge(exposure * intensity, scene.side)
    usable = scene.known & (found > 0.0)
    return intensity * spread(
        np.divide(scene.totals, found, out=np.ones_like(found), where=usable), scene.side
    )


def gaussian(size: int, sigma: float) -> NDArray[np.float64]:
    """(size, size) matrix that smooths along an axis; edges are mirrored, every row sums to 1.

    Why a matrix: a window is small, and one product is faster than as many passes as the kernel is wide.
    """
    radius = int(CUT * sigma + 0.5)
    offset = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offset / sigma) ** 2)
    place = np.mod(np.arange(size)[:, None] + offset, 2 * size)
    place = np.where(place < size, place, 2 * size - 1 - place)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], place), kernel / kernel.sum())
    return matrix
