"""Small rain on disk for tests: daily fine fields in lat/lon with a sea, and their means, as NetCDF."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stages.infer import stage as infer
from stages.ingest import stage as ingest
from stages.mosaic import stage as mosaic
from stages.tile import stage as tile
from stages.train import stage as train

FACTOR = 3
ROWS, COLS = 6, 8  # coarse cells
STEP = 0.5  # degrees of a fine cell
NORTH, WEST = 60.0, 10.0


@dataclass
class Rain:
    """Fine fields and their means by date, and the folder they lie in."""

    folder: Path
    fine: NDArray[np.float64]  # (dates, rows, cols), north-up, NaN over the sea
    means: NDArray[np.float64]  # (dates, h, w), weighted by area
    room: NDArray[np.float64]  # (h, w) sum of the area weights of valid cells

    def write(
        self, name: str, values: NDArray, *, fine: bool, unit: str = "mm/day", first: str = "2001-01-01"
    ) -> str:
        """A file of daily fields, stored from south to north."""
        size = STEP if fine else STEP * FACTOR
        rows, cols = values.shape[1:]
        lat = NORTH - (np.arange(rows) + 0.5) * size
        lon = WEST + (np.arange(cols) + 0.5) * size
        field = xr.DataArray(values[:, ::-1], dims=("time", "lat", "lon"), attrs={"units": unit})
        data = xr.Dataset(
            {"tp": field},
            coords={
                "time": (
                    "time",
                    np.arange(len(values)),
                    {"units": f"days since {first}", "calendar": "standard"},
                ),
                "lat": ("lat", lat[::-1], {"units": "degrees_north"}),
                "lon": ("lon", lon, {"units": "degrees_east"}),
            },
        )
        data.to_netcdf(self.folder / name, engine="h5netcdf")
        return name

    def facts(self, **changes: Any) -> dict[str, Any]:
        """The section ingest, all dates as totals."""
        total = {"path": "coarse.nc", "sector": "rain", "dates": {"first": "2001-01-01", "last": "2001-01-04"},
                 "missing": "unknown"}  # fmt: skip
        return {
            "variable": "rain", "quantity": "intensive", "factor": FACTOR, "totals": [total],
            "valid": {"path": "fine.nc", "select": {"time": 0}}, **changes,
        }  # fmt: skip

    def config(self, **changes: Any) -> ingest.Config:
        return ingest.Config.model_validate(self.facts(**changes), context={"folder": self.folder})

    def chain(
        self, config: ingest.Config, train_config: Any = None, infer_config: Any = None, size: int | None = 12
    ) -> Path:
        """The five stages one after the other; returns the folder of the maps."""
        paths = {name: self.folder / name for name in ("cube", "tiles", "checkpoint", "field", "maps")}
        for path in paths.values():
            path.mkdir(exist_ok=True)
        ingest.run(config, out=paths["cube"])
        tile.run(tile.Config(size=size, spatial_block=2, buffer=0), cube=paths["cube"], out=paths["tiles"])
        chosen = train_config or train.Config(method="bilinear", years=1)
        train.run(chosen, cube=paths["cube"], tiles=paths["tiles"], out=paths["checkpoint"])
        applied = infer_config or infer.Config()
        infer.run(applied, cube=paths["cube"], checkpoint=paths["checkpoint"], out=paths["field"])
        mosaic.run(mosaic.Config(netcdf=True), cube=paths["cube"], field=paths["field"], out=paths["maps"])
        return paths["maps"]


def build_rain(folder: Path, dates: int = 4, seed: int = 3, offset: float = 0.0) -> Rain:
    """Showers of about 60 % of the cells, a sea in the south-east that cuts through blocks.

    Why the means are made here cell by cell: the code under test must not make its own expected values.
    """
    rng = np.random.default_rng(seed)
    shape = (dates, ROWS * FACTOR, COLS * FACTOR)
    rough = rng.normal(size=shape)
    for axis in (1, 2):
        for _ in range(4):
            rough = (rough + np.roll(rough, 1, axis) + np.roll(rough, -1, axis)) / 3
    fine = np.maximum(rough / rough.std() + 0.3, 0.0) ** 1.5 * 5.0 + offset
    down, across = np.indices(shape[1:])
    sea = down + across > 33
    fine[:, sea] = np.nan
    fine = fine.astype(np.float32).astype(np.float64)
    edges = np.radians(NORTH - np.arange(shape[1] + 1) * STEP)
    flattening = 1 / 298.257223563
    e2 = flattening * (2 - flattening)
    # Area between parallels of an ellipsoid, integrated by small steps: independent of the closed form under test.
    area = np.array([
        np.trapezoid(np.cos(lat) / (1 - e2 * np.sin(lat) ** 2) ** 2, lat)
        for lat in (np.linspace(edges[row + 1], edges[row], 2001) for row in range(shape[1]))
    ])  # fmt: skip
    means, room = np.full((dates, ROWS, COLS), np.nan), np.zeros((ROWS, COLS))
    for row in range(ROWS):
        for col in range(COLS):
            part = (slice(row * FACTOR, (row + 1) * FACTOR), slice(col * FACTOR, (col + 1) * FACTOR))
            weight = np.broadcast_to(area[part[0], None], (FACTOR, FACTOR)) * ~sea[part]
            room[row, col] = weight.sum()
            if weight.sum() > 0:
                means[:, row, col] = (np.nan_to_num(fine[:, part[0], part[1]]) * weight).sum(
                    axis=(1, 2)
                ) / weight.sum()
    made = Rain(folder, fine, means, room)
    made.write("fine.nc", fine.astype(np.float32), fine=True)
    made.write("coarse.nc", means, fine=False)
    return made


def means_of(fine: NDArray, weight: NDArray) -> NDArray[np.float64]:
    """Weighted block means of (..., rows, cols) over cells with a value, with no code of the project."""
    *lead, rows, cols = fine.shape
    split = (*lead, rows // FACTOR, FACTOR, cols // FACTOR, FACTOR)
    counted = np.where(np.isfinite(fine), weight, 0.0)
    summed = (np.nan_to_num(fine) * counted).reshape(split).sum(axis=(-3, -1))
    whole = counted.reshape(split).sum(axis=(-3, -1))
    return np.divide(summed, whole, out=np.full(summed.shape, np.nan), where=whole > 0)
