"""Prints how fast and how exactly counts are brought to 1 km cells of another system, beside GDAL's `sum`.

  python tests/benchmarks/counts_compared.py [--size 600]

Reference: every source cell cut into 8 x 8 parts, every part projected exactly.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS, Transformer
from rasterio.warp import transform_bounds

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from model.ground.grid import Region
from stages.formats.raster.geotiff import Raster
from stages.formats.zarr_groups import make_grid
from stages.regrid.dispatch import bring

PLACE = Affine(0.001, 0, 10.0, 0, -0.001, 50.0)
CHUNK = 240


def field(size: int) -> np.ndarray:
    """Smooth bumps and noise, a third of it empty: as people are."""
    x = np.linspace(0, 6, size)
    bumps = np.sin(x)[None, :] * np.cos(1.3 * x)[:, None] * 100
    return np.maximum(bumps + np.random.default_rng(0).standard_normal((size, size)) * 2 - 20, 0).astype(
        np.float32
    )


def reference(values: np.ndarray, fine, parts: int = 8) -> np.ndarray:
    out = np.zeros(fine.rows * fine.cols)
    project = Transformer.from_crs("EPSG:4326", fine.crs, always_xy=True)
    inside = (np.arange(parts) + 0.5) / parts
    for row in range(values.shape[0]):
        cols = (np.arange(values.shape[1])[:, None] + inside).ravel()
        mass = np.repeat(values[row].astype(np.float64), parts) / parts**2
        for v in inside:
            x, y = project.transform(
                PLACE.c + PLACE.a * cols, np.full(cols.shape, PLACE.f + PLACE.e * (row + v))
            )
            index = np.floor((fine.top - y) / fine.dy) * fine.cols + np.floor((x - fine.left) / fine.dx)
            out += np.bincount(index.astype(int), mass, fine.rows * fine.cols)
    return out.reshape(fine.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=600)
    size = parser.parse_args().size
    values = field(size)
    left, bottom, right, top = transform_bounds(
        "EPSG:4326", "EPSG:32633", PLACE.c, PLACE.f - size * 0.001, PLACE.c + size * 0.001, PLACE.f
    )
    cells = int((right - left) / 1000) + 4, int((top - bottom) / 1000) + 4
    fine = make_grid(cells[1], cells[0], left - 2000, top + 2000, 1000.0, 1000.0, CRS.from_epsg(32633))
    exact = reference(values, fine)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "counts.tif"
        facts = {"driver": "GTiff", "width": size, "height": size, "count": 1, "dtype": "float32"}
        with rasterio.open(path, "w", crs="EPSG:4326", transform=PLACE, **facts) as data:
            data.write(values[None])
        began = time.process_time()
        ours, raster = np.zeros(fine.shape), Raster(str(path))
        for row in range(0, fine.rows, CHUNK):
            for col in range(0, fine.cols, CHUNK):
                region = Region(row, col, min(CHUNK, fine.rows - row), min(CHUNK, fine.cols - col))
                ours[region.slices] = np.nan_to_num(bring(raster, fine, region, "total"))
        tell("ours, in chunks", ours, exact, size, time.process_time() - began)
        bounds = map(str, fine.bounds)
        for name, tolerance in (("gdalwarp sum, exact places", "0"), ("gdalwarp sum, default", "0.125")):
            began, made = _cpu_of_children(), Path(folder) / "sum.tif"
            command = [
                "gdalwarp",
                "-q",
                "-overwrite",
                "-r",
                "sum",
                "-et",
                tolerance,
                "-t_srs",
                "EPSG:32633",
                "-ot",
                "Float64",
            ]
            subprocess.run(
                [*command, "-te", *bounds, "-tr", "1000", "1000", str(path), str(made)], check=True
            )
            seconds, bounds = _cpu_of_children() - began, map(str, fine.bounds)
            with rasterio.open(made) as data:
                tell(name, data.read(1), exact, size, seconds)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tell(name: str, found: np.ndarray, exact: np.ndarray, size: int, seconds: float) -> None:
    heavy = exact > np.median(exact[exact > 0])
    worst = (np.abs(found - exact)[heavy] / exact[heavy]).max()
    total = abs(found.sum() / exact.sum() - 1)
    print(
        f"{name:26} {size**2 / seconds / 1e6:6.2f} Mcells per CPU s   total {total:.1e}   worst heavy cell {worst:.1e}"
    )


if __name__ == "__main__":
    main()
