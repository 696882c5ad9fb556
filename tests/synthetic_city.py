"""A seeded city whose every cell is known, for tests of skill: roads, buildings, plants and a hidden factor."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import yaml
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from model.ground.blocks import merge

CORNER = (4_780_000.0, 2_822_000.0)
FACTOR = 10


@dataclass(frozen=True)
class City:
    """Layers and truth on 100 m cells; `blocks` coarse cells of 1 km along a side.

    The recipe is that of the project's notes on laws: covariates explain where mass lies up to a factor nobody sees.
    """

    truth: NDArray[np.float64]
    layers: dict[str, NDArray[np.float64]]

    @property
    def totals(self) -> NDArray[np.float64]:
        return merge(self.truth, FACTOR)

    def write(self, folder: Path, **sections: object) -> Path:
        """Files and a configuration named city.yaml; further sections are laid over it."""
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "totals.tif", self.totals, 1000.0)
        _write(folder / "truth.tif", self.truth, 100.0)
        covariates = []
        for name, values in self.layers.items():
            _write(folder / f"{name}.tif", values, 100.0)
            covariates.append(
                {"name": name, "path": f"{name}.tif", "kind": "continuous", "unit": "1", "nodata": "none"}
            )
        place = {"year": 2020, "unit": "t", "nodata": "none"}
        config = {
            "name": "city",
            "ingest": {
                "variable": "co2",
                "totals": [{"path": "totals.tif", **place}],
                "covariates": covariates,
            },
            "tile": {"spatial_block": 4},
            "evaluate": {"truth": [{"path": "truth.tif", **place}], "emd_blocks": 3, "spatial_block": 3},
        }
        for name, section in sections.items():
            config[name] = {**config.get(name, {}), **section}  # type: ignore[dict-item]
        path = folder / "city.yaml"
        path.write_text(yaml.safe_dump(config), "utf-8")
        return path


def build_city(blocks: int, seed: int) -> City:
    """A city of blocks x blocks km."""
    rng = np.random.default_rng(seed)
    side = blocks * FACTOR

    def field(sigma: float) -> NDArray[np.float64]:
        """A standardised Gaussian random field that changes over `sigma` cells."""
        smooth = gaussian_filter(rng.standard_normal((side, side)), sigma, mode="wrap")
        return (smooth - smooth.mean()) / smooth.std()

    urban = np.exp(1.6 * field(40))
    roads = (np.abs(field(12)) < 0.06).astype(float) + (np.abs(field(6)) < 0.03)
    buildings = np.maximum(urban * np.exp(0.8 * field(2)) - 1.0, 0.0)
    lights = gaussian_filter(urban + 2.0 * roads, 4)
    hidden = np.exp(0.9 * field(3))
    truth = (0.6 * buildings + 1.2 * roads * np.sqrt(urban)) * hidden
    truth[truth < 0.05] = 0.0
    plants = rng.random((side, side)) < 4e-5
    truth[plants] += rng.pareto(1.3, int(plants.sum())) * 400.0
    return City(truth, {"lights": lights, "roads": roads, "buildings": buildings})


def _write(path: Path, values: NDArray[np.float64], cell: float) -> None:
    rows, cols = values.shape
    place = {"transform": Affine(cell, 0, CORNER[0], 0, -cell, CORNER[1]), "crs": "EPSG:3035"}
    facts = {"driver": "GTiff", "height": rows, "width": cols, "count": 1, "dtype": "float64"}
    with rasterio.open(path, "w", **facts, **place) as data:
        data.write(values, 1)
