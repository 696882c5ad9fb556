"""Which layers a cube will hold, how each is made, and what is known of it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from model.ground.errors import InputError
from model.ground.units import DAYS_PER_YEAR
from stages.artifacts.records import (
    CubeRecord,
    FileRecord,
    FineFieldRecord,
    LayerRecord,
    PairRecord,
    TotalRecord,
)
from stages.declare.derived_layers import Derived, record_of
from stages.declare.fine_fields import FineField, FineFields
from stages.declare.inputs import Config, Covariate, Total
from stages.declare.vector_layers import GriddedVector
from stages.ingest.align import Sources
from stages.ingest.open_sources import Source
from stages.regrid.conservative_reproject import Codes


class LayerPlan:
    """How one layer of the cube is made: from files by year, a class of them, shapes, or other layers."""

    def __init__(
        self,
        name: str,
        record: LayerRecord,
        *,
        by_year: Sequence[Source] = (),
        code: Codes | None = None,
        derived: Derived | None = None,
        drawn: GriddedVector | None = None,
    ) -> None:
        self.name, self.record, self.by_year = name, record, by_year
        self.code, self.derived = code, derived
        self.drawn = drawn


def plan_layers(config: Config, found: Sources) -> list[LayerPlan]:
    """Every layer of the cube in its order: those of files, of shapes, then those made of others.

    Raises: InputError (exit 3) for a layer made of one that is not there, or two things of one name.
    """
    plan: list[LayerPlan] = []
    by_name: dict[str, list[Source]] = {}
    for source in found.covariates:
        assert isinstance(source.declared, Covariate)
        by_name.setdefault(source.declared.name, []).append(source)
    for name, files in by_name.items():
        by_year = _pick_years(config, files)
        for called, code in _classes(files).items():
            made = f"{name}_{called}" if called else name
            plan.append(
                LayerPlan(made, _layer_record(made, files, found, called), by_year=by_year, code=code)
            )
    plan += [LayerPlan(name, drawn.record(), drawn=drawn) for name, drawn in found.drawn.items()]
    known = {layer.name for layer in plan}
    for derived in config.derived:
        if missing := [part for part in derived.parts if part not in known]:
            raise InputError(
                f"derived layer {derived.name}",
                f"made of {missing}",
                f"layers of the cube: {sorted(known)}",
                f"correct `{derived.way}:`",
            )
        parts = [layer.record for layer in plan if layer.name in derived.parts]
        plan.append(LayerPlan(derived.name, record_of(derived, parts), derived=derived))
        known.add(derived.name)
    names = Counter([config.variable, "valid"])
    names.update(layer.name for layer in plan)
    if twice := sorted(name for name in names if names[name] > 1):
        raise InputError("ingest", f"two things named {twice}", "one name each", "rename a layer")
    return plan


def _pick_years(config: Config, files: list[Source]) -> list[Source]:
    """The file of each year of the totals, or the one static file."""
    by_year: dict[int, Source] = {}
    for source in files:
        if not isinstance(source.declared.year, int):
            return [files[0]]
        by_year[source.declared.year] = source
    found = []
    for wanted in config.years:
        nearest = min(by_year, key=lambda year: (abs(year - wanted), year))
        found.append(by_year[nearest])
    return found


def _classes(files: list[Source]) -> Mapping[str, Codes | None]:
    """By what follows the layer's name, the codes whose share it is; one entry without a name where none are."""
    declared = files[0].declared
    assert isinstance(declared, Covariate)
    if declared.kind != "class":
        return {"": None}
    if isinstance(declared.classes, dict):
        return declared.classes
    if declared.classes:
        return _one_by_one(declared.classes)
    found: set[int] = set()
    for source in files:
        if source.scan.codes is None:
            raise InputError(
                source.where,
                "over 256 distinct values, or values that are no integers",
                "class codes",
                "set `kind: continuous`, or name the codes wanted in `classes:`",
            )
        found |= set(source.scan.codes)
    return _one_by_one(sorted(found))


def _one_by_one(codes: Iterable[int]) -> dict[str, Codes | None]:
    """A layer for each code, called by its number."""
    return {str(code): (code,) for code in codes}


def _layer_record(name: str, files: list[Source], found: Sources, called: str) -> LayerRecord:
    first = files[0].declared
    assert isinstance(first, Covariate)
    is_class = first.kind == "class"
    return LayerRecord(
        name=name,
        long_name=(first.long_name or first.name) + (f", class {called}" if called else ""),
        kind="share" if is_class else first.kind,
        declared_kind=first.kind,
        unit="1" if is_class else first.unit,
        static=first.year == "static",
        blocky=any(found.blocky[id(source)] for source in files),
        resampling=found.resampling[id(files[0])],
        allow_partial=first.allow_partial,
        fill=first.fill,
        files=tuple(map(_file_record, files)),
        licence=first.licence,
        attribution=first.attribution,
    )


def _file_record(source: Source) -> FileRecord:
    raster, counted = source.raster, source.scan
    return FileRecord(
        source=raster.name,
        sha256=source.sha256,
        year=raster.year or source.declared.year,
        band=_band(source.where, raster.name),
        notes=tuple(raster.notes),
        crs=raster.crs.name if raster.crs else "",
        nodata_cells=counted.nodata,
        nan_cells=counted.nans,
        low=_number(counted.low),
        mean=_number(counted.mean),
        high=_number(counted.high),
        sum=counted.total,
    )


def cube_record(config: Config, found: Sources, plan: list[LayerPlan]) -> CubeRecord:
    """What the cube says of itself, as far as it is known before its layers are filled.

    Args: plan: the layers in their order in the cube.
    Returns: the record; what is only known from the values (coverage, mass on the map, points) is added later.
    """
    unit = found.totals[0].unit
    quantity = config.kind.shown_by(unit)
    return CubeRecord(
        variable=config.variable,
        long_name=config.long_name or config.variable,
        unit=unit.canonical if unit else "",
        quantity=quantity.name,
        weights=quantity.weighting(config.weights),
        time_method=unit.over_time if unit else "sum",
        standard_name=config.standard_name or "",
        substance=unit.substance if unit else None,
        days_per_year=DAYS_PER_YEAR,
        cell_methods=f"area: {quantity.cell_method}",
        attribution=_credits(config, found),
        layers=tuple(layer.record for layer in plan),
        totals=tuple(map(_total_record, found.totals)),
        area=found.clipped.record if config.area else None,
        valid=_fine_record(found.fine.valid) if found.fine.valid else None,
        pairs=_pair_records(found.fine),
        emission=found.emission,
    )


def _credits(config: Config, found: Sources) -> str:
    """Attribution and licence of every file, each once."""
    declared = [source.declared for source in found.totals]
    credits = []
    for item in (*declared, *config.covariates, *config.vectors, *config.points, *config.pairs):
        licence = f"({item.licence})" if item.licence else ""
        credits.append(" ".join(filter(None, (item.attribution, licence))))
    return "; ".join(dict.fromkeys(filter(None, credits)))


def _fine_record(field: FineField) -> FineFieldRecord:
    name = field.raster.name
    return FineFieldRecord(
        source=name, sha256=field.sha256, band=_band(field.where, name), notes=tuple(field.raster.notes)
    )


def _pair_records(found: FineFields) -> tuple[PairRecord, ...]:
    """One for each fine field, in order of sector and date."""
    records = []
    for (sector, label), field in sorted(found.pairs.items()):
        given = _fine_record(field)
        records.append(
            PairRecord(
                sector=sector,
                year=label,
                unit=field.unit.text,
                interpolated=field.onto is not None,
                source=given.source,
                sha256=given.sha256,
                band=given.band,
                notes=given.notes,
            )
        )
    return tuple(records)


def _total_record(source: Source) -> TotalRecord:
    item, unit, counted = source.declared, source.unit, source.scan
    assert isinstance(item, Total) and unit is not None and item.year is not None
    return TotalRecord(
        sector=item.sector,
        year=item.year,
        source=source.raster.name,
        band=_band(source.where, source.raster.name),
        notes=tuple(source.raster.notes),
        sha256=source.sha256,
        unit=unit.text,
        crs=source.raster.crs.name if source.raster.crs else "",
        cells=counted.cells,
        missing=item.missing,
        missing_cells=counted.nodata + counted.nans,
        negative_cells=counted.negative,
        sum=counted.total,
        low=_number(counted.low),
        high=_number(counted.high),
        licence=item.licence,
        attribution=item.attribution,
    )


def _band(where: str, name: str) -> str:
    """The part of a file that is read, in words."""
    return where.removeprefix(name).lstrip(", ")


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else value
