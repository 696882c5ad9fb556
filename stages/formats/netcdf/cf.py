"""What a NetCDF file or Zarr store says in CF words: its fields, their axes, missing values and reference system."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

from model.ground.errors import InputError
from stages.formats.netcdf import axes
from stages.formats.netcdf.attributes import Attributes

Selection = Mapping[str, str | float]  # value, or index where there are no coordinates, by axis


def fields_of(data: xr.Dataset) -> list[str]:
    """Variables that may be a field: numbers on an x and a y axis.

    Coordinates, their bounds and grid mappings are none. Whether the axes can be told is asked later, by dimensions().
    """
    found = []
    for name, variable in data.data_vars.items():
        numbers = variable.dtype.kind in "fiu" and variable.ndim >= 2
        if not numbers or "grid_mapping_name" in variable.attrs or str(name).endswith(("_bnds", "_bounds")):
            continue
        if axes.role(str(name), Attributes(variable.attrs)) is None and not _is_bounds(data, str(name)):
            found.append(str(name))
    return found


def _is_bounds(data: xr.Dataset, name: str) -> bool:
    return any(name == variable.attrs.get("bounds") for variable in data.variables.values())


def choose(data: xr.Dataset, wanted: str | None, name: str) -> str:
    fields = fields_of(data)
    if wanted is None and len(fields) == 1:
        return fields[0]
    if wanted is not None and wanted in data.variables and data[wanted].ndim >= 2:
        if data[wanted].dtype.kind in "fiu":
            return wanted
        raise InputError(
            f"{name}, variable {wanted}",
            f"values of type {data[wanted].dtype}",
            "real numbers",
            "name another one",
        )
    found = f"no variable {wanted!r}" if wanted else f"{len(fields)} variables" if fields else "no field"
    raise InputError(
        name, found, "one of " + ", ".join(fields) if fields else "numbers on two axes", "set `variable:`"
    )


def dimensions(file: xr.Dataset, data: xr.DataArray, where: str) -> tuple[str, str, str | None]:
    """(y, x, time) dimensions of a variable, told by attributes, then by names.

    Returns: names in the file; None for time where there is no such axis.
    Raises: InputError (exit 3) when no x or no y axis can be told.
    """
    found: dict[str, str] = {}
    for dim in map(str, data.dims):
        attributes = file[dim].attrs if dim in file.variables else {}
        kind = axes.role(dim, Attributes(attributes))
        if kind is not None and kind not in found:
            found[kind] = dim
    if "x" not in found or "y" not in found:
        raise InputError(
            where, f"axes {', '.join(map(str, data.dims))}", "an x and a y axis among them",
            "give the axes CF attributes (standard_name, units) or the names x, y, lon, lat",
        )  # fmt: skip
    return found["y"], found["x"], found.get("time")


def fixed(
    file: xr.Dataset,
    data: xr.DataArray,
    dims: tuple[str, str, str | None],
    select: Selection,
    where: str,
) -> dict[str, int]:
    """Index along every axis beside x, y and time; a time axis that is selected is no time any more.

    Args:
      dims: (y, x, time) as dimensions() names them.
      select: value wanted along an axis; an axis with one value needs none.
    Raises: InputError (exit 3) for an axis that is not there, or a value that stands not just once.
    """
    fixed = {}
    for dim in map(str, data.dims):
        if dim in dims[:2] or (dim == dims[2] and dim not in select):
            continue
        if dim not in select and data.sizes[dim] == 1:
            fixed[dim] = 0
            continue
        known = [label(file, dim, index) for index in range(data.sizes[dim])]
        wanted = select.get(dim)
        hits = [index for index, label in enumerate(known) if wanted is not None and _same(label, wanted)]
        if len(hits) != 1:
            raise InputError(
                where,
                f"{len(known)} values along {dim!r}" + ("" if wanted is None else f", {wanted!r} not once"),
                f"one of {', '.join(known[:30])}",
                f"set `select: {{{dim}: ...}}`",
            )
        fixed[dim] = hits[0]
    if unknown := sorted(set(select) - set(map(str, data.dims))):
        raise InputError(
            where,
            f"no axis {', '.join(unknown)}",
            f"axes {', '.join(map(str, data.dims))}",
            "correct `select:`",
        )
    return fixed


def label(file: xr.Dataset, dim: str, index: int) -> str:
    if dim not in file.variables:
        return str(index)
    value = np.ravel(file[dim].values)[index]
    text = value.decode() if isinstance(value, bytes) else str(value)
    return text.strip("\x00 ")


def _same(label: str, wanted: str | float) -> bool:
    try:
        return float(label) == float(wanted)
    except ValueError:
        return label == str(wanted)


def crs_of(file: xr.Dataset, grid_mapping: str, where: str) -> CRS | None:
    """The reference system of the variable's grid mapping, else of the only one in the file.

    Args: grid_mapping: the name that the variable gives; "" where it gives none.
    Raises: InputError (exit 3) for a grid mapping that PROJ does not understand.
    """
    name = grid_mapping if grid_mapping in file.variables else _only_mapping(file)
    if name is None:
        return None
    facts = dict(file[name].attrs)
    try:
        text = facts.get("crs_wkt") or facts.get("spatial_ref")
        return CRS.from_user_input(str(text)) if text else CRS.from_cf(facts)
    except (CRSError, KeyError, ValueError) as error:
        raise InputError(
            where, f"a grid mapping {name!r} nobody understands ({str(error).splitlines()[0][:120]})",
            "a CRS as crs_wkt or CF parameters", "set `crs:` for this file, e.g. crs: EPSG:3035",
        ) from error  # fmt: skip


def _only_mapping(file: xr.Dataset) -> str | None:
    """The one variable that describes a reference system; None where there is none, or several."""
    found = []
    for name, variable in file.variables.items():
        if not {"grid_mapping_name", "crs_wkt", "spatial_ref"}.isdisjoint(variable.attrs):
            found.append(str(name))
    return found[0] if len(found) == 1 else None


def two_dimensional(
    file: xr.Dataset, dims: tuple[str, str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """(longitudes, latitudes) of every cell, (y, x), when the file has them.

    Args: dims: (y, x) of the variable.
    Returns: degrees in the order of the file; None when no two variables on those dimensions hold them.
    """
    found = {}
    for name, variable in file.variables.items():
        attributes = Attributes(variable.attrs)
        kind = axes.role(str(name), attributes)
        on_cells = set(map(str, variable.dims)) == set(dims)
        if kind and on_cells and axes.is_degrees(attributes, str(name)):
            found[kind] = axes.exact(np.asarray(variable.transpose(*dims).values))
    return (found["x"], found["y"]) if {"x", "y"} <= set(found) else None


def unrotate(crs: CRS, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    """Longitudes and latitudes of the cells of a grid with a rotated pole.

    Args: x, y: its axes in rotated degrees.
    Returns: (y, x) degrees on WGS 84 each.
    """
    from pyproj import Transformer

    to_degrees = Transformer.from_crs(crs, CRS.from_epsg(4326), always_xy=True)
    lon, lat = to_degrees.transform(*np.meshgrid(x, y))
    return np.asarray(lon), np.asarray(lat)


def metres(attributes: Attributes, crs: CRS | None) -> float:
    """What coordinates in kilometres are multiplied with."""
    in_kilometres = attributes.units.lower() in ("km", "kilometre", "kilometer", "kilometers")
    return (
        1000.0 if in_kilometres and (crs is None or crs.axis_info[0].unit_conversion_factor == 1.0) else 1.0
    )


def stored(part: slice, count: int, *, turned: bool) -> tuple[slice, bool]:
    """The part of a stored axis that holds a part counted from the north or the west.

    Args: count: cells along the axis; turned: True = stored from the south or the east.
    Returns: the part, and whether its cells must be turned round.
    """
    start, stop = part.start or 0, count if part.stop is None else part.stop
    return (slice(count - stop, count - start), True) if turned else (slice(start, stop), False)


def spans(years: list[int]) -> str:
    """Years in few words: 2001 to 2022, 2030."""
    parts: list[list[int]] = []
    for year in years:
        if parts and year == parts[-1][-1] + 1:
            parts[-1].append(year)
        else:
            parts.append([year])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in parts)
