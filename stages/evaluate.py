"""Finished maps + truth -> one honest table; nobody else may open the truth."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from model.fault import Fault, InputFault, UsageFault, raise_all
from model.scores import Scores
from model.variable import Unit, parse_unit
from stages.progress import track
from stages.section import SafeName, Section
from stages.sources.declared import File
from stages.store.band import Band, scan
from stages.store.cube import Cube
from stages.store.digest import files_of
from stages.store.maps import Sheet, read_bands, sheets
from stages.store.resample import nesting
from stages.store.suspicion import inspect

VERSION = 1
COLUMNS = {
    "misallocated_share": "misallocated share",
    "nonzero_mae": "Nonzero-MAE",
    "top_1_percent_mae": "Top-1 % MAE",
    "r2": "R2",
    "zeros_with_mass": "true zeros with mass",
}


class Truth(File):
    """The fine truth of a sector and year, on the fine grid; read by evaluate alone."""

    sector: SafeName = "all"
    year: int
    unit: str


class Config(Section):
    """What is compared, and with which truth."""

    methods: Annotated[tuple[SafeName, ...], Field(strict=False)] = ("uniform", "single_proxy", "smooth_mask")
    truth: Annotated[tuple[Truth, ...], Field(strict=False)] = ()


def sources(config: Config) -> list[str]:
    """Files whose content enters the fingerprint, one for each entry."""
    return [file for item in config.truth for file in files_of(item.path)]


def check(config: Config) -> None:
    """Refuses a truth that cannot be used, before maps are made for hours.

    Raises: UsageFault (exit 2) without any truth, InputFault (exit 3) for files that cannot be read.
    """
    if not config.truth:
        raise UsageFault(
            "evaluate.truth",
            "no truth",
            "a fine truth of at least one sector and year",
            "set `evaluate.truth`, with path, sector, year and unit",
        )
    raise_all([fault for item in config.truth for fault in inspect(item.path, item.band)])


def run(config: Config, *, cube: Path, maps: Mapping[str, Path], out: Path) -> None:
    """Scores the finished maps of every method, all rescaled to the same totals by their own certificates.

    Args:
      maps: folder of finished maps by method; the first is the one judged against the others.
    """
    opened = Cube.open(cube)
    truths = _open(config, opened)
    rows: list[dict[str, Any]] = []
    for method, folder in maps.items():
        for sheet, raster, unit in track(truths, f"scoring {method}", len(truths), "maps"):
            scores, scored = _score(opened, sheet, raster, unit, folder)
            row = {"method": method, "sector": sheet.sector, "year": sheet.year, "scored_share": scored}
            rows.append(row | {key: _finite(value) for key, value in scores.finish().items()})
    words = _words(rows, list(maps)) + _asides(rows, maps)
    facts = {
        "unit": opened.unit,
        "protocol": "truth: methods learn from all totals and are scored on all cells of the map that the truth covers",
    }
    (out / "scores.json").write_text(
        json.dumps({**facts, "rows": rows, "words": words}, indent=1) + "\n", "utf-8"
    )
    (out / "scores.csv").write_text(_csv(rows), "utf-8", newline="")
    (out / "scores.md").write_text(_markdown(rows, words, facts), "utf-8")


def _open(config: Config, cube: Cube) -> list[tuple[Sheet, Band, Unit]]:
    """The truth of each map; files are judged in one go."""
    check(config)
    faults: list[Fault] = []
    by_place = {(sheet.sector, sheet.year): sheet for sheet in sheets(cube) if not sheet.is_sum}
    found: list[tuple[Sheet, Band, Unit]] = []
    for item in config.truth:
        name = Path(item.path).name
        if broken := inspect(item.path, item.band):
            faults += broken
            continue
        sheet = by_place.get((item.sector, item.year))
        if sheet is None:
            faults.append(
                InputFault(
                    name,
                    f"sector {item.sector}, {item.year}",
                    f"one of {sorted(by_place)}",
                    "correct `sector:` or `year:`",
                )
            )
            continue
        try:
            raster = item.open()
        except Fault as fault:
            faults.append(fault)
            continue
        if nesting(raster.grid, cube.fine) != ("coarser", 1):
            faults.append(
                InputFault(
                    name,
                    "other cells than the fine grid's",
                    "truth on the fine grid",
                    "resample it conservatively first",
                )
            )
            continue
        try:
            unit = parse_unit(item.unit)
        except ValueError as error:
            faults.append(InputFault(name, str(error), "a known unit", "correct `unit:`"))
            continue
        if unit.canonical != cube.unit:
            wanted = f"a unit of the same kind as the totals' {cube.unit}"
            faults.append(InputFault(name, f"the unit {item.unit!r}", wanted, "correct `unit:`, or the file"))
        elif scan(raster, tag_is_real=True).negative:
            faults.append(InputFault(name, "negative values", "a truth of at least 0", "correct the file"))
        else:
            found.append((sheet, raster, unit))
    raise_all(faults)
    return found


def _score(cube: Cube, sheet: Sheet, truth: Band, unit: Unit, folder: Path) -> tuple[Scores, float]:
    """Pools over row bands; counts only cells where the map is valid and the truth is known.

    Returns: the scores, and the share of the map's valid cells that were scored.
    """
    grid = truth.grid
    assert grid is not None
    shift_row, shift_col = (
        round((grid.top - cube.fine.top) / cube.fine.dy),
        round((cube.fine.left - grid.left) / cube.fine.dx),
    )
    scores, valid, areas = Scores(), 0, cube.fine.cell_areas()
    for row, cells in read_bands(folder / sheet.map_file, cube.fine, cube.factor, cube.coarse):
        given = truth.read(row * cube.factor + shift_row, shift_col, *cells.shape)
        real = unit.to_mass(given, areas[row * cube.factor :][: len(cells)])
        scores = scores + Scores.of(cells, real, np.isfinite(cells) & np.isfinite(real))
        valid += int(np.isfinite(cells).sum())
    return scores, scores.cells / valid if valid else 0.0


def _finite(value: float) -> float | None:
    """JSON has no NaN: a score that is not defined is null."""
    return value if np.isfinite(value) else None


def _words(rows: list[dict[str, Any]], methods: list[str]) -> list[str]:
    """Says of the first method whether it beats the best of the others on misallocated share."""
    told = []
    for sector, year in dict.fromkeys((row["sector"], row["year"]) for row in rows):
        share = {
            row["method"]: row["misallocated_share"]
            for row in rows
            if (row["sector"], row["year"]) == (sector, year) and row["misallocated_share"] is not None
        }
        if methods[0] not in share:
            told.append(f"{sector} {year}: the truth holds no mass, so there is nothing to compare.")
            continue
        own, others = share[methods[0]], {name: value for name, value in share.items() if name != methods[0]}
        if not others:
            continue
        best = min(others, key=lambda name: others[name])
        gain = others[best] - own
        verb = (
            f"beats {best} by {gain:.3f} ({gain / others[best]:.1%})"
            if gain > 0
            else f"does not beat {best} ({own:.3f} against {others[best]:.3f})"
        )
        told.append(f"{sector} {year}: {methods[0]} {verb} on misallocated share.")
    return told


def _asides(rows: list[dict[str, Any]], maps: Mapping[str, Path]) -> list[str]:
    """What a reader of the table must know: methods that fell back, truth that covers a part."""
    told = []
    for method, folder in maps.items():
        training = json.loads((folder / "report.json").read_text("utf-8")).get("training", {})
        if instead := training.get("fell_back"):
            told.append(
                f"{method} learned nothing ({training.get('reason')}): its maps are those of {instead}."
            )
    for place in dict.fromkeys((row["sector"], row["year"], row["scored_share"]) for row in rows):
        if place[2] < 1.0:
            told.append(
                f"{place[0]} {place[1]}: the truth covers {place[2]:.1%} of the map; the rest is not scored."
            )
    return told


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _markdown(rows: list[dict[str, Any]], words: list[str], facts: Mapping[str, str]) -> str:
    head = [
        "method",
        "sector",
        "year",
        *(title + (f" [{facts['unit']}]" if "MAE" in title else "") for title in COLUMNS.values()),
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in rows:
        numbers = [_number(row[key], 2 if "mae" in key else 3) for key in COLUMNS]
        lines.append("| " + " | ".join([row["method"], row["sector"], str(row["year"]), *numbers]) + " |")
    return "\n".join([*lines, "", f"Protocol: {facts['protocol']}.", *words]) + "\n"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
