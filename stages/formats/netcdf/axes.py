"""Which dimensions of a variable are x, y and time, and where their cells lie on the ground."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.formats.netcdf.attributes import Attributes

SAME = 1e-6  # cells; coordinates that miss a regular axis by less are regular
EQUAL = 1e-9  # cells; what rounding in double precision leaves
NEAR = 0.02  # cells; those that miss it by less are repaired, and this is said
NAMES = {
    "x": ("x", "lon", "longitude", "long", "lons", "easting", "east", "rlon", "xc", "x_coord", "west_east", "nav_lon"),
    "y": ("y", "lat", "latitude", "lats", "northing", "north", "rlat", "yc", "y_coord", "south_north", "nav_lat"),
    "time": ("time", "t", "year", "years", "month", "date", "valid_time"),
}  # fmt: skip
_STANDARD = {
    "projection_x_coordinate": "x", "longitude": "x", "grid_longitude": "x",
    "projection_y_coordinate": "y", "latitude": "y", "grid_latitude": "y", "time": "time",
}  # fmt: skip
_LETTER = {"X": "x", "Y": "y", "T": "time"}
_UNIDATA = {"Lon": "x", "GeoX": "x", "Lat": "y", "GeoY": "y", "Time": "time"}
_EAST = ("degrees_east", "degree_east", "degrees_e", "degree_e")
_NORTH = ("degrees_north", "degree_north", "degrees_n", "degree_n")


@dataclass(frozen=True)
class Axis:
    """Regular cells along one direction, in stored order.

    Attributes:
      start: outer edge of the first cell.
      step: to the next cell; negative when the axis descends.
      note: what was repaired, "" when nothing was.
    """

    start: float
    step: float
    count: int
    note: str = ""

    @property
    def low(self) -> float:
        return min(self.start, self.start + self.count * self.step)

    @property
    def high(self) -> float:
        return max(self.start, self.start + self.count * self.step)


def role(name: str, attributes: Attributes) -> str | None:
    """Which axis a coordinate is, told by CF attributes (section 4) first, then by the names that models use.

    Args: name: of the dimension or variable; attributes: its own.
    Returns: x, y, time, or None for any other axis.
    """
    units = attributes.units.strip().lower()
    told = (
        _LETTER.get(attributes.axis)
        or _STANDARD.get(attributes.standard_name)
        or ("x" if units in _EAST else "y" if units in _NORTH else None)
        or ("time" if " since " in units else None)
        or _UNIDATA.get(attributes.coordinate_axis_type)
    )
    if told:
        return told
    for kind, names in NAMES.items():
        if name.lower() in names:
            return kind
    return None


def is_degrees(attributes: Attributes, name: str) -> bool:
    """True when a coordinate says, or is named, longitude or latitude."""
    units = attributes.units.strip().lower()
    if units in (*_EAST, *_NORTH) or attributes.standard_name in ("longitude", "latitude"):
        return True
    return not units and name.lower() in ("lon", "longitude", "lat", "latitude", "nav_lon", "nav_lat")


def regular(values: NDArray, bounds: NDArray | None, *, turns: bool) -> Axis | None:
    """The axis that stored coordinates mean; None when they are not regular.

    Args:
      values: (n,) cell centres as stored; bounds: (n, 2) their edges, or None.
      turns: longitudes, which may jump by 360 degrees.
    """
    centres = exact(values)
    notes = []
    if turns and len(centres) > 1:
        unwrapped = np.unwrap(centres, period=360.0)
        if (unwrapped != centres).any():
            notes.append("longitudes jump by 360 degrees and were put in one row")
        centres = unwrapped
    single = np.asarray(values).dtype == np.float32
    axis = _fit(centres, single=single)
    edges = _edges(bounds, len(centres))
    if edges is not None and not turns:
        by_bounds = _from_edges(edges, single=single)
        if by_bounds is not None and (
            axis is None or abs(by_bounds.start - axis.start) > SAME * abs(axis.step)
        ):
            if axis is not None:
                notes.append(
                    "its bounds say the coordinates are not the middle of the cells; the bounds are used"
                )
            axis = by_bounds
    if axis is None:
        return None
    return Axis(axis.start, axis.step, axis.count, "; ".join(filter(None, (*notes, axis.note))))


def exact(values: NDArray) -> NDArray[np.float64]:
    """Coordinates as written: 0.1 stored in single precision is 0.1, not 0.10000000149.

    Args: values: of any shape and type of number.
    Returns: the same shape in double precision.
    """
    stored = np.asarray(values)
    if stored.dtype == np.float32:
        return stored.astype(str).astype(np.float64)
    return stored.astype(np.float64)


def _fit(centres: NDArray[np.float64], *, single: bool) -> Axis | None:
    """The regular axis through the centres, of short numbers when these lie as near as single precision can tell."""
    count = len(centres)
    if count < 2 or not np.isfinite(centres).all():
        return None
    step = (centres[-1] - centres[0]) / (count - 1)
    if step == 0.0:
        return None
    first, off = _through(centres, step, single=single)
    short = float(f"{step:.6g}")
    near, worst = _through(centres, short, single=single)
    if worst <= max(off, SAME if single else EQUAL):
        step, first, off = short, near, worst
    if off > NEAR:
        return None
    note = f"coordinates off a regular axis by up to {off:.1g} cells were made regular" if off > SAME else ""
    return Axis(first - step / 2, float(step), count, note)


def _through(centres: NDArray[np.float64], step: float, *, single: bool) -> tuple[float, float]:
    """First centre of the best axis of that step, and how far the worst centre lies off it, in cells."""
    first = float(np.mean(centres - np.arange(len(centres)) * step))
    tidy = float(f"{first:.7g}" if single else f"{first:.12g}")
    if abs(tidy - first) < (1e-4 if single else EQUAL) * abs(step):
        first = tidy
    return first, float(np.abs(centres - (first + np.arange(len(centres)) * step)).max() / abs(step))


def _edges(bounds: NDArray | None, count: int) -> NDArray[np.float64] | None:
    if bounds is None or bounds.shape != (count, 2):
        return None
    edges = exact(bounds)
    return edges if np.isfinite(edges).all() else None


def _from_edges(edges: NDArray[np.float64], *, single: bool) -> Axis | None:
    """The axis that bounds mean, when each cell ends where the next begins."""
    low, high = edges.min(axis=1), edges.max(axis=1)
    if len(edges) == 1:
        return Axis(float(low[0]), float(high[0] - low[0]), 1) if high[0] > low[0] else None
    axis = _fit((low + high) / 2, single=single)
    if axis is None or np.abs((high - low) / abs(axis.step) - 1).max() > NEAR:
        return None
    return axis
