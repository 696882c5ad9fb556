"""Keeps in a cube the fine fields that methods learn from, and the degrees of cells that have their own."""

import numpy as np

from stages.artifacts.cube import DEGREES, PAIRS
from stages.contract.progress import track
from stages.declare.inputs import Config
from stages.formats import zarr_groups as arrays
from stages.ingest.align import Sources

UNITS = ("degrees_east", "degrees_north")  # of DEGREES


def put_pairs(group: arrays.Group, config: Config, found: Sources) -> None:
    """Writes every fine field in its canonical unit, NaN on dates that have none.

    What an attempt that was cut off has left is made again: these arrays are quick to write.
    """
    for name in (PAIRS, *DEGREES):
        if name in group:
            del group[name]
    if found.fine.pairs:
        _put_values(group, config, found)
    _put_degrees(group, found)


def _put_values(group: arrays.Group, config: Config, found: Sources) -> None:
    """(sectors, dates, rows, cols), a chunk of the cube's size for each."""
    pairs, fine = found.fine.pairs, found.coarse.refine(found.factor)
    attributes = {
        "long_name": "fine field to learn from",
        "grid_mapping": arrays.MAPPING,
        "cell_methods": "area: mean",
    }
    stored = arrays.layout(
        group,
        PAIRS,
        (len(config.sectors), len(config.years), *fine.shape),
        ("sector", "time", "y", "x"),
        "float32",
        attributes,
        chunks=(1, 1, min(arrays.CHUNK, fine.rows), min(arrays.CHUNK, fine.cols)),
        fill=np.nan,
    )
    dates = {label: place for place, label in enumerate(config.years)}
    for (sector, label), pair in track(pairs.items(), "keeping pairs", len(pairs), "fields"):
        values = pair.values(0, 0, *fine.shape).astype(np.float32)
        stored[config.sectors.index(sector), dates[label]] = values
        pair.raster.close()


def _put_degrees(group: arrays.Group, found: Sources) -> None:
    """Longitude and latitude of every fine cell, from the first fine field that says its own."""
    fine = found.coarse.refine(found.factor)
    given = [] if found.fine.valid is None else [found.fine.valid]
    for field in (*given, *found.fine.pairs.values()):
        degrees = field.raster.degrees
        if degrees is None:
            continue
        part = slice(field.row, field.row + fine.rows), slice(field.col, field.col + fine.cols)
        for name, values, unit in zip(DEGREES, degrees, UNITS, strict=True):
            attributes = {"standard_name": name, "units": unit}
            arrays.put(group, name, values[part].astype(np.float64), ("y", "x"), attributes)
        return
