"""A scene shows nothing finer than the totals it is given."""

from dataclasses import replace

import numpy as np
import pytest

from model.ground.blocks import merge
from model.ground.scene import Layer, Tile

LAYERS = (Layer("built", "share"), Layer("census", "total", blocky=True))


def tile(totals, covariates=None, known=None, valid=None):
    rows, cols = totals.shape
    fine = (rows * 2, cols * 2)
    return Tile(
        np.zeros((2, 1, *fine), np.float32) if covariates is None else covariates,
        np.ones(fine, bool) if valid is None else valid,
        totals[None, None].astype(float),
        np.ones((1, 1, rows, cols), bool) if known is None else known,
        np.ones((rows, cols), bool),
        2,
        LAYERS,
    )


def test_merged_totals_are_the_sums_of_their_cells():
    scene = tile(np.arange(16).reshape(4, 4)).scene(2)
    # 0 + 1 + 4 + 5 = 10, 2 + 3 + 6 + 7 = 18, ...
    assert scene.totals[0, 0].tolist() == [[10, 18], [42, 50]]
    assert scene.side == 4


def test_a_total_inside_a_group_cannot_be_seen():
    one, other = np.ones((4, 4)), np.ones((4, 4))
    other[0, 0], other[1, 1] = 3.0, -1.0
    assert (tile(one).scene(2).totals == tile(other).scene(2).totals).all()


def test_a_layer_as_coarse_as_a_block_is_averaged_over_the_blocks_shown():
    covariates = np.zeros((2, 1, 8, 8), np.float32)
    covariates[1, 0] = np.kron(np.arange(16).reshape(4, 4), np.ones((2, 2)))
    covariates[0] = covariates[1]
    scene = tile(np.ones((4, 4)), covariates).scene(2)
    assert np.unique(scene.covariates[1, 0, :4, :4]).tolist() == [2.5]  # mean of 0, 1, 4, 5
    assert (scene.covariates[0] == covariates[0]).all()


def test_a_group_with_an_unknown_member_is_unknown():
    known = np.ones((1, 1, 4, 4), bool)
    known[0, 0, 0, 0] = False
    scene = tile(np.ones((4, 4)), known=known).scene(2)
    assert scene.known[0, 0].tolist() == [[False, True], [True, True]]


def test_a_side_that_the_group_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="grouped by 3"):
        tile(np.ones((4, 4))).scene(3)


def test_merging_keeps_the_sum():
    values = np.random.default_rng(0).random((3, 12, 8))
    assert merge(values, 4).sum() == pytest.approx(values.sum())


def test_a_halo_keeps_whole_groups_and_the_targets_stay_where_they_are():
    """7 x 7 coarse cells, 3 of halo: pairs leave 2 of it, triples 3; the middle cell is the target."""
    values = np.arange(49.0).reshape(7, 7)
    whole = replace(tile(values), target=np.pad(np.ones((1, 1), bool), 3), halo=3)
    for group, halo in ((1, 3), (2, 2), (3, 3)):
        part = whole.fitted(group)
        assert (part.halo, part.totals.shape[-1]) == (halo, 1 + 2 * halo)
        assert part.totals[0, 0][part.target].tolist() == [24.0]
        assert part.valid.shape[0] == part.covariates.shape[-1] == part.totals.shape[-1] * part.factor
    assert whole.fitted(1).scene().rim == 3 * whole.factor
