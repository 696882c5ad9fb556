"""Laws hold for any block: totals met, nothing negative, the closest field chosen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from model.projection import LAWS, Rung, from_blocks, place, proportional, to_blocks, water_fill, weighted

ALL_LAWS = pytest.mark.parametrize("law", [LAWS[name](0.5) for name in sorted(LAWS)], ids=sorted(LAWS))
CELLS = 12
estimates = arrays(np.float64, (3, CELLS), elements=st.floats(0, 1e10, allow_subnormal=False))
totals = arrays(np.float64, 3, elements=st.one_of(st.just(0.0), st.floats(1e-9, 1e12)))
masks = arrays(bool, (3, CELLS))


@ALL_LAWS
@given(raw=estimates, total=totals, support=masks)
@settings(max_examples=150, deadline=None)
def test_every_block_meets_its_total_with_nothing_negative(law, raw, total, support):
    support[:, 0] = True
    placed = law(raw, total, support)
    assert (placed >= 0).all()
    assert (placed[~support] == 0).all()
    assert placed.sum(axis=1) == pytest.approx(total, rel=1e-12, abs=0)


@ALL_LAWS
@given(raw=estimates, support=masks)
@settings(max_examples=60, deadline=None)
def test_a_block_that_meets_its_total_is_left_alone(law, raw, support):
    support[:, 0] = True
    raw = np.where(support, raw + 1e-3, 0.0)
    placed = law(raw, raw.sum(axis=1), support)
    assert placed == pytest.approx(raw, rel=1e-9, abs=1e-9 * raw.max())


@ALL_LAWS
@given(raw=estimates, total=totals, seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_the_order_of_cells_does_not_matter(law, raw, total, seed):
    order = np.random.default_rng(seed).permutation(CELLS)
    support = np.ones_like(raw, bool)
    straight, shuffled = law(raw, total, support), law(raw[:, order], total, support)
    assert shuffled == pytest.approx(straight[:, order], rel=1e-9, abs=1e-12 * total.max())


def test_water_filling_takes_the_same_depth_everywhere_above_zero():
    # 5 + 3 + 1 = 9, wanted 6: one off each gives 4 + 2 + 0 = 6.
    placed = water_fill(np.array([[5.0, 3.0, 1.0]]), np.array([6.0]), np.ones((1, 3), bool))
    assert placed.tolist() == [[4.0, 2.0, 0.0]]


def test_weights_equal_to_the_estimate_are_proportional_scaling():
    raw, total = np.array([[1.0, 2.0, 5.0]]), np.array([4.0])
    support = np.ones((1, 3), bool)
    assert weighted(raw, total, support, raw) == pytest.approx(proportional(raw, total, support), rel=1e-12)


def test_a_tiny_total_survives_a_huge_estimate():
    raw = np.array([[1e10, 1e10 - 1.0, 5.0]])
    placed = water_fill(raw, np.array([1e-9]), np.ones((1, 3), bool))
    assert placed.sum() == pytest.approx(1e-9, rel=1e-12)


def test_the_power_law_lies_between_water_filling_and_scaling():
    raw, total, support = np.array([[8.0, 2.0]]), np.array([6.0]), np.ones((1, 2), bool)
    water, half, scaled = (
        LAWS[name](0.5)(raw, total, support)[0, 0] for name in ("water_fill", "power", "proportional")
    )
    assert scaled < half < water


@given(
    raw=arrays(np.float64, (1, 5), elements=st.floats(0, 100)),
    weights=arrays(np.float64, (1, 5), elements=st.floats(0.1, 10)),
    total=st.floats(1.0, 300.0),
)
@settings(max_examples=25, deadline=None)
def test_a_quadratic_programme_finds_nothing_closer(raw, weights, total):
    placed = weighted(raw, np.array([total]), np.ones((1, 5), bool), weights)[0]

    def distance(q):
        return float((((q - raw[0]) ** 2) / (2 * weights[0])).sum())

    start = np.full(5, total / 5)
    oracle = minimize(
        distance,
        start,
        jac=lambda q: (q - raw[0]) / weights[0],
        bounds=[(0, None)] * 5,
        method="SLSQP",
        constraints={"type": "eq", "fun": lambda q: q.sum() - total, "jac": lambda q: np.ones(5)},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert distance(placed) <= oracle.fun + 1e-5 * (1 + oracle.fun)


@given(raw=estimates, total=totals, valid=masks, proxy=estimates)
@settings(max_examples=100, deadline=None)
def test_the_ladder_loses_no_mass_for_any_mask(raw, total, valid, proxy):
    placed = place(raw, total, np.ones(3, bool), valid, proxy, water_fill)
    assert np.nansum(placed.mass, axis=1) == pytest.approx(total, rel=1e-12, abs=0)


def _one(raw, total, valid, proxy=(0.0, 0.0), known=True):
    return place(
        np.array([raw], float),
        np.array([total]),
        np.array([known]),
        np.array([valid]),
        np.array([proxy], float),
        water_fill,
    )


def test_each_rung_of_the_ladder_is_named():
    assert _one([1, 0], 2.0, [True, True]).rungs[0] == Rung.MODEL
    assert _one([0, 0], 2.0, [True, True], (0, 1)).rungs[0] == Rung.PROXY
    assert _one([0, 0], 2.0, [True, False]).rungs[0] == Rung.LAND
    assert _one([1, 1], 2.0, [False, False]).rungs[0] == Rung.UNIFORM
    assert _one([1, 1], -2.0, [True, True]).rungs[0] == Rung.SINK
    assert _one([1, 1], 0.0, [True, True]).rungs[0] == Rung.NOTHING
    assert _one([1, 1], 0.0, [True, True], known=False).rungs[0] == Rung.OUTSIDE


def test_mas_04_all_mass_of_a_partly_masked_block_lies_in_its_valid_cells():
    placed = _one([3, 3], 4.0, [True, False])
    assert placed.mass[0, 0] == 4.0 and np.isnan(placed.mass[0, 1])


def test_mas_01_a_block_without_mass_is_exactly_zero():
    assert _one([3, 9], 0.0, [True, True]).mass.tolist() == [[0.0, 0.0]]


def test_run_02_an_estimate_that_is_not_a_number_is_counted_and_its_block_still_placed():
    placed = _one([np.nan, np.nan], 4.0, [True, True])
    assert placed.not_finite == 2 and placed.rungs[0] == Rung.LAND and placed.mass.sum() == 4.0


def test_an_exact_zero_of_the_method_stays_empty_while_the_block_has_another_place():
    # Water-filling alone would lift the second cell: 10 against 1 leaves 4.5 to each.
    assert _one([1.0, 0.0], 10.0, [True, True]).mass.tolist() == [[10.0, 0.0]]


def test_a_sink_is_spread_evenly_and_stays_negative():
    assert _one([5.0, 1.0], -2.0, [True, True]).mass.tolist() == [[-1.0, -1.0]]


def test_blocks_and_back_is_the_same_map():
    values = np.arange(2 * 6 * 4).reshape(2, 6, 4)
    blocks = to_blocks(values, 2)
    assert blocks.shape == (2, 6, 4)
    assert blocks[0, 0].tolist() == [0, 1, 4, 5]
    assert (from_blocks(blocks, 3, 2, 2) == values).all()
