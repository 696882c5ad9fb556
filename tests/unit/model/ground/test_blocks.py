"""Blocks out of a map and back again."""

import numpy as np
import pytest

from model.ground.blocks import from_blocks, to_blocks


def test_blocks_and_back_is_the_same_map():
    values = np.arange(2 * 6 * 4).reshape(2, 6, 4)
    blocks = to_blocks(values, 2)
    assert blocks.shape == (2, 6, 4)
    assert blocks[0, 0].tolist() == [0, 1, 4, 5]
    assert (from_blocks(blocks, 3, 2, 2) == values).all()


@pytest.mark.parametrize("factor", [2, 3, 5, 10, 40])
def test_blocks_and_back_is_the_same_map_for_any_factor(factor):
    values = np.random.default_rng(factor).random((3 * factor, 2 * factor))
    blocks = to_blocks(values, factor)
    assert (blocks[5] == values[2 * factor :, factor:].ravel()).all()
    assert (from_blocks(blocks, 3, 2, factor) == values).all()
