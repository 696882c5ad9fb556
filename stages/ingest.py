"""Source layers -> one aligned, self-describing cube."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from model.fault import Fault, InputFault, raise_all
from model.grid import Grid
from model.variable import QUANTITIES
from stages.progress import step, tell
from stages.sources import Config, Covariate, Derived, Source, Sources, Total, open_sources
from stages.store import arrays
from stages.store.cube import STORE, lay_out
from stages.store.journal import Journal
from stages.store.resample import bring

__all__ = ["VERSION", "Config", "check", "run", "sources"]

VERSION = 1
REPORT = "ingest.json"
Region = tuple[int, int, int, int]  # row, col, rows, cols in fine cells


def sources(config: Config) -> list[str]:
    """Files whose content enters the fingerprint."""
    return list(dict.fromkeys(item.path for item in (*config.totals, *config.covariates)))


def check(config: Config) -> dict[str, Any]:
    """Judges every input without making anything.

    Raises: Fault or Faults (exit 3), all that is wrong in one go.
    """
    found = open_sources(config)
    fine = found.coarse.refine(found.factor)
    layers = len(_plan(config, found))
    cells = fine.rows * fine.cols
    return {
        "coarse cells": found.coarse.rows * found.coarse.cols,
        "fine cells": cells,
        "sectors": list(config.sectors),
        "years": list(config.years),
        "layers": layers,
        "cube bytes, uncompressed": cells * (4 * layers * len(config.years) + 1),
        "field bytes, uncompressed": cells * 8 * len(config.sectors) * len(config.years),
    }


def run(config: Config, *, out: Path) -> None:
    """Makes the cube; goes on with the regions that an earlier attempt left."""
    found = open_sources(config)
    plan = _plan(config, found)
    fine = found.coarse.refine(found.factor)
    journal = Journal(out, "ingest")
    store = out / STORE
    if "laid out" not in journal.done:
        shutil.rmtree(store, ignore_errors=True)
        lay_out(store, found.coarse, found.factor, _facts(config, found, plan), config.sectors, config.years)
        journal.add("laid out")
    arrays.sweep(store)
    group = arrays.open_group(store, "ingest", mode="r+")
    totals = _totals(config, found)
    group[config.variable][...] = totals
    _fill(group, plan, fine, np.isfinite(totals).any(axis=(0, 1)), found.factor, journal)
    counted = [_sum_up([journal.done[_key(region)][index] for region in _regions(fine)]) for index in range(len(plan))]
    _refuse_gaps(plan, counted, fine)
    for layer, tally in zip(plan, counted, strict=True):
        layer.facts.update(_describe(tally))
    facts = _facts(config, found, plan)
    group.attrs.update({"layers": facts["layers"]})
    arrays.seal(store)
    (out / REPORT).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", "utf-8")
    journal.close()
    _say(config, plan, counted)


class LayerPlan:
    """How one layer of the cube is made: from files by year, from one class of them, or from other layers."""

    def __init__(self, name: str, facts: dict[str, Any], *, by_year: Sequence[Source] = (), code: int | None = None,
                 derived: Derived | None = None) -> None:  # fmt: skip
        self.name, self.facts, self.by_year, self.code, self.derived = name, facts, by_year, code, derived


def _plan(config: Config, found: Sources) -> list[LayerPlan]:
    plan: list[LayerPlan] = []
    by_name: dict[str, list[Source]] = {}
    for source in found.covariates:
        assert isinstance(source.declared, Covariate)
        by_name.setdefault(source.declared.name, []).append(source)
    for name, files in by_name.items():
        by_year = _pick_years(config, files)
        for code in _codes(files):
            made = name if code is None else f"{name}_{code}"
            plan.append(LayerPlan(made, _layer_facts(made, files, found, code), by_year=by_year, code=code))
    known = {layer.name for layer in plan}
    for derived in config.derived:
        if missing := [part for part in derived.sum if part not in known]:
            raise InputFault(
                f"derived layer {derived.name}", f"made of {missing}", f"layers of the cube: {sorted(known)}", "correct `sum:`"
            )
        plan.append(LayerPlan(derived.name, _derived_facts(derived, plan), derived=derived))
        known.add(derived.name)
    names = [layer.name for layer in plan] + [config.variable, "valid"]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputFault("ingest", f"two things named {twice}", "one name each", "rename a layer")
    return plan


def _pick_years(config: Config, files: list[Source]) -> list[Source]:
    """The file of each year of the totals, or the one static file."""
    years = {source.declared.year: source for source in files}
    if "static" in years:
        return [files[0]]
    numbers = [year for year in years if isinstance(year, int)]
    return [years[min(numbers, key=lambda year: (abs(year - wanted), year))] for wanted in config.years]


def _codes(files: list[Source]) -> Sequence[int | None]:
    declared = files[0].declared
    assert isinstance(declared, Covariate)
    if declared.kind != "class":
        return [None]
    if declared.classes:
        return declared.classes
    found: set[int] = set()
    for source in files:
        if source.scan.codes is None:
            raise InputFault(
                source.where, "over 256 distinct values, or values that are no integers", "class codes",
                "set `kind: continuous`, or name the codes wanted in `classes:`",
            )  # fmt: skip
        found |= set(source.scan.codes)
    return sorted(found)


def _layer_facts(name: str, files: list[Source], found: Sources, code: int | None) -> dict[str, Any]:
    first = files[0].declared
    assert isinstance(first, Covariate)
    kind = "share" if first.kind == "class" else first.kind
    return {
        "name": name,
        "long_name": (first.long_name or first.name) + ("" if code is None else f", class {code}"),
        "kind": kind,
        "declared_kind": first.kind,
        "unit": "1" if first.kind == "class" else first.unit,
        "static": first.year == "static",
        "blocky": any(found.blocky[id(source)] for source in files),
        "resampling": found.resampling[id(files[0])],
        "allow_partial": first.allow_partial,
        "files": [
            {
                "source": source.raster.name, "sha256": source.sha256, "year": source.declared.year,
                "crs": source.raster.crs.name if source.raster.crs else "", "nodata_cells": source.scan.nodata,
                "nan_cells": source.scan.nans, "low": _number(source.scan.low), "mean": _number(source.scan.mean),
                "high": _number(source.scan.high), "sum": source.scan.total,
            }
            for source in files
        ],
        "licence": first.licence,
        "attribution": first.attribution,
    }  # fmt: skip


def _derived_facts(derived: Derived, plan: list[LayerPlan]) -> dict[str, Any]:
    parts = [layer.facts for layer in plan if layer.name in derived.sum]
    clip = f", clipped to {derived.clip[0]:g}..{derived.clip[1]:g}" if derived.clip else ""
    return {
        "name": derived.name,
        "long_name": derived.long_name or derived.name,
        "kind": parts[0]["kind"] if len({part["kind"] for part in parts}) == 1 else "continuous",
        "declared_kind": "derived",
        "unit": derived.unit,
        "static": all(part["static"] for part in parts),
        "blocky": all(part["blocky"] for part in parts),
        "resampling": "sum of " + ", ".join(derived.sum) + clip,
        "allow_partial": all(part["allow_partial"] for part in parts),
        "files": [],
        "licence": "",
        "attribution": "",
    }


def _facts(config: Config, found: Sources, plan: list[LayerPlan]) -> dict[str, Any]:
    unit = found.totals[0].unit
    named = [*(source.declared for source in found.totals), *config.covariates]
    credits = [" ".join(filter(None, (item.attribution, f"({item.licence})" if item.licence else ""))) for item in named]
    return {
        "variable": config.variable,
        "long_name": config.long_name or config.variable,
        "unit": unit.canonical if unit else "",
        "quantity": config.quantity,
        "cell_methods": "area: sum",
        "attribution": "; ".join(dict.fromkeys(filter(None, credits))),
        "layers": [layer.facts for layer in plan],
        "totals": [_total_facts(source) for source in found.totals],
    }


def _total_facts(source: Source) -> dict[str, Any]:
    item, unit = source.declared, source.unit
    assert isinstance(item, Total) and unit is not None
    gone = source.scan.nodata + source.scan.nans
    return {
        "sector": item.sector, "year": item.year, "source": source.raster.name, "sha256": source.sha256,
        "unit": unit.text, "crs": source.raster.crs.name if source.raster.crs else "", "cells": source.scan.cells,
        "missing": item.missing, "missing_cells": gone, "negative_cells": source.scan.negative,
        "sum": source.scan.total, "low": _number(source.scan.low), "high": _number(source.scan.high),
        "licence": item.licence, "attribution": item.attribution,
    }  # fmt: skip


def _totals(config: Config, found: Sources) -> NDArray[np.float64]:
    """(sectors, years, h, w) mass in the canonical unit; NaN where not known."""
    area = found.coarse.cell_areas()
    out = np.empty((len(config.sectors), len(config.years), *found.coarse.shape))
    for source in found.totals:
        item, unit = source.declared, source.unit
        assert isinstance(item, Total) and unit is not None
        values = source.raster.read(0, 0, *found.coarse.shape)
        if item.missing == "zero":
            values = np.where(np.isnan(values), 0.0, values)
        mass = QUANTITIES[config.quantity].to_mass(values * unit.scale, area)
        out[config.sectors.index(item.sector), config.years.index(item.year)] = mass
    return out


def _regions(fine: Grid) -> list[Region]:
    """One chunk of the cube each: one chunk, one writer."""
    return [
        (row, col, min(arrays.CHUNK, fine.rows - row), min(arrays.CHUNK, fine.cols - col))
        for row in range(0, fine.rows, arrays.CHUNK)
        for col in range(0, fine.cols, arrays.CHUNK)
    ]


def _key(region: Region) -> str:
    return f"{region[0]},{region[1]}"


def _fill(
    group: zarr.Group, plan: list[LayerPlan], fine: Grid, known: NDArray[np.bool_], factor: int, journal: Journal
) -> None:
    regions = _regions(fine)
    before = sum(_key(region) in journal.done for region in regions)
    for done, region in enumerate((r for r in regions if _key(r) not in journal.done), start=before + 1):
        journal.add(_key(region), _fill_region(group, plan, fine, known, factor, region))
        step("filling the cube", done, len(regions), "regions", before=before)


def _fill_region(
    group: zarr.Group, plan: list[LayerPlan], fine: Grid, known: NDArray[np.bool_], factor: int, region: Region
) -> list[dict[str, Any]]:
    row, col, rows, cols = region
    window = fine.window(*region)
    place = (slice(row, row + rows), slice(col, col + cols))
    wanted = _fine_cells(known, factor, region)
    valid = np.ones((rows, cols), bool)
    values: dict[str, NDArray[np.float64]] = {}
    tallies = []
    for layer in plan:
        values[layer.name] = _layer_values(layer, window, values)
        stored = group[layer.name]
        static = stored.ndim == 2
        stored[place if static else (slice(None), *place)] = values[layer.name][0] if static else values[layer.name]
        there = ~np.isnan(values[layer.name]).any(axis=0)
        valid &= there
        tallies.append(_tally(values[layer.name], there, wanted, row, col))
    group["valid"][place] = valid.astype(np.uint8)
    return tallies


def _layer_values(layer: LayerPlan, window: Grid, made: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """(years or 1, rows, cols) of one layer on one window."""
    if layer.derived is not None:
        summed = np.sum(np.broadcast_arrays(*(made[part] for part in layer.derived.sum)), axis=0)
        return np.clip(summed, *layer.derived.clip) if layer.derived.clip else summed
    kind = "class" if layer.code is not None else layer.facts["kind"]
    return np.stack([bring(source.raster, window, kind, layer.code) for source in layer.by_year])


def _fine_cells(known: NDArray[np.bool_], factor: int, region: Region) -> NDArray[np.bool_]:
    """Fine cells of a region whose coarse cell has a known total in some sector and year."""
    row, col, rows, cols = region
    down, across = np.arange(row, row + rows) // factor, np.arange(col, col + cols) // factor
    return known[np.ix_(down, across)]


def _tally(values: NDArray[np.float64], there: NDArray[np.bool_], wanted: NDArray[np.bool_], row: int, col: int) -> dict[str, Any]:
    gap = np.argwhere(wanted & ~there)
    good = values[~np.isnan(values)]
    return {
        "wanted": int(wanted.sum()), "gap": len(gap),
        "box": [int(gap[:, 0].min()) + row, int(gap[:, 1].min()) + col, int(gap[:, 0].max()) + row, int(gap[:, 1].max()) + col]
        if len(gap) else None,
        "count": good.size, "sum": float(good.sum()),
        "low": float(good.min()) if good.size else None, "high": float(good.max()) if good.size else None,
    }  # fmt: skip


def _sum_up(tallies: list[dict[str, Any]]) -> dict[str, Any]:
    boxes = [tally["box"] for tally in tallies if tally["box"]]
    lows = [tally["low"] for tally in tallies if tally["low"] is not None]
    highs = [tally["high"] for tally in tallies if tally["high"] is not None]
    merged = [min(box[0] for box in boxes), min(box[1] for box in boxes), max(box[2] for box in boxes), max(box[3] for box in boxes)] if boxes else None
    return {
        **{key: sum(tally[key] for tally in tallies) for key in ("wanted", "gap", "count", "sum")},
        "box": merged, "low": min(lows, default=None), "high": max(highs, default=None),
    }  # fmt: skip


def _describe(tally: dict[str, Any]) -> dict[str, Any]:
    count = tally["count"]
    return {
        "coverage": 1.0 - tally["gap"] / tally["wanted"] if tally["wanted"] else 1.0,
        "masked_cells": tally["gap"],
        "low": tally["low"], "high": tally["high"], "sum": tally["sum"], "mean": tally["sum"] / count if count else None,
    }  # fmt: skip


def _refuse_gaps(plan: list[LayerPlan], counted: list[dict[str, Any]], fine: Grid) -> None:
    faults: list[Fault] = []
    for layer, tally in zip(plan, counted, strict=True):
        if not tally["gap"] or layer.facts["allow_partial"] or layer.derived is not None:
            continue
        top, left, bottom, right = tally["box"]
        box = fine.window(top, left, bottom - top + 1, right - left + 1).bounds
        names = ", ".join(file["source"] for file in layer.facts["files"])
        faults.append(
            InputFault(
                f"{names} (layer {layer.name})",
                f"{tally['gap'] / tally['wanted']:.1%} of the area with totals has no value, "
                f"within x {box[0]:.6g} to {box[2]:.6g}, y {box[1]:.6g} to {box[3]:.6g}",
                "a value in every fine cell",
                "give a layer that covers the totals, `nodata: none` if the nodata value is a true number, "
                "or `allow_partial: true` to mask the gap",
            )
        )
    raise_all(faults)


def _say(config: Config, plan: list[LayerPlan], counted: list[dict[str, Any]]) -> None:
    for layer, tally in zip(plan, counted, strict=True):
        if tally["gap"]:
            tell(f"layer {layer.name}: {tally['gap']} cells without a value are masked", warning=True)
        if tally["low"] is not None and tally["low"] == tally["high"]:
            tell(f"layer {layer.name} is {tally['low']:g} everywhere; it tells nothing", warning=True)


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else value
