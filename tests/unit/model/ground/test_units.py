"""A unit means the same mass, however it is written."""

import numpy as np
import pytest

from model.ground.units import DAYS_PER_YEAR, SECONDS_PER_YEAR, parse_unit


def mass(text, value, area=1.0, **declared):
    return float(parse_unit(text, **declared).to_mass(np.array([value]), np.array([area]))[0])


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


@pytest.mark.parametrize(
    "text",
    ["tons?", "", " ", "1", "furlong", "t t", "kg m2 s-1", "kg/m2 s", "t m-1", "mm/m", "C", "t CO2 CH4", "t yr-1 s-1"],
)  # fmt: skip
def test_a_unit_nobody_declared_is_refused(text):
    with pytest.raises(ValueError, match="unknown unit"):
        parse_unit(text)


@pytest.mark.parametrize(
    "text",
    ["kg m-2 s-1", "kg/m2/s", "kg m^-2 s^-1", "kg m⁻² s⁻¹", "kg.m-2.s-1", "kg/(m2 s)", "kg per m2 per s"],
)  # fmt: skip
def test_a_flux_however_it_is_spelled_fills_a_square_kilometre_in_a_year(text):
    # 1 kg m-2 s-1 x 1e6 m2 x 365 x 86,400 s = 3.1536e13 kg.
    assert mass(text, 1.0, 1e6) == pytest.approx(3.1536e10, rel=1e-12)


def test_val_09_spellings_of_one_amount_agree():
    # 1 Gg on a cell of 4 km2, written in eleven ways.
    cell, kilograms = 4e6, 1e6
    spelled = {
        "kg": kilograms, "t": 1e3, "Mg": 1e3, "tonnes": 1e3, "kt": 1.0, "Gg a-1": 1.0, "t/yr": 1e3,
        "kg m-2 yr-1": kilograms / cell, "t km-2": 250.0, "t ha-1 a-1": 2.5,
        "kg m-2 s-1": kilograms / cell / SECONDS_PER_YEAR, "t/day": 1e3 / DAYS_PER_YEAR, "kt CO2 month-1": 1 / 12,
    }  # fmt: skip
    for text, value in spelled.items():
        assert mass(text, value, cell) == pytest.approx(1e3, rel=1e-12), text


def test_moles_need_a_molar_mass():
    with pytest.raises(ValueError, match="moles of what"):
        parse_unit("mol m-2 s-1")
    # 1e6 mol of methane at 16.043 g/mol are 16.043 t.
    assert mass("mol CH4", 1e6) == mass("mol", 1e6, substance="CH4") == pytest.approx(16.043)
    assert mass("mol", 1e6, molar_mass=100.0) == pytest.approx(100.0)


def test_carbon_becomes_carbon_dioxide_only_when_that_is_declared():
    assert mass("t C", 1.0) == mass("tC", 1.0) == 1.0
    assert parse_unit("t C").substance == "C"
    assert mass("t C", 12.011, substance="CO2") == pytest.approx(44.009)
    assert mass("t CO2", 44.009, substance="C") == pytest.approx(12.011)
    assert mass("t N", 28.014, substance="N2O") == pytest.approx(44.013)  # two atoms of nitrogen
    with pytest.raises(ValueError, match="cannot become CH4"):
        parse_unit("t CO2", substance="CH4")


def test_amounts_of_two_substances_do_not_add_up():
    assert not parse_unit("t C").is_of_one_kind_with(parse_unit("t CO2"))
    assert parse_unit("kt").is_of_one_kind_with(parse_unit("t CO2"))
    assert not parse_unit("t").is_of_one_kind_with(parse_unit("MWh"))


def test_energy_of_a_substance_means_nothing():
    with pytest.raises(ValueError, match="means nothing"):
        parse_unit("MWh CO2")


def test_equal_numbers_in_two_spellings_are_equal_amounts():
    assert parse_unit("Gg a-1").means_the_same(parse_unit("kt"))
    assert parse_unit("t km-2").means_the_same(parse_unit("g m-2"))
    assert not parse_unit("t km-2").means_the_same(parse_unit("t"))
    assert not parse_unit("kg s-1").means_the_same(parse_unit("kg"))
