"""An altered cube is the same world made harder in one stated way."""

import numpy as np
import pytest

from model.ground.errors import UsageError
from stages.artifacts.cube import Cube
from stages.evaluate.experiments.perturb import Config, run
from stages.evaluate.folds import Hide
from tests.small_world import build_world


@pytest.fixture
def altered(tmp_path):
    """Cubes before and after; 7 x 5 blocks of 10 x 10 cells, two years."""
    rng = np.random.default_rng(2)
    totals = rng.lognormal(3.0, 1.0, (1, 2, 7, 5))
    totals[0, 0, 3, 3] = np.nan
    valid = rng.random((70, 50)) < 0.9
    world = build_world(tmp_path, totals=totals, valid=valid, sectors=("homes",), years=(2012, 2015))
    count = iter(range(9))

    def make(**settings):
        out = tmp_path / f"altered{next(count)}"
        out.mkdir()
        run(Config(**settings), cube=world.cube, out=out)
        return Cube.open(world.cube), Cube.open(out)

    return make


def test_a_cube_that_nothing_is_done_to_stays_as_it_is(altered):
    before, after = altered()
    assert np.array_equal(after.totals(), before.totals()) and np.array_equal(after.known(), before.known())
    assert np.array_equal(after.covariates(0, 0, 70, 50), before.covariates(0, 0, 70, 50))
    assert np.array_equal(after.valid(0, 0, 70, 50), before.valid(0, 0, 70, 50))
    assert (after.coarse, after.fine, after.unit) == (before.coarse, before.fine, before.unit)


def test_merged_totals_are_sums_and_what_is_left_over_is_cut_off(altered):
    before, after = altered(group=2)
    assert after.factor == 20 and after.coarse.shape == (3, 2) and after.fine.shape == (60, 40)
    assert after.totals()[0, 1, 0, 0] == pytest.approx(before.totals()[0, 1, :2, :2].sum())
    assert not after.known()[0, 0, 1, 1] and after.known()[0, 1].all()  # one of its four members is not known
    assert after.fine.dx == pytest.approx(before.fine.dx) and after.fine.top == before.fine.top


def test_layers_are_averaged_with_the_totals_only_when_they_are_to_match(altered):
    before, matched = altered(group=2, match=True)
    old, valid = before.covariates(0, 0, 2, 2)[0, 0], before.valid(0, 0, 2, 2)
    assert matched.covariates(0, 0, 2, 2)[0, 0][valid] == pytest.approx(old[valid].mean(), rel=1e-6)
    _, kept = altered(group=2)
    assert np.array_equal(kept.covariates(0, 0, 60, 40), before.covariates(0, 0, 60, 40))


def test_a_dropped_layer_tells_nothing_inside_a_block(altered):
    before, after = altered(layers=("built",), change="drop")
    old, valid = before.covariates(0, 0, 10, 10)[0, 0], before.valid(0, 0, 10, 10)
    new = after.covariates(0, 0, 10, 10)[0, 0]
    assert new[valid] == pytest.approx(old[valid].mean(), rel=1e-6)


def test_a_shifted_layer_is_shifted_across_the_bands_it_is_written_in(altered, monkeypatch):
    monkeypatch.setattr("stages.evaluate.experiments.perturb.BAND", 20)
    before, after = altered(layers=("built",), change="shift", cells=3)
    old, new = before.covariates(0, 0, 70, 50)[0, 0], after.covariates(0, 0, 70, 50)[0, 0]
    assert np.array_equal(new[3:, 3:], old[:-3, :-3])


def test_hidden_folds_and_years_are_not_known(altered):
    _, folded = altered(hide=Hide(fold=0, folds=2, side=3, buffer=1))
    assert 0 < (~folded.known()[0, 1]).sum() < 35
    _, without = altered(hide_years=(2015,))
    assert not without.known()[0, 1].any() and without.known()[0, 0].sum() == 34


def test_more_folds_than_spatial_blocks_are_refused(altered):
    with pytest.raises(UsageError, match="2 spatial blocks for 3 folds on 7 x 5 coarse cells") as caught:
        altered(hide=Hide(fold=0, folds=3, side=5))
    assert "evaluate.folds" in caught.value.fix


def test_an_unknown_layer_is_refused(altered):
    with pytest.raises(UsageError, match="no layer 'roads'"):
        altered(layers=("roads",))


def test_a_map_too_small_to_be_merged_is_refused(altered):
    with pytest.raises(UsageError, match="7 x 5 coarse cells cannot be merged by 4"):
        altered(group=4)
