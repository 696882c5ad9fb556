"""Raw estimates of a region: what a method says of whole blocks comes after the seams of windows are blended."""

import numpy as np
import pytest

from model.ground.scene import merge, spread
from model.priors.reporting_threshold import CutOff
from stages.artifacts.cube import Cube
from stages.predict.windowed import Estimates
from tests.small_world import build_world

LEAST = 2.0


class Uneven:
    """Another estimate in each window, so that neighbours keep other cells of the blocks they share."""

    def __init__(self, heeds: bool) -> None:
        self.rng, self.cut_off = np.random.default_rng(0), CutOff((LEAST,) * 2, (True,) * 2)
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
