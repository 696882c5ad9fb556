"""Float32 maps: the numbers as stored must still sum to the totals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.conservation.float_storage import store_float32, store_units
from tests.examples import examples


def block_sums(cells: np.ndarray, side: int) -> np.ndarray:
    rows, cols = cells.shape
    stacked = cells.astype(np.float64).reshape(rows // side, side, cols // side, side)
    return np.nansum(stacked, axis=(1, 3))


shares = hnp.arrays(
    np.float64,
    (5, 5),
    elements=st.one_of(st.just(0.0), st.floats(1e-6, 1.0), st.floats(1e3, 1e6)),
)
totals = st.floats(-9.0, 12.0).map(lambda exponent: 10.0**exponent)


@examples(300)
@given(share=shares, total=totals)
def test_stored_sums_meet_any_total_and_zeros_stay_zeros(share, total):
    if share.sum() == 0.0:
        share[2, 3] = 1.0
    mass = share / share.sum() * total
    stored = store_float32(mass, np.array([[mass.sum()]]))
    assert stored.dtype == np.float32
    assert abs(stored.sum(dtype=np.float64) - total) <= 1e-7 * total
    assert (stored >= 0).all()
    assert (stored[mass == 0] == 0).all()
    # every cell is where it was: only rounding moved
    assert np.abs(stored - mass).max() <= 25 * 2.0**-24 * total


def test_a_plain_cast_would_lose_what_the_repair_keeps():
    # 10,000 equal cells round the same way: 1/3 in float32 is 9.9e-9 too large, so the plain sum is 9.9e-5
    # too large; the repaired sum is off by at most half an ulp of one cell, 1.5e-8.
    mass = np.full((100, 100), 1.0 / 3.0)
    total = np.array([[mass.sum()]])
    plain = abs(mass.astype(np.float32).sum(dtype=np.float64) - total[0, 0])
    kept = abs(store_float32(mass, total).sum(dtype=np.float64) - total[0, 0])
    assert plain > 9e-5
    assert kept < 3e-8


def test_each_block_is_repaired_on_its_own():
    rng = np.random.default_rng(5)
    mass = rng.lognormal(3.0, 1.5, (30, 40)) * (rng.random((30, 40)) < 0.4)
    wanted = block_sums(mass, 10)
    stored = store_float32(mass, wanted)
    assert block_sums(stored, 10) == pytest.approx(wanted, rel=6e-8)
    assert (mass.astype(np.float32) != stored).sum() <= wanted.size


def test_cells_without_value_stay_without_and_count_for_nothing():
    mass = np.array([[1 / 3, np.nan, np.nan, np.nan], [2 / 3, 0.0, np.nan, np.nan]])
    stored = store_float32(mass, np.array([[1.0, 7.0]]))
    assert np.array_equal(np.isnan(stored), np.isnan(mass))
    assert stored[1, 1] == 0.0
    assert np.nansum(stored, dtype=np.float64) == pytest.approx(1.0, rel=6e-8)


def test_a_sink_keeps_its_sign():
    mass = np.full((10, 10), -0.7)
    stored = store_float32(mass, np.array([[-70.0]]))
    assert (stored < 0).all()
    assert stored.sum(dtype=np.float64) == pytest.approx(-70.0, rel=1e-9)


def test_a_field_that_misses_its_total_is_not_repaired_but_told():
    mass = np.ones((4, 4))
    with pytest.raises(ValueError, match=r"block \(0, 1\) misses its total by 0\.1"):
        store_float32(mass, np.array([[4.0, 4.1], [4.0, 4.0]]))


def test_a_cell_beyond_float32_is_told():
    with pytest.raises(OverflowError):
        store_float32(np.array([[1e39]]), np.array([[1e39]]))


def test_storing_twice_gives_the_same_bytes():
    mass = np.random.default_rng(1).gamma(0.3, 50.0, (20, 20))
    wanted = block_sums(mass, 10)
    assert store_float32(mass, wanted).tobytes() == store_float32(mass, wanted).tobytes()


@examples(200)
@given(share=shares, units=st.integers(0, 10**9), scale_factor=st.sampled_from([1.0, 0.001, 0.25, 1e-6]))
def test_whole_units_leave_no_residual_at_all(share, units, scale_factor):
    if share.sum() == 0.0:
        share[2, 3] = 1.0
    total = units * scale_factor
    mass = share / share.sum() * total
    stored = store_units(mass, np.array([[total]]), scale_factor)
    assert stored.sum() == units
    assert (stored >= 0).all() and (stored[mass == 0] == 0).all()
    assert np.abs(stored * scale_factor - mass).max() <= scale_factor * 1.001 + 1e-8 * total


def test_the_cells_that_lost_most_take_the_missing_units():
    # 1.7 + 1.6 + 0.4 + 0.3 = 4: floors 1 + 1 + 0 + 0, and the two units left go to .7 and .6.
    mass = np.array([[1.7, 1.6], [0.4, 0.3]])
    assert store_units(mass, np.array([[4.0]]), 1.0).tolist() == [[2, 2], [0, 0]]
    assert store_units(-mass, np.array([[-4.0]]), 1.0).tolist() == [[-2, -2], [0, 0]]


def test_a_total_that_is_no_whole_number_of_units_is_told():
    with pytest.raises(ValueError, match="another scale_factor"):
        store_units(np.full((2, 2), 0.3), np.array([[1.2]]), 1.0)


def test_whole_units_do_not_hide_a_field_that_misses_its_total():
    with pytest.raises(ValueError, match=r"block \(0, 0\) misses its total"):
        store_units(np.ones((2, 2)), np.array([[14.0]]), 1.0)


def test_values_are_stored_so_that_value_times_weight_sums_to_the_total():
    # Precipitation: depth per cell, mass = depth x area; here the second row is three times as large.
    weights = np.array([[1.0], [3.0]])
    mass = np.array([[1 / 3, 2 / 3], [0.7, 1.3]])
    stored = store_float32(mass, np.array([[3.0]]), weights)
    assert stored == pytest.approx(mass / weights, rel=1e-6)
    assert (stored.astype(np.float64) * weights).sum() == pytest.approx(3.0, rel=6e-8)


def test_a_block_without_value_has_no_units():
    mass = np.array([[3.0, 1.0, np.nan, np.nan], [0.0, 0.0, np.nan, np.nan]])
    stored = store_units(mass, np.array([[4.0, 9.0]]), 1.0)
    assert stored.tolist() == [[3, 1, 0, 0], [0, 0, 0, 0]]


def test_so_many_units_that_float64_cannot_count_them_are_told():
    most = np.array([[2.0**47]])
    assert store_units(most, most, 1.0).tolist() == [[2**47]]
    with pytest.raises(ValueError, match="too many"):
        store_units(most + 1, most + 1, 1.0)
