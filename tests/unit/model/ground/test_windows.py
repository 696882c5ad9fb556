"""Windows cover the map, feathering adds up, and splits share no ground."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.ground.windows import Split, deal_ground, feather, lay_windows, split_map, starts
from tests.examples import examples


@given(length=st.integers(1, 80), side=st.integers(1, 20), stride=st.integers(1, 20))
def test_windows_cover_every_cell_when_the_stride_is_no_longer_than_the_side(length, side, stride):
    stride = min(stride, side)
    covered = np.zeros(max(length, side), bool)
    for start in starts(length, side, stride):
        covered[start : start + side] = True
        assert start + side <= max(length, side)
    assert covered[:length].all()


def test_the_last_window_of_a_row_shifts_inward():
    assert starts(31, 12, 5) == (0, 5, 10, 15, 19)


def test_geo_15_a_map_smaller_than_a_window_has_one():
    assert len(lay_windows(6, 7, 12, 5)) == 1


@pytest.mark.parametrize(("side", "overlap"), [(16, 4), (20, 10), (9, 3)])
def test_feathered_neighbours_add_up_to_one(side, overlap):
    weights = np.sqrt(np.diag(feather(side, overlap)))  # both axes fall alike
    left, right = weights[-overlap:], weights[:overlap]
    assert left + right == pytest.approx(1.0)
    assert (weights > 0).all()


def test_no_overlap_needs_no_feather():
    assert (feather(6, 0) == 1).all()


@given(seed=st.integers(0, 50), block=st.integers(2, 8), buffer=st.integers(0, 3))
@examples(40)
def test_run_11_no_cell_serves_two_splits_and_the_buffer_lies_between(seed, block, buffer):
    rng = np.random.default_rng(seed)
    mass = rng.gamma(0.3, 10.0, (30, 26))
    ground = deal_ground(mass, block, 4, 0.2, rng)
    split = split_map(ground, np.ones_like(mass, bool), buffer, held_out=seed % 4)
    places = {code: np.argwhere(split == code) for code in (Split.TRAIN, Split.VALID, Split.TEST)}
    for one in (Split.TRAIN, Split.VALID):
        for other in (Split.VALID, Split.TEST):
            if one == other or not len(places[one]) or not len(places[other]):
                continue
            apart = np.abs(places[one][:, None] - places[other][None]).max(axis=2)
            assert apart.min() > buffer


def test_folds_and_the_test_come_near_their_shares_of_mass():
    rng = np.random.default_rng(0)
    mass = rng.gamma(0.5, 10.0, (120, 180))
    ground = deal_ground(mass, 10, 3, 0.1, rng)
    shares = [mass[ground == part].sum() / mass.sum() for part in (-1, 0, 1, 2)]
    assert shares == pytest.approx([0.1, 0.3, 0.3, 0.3], abs=0.03)


def test_every_fold_is_held_out_once_and_trains_while_another_is():
    ground = deal_ground(np.ones((12, 12)), 3, 4, 0.0, np.random.default_rng(2))
    splits = np.stack([split_map(ground, np.ones((12, 12), bool), 0, fold) for fold in range(4)])
    assert ((splits == Split.VALID).sum(axis=0) == 1).all()
    assert ((splits == Split.TRAIN).sum(axis=0) == 3).all()
    assert (split_map(ground, np.ones((12, 12), bool), 0, None) == Split.TRAIN).all()


def test_a_cell_without_a_known_total_serves_nothing():
    usable = np.ones((20, 20), bool)
    usable[3, 4] = False
    ground = deal_ground(np.ones((20, 20)), 5, 4, 0.0, np.random.default_rng(1))
    split = split_map(ground, usable, 1, held_out=0)
    assert split[3, 4] == Split.NOTHING
