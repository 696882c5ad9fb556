"""The one door to vector files given by users: four formats known by their content, read batch by batch.

GeoPackage, Shapefile, GeoJSON and OSM extracts (.osm, .osm.gz, .pbf), through pyogrio; geometry is shapely's. Both
come with the extra `vectors`.
"""

import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from model.ground.errors import InputError, ResourceError
from stages.formats.vector.detect import address_of, damaged, form_of

Wanted = Sequence[str | int | float] | Literal["any"]
Where = Mapping[str, Wanted]
Bounds = tuple[float, float, float, float]  # left, bottom, right, top

BATCH = 50_000  # features in memory at once, of formats that can be read from the middle
MAX_FEATURES = 100_000_000  # declared features of a layer
MAX_VERTICES = 20_000_000  # of one feature
OSM_MEMORY = 32  # MB the OSM driver takes at once for the places of nodes; more go to a scratch file
# All other drivers of the wheel. Why skipped, not only told apart by content: some follow paths and addresses
# that a file holds (VRT, GDALG, WFS).
SKIPPED = (
    "ADBC,AIVector,AVCBin,AVCE00,AmigoCloud,CSV,CSW,Carto,DGN,DXF,EDIGEO,EEDA,ESRIJSON,Elasticsearch,"
    "FlatGeobuf,GDALG,GML,GPSBabel,GPX,GTFS,GeoJSONSeq,GeoRSS,HTTP,Idrisi,JML,JSONFG,KML,LIBKML,LVBAG,"
    "MBTiles,MVT,MapInfo File,MapML,MiraMonVector,NGW,OAPIF,ODS,OGCAPI,OGR_GMT,OGR_PDS,OGR_VRT,"
    "OpenFileGDB,PCIDSK,PDF,PDS4,PGDUMP,PLSCENES,PMTiles,S57,SQLite,SXF,Selafin,TopoJSON,VDV,VFK,VICAR,"
    "WAsP,WFS,XLSX"
)


@dataclass(frozen=True)
class Table:
    """One layer of a vector file, known to open.

    Attributes:
      form: GPKG, ESRI Shapefile, GeoJSON or OSM.
      layer: its name in the file.
      crs: None when the file names none.
      fields: names of the attributes.
      features: declared number; -1 when the format does not tell.
    """

    path: str
    form: str
    layer: str
    crs: CRS | None
    fields: tuple[str, ...]
    features: int

    @property
    def name(self) -> str:
        return Path(self.path).name


@dataclass(frozen=True)
class Batch:
    """Some features: geometry (n,), None where a feature has none, and the attributes asked for."""

    geometry: NDArray[Any]
    columns: dict[str, NDArray[Any]]


def keep_scratch_in(folder: Path) -> None:
    """Where the OSM driver may put the places of nodes that do not fit in memory; the system's folder by default."""
    _library().set_gdal_config_options({"CPL_TMPDIR": str(folder)})


def shapely() -> Any:
    """The geometry library.

    Raises: ResourceError (exit 6) when the extra is not installed.
    """
    try:
        import shapely as found
    except ImportError as error:
        raise _not_installed(error) from error
    return found


def open_table(path: str, layer: str | None = None, crs: str | None = None) -> Table:
    """Judges a file by its content and opens one of its layers.

    Args:
      layer: by name; may be left out when the file has one.
      crs: for a file that names none.
    Raises: InputError (exit 3); ResourceError (exit 6) when the extra is not installed.
    """
    form = form_of(Path(path))
    name = Path(path).name
    with _told_as_fault(name):
        names = [str(row[0]) for row in _library().list_layers(address_of(path))]
    if layer is None and len(names) == 1:
        layer = names[0]
    if layer not in names:
        found = f"no layer {layer!r}" if layer else f"{len(names)} layers"
        raise InputError(name, found, f"one of {', '.join(names)}", "set `layer:` to one of them")
    with _told_as_fault(name):
        facts = _library().read_info(address_of(path), layer=layer)
    count = int(facts["features"])
    if count > MAX_FEATURES:
        raise InputError(
            f"{name}, layer {layer}", f"{count:,} features declared", f"at most {MAX_FEATURES:,}",
            "cut the file to the area of the totals",
        )  # fmt: skip
    found_crs = crs or facts["crs"]
    fields = tuple(str(field) for field in facts["fields"])
    return Table(path, form, layer, CRS.from_user_input(found_crs) if found_crs else None, fields, count)


def read(
    table: Table,
    where: Where,
    columns: Sequence[str] = (),
    box: Bounds | None = None,
) -> Iterator[Batch]:
    """Features that meet every condition, in the order of the file.

    Args:
      where: accepted values by attribute, or "any" for an attribute that is there; all must hold.
      box: (left, bottom, right, top) in the layer's CRS that features must touch.
    Raises: InputError (exit 3) for an unknown attribute, a damaged file or geometry that is no geometry.
    Why OSM and GeoJSON come as one batch: their drivers read from the start each time. Their memory grows with the
    features that meet the conditions, which is why such files are limited in size.
    """
    tags = _tags_apart(table, [*where, *columns])
    asked = [name for name in columns if name not in tags] + (["other_tags"] if tags else [])
    sql = _sql({name: wanted for name, wanted in where.items() if name not in tags})
    whole = table.form in ("OSM", "GeoJSON")
    start = 0
    while True:
        batch = _read_some(table, sql, list(dict.fromkeys(asked)), box, start, None if whole else BATCH)
        count = batch.geometry.size
        kept = np.ones(count, bool)
        for name in tags:
            batch.columns[name] = _tag(batch.columns["other_tags"], name)
            if name in where:
                kept &= _holds(batch.columns[name], where[name])
        yield Batch(batch.geometry[kept], {name: batch.columns[name][kept] for name in columns})
        start += count
        if whole or count < BATCH:
            return


def values_of(table: Table, field: str, most: int = 12) -> list[str]:
    """Some of the values an attribute has, to tell somebody who asked for another.

    Returns: at most `most` texts in order; features are read until so many are found.
    """
    found: dict[str, None] = {}
    for batch in read(table, {field: "any"}, [field]):
        found |= dict.fromkeys(str(value) for value in batch.columns[field])
        if len(found) >= most:
            break
    return sorted(found)[:most]


def _read_some(
    table: Table, sql: str | None, columns: list[str], box: Bounds | None, start: int, most: int | None
) -> Batch:
    library = _library()
    with _told_as_fault(table.name):
        facts, _, geometry, values = library.raw.read(
            address_of(table.path), layer=table.layer, columns=columns, where=sql, bbox=box, force_2d=True,
            skip_features=start, max_features=most,
        )  # fmt: skip
    if geometry is None:
        wanted = "a layer with geometry"
        raise InputError(
            f"{table.name}, layer {table.layer}", "no geometry", wanted, "set `layer:` to another"
        )
    shapes = shapely().from_wkb(geometry, on_invalid="ignore")
    there = np.array([item is not None and len(item) > 0 for item in geometry], bool)
    broken = there & shapely().is_missing(shapes)
    broken |= ~np.isfinite(shapely().bounds(shapes)).all(axis=1) & ~shapely().is_missing(shapes)
    broken &= ~shapely().is_empty(shapes)
    if broken.any():
        raise InputError(
            f"{table.name}, layer {table.layer}",
            f"{int(broken.sum())} features whose geometry is damaged or has no finite coordinates, "
            f"the first is number {start + int(np.argmax(broken)) + 1}",
            "lines, polygons or points with finite coordinates",
            "repair the file (ogr2ogr -makevalid), or leave such features out",
        )
    _insist_on_size(table, shapes)
    return Batch(shapes, {str(name): column for name, column in zip(facts["fields"], values, strict=True)})


def _insist_on_size(table: Table, shapes: NDArray[Any]) -> None:
    vertices = shapely().get_num_coordinates(shapes)
    if shapes.size and int(vertices.max()) > MAX_VERTICES:
        raise InputError(
            f"{table.name}, layer {table.layer}", f"a feature of {int(vertices.max()):,} vertices",
            f"at most {MAX_VERTICES:,}", "cut it to the area of the totals, or into parts",
        )  # fmt: skip


def _tags_apart(table: Table, names: Sequence[str]) -> list[str]:
    """Attributes that an OSM layer keeps among its other tags."""
    missing = [name for name in dict.fromkeys(names) if name not in table.fields]
    if missing and "other_tags" not in table.fields:
        raise InputError(
            f"{table.name}, layer {table.layer}", f"no attribute {missing[0]!r}",
            f"one of {', '.join(table.fields) or 'none: the layer has no attributes'}", "correct `where:`",
        )  # fmt: skip
    return missing


def _tag(packed: NDArray[Any], name: str) -> NDArray[Any]:
    """The value of one tag among "key"=>"value" pairs; None where it is not there."""
    pattern = re.compile(f'"{re.escape(name)}"=>"((?:[^"\\\\]|\\\\.)*)"')
    matches = [pattern.search(text) if isinstance(text, str) else None for text in packed]
    return np.array([match[1] if match else None for match in matches], object)


def _holds(values: NDArray[Any], wanted: Wanted) -> NDArray[np.bool_]:
    if wanted == "any":
        return np.array([value is not None for value in values], bool)
    texts = {str(value) for value in wanted}
    return np.array([value in texts for value in values], bool)


def _sql(where: Where) -> str | None:
    """The conditions as OGR reads them; every name and text quoted, so that none of it is read as anything else."""
    parts = []
    for name, wanted in where.items():
        field = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if wanted == "any":
            parts.append(f"{field} IS NOT NULL")
        else:
            parts.append(f"{field} IN ({', '.join(_literal(value) for value in wanted)})")
    return " AND ".join(parts) or None


def _literal(value: str | int | float) -> str:
    return repr(value) if isinstance(value, (int, float)) else "'" + value.replace("'", "''") + "'"


class _told_as_fault:
    """Turns what the library raises into a fault; its warnings are of geometry we judge ourselves."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._quiet = warnings.catch_warnings()
        self._quiet.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        self._quiet.__exit__(None, None, None)
        if error is not None and kind is not None and kind.__module__.startswith("pyogrio"):
            raise damaged(self._name, str(error).splitlines()[0]) from error


def _library() -> Any:
    """pyogrio, knowing our four formats alone.

    Raises: ResourceError (exit 6) when the extra is not installed.
    """
    if (found := sys.modules.get("pyogrio")) is not None:
        return found
    before = os.environ.get("OGR_SKIP")
    os.environ["OGR_SKIP"] = SKIPPED  # read once, when the library registers its drivers
    try:
        import pyogrio
    except ImportError as error:
        raise _not_installed(error) from error
    finally:
        if before is None:
            del os.environ["OGR_SKIP"]
        else:
            os.environ["OGR_SKIP"] = before
    pyogrio.set_gdal_config_options(
        {
            "CPL_VSIL_GZIP_WRITE_PROPERTIES": "NO",  # nothing is written beside an input
            "GDAL_PAM_ENABLED": "NO",
            "OGR_SQLITE_JOURNAL": "OFF",
            "OSM_MAX_TMPFILE_SIZE": str(OSM_MEMORY),
        }
    )
    return pyogrio


def _not_installed(error: ImportError) -> ResourceError:
    return ResourceError(
        "vector layers", f"{error.name} is not installed", "the extra `vectors` (pyogrio and shapely)",
        "python -m pip install 'hectare-downscaling[vectors]'",
    )  # fmt: skip
