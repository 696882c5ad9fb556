"""The smooth start of an estimate: a density that keeps every total, on the cells that may hold mass."""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import merge, spread
from model.ground.scene import Bools, Masses, Scene
from model.ground.survey import Survey

SUB_PIXELS = 10  # a block's side in pixels of the smooth surface, or fewer when it has fewer fine cells
SWEEPS = 60
FLOOR = 1e-3  # of the mean density of blocks that hold mass: no allowed cell is ruled out for good


def pycnophylactic(totals: Masses, known: Bools, parts: int, sweeps: int = SWEEPS) -> Masses:
    """A smooth non-negative surface whose sum over each known block is that block's total (Tobler 1979).

    Args:
      totals: (..., h, w) mass per block, not negative.
      known: same shape; blocks that are not known take what their neighbours suggest.
      parts: pixels along a block.
    Returns: (..., h * parts, w * parts) mass per pixel. Edges are mirrored.
    """
    mean = np.where(known, np.maximum(totals, 0.0), 0.0) / parts**2
    free = spread(~known, parts)
    surface = spread(fill_unknown(mean, known), parts)
    padded = np.empty((*surface.shape[:-2], surface.shape[-2] + 2, surface.shape[-1] + 2))
    for _ in range(sweeps):
        surface = _corrected(_neighbour_mean(surface, padded), mean, free, parts)
    return surface


def _neighbour_mean(values: Masses, padded: Masses) -> Masses:
    """Mean of the four neighbours; `padded` is a workspace with a mirrored pixel on each side."""
    padded[..., 1:-1, 1:-1] = values
    padded[..., 0, 1:-1], padded[..., -1, 1:-1] = values[..., 0, :], values[..., -1, :]
    padded[..., 1:-1, 0], padded[..., 1:-1, -1] = values[..., :, 0], values[..., :, -1]
    mean = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
    mean += padded[..., 1:-1, :-2]
    mean += padded[..., 1:-1, 2:]
    mean *= 0.25
    return mean


def _corrected(surface: Masses, mean: Masses, free: Bools, parts: int) -> Masses:
    """Shifts each block to its mean, cuts what falls below zero, then scales so that its total is met."""
    shift = mean - merge(surface, parts) / parts**2
    moved = np.maximum(surface + spread(shift, parts), 0.0)
    level = merge(moved, parts) / parts**2
    # Why half: the level is the mean or more, unless rounding beside a far larger neighbour ate the mass.
    lost = level < 0.5 * mean
    scale = np.divide(mean, level, out=np.zeros_like(mean), where=~lost & (level > 0.0))
    moved *= spread(scale, parts)
    moved += spread(np.where(lost, mean, 0.0), parts)
    return np.where(free, surface, moved) if free.any() else moved


def fill_unknown(values: Masses, known: Bools) -> Masses:
    """Blocks that are not known take the mean of their known neighbours, ring by ring.

    Args:
      values: (..., h, w); what is not known is not looked at.
      known: same shape, True = known.
    Returns: same shape. Each sector and year is filled by itself; one of which nothing is known is 0.
    """
    values, known = np.where(known, values, 0.0), known.copy()
    while known.any() and not known.all():
        rim = [(0, 0)] * (known.ndim - 2) + [(1, 1), (1, 1)]
        wide, seen = np.pad(values, rim), np.pad(known, rim)
        count, total = _beside(seen.astype(np.int64)), _beside(wide)
        reached = ~known & (count > 0)
        if not reached.any():  # a sector or year of which nothing is known stays empty
            break
        values[reached] = total[reached] / count[reached]
        known |= reached
    return values


def _beside(padded: NDArray) -> NDArray:
    """Sum of the four neighbours of each element; (..., h + 2, w + 2) -> (..., h, w)."""
    upright = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
    return upright + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]


def bilinear(values: Masses, block: int, side: int) -> Masses:
    """Density of pixels, `block` along a block, read at the centres of fine cells, `side` along a block.

    Args:
      values: (..., h * block, w * block) density.
      block, side: pixels and fine cells along a block.
    Returns: (..., h * side, w * side). Beyond the outermost middles the value stays. Unless block = side the sums
      of blocks are no longer exact.
    """
    if block == side:
        return values
    for axis in (-2, -1):
        size = values.shape[axis]
        place = np.clip((np.arange(size // block * side) + 0.5) * block / side - 0.5, 0, size - 1)
        before = np.minimum(place.astype(int), size - 1)
        after = np.minimum(before + 1, size - 1)
        share = (place - before)[:, None] if axis == -2 else place - before
        values = np.take(values, before, axis) * (1.0 - share) + np.take(values, after, axis) * share
    return values


def smooth_density(scene: Scene) -> Masses:
    """The totals shown as a smooth density, (sectors, time, H, W) in mass per fine cell.

    The surface has at most SUB_PIXELS pixels along a block and meets the totals there; read at the middles of
    fine cells it meets them only nearly, which rescale_to_totals mends.
    """
    parts = min(SUB_PIXELS, scene.side)
    surface = pycnophylactic(scene.totals, scene.known, parts)
    return bilinear(surface * (parts / scene.side) ** 2, parts, scene.side)


def rescale_to_totals(estimate: Masses, scene: Scene) -> NDArray[np.float32]:
    """Scales each block to the total shown, where it is known.

    A block that holds mass but no estimate stays empty: the fallback of inference has a place for it.
    """
    found = merge(estimate, scene.side)
    usable = scene.known & (found > 0.0)
    scale = np.divide(scene.totals, found, out=np.ones_like(found), where=usable)
    return (estimate * spread(scale, scene.side)).astype(np.float32)


class BaseRecord(TypedDict):
    """A masked smooth surface as a checkpoint keeps it."""

    mask_layers: list[int]
    floor: list[float]


@dataclass(frozen=True)
class Base:
    """What is believed before anything is learned: the smooth density on the cells a covariate allows.

    Attributes:
      mask_layers: indices of the layers that allow a cell by being positive; empty = every valid cell.
      floor: (sectors,) mass per fine cell added everywhere it is allowed.
    """

    mask_layers: tuple[int, ...]
    floor: tuple[float, ...]

    @classmethod
    def of(cls, survey: Survey) -> "Base":
        """Layers with at least 1 % zeros make the mask, unless one is positive nearly everywhere (95 %).

        A layer without zeros rules nothing out, and one of zeros alone everything: neither is used, nor is a
        blocky one, which tells nothing inside a block. Without a mask every valid cell is allowed.
        """
        usable = ~np.array([layer.blocky for layer in survey.layers], dtype=bool)
        zeros = survey.zero_share
        chosen = np.flatnonzero(usable & (zeros >= 0.01) & (zeros < 1.0))
        if chosen.size and zeros[chosen].min() <= 0.05:
            chosen = chosen[:0]
        return cls(tuple(chosen.tolist()), tuple(FLOOR * mean_density(survey)))

    def mask(self, scene: Scene) -> Bools:
        """(time, H, W) True = the cell may receive mass.

        A cell is allowed when any of the mask's layers is positive there in that year, and it is valid.
        """
        if not self.mask_layers:
            return np.broadcast_to(scene.valid, scene.covariates.shape[1:]).copy()
        return (scene.covariates[list(self.mask_layers)] > 0.0).any(axis=0) & scene.valid

    def __call__(self, scene: Scene) -> Masses:
        """(sectors, time, H, W) mass per fine cell, before it is made to meet the totals."""
        density = smooth_density(scene) + np.array(self.floor)[:, None, None, None]
        return density * self.mask(scene)

    def plain(self) -> BaseRecord:
        """As JSON values."""
        return {"mask_layers": list(self.mask_layers), "floor": list(self.floor)}

    @classmethod
    def from_json(cls, plain: BaseRecord) -> "Base":
        """The inverse of plain()."""
        return cls(tuple(plain["mask_layers"]), tuple(plain["floor"]))


def mean_density(survey: Survey) -> NDArray[np.float64]:
    """(sectors,) mean mass per fine cell over the blocks that hold mass; 1 where no block does.

    Blocks of zero do not count, so the floor of a sector with few sources follows the sources, not the empty
    ground.
    """
    holds = survey.known & (survey.totals > 0.0)
    count = holds.sum(axis=(1, 2, 3))
    mass = np.where(holds, survey.totals, 0.0).sum(axis=(1, 2, 3))
    return np.where(count > 0, mass / np.maximum(count, 1), survey.factor**2) / survey.factor**2
