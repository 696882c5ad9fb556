"""Raw estimates of a map: made in windows with a halo, mirrored at the edge, feathered into one."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Scene, Tile
from model.ground.windows import feather, starts
from model.method import Method
from stages.artifacts.cube import Cube

Seen = tuple[NDArray, NDArray, NDArray, NDArray]  # covariates, valid cells, totals, known


class Estimates:
    """Raw estimates of the windows of a map, feathered; a window is estimated once while it is needed."""

    def __init__(self, cube: Cube, method: Method, years: int, core: int, halo: int) -> None:
        """Lays out the windows.

        Args:
          years: that the method looks at together.
          core: coarse cells along the part of a window that is its own.
          halo: coarse cells read around it, at most half the core.
        """
        self._cube, self._method, self._core, self._halo = cube, method, core, halo
        self._side, factor = core + 2 * halo, cube.factor
        self._years = min(years, len(cube.years))
        self._spans = starts(len(cube.years), self._years, self._years)
        # Why: neighbouring windows share two halos; over them their weights add up to 1.
        self._weights = feather(self._side * factor, 2 * self._halo * factor)
        totals = cube.remainder()
        # A sink says nothing of where sources are: the method sees its total as not known.
        self._totals, self._known = np.maximum(totals, 0.0), cube.known() & (totals >= 0)
        self._made: dict[tuple[int, int], NDArray[np.float32]] = {}

    def region(self, row: int, col: int, rows: int, cols: int) -> NDArray[np.float64]:
        """(sectors, years, fine rows, fine cols) blended raw estimate of a region given in coarse cells.

        NaN where no window gave a finite estimate; what the method has to say of whole blocks is said once their
        seams are blended. Regions are asked for row by row: windows that lie
        wholly above are forgotten.
        """
        factor = self._cube.factor
        summed = np.zeros((*self._totals.shape[:2], rows * factor, cols * factor))
        weight = np.zeros_like(summed)
        self._made = {
            key: value for key, value in self._made.items() if key[0] + self._core + self._halo > row
        }
        for window_row in self._meeting(row, rows, self._cube.coarse.rows):
            for window_col in self._meeting(col, cols, self._cube.coarse.cols):
                raw = self._window(window_row, window_col)
                here, there = _overlap(window_row - self._halo, row, self._side, rows, factor)
                across, beyond = _overlap(window_col - self._halo, col, self._side, cols, factor)
                values, part = raw[..., there, beyond].astype(np.float64), self._weights[there, beyond]
                finite = np.isfinite(values)
                summed[..., here, across] += np.where(finite, values, 0.0) * part
                weight[..., here, across] += finite * part
        with np.errstate(invalid="ignore", divide="ignore"):
            blended = np.where(weight > 0, summed / weight, np.nan)
        if (finish := getattr(self._method, "finish", None)) is None:
            return blended
        blocks = (..., slice(row, row + rows), slice(col, col + cols))
        finished: NDArray[np.float64] = finish(blended, self._totals[blocks], self._known[blocks])
        return finished

    def _meeting(self, start: int, length: int, size: int) -> Iterable[int]:
        """First core cells of the windows along an axis whose halo reaches into [start, start + length)."""
        return [
            first
            for first in range(0, size, self._core)
            if first - self._halo < start + length and first + self._core + self._halo > start
        ]

    def _window(self, row: int, col: int) -> NDArray[np.float32]:
        if (row, col) not in self._made:
            self._made[row, col] = self._estimate(row - self._halo, col - self._halo)
        return self._made[row, col]

    def _estimate(self, row: int, col: int) -> NDArray[np.float32]:
        """(sectors, years, side, side); what reaches beyond the map is mirrored, never zero."""
        return self.estimate(self.seen(row, col, self._side))

    def estimate(self, seen: Seen, group: int = 1) -> NDArray[np.float32]:
        """(sectors, years, H, W) raw estimate from totals merged group x group; years that overlap are averaged."""
        _, valid, totals, _ = seen
        out = np.zeros((*totals.shape[:2], *valid.shape), np.float32)
        count = np.zeros(totals.shape[1])
        for first in self._spans:
            span = slice(first, first + self._years)
            out[:, span] += self._method.estimate(self.scene(seen, first, group))
            count[span] += 1
        return (out / count[:, None, None]).astype(np.float32)

    def scene(self, seen: Seen, first: int, group: int = 1) -> Scene:
        """What is shown of a window from the year `first` on."""
        covariates, valid, totals, known = seen
        span, target = slice(first, first + self._years), np.zeros(totals.shape[-2:], bool)
        shown = (covariates[:, span], valid, totals[:, span], known[:, span], target)
        return Tile(*shown, self._cube.factor, self._cube.layers).scene(group)

    def seen(self, row: int, col: int, side: int) -> Seen:
        """What the method sees of side x side coarse cells; beyond the map it is mirrored."""
        coarse, factor = self._cube.coarse, self._cube.factor
        down, across = _mirror(row, side, coarse.rows), _mirror(col, side, coarse.cols)
        fine_down = _mirror(row * factor, side * factor, coarse.rows * factor)
        fine_across = _mirror(col * factor, side * factor, coarse.cols * factor)
        top, left = int(fine_down.min()), int(fine_across.min())
        read = (top, left, int(fine_down.max()) - top + 1, int(fine_across.max()) - left + 1)
        take = np.ix_(fine_down - top, fine_across - left)
        return (
            self._cube.covariates(*read)[..., take[0], take[1]],
            self._cube.valid(*read)[take],
            self._totals[..., down[:, None], across[None, :]],
            self._known[..., down[:, None], across[None, :]],
        )


def _mirror(start: int, length: int, size: int) -> NDArray[np.int64]:
    """Indices start .. start + length, those beyond [0, size) reflected at the edge, as often as needed."""
    turn = np.mod(np.arange(start, start + length), 2 * size)
    return np.where(turn < size, turn, 2 * size - 1 - turn)


def _overlap(window: int, region: int, side: int, length: int, factor: int) -> tuple[slice, slice]:
    """The fine cells two spans share: (within the region, within the window)."""
    first, last = max(window, region), min(window + side, region + length)
    return (
        slice((first - region) * factor, (last - region) * factor),
        slice((first - window) * factor, (last - window) * factor),
    )
