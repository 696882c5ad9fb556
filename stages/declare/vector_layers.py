"""Vector layers: how they are declared, opened, and cut to the fine grid."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from model.ground.errors import HectareError, InputError, raise_together
from model.ground.grid import Grid, Region
from model.options import SourcePath
from stages.artifacts.records import FileRecord, LayerRecord
from stages.contract.progress import tell, track
from stages.contract.section import SafeName, Section
from stages.declare.types import Bounds, CrsText
from stages.formats.content_hash import sha256_of
from stages.formats.vector import read as vectors
from stages.formats.vector.detect import files_of
from stages.regrid.polygons import Shapes, covered

ENOUGH = 0.9  # of the map's box that a file's features should span before it counts as covering the map
UNITS = {"length": "m", "area": "1"}
MEASURED = {
    "length": "length of lines in each cell, exact",
    "area": "share of the cell's area inside outlines, exact",
}
Values = Annotated[tuple[str | int | float, ...], Field(strict=False, min_length=1)] | Literal["any"]


class VectorFile(Section):
    """One layer of a GeoPackage, Shapefile, GeoJSON or OSM extract, and which of its features count."""

    path: SourcePath
    layer: str | None = None  # by name; may be left out when the file has one
    crs: CrsText | None = None  # only for a file that names none
    where: dict[str, Values] = {}  # noqa: RUF012 - accepted values by attribute, or `any`; all must hold
    licence: str = ""
    attribution: str = ""


class VectorLayer(VectorFile):
    """Lines as length in each cell [m], or outlines as share of each cell."""

    name: SafeName
    kind: Literal["length", "area"]
    covers: Literal["everywhere"] | Bounds = "everywhere"  # where it is complete, in its CRS; unknown beyond
    allow_partial: bool = False  # True: cells beyond `covers` are masked and counted, not an error
    long_name: str | None = None


@dataclass
class GriddedVector:
    """A vector layer on the fine grid."""

    declared: VectorLayer
    table: vectors.Table
    shapes: Shapes
    sha256: str

    def read(self, fine: Grid, region: Region) -> NDArray[np.float64]:
        """(rows, cols) length [m] or share; NaN beyond what the layer covers, 0 where it draws nothing."""
        values = self.shapes.read(*region)
        if self.declared.covers == "everywhere":
            return values
        assert self.table.crs is not None
        return np.where(covered(fine, region, self.declared.covers, self.table.crs), values, np.nan)

    def record(self) -> LayerRecord:
        """What the cube tells of it.

        Its own pixels are exact, so it is never as coarse as a block; the file stands with what was chosen in it and
        how many features counted or were left out.
        """
        item, shapes, table = self.declared, self.shapes, self.table
        chosen = "; ".join(_conditions(item))
        file = FileRecord(
            source=table.name,
            sha256=self.sha256,
            year="static",
            crs=table.crs.name if table.crs else "",
            layer=table.layer,
            where=chosen,
            features=shapes.used,
            features_of_another_type=shapes.other,
            features_without_geometry=shapes.empty,
            outlines_mended=shapes.mended,
        )
        return LayerRecord(
            name=item.name,
            long_name=item.long_name or item.name,
            kind="total" if item.kind == "length" else "share",
            declared_kind=item.kind,
            unit=UNITS[item.kind],
            resampling=MEASURED[item.kind],
            allow_partial=item.allow_partial,
            files=(file,),
            licence=item.licence,
            attribution=item.attribution,
        )


def files(items: tuple[VectorFile, ...]) -> list[str]:
    """Every file read for vector layers, with what belongs to a Shapefile.

    Their content enters the fingerprint of the stage that reads them.
    """
    return list(chain.from_iterable(files_of(item.path) for item in items))


def open_drawn(
    items: tuple[VectorLayer, ...], fine: Grid, margin: int = 0, folder: Path | None = None
) -> dict[str, GriddedVector]:
    """Reads every vector layer and cuts it to the grid.

    Args:
      margin: fine cells beyond the grid that other layers need.
      folder: where shapes go that do not fit in memory.
    Raises: HectareError or HectareErrors (exit 3), all that is wrong in one go; ResourceError (exit 6)
      without the extra.
    """
    faults: list[HectareError] = []
    drawn: dict[str, GriddedVector] = {}
    if items and folder is not None:
        vectors.keep_scratch_in(folder)
    for item in track(items, "reading vector layers", len(items), "layers"):
        try:
            drawn[item.name] = _open(item, fine, margin, folder)
        except InputError as fault:
            faults.append(fault)
    raise_together(faults)
    _warn_of_edges(drawn)
    return drawn


def open_declared(item: VectorFile) -> vectors.Table:
    """The layer of a file, with a place on the ground.

    Raises: InputError (exit 3).
    """
    table = vectors.open_table(item.path, item.layer, item.crs)
    if table.crs is None:
        raise InputError(
            f"{table.name}, layer {table.layer}", "no coordinate system", "a CRS in the file (.prj of a Shapefile)",
            "set `crs:` for this file, e.g. crs: EPSG:3035",
        )  # fmt: skip
    return table


def _open(item: VectorLayer, fine: Grid, margin: int, folder: Path | None) -> GriddedVector:
    table = open_declared(item)
    assert table.crs is not None
    shapes = Shapes(fine, table.crs, item.kind, margin, folder)
    for batch in vectors.read(table, item.where, box=shapes.box):
        shapes.add(batch.geometry)
    if not shapes.used:
        raise _nothing(item, table, shapes)
    if shapes.other:
        what = "lines" if item.kind == "length" else "outlines"
        tell(f"layer {item.name}: {shapes.other:,} features are no {what} and are left out", warning=True)
    if shapes.mended:
        tell(f"layer {item.name}: {shapes.mended:,} outlines cross themselves and were made valid")
    return GriddedVector(item, table, shapes, sha256_of(item.path))


def _nothing(item: VectorLayer, table: vectors.Table, shapes: Shapes) -> InputError:
    """Why no feature counts: of another type, elsewhere, or not among those asked for."""
    where = f"{table.name}, layer {table.layer}"
    if shapes.other:
        wanted = "lines" if item.kind == "length" else "polygons"
        fix = "set `kind:`, or `layer:` to another layer of the file"
        return InputError(where, f"{shapes.other:,} features, none of them {wanted}", wanted, fix)
    boxes = []
    for batch in vectors.read(table, item.where):
        if batch.geometry.size:
            boxes.append(vectors.shapely().total_bounds(batch.geometry))
    if boxes:
        low, high = np.nanmin(boxes, axis=0), np.nanmax(boxes, axis=0)
        return InputError(
            where,
            f"its features lie within {_box((low[0], low[1], high[2], high[3]))}",
            f"an overlap with the totals, there {_box(shapes.box)}",
            "check the CRS, the axis order (x, y) and whether this is the right file",
        )
    chosen = " and ".join(_conditions(item))
    there = []
    for name in item.where:
        there.append(f"{name} has {', '.join(vectors.values_of(table, name)) or 'no value'}")
    told = "; ".join(there)
    return InputError(
        where, f"no feature with {chosen or 'geometry'}", told or "features", "correct `where:`"
    )


def _warn_of_edges(drawn: dict[str, GriddedVector]) -> None:
    """Says where a file's features end inside the map: nothing drawn may also mean nothing surveyed."""
    for path in dict.fromkeys(item.table.path for item in drawn.values()):
        same = [item for item in drawn.values() if item.table.path == path]
        if any(item.declared.covers != "everywhere" for item in same):
            continue
        left, bottom, right, top = np.inf, np.inf, -np.inf, -np.inf
        for item in same:
            left, bottom = min(left, item.shapes.left), min(bottom, item.shapes.bottom)
            right, top = max(right, item.shapes.right), max(top, item.shapes.top)
        box = same[0].shapes.box
        across = max(min(right, box[2]) - max(left, box[0]), 0.0) / (box[2] - box[0])
        down = max(min(top, box[3]) - max(bottom, box[1]), 0.0) / (box[3] - box[1])
        if across * down < ENOUGH:
            tell(
                f"{same[0].table.name}: its features span {across * down:.0%} of the map's box; beyond "
                f"{_box((left, bottom, right, top))} nothing is drawn and 0 is read. "
                "If that is where the survey ends, set `covers:`",
                warning=True,
            )


def _conditions(item: VectorFile) -> list[str]:
    """Each condition of `where:` in words."""
    return [f"{name}: {_words(wanted)}" for name, wanted in item.where.items()]


def _words(wanted: vectors.Wanted) -> str:
    return "any" if wanted == "any" else ", ".join(map(str, wanted))


def _box(bounds: tuple[float, ...]) -> str:
    left, bottom, right, top = bounds
    return f"x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}"
