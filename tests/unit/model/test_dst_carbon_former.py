"""DSTCarbonFormer as a whole: the untrained method is the base, several scales at once, small maps."""

import numpy as np
import pytest
import torch

from model.methods.dst_carbon_former import DSTCarbonFormer, Options
from model.methods.smooth_mask import SmoothMask


def ready(survey, tiles=(), **options):
    method = DSTCarbonFormer(Options(width=8, **options))
    method.prepare(survey)
    method.calibrate(tiles)
    return method


@pytest.mark.parametrize("group", [1, 2, 3, 12])
def test_the_untrained_network_equals_the_smooth_mask(group, make_tile, make_survey):
    tile = make_tile(0)
    base = SmoothMask()
    base.prepare(make_survey(tile))
    scene = tile.scene(group)
    assert np.array_equal(ready(make_survey(tile), [tile]).estimate(scene), base.estimate(scene))


def test_several_scales_share_one_step(make_tile, make_survey):
    tiles = [make_tile(seed) for seed in range(6)]
    method = ready(make_survey(tiles[0]), tiles, scales=(1, 2, 3, 4, 6))
    loss = method.loss(tiles, torch.Generator().manual_seed(0))
    loss.backward()
    assert torch.isfinite(loss)
    assert float(method.network.head.convolution.weight.grad.abs().max()) > 0


def test_a_layer_as_coarse_as_a_block_is_dropped_unless_asked_for(make_tile, make_survey):
    survey = make_survey(make_tile(0))
    assert ready(survey).describe()["inputs"] == ["built", "age"]
    assert ready(survey, blocky_layers="average").describe()["inputs"] == ["built", "age", "census"]


def test_it_refuses_to_learn_from_few_coarse_cells(make_tile, make_survey):
    method = DSTCarbonFormer()
    assert "only 36 coarse cells" in method.refusal(make_survey(dense(make_tile(0, blocks=6))))
    assert method.refusal(make_survey(dense(make_tile(0, blocks=12)))) is None


def dense(tile):
    tile.totals[:] += 1.0
    return tile


@pytest.mark.parametrize(
    ("cells", "steps", "tolerance"), [(599, 100, 0.03), (600, 300, 0.03), (1000, 300, 0.0)]
)
def test_small_maps_train_shorter_and_prefer_the_earlier_state(
    cells, steps, tolerance, make_tile, make_survey
):
    method = ready(make_survey(make_tile(0)))
    method.cells = cells
    (phase,) = method.phases()
    assert (phase.epochs * phase.options["steps"], phase.options["tolerance"]) == (steps, tolerance)


@pytest.mark.parametrize(("cells", "names"), [(999, {"0.5"}), (1000, {"0.5", "1.0"})])
def test_a_small_map_is_bent_with_half_the_strength(cells, names, make_tile, make_survey):
    tile = make_tile(0)
    method = ready(make_survey(tile), [tile])
    method.cells = cells
    torch.nn.init.normal_(method.network.head.convolution.weight)
    candidates = method.candidates(tile.scene())
    assert set(candidates) == names
    method.choose("0.5")
    assert np.array_equal(method.estimate(tile.scene()), candidates["0.5"])


def test_a_layer_without_spread_gives_no_nan(make_tile, make_survey):
    tile = make_tile(0)
    tile.covariates[1] = 7.0
    method = ready(make_survey(tile), [tile])
    torch.nn.init.normal_(method.network.head.convolution.weight)
    assert np.isfinite(method.estimate(tile.scene())).all()


def test_a_wild_network_still_gives_finite_mass(make_tile, make_survey):
    tile = make_tile(0)
    method = ready(make_survey(tile), [tile])
    torch.nn.init.constant_(method.network.head.convolution.weight, 1e6)
    estimate = method.estimate(tile.scene())
    assert np.isfinite(estimate).all()
    assert estimate.sum() == pytest.approx(tile.totals.sum(), rel=1e-5)


def test_units_do_not_matter(make_tile, make_survey):
    """The same map in grams and in megatonnes, the same covariate in metres and in kilometres."""
    tile, other = make_tile(0), make_tile(0)
    other.totals[:] *= 1e12
    other.covariates[0] *= 1000.0
    estimates = []
    for ground in (tile, other):
        method = ready(make_survey(ground), [ground])
        torch.nn.init.constant_(method.network.head.convolution.weight, 0.1)
        estimates.append(method.estimate(ground.scene()))
    np.testing.assert_allclose(estimates[1] / 1e12, estimates[0], rtol=1e-3, atol=1e-6)
