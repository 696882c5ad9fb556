"""Raw estimates of a map: made in windows with a halo, mirrored at the edge, feathered into one.

Why any region may be asked for alone, in any order and from several threads: an estimate is a function of its window,
and a region a function of the windows that meet it. Windows that were estimated lately are kept, which saves time and
changes nothing.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Scene, Tile
from model.ground.windows import feather, starts
from model.method import BlockPostprocessor, Method
from stages.artifacts.cube import Cube


@dataclass(frozen=True)
class WindowInputs:
    """What is given to a method of one window, all years.

    Attributes:
      covariates: (layers, years, H, W); valid: (H, W).
      totals, known: (sectors, years, h, w).
    """

    covariates: NDArray[np.float32]
    valid: NDArray[np.bool_]
    totals: NDArray[np.float64]
    known: NDArray[np.bool_]


class Windows:
    """Reads what a method is given of any square of a map."""

    def __init__(self, cube: Cube, years: int) -> None:
        """Args: years: that the method looks at together."""
        self.cube, self.years = cube, min(years, len(cube.years))
        totals = cube.remainder()
        # A sink says nothing of where sources are: the method is given its total as not known.
        self.totals, self.known = np.maximum(totals, 0.0), cube.known() & (totals >= 0)

    def read(self, row: int, col: int, side: int) -> WindowInputs:
        """Of side x side coarse cells; what reaches beyond the map is mirrored, never zero."""
        coarse, factor = self.cube.coarse, self.cube.factor
        down, across = _mirror(row, side, coarse.rows), _mirror(col, side, coarse.cols)
        fine_down = _mirror(row * factor, side * factor, coarse.rows * factor)
        fine_across = _mirror(col * factor, side * factor, coarse.cols * factor)
        top, left = int(fine_down.min()), int(fine_across.min())
        region = (top, left, int(fine_down.max()) - top + 1, int(fine_across.max()) - left + 1)
        take = np.ix_(fine_down - top, fine_across - left)
        return WindowInputs(
            self.cube.covariates(*region)[..., take[0], take[1]],
            self.cube.valid(*region)[take],
            self.totals[..., down[:, None], across[None, :]],
            self.known[..., down[:, None], across[None, :]],
        )

    def scene(self, inputs: WindowInputs, first: int, group: int = 1) -> Scene:
        """A window from the year `first` on, with totals merged group x group."""
        span = slice(first, first + self.years)
        target = np.zeros(inputs.totals.shape[-2:], bool)
        tile = Tile(
            inputs.covariates[:, span],
            inputs.valid,
            inputs.totals[:, span],
            inputs.known[:, span],
            target,
            self.cube.factor,
            self.cube.layers,
        )
        return tile.scene(group)


class Estimates:
    """Raw estimates of the windows of a map, feathered."""

    def __init__(self, cube: Cube, method: Method, years: int, core: int, halo: int) -> None:
        """Lays out the windows.

        Args:
          years: that the method looks at together.
          core: coarse cells along the part of a window that is its own.
          halo: coarse cells read around it, at most half the core.
        """
        self.windows = Windows(cube, years)
        self._cube, self._method, self._core, self._halo = cube, method, core, halo
        self._side, factor = core + 2 * halo, cube.factor
        self._spans = starts(len(cube.years), self.windows.years, self.windows.years)
        # Why: neighbouring windows share two halos; over them their weights add up to 1.
        self._weights = feather(self._side * factor, 2 * self._halo * factor)
        self._kept = RecentWindows()

    def region(self, row: int, col: int, rows: int, cols: int) -> NDArray[np.float64]:
        """(sectors, years, fine rows, fine cols) blended raw estimate of a region given in coarse cells.

        NaN where no window gave a finite estimate; what the method has to say of whole blocks is said once their
        seams are blended.
        """
        factor = self._cube.factor
        summed = np.zeros((*self.windows.totals.shape[:2], rows * factor, cols * factor))
        weight = np.zeros_like(summed)
        down = self._meeting(row, rows, self._cube.coarse.rows)
        self._kept.hold(len(down) * -(-self._cube.coarse.cols // self._core))
        for window_row in down:
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
        if not isinstance(self._method, BlockPostprocessor):
            return blended
        blocks = (..., slice(row, row + rows), slice(col, col + cols))
        return self._method.finish(blended, self.windows.totals[blocks], self.windows.known[blocks])

    def estimate(self, inputs: WindowInputs, group: int = 1) -> NDArray[np.float32]:
        """(sectors, years, H, W) raw estimate from totals merged group x group; years that overlap are averaged."""
        totals = inputs.totals
        out = np.zeros((*totals.shape[:2], *inputs.valid.shape), np.float32)
        count = np.zeros(totals.shape[1])
        for first in self._spans:
            span = slice(first, first + self.windows.years)
            out[:, span] += self._method.estimate(self.windows.scene(inputs, first, group))
            count[span] += 1
        return (out / count[:, None, None]).astype(np.float32)

    def _meeting(self, start: int, length: int, size: int) -> Sequence[int]:
        """First core cells of the windows along an axis whose halo reaches into [start, start + length)."""
        return [
            first
            for first in range(0, size, self._core)
            if first - self._halo < start + length and first + self._core + self._halo > start
        ]

    def _window(self, row: int, col: int) -> NDArray[np.float32]:
        """(sectors, years, side, side) of the window whose core begins there."""
        if (kept := self._kept.get((row, col))) is not None:
            return kept
        made = self.estimate(self.windows.read(row - self._halo, col - self._halo, self._side))
        self._kept.put((row, col), made)
        return made


class RecentWindows:
    """Estimates of windows that were needed last, as many as the widest band of regions needs."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[int, int], NDArray[np.float32]] = OrderedDict()
        self._room, self._lock = 0, Lock()

    def hold(self, count: int) -> None:
        """Makes room for so many, if there is less."""
        self._room = max(self._room, count)

    def get(self, place: tuple[int, int]) -> NDArray[np.float32] | None:
        """None where it was not estimated lately."""
        with self._lock:
            if place in self._made:
                self._made.move_to_end(place)
            return self._made.get(place)

    def put(self, place: tuple[int, int], made: NDArray[np.float32]) -> None:
        """Keeps one, and forgets the one that was not needed for longest."""
        with self._lock:
            self._made[place] = made
            while len(self._made) > self._room:
                self._made.popitem(last=False)


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
