"""Scores of fields of a depth: expected values derived by hand on small fields."""

import numpy as np
import pytest

from model.evaluation.field_scores import (
    LEVELS,
    Standard,
    fractions_skill,
    intervals,
    mapped,
    quantile_bands,
    scores,
    spectrum,
    spectrum_distance,
)


def rain(seed: int = 0, shape=(3, 16, 20)) -> np.ndarray:
    return np.random.default_rng(seed).gamma(0.5, 4.0, shape)


def test_the_truth_scores_perfectly_against_itself():
    truth = rain()
    told = scores(truth, truth, Standard.of(truth, 0.5))
    assert (told["rmse"], told["bias"], told["spectrum"]) == (0.0, 0.0, 0.0)
    assert told["r95p"] == pytest.approx(1.0) and told["fss_1"] == pytest.approx(1.0)
    assert told["wet_frequency"] == pytest.approx((truth >= 0.5).mean())


def test_errors_count_only_cells_that_both_have():
    truth = np.array([[[1.0, 2.0], [np.nan, 4.0]]])
    found = np.array([[[1.0, 5.0], [9.0, np.nan]]])
    told = scores(found, truth, Standard(0.5, 10.0))
    assert told["rmse"] == pytest.approx(np.sqrt(9.0 / 2))
    assert told["bias"] == pytest.approx(1.5)


def test_r95p_is_the_depth_above_the_true_extreme_over_the_true_one():
    truth = np.arange(1.0, 101.0).reshape(1, 10, 10)  # 95th percentile of wet: 95.05
    found = np.where(truth > 98, truth, 0.0)  # 99 + 100 of 96 + 97 + 98 + 99 + 100
    told = scores(found, truth, Standard.of(truth, 1.0))
    assert told["r95p"] == pytest.approx(199 / 490)


def test_an_event_one_cell_aside_has_no_skill_in_its_cell_and_some_around():
    truth, found = np.zeros((1, 9, 9)), np.zeros((1, 9, 9))
    truth[0, 4, 4], found[0, 4, 5] = 10.0, 10.0
    assert fractions_skill(found, truth, 5.0, 1) == 0.0
    # Windows of 3 x 3: each event reaches 9 cells, 6 of them the other's too; all shares are 1/9.
    assert fractions_skill(found, truth, 5.0, 3) == pytest.approx(6 / 9)


def test_a_wave_has_its_power_at_its_own_number():
    across = np.cos(2 * np.pi * 5 * np.arange(32) / 32)
    power = spectrum(np.broadcast_to(across, (2, 32, 32)), np.ones((2, 32, 32), bool))
    assert power.argmax() + 1 == 5
    assert power[4] > 100 * power[8:].max()


def test_ten_times_the_amplitude_is_two_decades_of_power():
    where = np.ones((3, 16, 20), bool)
    one, other = spectrum(rain(), where), spectrum(10 * rain(), where)
    assert spectrum_distance(other, one) == pytest.approx(2.0)


def test_quantile_mapping_takes_values_to_those_of_the_same_rank():
    given, wanted = np.array([0.0, 1.0, 2.0]), np.array([0.0, 3.0, 8.0])
    np.testing.assert_allclose(mapped(np.array([0.0, 0.5, 2.0, 4.0]), given, wanted), [0.0, 1.5, 8.0, 16.0])


def test_bands_hold_the_quantiles_and_are_wide_where_units_differ():
    rng = np.random.default_rng(1)
    units = np.repeat(np.arange(20), 50)
    alike, apart = rng.gamma(2.0, 1.0, 1000), rng.gamma(2.0, 1.0, 1000) * (1 + units % 4)
    bands = [quantile_bands(units, values, 100, np.random.default_rng(0)) for values in (alike, apart)]
    own = np.quantile(alike, LEVELS)
    assert ((bands[0][0] <= own + 1e-9) & (own <= bands[0][1] + 1e-9)).mean() > 0.9
    assert (bands[1][1] - bands[1][0]).mean() > 2 * (bands[0][1] - bands[0][0]).mean()


def test_methods_share_their_draws():
    truth = rain()
    units = np.arange(truth.size).reshape(truth.shape) // 64
    told = intervals(
        {"a": truth + 1.0, "b": truth + 1.0}, truth, units, Standard(0.5, 9.0), 200, np.random.default_rng(0)
    )
    assert told["a"] == told["b"]
    assert told["a"]["rmse"] == pytest.approx((1.0, 1.0))


def test_a_paired_difference_is_certain_where_one_method_is_always_as_much_worse():
    """rmse of each draw: 1 and 1.5, whatever was drawn."""
    truth = rain()
    units = np.arange(truth.size).reshape(truth.shape) // 64
    told = intervals(
        {"a": truth + 1.0, "b": truth - 1.5}, truth, units, Standard(0.5, 9.0), 200, np.random.default_rng(0)
    )
    assert told["a"]["behind"] == (0.0, 0.0) and told["b"]["behind"] == pytest.approx((0.5, 0.5))


def test_the_mean_of_a_field_has_no_power():
    where = np.ones((3, 16, 20), bool)
    np.testing.assert_allclose(spectrum(rain() + 1e3, where), spectrum(rain(), where), rtol=1e-6)


def test_a_cell_left_out_of_a_spectrum_takes_the_mean_of_the_others():
    fields, where = rain(), np.ones((3, 16, 20), bool)
    where[:, 7, 9] = False
    filled, spoilt = fields.copy(), fields.copy()
    filled[:, 7, 9] = [field[place].mean() for field, place in zip(fields, where, strict=True)]
    spoilt[0, 7, 9], spoilt[1, 7, 9] = np.nan, 1e9
    everywhere = np.ones_like(where)
    np.testing.assert_allclose(spectrum(spoilt, where), spectrum(filled, everywhere), rtol=1e-9)


def test_fractions_without_any_event_have_no_skill_to_tell():
    dry = np.zeros((1, 9, 9))
    assert np.isnan(fractions_skill(dry, dry, 5.0, 3))


def test_fractions_of_a_neighbourhood_count_only_cells_that_both_have():
    truth, found = np.zeros((1, 1, 3)), np.zeros((1, 1, 3))
    truth[0, 0, 0], found[0, 0, 1], truth[0, 0, 2] = 9.0, 9.0, np.nan
    # Two cells count; each sees one event of each field among two cells: f = o = 1/2.
    assert fractions_skill(found, truth, 5.0, 3) == 1.0
