"""Distances, focal means and densities, against brute force over every pair of cells."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Geod
from scipy import ndimage

from model.ground.focal import cell_sizes, density, distance, focal_mean, margin_of
from stages.formats.zarr_groups import make_grid
from tests.examples import examples

METRES = CRS.from_user_input("EPSG:3035")
DEGREES = CRS.from_user_input("EPSG:4326")


def grid_of(rows, cols, crs=METRES, size=(100.0, 100.0), corner=(4_780_000.0, 2_822_000.0)):
    return make_grid(rows, cols, *corner, *size, crs)


@examples(25)
@given(seed=st.integers(0, 1000), margin=st.integers(0, 6))
def test_distances_are_those_of_another_program(seed, margin):
    near = np.random.default_rng(seed).random((20, 24)) < 0.03
    near[margin + 2, margin + 3] = True
    grid = grid_of(20, 24, size=(100.0, 80.0))
    found = distance(near, np.zeros_like(near), grid, margin, margin * 80.0 if margin else 1e9)
    expected = ndimage.distance_transform_edt(~near, sampling=(80.0, 100.0))
    core = (slice(margin, 20 - margin), slice(margin, 24 - margin))
    if margin:
        assert found == pytest.approx(np.minimum(expected, margin * 80.0)[core])
    else:
        assert (found >= expected - 1e-9).all()  # without a margin only the own column is seen


def test_an_unknown_cell_closer_than_the_nearest_leaves_the_distance_unknown():
    near, unknown = np.zeros((7, 11), bool), np.zeros((7, 11), bool)
    near[3, 3], unknown[3, 6] = True, True
    found = distance(near, unknown, grid_of(7, 11), 3, 300.0)
    # The row of the source: cells 3 to 7 lie 0, 100, 200, 300, 300 m from it and 300, 200, 100, 0, 100 m from the gap.
    assert found[0, :2].tolist() == [0.0, 100.0] and np.isnan(found[0, 2:]).all()


@pytest.mark.parametrize("radius", [0.0, 150.0, 260.0])
def test_focal_means_are_those_of_every_cell_in_the_circle(radius):
    chance = np.random.default_rng(3)
    values = chance.normal(size=(15, 17))
    values[chance.random(values.shape) < 0.2] = np.nan
    grid = grid_of(15, 17)
    margin = margin_of(grid, radius)
    found = focal_mean(values, grid, margin, radius)
    rows, cols = np.indices(values.shape)
    for row in range(margin, 15 - margin):
        for col in range(margin, 17 - margin):
            inside = np.hypot((rows - row) * 100.0, (cols - col) * 100.0) <= radius
            expected = np.nanmean(values[inside]) if not np.isnan(values[row, col]) else np.nan
            assert found[row - margin, col - margin] == pytest.approx(expected, nan_ok=True, abs=1e-12)


def test_nothing_around_is_exactly_nothing():
    values = np.zeros((9, 30))
    values[:, 0] = 1e9
    found = focal_mean(values, grid_of(9, 30), 2, 200.0)
    assert (found[:, 3:] == 0.0).all()


def test_a_density_is_the_weighted_mass_over_the_weighted_ground():
    mass = np.random.default_rng(4).gamma(1.0, 1.0, (13, 13))
    mass[2, 9] = np.nan
    grid, sigma = grid_of(13, 13), 150.0
    margin = margin_of(grid, 3 * sigma)
    found = density(mass, grid, margin, sigma)
    rows, cols = np.indices(mass.shape)
    down, across = np.abs(rows - 6) * 100.0, np.abs(cols - 6) * 100.0
    weight = np.exp(-0.5 * (down**2 + across**2) / sigma**2) * (down <= 450.0) * (across <= 450.0)
    known = ~np.isnan(mass)
    expected = (weight * mass)[known].sum() / (weight[known].sum() * 0.01)  # 0.01 km2 a cell
    assert found[6 - margin, 6 - margin] == pytest.approx(expected, rel=1e-12)


def test_an_even_spread_has_the_density_of_its_cells():
    grid = grid_of(20, 20)
    assert density(np.full((20, 20), 3.0), grid, 4, 130.0) == pytest.approx(300.0)


def test_on_the_globe_cells_have_their_true_size():
    grid = grid_of(4, 4, DEGREES, (0.01, 0.01), (15.0, 60.0))
    width, height = cell_sizes(grid)
    globe = Geod(ellps="WGS84")
    for row, y in enumerate(grid.y):
        assert width[row, 0] == pytest.approx(globe.inv(15.0, y, 15.01, y)[2], rel=1e-6)
        assert height[row, 0] == pytest.approx(globe.inv(15.0, y - 0.005, 15.0, y + 0.005)[2], rel=1e-6)
