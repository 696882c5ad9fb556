"""Units and quantities mean the same mass, however it is written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.variable import QUANTITIES, parse_unit

MASSES = st.floats(1e-12, 1e15)


@pytest.mark.parametrize(
    ("text", "canonical", "scale"),
    [
        ("t", "t", 1.0),
        ("kg", "t", 1e-3),
        ("Gg a-1", "t", 1e3),
        ("t/yr", "t", 1.0),
        ("kt yr-1", "t", 1e3),
        ("MWh/yr per cell", "MWh", 1.0),
        ("GJ", "MWh", 1 / 3.6),
        (" persons ", "persons", 1.0),
    ],
)
def test_spellings_of_a_unit_are_understood(text, canonical, scale):
    unit = parse_unit(text)
    assert (unit.canonical, unit.scale) == (canonical, scale)


@pytest.mark.parametrize("text", ["tons?", "", "furlong", "t/day", "kg m-2 s-1"])
def test_a_unit_nobody_declared_is_refused(text):
    with pytest.raises(ValueError, match="unknown unit"):
        parse_unit(text)


@pytest.mark.parametrize("name", sorted(QUANTITIES))
@given(value=MASSES, area=st.floats(1.0, 1e10))
def test_mass_and_back_is_the_same_value(name, value, area):
    quantity, cell = QUANTITIES[name], np.array([area])
    again = quantity.from_mass(quantity.to_mass(np.array([value]), cell), cell)
    assert again[0] == pytest.approx(value, rel=1e-12)


def test_one_kilogram_per_square_metre_and_second_fills_a_square_kilometre_in_a_year():
    mass = QUANTITIES["flux"].to_mass(np.array([1.0]), np.array([1e6]))
    assert mass[0] == 1e6 * 365 * 86400
