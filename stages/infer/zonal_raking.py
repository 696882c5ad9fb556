"""Brings a field that meets its blocks to totals of zones as well, by raking; names what contradicts.

Why a table and not the cells: raking multiplies alike all cells of a block that lie in the same zone. So the field
is read once to add up such parts ("atoms"; a cell that a border cuts is an atom of its own), the atoms are raked,
and the field is read once more to be multiplied. Memory follows the number of blocks and the length of the borders.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.conservation.raking import Groups, rake_within
from model.ground.grid import Region
from stages.artifacts.cube import Cube
from stages.artifacts.maps import ALL
from stages.artifacts.records import ZoneRecord
from stages.contract.progress import tell
from stages.declare.zone_totals import ZoneTotal
from stages.regrid.polygons import BIN
from stages.regrid.zones import Zones

WHOLE = 1e-9  # a share this near to 0 or 1 is that
CLOSE = 1e-9  # of a zone's total
Read = Callable[[Region], NDArray[np.float64]]


@dataclass(frozen=True)
class _Atoms:
    """The parts of a region that raking treats alike.

    Attributes:
      of_cell: (rows, cols) atom of each cell.
      block: (atoms,) flat index of the coarse cell.
      zones: (entries,) atom, zone and share of the atom's mass in that zone.
    """

    of_cell: NDArray[np.int64]
    block: NDArray[np.int64]
    zones: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]

    def sums(self, mass: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., atoms) of (..., rows, cols)."""
        flat = mass.reshape(-1, self.of_cell.size)
        out = [np.bincount(self.of_cell.ravel(), row, minlength=len(self.block)) for row in flat]
        sums = np.array(out, np.float64)
        return sums.reshape(*mass.shape[:-2], len(self.block))


class Raking:
    """Zone totals over the field of a cube.

    Args:
      read: gives (sectors, years, rows, cols) mass of a region after the law; NaN where a cell has none.
      regions: that make up the map, in order.
    """

    def __init__(
        self, cube: Cube, zones: Zones, wanted: list[ZoneTotal], regions: list[Region], read: Read
    ) -> None:
        self._cube, self._zones, self._wanted, self._read = cube, zones, wanted, read
        self._names = list(zones.shapes)
        parts, self._first, count = [], {}, 0
        free, fixed = [], []
        for region in regions:
            atoms = self._atoms(region)
            self._first[region] = count
            count += len(atoms.block)
            movable, rest = self._split(region)
            free.append(atoms.sums(movable))
            fixed.append(atoms.sums(rest))
            parts.append(atoms)
        self._block = np.concatenate([atoms.block for atoms in parts])
        starts = list(self._first.values())
        self._entries = tuple(
            np.concatenate(
                [
                    atoms.zones[k] + (start if k == 0 else 0)
                    for atoms, start in zip(parts, starts, strict=True)
                ]
            )
            for k in range(3)
        )
        self.records: list[ZoneRecord] = []
        self._factors = np.ones((*np.shape(free[0])[:2], count))
        masses, rests = np.concatenate(free, axis=-1), np.concatenate(fixed, axis=-1)
        for time in sorted({total.time for total in wanted}):
            self._rake(time, masses[:, time], rests[:, time])

    def region(self, region: Region) -> NDArray[np.float64]:
        """(sectors, years, rows, cols) mass of a region, raked; NaN where it was."""
        atoms, first = self._atoms(region), self._first[region]
        factors = self._factors[..., first : first + len(atoms.block)]
        movable, rest = self._split(region)
        mass = movable * factors[..., atoms.of_cell] + rest
        return np.where(np.isnan(self._read(region)), np.nan, mass)

    def _split(self, region: Region) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What may move, and what stands: point sources and sinks."""
        mass = np.nan_to_num(self._read(region), nan=0.0)
        rest = np.minimum(mass, 0.0)
        if self._cube.points is not None:
            rest += self._cube.points.on_window(mass.shape[:2], *region)
        return np.maximum(mass - rest, 0.0), rest

    def _atoms(self, region: Region) -> _Atoms:
        row, col, rows, cols = region
        shares = _on_window(self._zones, region)
        indices = [self._names.index(zone) for zone in shares]
        stacked = np.array(list(shares.values())).reshape(len(shares), rows, cols)
        owner = np.full((rows, cols), -1)
        for index, share in zip(indices, stacked, strict=True):
            owner[share >= 1 - WHOLE] = index
        cut = (owner < 0) & (stacked.sum(axis=0) > WHOLE)
        coarse, factor = self._cube.coarse, self._cube.factor
        down, across = np.arange(row, row + rows) // factor, np.arange(col, col + cols) // factor
        block = down[:, None] * coarse.cols + across[None, :]
        key = block * (len(self._names) + 1) + owner + 1
        cells = np.arange(rows * cols).reshape(rows, cols)
        key = np.where(cut, coarse.rows * coarse.cols * (len(self._names) + 1) + cells, key)
        _, first, of_cell = np.unique(key, return_index=True, return_inverse=True)
        whole = np.flatnonzero(owner.ravel()[first] >= 0)
        entries = [(whole, owner.ravel()[first][whole], np.ones(len(whole)))]
        for index, share in zip(indices, stacked, strict=True):
            there = np.flatnonzero((cut & (share > WHOLE)).ravel()[first])
            entries.append((there, np.full(len(there), index), share.ravel()[first][there]))
        atom, zone, part = (np.concatenate([entry[k] for entry in entries]) for k in range(3))
        return _Atoms(of_cell.reshape(rows, cols), block.ravel()[first], (atom, zone, part))

    def _rake(self, time: int, free: NDArray[np.float64], fixed: NDArray[np.float64]) -> None:
        """One year, all sectors at once: a total over all of them ties them together. Arrays: (sectors, atoms)."""
        sectors, atoms = free.shape
        cells = np.arange(sectors * atoms).reshape(sectors, atoms)
        blocks = np.arange(sectors)[:, None] * (int(self._block.max()) + 1) + self._block
        mine = [total for total in self._wanted if total.time == time]
        at, of_zone, part = self._entries
        cell, group, share, due = [], [], [], np.zeros(len(mine))
        for index, total in enumerate(mine):
            here = of_zone == self._names.index(total.zone)
            which = range(sectors) if total.sector is None else (total.sector,)
            standing = sum(float((fixed[sector, at[here]] * part[here]).sum()) for sector in which)
            due[index] = max(total.mass - standing, 0.0)
            for sector in which:
                cell.append(cells[sector, at[here]])
                group.append(np.full(int(here.sum()), index))
                share.append(part[here])
        zones = Groups(np.concatenate(cell), np.concatenate(group), np.concatenate(share), due)
        # Where the two contradict each other, the inventory's own totals, those of the blocks, hold.
        mass, residuals = rake_within(free.ravel(), blocks.ravel(), zones, close=CLOSE)
        with np.errstate(divide="ignore", invalid="ignore"):
            factors = mass / free.ravel()
        self._factors[:, time] = np.where(free.ravel() > 0, factors, 1.0).reshape(sectors, atoms)
        for total, residual in zip(mine, residuals, strict=True):
            name = ALL if total.sector is None else self._cube.sectors[total.sector]
            self.records.append(
                ZoneRecord(
                    zone=total.zone,
                    name=self._zones.names[total.zone],
                    sector=name,
                    year=int(self._cube.years[time]),
                    total=total.mass,
                    residual=float(residual),
                    met=bool(abs(residual) <= CLOSE * total.mass),
                )
            )

    def say(self, unit: str) -> None:
        """Names the zones whose totals cannot be met beside those of the blocks."""
        for zone in self.records:
            if not zone.met:
                tell(
                    f"infer: zone {zone.zone} ({zone.name}), {zone.sector} {zone.year}: its total of "
                    f"{zone.total:.6g} {unit} contradicts the block totals by {zone.residual:+.6g} {unit}; "
                    "the blocks were kept",
                    warning=True,
                )


def _on_window(zones: Zones, region: Region) -> dict[str, NDArray[np.float64]]:
    """(rows, cols) share of each cell by zone, put together from bins."""
    row, col, rows, cols = region
    found: dict[str, NDArray[np.float64]] = {}
    for down, across in _bins(region):
        top, left = down * BIN, across * BIN
        first, last = max(top, row), min(top + BIN, row + rows)
        start, stop = max(left, col), min(left + BIN, col + cols)
        for zone, share in zones.shares(down, across).items():
            window = found.setdefault(zone, np.zeros((rows, cols)))
            part = share[first - top : last - top, start - left : stop - left]
            window[first - row : last - row, start - col : stop - col] = part
    return found


def _bins(region: Region) -> Iterator[tuple[int, int]]:
    row, col, rows, cols = region
    for down in range(row // BIN, -(-(row + rows) // BIN)):
        for across in range(col // BIN, -(-(col + cols) // BIN)):
            yield down, across
