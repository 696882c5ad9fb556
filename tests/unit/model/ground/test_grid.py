"""The grid knows where its cells are and how large they are on the ground."""

import numpy as np
import pytest
from pyproj import CRS, Geod

from model.ground.grid import Grid, Region
from stages.formats.zarr_groups import make_grid

PLAIN = Grid(rows=2, cols=3, left=1000.0, top=5000.0, dx=1000.0, dy=1000.0, crs="")


def test_refined_cells_nest_in_their_coarse_cell():
    fine = PLAIN.refine(10)
    assert fine.shape == (20, 30)
    assert fine.bounds == PLAIN.bounds
    assert fine.x[0] == 1050.0 and fine.y[0] == 4950.0


def test_a_window_begins_at_its_row_and_column():
    window = PLAIN.window(1, 2, 1, 1)
    assert window.bounds == (3000.0, 3000.0, 4000.0, 4000.0)


def test_an_offset_of_half_a_cell_is_half_a_cell():
    shifted = Grid(rows=2, cols=3, left=1500.0, top=4750.0, dx=1000.0, dy=1000.0, crs="")
    assert PLAIN.offset(shifted) == (0.5, 0.25)


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"dx": -1.0}, {"left": float("nan")}])
def test_numbers_that_describe_no_grid_are_refused(wrong):
    facts = {"rows": 2, "cols": 3, "left": 0.0, "top": 0.0, "dx": 1.0, "dy": 1.0, "crs": ""} | wrong
    with pytest.raises(ValueError):
        Grid(**facts)


def test_areas_of_a_geographic_grid_agree_with_a_geodesic_calculation():
    grid = make_grid(3, 2, 15.0, 49.0, 0.5, 0.5, CRS.from_epsg(4326))
    geod = Geod(ellps="WGS84")
    for row, area in enumerate(grid.cell_areas()[:, 0]):
        top, bottom = 49.0 - row * 0.5, 48.5 - row * 0.5
        # Parallels are no geodesics: the polygon follows them in 200 steps.
        lon = np.linspace(15.0, 15.5, 201)
        polygon_lon = np.concatenate([lon, lon[::-1]])
        polygon_lat = np.concatenate([np.full(201, bottom), np.full(201, top)])
        expected = abs(geod.polygon_area_perimeter(polygon_lon, polygon_lat)[0])
        assert area == pytest.approx(expected, rel=1e-6)


def test_the_whole_globe_has_the_area_of_the_ellipsoid():
    grid = make_grid(180, 360, -180.0, 90.0, 1.0, 1.0, CRS.from_epsg(4326))
    # 4 pi R^2 with the authalic radius of WGS84, 6371007.181 m.
    assert grid.cell_areas().sum() * 360 == pytest.approx(4 * np.pi * 6371007.181**2, rel=1e-9)


def test_cells_of_a_projected_grid_in_feet_are_told_in_square_metres():
    grid = make_grid(1, 1, 0.0, 10.0, 10.0, 10.0, CRS.from_epsg(2263))
    foot = 0.3048006096012192
    assert grid.cell_areas()[0, 0] == pytest.approx(100 * foot**2)


def test_a_region_says_where_it_lies_at_any_scale_and_with_cells_around_it():
    region = Region(2, 3, 4, 5)
    cells = np.arange(80).reshape(8, 10)
    assert np.array_equal(cells[region.slices], cells[2:6, 3:8]) and region.shape == (4, 5)
    assert region.refined(10) == (20, 30, 40, 50)
    assert region.grown(1, cells.shape) == (1, 2, 6, 7)
    assert region.grown(3, cells.shape) == (0, 0, 8, 10)  # rows -1 and 8, column 10 are off the grid
    assert region.within(region.grown(1, cells.shape)) == (1, 1, 4, 5)
