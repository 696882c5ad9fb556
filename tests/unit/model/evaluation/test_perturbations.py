"""A world is made harder in the way that is said, and in no other."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from model.evaluation.perturbations import Fold, blurred, flattened, hidden, shifted

LAYER = np.arange(16, dtype=np.float32).reshape(1, 4, 4)


def test_a_flattened_layer_tells_nothing_inside_a_block():
    valid = np.ones((4, 4), bool)
    valid[0, 0] = False
    flat = flattened(LAYER, valid, 2)
    assert flat[0, 0, 1] == pytest.approx((1 + 4 + 5) / 3)  # the invalid cell counts for nothing
    assert flat[0, 0, 0] == 0.0
    assert flat[0, 2:, 2:].tolist() == [[12.5, 12.5], [12.5, 12.5]]


def test_a_shifted_layer_lies_south_east_of_where_it_was():
    moved = shifted(LAYER, 1)[0]
    assert moved[1:, 1:].tolist() == LAYER[0, :-1, :-1].tolist()
    assert moved[0].tolist() == [0, 0, 1, 2]
    assert np.array_equal(shifted(LAYER, 0), LAYER)


def test_a_blurred_layer_is_the_mean_around_each_cell():
    values = np.random.default_rng(0).random((1, 12, 9)).astype(np.float32)
    wanted = uniform_filter(values[0].astype(float), 5, mode="constant")
    wanted /= uniform_filter(np.ones((12, 9)), 5, mode="constant")
    np.testing.assert_allclose(blurred(values, 2)[0], wanted, rtol=1e-5)


@pytest.mark.parametrize("kind", ["blocks", "random"])
def test_every_coarse_cell_is_in_one_fold(kind):
    mass = np.random.default_rng(1).lognormal(0, 2, (13, 17))
    grounds = [hidden(Fold(kind, fold, 4, 3, 1, 0), mass)[0] for fold in range(4)]
    assert (np.sum(grounds, axis=0) == 1).all()
    held = [mass[ground].sum() for ground in grounds]
    assert min(held) > 0


def test_the_buffer_around_a_fold_is_hidden_too():
    ground, gone = hidden(Fold("blocks", 1, 2, 2, 1, 0), np.ones((6, 6)))
    wide = np.pad(ground, 1)
    near = np.any([wide[1 + r : 7 + r, 1 + c : 7 + c] for r in (-1, 0, 1) for c in (-1, 0, 1)], axis=0)
    assert np.array_equal(gone, near) and gone.sum() > ground.sum()
    alone = hidden(Fold("random", 1, 2, 2, 1, 0), np.ones((6, 6)))
    assert np.array_equal(*alone)


def test_more_folds_than_blocks_are_refused():
    with pytest.raises(ValueError, match="4 spatial blocks for 5 folds"):
        hidden(Fold("blocks", 0, 5, 10, 1, 0), np.ones((20, 20)))


def test_random_folds_hold_as_many_cells_each_whatever_their_mass():
    mass = np.random.default_rng(1).lognormal(0, 2, (6, 6))
    sizes = [hidden(Fold("random", fold, 4, 3, 1, 0), mass)[0].sum() for fold in range(4)]
    assert sizes == [9, 9, 9, 9]


def test_folds_of_blocks_have_as_much_mass_each_as_their_blocks_allow():
    """Nine blocks of 1 and one of 9, dealt out heaviest first to two folds: 9 each."""
    mass = np.ones((1, 10))
    mass[0, 4] = 9.0
    grounds = [hidden(Fold("blocks", fold, 2, 1, 0, 0), mass)[0] for fold in range(2)]
    assert [mass[ground].sum() for ground in grounds] == [9.0, 9.0]
