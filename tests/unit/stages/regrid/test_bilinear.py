"""Smooth layers are interpolated at exact places, with the gaps GDAL leaves, whatever the window or the seam."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS, Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject

from model.ground.grid import Region
from stages.formats.raster.geotiff import Raster
from stages.formats.zarr_groups import make_grid
from stages.regrid.dispatch import bring
from stages.regrid.transform_mesh import middles

PLACE = Affine(0.004, 0, 9.47, 0, -0.004, 50.17)
FINE = make_grid(260, 310, 4_280_000, 3_010_000, 100, 100, CRS.from_epsg(3035))


def write(path, values, place=PLACE, nodata=None):
    facts = {"driver": "GTiff", "count": 1, "dtype": "float64", "crs": "EPSG:4326", "nodata": nodata}
    rows, cols = values.shape
    with rasterio.open(path, "w", height=rows, width=cols, transform=place, **facts) as data:
        data.write(values, 1)
    return Raster(str(path))


def hills(rows, cols):
    y, x = np.mgrid[:rows, :cols]
    return 100 + 30 * np.sin(x / 3.0) * np.cos(y / 4.0)


def by_gdal(values, fine, place=PLACE):
    """Why its values are no yardstick: rasterio gives no way to ask for exact places, GDAL errs by 0.125 cells."""
    out = np.full(fine.shape, np.nan)
    reproject(
        values, out, src_transform=place, src_crs="EPSG:4326", src_nodata=np.nan, dst_nodata=np.nan,
        dst_transform=Affine(*fine.transform), dst_crs=fine.crs, resampling=Resampling.bilinear,
    )  # fmt: skip
    return out


def exactly(values, fine, place=PLACE):
    """The formula of a bilinear surface at places that PROJ gives one by one; NaN at the rim of the file."""
    to_source = Transformer.from_crs(fine.crs, "EPSG:4326", always_xy=True)
    x, y = to_source.transform(*np.meshgrid(fine.x, fine.y))
    col, row = (x - place.c) / place.a - 0.5, (y - place.f) / place.e - 0.5
    j, i = np.floor(col).astype(int), np.floor(row).astype(int)
    rim = (i < 0) | (j < 0) | (i >= values.shape[0] - 1) | (j >= values.shape[1] - 1)
    i, j = np.where(rim, 0, i), np.where(rim, 0, j)
    v, u = row - i, col - j
    upper, lower = (values[i + k, j] * (1 - u) + values[i + k, j + 1] * u for k in (0, 1))
    return np.where(rim, np.nan, upper * (1 - v) + lower * v)


def test_values_are_those_of_the_formula(tmp_path):
    values = hills(60, 110)  # ends inside the grid
    found = bring(write(tmp_path / "a.tif", values), FINE, Region(0, 0, *FINE.shape), "continuous")
    expected = exactly(values, FINE)
    there = ~np.isnan(expected)
    assert 0.2 < there.mean() < 0.98
    # A place between mesh points may lie 0.005 cells off along both axes; the hills rise by at most 10 a cell.
    assert np.abs(found - expected)[there].max() < 0.005 * (10 + 7.5)


def test_gaps_and_edges_are_those_of_gdal(tmp_path):
    values = hills(60, 110)
    values[20:23, 30:50] = np.nan
    values[40, 60] = np.nan
    found = bring(write(tmp_path / "a.tif", values), FINE, Region(0, 0, *FINE.shape), "continuous")
    expected = by_gdal(values, FINE)
    assert (
        np.isnan(found) != np.isnan(expected)
    ).mean() < 2e-3  # of cells: those whose middle an edge crosses
    both = ~np.isnan(found) & ~np.isnan(expected)
    assert np.abs(found - expected)[both].max() < 0.125 * (10 + 7.5)


def test_no_window_changes_a_bit(tmp_path):
    values = hills(70, 120)
    values[30:33, 40:60] = np.nan
    raster = write(tmp_path / "a.tif", values)
    whole = bring(raster, FINE, Region(0, 0, *FINE.shape), "continuous")
    for row, col, rows, cols in ((0, 0, 17, 23), (95, 130, 40, 41), (200, 250, 60, 60), (31, 63, 1, 1)):
        part = bring(raster, FINE, Region(row, col, rows, cols), "continuous")
        assert np.array_equal(part, whole[row : row + rows, col : col + cols], equal_nan=True)


def test_places_between_mesh_points_are_near_enough():
    crs = CRS.from_epsg(4326).to_wkt()
    found = middles(PLACE, crs, FINE, Region(3, 5, 200, 210))
    spots = [(0, 0), (77, 131), (199, 209)]
    for row, col in spots:
        exact = middles(PLACE, crs, FINE.window(row + 3, col + 5, 1, 1), Region(0, 0, 1, 1))
        assert found.down[row, col] == pytest.approx(exact.down[0, 0], abs=0.005)
        assert found.across[row, col] == pytest.approx(exact.across[0, 0], abs=0.005)


def test_a_grid_across_180_degrees_meets_both_ends_of_the_globe(tmp_path):
    place = Affine(1.0, 0, -180.0, 0, -1.0, 90.0)
    lon = np.broadcast_to(place.c + 0.5 + np.arange(360.0), (180, 360))
    raster = write(tmp_path / "globe.tif", np.cos(np.radians(lon)), place)
    # UTM zone 60 south ends at 180 degrees: half of this grid lies in zone 1.
    fine = make_grid(40, 80, 620_000, 8_100_000, 5000, 5000, CRS.from_epsg(32760))
    found = bring(raster, fine, Region(0, 0, *fine.shape), "continuous")
    assert not np.isnan(found).any() and found.min() >= -1.0 and found.max() < np.cos(np.radians(170.0))


def test_longitudes_from_0_to_360_are_the_same_ground(tmp_path):
    values = np.random.default_rng(1).random((40, 360))
    west = Affine(1.0, 0, -180.0, 0, -1.0, 60.0)
    one = write(tmp_path / "a.tif", values, west)
    other = write(tmp_path / "b.tif", np.roll(values, 180, axis=1), Affine(1.0, 0, 0.0, 0, -1.0, 60.0))
    fine = make_grid(30, 30, -8.0, 52.0, 0.25, 0.25, CRS.from_epsg(4258))
    region = Region(0, 0, 30, 12)  # west of Greenwich
    assert bring(one, fine, region, "continuous") == pytest.approx(bring(other, fine, region, "continuous"))
