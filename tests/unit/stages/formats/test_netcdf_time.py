"""Steps of time become the year they say they are, in any calendar, and are never guessed."""

import numpy as np
import pytest

from stages.formats.netcdf.variable import Variable
from tests.unit.stages.formats.netcdf_files import MONTHS, Y, field, monthly, save, totals_of


def test_twelve_monthly_amounts_add_up_to_the_year(land, cube):
    values = np.arange(1, 13)[:, None, None] * land.totals
    made = totals_of(land, cube, monthly(land, values, {"cell_methods": "time: sum"}))
    assert made[0, 0] == pytest.approx(78 * land.totals, rel=1e-12)  # 1 + ... + 12


def test_twelve_monthly_rates_average_by_the_length_of_the_months(land, cube):
    values = np.zeros((12, 3, 4))
    values[1] = 366.0  # February 2020 has 29 of 366 days
    made = totals_of(land, cube, monthly(land, values, {"units": "t/day"}), cell_methods="time: mean")
    # A mean of 29 t a day, times the stated year of 365 days.
    assert made[0, 0] == pytest.approx(29.0 * 365.0)


def test_how_steps_become_a_year_is_never_guessed(land, refusal):
    text = refusal(land, monthly(land, np.ones((12, 3, 4))))
    assert "12 steps" in text and "time: sum" in text and "time: mean" in text


def test_a_sum_of_rates_is_refused(land, refusal):
    attrs = {"cell_methods": "time: sum", "units": "kg s-1"}
    text = refusal(land, monthly(land, np.ones((12, 3, 4)), attrs))
    assert "sum of 12 steps" in text and "time: mean" in text


def test_a_month_that_is_missing_is_told(land, refusal):
    data = monthly(land, np.ones((12, 3, 4)), {"cell_methods": "time: sum"}).isel(time=slice(0, 11))
    assert "11 steps" in refusal(land, data) and "2020" in refusal(land, data)


def test_tim_01_a_year_that_is_not_there_names_those_that_are(land, refusal):
    data = field(np.ones((2, 3, 4)), dims=("year", "y", "x"), year=("year", [2018, 2020], {}))
    text = refusal(land, data, year=2019)
    assert "2018, 2020" in text and "2019" in text


def test_tim_01_the_nearest_year_serves_a_layer_and_is_told(land, cube):
    data = field(
        np.stack([land.totals, land.totals * 2]), dims=("year", "y", "x"), year=("year", [2017, 2021], {})
    )
    save(land, data, "census.nc")
    layer = land.covariate(path="census.nc", kind="total", unit="persons", year=2020)
    made = cube(land.config(covariates=[layer], year_policy="nearest"))
    assert made.covariates(0, 0, 30, 40)[0, 0].sum() == pytest.approx(land.totals.sum() * 2, rel=1e-6)
    assert made.record.layers[0].files[0].year == 2021
    assert any("2021" in note for note in made.record.layers[0].files[0].notes)


def test_tim_02_a_year_that_stands_twice_is_told(land, refusal):
    data = field(np.ones((3, 3, 4)), dims=("time", "y", "x"), time=("time", [2019, 2020, 2020], {}))
    text = refusal(land, data)
    assert "totals.nc" in text and "twice" in text and "2020" in text


def test_tim_03_plain_numbers_are_years(land, cube):
    values = np.stack([land.totals, land.totals * 3])
    data = field(values, dims=("year", "y", "x"), year=("year", [2019, 2020], {}))
    assert (totals_of(land, cube, data)[0, 0] == values[1]).all()


@pytest.mark.parametrize(
    ("units", "times"),
    [
        ("years since 2015-01-01", [4, 5]),
        ("months since 2015-01-01", [48, 60]),
        ("years since 2000-1-1", [19, 20]),
    ],
)
def test_tim_04_years_and_months_since_are_read(land, cube, units, times):
    values = np.stack([land.totals * 3, land.totals])
    data = field(values, dims=("time", "y", "x"), time=("time", times, {"units": units}))
    assert (totals_of(land, cube, data)[0, 0] == land.totals).all()


def test_tim_04_times_nobody_can_read_name_the_file_and_the_axis(land, refusal):
    data = field(np.ones((2, 3, 4)), dims=("time", "y", "x"), time=("time", [0, 1], {"units": "index"}))
    text = refusal(land, data)
    assert "totals.nc, axis time" in text and "select" in text


@pytest.mark.parametrize(("calendar", "days"), [("360_day", 360), ("noleap", 365), ("standard", 366)])
def test_tim_05_calendars_of_models_are_read_in_their_own_days(land, cube, calendar, days):
    # 2000 was a leap year: 2001-01-01 lies 360, 365 or 366 days after 2000-01-01.
    values = np.stack([land.totals, land.totals * 2])
    attrs = {"units": "days since 2000-01-01", "calendar": calendar}
    data = field(values, dims=("time", "y", "x"), time=("time", [0, days], attrs))
    assert (totals_of(land, cube, data, year=2001)[0, 0] == values[1]).all()


def test_bounds_of_time_tell_which_year_a_step_stands_for(land, cube):
    # Stamped at their ends, as accumulations often are: the step that ends on 2021-01-01 is 2020.
    data = field(
        np.stack([land.totals, land.totals * 2]),
        dims=("time", "y", "x"),
        time=(
            "time",
            [366, 731],
            {"units": "days since 2020-01-01", "calendar": "standard", "bounds": "time_bnds"},
        ),
    ).assign(time_bnds=(("time", "two"), [[0, 366], [366, 731]]))
    assert (totals_of(land, cube, data)[0, 0] == land.totals).all()


def test_several_years_of_one_file_are_an_axis(land, cube):
    values = np.stack([land.totals * year for year in (1, 2, 3)])
    data = field(values, dims=("time", "y", "x"), time=("time", [2019, 2020, 2021], {}))
    entry = {**land.total(path=save(land, data), unit=None), "years": [2019, 2021]}
    del entry["year"]
    made = cube(land.config(totals=[entry], covariates=[]))
    assert made.years == (2019, 2021) and (made.totals()[0] == values[[0, 2]]).all()


def test_a_window_of_any_step_is_that_part_of_the_whole(land):
    values = np.random.default_rng(0).random((12, 3, 4))
    save(land, monthly(land, values[:, ::-1], {"cell_methods": "time: sum"}).assign_coords(y=Y[::-1]))
    band = Variable(str(land.folder / "totals.nc"), year=2020)
    assert band.read(0, 0, 3, 4) == pytest.approx(values.sum(axis=0))
    part = band.read(-1, 2, 3, 4)
    assert np.isnan(part[0]).all() and np.isnan(part[:, 2:]).all()
    assert (part[1:, :2] == band.read(0, 0, 3, 4)[:2, 2:]).all()


def test_a_month_that_is_missing_in_the_middle_is_told(land, refusal):
    data = monthly(land, np.ones((12, 3, 4)), {"cell_methods": "time: sum"})
    text = refusal(land, data.isel(time=[0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]))
    # The gap of 61 days after May counts as the usual 31, December as long as November: 335 of 366 days.
    assert "11 steps that fill 91.53%" in text


def daily(land, method, days):
    axis = ("time", np.array(days), {"units": "days since 2019-01-01", "calendar": "standard"})
    values = np.broadcast_to(land.totals, (len(days), 3, 4))
    return field(values, dims=("time", "y", "x"), attrs={"cell_methods": f"time: {method}"}, time=axis)


def test_days_that_are_missing_are_no_long_days(land, refusal):
    both_ends = [*range(31), *range(334, 365)]  # January and December: 62 of 365 days
    assert "62 steps that fill 16.99%" in refusal(land, daily(land, "mean", both_ends), year=2019)
    assert "62 steps that fill 16.99%" in refusal(land, daily(land, "sum", both_ends), year=2019)


def test_a_sum_lacks_no_step_and_a_mean_may_lack_some_which_is_said(land, refusal):
    but_one = [day for day in range(365) if day != 100]  # 364 of 365 days
    assert "364 steps that fill 99.73%" in refusal(land, daily(land, "sum", but_one), year=2019)
    but_ten = [day for day in range(365) if not 100 <= day < 110]  # 355 of 365 days
    with_gap = Variable(str(land.folder / save(land, daily(land, "mean", but_ten), "ten.nc")), year=2019)
    assert any("fill 97.3% of 2019" in note for note in with_gap.notes)
    assert with_gap.read(0, 0, 3, 4) == pytest.approx(land.totals, rel=1e-12)  # every day has the same


def test_a_whole_year_of_hours_adds_up(land, cube):
    hours = np.arange(8784.0)  # of 2020, a leap year
    axis = ("time", hours, {"units": "hours since 2020-01-01", "calendar": "standard"})
    values = np.broadcast_to(land.totals.astype(np.float32), (8784, 3, 4))
    data = field(values, dims=("time", "y", "x"), attrs={"cell_methods": "time: sum"}, time=axis)
    made = totals_of(land, cube, data, year=2020)
    assert made[0, 0] == pytest.approx(8784 * land.totals.astype(np.float32).astype(float), rel=1e-12)


def test_a_month_without_a_value_takes_no_other_month_away(land, cube, refusal):
    values = np.repeat(land.totals[None], 12, axis=0)
    values[3, 1, 1] = np.nan  # one month of one cell
    values[:, 2, 2] = np.nan  # a cell without any
    data = monthly(land, values, {"cell_methods": "time: sum"})
    assert "2 of 12 cells have no value" in refusal(land, data)
    made = totals_of(land, cube, data, name="zero.nc", missing="zero")
    expected = 12 * land.totals
    expected[1, 1] = 11 * land.totals[1, 1]
    expected[2, 2] = 0.0
    assert made[0, 0] == pytest.approx(expected, rel=1e-12)


def test_a_time_axis_without_steps_is_told(land, refusal):
    data = field(np.zeros((0, 3, 4)), dims=("time", "y", "x"), time=("time", np.zeros(0), MONTHS))
    assert "no steps" in refusal(land, data)
