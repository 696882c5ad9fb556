"""A forest of plain arrays gives what the library that grew it gives, and refuses arrays that are no trees."""

from dataclasses import replace

import lightgbm
import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from model.methods.trees import gradient_boosting, random_forest
from model.priors.forest import LEAF, Forest


def by_hand() -> Forest:
    """Two trees: at most 1.5 in feature 0 gives 10, else 20 or 30 by feature 1; and a leaf of 0.5."""
    first = {
        "feature": [0, LEAF, 1, LEAF, LEAF],
        "threshold": [1.5, 0.0, -2.0, 0.0, 0.0],
        "value": [0.0, 10.0, 0.0, 20.0, 30.0],
        "left": [1, 0, 3, 0, 0],
        "right": [2, 0, 4, 0, 0],
    }
    second = {"feature": [LEAF], "threshold": [0.0], "value": [0.5], "left": [0], "right": [0]}
    return Forest.joined([{k: np.array(v) for k, v in tree.items()} for tree in (first, second)])


def noisy(rows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = np.round(rng.gamma(0.5, 1.0, (rows, 6)), 1).astype(
        np.float32
    )  # rounded: values tie, many are 0
    return features, features[:, 0] * np.exp(features[:, 1]) + rng.random(rows)


def test_a_row_ends_in_one_leaf_of_each_tree():
    rows = np.array([[1.5, 9.0], [1.6, -2.0], [1.6, -1.9]], np.float32)
    assert by_hand()(rows).tolist() == [10.5, 20.5, 30.5]
    assert by_hand().features == 2
    assert by_hand()(np.zeros((0, 2), np.float32)).shape == (0,)


def test_a_constant_forest_needs_no_features():
    assert Forest.constant(2.0)(np.zeros((3, 0), np.float32)).tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("leaf", [1, 5, 400])
def test_a_random_forest_is_scikit_learns(leaf):
    features, wanted = noisy()
    fitted = RandomForestRegressor(30, min_samples_leaf=leaf, max_features=1 / 3, random_state=0)
    fitted.fit(features, wanted)
    asked, _ = noisy(seed=1)
    np.testing.assert_allclose(random_forest.forest_of(fitted)(asked), fitted.predict(asked), rtol=1e-12)


@pytest.mark.parametrize("rows", [400, 6])
def test_boosted_trees_are_lightgbms(rows):
    """Six rows are too few for any split: all trees are single leaves."""
    features, wanted = noisy(rows)
    booster = lightgbm.train(gradient_boosting.SETTINGS, lightgbm.Dataset(features, wanted), 40)
    asked, _ = noisy(seed=1)
    raw = booster.predict(asked, raw_score=True)
    np.testing.assert_allclose(gradient_boosting.forest_of(booster)(asked), raw, rtol=1e-12, atol=1e-14)


def test_a_forest_comes_back_from_its_arrays():
    forest = by_hand()
    again = Forest.from_arrays(forest.arrays("homes"), "homes")
    for name in Forest.NAMES:
        np.testing.assert_array_equal(getattr(again, name), getattr(forest, name))


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [("left", 0, 0), ("right", 2, 1), ("left", 0, 99), ("roots", 1, 6), ("roots", 0, -1), ("feature", 1, -7)],
)
def test_arrays_that_are_no_trees_are_refused(name, place, value):
    """Otherwise a row might go round for ever, or be read from beyond the array."""
    broken = getattr(by_hand(), name).copy()
    broken[place] = value
    with pytest.raises(ValueError, match="forest"):
        replace(by_hand(), **{name: broken})


def test_arrays_of_different_length_and_values_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="length"):
        replace(by_hand(), value=by_hand().value[:-1])
    with pytest.raises(ValueError, match="value that is none"):
        replace(by_hand(), value=by_hand().value * np.nan)
