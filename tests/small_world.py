"""A small world on disk for tests of the last stages: a cube and the field that belongs to it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from model.conservation.fallback import place
from model.conservation.laws import proportional
from model.ground.blocks import from_blocks, to_blocks
from stages.artifacts import cube as cube_store
from stages.artifacts import field
from stages.artifacts.cube import Cube
from stages.artifacts.records import CubeRecord
from stages.formats import zarr_groups as arrays
from stages.mosaic import stage as mosaic


@dataclass(frozen=True)
class World:
    """Folders of a cube, a field and the maps made of them."""

    folder: Path

    @property
    def cube(self) -> Path:
        return self.folder / "cube"

    @property
    def field(self) -> Path:
        return self.folder / "field"

    @property
    def maps(self) -> Path:
        return self.folder / "maps"

    def make_maps(self, out: Path | None = None, **settings: Any) -> Path:
        """Runs mosaic, as the runner would, into `maps` or another folder."""
        out = out or self.maps
        out.mkdir(exist_ok=True)
        mosaic.run(mosaic.Config(**settings), cube=self.cube, field=self.field, out=out)
        return out

    def change_mass(self, change: Callable[[NDArray], NDArray]) -> None:
        """Rewrites the field's mass behind the back of inference."""
        stored = arrays.open_group(self.field / field.STORE, "infer", mode="r+")["mass"]
        stored[...] = change(stored[...])


def build_world(
    folder: Path,
    *,
    totals: NDArray | None = None,
    valid: NDArray[np.bool_] | None = None,
    factor: int = 10,
    sectors: Sequence[str] = ("homes", "other"),
    years: Sequence[int] = (2012,),
    crs: str = "EPSG:3035",
    corner: tuple[float, float] = (4_780_000.0, 2_822_000.0),
    cell: float = 1000.0,
    layer: str = "built",
    training: dict[str, Any] | None = None,
) -> World:
    """Writes a cube and a field whose blocks meet their totals, by the same law that inference uses.

    Args:
      totals: (sectors, years, h, w), NaN where unknown; 4 x 3 random blocks by default.
      valid: (h * factor, w * factor); everywhere by default.
      corner, cell: of the coarse grid, in CRS units.
      training: what the field tells of how its method learned.
    """
    rng = np.random.default_rng(7)
    if totals is None:
        totals = rng.lognormal(5.0, 2.0, (len(sectors), len(years), 4, 3))
    shape = (totals.shape[2] * factor, totals.shape[3] * factor)
    valid = np.ones(shape, bool) if valid is None else valid
    raw = rng.gamma(0.5, 2.0, shape) * (rng.random(shape) < 0.6)
    grid = arrays.make_grid(*totals.shape[2:], *corner, cell, cell, CRS.from_user_input(crs))
    world = World(folder)
    store = world.cube / cube_store.STORE
    group = cube_store.lay_out(
        store, grid, factor, _record(layer, sectors, years), tuple(sectors), tuple(years)
    )
    group["heat"][...] = totals
    group["valid"][...] = valid.astype(np.uint8)
    group[layer][...] = raw
    arrays.seal(store)
    _write_field(world, totals, valid, raw, factor, training or {})
    return world


def _record(layer: str, sectors: Sequence[str], years: Sequence[int]) -> CubeRecord:
    credit = {"licence": "CC BY 4.0", "attribution": "Survey <of> Käse & Söhne"}
    return CubeRecord.from_json({
        "variable": "heat", "long_name": "annual heat demand", "unit": "MWh", "quantity": "extensive",
        "cell_methods": "area: sum", "attribution": "Survey <of> Käse & Söhne (CC BY 4.0)",
        "layers": [{
            "name": layer, "long_name": layer, "kind": "share", "unit": "1", "static": True, "blocky": False,
            "resampling": "average", "coverage": 1.0, "masked_cells": 0, **credit,
            "files": [{"source": f"{layer}.tif", "sha256": "00", "year": "static", "crs": "ETRS89"}],
        }],
        "totals": [
            {"sector": sector, "year": year, "source": f"{sector}.tif", "sha256": "11", "unit": "MWh/yr",
             "missing": "unknown", "missing_cells": 0, "negative_cells": 0, "sum": 1.0, **credit}
            for sector in sectors for year in years
        ],
    })  # fmt: skip


def _write_field(
    world: World,
    totals: NDArray,
    valid: NDArray[np.bool_],
    raw: NDArray,
    factor: int,
    training: dict[str, Any],
) -> None:
    group = field.lay_out(world.field / field.STORE, Cube.open(world.cube), 12 * factor)
    shape = totals.shape[2:]
    for sector, year in np.ndindex(totals.shape[:2]):
        wanted = totals[sector, year].ravel()
        placed = place(
            to_blocks(raw, factor), np.nan_to_num(wanted), np.isfinite(wanted), to_blocks(valid, factor),
            np.zeros((wanted.size, factor**2)), proportional,
        )  # fmt: skip
        group["mass"][sector, year] = from_blocks(placed.mass, *shape, factor)
        group["fallback_level"][sector, year] = placed.fallback_levels.reshape(shape)
    facts = {
        "method": "uniform", "law": "proportional", "describe": {"summary": "for tests", "learns": False},
        "proxy": None, "not_finite": 0, "counts": [], "training": training,
    }  # fmt: skip
    (world.field / field.FACTS).write_text(json.dumps(facts), "utf-8")
