"""DSTCarbonFormer as a whole: the untrained method is the base, several scales at once, small maps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.methods.dst_carbon_former.method import DSTCarbonFormer
from model.methods.dst_carbon_former.options import DSTCarbonFormerOptions
from model.priors.pycnophylactic import rescale_to_totals
from tests.train_settings import told


def ready(survey, tiles=(), **options):
    method = DSTCarbonFormer(*told(DSTCarbonFormerOptions, width=8, **options))
    method.prepare(survey)
    method.calibrate(tiles)
    return method


def stir(member, value=None):
    """Gives the silent last convolution weights that do something."""
    generator = torch.Generator().manual_seed(member.number)
    weight = member.network.head.convolution.weight
    if value is None:
        torch.nn.init.normal_(weight, generator=generator)
    else:
        torch.nn.init.constant_(weight, value)


@pytest.mark.parametrize("network", ["plain", "dual_stream"])
@pytest.mark.parametrize("group", [1, 2, 3, 12])
def test_the_untrained_network_equals_its_base(group, network, make_tile, make_survey):
    tile = make_tile(0)
    method = ready(make_survey(tile), [tile], network=network)
    scene = tile.scene(group)
    assert np.array_equal(method.estimate(scene), rescale_to_totals(method.base(scene), scene))


def test_several_scales_share_one_step(make_tile, make_survey):
    tiles = [make_tile(seed) for seed in range(6)]
    method = ready(make_survey(tiles[0]), tiles, coarsen=(12, 6, 4, 3, 2))
    (member,) = method.members((0,))
    loss = member.loss(tiles, torch.Generator().manual_seed(0))
    loss.backward()
    assert torch.isfinite(loss)
    assert float(member.network.head.convolution.weight.grad.abs().max()) > 0


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
    ("cells", "steps", "tolerance"), [(599, 96, 0.03), (600, 200, 0.03), (1000, 200, 0.0)]
)
def test_small_maps_train_shorter_and_prefer_the_earlier_state(
    cells, steps, tolerance, make_tile, make_survey
):
    method = ready(make_survey(make_tile(0)))
    method.cells = cells
    (phase,) = method.phases()
    assert (phase.length, phase.keep.tolerance) == (steps, tolerance)


def test_the_strength_that_was_chosen_is_used(make_tile, make_survey):
    tile = make_tile(0)
    method = ready(make_survey(tile), [tile])
    (member,) = method.members((0,))
    stir(member)
    candidates = member.candidates(tile.scene())
    assert set(candidates) == {"0.5", "1.0"}
    for name, estimate in candidates.items():
        member.choose(name)
        assert np.array_equal(method.estimate(tile.scene()), estimate)


def test_log_factors_of_the_networks_are_averaged(make_tile, make_survey):
    """Half of one factor and a quarter of the other: e^a and e^b give e^((a / 1 + b / 2) / 2)."""
    tile = make_tile(0)
    method = ready(make_survey(tile), [tile])
    first, second = method.members((0, 3))
    stir(first), stir(second)
    second.choose("0.5")
    scene = tile.scene()
    base = method.base(scene)
    mean = (first.log_factor(scene, base) + 0.5 * second.log_factor(scene, base)) / 2
    np.testing.assert_array_equal(method.estimate(scene), rescale_to_totals(base * np.exp(mean), scene))
    assert not np.array_equal(first.log_factor(scene, base), second.log_factor(scene, base))


def test_what_lies_deep_in_the_rim_is_not_bent_and_the_core_does_not_notice(make_tile, make_survey):
    """The network is run on the core and as far around it as it sees, to the same effect."""
    tile = replace(make_tile(0, blocks=16), halo=4)  # 16 fine cells; the network sees 8
    method = ready(make_survey(tile), [tile])
    (member,) = method.members((0,))
    stir(member)
    scene = tile.scene(2)
    base = method.base(scene)
    cropped, whole = (member.log_factor(each, base) for each in (scene, replace(scene, rim=0)))
    assert scene.rim == 16 and whole[..., :8, :].any() and not cropped[..., :8, :].any()
    np.testing.assert_allclose(cropped[..., 16:-16, 16:-16], whole[..., 16:-16, 16:-16], atol=1e-5)


def test_without_networks_it_is_its_base(make_tile, make_survey):
    tile = make_tile(0)
    method = ready(make_survey(tile), [tile])
    stir(method.members((0,))[0])
    method.members(())
    scene = tile.scene()
    assert np.array_equal(method.estimate(scene), rescale_to_totals(method.base(scene), scene))
    assert not method.describe()["learns"] and not method.phases()


def test_a_layer_without_spread_gives_no_nan(make_tile, make_survey):
    tile = make_tile(0)
    tile.covariates[1] = 7.0
    method = ready(make_survey(tile), [tile])
    stir(method.members((0,))[0])
    assert np.isfinite(method.estimate(tile.scene())).all()


def test_a_wild_network_still_gives_finite_mass(make_tile, make_survey):
    tile = make_tile(0)
    method = ready(make_survey(tile), [tile])
    stir(method.members((0,))[0], 1e6)
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
        stir(method.members((0,))[0], 0.1)
        estimates.append(method.estimate(ground.scene()))
    np.testing.assert_allclose(estimates[1] / 1e12, estimates[0], rtol=1e-3, atol=1e-6)
