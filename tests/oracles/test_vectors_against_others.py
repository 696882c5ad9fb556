"""Lengths and shares of cells agree with exactextract, with shapely cell by cell, and with the ellipsoid."""

import numpy as np
import pytest
import shapely
from exactextract import exact_extract
from exactextract.feature import JSONFeatureSource
from exactextract.raster import NumPyRasterSource
from pyproj import CRS, Geod, Transformer

from stages.formats.zarr_groups import make_grid
from stages.regrid.polygons import Shapes

EPSG = CRS.from_user_input("EPSG:3035")
DEGREES = CRS.from_user_input("EPSG:4326")


def grid_of(rows, cols, left=4_780_000.0, top=2_822_000.0, size=100.0, crs=EPSG):
    return make_grid(rows, cols, left, top, size, size, crs)


def ponds(count, seed, reach=30_000.0):
    """Stars of up to 40 corners, some with a hole, some far larger than a bin of cells."""
    chance, made = np.random.default_rng(seed), []
    for _ in range(count):
        x, y = chance.uniform(4_779_000, 4_780_000 + reach), chance.uniform(2_821_000 - reach, 2_823_000)
        turn = np.sort(chance.uniform(0, 2 * np.pi, chance.integers(3, 40)))
        far = chance.uniform(0.4, 1.0, turn.size) * chance.lognormal(6.0, 1.5)
        star = shapely.Polygon(np.column_stack([x + far * np.cos(turn), y + far * np.sin(turn)]))
        star = shapely.make_valid(star)
        made.append(star.difference(star.centroid.buffer(0.2 * np.sqrt(star.area))))
    kinds = shapely.get_type_id(made)
    return np.array([shape for shape, kind in zip(made, kinds, strict=True) if kind in (3, 6)], object)


def test_shares_agree_with_exactextract_on_every_cell():
    grid, lakes = grid_of(300, 320), ponds(60, seed=3)
    shapes = Shapes(grid, EPSG, "area")
    shapes.add(lakes.copy())
    assert shapes.bins >= 4  # the seams between bins are crossed
    merged = shapely.union_all(lakes)
    left, bottom, right, top = grid.bounds
    raster = NumPyRasterSource(
        np.arange(grid.rows * grid.cols, dtype=float).reshape(grid.shape), left, bottom, right, top
    )
    feature = JSONFeatureSource(
        [{"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(merged)}]
    )
    told = exact_extract(raster, feature, ["values", "coverage"])[0]["properties"]
    expected = np.zeros(grid.rows * grid.cols)
    expected[told["values"].astype(int)] = told["coverage"]
    # exactextract computes coverage in float32.
    assert shapes.read(0, 0, *grid.shape) == pytest.approx(expected.reshape(grid.shape), abs=2e-6)


def test_shares_agree_with_shapely_cell_by_cell_and_keep_the_area():
    grid, lakes = grid_of(260, 250, size=80.0), ponds(25, seed=8, reach=20_000.0)
    shapes = Shapes(grid, EPSG, "area")
    shapes.add(lakes.copy())
    share, merged = shapes.read(0, 0, *grid.shape), shapely.union_all(lakes)
    for row, col in np.random.default_rng(0).integers((0, 0), grid.shape, (400, 2)):
        cell = shapely.box(*grid.window(int(row), int(col), 1, 1).bounds)
        assert share[row, col] == pytest.approx(merged.intersection(cell).area / 6400.0, abs=1e-9)
    whole = merged.intersection(shapely.box(*grid.bounds)).area
    assert share.sum() * 6400.0 == pytest.approx(whole, rel=1e-9)


def test_lengths_agree_with_shapely_cell_by_cell_and_keep_their_sum():
    grid, chance = grid_of(260, 250), np.random.default_rng(4)
    start = np.array([4_792_000, 2_809_000])
    walks = [start + np.cumsum(chance.normal(0, 900, (30, 2)), axis=0) for _ in range(40)]
    walks.append(np.array([(4_804_000, 2_797_000), (4_804_000, 2_821_000)]))  # along the seam of two bins
    lines = np.array([shapely.LineString(walk) for walk in walks], object)
    shapes = Shapes(grid, EPSG, "length")
    shapes.add(lines.copy())
    lengths, box = shapes.read(0, 0, *grid.shape), shapely.box(*grid.bounds)
    expected = sum(line.intersection(box).length for line in lines)  # overlapping roads count twice
    assert lengths.sum() == pytest.approx(expected, rel=1e-9)
    for row, col in np.random.default_rng(1).integers((0, 0), grid.shape, (300, 2)):
        if col in (239, 240):
            continue  # the last line runs along this border and belongs to one of the two cells
        cell = shapely.box(*grid.window(int(row), int(col), 1, 1).bounds)
        brute = sum(line.intersection(cell).length for line in lines)
        assert lengths[row, col] == pytest.approx(brute, abs=1e-7)


def test_a_line_along_the_seam_of_two_bins_is_counted_once():
    grid = grid_of(480, 480)
    seam = shapely.LineString([(4_780_000 + 24_000, 2_780_000), (4_780_000 + 24_000, 2_822_000)])
    across = shapely.LineString([(4_780_000, 2_822_000 - 24_000), (4_780_000 + 48_000, 2_822_000 - 24_000)])
    shapes = Shapes(grid, EPSG, "length")
    shapes.add(np.array([seam, across], object))
    assert shapes.read(0, 0, 480, 480).sum() == pytest.approx(42_000 + 48_000, rel=1e-12)


def test_edges_are_divided_before_they_are_projected():
    """An outline given in degrees by four corners: its edges are straight there, and bend in the grid's CRS."""
    grid = grid_of(900, 900, left=4_700_000.0, top=2_850_000.0)
    corners = [(15.4, 47.9), (16.2, 47.9), (16.2, 48.4), (15.4, 48.4)]
    shapes = Shapes(grid, DEGREES, "area")
    shapes.add(np.array([shapely.Polygon(corners)], object))
    found = shapes.read(0, 0, *grid.shape).sum() * 1e4
    # EPSG:3035 keeps areas, so the ellipsoid tells: densely divided parallels, since a parallel is no geodesic.
    dense = shapely.get_coordinates(shapely.segmentize(shapely.Polygon(corners), 1e-4))
    area = Geod(ellps="GRS80").polygon_area_perimeter(dense[:, 0], dense[:, 1])[0]
    assert found == pytest.approx(abs(area), rel=1e-6)
    there = Transformer.from_crs(DEGREES, EPSG, always_xy=True)
    straight = shapely.Polygon([there.transform(*corner) for corner in corners]).area
    assert abs(straight / found - 1) > 1e-5  # what corners alone would have given


def test_on_the_globe_shares_make_true_areas_and_lengths_are_true_metres():
    grid = grid_of(300, 320, left=15.0, top=49.0, size=0.005, crs=DEGREES)
    lake = shapely.Point(15.8, 48.2).buffer(0.4, quad_segs=200)
    shapes = Shapes(grid, DEGREES, "area")
    shapes.add(np.array([lake], object))
    share = shapes.read(0, 0, *grid.shape)
    dense = shapely.get_coordinates(shapely.segmentize(lake, 1e-3))
    area = abs(Geod(ellps="WGS84").polygon_area_perimeter(dense[:, 0], dense[:, 1])[0])
    assert (share * grid.cell_areas()).sum() == pytest.approx(area, rel=1e-6)
    roads = Shapes(grid, DEGREES, "length")
    road = shapely.LineString([(15.1, 48.9), (16.5, 47.6)])
    roads.add(np.array([road], object))
    ends = shapely.get_coordinates(shapely.segmentize(road, 1e-3))
    metres = Geod(ellps="WGS84").line_length(ends[:, 0], ends[:, 1])
    assert roads.read(0, 0, *grid.shape).sum() == pytest.approx(metres, rel=1e-9)


def test_what_a_window_holds_does_not_depend_on_the_window():
    grid, lakes = grid_of(500, 500), ponds(40, seed=5, reach=45_000.0)
    shapes = Shapes(grid, EPSG, "area", margin=30)
    shapes.add(lakes.copy())
    whole = shapes.read(-30, -30, 560, 560)
    for row, col, rows, cols in ((0, 0, 500, 500), (100, 230, 50, 20), (-30, 470, 61, 60), (239, 239, 2, 2)):
        part = shapes.read(row, col, rows, cols)
        assert (part == whole[row + 30 : row + 30 + rows, col + 30 : col + 30 + cols]).all()
