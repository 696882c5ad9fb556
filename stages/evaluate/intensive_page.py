"""The page of fields against their truth: a table, maps, quantiles, spectra and sites, as pictures inside one file."""

import base64
import io
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from model.ground import time_steps as when
from stages.artifacts.cube import Cube
from stages.evaluate.intensive_scores import COLUMNS, MAPPED, PLAIN, cell

PAGE = "scores.html"
COLOURS = ("#000000", "#390f6e", "#d8456c", "#1d7a4c", "#2166ac", "#b8860b", "#6d6675", "#88277f", "#00808a")
DOTS = 110


def render(title: str, facts: Mapping[str, Any], pages: Sequence[Mapping[str, Any]]) -> str:
    """The page as text; every name is escaped, nothing is fetched."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        files("stages.evaluate").joinpath("intensive_page.html.j2").read_text("utf-8")
    )
    return template.render(
        title=title, facts=facts, pages=pages, columns=COLUMNS, cell=cell, free=(PLAIN, MAPPED),
        contents={name: told["contents compared by"] for name, told in facts["methods"].items()
                  if told.get("contents compared by")},
    )  # fmt: skip


def draw(told: Any, shape: Mapping[str, Any], cube: Cube, config: Any) -> dict[str, Any]:
    """The pictures of one sector."""
    return {
        "sector": told.sector,
        "pictures": [
            ("The heaviest held-out date", _maps(told, cube)),
            ("Quantiles of all cells, with 95 % bands of a bootstrap over spatial blocks and dates",
             _quantiles(shape, cube.unit)),
            ("Power by wavenumber, radially averaged", _spectra(shape)),
            ("Sites: series of the nearest cell, and its quantiles against the true ones", _sites(told, shape, cube)),
        ],
    }  # fmt: skip


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _address(figure: Any) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _maps(told: Any, cube: Cube) -> str:
    """Given, true and found on the date with most of the quantity, in the same colours."""
    time = int(np.nan_to_num(told.truth).sum(axis=(1, 2)).argmax())
    index, sector = cube.years.index(told.dates[time]), cube.sectors.index(told.sector)
    given = np.where(cube.known()[sector, index], (cube.totals() / cube.room)[sector, index], np.nan)
    panels: dict[str, NDArray] = {"given": given, "truth": told.truth[time]}
    panels |= {name: field[time] for name, field in told.found.items()}
    cols = min(3, len(panels))
    rows = -(-len(panels) // cols)
    figure = _figure(3.9 * cols, 3.4 * rows * cube.fine.rows / cube.fine.cols + 0.8 * rows)
    axes = np.atleast_1d(figure.subplots(rows, cols)).ravel()
    low, high = float(np.nanmin(told.truth[time])), float(np.nanmax(told.truth[time]))
    picture = None
    for axis, (name, values) in zip(axes, panels.items(), strict=False):
        picture = axis.imshow(
            values, vmin=low, vmax=high, cmap="viridis", interpolation="nearest", aspect="auto"
        )
        axis.set_title(name, fontsize=9)
    for axis in axes:
        axis.set_xticks([]), axis.set_yticks([])
        axis.set_visible(bool(axis.get_title()))
    figure.colorbar(picture, ax=axes.tolist(), shrink=0.6, label=cube.unit)
    figure.suptitle(when.spelled(told.dates[time]), fontsize=10)
    return _address(figure)


def _lines(names: Sequence[str]) -> dict[str, str]:
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}


def _quantiles(shape: Mapping[str, Any], unit: str) -> str:
    figure = _figure(8.5, 4.2)
    axes = figure.subplots(1, 2)
    truth = np.array(shape["quantiles"]["truth"])
    colours = _lines(list(shape["quantiles"]))
    for axis, part in zip(axes, (slice(None), slice(int(0.9 * len(truth)), None)), strict=True):
        for name, values in shape["quantiles"].items():
            low, high = np.array(shape["bands"][name])
            axis.fill_between(
                truth[part], low[part], high[part], color=colours[name], alpha=0.12, linewidth=0
            )
            axis.plot(truth[part], np.array(values)[part], color=colours[name], label=name, linewidth=1.2)
        axis.set_xlabel(f"truth [{unit}]", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0].set_ylabel(f"found [{unit}]", fontsize=8)
    axes[0].legend(fontsize=7)
    axes[1].set_title("the upper tenth", fontsize=8)
    return _address(figure)


def _spectra(shape: Mapping[str, Any]) -> str:
    figure = _figure(6.0, 3.8)
    axis = figure.subplots()
    colours = _lines(list(shape["spectra"]))
    for name, power in shape["spectra"].items():
        axis.loglog(np.arange(1, len(power) + 1), power, color=colours[name], label=name, linewidth=1.2)
    axis.set_xlabel("waves along the shorter side", fontsize=8)
    axis.set_ylabel("power", fontsize=8)
    axis.legend(fontsize=7)
    axis.tick_params(labelsize=7)
    return _address(figure)


def _sites(told: Any, shape: Mapping[str, Any], cube: Cube) -> str:
    sites = shape["sites"]
    if not sites:
        return ""
    figure = _figure(9.0, 2.1 * len(sites))
    axes = np.atleast_2d(figure.subplots(len(sites), 2))
    colours = _lines(["truth", *told.found])
    words = [when.spelled(label) for label in told.dates]
    for (left, right), site in zip(axes, sites, strict=True):
        truth = np.sort(site["series"]["truth"])
        for name, values in site["series"].items():
            left.plot(words, values, marker=".", color=colours[name], label=name, linewidth=1)
            right.fill_between(
                truth, *np.array(site["bands"][name]), color=colours[name], alpha=0.08, linewidth=0
            )
            right.plot(truth, np.sort(values), marker=".", color=colours[name], linewidth=1)
        left.set_title(f"at {site['place'][0]:.6g}, {site['place'][1]:.6g} [{cube.unit}]", fontsize=8)
        right.plot(truth, truth, color="#999999", linewidth=0.6)
        right.set_title("sorted, against the sorted truth; bands: dates drawn anew", fontsize=8)
        for axis in (left, right):
            axis.tick_params(labelsize=6)
    axes[0, 0].legend(fontsize=6)
    return _address(figure)
