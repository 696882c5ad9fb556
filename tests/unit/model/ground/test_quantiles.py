"""Quantiles found by reading again and again are the ones numpy finds with everything in memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.ground.quantiles import exact_quantiles
from tests.examples import examples

LEVELS = (0.0, 0.5, 0.95, 0.99, 1.0)


@examples(40)
@given(
    values=arrays(np.float64, st.integers(1, 80), elements=st.floats(0, 1e300, allow_subnormal=True)),
    parts=st.integers(1, 5),
)
def test_they_are_exact_however_the_values_are_cut(values, parts):
    found = exact_quantiles(lambda: np.array_split(values, parts), LEVELS)
    ranks = np.array(LEVELS) * (values.size - 1)
    ordered = np.sort(values)
    for rank, quantile in zip(ranks, found, strict=True):
        low, high = ordered[int(np.floor(rank))], ordered[int(np.ceil(rank))]
        assert quantile == pytest.approx(low + (rank - np.floor(rank)) * (high - low), rel=1e-15, abs=0)


def test_float32_values_are_compared_as_they_are():
    values = np.float32([1.1, 2.2, 3.3])
    assert exact_quantiles(lambda: [values], (0.5,)) == [float(np.float32(2.2))]


def test_of_nothing_there_is_no_quantile():
    assert np.isnan(exact_quantiles(lambda: [], (0.5,))).all()
