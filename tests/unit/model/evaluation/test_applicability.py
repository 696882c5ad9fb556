"""The dissimilarity index is 0 on what was seen and grows with the distance in covariate space."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from model.evaluation.applicability import Reference

NAMES = ("built", "constant", "lights")


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.random(200), np.full(200, 3.0), rng.lognormal(0, 1, 200)])
    return values, rng.integers(0, 8, 200)


def test_a_cell_like_a_training_point_has_index_zero_and_a_far_one_lies_outside(sample):
    values, folds = sample
    reference = Reference.of(values, NAMES, folds)
    assert reference.layers == ("built", "lights")
    kept = values[:, [0, 2]]
    assert reference.dissimilarity(kept) == pytest.approx(0.0, abs=1e-4)
    far = kept.mean(axis=0) + 50 * kept.std(axis=0)
    assert reference.dissimilarity(far[None])[0] > reference.threshold


def test_it_is_the_index_of_meyer_and_pebesma_with_equal_weights(sample):
    values, folds = sample
    reference = Reference.of(values, NAMES, folds)
    kept = values[:, [0, 2]]
    standard = (kept - kept.mean(axis=0)) / kept.std(axis=0)
    new = np.random.default_rng(1).normal(0, 2, (50, 2))
    wanted = cdist(new, standard).min(axis=1) / pdist(standard).mean()
    found = reference.dissimilarity(new * kept.std(axis=0) + kept.mean(axis=0))
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
    apart = (
        np.where(folds[:, None] == folds, np.inf, cdist(standard, standard)).min(axis=1)
        / pdist(standard).mean()
    )
    low, high = np.quantile(apart, (0.25, 0.75))
    assert reference.threshold == pytest.approx(min(apart.max(), high + 1.5 * (high - low)), rel=1e-3)


def test_it_comes_back_from_json_and_is_none_when_nothing_varies(sample):
    values, folds = sample
    reference = Reference.of(values, NAMES, folds)
    again = Reference.from_json(reference.plain())
    assert np.array_equal(
        again.dissimilarity(values[:, [0, 2]] + 1), reference.dissimilarity(values[:, [0, 2]] + 1)
    )
    assert Reference.of(np.ones((20, 3)), NAMES, np.arange(20)) is None
    assert Reference.of(np.zeros((0, 3)), NAMES, np.zeros(0, int)) is None


def test_two_spatial_blocks_are_enough_for_a_threshold():
    values = np.random.default_rng(2).random((40, 1))
    reference = Reference.of(values, ("built",), np.arange(40) % 2)
    assert reference is not None and reference.threshold > 0
    assert Reference.of(values, ("built",), np.zeros(40, int)) is None


def test_what_is_kept_has_six_digits():
    values = np.array([[1.23456789], [3.0], [7.0]]) * 1e-4
    kept = Reference.of(values, ("built",), np.arange(3))
    assert kept.mean[0] == pytest.approx(3.74486e-4, rel=1e-12)  # 11.23456789e-4 / 3 = 3.744855963e-4
