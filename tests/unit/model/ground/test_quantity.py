"""Depths and temperatures, and what a cell counts for in the mean of its block."""

import numpy as np
import pytest

from model.ground.grid import Grid
from model.ground.quantity import EXTENSIVE, FLUX, INTENSIVE, cell_weights, parse_state
from model.ground.units import parse_unit

ONE = np.ones(1)


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        ("mm", 1.0),
        ("mm/month", 1.0),  # the step is a month
        ("mm day-1", 28.0),  # February 1999 has 28 days
        ("mm/h", 28 * 24.0),
        ("kg m-2 s-1", 28 * 86400.0),  # 1 kg of water on 1 m2 is 1 mm
        ("kg m^-2", 1.0),
        ("cm", 10.0),
    ],
)
def test_a_rate_becomes_the_depth_that_fell_in_its_step(text, depth):
    unit = parse_state(text, 199902)
    assert unit.canonical == "mm"
    assert unit.to_mass(ONE, ONE) == pytest.approx(depth)


def test_degrees_below_zero_are_kelvin_above_it():
    unit = parse_state("C", 199902)
    assert unit.canonical == "K"
    assert unit.to_mass(np.array([-10.0]), ONE) == pytest.approx(263.15)


@pytest.mark.parametrize("text", ["mm/m", "t", "", "kg", "mm/day/day"])
def test_a_text_that_may_mean_two_things_is_refused(text):
    with pytest.raises(ValueError, match="unknown unit"):
        parse_state(text, 199902)


def test_rates_and_depths_are_of_one_kind_and_do_not_mean_the_same():
    month, day, kelvin = (parse_state(text, 199902) for text in ("mm/month", "mm/day", "K"))
    assert month.is_of_one_kind_with(day) and not month.means_the_same(day)
    assert not month.is_of_one_kind_with(kelvin)


def test_cells_nearer_the_equator_count_for_more_and_a_block_for_its_number_of_cells():
    grid = Grid(6, 3, 0.0, 60.0, 10.0, 10.0, "degrees", ellipsoid=(6371000.0, 0.0))
    weights = cell_weights(grid, 3, "area")
    assert weights.shape == (6, 1)
    assert (np.diff(weights[:3, 0]) > 0).all()
    np.testing.assert_allclose(weights.reshape(2, 3).sum(axis=1), 3.0)
    edges = np.sin(np.radians([60.0, 50.0, 40.0, 30.0]))  # areas between parallels of a sphere
    np.testing.assert_allclose(weights[:3, 0], -np.diff(edges) / -np.diff(edges).mean())
    assert (cell_weights(grid, 3, "cells") == 1.0).all()


def test_the_unit_tells_a_flux_from_an_amount_per_cell_but_never_a_mean_from_either():
    assert EXTENSIVE.shown_by(parse_unit("t/km2/yr")) is FLUX and FLUX.shown_by(parse_unit("kt")) is EXTENSIVE
    assert EXTENSIVE.shown_by(None) is EXTENSIVE
    assert INTENSIVE.shown_by(parse_unit("kt")) is INTENSIVE


def test_an_amount_is_shared_by_the_cells_of_its_block_and_a_mean_is_not():
    assert EXTENSIVE.fine_part(10) == FLUX.fine_part(10) == 100 and INTENSIVE.fine_part(10) == 1
    assert (
        EXTENSIVE.fine_unit("t", "100 m") == "t per 100 m cell" and INTENSIVE.fine_unit("mm", "100 m") == "mm"
    )


def test_a_map_of_means_is_summed_up_by_what_its_cells_count_for():
    weights = np.array([60.0, 40.0])
    assert INTENSIVE.whole(weights) == 100.0 and INTENSIVE.whole(weights[:0]) == 1.0
    assert FLUX.whole(weights) == 1.0


def test_units_of_two_quantities_never_mean_the_same():
    mean, amount = parse_state("mm", 2020), parse_unit("t")
    assert not mean.means_the_same(amount) and not amount.means_the_same(mean)
