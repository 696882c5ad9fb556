"""Lengths and shares of cells, against pencil and paper."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.ground.overlay import cover, cut, sum_lengths
from tests.examples import examples


def pieces_of(*points):
    x, y = np.array(points, float).T
    return cut(x[:-1], y[:-1], x[1:], y[1:])


def lengths_of(*points, shape=(2, 2)):
    pieces = pieces_of(*points)
    return sum_lengths(pieces, np.hypot(pieces.x1 - pieces.x0, pieces.y1 - pieces.y0), shape)


def test_a_line_is_divided_where_it_crosses_borders():
    # From (0.5, 0.5) to (2, 0.5): half a cell in the first, a whole one in the second.
    assert lengths_of((0.5, 0.5), (2, 0.5)).tolist() == [[0.5, 1.0], [0.0, 0.0]]
    # The diagonal meets the corner of all four cells and lies in two.
    assert lengths_of((0, 0), (2, 2)) == pytest.approx(np.diag([np.sqrt(2)] * 2))


def test_a_line_along_a_border_counts_once_in_the_cell_that_begins_there():
    assert lengths_of((1, 0), (1, 2)).tolist() == [[0.0, 1.0], [0.0, 1.0]]
    assert lengths_of((0, 1), (2, 1)).tolist() == [[0.0, 0.0], [1.0, 1.0]]


def test_what_lies_beyond_the_cells_is_left_out():
    assert lengths_of((-3, 0.5), (0.25, 0.5)).tolist() == [[0.25, 0.0], [0.0, 0.0]]


def test_a_triangle_covers_halves():
    # Below the diagonal of two cells by two: half of both cells on it, all of one.
    ring = pieces_of((0, 0), (2, 2), (0, 2), (0, 0))
    assert cover(ring, (2, 2)).tolist() == [[0.5, 0.0], [1.0, 0.5]]


def test_a_hole_is_left_out_and_an_empty_cell_is_exactly_zero():
    shell = pieces_of((0, 0), (3, 0), (3, 3), (0, 3), (0, 0))
    hole = pieces_of((1.5, 1.5), (1.5, 2.5), (2.5, 2.5), (2.5, 1.5), (1.5, 1.5))
    both = cut(
        *(np.concatenate([getattr(shell, end), getattr(hole, end)]) for end in ("x0", "y0", "x1", "y1"))
    )
    share = cover(both, (3, 4))
    # The hole is a cell large and takes a quarter of four cells.
    expected = np.array([[1, 1, 1, 0], [1, 0.75, 0.75, 0], [1, 0.75, 0.75, 0]])
    assert share == pytest.approx(expected, abs=1e-15)
    assert (share[:, 3] == 0.0).all()


coordinate = st.floats(0.0, 12.0)


@examples(60)
@given(st.lists(st.tuples(coordinate, coordinate), min_size=2, max_size=30))
def test_lengths_add_up_to_the_length_of_the_line(points):
    x, y = np.array(points).T
    straight = float(np.hypot(np.diff(x), np.diff(y)).sum())
    assert lengths_of(*points, shape=(13, 13)).sum() == pytest.approx(straight, rel=1e-12, abs=1e-12)


@examples(60)
@given(
    st.tuples(coordinate, coordinate), st.tuples(coordinate, coordinate), st.tuples(coordinate, coordinate)
)
def test_shares_of_a_triangle_add_up_to_its_area(a, b, c):
    area = abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])) / 2
    share = cover(pieces_of(a, b, c, a), (13, 13))
    assert share.sum() == pytest.approx(area, rel=1e-9, abs=1e-9)
    assert share.min() >= 0 and share.max() <= 1
