"""Odd files from other projects' test suites either work, with their mass intact, or give a clean block of errors."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from rasterio.warp import transform_bounds
from scipy.ndimage import map_coordinates

from stages.artifacts.cube import Cube
from stages.ingest.stage import Config, run

MESSY = Path(__file__).resolve().parents[3] / "data" / "messy"
FILES = sorted(path.name for path in MESSY.iterdir() if path.suffix != ".md")
# What each file does as totals, told by its nature: see SOURCE.md beside them.
AS_TOTALS = {
    "odc-geo__au-3577-rotated.tif": ("a rotated or mirrored grid", "8099 of 16384 cells"),
    "rasterio__all-nodata.tif": ("every cell is nodata",),
    "rasterio__byte.tif": (),
    "rasterio__float_nan.tif": ("no coordinate system", "1 of 6 cells", "2 negative"),
    "rasterio__float_raster_with_nodata.tif": ("58 of 156 cells", "missing: unknown"),
    "rasterio__rotated.tif": ("no coordinate system", "a rotated or mirrored grid"),
    "rio-tiler__cog_cmap.tif": ("27741584 of 62390272 cells",),
    "rio-tiler__cog_scale.tif": ("6 of 65536 cells",),
    "rio-tiler__inverted_lat.tif": ("every cell is nodata",),
    "rioxarray__2d_test.tif": ("a rotated or mirrored grid",),
    "rioxarray__cint16.tif": ("complex numbers",),
    "rioxarray__nonstandard_dim.nc": ("42 of 121 cells",),
    "rioxarray__sentinel_2_L1C_geographic.nc": ("red, nir", "variable:"),
}
# Settings that the blocks of errors name, and what then holds: the sum over cells with a value, in tonnes.
HEALED = {
    "rasterio__byte.tif": {},
    "rasterio__float_raster_with_nodata.tif": {"missing": "unknown"},
    "rio-tiler__cog_scale.tif": {"missing": "zero", "nodata": 0, "unit": "kg"},
    "rioxarray__nonstandard_dim.nc": {"missing": "unknown"},
    "rioxarray__sentinel_2_L1C_geographic.nc": {"variable": "red", "year": 2016, "nodata": "none"},
}


def config(name, **changes):
    total = {"path": str(MESSY / name), "year": 2020, "unit": "t", **changes}
    return Config.model_validate({"variable": "v", "factor": 2, "totals": [total]})


def test_every_file_is_judged():
    assert set(FILES) == set(AS_TOTALS)


@pytest.mark.parametrize("name", [name for name in FILES if AS_TOTALS[name]])
def test_a_messy_file_that_cannot_be_totals_says_why(name, told):
    text = told(config(name))
    assert name in text and all(part in text for part in AS_TOTALS[name])


@pytest.mark.parametrize("name", sorted(HEALED))
def test_a_messy_file_that_can_be_totals_keeps_its_mass(name, tmp_path):
    run(config(name, **HEALED[name]), out=tmp_path)
    mass = Cube.open(tmp_path).totals().sum()
    unit = 1e-3 if HEALED[name].get("unit") == "kg" else 1.0
    assert mass == pytest.approx(_sum_by_another_reader(name) * unit, rel=1e-9)


def _sum_by_another_reader(name):
    """GDAL's own masks and scales for TIFFs, h5py for NetCDF."""
    if name.endswith(".nc"):
        import h5py

        with h5py.File(MESSY / name) as file:
            return float(np.nansum(file["red" if "red" in file else "analysed_sst"][...].astype(np.float64)))
    with rasterio.open(MESSY / name) as data:
        values = np.ma.filled(data.read(1, masked=True).astype(np.float64), np.nan)
        return float(np.nansum(values * data.scales[0] + data.offsets[0]))


@pytest.mark.parametrize("name", ["rioxarray__2d_test.tif", "odc-geo__au-3577-rotated.tif"])
def test_geo_03_a_rotated_layer_lands_where_it_belongs(name, tmp_path):
    with rasterio.open(MESSY / name) as data:
        values, place, crs = data.read(1).astype(np.float64), data.transform, data.crs
        left, bottom, right, top = transform_bounds(crs, "EPSG:4326", *data.bounds)
    # Totals of 3 x 3 cells inside the rotated square, in longitude and latitude.
    width, height = (right - left) / 30, (top - bottom) / 30
    x, y = (left + right) / 2 - 1.5 * width, (top + bottom) / 2 + 1.5 * height
    profile = {"driver": "GTiff", "width": 3, "height": 3, "count": 1, "dtype": "float64", "crs": "EPSG:4326"}
    grid = rasterio.Affine(width, 0, x, 0, -height, y)
    with rasterio.open(tmp_path / "totals.tif", "w", transform=grid, **profile) as data:
        data.write(np.ones((1, 3, 3)))
    given = {
        "variable": "v",
        "factor": 10,
        "totals": [{"path": str(tmp_path / "totals.tif"), "year": 2020, "unit": "t"}],
        "covariates": [
            {"name": "a", "path": str(MESSY / name), "kind": "continuous", "unit": "1", "allow_partial": True}
        ],
    }
    run(Config.model_validate(given), out=tmp_path)
    cube = Cube.open(tmp_path)
    found = cube.covariates(0, 0, 30, 30)[0, 0]
    # By hand: each fine centre taken into the file's system, and interpolated between the file's cells there.
    xs, ys = np.meshgrid(cube.fine.x, cube.fine.y)
    east, north = Transformer.from_crs("EPSG:4326", crs.to_wkt(), always_xy=True).transform(xs, ys)
    cols, rows = ~place @ (np.asarray(east), np.asarray(north))
    expected = map_coordinates(values, [rows - 0.5, cols - 0.5], order=1, mode="nearest")
    both = cube.valid(0, 0, 30, 30) & np.isfinite(expected)
    spread = np.nanmax(values) - np.nanmin(values)
    assert both.sum() > 400
    assert np.median(np.abs(found[both] - expected[both])) < 0.01 * spread
