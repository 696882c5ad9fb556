"""A map small enough to see through: 3 x 4 coarse cells of 1 km, one 100 m layer."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from stages.ingest.stage import Config
from tests.rain_world import build_rain

COARSE = Affine(1000, 0, 4_780_000, 0, -1000, 2_822_000)
FINE = Affine(100, 0, 4_780_000, 0, -100, 2_822_000)


def write_raster(
    path: Path, values: np.ndarray, transform: Affine | None, crs: Any = "EPSG:3035", **profile: Any
) -> Path:
    """One band (or the bands of a 3-D array) as a plain GeoTIFF."""
    bands = values if values.ndim == 3 else values[None]
    place = {} if transform is None else {"transform": transform}
    facts = {
        "driver": "GTiff",
        "height": bands.shape[1],
        "width": bands.shape[2],
        "count": len(bands),
        "dtype": values.dtype,
        "crs": crs,
    }
    with rasterio.open(path, "w", **facts, **place, **profile) as data:
        data.write(bands)
    return path


@dataclass
class Land:
    """Files of a tiny map, and the configuration that names them."""

    folder: Path
    totals: np.ndarray
    layer: np.ndarray
    facts: dict[str, Any] = field(default_factory=dict)

    def file(self, name: str, values: np.ndarray, transform: Affine | None = FINE, **facts: Any) -> str:
        write_raster(self.folder / name, values, transform, **facts)
        return name

    def config(self, **changes: Any) -> Config:
        given = {**self.facts, **changes}
        return Config.model_validate(given, context={"folder": self.folder})

    def total(self, **changes: Any) -> dict[str, Any]:
        return {"path": "totals.tif", "year": 2020, "unit": "t", **changes}

    def covariate(self, **changes: Any) -> dict[str, Any]:
        return {"name": "roads", "path": "roads.tif", "kind": "continuous", "unit": "m", **changes}

    def with_total(
        self, values: np.ndarray | None = None, transform: Affine = COARSE, **changes: Any
    ) -> Config:
        """A configuration whose totals are in a file of their own."""
        raster = {key: changes.pop(key) for key in ("crs", "nodata_tag") if key in changes}
        profile = {"nodata": raster["nodata_tag"]} if "nodata_tag" in raster else {}
        self.file(
            "other.tif",
            self.totals if values is None else values,
            transform,
            **{"crs": raster.get("crs", "EPSG:3035")},
            **profile,
        )
        return self.config(totals=[self.total(path="other.tif", **changes)])

    def with_layer(
        self,
        values: np.ndarray | None = None,
        transform: Affine | None = FINE,
        crs: Any = "EPSG:3035",
        profile: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Config:
        """A configuration whose one layer is in a file of its own."""
        self.file(
            "layer.tif", self.layer if values is None else values, transform, crs=crs, **(profile or {})
        )
        return self.config(covariates=[self.covariate(path="layer.tif", **changes)])


@pytest.fixture
def land(tmp_path: Path) -> Land:
    chance = np.random.default_rng(7)
    totals = chance.gamma(2.0, 50.0, (3, 4))
    layer = chance.gamma(1.0, 10.0, (30, 40)).astype(np.float32)
    made = Land(tmp_path, totals, layer)
    made.file("totals.tif", totals, COARSE)
    made.file("roads.tif", layer, FINE)
    made.facts = {"variable": "co2", "totals": [made.total()], "covariates": [made.covariate()]}
    return made


@pytest.fixture
def cube(tmp_path: Path):
    """Runs ingest into a fresh folder and opens what it made."""
    from stages.artifacts.cube import Cube
    from stages.ingest.stage import run

    count = iter(range(100))

    def make(config: Config) -> Cube:
        out = tmp_path / f"cube{next(count)}"
        out.mkdir()
        run(config, out=out)
        return Cube.open(out)

    return make


@pytest.fixture
def told():
    """All faults of a check, or of a run into a folder, as one text; each carries four parts and exit code 3."""
    from model.ground.errors import HectareError, HectareErrors
    from stages.ingest.stage import check, run

    def ask(config: Config, out: Path | None = None) -> str:
        with pytest.raises((HectareError, HectareErrors)) as caught:
            check(config) if out is None else run(config, out=out)
        faults = getattr(caught.value, "faults", [caught.value])
        parts = [(fault.where, fault.found, fault.wanted, fault.fix) for fault in faults]
        assert all(fault.code == 3 for fault in faults) and all(all(four) for four in parts)
        return "\n".join(" | ".join(four) for four in parts)

    return ask


@pytest.fixture
def refusal(told):
    """What is said of a NetCDF file of totals that cannot be used."""

    from tests.unit.stages.formats.netcdf_files import save

    def ask(land, data, **changes):
        total = land.total(path=save(land, data), **{"unit": None, **changes})
        return told(land.config(totals=[total], covariates=[]))

    return ask


@pytest.fixture
def layer_refusal(told):
    """What is said of a NetCDF layer that cannot be used."""

    from tests.unit.stages.formats.netcdf_files import save

    def ask(land, data, **changes):
        return told(land.config(covariates=[land.covariate(path=save(land, data, "layer.nc"), **changes)]))

    return ask


@pytest.fixture
def rain(tmp_path):
    return build_rain(tmp_path)
