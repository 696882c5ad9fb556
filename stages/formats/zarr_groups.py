"""The one door to Zarr: groups laid out from metadata first, filled region by region, CF attributes, CRS intact."""

import os
import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from types import EllipsisType
from typing import Any, Literal
from uuid import uuid4

import numpy as np
import zarr
from numcodecs.zstd import Zstd
from numpy.typing import DTypeLike, NDArray
from pydantic import JsonValue
from pyproj import CRS
from zarr.codecs import ZstdCodec
from zarr.storage import LocalStore

from model.ground import time_steps as when
from model.ground.errors import ArtifactError, remake
from model.ground.grid import Grid

Group = zarr.Group
Array = zarr.Array
Index = tuple[int | slice | EllipsisType, ...]  # of an array, by axis
MAPPING = "spatial_ref"
ZSTD: Any = {"level": 1, "checksum": True}
CHUNK = 240  # fine cells; two tiles of 120 a side, so that random windows touch few chunks


def create_group(path: Path, attributes: Mapping[str, JsonValue]) -> zarr.Group:
    """Starts an empty store, or the same one again: metadata is rewritten, chunks are kept.

    Args: attributes: of the group, beside those by which CF readers find the grid mapping.
    """
    # xarray reads the grid mapping as a coordinate, where rioxarray looks for it, because `coordinates` names it.
    facts = {"Conventions": "CF-1.11", "coordinates": MAPPING, **attributes}
    return zarr.create_group(store=str(path), zarr_format=3, attributes=facts, overwrite=False)


def open_group(path: Path, stage: str, *, mode: Literal["r", "r+"] = "r") -> zarr.Group:
    """Opens a published or partial store.

    Raises: ArtifactError (exit 4) when it is missing or not a store.
    """
    try:
        group = zarr.open_group(store=str(path), mode=mode, zarr_format=3, use_consolidated=False)
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise ArtifactError(
            path.name,
            f"no readable Zarr store ({type(error).__name__})",
            "a whole store",
            remake(stage),
        ) from error
    return group


def array_of(group: zarr.Group, name: str) -> zarr.Array:
    """One array of a store.

    Raises: ArtifactError (exit 4) when the store does not hold it.
    """
    found = group.get(name)
    if not isinstance(found, zarr.Array):
        raise ArtifactError(
            name, "not in the store", "a whole store", "run again with --force for the stage that makes it"
        )
    return found


def layout(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    dims: tuple[str, ...],
    dtype: DTypeLike,
    attributes: Mapping[str, JsonValue],
    *,
    chunks: tuple[int, ...] | None = None,
    fill: float | str | None = None,
) -> zarr.Array:
    """Declares one array; nothing of its size is allocated.

    Checksums make a flipped byte an error; empty chunks are written so that a missing one can be told.

    Args:
      dims: names of its axes, as CF wants them.
      chunks: by default the array is one chunk.
      fill: what cells hold that were never written; by default 0, or "" for words.
    """
    kind = dtype if isinstance(dtype, np.dtypes.StringDType) else np.dtype(dtype)
    nothing = "" if isinstance(kind, np.dtypes.StringDType) else np.zeros((), kind)[()]
    return group.create_array(
        name,
        shape=shape,
        chunks=shape if chunks is None else chunks,
        dtype=kind,
        fill_value=nothing if fill is None else fill,
        compressors=None if shape == () else [ZstdCodec(**ZSTD)],
        dimension_names=dims,
        attributes=dict(attributes),
        config={"write_empty_chunks": True},
    )


def put(
    group: zarr.Group, name: str, values: NDArray, dims: tuple[str, ...], attributes: Mapping[str, JsonValue]
) -> None:
    """Writes a small whole array: a coordinate, totals, a mask.

    Cells of floats that nobody writes later are NaN, of other types 0.
    """
    dtype = values.dtype
    array = layout(
        group, name, values.shape, dims, dtype, attributes, fill=np.nan if dtype.kind == "f" else None
    )
    array[...] = values


def write_region(array: zarr.Array, region: tuple[slice, ...], values: NDArray) -> None:
    """Writes a region; one that is a whole chunk goes to its file without detours, byte for byte as zarr writes it.

    Why: zarr takes five times as long for a chunk as its compression, most of it in one thread for all.
    """
    place = _chunk_at(array, region)
    if place is None:
        array[region] = values
        return
    whole = np.ascontiguousarray(values, array.dtype)
    if whole.shape != array.chunks:  # at the edge a chunk reaches beyond the array
        whole = np.full(array.chunks, array.fill_value, array.dtype)
        whole[tuple(map(slice, values.shape))] = values
    assert isinstance(array.store, LocalStore)
    path = "/".join((str(array.store.root), array.path, "c", *map(str, place)))
    partial = f"{path}.{uuid4().hex}.partial"
    packed = Zstd(**ZSTD).encode(whole)
    try:
        _write(partial, packed)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _write(partial, packed)
    os.replace(partial, path)


def _write(path: str, content: bytes) -> None:
    with open(path, "xb", buffering=0) as stream:
        stream.write(content)


def _chunk_at(array: zarr.Array, region: tuple[slice, ...]) -> tuple[int, ...] | None:
    """Which chunk of a store on disk a region is; None when it is not exactly one."""
    if not isinstance(array.store, LocalStore):
        return None
    shape, chunks, place = array.shape, array.chunks, []  # zarr makes them anew whenever it is asked
    for part, size, chunk in zip(region, shape, chunks, strict=True):
        start, stop, _ = part.indices(size)
        if start % chunk or stop != min(start + chunk, size):
            return None
        place.append(start // chunk)
    return tuple(place)


def put_names(group: zarr.Group, name: str, names: Iterable[str]) -> None:
    """Writes a coordinate of words."""
    words = np.array(list(names), dtype=np.dtypes.StringDType())
    layout(group, name, words.shape, (name,), words.dtype, {"long_name": name})[...] = words


def put_grid(group: zarr.Group, grid: Grid, *, suffix: str = "") -> None:
    """Writes x and y of a grid, and the grid mapping that both grids of a store share.

    Why the geotransform is an attribute of the group: on the grid mapping, readers would take the fine one
    for arrays on the coarse grid; from the coordinates alone it would come back with rounding.
    """
    crs = CRS.from_wkt(grid.crs)
    if MAPPING not in group:
        facts = crs.to_cf()
        for key in [key for key, value in facts.items() if value is None]:
            del facts[key]
        layout(group, MAPPING, (), (), "int32", facts)[...] = 0
    group.attrs["geotransform" + suffix] = [grid.left, grid.dx, 0.0, grid.top, 0.0, -grid.dy]
    for axis, centres in (("x", grid.x), ("y", grid.y)):
        put(group, axis + suffix, centres, (axis + suffix,), axis_attributes(crs, axis))


def axis_attributes(crs: CRS, axis: str) -> dict[str, str]:
    """CF attributes of the axis across (x) or down (y).

    Returns: standard_name, units and axis as PROJ writes them for the system; "1" as unit where it names no axis.
    """
    wanted = "X" if axis == "x" else "Y"
    for entry in crs.cs_to_cf():
        if entry.get("axis") == wanted:
            return dict(zip(entry, map(str, entry.values()), strict=True))
    return {"axis": wanted, "units": "1"}


def read_grid(group: zarr.Group, *, suffix: str = "") -> Grid:
    """The grid that put_grid wrote, from its geotransform: coordinates would come back with rounding.

    Raises: ArtifactError (exit 4) when the store lacks its coordinates.
    """
    place: Any = group.attrs["geotransform" + suffix]
    left, dx, _, top, _, minus_dy = map(float, place)
    rows, cols = array_of(group, "y" + suffix).shape[0], array_of(group, "x" + suffix).shape[0]
    return make_grid(rows, cols, left, top, dx, -minus_dy, CRS.from_wkt(str(group[MAPPING].attrs["crs_wkt"])))


@lru_cache(maxsize=256)
def same_crs(one: str, other: str) -> bool:
    """True when two texts mean the same system: every program spells EPSG:3035 differently.

    Why texts are compared and never rewritten by their code: what the authority's database says of a code
    depends on the release of PROJ, and on which of two copies of it a process happened to load first.
    """
    if one == other:
        return True
    first, second = CRS.from_wkt(one), CRS.from_wkt(other)
    code = first.to_authority()
    return (code is not None and code == second.to_authority()) or first.equals(
        second, ignore_axis_order=True
    )


def make_grid(rows: int, cols: int, left: float, top: float, dx: float, dy: float, crs: CRS) -> Grid:
    """A grid that knows its ellipsoid when its CRS is geographic, its metres when it is projected.

    Args:
      left, top: outer corner of the first cell; dx, dy: size of a cell; all in CRS units.
    """
    ellipsoid, metre = None, 1.0
    if crs.is_geographic and crs.ellipsoid is not None:
        inverse = crs.ellipsoid.inverse_flattening
        ellipsoid = (crs.ellipsoid.semi_major_metre, 1.0 / inverse if inverse else 0.0)
    elif crs.axis_info:
        metre = crs.axis_info[0].unit_conversion_factor
    return Grid(rows, cols, left, top, dx, dy, crs.to_wkt(), ellipsoid, metre)


def put_years(group: zarr.Group, years: Iterable[int]) -> None:
    """Writes the time axis: where each year, or shorter step, starts, with bounds to where it ends.

    Args: years: as model.ground.time_steps names them, all of one length.
    """
    labels = list(years)
    unit, word = ("D", "days") if when.is_year(labels[0]) else ("m", "minutes")
    spans = np.array([when.span(label) for label in labels]).astype(f"datetime64[{unit}]").astype(np.int64)
    starts, ends = spans[:, 0].copy(), spans[:, 1].copy()
    attributes = {
        "standard_name": "time",
        "axis": "T",
        "bounds": "time_bounds",
        "units": f"{word} since 1970-01-01",
        "calendar": "proleptic_gregorian",
    }
    if not when.is_year(labels[0]):
        attributes["step"] = when.unit_of(labels[0])
    put(group, "time", starts, ("time",), attributes)
    put(group, "time_bounds", np.stack([starts, ends], axis=1), ("time", "bounds"), {})


def read_years(group: zarr.Group) -> tuple[int, ...]:
    """The years, or shorter steps, that put_years wrote.

    Returns: labels as model.ground.time_steps names them, in the order of the axis.
    Raises: ArtifactError (exit 4) when the store has no time axis.
    """
    stored = array_of(group, "time")
    step = str(stored.attrs.get("step", "Y"))
    instants = np.asarray(stored[...]).astype("datetime64[D]" if step == "Y" else "datetime64[m]")
    return tuple(when.label_of(instant, step) for instant in instants)


def seal(path: Path) -> None:
    """Consolidates the metadata of a finished store, so that plain xarray opens it in one read.

    Args: path: of the store; called once, after its last array was laid out.
    """
    with warnings.catch_warnings():
        # Consolidated metadata is not yet in the Zarr 3 text; readers that do not know it ignore it.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(str(path), zarr_format=3)


def sweep(path: Path) -> None:
    """Removes what a killed writer left half done: its own temporary files."""
    for leftover in path.rglob("*.partial"):
        leftover.unlink()


def read_region(array: zarr.Array, region: Index, stage: str) -> NDArray:
    """Reads one region; damage is told by its name.

    Raises: ArtifactError (exit 4) naming the array when a chunk is damaged.
    """
    try:
        return np.asarray(array[region])
    except (RuntimeError, ValueError, OSError) as error:
        raise ArtifactError(
            array.path,
            f"a chunk near {region} is damaged ({error})",
            "chunks as they were written",
            remake(stage),
        ) from error
