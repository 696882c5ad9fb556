"""What a variable of a NetCDF file or Zarr store says of itself by CF attributes, read only when it is asked for."""

from collections.abc import Mapping

import numpy as np


class Attributes:
    """CF attributes of one variable; a text that is not there is "".

    Why read when asked: a file may carry anything under these names, and what is not needed must not stop it.
    """

    def __init__(self, given: Mapping[str, object]) -> None:
        """given: as the file holds them, undecoded."""
        self._given = given

    def _text(self, name: str) -> str:
        return str(self._given.get(name, ""))

    @property
    def units(self) -> str:
        """As UDUNITS spells them; of a time axis with its epoch."""
        return self._text("units")

    @property
    def axis(self) -> str:
        """X, Y or T of a coordinate."""
        return self._text("axis").upper()

    @property
    def standard_name(self) -> str:
        """From the CF table of standard names."""
        return self._text("standard_name")

    @property
    def coordinate_axis_type(self) -> str:
        """Lon, GeoX, Time and the like, as the Unidata convention has it."""
        return self._text("_CoordinateAxisType")

    @property
    def bounds(self) -> str:
        """Name of the variable that holds the edges of a coordinate's cells."""
        return self._text("bounds")

    @property
    def calendar(self) -> str:
        """Of a time axis; CF's standard calendar where it is not there."""
        return self._text("calendar")

    @property
    def cell_methods(self) -> str:
        """How values stand for their cells, as "time: sum"."""
        return self._text("cell_methods")

    @property
    def grid_mapping(self) -> str:
        """Name of the variable that holds the reference system; the first where several are named."""
        named = self._text("grid_mapping").split(":")[0].split()
        return named[0] if named else ""

    @property
    def is_unsigned(self) -> bool:
        """True where integers stored as signed ones are meant without a sign (NetCDF classic)."""
        return self._text("_Unsigned").lower() == "true"

    @property
    def fill_values(self) -> tuple[float, ...]:
        """Stored numbers that mean no value, each once, the first of them CF's own; NaN and texts left out."""
        numbers: dict[float, None] = {}
        for name in ("_FillValue", "missing_value", "nodata"):
            if name not in self._given:
                continue
            try:
                numbers |= dict.fromkeys(np.ravel(self._given[name]).astype(float).tolist())  # type: ignore[call-overload]
            except (TypeError, ValueError):
                continue
        return tuple(number for number in numbers if not np.isnan(number))

    @property
    def valid_range(self) -> tuple[float | None, float | None]:
        """The least and the largest stored number that is a value; None where there is no such bound."""
        both = np.ravel(self._given["valid_range"]) if "valid_range" in self._given else (None, None)  # type: ignore[call-overload]
        low, high = self._given.get("valid_min", both[0]), self._given.get("valid_max", both[1])
        return _first(low), _first(high)

    @property
    def packing(self) -> tuple[float, float]:
        """Scale and offset that turn stored numbers into physical values."""
        scale, offset = _first(self._given.get("scale_factor")), _first(self._given.get("add_offset"))
        return 1.0 if scale is None else scale, 0.0 if offset is None else offset


def _first(value: object) -> float | None:
    return None if value is None else float(np.ravel(value)[0])  # type: ignore[call-overload]
