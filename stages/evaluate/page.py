"""The page of an evaluation: verdicts, tables, maps beside the truth, reliability; one file that loads nothing."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from math import floor, log10
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from stages.evaluate.accumulate import BAND, Ground, Rows
from stages.evaluate.table import COLUMNS, JUDGED_BY, Table
from stages.report.figures import heaviest_part, mass_key
from stages.report.pictures import average, mass_picture
from stages.report.qgis_style import legend_of

PAGE = "scores.html"
SHOWN = 4  # maps; more would make the page too heavy to open
SIDE = 600  # pixels of a picture of the whole map, at most
COLOURS = ("#390f6e", "#d8456c", "#1d7a4c", "#2166ac", "#b8860b", "#6d6675", "#88277f", "#00808a")
_WIDTH, _HEIGHT, _RIM = 420.0, 340.0, 46.0  # of the reliability plot, CSS pixels


def render(title: str, table: Table, facts: Mapping[str, Any], maps: Sequence[Mapping[str, Any]]) -> str:
    """The page as text; every name is escaped.

    Args:
      maps: what `plates` gives, one per map shown.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(files("stages.evaluate").joinpath("page.html.j2").read_text("utf-8"))
    names = list(COLUMNS)
    return template.render(
        title=title, facts=facts, table=table, maps=maps, plots=_plots(facts["reliability"]),
        columns=COLUMNS, groups=[names[:8], names[8:]], judged_by=JUDGED_BY, cell=_cell, keys=table.keys,
    )  # fmt: skip


def plates(
    title: str, found: Mapping[str, Rows], heavy: NDArray, ground: Ground, unit: str
) -> dict[str, Any]:
    """Pictures of maps of the same ground in the same colours: whole, and the part that holds most.

    Args:
      found: name -> how its cells are read, the truth first.
      heavy: mass per block, by which the part is chosen.
    """
    rows, cols = (size * ground.factor for size in ground.shape)
    step = -(-max(rows, cols) // SIDE)
    top, left, height, width = (ground.factor * part for part in heaviest_part(np.nan_to_num(heavy, nan=0.0)))
    near = {name: read(top, height)[:, left : left + width] for name, read in found.items()}
    whole = {name: _overview(read, rows, step) for name, read in found.items()}
    legends = [legend_of(next(iter(parts.values())), unit) for parts in (whole, near)]
    return {
        "title": title,
        "averaged": step,
        "whole": [{"name": name, "source": mass_picture(part, legends[0])} for name, part in whole.items()],
        "near": [{"name": name, "source": mass_picture(part, legends[1])} for name, part in near.items()],
        "keys": [mass_key(legend) for legend in legends],
    }


def _overview(read: Rows, rows: int, step: int) -> NDArray[np.float64]:
    """Means over step x step cells, read band by band."""
    band = step * max(1, BAND // step)
    starts = range(0, rows, band)
    return np.concatenate(
        [average(read(row, min(band, rows - row)).astype(np.float64), step) for row in starts]
    )


def _cell(row: Mapping[str, Any], name: str) -> tuple[str, str]:
    """A score and its interval as text."""
    digits = COLUMNS[name][1]
    if row[name] is None:
        return "-", ""
    low, high = row["intervals"][name]
    span = "" if low is None else f"{low:.{digits}f} to {high:.{digits}f}"
    return f"{row[name]:.{digits}f}", span


def _plots(reliability: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One plot a place: mean truth against mean estimate, both on logarithmic axes."""
    plots = []
    for place in dict.fromkeys(tuple(entry["place"]) for entry in reliability):
        here = [entry for entry in reliability if tuple(entry["place"]) == place]
        points = [
            (point["estimate"], point["truth"])
            for entry in here
            for point in entry["points"]
            if point["truth"] > 0
        ]
        if not points:
            continue
        low = floor(log10(min(min(pair) for pair in points)))
        high = floor(log10(max(max(pair) for pair in points))) + 1
        lines = [
            {
                "name": entry["method"],
                "colour": COLOURS[number % len(COLOURS)],
                "places": [
                    _spot(point["estimate"], point["truth"], low, high)
                    for point in entry["points"]
                    if point["truth"] > 0
                ],
            }
            for number, entry in enumerate(here)
        ]
        ticks = [(round(_across(decade, low, high), 1), round(_up(decade, low, high), 1), f"1e{decade}")
                 for decade in range(low, high + 1)]  # fmt: skip
        plots.append({"title": " ".join(place), "lines": lines, "ticks": ticks})
    return plots


def _across(power: float, low: int, high: int) -> float:
    return _RIM + (_WIDTH - _RIM - 8) * (power - low) / (high - low)


def _up(power: float, low: int, high: int) -> float:
    return _HEIGHT - _RIM - (_HEIGHT - _RIM - 8) * (power - low) / (high - low)


def _spot(estimate: float, truth: float, low: int, high: int) -> tuple[float, float]:
    return round(_across(log10(estimate), low, high), 1), round(_up(log10(truth), low, high), 1)
