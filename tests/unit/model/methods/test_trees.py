"""Methods made of trees learn from blocks what to ask of cells, and say when their library is missing."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from model.ground.blocks import merge
from model.ground.errors import UsageError
from model.methods import method_class
from model.training.options import TrainingOptions

LIBRARIES = [("random_forest", "sklearn.ensemble"), ("gradient_boosting", "lightgbm")]
BOTH = pytest.mark.parametrize(("name", "module"), LIBRARIES)


def prepared(name, survey, seed=0):
    method = method_class(name)(None, TrainingOptions(seed=seed))
    method.prepare(survey)
    return method


@BOTH
def test_mass_goes_where_cells_look_like_heavy_blocks(make_tile, make_survey, name, module):
    """Blocks hold mass as they are built up, so among built cells the denser ones receive more."""
    tile = make_tile(0, blocks=24, sectors=1)
    scene = tile.scene()
    found = prepared(name, make_survey(tile)).estimate(scene)[0, 0]
    even = method_class("smooth_mask")(None)
    even.prepare(make_survey(tile))
    mass = tile.covariates[0, 0] * (0.2 + tile.covariates[1, 0])  # as the tile is made
    truth = mass * np.kron(scene.totals[0, 0] / np.maximum(merge(mass, 4), 1e-9), np.ones((4, 4)))
    wrong, as_even = (np.abs(values - truth).sum() for values in (found, even.estimate(scene)[0, 0]))
    assert wrong < as_even


@BOTH
def test_cells_outside_the_mask_receive_nothing(make_tile, make_survey, name, module):
    tile = make_tile(0)
    found = prepared(name, make_survey(tile)).estimate(tile.scene())
    assert not found[:, (tile.covariates[:2] <= 0).all(0)].any()


@BOTH
def test_only_blocks_of_the_training_split_are_learned_from(make_tile, make_survey, name, module):
    tile = make_tile(0)
    target = tile.target.copy()
    target[:, 6:] = False
    wild = tile.totals.copy()
    wild[..., 6:] *= 1e6
    calm, spoilt = (
        prepared(name, make_survey(replace(tile, totals=totals, target=target)))
        for totals in (tile.totals, wild)
    )
    assert calm.estimate(tile.scene()).tobytes() == spoilt.estimate(tile.scene()).tobytes()


@BOTH
def test_the_same_seed_grows_the_same_trees(make_tile, make_survey, name, module):
    survey = make_survey(make_tile(0))
    first, second = (prepared(name, survey, 7).state()[0] for _ in range(2))
    assert {key: value.tobytes() for key, value in first.items()} == {
        key: value.tobytes() for key, value in second.items()
    }


def test_another_seed_grows_another_forest(make_tile, make_survey):
    survey = make_survey(make_tile(0))
    one, other = (prepared("random_forest", survey, seed).state()[0] for seed in (0, 1))
    assert one["sector0.feature"].tobytes() != other["sector0.feature"].tobytes()


@BOTH
def test_a_sector_without_mass_or_layers_is_even_on_the_mask(make_tile, make_survey, name, module):
    tile = make_tile(0)
    totals = tile.totals.copy()
    totals[1] = 0.0
    method = prepared(name, make_survey(replace(tile, totals=totals)))
    built = (tile.covariates[:2] > 0).any(0)
    one = replace(tile.scene(), totals=np.ones_like(tile.totals))
    found = method.estimate(one)[1]
    share = built / np.maximum(np.kron(merge(built.astype(float), 4), np.ones((4, 4))), 1.0)
    np.testing.assert_allclose(found, share, rtol=1e-6)
    coarse = tuple(replace(layer, blocky=True) for layer in tile.layers)
    bare = prepared(name, replace(make_survey(tile), layers=coarse))
    flat = bare.estimate(replace(one, layers=coarse))
    np.testing.assert_allclose(flat, 1.0 / 16.0, rtol=1e-6)


@BOTH
def test_a_missing_library_is_a_usage_fault_that_names_the_extra(
    monkeypatch, make_tile, make_survey, name, module
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=name) as caught:
        prepared(name, make_survey(make_tile(0)))
    assert "trees" in caught.value.wanted


@BOTH
def test_a_checkpoint_is_used_without_the_library(monkeypatch, make_tile, make_survey, name, module):
    tile = make_tile(0)
    method = prepared(name, make_survey(tile))
    monkeypatch.setitem(sys.modules, module, None)
    again = method_class(name)(None)
    again.load_state(*method.state())
    assert again.estimate(tile.scene()).tobytes() == method.estimate(tile.scene()).tobytes()


@BOTH
def test_trees_that_ask_for_more_features_than_the_layers_give_are_refused(
    make_tile, make_survey, name, module
):
    arrays, plain = prepared(name, make_survey(make_tile(0, blocks=24))).state()
    arrays["sector0.feature"] = np.where(arrays["sector0.feature"] >= 0, 6, -1).astype(np.int32)
    with pytest.raises(ValueError, match="more than 6 features"):
        method_class(name)(None).load_state(arrays, plain)
