"""Tells where the cells of a NetCDF variable lie: on regular axes, or as cells that have none."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from model.ground.errors import InputError
from stages.formats.netcdf import axes, cf
from stages.formats.netcdf.attributes import Attributes
from stages.formats.netcdf.axes import Axis
from stages.formats.netcdf.curvilinear import Lattice, lattice

# A plane of its own: cells of a curvilinear grid that names no reference system keep their rows and columns.
OWN_GRID = (
    'ENGCRS["own grid",EDATUM["rows and columns of the file"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],'
    'LENGTHUNIT["metre",1]]'
)


@dataclass(frozen=True)
class Place:
    """Where the cells of a variable lie.

    Attributes:
      x, y: its regular axes; bent: the lattice over cells that have none, then None.
      notes: what was assumed or repaired, in sentences.
    """

    x: Axis
    y: Axis
    bent: Lattice | None
    notes: tuple[str, ...]


def coordinates_of(
    file: xr.Dataset, dims: tuple[str, str], grid_mapping: str, given_crs: str | None, where: str
) -> Place:
    """Regular axes, or a lattice.

    Args:
      dims: (y, x) of the variable; grid_mapping: the name that it gives.
      given_crs: declared, and then believed before the file.
    Raises: InputError (exit 3) when the file does not say where its cells lie.
    """
    y, x = dims
    flat = cf.two_dimensional(file, dims)
    if flat is not None and not (x in file.variables and y in file.variables):
        return _curvilinear(
            lattice(*flat, "its cells have longitudes and latitudes of their own (a curvilinear grid)")
        )
    for dim in dims:
        if dim not in file.variables:
            raise InputError(
                where, f"no coordinates along {dim!r}", "coordinates of its cells",
                "write them into the file, or give longitudes and latitudes of all cells",
            )  # fmt: skip
    crs = None if given_crs else cf.crs_of(file, grid_mapping, where)
    if crs is not None and crs.is_geographic and crs.is_derived:
        degrees = cf.unrotate(crs, axes.exact(file[x].values), axes.exact(file[y].values))
        return _curvilinear(lattice(*degrees, "its grid has a rotated pole, which GeoTIFFs cannot say"))
    across, down = _axis(file, x, turns=_is_degrees(file, x)), _axis(file, y, turns=False)
    if across is None or down is None:
        return _irregular(file, dims, [across, down], where)
    scale = cf.metres(Attributes(file[x].attrs), crs)
    notes = []
    for dim, axis in ((x, across), (y, down)):
        if axis.note:
            notes.append(f"{dim}: {axis.note}")
    degrees_only = _is_degrees(file, x) and _is_degrees(file, y)
    if crs is None and not given_crs and degrees_only:
        notes.append("longitudes and latitudes without a datum were taken as WGS 84")
    return Place(_scaled(across, scale), _scaled(down, scale), None, tuple(notes))


def _scaled(axis: Axis, scale: float) -> Axis:
    return Axis(axis.start * scale, axis.step * scale, axis.count, axis.note)


def _is_degrees(file: xr.Dataset, dim: str) -> bool:
    return axes.is_degrees(Attributes(file[dim].attrs), dim)


def own_grid(file: xr.Dataset, dims: tuple[str, str], side: float) -> Place:
    """Rows and columns of the file as plane cells; the first row is the southern one where latitudes rise.

    Why the first cell has its corner at 0, 0: fields of other cell sizes that start with the same cell nest.
    """
    y, x = dims
    degrees = cf.two_dimensional(file, dims)
    rises = degrees is not None and float(degrees[1][-1].mean()) > float(degrees[1][0].mean())
    across = Axis(0.0, side, file.sizes[x])
    down = Axis(0.0, side if rises else -side, file.sizes[y])
    return Place(
        across, down, None, (f"its rows and columns were taken as a plane grid of {side:g} m cells",)
    )


def _curvilinear(cells: Lattice) -> Place:
    nowhere = Axis(0.0, 1.0, 1)
    return Place(nowhere, nowhere, cells, (cells.note,))


def _irregular(file: xr.Dataset, dims: tuple[str, str], found: list[Axis | None], where: str) -> Place:
    """Longitudes or latitudes at uneven steps are read like a curvilinear grid; anything else is refused."""
    y, x = dims
    odd = ", ".join(dim for dim, axis in zip((x, y), found, strict=True) if axis is None)
    if not (_is_degrees(file, x) and _is_degrees(file, y)):
        raise InputError(
            where, f"coordinates at uneven steps along {odd}", "a regular grid",
            "regrid the file, or check its coordinates for a gap or a wrong number",
        )  # fmt: skip
    if min(file.sizes[x], file.sizes[y]) < 2:
        raise InputError(
            where, f"one cell alone along {odd}, and no bounds", "cells of a known size",
            "write the bounds of its cells into the file",
        )  # fmt: skip
    lon, lat = np.meshgrid(axes.exact(file[x].values), axes.exact(file[y].values))
    return _curvilinear(lattice(lon, lat, f"its coordinates lie at uneven steps along {odd}"))


def _axis(file: xr.Dataset, dim: str, *, turns: bool) -> Axis | None:
    axis = file[dim]
    edges = file.get(Attributes(axis.attrs).bounds)
    return axes.regular(axis.values, None if edges is None else edges.values, turns=turns)
