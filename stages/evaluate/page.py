"""The page of an evaluation: verdicts, tables, maps beside the truth, reliability; one file that loads nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import floor, log10

import jinja2
import numpy as np
from numpy.typing import NDArray

from model.ground.grid import Region
from stages.evaluate.accumulate import BAND, Ground, Rows
from stages.evaluate.table import COLUMNS, FIRST_TABLE, Place, ReliabilityCurve, Row, Setup, Table
from stages.report.figures import ColourBar, heaviest_part, mass_key
from stages.report.pictures import average, mass_picture
from stages.report.qgis_style import legend_of

PAGE = "scores.html"
SHOWN = 4  # maps; more would make the page too heavy to open
SIDE = 600  # pixels of a picture of the whole map, at most
COLOURS = ("#390f6e", "#d8456c", "#1d7a4c", "#2166ac", "#b8860b", "#6d6675", "#88277f", "#00808a")
_WIDTH, _HEIGHT, _RIM = 420.0, 340.0, 46.0  # of the reliability plot, CSS pixels


@dataclass(frozen=True)
class Plate:
    """One picture and what it shows.

    Attributes:
      source: data address of a PNG.
    """

    name: str
    source: str


@dataclass(frozen=True)
class MapPlates:
    """Pictures of maps of the same ground in the same colours.

    Attributes:
      averaged: cells along a pixel of the pictures of the whole map.
      whole, near: of all of it, and of the part that holds most; the truth first.
      whole_key, near_key: their colour bars.
    """

    title: str
    averaged: int
    whole: tuple[Plate, ...]
    near: tuple[Plate, ...]
    whole_key: ColourBar
    near_key: ColourBar


@dataclass(frozen=True)
class PlotLine:
    """One method in a reliability plot; places are (across, down) in CSS pixels."""

    name: str
    colour: str
    places: list[tuple[float, float]]


@dataclass(frozen=True)
class ReliabilityPlot:
    """Mean truth against mean estimate of all methods at one place, both axes logarithmic.

    Attributes:
      ticks: of each whole decade: across, down, and its text.
    """

    title: str
    lines: list[PlotLine]
    ticks: list[tuple[float, float, str]]


@dataclass(frozen=True)
class _Axes:
    """Both axes of a reliability plot run from 10**low to 10**high."""

    low: int
    high: int

    def spot(self, estimate: float, truth: float) -> tuple[float, float]:
        """Where a point lies in the plot.

        Args:
          estimate, truth: logarithms to the base of 10.
        Returns: (across, down) in CSS pixels, rounded to a tenth.
        """
        span = self.high - self.low
        across = _RIM + (_WIDTH - _RIM - 8) * (estimate - self.low) / span
        down = _HEIGHT - _RIM - (_HEIGHT - _RIM - 8) * (truth - self.low) / span
        return round(across, 1), round(down, 1)


def render(title: str, table: Table, setup: Setup, maps: Sequence[MapPlates]) -> str:
    """The page as text; every name is escaped, nothing is fetched.

    Args:
      maps: what `plates` gives, one per map shown.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(files("stages.evaluate").joinpath("page.html.j2").read_text("utf-8"))
    names = list(COLUMNS)
    return template.render(
        title=title,
        setup=setup,
        table=table,
        maps=maps,
        plots=_plots(setup.reliability),
        columns=COLUMNS,
        groups=[names[:FIRST_TABLE], names[FIRST_TABLE:]],
        cell=_cell,
    )


def plates(title: str, found: Mapping[str, Rows], heavy: NDArray, ground: Ground, unit: str) -> MapPlates:
    """Pictures of maps of the same ground in the same colours: whole, and the part that holds most.

    Args:
      found: name -> how its cells are read, the truth first; the colours are those that suit it.
      heavy: (h, w) mass per block, by which the part is chosen.
    """
    rows, cols = ground.shape[0] * ground.factor, ground.shape[1] * ground.factor
    step = -(-max(rows, cols) // SIDE)
    part = heaviest_part(np.nan_to_num(heavy, nan=0.0)).refined(ground.factor)
    whole: dict[str, NDArray] = {}
    near: dict[str, NDArray] = {}
    for name, read in found.items():
        whole[name] = _overview(read, rows, step)
        near[name] = _part(read, part)
    whole_plates, whole_key = _coloured(whole, unit)
    near_plates, near_key = _coloured(near, unit)
    return MapPlates(title, step, whole_plates, near_plates, whole_key, near_key)


def _part(read: Rows, part: Region) -> NDArray:
    return read(part.row, part.rows)[:, part.slices[1]]


def _coloured(cells: Mapping[str, NDArray], unit: str) -> tuple[tuple[Plate, ...], ColourBar]:
    """Pictures in the colours of the first of them."""
    legend = legend_of(next(iter(cells.values())), unit)
    drawn = []
    for name, values in cells.items():
        drawn.append(Plate(name, mass_picture(values, legend)))
    return tuple(drawn), mass_key(legend)


def _overview(read: Rows, rows: int, step: int) -> NDArray[np.float64]:
    """Means over step x step cells, read band by band."""
    band = step * max(1, BAND // step)
    parts = []
    for row in range(0, rows, band):
        parts.append(average(read(row, min(band, rows - row)).astype(np.float64), step))
    return np.concatenate(parts)


def _cell(row: Row, name: str) -> tuple[str, str]:
    """A score and its interval as text."""
    score, digits = row.scores[name], COLUMNS[name].digits
    if score.value is None:
        return "-", ""
    span = "" if score.low is None else f"{score.low:.{digits}f} to {score.high:.{digits}f}"
    return f"{score.value:.{digits}f}", span


def _plots(reliability: Sequence[ReliabilityCurve]) -> list[ReliabilityPlot]:
    """One plot a place; a place whose truth is 0 in every bin has none."""
    by_place: dict[Place, list[ReliabilityCurve]] = {}
    for curve in reliability:
        by_place.setdefault(curve.place, []).append(curve)
    plots = []
    for place, curves in by_place.items():
        axes = _axes(curves)
        if axes is not None:
            plots.append(_plot(" ".join(place), curves, axes))
    return plots


def _logarithms(curve: ReliabilityCurve) -> list[tuple[float, float]]:
    """log10 of (estimate, truth) of the bins whose truth is above 0."""
    points = []
    for point in curve.points:
        if point["truth"] > 0:
            points.append((log10(point["estimate"]), log10(point["truth"])))
    return points


def _axes(curves: Sequence[ReliabilityCurve]) -> _Axes | None:
    """Whole decades around every point; None where there is none."""
    every: list[float] = []
    for curve in curves:
        for point in _logarithms(curve):
            every.extend(point)
    return _Axes(floor(min(every)), floor(max(every)) + 1) if every else None


def _plot(title: str, curves: Sequence[ReliabilityCurve], axes: _Axes) -> ReliabilityPlot:
    lines = []
    for number, curve in enumerate(curves):
        places = []
        for point in _logarithms(curve):
            places.append(axes.spot(*point))
        lines.append(PlotLine(curve.method, COLOURS[number % len(COLOURS)], places))
    ticks = []
    for decade in range(axes.low, axes.high + 1):
        ticks.append((*axes.spot(decade, decade), f"1e{decade}"))
    return ReliabilityPlot(title, lines, ticks)
