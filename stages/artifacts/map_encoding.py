"""Turns a strip of the field into what a finished map holds: float32 mass, or whole numbers of a scale_factor."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.conservation.float_storage import store_float32, store_units
from model.ground.blocks import spread
from model.ground.errors import ArtifactError, NumberError, remake
from stages.artifacts.maps import NO_UNITS, MapSpec


def add_up(mass: NDArray[np.float64], outside: NDArray[np.bool_], factor: int) -> NDArray[np.float64]:
    """Sum of the members that placed something; NaN where none did: an unknown total is not a zero.

    Args:
      mass: (members, rows, cols).
      outside: (members, h, w) True = the member's total is unknown or was not placed.
    """
    kept = np.where(spread(outside, factor), np.nan, mass)
    missing = np.isnan(kept)
    return np.where(missing.all(axis=0), np.nan, np.where(missing, 0.0, kept).sum(axis=0))


@dataclass(frozen=True)
class MapBand:
    """A band of a map about to be stored, and what faults say of it.

    Attributes:
      first: its first block row.
      valid: (rows, cols) True = the cell may receive mass.
      placed: (h, w) True = the block placed some.
      weights: (rows, 1) mass of a cell per unit of what is stored; None where mass itself is.
    """

    sheet: MapSpec
    first: int
    valid: NDArray[np.bool_]
    placed: NDArray[np.bool_]
    weights: NDArray[np.float64] | None = None

    def stored(
        self,
        mass: NDArray[np.float64],
        due: NDArray[np.float64],
        outside: NDArray[np.bool_],
        scale_factor: float | None,
    ) -> NDArray[np.float32] | NDArray[np.int32]:
        """What the map holds: float32 mass, or whole numbers of a scale_factor.

        Args:
          mass: (members, rows, cols).
          due: (members, h, w) totals, 0 where they have no place.
          outside: (members, h, w) True = unknown or not placed.
        Raises: ArtifactError (exit 4) when the field has a hole or misses a total: neither may be papered over.
          NumberError (exit 7) when a cell is too large for its type.
        """
        if scale_factor is not None:
            return self._count(mass, due, outside, scale_factor)
        return self._cast(add_up(mass, outside, mass.shape[-1] // due.shape[-1]), due.sum(axis=0))

    def _cast(self, cells: NDArray[np.float64], due: NDArray[np.float64]) -> NDArray[np.float32]:
        """float32 with block sums kept."""
        self._insist_on_values(cells)
        with self._judged("a larger unit"):
            return store_float32(cells, due, self.weights)

    def _count(
        self,
        mass: NDArray[np.float64],
        due: NDArray[np.float64],
        outside: NDArray[np.bool_],
        scale_factor: float,
    ) -> NDArray[np.int32]:
        """Whole numbers; a sum over sectors adds up what the sectors' own maps hold."""
        factor = mass.shape[-1] // due.shape[-1]
        cells = add_up(mass, outside, factor)
        self._insist_on_values(cells)
        units = np.zeros(cells.shape, np.int64)
        with self._judged("a larger scale_factor"):
            for own, total, away in zip(mass, due, outside, strict=True):
                kept = add_up(own[None], away[None], factor)
                units += store_units(kept, np.rint(total / scale_factor) * scale_factor, scale_factor)
            if np.abs(units).max(initial=0) >= -NO_UNITS:
                raise OverflowError(f"a cell holds 2^31 units of {scale_factor:g} or more")
        return np.where(np.isnan(cells), NO_UNITS, units).astype(np.int32)

    def _insist_on_values(self, cells: NDArray[np.float64]) -> None:
        factor = cells.shape[0] // self.placed.shape[0]
        expected = self.valid & spread(self.placed, factor)
        if (holes := expected & np.isnan(cells)).any():
            row, col = (int(index) for index in np.argwhere(holes)[0])
            first = f"first at row {self.first * factor + row}, column {col}"
            found, wanted = (
                f"{int(holes.sum())} cells without a value, {first}",
                "a value in every cell that may receive mass",
            )
            raise ArtifactError(self._where, found, wanted, remake("infer"))

    @property
    def _where(self) -> str:
        return f"field, sector {self.sheet.sector}, {self.sheet.year}"

    @contextmanager
    def _judged(self, remedy: str) -> Iterator[None]:
        """Turns the storage laws' refusals into faults.

        Raises: ArtifactError (exit 4), NumberError (exit 7).
        """
        try:
            yield
        except ValueError as error:
            found = f"{error} (block rows counted from {self.first})"
            wanted = "blocks that meet their totals"
            raise ArtifactError(self._where, found, wanted, remake("infer")) from error
        except OverflowError as error:
            wanted = "cells that the stored type can hold"
            raise NumberError(self._where, str(error), wanted, f"declare {remedy}") from error
