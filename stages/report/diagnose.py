"""Names the places where finished maps, the block files beside them and the cube no longer say the same."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.ground.errors import Fix, HectareError, NumberError
from model.ground.grid import Grid
from stages.artifacts import maps as store
from stages.artifacts.cube import Cube
from stages.artifacts.maps import MapSpec
from stages.report.certificate import read_map


def contradictions(cube: Path, maps: Path) -> list[HectareError]:
    """What three witnesses say of each block, where they differ.

    The cube holds the totals as given; the block file beside a map repeats them and holds what was placed; the map
    holds the cells. One that was changed stands alone against the other two, and so is named.

    Args:
      cube, maps: artifact folders, damaged or not.
    """
    try:
        opened = Cube.open(cube)
        totals, known = opened.totals(), opened.known()
    except HectareError as fault:
        return [fault]
    faults: list[HectareError] = []
    with store.small_gdal_cache():
        for sheet in store.sheets(opened):
            members = list(sheet.members)
            given = np.where(known[members, sheet.time], sheet.weigh(totals[members, sheet.time]), 0.0).sum(
                axis=0
            )
            faults += _of(opened, sheet, maps, given, np.asarray(known[members, sheet.time].any(axis=0)))
    return faults


def _of(
    cube: Cube, sheet: MapSpec, maps: Path, given: NDArray[np.float64], known: NDArray[np.bool_]
) -> list[HectareError]:
    try:
        told_given, told_placed = store.read_blocks(maps / sheet.blocks_file, cube.coarse)[:2]
    except HectareError as fault:
        told_given, told_placed, faults = None, None, [fault]
    else:
        faults = []
    try:
        sums = read_map(maps / sheet.map_file, cube).sums
    except HectareError as fault:
        return [*faults, fault]
    if told_placed is not None:
        faults += _where(cube.coarse, known & (told_placed != sums), sheet.map_file, sums, told_placed)
        name = f"cube, total of {sheet.sector}, {sheet.year}"
        faults += _where(cube.coarse, known & (told_given != given), name, given, told_given)
    return faults


def _where(
    coarse: Grid, differs: NDArray[np.bool_], name: str, here: NDArray[np.float64], there: NDArray[np.float64]
) -> list[HectareError]:
    """One fault for a map, naming its first blocks."""
    places = np.argwhere(differs)
    if not len(places):
        return []
    row, col = (int(index) for index in places[0])
    others = "".join(f", also row {r}, column {c}" for r, c in places[1:4])
    others += f" and {len(places) - 4} more" if len(places) > 4 else ""
    return [
        NumberError(
            f"{name}, block row {row}, column {col} (x {coarse.x[col]:.10g}, y {coarse.y[row]:.10g}){others}",
            f"{here[row, col]!r} there, {there[row, col]!r} in the block file beside the map",
            "the same number in both, as when they were written",
            Fix(("run mosaic --force", "run ingest --force"), "{}; if the cube was changed, {} first"),
        )
    ]
