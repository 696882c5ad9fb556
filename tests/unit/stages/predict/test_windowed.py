"""Raw estimates of a region: what a method says of whole blocks comes after the seams of windows are blended."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from model.ground.blocks import merge, spread
from model.priors.reporting_threshold import ReportingThreshold
from stages.artifacts.cube import Cube
from stages.predict.windowed import Estimates
from tests.small_world import build_world

LEAST = 2.0


class Uneven:
    """Another estimate in each window, so that neighbours keep other cells of the blocks they share."""

    def __init__(self, heeds: bool) -> None:
        self.rng, self.cut_off = np.random.default_rng(0), ReportingThreshold((LEAST,) * 2, (True,) * 2)
        if heeds:
            self.finish = self.cut_off

    def estimate(self, scene):
        shape = (*scene.totals.shape[:2], *scene.valid.shape)
        drawn = self.rng.lognormal(0.0, 1.0, shape)
        scaled = drawn * spread(scene.totals / merge(drawn, scene.side), scene.side)
        return self.cut_off(scaled, scene.totals, scene.known).astype(np.float32)


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    totals = np.random.default_rng(1).lognormal(3.0, 1.0, (2, 1, 9, 14))
    return Cube.open(build_world(tmp_path_factory.mktemp("world"), totals=totals).cube)


@pytest.mark.parametrize("heeds", [True, False])
def test_no_cell_lies_between_nothing_and_the_least_after_blending(heeds, cube):
    made = Estimates(cube, Uneven(heeds), 1, core=4, halo=2).region(3, 2, 5, 9)
    large = spread(cube.totals()[:, :, 3:8, 2:11] >= LEAST, cube.factor)
    broken = (made > 0) & (made < LEAST * (1 - 1e-6)) & large
    # Windows that heed it one by one are not enough: that is what is tested.
    assert broken.any() != heeds


class Told:
    """An estimate that follows from the scene alone, uneven within blocks and over seams."""

    def __init__(self) -> None:
        self.calls = 0

    def estimate(self, scene):
        self.calls += 1
        shape = (*scene.totals.shape[:2], *scene.valid.shape)
        place = np.linspace(0.5, 1.5, shape[-1]) * np.linspace(0.7, 1.3, shape[-2])[:, None]
        return (spread(scene.totals, scene.side) * place).astype(np.float32)


PLACES = [(row, col, min(4, 9 - row), min(5, 14 - col)) for row in range(0, 9, 4) for col in range(0, 14, 5)]


def test_regions_give_the_same_bytes_alone_in_any_order_and_from_threads(cube):
    def fresh():
        return Estimates(cube, Told(), 1, core=4, halo=2)

    whole = fresh().region(0, 0, 9, 14)
    alone = {place: fresh().region(*place) for place in PLACES}
    shuffled, order = fresh(), list(np.random.default_rng(3).permutation(len(PLACES)))
    mixed = {PLACES[index]: shuffled.region(*PLACES[index]) for index in order}
    with ThreadPoolExecutor(3) as pool:
        shared = fresh()
        threaded = dict(zip(PLACES, pool.map(lambda place: shared.region(*place), PLACES), strict=True))
    for row, col, rows, cols in PLACES:
        fine = (..., slice(row * 10, (row + rows) * 10), slice(col * 10, (col + cols) * 10))
        wanted = whole[fine].tobytes()
        for made in (alone, mixed, threaded):
            assert made[row, col, rows, cols].tobytes() == wanted


def test_row_by_row_every_window_is_estimated_once(cube):
    """9 x 14 blocks in cores of 4: 3 x 4 windows, whatever regions are asked for in reading order."""
    method = Told()
    estimates = Estimates(cube, method, 1, core=4, halo=2)
    for place in PLACES:
        estimates.region(*place)
    assert method.calls == 12
