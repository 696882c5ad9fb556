"""The page of fields against their truth: a table, maps, quantiles, spectra and sites, as pictures inside one file."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import jinja2
import numpy as np
from numpy.typing import NDArray

from model.ground import time_steps as when
from stages.artifacts.cube import Cube
from stages.evaluate.intensive_curves import Curves, Site
from stages.evaluate.intensive_fields import MAPPED, PLAIN, SectorFields
from stages.evaluate.intensive_scores import COLUMNS, IN_UNIT, FieldScores, cell

if TYPE_CHECKING:  # matplotlib loads only when something is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE = "scores.html"
COLOURS = ("#000000", "#390f6e", "#d8456c", "#1d7a4c", "#2166ac", "#b8860b", "#6d6675", "#88277f", "#00808a")
DOTS = 110


@dataclass(frozen=True)
class SectorPage:
    """The pictures of one sector: of each its words, and a data address, empty where there is nothing to draw."""

    sector: str
    pictures: tuple[tuple[str, str], ...]


def render(title: str, found: FieldScores, pages: Sequence[SectorPage]) -> str:
    """The page as text; every name is escaped, nothing is fetched.

    Args:
      found: the scores; pages: the pictures, one entry a sector that has a truth.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        files("stages.evaluate").joinpath("intensive_page.html.j2").read_text("utf-8")
    )
    return template.render(
        title=title,
        found=found,
        pages=pages,
        columns=COLUMNS,
        in_unit=IN_UNIT,
        cell=cell,
        free=(PLAIN, MAPPED),
    )


def draw_sector(fields: SectorFields, curves: Curves, cube: Cube) -> SectorPage:
    """Draws one sector: maps of its heaviest date, quantiles, spectra and sites.

    Returns: PNG pictures as data addresses; equal fields give equal bytes.
    """
    pictures = (
        ("The heaviest held-out date", _maps(fields, cube)),
        (
            "Quantiles of all cells, with 95 % bands of a bootstrap over spatial blocks and dates",
            _quantiles(curves, cube.unit),
        ),
        ("Power by wavenumber, radially averaged", _spectra(curves)),
        (
            "Sites: series of the nearest cell, and its quantiles against the true ones",
            _sites(fields, curves.sites, cube.unit),
        ),
    )
    return SectorPage(fields.sector, pictures)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _address(figure: "Figure") -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _maps(fields: SectorFields, cube: Cube) -> str:
    """Given, true and found on the date with most of the quantity, in the same colours."""
    time = int(np.nan_to_num(fields.truth).sum(axis=(1, 2)).argmax())
    truth = fields.truth[time]
    panels: dict[str, NDArray] = {"given": _given(fields, time, cube), "truth": truth}
    for name, field in fields.found.items():
        panels[name] = field[time]
    cols = min(3, len(panels))
    rows = -(-len(panels) // cols)
    figure = _figure(3.9 * cols, 3.4 * rows * cube.fine.rows / cube.fine.cols + 0.8 * rows)
    axes = np.atleast_1d(figure.subplots(rows, cols)).ravel()
    low, high = float(np.nanmin(truth)), float(np.nanmax(truth))
    for axis, (name, values) in zip(axes, panels.items(), strict=False):
        picture = axis.imshow(
            values, vmin=low, vmax=high, cmap="viridis", interpolation="nearest", aspect="auto"
        )
        axis.set_title(name, fontsize=9)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_visible(bool(axis.get_title()))
    figure.colorbar(picture, ax=axes.tolist(), shrink=0.6, label=cube.unit)
    figure.suptitle(when.spelled(fields.dates[time]), fontsize=10)
    return _address(figure)


def _given(fields: SectorFields, time: int, cube: Cube) -> NDArray[np.float64]:
    """(h, w) the known means of a date."""
    index, sector = cube.years.index(fields.dates[time]), cube.sectors.index(fields.sector)
    return np.where(cube.known()[sector, index], (cube.totals() / cube.room)[sector, index], np.nan)


def _colours(names: Sequence[str]) -> dict[str, str]:
    """The truth black; the same method has the same colour in every picture."""
    colours = {}
    for index, name in enumerate(names):
        colours[name] = COLOURS[index % len(COLOURS)]
    return colours


def _quantiles(curves: Curves, unit: str) -> str:
    figure = _figure(8.5, 4.2)
    axes = figure.subplots(1, 2)
    truth = curves.quantiles["truth"]
    colours = _colours(list(curves.quantiles))
    for axis, part in zip(axes, (slice(None), slice(int(0.9 * len(truth)), None)), strict=True):
        for name, values in curves.quantiles.items():
            low, high = curves.bands[name]
            axis.fill_between(
                truth[part], low[part], high[part], color=colours[name], alpha=0.12, linewidth=0
            )
            axis.plot(truth[part], values[part], color=colours[name], label=name, linewidth=1.2)
        axis.set_xlabel(f"truth [{unit}]", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0].set_ylabel(f"found [{unit}]", fontsize=8)
    axes[0].legend(fontsize=7)
    axes[1].set_title("the upper tenth", fontsize=8)
    return _address(figure)


def _spectra(curves: Curves) -> str:
    figure = _figure(6.0, 3.8)
    axis = figure.subplots()
    colours = _colours(list(curves.spectra))
    for name, power in curves.spectra.items():
        axis.loglog(np.arange(1, len(power) + 1), power, color=colours[name], label=name, linewidth=1.2)
    axis.set_xlabel("waves along the shorter side", fontsize=8)
    axis.set_ylabel("power", fontsize=8)
    axis.legend(fontsize=7)
    axis.tick_params(labelsize=7)
    return _address(figure)


def _sites(fields: SectorFields, sites: Sequence[Site], unit: str) -> str:
    if not sites:
        return ""
    figure = _figure(9.0, 2.1 * len(sites))
    axes = np.atleast_2d(figure.subplots(len(sites), 2))
    dates = list(map(when.spelled, fields.dates))
    for (left, right), site in zip(axes, sites, strict=True):
        _site(left, right, site, dates)
        left.set_title(f"at {site.place[0]:.6g}, {site.place[1]:.6g} [{unit}]", fontsize=8)
        right.set_title("sorted, against the sorted truth; bands: dates drawn anew", fontsize=8)
    axes[0, 0].legend(fontsize=6)
    return _address(figure)


def _site(left: "Axes", right: "Axes", site: Site, dates: list[str]) -> None:
    """Its series on the left, its sorted values against the sorted truth on the right."""
    truth = np.sort(site.series["truth"])
    colours = _colours(list(site.series))
    for name, values in site.series.items():
        left.plot(dates, values, marker=".", color=colours[name], label=name, linewidth=1)
        low, high = site.bands[name]
        right.fill_between(truth, low, high, color=colours[name], alpha=0.08, linewidth=0)
        right.plot(truth, np.sort(values), marker=".", color=colours[name], linewidth=1)
    right.plot(truth, truth, color="#999999", linewidth=0.6)
    for axis in (left, right):
        axis.tick_params(labelsize=6)
