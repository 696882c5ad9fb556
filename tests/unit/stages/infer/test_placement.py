"""A region's blocks meet their totals, and each says which level of the fallback placed it."""

import numpy as np
import pytest

from model.conservation.fallback import FallbackLevel
from model.conservation.laws import proportional
from model.ground.blocks import merge
from model.ground.grid import Region
from model.ground.scene import Layer
from stages.infer.placement import Placement

FACTOR = 2
EVERYWHERE = Region(0, 0, 1, 3)


class FakePoints:
    """Point sources of one sector and year, as mass per fine cell."""

    def __init__(self, mass):
        self._mass = mass

    def on_window(self, shape, row, col, rows, cols):
        return self._mass[None, None, row : row + rows, col : col + cols]


class FakeCube:
    """One sector, one year, three blocks of 2 x 2 cells."""

    factor, years = FACTOR, (2020,)
    layers = (Layer("roads", "continuous", False),)

    def __init__(self, totals, points=None, valid=None, roads=None):
        self._totals = np.asarray(totals, np.float64).reshape(1, 1, 1, 3)
        self._valid = np.ones((2, 6), bool) if valid is None else valid
        self._roads = np.zeros((2, 6)) if roads is None else roads
        self.points = None if points is None else FakePoints(points)
        self.point_mass = np.zeros((1, 1, 1, 3)) if points is None else merge(points, FACTOR)[None, None]

    def remainder(self):
        return np.where(np.isnan(self._totals), 0.0, self._totals) - self.point_mass

    def known(self):
        return ~np.isnan(self._totals)

    def valid(self, row, col, rows, cols):
        return self._valid[row : row + rows, col : col + cols]

    def covariates(self, row, col, rows, cols):
        return self._roads[None, None, row : row + rows, col : col + cols]


def placed(cube, raw, region=EVERYWHERE, proxy=None):
    rows, cols = region.refined(FACTOR).slices
    return Placement(cube, proportional, proxy).place(
        np.asarray(raw, np.float64)[None, None, rows, cols], region
    )


def test_a_total_that_points_hold_whole_is_placed_by_points_and_not_by_nothing():
    points = np.zeros((2, 6))
    points[0, 0] = 5.0  # the first block's whole total of 5
    points[1, 2] = 3.0  # part of the second block's 7
    made = placed(FakeCube([5.0, 7.0, 0.0], points), np.ones((2, 6)))
    assert made.fallback_levels[0, 0, 0].tolist() == [
        FallbackLevel.POINT,
        FallbackLevel.MODEL,
        FallbackLevel.NOTHING,
    ]
    assert made.mass[0, 0] == pytest.approx(np.array([[5, 0, 1, 1, 0, 0], [0, 0, 4, 1, 0, 0]]))


def test_a_point_off_the_valid_ground_stands_where_it_stands():
    valid, points = np.ones((2, 6), bool), np.zeros((2, 6))
    valid[0, 0], points[0, 0] = False, 2.0
    made = placed(FakeCube([5.0, 0.0, 0.0], points, valid), np.ones((2, 6)))
    assert made.mass[0, 0, :, :2] == pytest.approx(
        np.array([[2.0, 1.0], [1.0, 1.0]])
    )  # 5 - 2 over three cells


def test_where_the_estimate_sees_nothing_the_proxy_takes_over_and_then_the_land():
    roads = np.zeros((2, 6))
    roads[0, 2] = 1.0
    made = placed(
        FakeCube([4.0, 6.0, 8.0], roads=roads),
        np.repeat([[1.0, 0.0, 0.0]], 2, axis=1).repeat(2, axis=0),
        proxy="roads",
    )
    assert made.fallback_levels[0, 0, 0].tolist() == [
        FallbackLevel.MODEL,
        FallbackLevel.PROXY,
        FallbackLevel.LAND,
    ]
    assert made.mass[0, 0] == pytest.approx(np.array([[1, 1, 6, 0, 2, 2], [1, 1, 0, 0, 2, 2]]))


def test_a_region_alone_gives_what_it_gives_among_the_others():
    raw = np.random.default_rng(0).gamma(1.0, 1.0, (2, 6))
    cube = FakeCube([4.0, np.nan, 8.0])
    whole, part = placed(cube, raw), placed(cube, raw, Region(0, 2, 1, 1))
    assert np.array_equal(part.mass, whole.mass[..., 4:6]) and np.array_equal(
        part.fallback_levels, whole.fallback_levels[..., 2:]
    )
    assert whole.fallback_levels[0, 0, 0, 1] == FallbackLevel.OUTSIDE


def test_estimates_that_are_no_number_are_counted():
    raw = np.ones((2, 6))
    raw[0, 0] = np.nan
    made = placed(FakeCube([4.0, 6.0, 8.0]), raw)
    assert made.not_finite == 1 and merge(made.mass[0, 0], FACTOR)[0] == pytest.approx([4.0, 6.0, 8.0])
