"""Laws hold for any block, in numpy and in torch: totals met, nothing negative, the closest field chosen."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from model.layers import law as layer
from model.projection import (
    LAWS,
    additive,
    bounded,
    density,
    project,
    proportional,
    softmax,
    water_fill,
    weighted,
)

CELLS = 12
estimates = arrays(np.float64, (3, CELLS), elements=st.floats(0, 1e10))
signed = arrays(np.float64, (3, CELLS), elements=st.floats(-1e10, 1e10))
totals = arrays(np.float64, 3, elements=st.one_of(st.just(0.0), st.floats(1e-9, 1e12)))
masks = arrays(bool, (3, CELLS))
scales = arrays(np.float64, (3, CELLS), elements=st.floats(1e-6, 1e6))


def in_torch(raw, total, support=None, *, weights=None, upper=None):
    """The layer, called with arrays."""
    given = {
        name: None if part is None else torch.from_numpy(np.ascontiguousarray(part))
        for name, part in (("support", support), ("weights", weights), ("upper", upper))
    }
    return layer.project(torch.from_numpy(np.array(raw)), torch.from_numpy(np.array(total)), **given).numpy()


def torch_water_fill(raw, total, support):
    return in_torch(raw, total, support)


def torch_proportional(raw, total, support):
    return layer.proportional(*map(torch.from_numpy, (raw, total, support))).numpy()


def torch_power(raw, total, support):
    return layer.power(*map(torch.from_numpy, (np.array(raw), np.array(total), support)), 0.5).numpy()


BOTH = pytest.mark.parametrize("project", [project, in_torch], ids=["numpy", "torch"])
NAMED = {name: LAWS[name](0.5) for name in sorted(LAWS)} | {
    "torch_water_fill": torch_water_fill,
    "torch_proportional": torch_proportional,
    "torch_power": torch_power,
}
ALL_LAWS = pytest.mark.parametrize("law", NAMED.values(), ids=NAMED)


def misses(placed, total):
    """Worst distance of a block from its total as a share of it, summed without any rounding."""
    sums = [sum(map(Fraction, row.tolist())) for row in placed]
    pairs = [(abs(got - Fraction(due)), Fraction(due)) for got, due in zip(sums, total.tolist(), strict=True)]
    assert all(miss == 0 for miss, due in pairs if due == 0)
    return max((float(miss / due) for miss, due in pairs if due), default=0.0)


@ALL_LAWS
@given(raw=estimates, total=totals, support=masks)
@settings(max_examples=150, deadline=None)
def test_every_block_meets_its_total_with_nothing_negative(law, raw, total, support):
    support[:, 0] = True
    placed = law(raw, total, support)
    assert (placed >= 0).all()
    assert (placed[~support] == 0).all()
    assert misses(placed, total) <= 1e-12


@BOTH
@given(raw=signed, total=totals, support=masks, weights=scales, share=st.floats(1.0, 50.0))
@settings(max_examples=300, deadline=None)
def test_any_weights_and_bounds_that_hold_the_total_meet_it(project, raw, total, support, weights, share):
    support[:, 0] = True
    upper = (
        weights / np.where(support, weights, 0).sum(axis=1, keepdims=True) * total[:, None] * share * 1.001
    )
    upper[:, 1] = np.inf
    placed = project(raw, total, support, weights=weights, upper=upper)
    assert (placed >= 0).all() and (placed <= upper).all()
    assert (placed[~support] == 0).all()
    assert misses(placed, total) <= 1e-12


@ALL_LAWS
@given(raw=estimates, support=masks)
@settings(max_examples=60, deadline=None)
def test_a_block_that_meets_its_total_is_left_alone(law, raw, support):
    support[:, 0] = True
    raw = np.where(support, raw + 1e-3, 0.0)
    placed = law(raw, raw.sum(axis=1), support)
    assert placed == pytest.approx(raw, rel=1e-9, abs=1e-9 * raw.max())


@ALL_LAWS
@given(raw=estimates, total=totals)
@settings(max_examples=60, deadline=None)
def test_projecting_twice_changes_nothing(law, raw, total):
    support = np.ones_like(raw, bool)
    once = law(raw, total, support)
    assert law(once, total, support) == pytest.approx(once, rel=1e-9, abs=1e-12 * total.max())


@ALL_LAWS
@given(raw=estimates, total=totals, seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_the_order_of_cells_does_not_matter(law, raw, total, seed):
    order = np.random.default_rng(seed).permutation(CELLS)
    support = np.ones_like(raw, bool)
    straight, shuffled = law(raw, total, support), law(raw[:, order], total, support)
    assert shuffled == pytest.approx(straight[:, order], rel=1e-9, abs=1e-12 * total.max())


@ALL_LAWS
@given(raw=estimates, total=totals, power=st.integers(-20, 20))
@settings(max_examples=60, deadline=None)
def test_a_law_knows_no_unit(law, raw, total, power):
    raw, support = np.where(raw < 1e-200, 0.0, raw), np.ones_like(raw, bool)
    scaled = law(raw * 2.0**power, total * 2.0**power, support)
    assert scaled == pytest.approx(law(raw, total, support) * 2.0**power, rel=1e-9, abs=1e-12 * scaled.max())


@BOTH
@given(raw=signed, total=totals)
@settings(max_examples=60, deadline=None)
def test_a_block_does_not_feel_its_neighbours(project, raw, total):
    alone = np.concatenate([project(raw[k : k + 1], total[k : k + 1]) for k in range(3)])
    assert project(raw, total) == pytest.approx(alone, rel=1e-12, abs=1e-13 * total.max())


@BOTH
@pytest.mark.parametrize("total", [1e-9, 1e-3, 1.0, 1e12])
@pytest.mark.parametrize("factor", [2, 10, 40])
def test_every_shape_of_block_meets_every_scale_of_total(project, total, factor):
    cells = factor * factor
    rng = np.random.default_rng(factor)
    spiky = rng.lognormal(0, 6, cells)
    one = np.zeros(cells)
    one[-1] = 1e10 * total
    steps = 2.0 ** -np.arange(cells, dtype=float)
    raw = np.stack([np.full(cells, 7.0), np.zeros(cells), spiky, spiky * 1e10 * total, one, steps])
    placed = project(raw, np.full(6, total))
    assert misses(placed, np.full(6, total)) <= 1e-12
    assert placed[0] == pytest.approx(np.full(cells, total / cells), rel=1e-9)


def test_a_total_among_the_smallest_numbers_is_still_met_exactly():
    grain = 5e-324
    raw = np.array([[3.0, 1.0, 2.0, 0.0], [1.0, 1.0, 1.0, 1.0], [grain, 0, grain, 0]])
    total = np.array([7 * grain, 6 * grain, 4 * grain])
    for law in (water_fill, proportional, LAWS["power"](0.5)):
        placed = law(raw, total, np.ones_like(raw, bool))
        assert placed.sum(axis=1).tolist() == total.tolist()
        assert (placed >= 0).all()


@BOTH
@pytest.mark.parametrize("kind", ["near", "uniform", "wide", "sparse"])
def test_what_is_stored_as_float32_meets_the_total(project, kind):
    rng = np.random.default_rng(4)
    shape = (4000, 100)
    raw = {
        "near": rng.exponential(10, shape) + rng.normal(size=shape),
        "uniform": rng.random(shape),
        "wide": 10 ** rng.uniform(-6, 7, shape),
        "sparse": np.where(rng.random(shape) < 0.05, rng.random(shape) * 1e3, rng.normal(size=shape) * 1e-3),
    }[kind].astype(np.float32)
    total = 10 ** rng.uniform(-2, 4, shape[0])
    support, weights = rng.random(shape) < 0.8, rng.uniform(0.1, 1, shape).astype(np.float32)
    upper = (total[:, None] * rng.uniform(0.03, 1, shape)).astype(np.float32)
    for settings_ in ({}, {"weights": weights}, {"upper": upper}, {"weights": weights, "upper": upper}):
        placed = project(raw, total, support, **settings_)
        assert placed.dtype == np.float32
        assert (np.abs(placed.sum(axis=1, dtype=np.float64) - total) <= 1e-7 * total).all()
        exact = project(raw.astype(np.float64), total, support, **settings_)
        assert (np.abs(placed - exact) <= 1e-6 * total[:, None]).all()


def test_threads_and_chunks_do_not_show():
    raw, total = np.random.default_rng(0).exponential(5, (5001, 100)), np.full(5001, 400.0)
    assert (project(raw, total, threads=2) == project(raw, total)).all()
    assert project(raw[4990:], total[4990:]) == pytest.approx(
        project(raw, total)[4990:], rel=1e-12, abs=1e-11
    )


def test_water_filling_takes_the_same_depth_everywhere_above_zero():
    # 5 + 3 + 1 = 9, wanted 6: one off each gives 4 + 2 + 0 = 6.
    placed = water_fill(np.array([[5.0, 3.0, 1.0]]), np.array([6.0]), np.ones((1, 3), bool))
    assert placed.tolist() == [[4.0, 2.0, 0.0]]


def test_a_full_cell_hands_the_rest_to_the_others():
    # 5 + 3 + 1 = 9, wanted 12: the first holds 5, so 7 remain for 3 + t and 1 + t: t = 1.5.
    placed = bounded(
        np.array([[5.0, 3, 1]]), np.array([12.0]), np.ones((1, 3), bool), np.array([[5.0, 9, 9]])
    )
    assert placed == pytest.approx(np.array([[5.0, 4.5, 2.5]]))


def test_a_density_meets_its_total_over_cells_of_unequal_area():
    # a q: 1 (4 - t) + 2 (3 - 2 t) = 5 gives t = 1, so q = 3 and 1.
    placed = density(np.array([[4.0, 3.0]]), np.array([5.0]), np.array([[1.0, 2.0]]))
    assert placed == pytest.approx(np.array([[3.0, 1.0]]))


@given(raw=estimates, total=totals)
@settings(max_examples=60, deadline=None)
def test_weights_equal_to_the_estimate_are_proportional_scaling(raw, total):
    raw, support = np.where(raw < 1e-6, 0.0, raw), np.ones_like(raw, bool)
    raw[:, 0] = 1.0
    scaled = raw * (total / raw.sum(axis=1))[:, None]
    assert weighted(raw, total, support, raw) == pytest.approx(scaled, rel=1e-12, abs=1e-15 * total.max())
    assert proportional(raw, total, support) == pytest.approx(scaled, rel=1e-12, abs=0)


def test_the_power_law_lies_between_water_filling_and_scaling():
    raw, total, support = np.array([[8.0, 2.0]]), np.array([6.0]), np.ones((1, 2), bool)
    water, half, scaled = (
        LAWS[name](0.5)(raw, total, support)[0, 0] for name in ("water_fill", "power", "proportional")
    )
    assert scaled < half < water


@given(raw=signed, total=arrays(np.float64, 3, elements=st.floats(-1e9, 1e9)), support=masks)
@settings(max_examples=60, deadline=None)
def test_the_additive_law_moves_every_cell_alike_and_keeps_signs_free(raw, total, support):
    support[:, :2] = True
    placed = additive(raw, total, support)
    assert (placed[~support] == 0).all()
    assert placed.sum(axis=1) == pytest.approx(total, abs=1e-4)
    assert (placed - raw)[:, 0] == pytest.approx((placed - raw)[:, 1], abs=1e-4)


@given(raw=signed, total=totals, support=masks)
@settings(max_examples=60, deadline=None)
def test_softmax_meets_the_total_however_large_the_estimate(raw, total, support):
    support[:, 0] = True
    assert misses(softmax(raw, total, support), total) <= 1e-12


def test_a_quadratic_programme_finds_nothing_closer():
    rng = np.random.default_rng(11)
    for _ in range(300):
        raw, weights, upper = rng.exponential(5, 5), rng.uniform(0.1, 10, 5), rng.uniform(0.5, 20, 5)
        total = rng.uniform(0.05, 0.95) * upper.sum()

        def distance(q, raw=raw, weights=weights):
            return float((((q - raw) ** 2) / (2 * weights)).sum())

        oracle = minimize(
            distance,
            upper * total / upper.sum(),
            jac=lambda q, raw=raw, weights=weights: (q - raw) / weights,
            bounds=[(0, bound) for bound in upper],
            method="SLSQP",
            constraints={"type": "eq", "fun": lambda q, total=total: q.sum() - total, "jac": np.ones_like},
            options={"ftol": 1e-13, "maxiter": 500},
        )
        for law in (project, in_torch):
            placed = law(raw[None], np.array([total]), weights=weights[None], upper=upper[None])[0]
            assert distance(placed) <= oracle.fun + 1e-7 * (1 + oracle.fun)
            assert placed == pytest.approx(oracle.x, abs=1e-3 * total)


FINE = np.array([[1.0, 2.0], [3.0, 4.0]])
BAD = {
    "totals are negative": (FINE, [-1.0, 1.0], {}, "0"),
    "totals are negative or not finite": (FINE, [1.0, np.nan], {}, "1"),
    "no cell may receive": (FINE, [1.0, 1.0], {"support": np.array([[True, True], [False, False]])}, "1"),
    "upper bounds cannot hold": (FINE, [1.0, 9.0], {"upper": np.full((2, 2), 2.0)}, "1"),
    "upper bounds are negative": (FINE, [1.0, 1.0], {"upper": np.array([[1.0, -1.0], [1.0, 1.0]])}, "0"),
    "weights are negative": (FINE, [1.0, 1.0], {"weights": np.array([[1.0, 1.0], [1.0, -1.0]])}, "1"),
    "weights are 0 where": (FINE, [1.0, 1.0], {"weights": np.array([[1.0, 1.0], [1.0, 0.0]])}, "1"),
    "estimates are not finite": (np.array([[1.0, np.nan], [1.0, 1.0]]), [1.0, 1.0], {}, "0"),
}


@pytest.mark.parametrize("fact", BAD)
def test_what_cannot_be_met_is_refused_by_the_number_of_its_block(fact):
    raw, total, others, block = BAD[fact]
    with pytest.raises(ValueError, match=f"{fact}.* in 1 of the blocks: {block}"):
        project(raw, np.array(total), **others)


@BOTH
def test_shapes_that_do_not_belong_together_are_refused(project):
    with pytest.raises(ValueError, match="totals"):
        project(FINE, np.ones(3))
    with pytest.raises(ValueError, match="support"):
        project(FINE, np.ones(2), np.ones((2, 3), bool))


def test_what_lies_outside_the_support_is_not_looked_at():
    bad, support = np.array([[4.0, np.nan, 2.0]]), np.array([[True, False, True]])
    placed = project(bad, np.array([4.0]), support, weights=bad, upper=bad)
    assert placed == pytest.approx(np.array([[8 / 3, 0.0, 4 / 3]]))
