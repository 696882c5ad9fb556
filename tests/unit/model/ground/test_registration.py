"""A layer beside its totals is found there; one in its place is left alone."""

import numpy as np
import pytest

from model.ground.registration import shift_between


def city(seed=0, blocks=(30, 34), factor=10):
    """Patchy fine mass, and its block sums."""
    chance = np.random.default_rng(seed)
    rows, cols = blocks[0] * factor, blocks[1] * factor
    fine = chance.gamma(0.3, 1.0, (rows, cols)) * np.kron(
        chance.gamma(0.5, 1.0, (rows // 5, cols // 5)), np.ones((5, 5))
    )
    return fine, fine.reshape(blocks[0], factor, blocks[1], factor).sum(axis=(1, 3))


@pytest.mark.parametrize(("down", "across"), [(0, 0), (5, 0), (-3, 5), (0, -10), (12, 7)])
def test_the_shift_of_a_layer_is_found_in_blocks(down, across):
    fine, totals = city()
    found = shift_between(np.roll(fine, (down, across), (0, 1)), totals, 10)
    assert (found.down, found.across) == pytest.approx((down / 10, across / 10), abs=0.11)
    assert found.strength > 12


def test_a_layer_that_has_nothing_to_do_with_the_totals_has_no_peak():
    _, totals = city()
    strengths = [shift_between(city(seed)[0], totals, 10).strength for seed in range(1, 9)]
    assert max(strengths) < 8


def test_scale_and_sign_do_not_matter():
    fine, totals = city()
    moved = np.roll(fine, 5, 1)
    for layer in (moved * 1e6, -moved):
        assert shift_between(layer, totals, 10).across == pytest.approx(0.5, abs=0.11)


def test_a_small_or_a_constant_ground_tells_nothing():
    fine, totals = city(blocks=(8, 30))
    assert shift_between(fine, totals, 10) is None
    fine, totals = city()
    assert shift_between(np.full_like(fine, 3.0), totals, 10) is None
