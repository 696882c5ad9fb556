"""Stacks of windows as DSTCarbonFormer was published with: X_{year}.npy, Y_{year}.npy, Pred_{year}.npy.

A stack (N, channels, side, side) says nothing of where its windows lie; an Arrangement does.
"""

import json
import re
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from pyproj import CRS

from model.ground.errors import InputError
from model.ground.grid import Grid
from stages.contract.section import SafeName, Section
from stages.formats.zarr_groups import make_grid

Floats = NDArray[np.float32]
NAME = re.compile(r"X_(\d{4})\.npy")
SPLIT = "split_config.json"


class Arrangement(Section):
    """Where the windows of a stack lie: row by row from the north-west, `stride` cells apart.

    Why declared: nothing in the files tells it, and a guess would move every emission.
    """

    crs: str  # e.g. EPSG:3035
    left: float  # CRS units: the outer corner of the first window
    top: float
    pixel: PositiveFloat  # CRS units along a fine cell
    columns: PositiveInt  # windows side by side
    stride: PositiveInt  # fine cells from one window to the next, in both directions
    factor: PositiveInt = 10  # fine cells along a coarse one
    layers: Annotated[tuple[SafeName, ...], Field(min_length=1)]  # names of the channels of X, in order
    variable: SafeName  # what Y holds, as the mean per fine cell of its coarse cell
    unit: str

    def grid(self, windows: int, side: int) -> Grid:
        """The fine grid that holds all windows, in whole coarse cells.

        Args: windows: how many there are; side: fine cells along one.
        """
        rows, cols = self._cells(-(-windows // self.columns), side), self._cells(self.columns, side)
        return make_grid(
            rows, cols, self.left, self.top, self.pixel, self.pixel, CRS.from_user_input(self.crs)
        )

    def places(self, windows: int) -> list[tuple[int, int]]:
        """(row, col) of each window's first cell."""
        found = []
        for index in range(windows):
            down, across = divmod(index, self.columns)
            found.append((down * self.stride, across * self.stride))
        return found

    def _cells(self, windows: int, side: int) -> int:
        cells = (windows - 1) * self.stride + side
        return -(-cells // self.factor) * self.factor


def years_of(folder: Path) -> list[int]:
    """Years for which there is an X, in order.

    Raises: InputError when there is none.
    """
    years = sorted(int(found[1]) for path in folder.glob("X_*.npy") if (found := NAME.fullmatch(path.name)))
    if not years:
        raise InputError(str(folder), "no X_{year}.npy", "X_2014.npy and the like", "name their folder")
    return years


def read_stack(path: Path, channels: int) -> Floats:
    """(N, channels, side, side) as written; never a pickle.

    Raises: InputError (exit 3) when it is no such stack.
    """
    wanted = f"an array of numbers (N, {channels}, side, side)"
    try:
        stack = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(path.name, "missing", wanted, "put it beside the others of its year") from error
    except (OSError, ValueError, EOFError) as error:
        raise InputError(path.name, f"not readable ({error})", wanted, "write it with numpy.save") from error
    if stack.ndim != 4 or stack.shape[1] != channels or stack.shape[2] != stack.shape[3] or not len(stack):
        raise InputError(path.name, f"shape {stack.shape}", wanted, "correct `layers`, or export it again")
    if stack.dtype.kind not in "fiu":
        raise InputError(path.name, f"type {stack.dtype}", wanted, "write numbers")
    return stack


def laid_out(stack: Floats, arrangement: Arrangement, name: str) -> NDArray[np.float64]:
    """(channels, rows, cols) of the declared grid; NaN where no window lies.

    Raises: InputError (exit 3) when windows that overlap do not hold the same, so the arrangement is wrong.
    """
    windows, channels, side = stack.shape[:3]
    grid = arrangement.grid(windows, side)
    field = np.full((channels, *grid.shape), np.nan)
    for index, (row, col) in enumerate(arrangement.places(windows)):
        part = field[:, row : row + side, col : col + side]
        window = stack[index].astype(np.float64)
        both = np.isfinite(part) & np.isfinite(window)
        if not np.allclose(part[both], window[both], rtol=1e-5, atol=1e-9):
            raise InputError(
                f"{name}, window {index}", "it contradicts a window that overlaps it",
                "windows cut from one field", "correct `columns` or `stride`",
            )  # fmt: skip
        part[...] = np.where(np.isfinite(window), window, part)
    return field


def cut(field: NDArray, arrangement: Arrangement, windows: int, side: int) -> Floats:
    """(N, 1, side, side): the windows again, from a field (rows, cols) of the declared grid.

    The inverse of laid_out() for one channel: windows that overlap hold the same cells.
    """
    found = [field[row : row + side, col : col + side] for row, col in arrangement.places(windows)]
    return np.stack(found)[:, None].astype(np.float32)


def split_of(folder: Path, windows: int) -> dict[str, list[int]] | None:
    """The published split, window numbers by name; None when there is no split_config.json.

    Raises: InputError (exit 3) when it names windows that are not there, or one twice.
    """
    path = folder / SPLIT
    if not path.exists():
        return None
    try:
        told = json.loads(path.read_text("utf-8"))
        split = {}
        for name, value in told.items():
            if isinstance(value, list) and all(isinstance(index, int) for index in value):
                split[name] = list(map(int, value))
    except (ValueError, AttributeError) as error:
        raise InputError(
            SPLIT, f"not readable ({error})", "lists of window numbers", "export it again"
        ) from error
    numbers = list(chain.from_iterable(split.values()))
    if len(set(numbers)) < len(numbers) or any(not 0 <= index < windows for index in numbers):
        found = f"{len(numbers)} numbers, {len(set(numbers))} of them distinct, for {windows} windows"
        raise InputError(SPLIT, found, "each window once", "use the split that belongs to these stacks")
    return split
