"""What the certificate says of point sources, measured on finished maps: where they stand and that they are whole."""

from pathlib import Path

import numpy as np

from stages.artifacts import maps as store
from stages.artifacts.cube import Cube
from stages.artifacts.maps import MapSpec
from stages.artifacts.point_table import PointTable
from stages.report.certificate_record import PointCertificate, PointMapRecord, PointPlace

TABLE = "points.csv"
LISTED = 1000  # cells named in the certificate, heaviest first; the table beside the maps has every point
ROUNDING = 1e-6  # of a cell, stored in float32


def prove_points(cube: Cube, maps: Path) -> PointCertificate | None:
    """Holds every map against the points that stand on it; None when the cube has none.

    A cell must hold at least what its points were placed with, but for float32 or a unit of whole numbers.

    Args:
      maps: folder of finished maps; only those of single sectors bear points of their own.
    Raises: ArtifactError (exit 4) when a map is missing or damaged.
    """
    if cube.points is None:
        return None
    singles = [sheet for sheet in store.sheets(cube) if not sheet.is_sum and not sheet.is_emission]
    every = [_prove(cube, cube.points, sheet, maps) for sheet in singles]
    told = tuple(entry for entry in every if entry.points)
    return PointCertificate(rule=RULE, table=TABLE, passed=all(not entry.short for entry in told), maps=told)


RULE = (
    "a point source is taken out of the total of its coarse cell and placed in its own fine cell; only the remainder "
    "is downscaled. Where the points of a cell add up to more than its total, all of them shrink by one factor and "
    "fill it: what they lose is the excess. Given = placed + excess + outside"
)


def _prove(cube: Cube, points: PointTable, sheet: MapSpec, maps: Path) -> PointMapRecord:
    columns = points.columns
    mine = (columns["sector"] == sheet.members[0]) & (columns["year"] == sheet.time)
    placed = mine & (columns["placed"] > 0)
    short, cells, factor = 0, 0, cube.factor
    grain = store.read_scale_factor(maps / sheet.map_file, cube.fine) or 0.0  # a cell may lie a unit below
    leading = len(cube.sectors), len(cube.years)
    for row, stored in store.read_bands(maps / sheet.map_file, cube.fine, factor, cube.coarse):
        wanted = points.on_window(leading, row * factor, 0, *stored.shape)[sheet.members[0], sheet.time]
        here = wanted > 0
        cells += int(here.sum())
        least = wanted[here] * (1 - ROUNDING) - grain
        short += int((~(stored[here].astype(np.float64) >= least)).sum())
    order = np.argsort(-columns["placed"][placed], kind="stable")[:LISTED]
    where = [columns[name][placed][order].tolist() for name in ("row", "col", "x", "y", "placed")]
    return PointMapRecord(
        file=sheet.map_file,
        sector=sheet.sector,
        year=sheet.year,
        points=int(mine.sum()),
        given=float(columns["given"][mine].sum()),
        placed=float(columns["placed"][mine].sum()),
        excess=float(columns["excess"][mine].sum()),
        outside=float(columns["outside"][mine].sum()),
        cells=cells,
        short=short,
        not_listed=int(placed.sum()) - len(order),
        placed_at=tuple(
            PointPlace(row=row, col=col, x=x, y=y, mass=mass)
            for row, col, x, y, mass in zip(*where, strict=True)
        ),
    )
