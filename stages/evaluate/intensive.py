"""Finished maps of a mean over the cell against fine truth: scores of every method, and of what conserves nothing."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.evaluation.bootstrap import spatial_blocks
from model.evaluation.field_scores import (
    LEVELS,
    Standard,
    intervals,
    mapped,
    quantile_bands,
    scores,
    spectrum,
)
from model.ground import time_steps as when
from model.ground.errors import Fault, InputFault, raise_all
from model.ground.scene import spread
from model.priors.pycnophylactic import bilinear, fill_unknown
from stages.artifacts.cube import Cube
from stages.artifacts.maps import Sheet, read_part, sheets
from stages.artifacts.netcdf_maps import write_fields
from stages.contract.progress import step, tell
from stages.declare.fine_fields import FineField, open_field
from stages.evaluate import intensive_page
from stages.evaluate.intensive_scores import COLUMNS, MAPPED, PLAIN, cell
from stages.evaluate.truth import Truth

BAND_DRAWS = 200  # of quantile bands: each sorts all values anew
MAPPING_LEVELS = np.linspace(0.0, 1.0, 501)
SITES = 4


@dataclass(frozen=True)
class Told:
    """One sector's fields by date: the truth, and every method's by name, (dates, rows, cols) in the cube's unit."""

    sector: str
    dates: tuple[int, ...]
    truth: NDArray[np.float64]
    found: dict[str, NDArray[np.float64]]
    units: NDArray[np.int64]


def judge(config: Any, cube: Cube, maps: Mapping[str, Path], out: Path) -> None:
    """Writes scores.json, .csv, .md and the page.

    Args: maps: folder of finished maps by method; the first is the one judged.
    """
    opened = _open(config.truth, cube)
    rows: list[dict[str, Any]] = []
    facts: dict[str, Any] = {
        "unit": cube.unit, "wet": config.wet, "draws": config.draws, "methods": _methods(maps),
        "protocol": "truth: held-out dates that no method learned from, all cells with a value in both", "sectors": [],
    }  # fmt: skip
    pages = []
    for sector in range(len(cube.sectors)):
        name = cube.sectors[sector]
        if not (fields := {label: item for (own, label), item in opened.items() if own == name}):
            continue
        told = _gather(sector, fields, cube, maps, config.block)
        path = out / f"{cube.name}_{name}_held_out.nc"
        write_fields(cube, told.dates, _all(told), path, f"{cube.long_name}, held-out dates")
        standard = Standard.of(told.truth, config.wet)
        rng = np.random.default_rng(config.seed)
        spans = intervals(told.found, told.truth, told.units, standard, config.draws, rng)
        for method, field in {"truth": told.truth, **told.found}.items():
            line = scores(field, told.truth, standard)
            rows.append({"method": method, "sector": name, "dates": len(told.dates), **line,
                         "intervals": spans.get(method, {})})  # fmt: skip
        shape = _shapes(told, cube, config)
        facts["sectors"].append({"sector": name, "dates": [when.spelled(label) for label in told.dates],
                                 "extreme": standard.extreme, **shape})  # fmt: skip
        pages.append(intensive_page.draw(told, shape, cube, config))
    facts["rows"], facts["words"] = rows, _words(rows, next(iter(maps)), cube.unit)
    for word in facts["words"]:
        tell(f"evaluate: {word}")
    (out / "scores.json").write_text(json.dumps(_plain(facts), indent=1, allow_nan=False) + "\n", "utf-8")
    (out / "scores.csv").write_text(_csv(rows), "utf-8", newline="")
    (out / "scores.md").write_text(_markdown(facts), "utf-8")
    (out / intensive_page.PAGE).write_text(
        intensive_page.render(f"{cube.long_name}: held-out dates", facts, pages), "utf-8"
    )


def _open(truth: tuple[Truth, ...], cube: Cube) -> dict[tuple[str, int], FineField]:
    """Truth by sector and date.

    Raises: InputFault or Faults (exit 3) for what does not fit the cube, or was learned from.
    """
    faults: list[Fault] = []
    found: dict[tuple[str, int], FineField] = {}
    learned = {(pair.sector, pair.year) for pair in cube.record.pairs}
    hashes: dict[str, str] = {}
    for item in (single for entry in truth for single in entry.singles()):
        label = item.year
        assert label is not None
        name = Path(item.path).name
        if item.sector not in cube.sectors or label not in cube.years:
            faults.append(InputFault(
                name, f"a truth of {item.sector}, {when.spelled(label)}", "a sector and date that has totals",
                "correct `evaluate.truth`",
            ))  # fmt: skip
        elif (item.sector, label) in learned:
            faults.append(InputFault(
                name, f"{when.spelled(label)}, which was learned from", "dates held out of `ingest.pairs`",
                "name it under `without:` there",
            ))  # fmt: skip
        else:
            try:
                field = open_field(item, cube.fine, hashes, faults)
                if field is not None:
                    field.unit = item.unit_for(cube)
                    found[item.sector, label] = field
            except Fault as fault:
                faults.append(fault)
    raise_all(faults)
    return found


def _gather(
    sector: int, fields: Mapping[int, FineField], cube: Cube, maps: Mapping[str, Path], side: int
) -> Told:
    """Reads truth and maps of every date, and makes what is only interpolated."""
    labels = tuple(sorted(fields))
    times = [cube.years.index(label) for label in labels]
    by_time = {
        sheet.time: sheet for sheet in sheets(cube) if sheet.members == (sector,) and not sheet.is_emission
    }
    shape = cube.fine.shape
    truth = np.stack([fields[label].values(0, 0, *shape) for label in labels])
    found: dict[str, NDArray[np.float64]] = {}
    for done, (method, folder) in enumerate(maps.items(), start=1):
        found[method] = np.stack([_map(folder, by_time[time], cube) for time in times])
        step("reading maps", done, len(maps), "methods")
    known = np.isfinite(next(iter(found.values())))
    found[PLAIN] = np.where(known, np.stack([_interpolated(cube, sector, time) for time in times]), np.nan)
    if cube.paired()[sector].any():
        given, wanted = _training_quantiles(cube, sector)
        found[MAPPED] = np.where(known, mapped(found[PLAIN], given, wanted), np.nan)
    blocks, count = spatial_blocks(*cube.coarse.shape, side)
    units = spread(blocks, cube.factor)[None] + count * np.arange(len(labels))[:, None, None]
    return Told(cube.sectors[sector], labels, truth, found, units)


def _map(folder: Path, sheet: Sheet, cube: Cube) -> NDArray[np.float64]:
    return read_part(folder / sheet.map_file, cube.fine, 0, 0, *cube.fine.shape).astype(np.float64)


def _interpolated(cube: Cube, sector: int, time: int) -> NDArray[np.float64]:
    """The given means, read between block centres in proportion to distance; no mean is kept."""
    known = cube.known()[sector, time]
    means = np.where(known, (cube.totals() / cube.room)[sector, time], 0.0)
    return bilinear(fill_unknown(means[None], known[None])[0], 1, cube.factor)


def _training_quantiles(cube: Cube, sector: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Quantiles of interpolated and of true values over the dates learned from."""
    before, after = [], []
    for time in np.flatnonzero(cube.paired()[sector]):
        truth = cube.pair(sector, int(time), 0, 0, *cube.fine.shape) / cube.weights
        there = np.isfinite(truth)
        before.append(_interpolated(cube, sector, int(time))[there])
        after.append(truth[there])
    return tuple(np.quantile(np.concatenate(parts), MAPPING_LEVELS) for parts in (before, after))  # type: ignore


def _shapes(told: Told, cube: Cube, config: Any) -> dict[str, Any]:
    """Curves of the page: quantiles with bands, spectra, and sites."""
    rng = np.random.default_rng(config.seed)
    there = np.isfinite(told.truth) & np.all([np.isfinite(field) for field in told.found.values()], axis=0)
    quantiles = {name: np.quantile(field[there], LEVELS).tolist() for name, field in _all(told).items()}
    draws = min(config.draws, BAND_DRAWS)
    bands = {
        name: quantile_bands(told.units[there], field[there], draws, rng).tolist()
        for name, field in _all(told).items()
    }
    spectra = {name: spectrum(field, there).tolist() for name, field in _all(told).items()}
    return {"levels": list(LEVELS), "quantiles": quantiles, "bands": bands, "spectra": spectra,
            "sites": _sites(told, cube, config, there.all(axis=0))}  # fmt: skip


def _all(told: Told) -> dict[str, NDArray[np.float64]]:
    return {"truth": told.truth, **told.found}


def _sites(told: Told, cube: Cube, config: Any, there: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """The cell nearest to each site: its series of every method, and quantiles against those of the truth."""
    fine = cube.fine
    places = list(config.sites)
    if not places and there.any():
        able = np.argwhere(there)
        wetter = np.argsort(told.truth.mean(axis=0)[there], kind="stable")
        chosen = able[wetter[(np.linspace(0.5, 1.0, SITES) * (len(able) - 1)).round().astype(int)]]
        places = [(float(fine.x[col]), float(fine.y[row])) for row, col in chosen]
    out = []
    degrees = cube.degrees()
    for x, y in places:
        if degrees is not None and config.sites:
            row, col = divmod(int(np.argmin(np.hypot(degrees[0] - x, degrees[1] - y))), fine.cols)
        else:
            row, col = int(np.abs(fine.y - y).argmin()), int(np.abs(fine.x - x).argmin())
        series = {name: field[:, row, col] for name, field in _all(told).items()}
        if np.isfinite(series["truth"]).all():
            where = [float(fine.x[col]), float(fine.y[row])]
            if degrees is not None:
                where = [float(part[row, col]) for part in degrees]
            out.append({"place": where, "row": int(row), "col": int(col), "bands": _site_bands(series, config.seed),
                        "series": {name: values.tolist() for name, values in series.items()}})  # fmt: skip
    return out


def _site_bands(series: Mapping[str, NDArray[np.float64]], seed: int) -> dict[str, Any]:
    """(2, dates) 95 % bands of each sorted series when dates are drawn anew."""
    dates = len(series["truth"])
    drawn = np.random.default_rng(seed).integers(dates, size=(BAND_DRAWS, dates))
    return {
        name: np.quantile(np.sort(values[drawn], axis=1), (0.025, 0.975), axis=0).tolist()
        for name, values in series.items()
    }


def _methods(maps: Mapping[str, Path]) -> dict[str, Any]:
    """What each method says of itself, where its contents were compared included."""
    return {
        name: json.loads((folder / "report.json").read_text("utf-8"))["describe"]
        for name, folder in maps.items()
    }


def _words(rows: list[dict[str, Any]], judged: str, unit: str) -> list[str]:
    """The judged method against the others in sentences."""
    words = []
    for sector in dict.fromkeys(row["sector"] for row in rows):
        here = {row["method"]: row for row in rows if row["sector"] == sector}
        own = here[judged]
        others = {name: row for name, row in here.items() if name not in ("truth", judged)}
        best = min(others, key=lambda name: others[name]["rmse"]) if others else None
        if best is not None:
            gain = others[best]["rmse"] - own["rmse"]
            low, high = others[best]["intervals"]["behind"]
            verdict = "beats" if low > 0 else "does not beat"
            words.append(
                f"{sector}: RMSE of {judged} {own['rmse']:.4g} {unit}; it {verdict} {best}, the best other: "
                f"{gain:.3g} lower ({low:.3g} to {high:.3g}, {gain / others[best]['rmse']:.1%})"
            )
    return words


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    flat = []
    for row in rows:
        plain = {key: value for key, value in row.items() if key != "intervals"}
        for name in ("rmse", "bias"):
            low, high = row["intervals"].get(name, (None, None))
            plain |= {f"{name}_low": low, f"{name}_high": high}
        flat.append(plain)
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _markdown(facts: Mapping[str, Any]) -> str:
    head = ["method", "sector", *(f"{title} [{facts['unit']}]" if key in ("rmse", "bias", "p99") else title
                                  for key, title in COLUMNS.items())]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join([row["method"], row["sector"], *(cell(row, key) for key in COLUMNS)]) + " |"
              for row in facts["rows"]]  # fmt: skip
    notes = [
        f"Protocol: {facts['protocol']}.",
        f"Wet: {facts['wet']:g} {facts['unit']} or more; extreme: above the 95th percentile of true wet values.",
        "In brackets: 95 % interval of a bootstrap over spatial blocks and dates.",
        f"{PLAIN} and {MAPPED} keep no mean.",
        *(f"{name}: contents compared by {told['contents compared by']}." for name, told in facts["methods"].items()
          if told.get("contents compared by")),
        *facts["words"],
    ]  # fmt: skip
    return "\n".join([*lines, "", *(f"- {line}" for line in notes)]) + "\n"


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
