"""From activity to emission: factors by unit and fuel, and two sets of maps that both keep their totals."""

import json

import numpy as np
import pytest
import rasterio
from pydantic import ValidationError

from model.ground.errors import HectareError, HectareErrors, InputError
from model.ground.units import parse_unit
from stages.declare.emission_factors import Emission, resolve
from stages.formats import zarr_groups as arrays
from tests.small_world import build_world

MWH = parse_unit("MWh/yr")


def emission(*factors, variable="co2"):
    plain = {"unit": "t CO2/MWh", "source": "an annex"}
    return Emission.model_validate({"variable": variable, "factors": [plain | factor for factor in factors]})


def table(*factors, unit=MWH, sectors=("homes",), years=(2012,)):
    return resolve(emission(*factors), unit, "heat", sectors, years).factors


def test_fuels_are_weighted_by_their_shares():
    gas_and_wood = {"gas": {"share": 0.6, "factor": 0.2}, "wood": {"share": 0.4, "factor": 0.05}}
    # 0.6 x 0.2 + 0.4 x 0.05 = 0.14
    assert table({"sector": "homes", "fuels": gas_and_wood})[0][0] == pytest.approx(0.14)


@pytest.mark.parametrize(
    ("text", "factor"),
    [("t CO2/MWh", 0.2), ("kg CO2/MWh", 2e-4), ("kg CO2 per GJ", 7.2e-4), ("t/GWh", 2e-4), ("g CO2e / kWh", 2e-4)],
)  # fmt: skip
def test_units_of_factors_are_read_as_written(text, factor):
    # kg/GJ: 0.2 kg = 2e-4 t for each GJ = 1/3.6 MWh.
    assert table({"sector": "homes", "factor": 0.2, "unit": text})[0][0] == pytest.approx(factor)


@pytest.mark.parametrize(
    "text", ["", "t", "MWh/t", "t CO2/person", "persons/MWh", "t CO2/MWh/yr", "tons?/MWh"]
)
def test_val_08_a_factor_in_no_known_unit_stops_with_what_is_accepted(text):
    with pytest.raises(InputError, match="the unit") as told:
        table({"sector": "homes", "factor": 0.2, "unit": text})
    assert "t CO2/MWh" in told.value.wanted


def test_every_total_needs_a_factor_and_every_factor_a_total():
    with pytest.raises(InputError, match="no factor for other 2012"):
        table({"sector": "homes", "factor": 0.2}, sectors=("homes", "other"))
    with pytest.raises((HectareError, HectareErrors), match="factors for cars"):
        table({"sector": "homes", "factor": 0.2}, {"sector": "cars", "factor": 1.0})
    with pytest.raises(InputError, match="a second factor"):
        table({"sector": "homes", "factor": 0.2}, {"sector": "homes", "year": 2012, "factor": 0.3})
    with pytest.raises(InputError, match="t CO2 and t CH4"):
        table(
            {"sector": "homes", "factor": 0.2},
            {"sector": "x", "factor": 0.2, "unit": "t CH4/MWh"},
            sectors=("homes", "x"),
        )


def test_cfg_05_shares_that_miss_one_and_factors_given_twice_are_refused():
    for wrong in (
        {"sector": "homes", "fuels": {"gas": {"share": 0.5, "factor": 0.2}}},
        {"sector": "homes"},
        {"sector": "homes", "factor": 1.0, "fuels": {"gas": {"share": 1.0, "factor": 0.2}}},
        {"sector": "homes", "factor": -1.0},
        {"sector": "homes", "factor": 1.0, "source": ""},
    ):
        with pytest.raises(ValidationError):
            emission(wrong)


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    world = build_world(tmp_path_factory.mktemp("emission"), years=(2012, 2013))
    told = resolve(
        emission({"sector": "homes", "fuels": {"<gas>": {"share": 1.0, "factor": 0.2}}},
                 {"sector": "other", "year": 2012, "factor": 0.3}, {"sector": "other", "year": 2013, "factor": 0.0}),
        MWH, "heat", ("homes", "other"), (2012, 2013),
    )  # fmt: skip
    store = world.cube / "cube.zarr"
    arrays.open_group(store, "ingest", mode="r+").attrs.update({"emission": told.to_json()})
    arrays.seal(store)
    return world, world.make_maps()


def read(path):
    with rasterio.open(path) as data:
        return data.read(1).astype(np.float64), data.tags(), data.units[0]


def test_each_emission_is_its_factor_times_the_activity_and_keeps_its_totals(maps):
    world, folder = maps
    given = arrays.open_group(world.cube / "cube.zarr", "ingest")["heat"][...]
    for sector, year, factor in (("homes", 2012, 0.2), ("other", 2012, 0.3), ("other", 2013, 0.0)):
        activity, _, unit = read(folder / f"heat_{sector}_{year}.tif")
        emitted, tags, tonnes = read(folder / f"co2_{sector}_{year}.tif")
        assert (unit, tonnes, tags["unit"], tags["factors"]) == ("MWh", "t", "t", repr(factor))
        assert emitted == pytest.approx(activity * factor, rel=1e-5)
        blocks = emitted.reshape(4, 10, 3, 10).sum(axis=(1, 3))
        totals = given[("homes", "other").index(sector), (2012, 2013).index(year)]
        assert blocks == pytest.approx(totals * factor, rel=1e-6)


def test_the_sum_of_sectors_is_weighted_by_their_factors(maps):
    _, folder = maps
    whole = read(folder / "co2_all_2012.tif")[0]
    parts = read(folder / "co2_homes_2012.tif")[0] + read(folder / "co2_other_2012.tif")[0]
    assert whole == pytest.approx(parts, rel=1e-5)


def test_the_certificate_and_the_page_carry_both(maps):
    _, folder = maps
    told = json.loads((folder / "certificate.json").read_text())
    assert told["passed"] and len(told["maps"]) == 12
    assert {(fact["variable"], fact["unit"]) for fact in told["maps"]} == {("heat", "MWh"), ("co2", "t")}
    compared = {(fact["sector"], fact["year"]): fact for fact in told["emission"]["compared"]}
    fact = compared["homes", 2012]
    assert fact["emission"] == pytest.approx(0.2 * fact["activity"], rel=1e-8)
    page = (folder / "report.html").read_text()
    assert "From activity to emission" in page and "an annex" in page
    assert "<gas>" not in page and "&lt;gas&gt;" in page
