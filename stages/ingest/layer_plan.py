"""Which layers a cube will hold, how each is made, and what is known of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.ground.errors import InputFault
from model.ground.intensive import State
from model.ground.units import DAYS_PER_YEAR
from stages.declare.derived_layers import Derived, facts_of
from stages.declare.fine_fields import FineField, FineFields
from stages.declare.inputs import Config, Covariate, Total
from stages.declare.units import AnyUnit
from stages.declare.vector_layers import Drawn
from stages.ingest.align import Sources
from stages.ingest.open_sources import Source
from stages.regrid.conservative_reproject import Codes


class LayerPlan:
    """How one layer of the cube is made: from files by year, a class of them, shapes, or other layers."""

    def __init__(
        self,
        name: str,
        facts: dict[str, Any],
        *,
        by_year: Sequence[Source] = (),
        code: Codes | None = None,
        derived: Derived | None = None,
        drawn: Drawn | None = None,
    ) -> None:
        self.name, self.facts, self.by_year, self.code, self.derived = name, facts, by_year, code, derived
        self.drawn = drawn


def plan_layers(config: Config, found: Sources) -> list[LayerPlan]:
    plan: list[LayerPlan] = []
    by_name: dict[str, list[Source]] = {}
    for source in found.covariates:
        assert isinstance(source.declared, Covariate)
        by_name.setdefault(source.declared.name, []).append(source)
    for name, files in by_name.items():
        by_year = _pick_years(config, files)
        for called, code in _classes(files).items():
            made = f"{name}_{called}" if called else name
            plan.append(LayerPlan(made, _layer_facts(made, files, found, called), by_year=by_year, code=code))
    plan += [LayerPlan(name, drawn.facts(), drawn=drawn) for name, drawn in found.drawn.items()]
    known = {layer.name for layer in plan}
    for derived in config.derived:
        if missing := [part for part in derived.parts if part not in known]:
            raise InputFault(
                f"derived layer {derived.name}",
                f"made of {missing}",
                f"layers of the cube: {sorted(known)}",
                f"correct `{derived.way}:`",
            )
        parts = [layer.facts for layer in plan if layer.name in derived.parts]
        plan.append(LayerPlan(derived.name, facts_of(derived, parts), derived=derived))
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
    nearest = [min((abs(year - wanted), year) for year in numbers)[1] for wanted in config.years]
    return [years[year] for year in nearest]


def _classes(files: list[Source]) -> Mapping[str, Codes | None]:
    """By what follows the layer's name, the codes whose share it is; one entry without a name where none are."""
    declared = files[0].declared
    assert isinstance(declared, Covariate)
    if declared.kind != "class":
        return {"": None}
    if isinstance(declared.classes, dict):
        return declared.classes
    if declared.classes:
        return {str(code): (code,) for code in declared.classes}
    found: set[int] = set()
    for source in files:
        if source.scan.codes is None:
            raise InputFault(
                source.where,
                "over 256 distinct values, or values that are no integers",
                "class codes",
                "set `kind: continuous`, or name the codes wanted in `classes:`",
            )
        found |= set(source.scan.codes)
    return {str(code): (code,) for code in sorted(found)}


def _layer_facts(name: str, files: list[Source], found: Sources, called: str) -> dict[str, Any]:
    first = files[0].declared
    assert isinstance(first, Covariate)
    kind = "share" if first.kind == "class" else first.kind
    return {
        "name": name,
        "long_name": (first.long_name or first.name) + (f", class {called}" if called else ""),
        "kind": kind,
        "declared_kind": first.kind,
        "unit": "1" if first.kind == "class" else first.unit,
        "static": first.year == "static",
        "blocky": any(found.blocky[id(source)] for source in files),
        "resampling": found.resampling[id(files[0])],
        "allow_partial": first.allow_partial,
        "fill": first.fill,
        "files": [
            {
                "source": source.raster.name,
                "sha256": source.sha256,
                "year": getattr(source.raster, "year", None) or source.declared.year,
                "band": source.where.removeprefix(source.raster.name).lstrip(", "),
                "notes": list(source.raster.notes),
                "crs": source.raster.crs.name if source.raster.crs else "",
                "nodata_cells": source.scan.nodata,
                "nan_cells": source.scan.nans,
                "low": _number(source.scan.low),
                "mean": _number(source.scan.mean),
                "high": _number(source.scan.high),
                "sum": source.scan.total,
            }
            for source in files
        ],
        "licence": first.licence,
        "attribution": first.attribution,
    }


def cube_facts(config: Config, found: Sources, plan: list[LayerPlan]) -> dict[str, Any]:
    unit = found.totals[0].unit
    named = [
        *(source.declared for source in found.totals),
        *config.covariates,
        *config.vectors,
        *config.points,
        *config.pairs,
    ]
    credits = [
        " ".join(filter(None, (item.attribution, f"({item.licence})" if item.licence else "")))
        for item in named
    ]
    return {
        "variable": config.variable,
        "long_name": config.long_name or config.variable,
        "unit": unit.canonical if unit else "",
        "quantity": _quantity(config, unit),
        **({"weights": config.weights} if config.quantity == "intensive" else {}),
        **({"time_method": unit.over_time} if isinstance(unit, State) else {}),
        **({"standard_name": config.standard_name} if config.standard_name else {}),
        "substance": unit.substance if unit else None,
        "days_per_year": DAYS_PER_YEAR,
        "cell_methods": "area: mean" if config.quantity == "intensive" else "area: sum",
        "attribution": "; ".join(dict.fromkeys(filter(None, credits))),
        "layers": [layer.facts for layer in plan],
        "totals": [_total_facts(source) for source in found.totals],
        **({"area": found.clipped.facts} if config.area else {}),
        **({"valid": _fine_facts(found.fine.valid)} if found.fine.valid else {}),
        **({"pairs": _pair_facts(found.fine)} if found.fine.pairs else {}),
        **({"emission": found.emission} if found.emission else {}),
    }


def _quantity(config: Config, unit: AnyUnit | None) -> str:
    if config.quantity == "intensive":
        return config.quantity
    return "flux" if unit and unit.is_density else "extensive"


def _fine_facts(field: FineField) -> dict[str, Any]:
    name = field.raster.name
    band = field.where.removeprefix(name).lstrip(", ")
    return {"source": name, "sha256": field.sha256, "band": band, "notes": list(field.raster.notes)}


def _pair_facts(found: FineFields) -> list[dict[str, Any]]:
    """One entry for each fine field, in order of sector and date."""
    return [
        {
            "sector": sector,
            "year": label,
            "unit": field.unit.text,
            "interpolated": field.onto is not None,
            **_fine_facts(field),
        }
        for (sector, label), field in sorted(found.pairs.items())
    ]


def _total_facts(source: Source) -> dict[str, Any]:
    item, unit = source.declared, source.unit
    assert isinstance(item, Total) and unit is not None
    gone = source.scan.nodata + source.scan.nans
    return {
        "sector": item.sector,
        "year": item.year,
        "source": source.raster.name,
        "band": source.where.removeprefix(source.raster.name).lstrip(", "),
        "notes": list(source.raster.notes),
        "sha256": source.sha256,
        "unit": unit.text,
        "crs": source.raster.crs.name if source.raster.crs else "",
        "cells": source.scan.cells,
        "missing": item.missing,
        "missing_cells": gone,
        "negative_cells": source.scan.negative,
        "sum": source.scan.total,
        "low": _number(source.scan.low),
        "high": _number(source.scan.high),
        "licence": item.licence,
        "attribution": item.attribution,
    }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else value
