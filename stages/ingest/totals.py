"""The totals of a cube as one array of mass: read, cut to the area, left out where too few cells are valid."""

from collections.abc import Iterable
from itertools import count
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from model.ground import time_steps as when
from model.ground.blocks import merge
from model.ground.errors import InputError
from stages.artifacts.records import TotalRecord
from stages.contract.progress import tell
from stages.declare.extent import within
from stages.declare.inputs import Config, Total
from stages.ingest.align import Sources

Floats = NDArray[np.float64]
Label = TypeVar("Label", str, int)


def mass_of_totals(config: Config, found: Sources) -> Floats:
    """The declared totals in the order of sectors and years.

    Returns: (sectors, years, h, w) mass in the canonical unit; NaN where not known.
    """
    area = found.coarse.cell_areas()
    out = np.empty((len(config.sectors), len(config.years), *found.coarse.shape))
    sectors, dates = _places(config.sectors), _places(config.years)
    for source in found.totals:
        item, unit = source.declared, source.unit
        assert isinstance(item, Total) and unit is not None and item.year is not None
        values = source.raster.read(*found.clipped.window)
        if not when.is_year(item.year):
            source.raster.close()
        if item.missing == "zero":
            values = np.where(np.isnan(values), 0.0, values)
        mass = unit.to_mass(within(found.clipped, values), area)
        out[sectors[item.sector], dates[item.year]] = mass
    return out


def _places(labels: Iterable[Label]) -> dict[Label, int]:
    """Where each label of an axis stands."""
    return dict(zip(labels, count()))


def known_in_some(totals: Floats) -> NDArray[np.bool_]:
    """(h, w) True = the total is known in some sector and year."""
    return np.asarray(np.isfinite(totals).any(axis=(0, 1)))


def with_enough_cells(config: Config, found: Sources, totals: Floats) -> Floats:
    """Without the means of blocks in which too few fine cells are valid: those are not known.

    Returns: (sectors, years, h, w); unchanged where no field of validity is declared.
    Raises: InputError (exit 3) when no block has enough.
    """
    if found.fine.valid is None:
        return totals
    fine = found.coarse.refine(found.factor)
    inside = np.isfinite(found.fine.valid.read(0, 0, *fine.shape))
    share = merge(inside.astype(np.float64), found.factor) / found.factor**2
    scarce = share < config.least_valid
    known = known_in_some(totals)
    lost = int((scarce & known).sum())
    if lost and not (~scarce & known).any():
        raise InputError(
            found.fine.valid.where, f"at most {share.max():.1%} of the cells of a block are valid",
            f"at least {config.least_valid:.1%} in some block", "lower `ingest.least_valid`, or correct the field",
        )  # fmt: skip
    if lost:
        rule = f"fewer than {config.least_valid:.1%} of their cells are valid"
        tell(
            f"{lost} blocks have a mean that stands for nothing, as {rule}; they are left without one",
            warning=True,
        )
    return np.where(scarce, np.nan, totals)


def with_mass(records: tuple[TotalRecord, ...], config: Config, totals: Floats) -> tuple[TotalRecord, ...]:
    """The records of the totals with the mass that stands on the map, in the cube's unit.

    Args: totals: (sectors, years, h, w), NaN where not known, which adds nothing.
    """
    sectors, dates = _places(config.sectors), _places(config.years)
    told = []
    for record in records:
        mass = np.nansum(totals[sectors[record.sector], dates[record.year]])
        told.append(record.with_(mass=float(mass)))
    return tuple(told)
