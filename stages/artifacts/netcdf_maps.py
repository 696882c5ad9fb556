"""Finished maps as CF NetCDF, one file a sector: what was given, what was found, and what was known of the truth."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from model.ground import time_steps as when
from model.ground.blocks import merge
from model.ground.errors import ResourceError, UsageError
from stages.artifacts import maps as store
from stages.artifacts.cube import DEGREES, Cube
from stages.artifacts.maps import MapSpec
from stages.artifacts.records import Record
from stages.contract.progress import track
from stages.formats.atomic import take_name
from stages.formats.content_hash import sha256_of
from stages.formats.zarr_groups import MAPPING, axis_attributes

GIVEN, FOUND, TRUTH = "lr", "sr", "truth"
SPARE = 1 << 20  # bytes of a file beside its arrays, at most
_CHUNK = 512  # cells along a chunk


class NetcdfRecord(Record):
    """A finished NetCDF file against what was given; date: of its worst block."""

    file: str
    worst_relative_residual: float
    date: str
    dates: int
    passed: bool
    sha256: str


def file_name(cube: Cube, sector: int) -> str:
    return f"{cube.name}_{cube.sectors[sector]}.nc"


def bytes_needed(cube: Cube) -> int:
    """An upper bound of what all files take."""
    fields = 2 if cube.record.pairs else 1
    cells = cube.fine.rows * cube.fine.cols
    a_date = 4 * fields * cells + 8 * cube.coarse.rows * cube.coarse.cols
    return len(cube.sectors) * (len(cube.years) * a_date + 32 * cells + SPARE)


def write_netcdf(
    cube: Cube, sector: int, sheets: Sequence[MapSpec], maps: Path, words: Mapping[str, str]
) -> Path:
    """Writes one sector's maps, from the finished GeoTIFFs and their block files, date by date.

    Args:
      sheets: of the sector, in the order of the cube's dates.
      words: global attributes.
    Why from the files: what is conserved there to the last digit stays so.
    Raises: UsageError (exit 2) without the extra; ResourceError (exit 6) when it cannot be written.
    """
    try:
        import h5netcdf
    except ImportError as error:
        fix = "pip install -e '.[netcdf]', or set `mosaic.netcdf: false`"
        raise UsageError("mosaic.netcdf", "h5netcdf is not installed", "the extra `netcdf`", fix) from error
    final = maps / file_name(cube, sector)
    draft = maps / f".{final.name}.new"
    try:
        with h5netcdf.File(draft, "w") as file:
            file.attrs.update({"Conventions": "CF-1.11", **words})
            _put_places(file, cube, cube.years)
            paired = cube.paired()[sector]
            made = {
                name: _field(file, cube, name) for name in (GIVEN, FOUND, *([TRUTH] if paired.any() else []))
            }
            for time, sheet in track(list(enumerate(sheets)), f"writing {final.name}", len(sheets), "dates"):
                made[GIVEN][time] = store.read_blocks(maps / sheet.blocks_file, cube.coarse)[0]
                made[FOUND][time] = store.read_part(maps / sheet.map_file, cube.fine, 0, 0, *cube.fine.shape)
                if paired[time]:
                    truth = cube.pair(sector, time, 0, 0, *cube.fine.shape) / cube.weights
                    made[TRUTH][time] = truth.astype(np.float32)
        take_name(draft, final)
    except (OSError, RuntimeError) as error:
        raise ResourceError(
            final.name, f"not written ({error})", "room on the disk and leave to write",
            "free some space, or move the workspace with --workspace DIR",
        ) from error  # fmt: skip
    return final


def _put_places(file: Any, cube: Cube, labels: Sequence[int]) -> None:
    """Dimensions and coordinates of both grids, the time axis, the reference system and the areas of cells."""
    crs = CRS.from_wkt(cube.fine.crs)
    file.dimensions["bounds"] = 2
    spans = np.array([when.span(label) for label in labels]).astype("datetime64[m]").astype(np.int64) / 1440.0
    _axis(file, "time", spans[:, 0], spans, {
        "standard_name": "time", "axis": "T", "units": "days since 1970-01-01", "calendar": "proleptic_gregorian",
    })  # fmt: skip
    mapping = file.create_variable(MAPPING, (), np.int32)
    mapping.attrs.update({key: value for key, value in crs.to_cf().items() if value is not None})
    for grid, suffix in ((cube.fine, ""), (cube.coarse, "_lr")):
        for axis, (name, attributes) in zip("yx", names_of(crs), strict=True):
            centres = grid.y if axis == "y" else grid.x
            half = (grid.dy if axis == "y" else grid.dx) / 2
            low, high = centres - half, centres + half
            edges = np.stack([high, low] if axis == "y" else [low, high], axis=1)
            _axis(file, name + suffix, centres, edges, attributes)
    cells = tuple(name for name, _ in names_of(crs))
    areas = file.create_variable("cell_area", cells, np.float64)
    areas[...] = np.broadcast_to(cube.fine.cell_areas(), cube.fine.shape)
    areas.attrs.update({"standard_name": "cell_area", "units": "m2", "long_name": "area of a fine cell"})
    if not cube.quantity.adds_up:
        counts = file.create_variable("cell_weight", cells, np.float64)
        counts[...] = np.broadcast_to(cube.weights, cube.fine.shape)
        said = f"what a cell counts for in the mean of its block, by {cube.record.weights}"
        counts.attrs.update({"units": "1", "long_name": said})
    for name, values in zip(DEGREES, cube.degrees() or (), strict=False):
        place = file.create_variable(name, cells, np.float64)
        place[...] = values
        place.attrs.update(
            {"standard_name": name, "units": "degrees_east" if name == DEGREES[0] else "degrees_north"}
        )


def write_fields(
    cube: Cube, labels: Sequence[int], fields: Mapping[str, NDArray[np.float64]], path: Path, title: str
) -> None:
    """Fine fields of some dates beside each other, one variable a name: (dates, rows, cols) in the cube's unit."""
    import h5netcdf

    with h5netcdf.File(path, "w") as file:
        file.attrs.update({"Conventions": "CF-1.11", "title": title})
        _put_places(file, cube, labels)
        for name, values in fields.items():
            field = _field(file, cube, name)
            field.attrs["long_name"] = f"{cube.long_name}: {name}"
            field[...] = values.astype(np.float32)


def names_of(crs: CRS) -> tuple[tuple[str, dict[str, str]], tuple[str, dict[str, str]]]:
    """Name and attributes of the axes down and across."""
    names = ("lat", "lon") if crs.is_geographic else ("y", "x")
    down, across = ((name, axis_attributes(crs, axis)) for name, axis in zip(names, "yx", strict=True))
    return down, across


def _axis(file: Any, name: str, centres: NDArray, edges: NDArray, attributes: Mapping[str, str]) -> None:
    file.dimensions[name] = len(centres)
    axis = file.create_variable(name, (name,), np.float64)
    axis[...] = centres
    axis.attrs.update({**attributes, "bounds": f"{name}_bounds"})
    file.create_variable(f"{name}_bounds", (name, "bounds"), np.float64)[...] = edges


def _field(file: Any, cube: Cube, name: str) -> Any:
    """An empty variable with a date axis, on the grid its name says."""
    fine = name != GIVEN
    suffix, grid = ("", cube.fine) if fine else ("_lr", cube.coarse)
    dims = tuple(axis + suffix for axis, _ in names_of(CRS.from_wkt(cube.fine.crs)))
    field = file.create_variable(
        name, ("time", *dims), np.float32 if fine else np.float64, fillvalue=np.nan,
        chunks=(1, min(_CHUNK, grid.rows), min(_CHUNK, grid.cols)),
        compression="gzip", compression_opts=4, shuffle=True,
    )  # fmt: skip
    said = {
        GIVEN: "given, coarse",
        FOUND: "found, fine",
        TRUTH: "fine field learned from, where there is one",
    }
    field.attrs.update({
        "long_name": f"{cube.long_name}: {said.get(name, name)}", "units": cube.unit, "grid_mapping": MAPPING,
        "cell_methods": f"area: {cube.quantity.cell_method} time: {cube.time_method}",
        **({"standard_name": cube.standard_name} if cube.standard_name else {}),
        **({"cell_measures": "area: cell_area"} if fine else {}),
        **({"coordinates": " ".join(DEGREES)} if fine and cube.degrees() else {}),
    })  # fmt: skip
    return field


def measure_netcdf(cube: Cube, sector: int, maps: Path, limit: float) -> NetcdfRecord:
    """Opens a finished file again and holds the block means, or sums, of what was found against what was given."""
    import h5netcdf

    path = maps / file_name(cube, sector)
    worst, label = 0.0, cube.years[0]
    with h5netcdf.File(path, "r") as file:
        for time, when_ in enumerate(cube.years):
            given = np.asarray(file[GIVEN][time], np.float64)
            found = np.asarray(file[FOUND][time], np.float64) * cube.weights
            sums = merge(np.where(np.isnan(found), 0.0, found), cube.factor) / cube.room
            with np.errstate(invalid="ignore", divide="ignore"):
                off = np.abs(sums - given) / np.abs(given)
            off = np.where(np.isnan(given) | (sums == given), 0.0, off)
            if float(off.max(initial=0.0)) > worst:
                worst, label = float(off.max()), when_
    return NetcdfRecord(
        file=path.name,
        worst_relative_residual=worst,
        date=when.spelled(label),
        dates=len(cube.years),
        passed=bool(worst <= limit),
        sha256=sha256_of(path),
    )
