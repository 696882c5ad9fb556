"""The base is chosen by totals it is not shown: a layer that explains them wins, one that does not, does not."""

from dataclasses import replace

import numpy as np
import pytest

from model.ground.blocks import merge
from model.ground.scene import Layer, Tile
from model.priors.prior_choice import REACHES, ChosenBase, _pick, _shifted
from model.priors.pycnophylactic import rescale_to_totals

FACTOR = 4
LAYERS = (Layer("proxy", "continuous"),)


def ground(proxy: np.ndarray, mass: np.ndarray) -> Tile:
    """One sector and year; the layer is positive everywhere."""
    blocks = mass.shape[0] // FACTOR
    totals = merge(mass, FACTOR)[None, None]
    return Tile(
        proxy[None, None].astype(np.float32),
        np.ones(mass.shape, bool),
        totals,
        np.ones(totals.shape, bool),
        np.ones((blocks, blocks), bool),
        FACTOR,
        LAYERS,
    )


@pytest.fixture
def rough():
    return np.random.default_rng(0).lognormal(0.0, 1.0, (48, 48))


@pytest.fixture
def smooth():
    place = np.linspace(0.0, np.pi, 48)
    return 1.0 + 10.0 * np.sin(place)[:, None] * np.sin(place)


def chosen(tile, make_survey):
    return ChosenBase.of(make_survey(tile), (2,)).chosen([tile])


def test_a_layer_that_explains_the_totals_makes_the_base(rough, make_survey):
    base = chosen(ground(rough, 3.0 * rough), make_survey)
    assert base.kinds == ("proxy",)  # as good as a fit of all layers, and simpler
    tile = ground(rough, 3.0 * rough)
    np.testing.assert_allclose(base(tile.scene())[0, 0], 3.0 * rough, rtol=1e-3)
    assert base.scores[base.kinds[0]][0] < 0.01 < base.scores["smooth"][0]


def test_two_layers_that_explain_the_totals_together_are_fitted(rough, make_survey):
    other = np.random.default_rng(1).lognormal(0.0, 1.0, rough.shape)
    tile = ground(rough, 3.0 * rough + 2.0 * other)
    layers = np.stack([rough, other])[:, None].astype(np.float32)
    tile = replace(tile, covariates=layers, layers=(*LAYERS, Layer("other", "continuous")))
    assert chosen(tile, make_survey).kinds[0] in ("poisson", "least_squares")


def test_a_layer_that_tells_nothing_leaves_the_smooth_density(rough, smooth, make_survey):
    assert chosen(ground(rough, smooth), make_survey).kinds == ("smooth",)


def test_each_sector_has_its_own_base(rough, smooth, make_survey):
    tile = ground(rough, 3.0 * rough)
    both = np.concatenate([tile.totals, ground(rough, smooth).totals])
    base = chosen(replace(tile, totals=both, known=np.ones(both.shape, bool)), make_survey)
    assert base.kinds[0] != "smooth" and base.kinds[1] == "smooth"


def test_the_exposure_was_fitted_to_totals_no_finer_than_those_shown(rough, make_survey):
    """Moving mass inside pairs of cells changes what 1 km totals say, not what 2 km totals say."""
    tile = ground(rough, 3.0 * rough)
    moved = tile.totals.copy()
    moved[..., ::2, ::2] += moved[..., 1::2, 1::2]
    moved[..., 1::2, 1::2] = 0.0
    other = replace(tile, totals=moved)
    first, second = (ChosenBase.of(make_survey(each), (2,)) for each in (tile, other))
    for kind in ("poisson", "least_squares"):  # a proxy's weight is a scale, which the totals set anyway
        before, after = first.candidate(kind, tile.scene(2)), second.candidate(kind, other.scene(2))
        np.testing.assert_allclose(after, before, rtol=1e-9)
        assert not np.allclose(first.candidate(kind, tile.scene()), second.candidate(kind, other.scene()))


def test_the_mean_is_the_geometric_mean_of_density_and_exposure(rough, make_survey):
    tile = ground(rough, 3.0 * rough)
    base, scene = ChosenBase.of(make_survey(tile), (2,)), tile.scene()
    parts = [
        rescale_to_totals(base.candidate(kind, scene), scene).astype(np.float64)
        for kind in ("smooth", "poisson")
    ]
    np.testing.assert_allclose(base.candidate("mean", scene) ** 2, parts[0] * parts[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("misses", "kind"),
    [
        ({"smooth": 1.0, "mean": 0.75, "poisson": 0.73, "least_squares": 0.9}, "smooth"),
        ({"smooth": 1.0, "mean": 0.65, "poisson": 0.63, "least_squares": 0.9}, "mean"),
        ({"smooth": 1.0, "mean": 0.65, "poisson": 0.61, "least_squares": 0.9}, "poisson"),
        ({"smooth": 1.0, "mean": 0.99, "poisson": 1.0, "least_squares": 0.2}, "least_squares"),
    ],
)
def test_a_base_that_promises_more_has_to_win_by_a_margin(misses, kind):
    assert _pick({name: np.log([value]) for name, value in misses.items()}, 0, few=False) == kind


@pytest.mark.parametrize(("least", "kind"), [(0.45, "mean"), (0.40, "poisson")])
def test_where_totals_are_few_an_exposure_counts_for_half_unless_it_is_far_ahead(least, kind):
    misses = {"smooth": 1.0, "mean": 0.65, "proxy": 0.55, "poisson": least}
    logs = {name: np.log([value]) for name, value in misses.items()}
    assert (_pick(logs, 0, few=False), _pick(logs, 0, few=True)) == ("poisson", kind)


def told(tile, make_survey, monkeypatch, proxy):
    """The kinds chosen for as many sectors as the proxy has misses, where everything else misses 1."""
    totals = np.concatenate([tile.totals] * len(proxy))
    many = replace(tile, totals=totals, known=np.ones(totals.shape, bool))
    base = ChosenBase.of(make_survey(many), (2,))
    misses = {"proxy": np.array(proxy)}
    monkeypatch.setattr(
        ChosenBase, "_missed", lambda _self, kind, _tiles: misses.get(kind, np.ones(len(proxy)))
    )
    return base.chosen([many]).kinds


def test_a_sector_is_judged_half_by_itself_and_half_by_all(rough, make_survey, monkeypatch):
    tile = ground(rough, 3.0 * rough)
    # By itself the last gains nothing; log 0.6 = -0.511 in the others: half of the mean, -0.170, is 0.843 < 0.95.
    assert told(tile, make_survey, monkeypatch, (0.6, 0.6, 1.0)) == ("proxy",) * 3
    # (-0.163 + 0.336 + 0.336) / 3 = 0.170. The first: half of -0.163 and of 0.170 is 0.003: not ahead.
    assert told(tile, make_survey, monkeypatch, (0.85, 1.4, 1.4)) == ("smooth",) * 3
    # The first gains enough by itself: half of -0.693 and half of (-0.693 + 0.336 + 0.336) / 3 is -0.350.
    assert told(tile, make_survey, monkeypatch, (0.5, 1.4, 1.4)) == ("proxy", "smooth", "smooth")


def test_a_sector_that_gains_much_has_no_more_to_say_about_the_others(rough, make_survey, monkeypatch):
    tile = ground(rough, 3.0 * rough)
    # At most log 2 counts for the others: -0.693 / 8 / 2 = -0.043, 0.958 > 0.95; -4.605 / 16 would be 0.75.
    assert told(tile, make_survey, monkeypatch, (0.01,) + (1.0,) * 7) == ("proxy",) + ("smooth",) * 7
    # Nor does one that loses much: (0.693 - 0.288 - 0.288) / 3 = 0.039, and half of -0.288 + 0.039 is -0.124.
    assert told(tile, make_survey, monkeypatch, (50.0, 0.75, 0.75)) == ("smooth", "proxy", "proxy")


def test_a_miss_of_nothing_is_as_good_as_one_of_a_thousandth(rough, make_survey, monkeypatch):
    tile = ground(rough, 3.0 * rough)
    monkeypatch.setattr(
        ChosenBase, "_missed", lambda _self, kind, _tiles: np.array([1e-3 * (kind != "proxy")])
    )
    base = ChosenBase.of(make_survey(tile), (2,)).chosen([tile])
    assert base.kinds == ("smooth",) and base.scores["proxy"] == pytest.approx((1e-3,))


def test_a_map_that_cannot_be_grouped_or_has_no_layer_keeps_the_smooth_density(rough, smooth, make_survey):
    tile = ground(rough, smooth)
    base = ChosenBase.of(make_survey(tile), (2,))
    assert base.chosen([]).kinds == ("smooth",)
    nothing = replace(tile, target=np.zeros_like(tile.target))
    assert base.chosen([nothing]).kinds == ("smooth",)


def test_a_shifted_tile_is_the_same_ground_elsewhere(rough):
    tile = ground(rough, rough)
    shifted = _shifted(tile, 1, 0)
    assert (shifted.totals[..., :-1, :] == tile.totals[..., 1:, :]).all()
    assert (shifted.covariates[..., :-FACTOR, :] == tile.covariates[..., FACTOR:, :]).all()
    assert not shifted.known[..., -1, :].any() and not shifted.valid[-FACTOR:].any()


def test_what_was_chosen_outlives_saving(rough, make_survey):
    tile = ground(rough, 3.0 * rough)
    base = chosen(tile, make_survey)
    again = ChosenBase.from_json(base.plain())
    assert again == base and np.array_equal(again(tile.scene()), base(tile.scene()))


def test_layers_as_coarse_as_a_block_make_no_exposure(rough, make_survey):
    tile = replace(ground(rough, 3.0 * rough), layers=(Layer("census", "total", blocky=True),))
    base = chosen(tile, make_survey)
    assert (base.kinds, base.exposures) == (("smooth",), {})
    assert np.isfinite(base(tile.scene())).all()


def test_the_intensity_reaches_as_far_as_totals_not_shown_say(rough, make_survey):
    """A rough intensity, of which the layer knows nothing, beside a layer that tells most."""
    intensity = 1.0 + np.kron(np.random.default_rng(3).random((6, 6)), np.ones((8, 8)))
    tile = ground(rough, rough * intensity)
    base = chosen(tile, make_survey)
    judged = [_shifted(tile, down, across) for down in (0, 1) for across in (0, 1)]
    missed = {reach: replace(base, reach=reach)._missed(base.kinds[0], judged)[0] for reach in REACHES}
    assert base.kinds[0] != "smooth" and len(set(missed.values())) == len(REACHES)
    assert missed[base.reach] == min(missed.values())
    assert ChosenBase.from_json(base.plain()) == base
