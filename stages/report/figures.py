"""Figures of the page: which part of which map is shown, how wide it is on the ground, and its colour bar."""

from dataclasses import dataclass
from math import ceil, cos, floor, log10, radians
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ground.grid import Grid
from stages.artifacts import maps as store
from stages.artifacts.maps import Sheet
from stages.report.pictures import FLOOR, average, css_ramp, mass_picture, residual_picture
from stages.report.qgis_style import RAMP, RESIDUAL, Legend, legend_of, number

_ZOOM_BLOCKS = 12  # blocks along a side of the part shown in full detail
_DEGREE = 111_320.0  # metres along one degree of a great circle of the mean Earth
_SMALL = 700  # pixels; a narrower picture is enlarged on the screen and must keep its edges


@dataclass(frozen=True)
class Figure:
    """One picture as the page places it.

    Attributes:
      source: data address.
      aspect: width over height on the ground.
      bar_share, bar_label: length of the scale bar as a share of the width [%], and what it measures.
      crisp: the browser must not smooth it.
    """

    source: str
    aspect: float
    bar_share: float
    bar_label: str
    crisp: bool


def ground(grid: Grid) -> tuple[float, float]:
    """Width and height of the grid in metres; on a geographic grid along its middle parallel."""
    width, height = grid.cols * grid.dx, grid.rows * grid.dy
    if grid.ellipsoid is None:
        return width * grid.metre, height * grid.metre
    middle = radians((grid.top + grid.bottom) / 2.0)
    return width * _DEGREE * cos(middle), height * _DEGREE


def draw(
    sheet: Sheet,
    maps: Path,
    coarse: Grid,
    factor: int,
    legend: Legend,
    limit: float,
    page_width: int,
    shared: int,
) -> dict[str, Any]:
    """The pictures of one map: whole and its heaviest part, coarse and fine, and the residual.

    The coarse input is drawn as the mean per fine cell, so that it shares the scale of the result. Memory is
    bounded by the page width: larger maps are read as averages.

    Args: shared: fine cells that a block's number is divided by, 1 where it is a mean.
    """
    fine = coarse.refine(factor)
    given, placed, relative = store.read_blocks(maps / sheet.blocks_file, coarse)[:3]
    even = given / shared
    step = ceil(max(fine.shape) / page_width)
    coarse_step = ceil(max(coarse.shape) / page_width)
    whole = store.read_overview(maps / sheet.map_file, fine, step)
    row, col, rows, cols = heaviest_part(np.where(np.isnan(placed), 0.0, placed))
    part = store.read_part(
        maps / sheet.map_file, fine, row * factor, col * factor, rows * factor, cols * factor
    )
    inside, near = coarse.window(row, col, rows, cols), legend_of(part, legend.unit)
    return {
        "coarse": _figure(
            mass_picture(average(even, coarse_step), legend), coarse, coarse.cols // coarse_step
        ),
        "fine": _figure(mass_picture(whole, legend), fine, fine.cols // step),
        "zoom_coarse": _figure(mass_picture(even[row : row + rows, col : col + cols], near), inside, cols),
        "zoom_fine": _figure(mass_picture(part, near), inside, cols * factor),
        "residual": _figure(
            residual_picture(average(np.abs(relative), coarse_step), limit),
            coarse,
            coarse.cols // coarse_step,
        ),
        "averaged": step,
        "frame": _frame(coarse, row, col, rows, cols),
        "key": mass_key(legend),
        "zoom_key": mass_key(near),
        "residual_key": residual_key(limit),
    }


def heaviest_part(mass: NDArray[np.float64]) -> tuple[int, int, int, int]:
    """(row, col, rows, cols) of the part of at most 12 x 12 blocks that holds most."""
    rows, cols = (min(_ZOOM_BLOCKS, size) for size in mass.shape)
    table = np.pad(mass.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    sums = table[rows:, cols:] - table[:-rows, cols:] - table[rows:, :-cols] + table[:-rows, :-cols]
    row, col = (int(index) for index in np.unravel_index(sums.argmax(), sums.shape))
    return row, col, rows, cols


def mass_key(legend: Legend) -> dict[str, Any]:
    """The colour bar of a map: one tick per limit of the legend, evenly spaced as the colours are."""
    stops = legend.stops
    places = np.linspace(0.0, 100.0, len(stops)) if len(stops) > 1 else [100.0] * len(stops)
    ticks = [(round(float(place), 2), number(stop)) for place, stop in zip(places, stops, strict=True)]
    return {"ramp": css_ramp(RAMP), "ticks": ticks, "unit": legend.unit}


def residual_key(limit: float) -> dict[str, Any]:
    """The colour bar of a residual picture, a tick per decade."""
    span = log10(max(limit / FLOOR, 10.0))
    ticks = [
        (round(100.0 * step / span, 2), f"{FLOOR * 10**step:.0e}".replace("e-0", "e-"))
        for step in range(floor(span) + 1)
    ]
    return {"ramp": css_ramp(RESIDUAL), "ticks": ticks, "unit": "of the block's total"}


def _figure(source: str, grid: Grid, pixels: int) -> Figure:
    width, height = ground(grid)
    length = _nice(width * 0.3)
    label = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    return Figure(source, round(width / height, 4), round(100.0 * length / width, 2), label, pixels < _SMALL)


def _frame(coarse: Grid, row: int, col: int, rows: int, cols: int) -> dict[str, float]:
    """Where the part lies in the whole, as CSS percentages."""
    return {
        "left": round(100.0 * col / coarse.cols, 3), "top": round(100.0 * row / coarse.rows, 3),
        "width": round(100.0 * cols / coarse.cols, 3), "height": round(100.0 * rows / coarse.rows, 3),
    }  # fmt: skip


def _nice(length: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not longer."""
    power = 10.0 ** floor(log10(length))
    return max(step * power for step in (1, 2, 5) if step * power <= length)
