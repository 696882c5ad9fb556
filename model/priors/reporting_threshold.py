"""The least that an inventory reports in a fine cell, told or read off its totals: a cell holds that or nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import from_blocks, to_blocks
from model.ground.scene import Bools, Masses, Scene, Tile
from model.ground.survey import Survey

AUTO = "auto"
# The smallest totals tell: where nothing is cut off they thin out towards zero, at a cut-off they crowd.
CROWD = 20  # smallest totals that are looked at; a block counts once, however many years there are
CLOSE = 1.05  # the last of them is at most so many times the first
MOST = 0.05  # of the mean total: totals that are all alike crowd too, but not so far below their mean
ALIKE = 2.0  # a total has company where its neighbours' median is within so many times; so it is on the rim of a smooth
# field, whose smallest totals crowd too, while a block with a single cell above a threshold stands alone
LOOKED = 500  # of the crowd, at the most
SMALL = 8  # times the least: a total below that lies in few cells
NEAR = 0.7  # of the least: what would hold less is rather empty where most cells are (chosen with fine values in sight)


class CutOffRecord(TypedDict):
    """A reporting threshold and its sectors as a checkpoint keeps them."""

    least: list[float]
    sparse: list[bool]


@dataclass(frozen=True)
class ReportingThreshold:
    """Many products set to zero what lies below a threshold, before anybody sums them up.

    The smallest totals are then those of blocks with a single fine cell, and crowd just above that threshold.

    Attributes:
      least: (sectors,) mass that a fine cell with any mass holds at least; 0 = nothing is known of that.
      sparse: (sectors,) True = of the cells that may hold mass most are empty.
    """

    least: tuple[float, ...] = ()
    sparse: tuple[bool, ...] = ()

    @classmethod
    def of(cls, survey: Survey, asked: str | float = AUTO) -> "ReportingThreshold":
        """As told, or read off the known totals, each sector alone.

        Args: asked: auto, none, or the least itself in the unit of the survey.
        """
        if asked == AUTO:
            least = tuple(map(_read_off, survey.totals, survey.known))
        else:
            least = (0.0 if isinstance(asked, str) else float(asked),) * len(survey.sectors)
        return cls(least, (False,) * len(least))

    def measured(self, tiles: Sequence[Tile], base: Callable[[Scene], Masses]) -> "ReportingThreshold":
        """With `sparse` found where totals are small: they cannot fill the cells that the base allows.

        A total of n times the least lies in n cells at most. If blocks of small totals can fill less than half of
        their allowed cells, a cell there is more likely empty than not.

        Args: base: (sectors, time, H, W) masses of a scene, above 0 where a cell may hold some.
        """
        if not any(self.least):
            return self
        filled, allowed = np.zeros((2, len(self.least)))
        for tile in tiles:
            scene = tile.scene()
            estimate = base(scene)
            for sector, least in enumerate(self.least):
                totals, known = scene.totals[sector].ravel(), scene.known[sector].ravel()
                cells = (to_blocks(estimate[sector], scene.side) > 0.0).sum(axis=-1).ravel()
                small = known & (totals >= least) & (totals < SMALL * least)
                most = np.minimum(totals[small] // least, cells[small]) if least > 0.0 else 0.0
                filled[sector] += np.sum(most)
                allowed[sector] += cells[small].sum()
        return replace(self, sparse=tuple((filled < 0.5 * allowed).tolist()))

    def __call__(self, estimate: NDArray, totals: Masses, known: Bools) -> Masses:
        """The estimate, in which every cell of a known block holds nothing or at least the least.

        Of a block the largest estimates stay, as many as its total can give the least to; in a sparse sector only as
        many as all come near the least once they share the total. Those below the least are raised to it at the
        expense of the others. Equals stay or go together, and where they are too many they stay below the least. A
        block is left as it is that holds less than the least, or has a cell without a finite estimate.

        Args:
          estimate: (sectors, time, H, W) mass per fine cell, not negative.
          totals, known: (sectors, time, h, w) of whole blocks.
        Returns: (sectors, time, H, W); blocks that were touched meet their totals, the others are as given.
        """
        out = np.array(estimate, dtype=np.float64)
        rows, cols = totals.shape[-2:]
        side = out.shape[-1] // cols
        for sector, least in enumerate(self.least):
            if least > 0.0:
                blocks = to_blocks(out[sector], side)
                cells = blocks.reshape(-1, side * side)
                shown = np.where(known[sector], totals[sector], 0.0).ravel()
                touched = _below(cells, shown, least)
                kept = _largest(cells[touched], shown[touched], least, self.sparse[sector])
                cells[touched] = _raised(kept, shown[touched], least)
                out[sector] = from_blocks(cells.reshape(blocks.shape), rows, cols, side)
        return out

    def plain(self) -> CutOffRecord:
        """As JSON values."""
        return {"least": list(self.least), "sparse": list(self.sparse)}

    @classmethod
    def from_json(cls, plain: CutOffRecord) -> "ReportingThreshold":
        """The inverse of plain()."""
        return cls(tuple(plain["least"]), tuple(plain["sparse"]))


def _read_off(totals: Masses, known: Bools) -> float:
    """The smallest total, where others crowd about it that stand alone; 0 where they do not, or all were rounded.

    Args: totals, known: (time, h, w).
    """
    holds = known & (totals > 0.0)
    smallest = np.min(totals, axis=0, initial=np.inf, where=holds)
    held = np.sort(smallest[np.isfinite(smallest)])
    if held.size < CROWD or held[CROWD - 1] > CLOSE * held[0] or held[0] > MOST * totals[holds].mean():
        return 0.0
    times = held / held[0]  # whole numbers all: that is a step of rounding, no threshold
    if np.allclose(times, np.round(times), rtol=1e-6, atol=0.0):
        return 0.0
    values = np.where(known.any(axis=0), np.where(np.isfinite(smallest), smallest, 0.0), np.nan)
    crowd = np.argwhere(smallest <= held[CROWD - 1])
    looked = crowd[:: 1 + len(crowd) // LOOKED]
    company = sum(_has_company(values, row, col) for row, col in looked)
    return float(held[0]) if company <= 0.5 * len(looked) else 0.0


def _has_company(values: NDArray, row: int, col: int) -> bool:
    """Whether the known totals around one are about as large."""
    around = values[max(0, row - 1) : row + 2, max(0, col - 1) : col + 2].ravel()
    others = np.sort(around[np.isfinite(around)])
    own = values[row, col]
    others = np.delete(others, np.searchsorted(others, own))
    return bool(others.size and own / ALIKE <= np.median(others) <= own * ALIKE)


def _below(cells: Masses, totals: Masses, least: float) -> NDArray[np.intp]:
    """Blocks that can hold the least, with a cell that would hold some mass, but less than that."""
    smallest = np.min(cells, axis=1, initial=np.inf, where=cells > 0.0)
    usable = np.isfinite(cells).all(axis=1) & np.isfinite(smallest) & (totals >= least)
    return np.flatnonzero(usable & (np.where(usable, smallest, 0.0) * totals < least * cells.sum(axis=1)))


def _largest(cells: Masses, totals: Masses, least: float, sparse: bool) -> Masses:
    """(blocks, cells): as many of the largest as fit into the total; if sparse, as all come near the least as well."""
    ranked = -np.sort(-cells, axis=1)
    stay = np.arange(1, cells.shape[1] + 1) <= totals[:, None] / least
    if sparse:
        stay &= ranked * totals[:, None] >= NEAR * least * np.cumsum(ranked, axis=1)
    last = cells.shape[1] - 1 - np.argmax(stay[:, ::-1], axis=1)
    return np.where(cells >= np.take_along_axis(ranked, last[:, None], axis=1), cells, 0.0)


def _raised(cells: Masses, totals: Masses, least: float) -> Masses:
    """(blocks, cells) with the totals as sums: max(c x cell, least) where a cell is above 0, one c for each block."""
    ranked = -np.sort(-cells, axis=1)
    place, sums = np.arange(1, cells.shape[1] + 1), np.cumsum(ranked, axis=1)
    count = (cells > 0.0).sum(axis=1, keepdims=True)
    # For the largest `place` of them, while the rest hold the least.
    left = totals[:, None] - (count - place) * least
    free = (place <= count) & (ranked * left >= least * sums)
    last = cells.shape[1] - 1 - np.argmax(free[:, ::-1], axis=1)[:, None]
    scale = np.take_along_axis(left, last, axis=1) / np.take_along_axis(sums, last, axis=1)
    raised = np.where(cells > 0.0, np.maximum(scale * cells, least), 0.0)
    fits = free.any(axis=1, keepdims=True)  # not where equals are more than the total can give the least to
    return np.where(fits, raised, cells * (totals / cells.sum(axis=1))[:, None])
