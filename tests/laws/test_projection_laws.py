"""Laws hold for any block, in numpy and in torch: totals met, nothing negative, no unit and no order known."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.conservation import laws as projection
from model.conservation import solver as threshold
from model.conservation import torch_layer as layer
from model.conservation.laws import (
    LAWS,
    additive,
    proportional,
    water_fill,
    weighted,
)
from tests.examples import examples
from tests.laws.blocks import CELLS, NUMBA, estimates, masks, misses, signed, totals


@pytest.fixture(autouse=True, scope="module", params=["plain", pytest.param("compiled", marks=NUMBA)])
def search(request):
    """Every law by the plain search and by the compiled one."""
    fastest = projection.fastest
    if request.param == "plain":
        projection.fastest = lambda: threshold.Search
    yield
    projection.fastest = fastest


def torch_water_fill(raw, total, support):
    return layer.project(*map(torch.from_numpy, (np.array(raw), np.array(total), support))).numpy()


NAMED = {name: LAWS[name](0.5) for name in sorted(LAWS)} | {
    "torch_water_fill": torch_water_fill,
}
ALL_LAWS = pytest.mark.parametrize("law", NAMED.values(), ids=NAMED)


@ALL_LAWS
@given(raw=estimates, total=totals, support=masks)
@examples(150)
def test_every_block_meets_its_total_with_nothing_negative(law, raw, total, support):
    support[:, 0] = True
    placed = law(raw, total, support)
    assert (placed >= 0).all()
    assert (placed[~support] == 0).all()
    assert misses(placed, total) <= 1e-12


@ALL_LAWS
@given(raw=estimates, support=masks)
@examples(60)
def test_a_block_that_meets_its_total_is_left_alone(law, raw, support):
    support[:, 0] = True
    raw = np.where(support, raw + 1e-3, 0.0)
    placed = law(raw, raw.sum(axis=1), support)
    assert placed == pytest.approx(raw, rel=1e-9, abs=1e-9 * raw.max())


@ALL_LAWS
@given(raw=estimates, total=totals)
@examples(60)
def test_projecting_twice_changes_nothing(law, raw, total):
    support = np.ones_like(raw, bool)
    once = law(raw, total, support)
    assert law(once, total, support) == pytest.approx(once, rel=1e-9, abs=1e-12 * total.max())


@ALL_LAWS
@given(raw=estimates, total=totals, seed=st.integers(0, 99))
@examples(60)
def test_the_order_of_cells_does_not_matter(law, raw, total, seed):
    order = np.random.default_rng(seed).permutation(CELLS)
    support = np.ones_like(raw, bool)
    straight, shuffled = law(raw, total, support), law(raw[:, order], total, support)
    assert shuffled == pytest.approx(straight[:, order], rel=1e-9, abs=1e-12 * total.max())


@ALL_LAWS
@given(raw=estimates, total=totals, power=st.integers(-20, 20))
@examples(60)
def test_a_law_knows_no_unit(law, raw, total, power):
    raw, support = np.where(raw < 1e-200, 0.0, raw), np.ones_like(raw, bool)
    scaled = law(raw * 2.0**power, total * 2.0**power, support)
    assert scaled == pytest.approx(law(raw, total, support) * 2.0**power, rel=1e-9, abs=1e-12 * scaled.max())


@ALL_LAWS
@given(raw=estimates, total=arrays(np.float64, 3, elements=st.floats(0, 2.0**-990)), support=masks)
@examples(60)
def test_a_subnormal_total_is_a_total_like_any_other(law, raw, total, support):
    support[:, 0] = True
    placed = law(raw, total, support)
    assert (placed >= 0).all() and (placed[~support] == 0).all()
    assert misses(placed, total) <= 1e-12


def test_a_total_among_the_smallest_numbers_is_still_met_exactly():
    grain = 5e-324
    raw = np.array([[3.0, 1.0, 2.0, 0.0], [1.0, 1.0, 1.0, 1.0], [grain, 0, grain, 0]])
    total = np.array([7 * grain, 6 * grain, 4 * grain])
    for law in (water_fill, proportional, LAWS["power"](0.5)):
        placed = law(raw, total, np.ones_like(raw, bool))
        assert placed.sum(axis=1).tolist() == total.tolist()
        assert (placed >= 0).all()


def test_water_filling_takes_the_same_depth_everywhere_above_zero():
    # 5 + 3 + 1 = 9, wanted 6: one off each gives 4 + 2 + 0 = 6.
    placed = water_fill(np.array([[5.0, 3.0, 1.0]]), np.array([6.0]), np.ones((1, 3), bool))
    assert placed.tolist() == [[4.0, 2.0, 0.0]]


@given(raw=estimates, total=totals)
@examples(60)
def test_weights_equal_to_the_estimate_are_proportional_scaling(raw, total):
    raw, support = np.where(raw < 1e-6, 0.0, raw), np.ones_like(raw, bool)
    raw[:, 0] = 1.0
    scaled = raw * (total / raw.sum(axis=1))[:, None]
    # p - theta w may be far smaller than p: it is right to the rounding of p, and the sum to that of the total.
    near = 1e-15 * max(total.max(), raw.max())
    assert weighted(raw, total, support, raw) == pytest.approx(scaled, rel=1e-12, abs=near)
    assert proportional(raw, total, support) == pytest.approx(scaled, rel=1e-12, abs=0)


def test_the_power_law_lies_between_water_filling_and_scaling():
    raw, total, support = np.array([[8.0, 2.0]]), np.array([6.0]), np.ones((1, 2), bool)
    water, half, scaled = (
        LAWS[name](0.5)(raw, total, support)[0, 0] for name in ("water_fill", "power", "proportional")
    )
    assert scaled < half < water


@given(raw=signed, total=arrays(np.float64, 3, elements=st.floats(-1e9, 1e9)), support=masks)
@examples(60)
def test_the_additive_law_moves_every_cell_alike_and_keeps_signs_free(raw, total, support):
    support[:, :2] = True
    placed = additive(raw, total, support)
    assert (placed[~support] == 0).all()
    assert placed.sum(axis=1) == pytest.approx(total, abs=1e-4)
    assert (placed - raw)[:, 0] == pytest.approx((placed - raw)[:, 1], abs=1e-4)


def test_what_lies_outside_the_support_is_not_looked_at():
    bad, support = np.array([[4.0, np.nan, 2.0]]), np.array([[True, False, True]])
    placed = projection.project(bad, np.array([4.0]), support, weights=bad)
    assert placed == pytest.approx(np.array([[8 / 3, 0.0, 4 / 3]]))


def test_the_additive_law_gives_the_only_cell_all_of_the_total():
    placed = additive(np.array([[5.0, 9.0]]), np.array([-7.0]), np.array([[True, False]]))
    assert placed.tolist() == [[-7.0, 0.0]]
