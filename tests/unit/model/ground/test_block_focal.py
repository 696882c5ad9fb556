"""Means around a place count valid cells alone, at blocks as at cells."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from model.ground.block_focal import around, radius_in_cells
from model.ground.blocks import merge


def test_a_mean_counts_the_valid_cells_of_the_square_alone():
    """Around the middle: 1 + 2 + 6 over the three valid cells; in the corner above left (1 + 6) over two."""
    values = np.array([[[1.0, 0.0, 0.0], [0.0, 6.0, 2.0], [0.0, 0.0, 0.0]]])
    cells = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0]])
    found = around(values, cells, 1)[0]
    assert found[1, 1] == 3.0
    assert found[0, 0] == 3.5
    assert around(values, cells, 0)[0].tolist() == values[0].tolist()


def test_a_square_without_a_valid_cell_holds_nothing():
    assert not around(np.zeros((1, 3, 3)), np.zeros((3, 3), int), 1).any()


@pytest.mark.parametrize("radius", [1, 4, 30])
def test_inside_a_map_the_mean_is_scipys(radius):
    values = np.random.default_rng(0).random((2, 20, 16))
    inner = np.s_[:, radius : 20 - radius, radius : 16 - radius]
    wanted = uniform_filter(values, (1, 2 * radius + 1, 2 * radius + 1))
    found = around(values, np.ones((20, 16)), radius)
    np.testing.assert_allclose(found[inner], wanted[inner], rtol=1e-12)
    if radius > 20:
        np.testing.assert_allclose(found, np.broadcast_to(values.mean((1, 2))[:, None, None], found.shape))


@pytest.mark.parametrize(
    ("blocks", "factor", "cells"), [(0, 10, 4), (1, 10, 14), (2, 10, 24), (1, 5, 7), (1, 3, 4)]
)
def test_a_square_of_blocks_is_as_wide_in_cells_or_one_less(blocks, factor, cells):
    assert radius_in_cells(blocks, factor) == cells
    assert 0 <= factor * (2 * blocks + 1) - (2 * cells + 1) <= 1


def test_at_an_odd_factor_the_square_around_a_block_is_that_around_its_middle_cell():
    values = np.random.default_rng(1).random((1, 35, 35))
    of_blocks = around(merge(values, 5), np.full((7, 7), 25), 1)
    of_cells = around(values, np.ones((35, 35)), radius_in_cells(1, 5))
    np.testing.assert_allclose(of_cells[:, 2::5, 2::5][:, 1:-1, 1:-1], of_blocks[:, 1:-1, 1:-1])
