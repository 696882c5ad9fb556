"""Figures of the page: which part of which map is shown, how wide it is on the ground, and its colour bar."""

from dataclasses import dataclass
from math import ceil, cos, floor, log10, radians
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.ground.grid import Grid, Region
from stages.artifacts import maps as store
from stages.artifacts.maps import MapSpec
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


@dataclass(frozen=True)
class ColourBar:
    """The key of a picture.

    Attributes:
      ramp: stops of a CSS gradient.
      ticks: (place along the bar [%], text) of each number written beside it.
    """

    ramp: str
    ticks: tuple[tuple[float, str], ...]
    unit: str


@dataclass(frozen=True)
class Frame:
    """Where a part lies in the picture of the whole, in CSS percentages."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class MapFigures:
    """The pictures of one map, and what a reader needs beside them.

    Attributes:
      coarse, fine: the whole map as given and as found.
      zoom_coarse, zoom_fine: the part that holds most, every cell.
      averaged: fine cells along a pixel of `fine`.
      frame: where the part lies in the whole.
      key, zoom_key, residual_key: colour bars of the whole, of the part and of the residual.
    """

    coarse: Figure
    fine: Figure
    zoom_coarse: Figure
    zoom_fine: Figure
    residual: Figure
    averaged: int
    frame: Frame
    key: ColourBar
    zoom_key: ColourBar
    residual_key: ColourBar


def ground(grid: Grid) -> tuple[float, float]:
    """How large a grid is on the ground.

    Returns: width and height [m]. On a geographic grid the width is measured along its middle parallel, on a sphere of
      111.32 km a degree; good for scale bars and proportions, not for areas.
    """
    width, height = grid.cols * grid.dx, grid.rows * grid.dy
    if grid.ellipsoid is None:
        return width * grid.metre, height * grid.metre
    middle = radians((grid.top + grid.bottom) / 2.0)
    return width * _DEGREE * cos(middle), height * _DEGREE


def draw(
    sheet: MapSpec,
    maps: Path,
    coarse: Grid,
    factor: int,
    legend: Legend,
    limit: float,
    page_width: int,
    shared: int,
) -> MapFigures:
    """The pictures of one map: whole and its heaviest part, coarse and fine, and the residual.

    The coarse input is drawn as the mean per fine cell, so that it shares the scale of the result. Memory is
    bounded by the page width: larger maps are read as averages.

    Args:
      maps: folder of finished maps.
      limit: relative residual at which the colours of the residual end.
      page_width: pixels along a picture, at most.
      shared: fine cells that a block's number is divided by, 1 where it is a mean.
    Raises: ArtifactError (exit 4) when the map or its block file is missing or damaged.
    """
    fine = coarse.refine(factor)
    given, placed, relative = store.read_blocks(maps / sheet.blocks_file, coarse)[:3]
    even = given / shared
    step = ceil(max(fine.shape) / page_width)
    coarse_step = ceil(max(coarse.shape) / page_width)
    coarse_pixels = coarse.cols // coarse_step
    whole = store.read_overview(maps / sheet.map_file, fine, step)
    heavy = heaviest_part(np.where(np.isnan(placed), 0.0, placed))
    part = store.read_part(maps / sheet.map_file, fine, *heavy.refined(factor))
    inside, near = coarse.window(*heavy), legend_of(part, legend.unit)
    residual = residual_picture(average(np.abs(relative), coarse_step), limit)
    return MapFigures(
        coarse=_figure(mass_picture(average(even, coarse_step), legend), coarse, coarse_pixels),
        fine=_figure(mass_picture(whole, legend), fine, fine.cols // step),
        zoom_coarse=_figure(mass_picture(even[heavy.slices], near), inside, heavy.cols),
        zoom_fine=_figure(mass_picture(part, near), inside, heavy.cols * factor),
        residual=_figure(residual, coarse, coarse_pixels),
        averaged=step,
        frame=_frame(coarse, heavy),
        key=mass_key(legend),
        zoom_key=mass_key(near),
        residual_key=residual_key(limit),
    )


def heaviest_part(mass: NDArray[np.float64]) -> Region:
    """The part of at most 12 x 12 blocks that holds most.

    Args:
      mass: (h, w) per block, no NaN.
    Returns: a region of blocks; of several alike the northernmost, then the westernmost.
    """
    rows, cols = min(_ZOOM_BLOCKS, mass.shape[0]), min(_ZOOM_BLOCKS, mass.shape[1])
    table = np.pad(mass.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    sums = table[rows:, cols:] - table[:-rows, cols:] - table[rows:, :-cols] + table[:-rows, :-cols]
    row, col = np.unravel_index(sums.argmax(), sums.shape)
    return Region(int(row), int(col), rows, cols)


def mass_key(legend: Legend) -> ColourBar:
    """The colour bar of a map: one tick per limit of the legend, evenly spaced as the colours are.

    Returns: no tick where no cell is above zero; a single one stands at the dark end.
    """
    stops = legend.stops
    places = np.linspace(0.0, 100.0, len(stops)) if len(stops) > 1 else [100.0] * len(stops)
    ticks = []
    for place, stop in zip(places, stops, strict=True):
        ticks.append((round(float(place), 2), number(stop)))
    return ColourBar(css_ramp(RAMP), tuple(ticks), legend.unit)


def residual_key(limit: float) -> ColourBar:
    """The colour bar of a residual picture, a tick per decade from FLOOR to the limit.

    Args:
      limit: relative residual at the end of the bar; it spans a decade at least.
    """
    span = log10(max(limit / FLOOR, 10.0))
    ticks = []
    for decade in range(floor(span) + 1):
        text = f"{FLOOR * 10**decade:.0e}".replace("e-0", "e-")
        ticks.append((round(100.0 * decade / span, 2), text))
    return ColourBar(css_ramp(RESIDUAL), tuple(ticks), "of the block's total")


def _figure(source: str, grid: Grid, pixels: int) -> Figure:
    width, height = ground(grid)
    length = _nice(width * 0.3)
    label = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    return Figure(source, round(width / height, 4), round(100.0 * length / width, 2), label, pixels < _SMALL)


def _frame(coarse: Grid, part: Region) -> Frame:
    return Frame(
        left=round(100.0 * part.col / coarse.cols, 3),
        top=round(100.0 * part.row / coarse.rows, 3),
        width=round(100.0 * part.cols / coarse.cols, 3),
        height=round(100.0 * part.rows / coarse.rows, 3),
    )


def _nice(length: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not longer."""
    power = 10.0 ** floor(log10(length))
    for digit in (5, 2):
        if digit * power <= length:
            return digit * power
    return power
