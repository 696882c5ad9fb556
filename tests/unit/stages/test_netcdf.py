"""NetCDF files and Zarr stores give the cube that a GeoTIFF of the same numbers gives."""

import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS

from model.fault import UsageFault
from stages.ingest import check
from stages.progress import listen
from stages.store.netcdf import Variable

X = 4_780_500 + 1000.0 * np.arange(4)  # centres of the coarse cells of `land`
Y = 2_821_500 - 1000.0 * np.arange(3)
MAPPING = CRS.from_epsg(3035).to_cf()


def field(values, *, dims=("y", "x"), name="co2", attrs=None, mapping=True, **coords):
    """A dataset as careful people write it; `coords` add to or replace the axes."""
    facts = {"units": "t", **({"grid_mapping": "crs"} if mapping else {}), **(attrs or {})}
    axes = {
        "y": ("y", Y, {"units": "m", "standard_name": "projection_y_coordinate"}),
        "x": ("x", X, {"units": "m", "standard_name": "projection_x_coordinate"}),
        **coords,
    }
    data = xr.Dataset({name: (dims, values, facts)}, {key: axis for key, axis in axes.items() if axis})
    return data.assign(crs=((), 0, MAPPING)) if mapping else data


def save(land, data, name="totals.nc", encoding=None) -> str:
    if name.endswith(".zarr"):
        data.to_zarr(land.folder / name, consolidated=False, encoding=encoding or {})
    else:
        data.to_netcdf(land.folder / name, engine="h5netcdf", encoding=encoding or {})
    return name


def totals_of(land, cube, data, name="totals.nc", encoding=None, **changes):
    unit = changes.pop("unit", None)
    total = land.total(path=save(land, data, name, encoding), unit=unit, **changes)
    return cube(land.config(totals=[total], covariates=[])).totals()


def world(values, **changes):
    """The same shape in longitude and latitude, 0.1 degrees."""
    lon = changes.pop("lon", 10.05 + 0.1 * np.arange(4))
    lat = changes.pop("lat", 51.05 - 0.1 * np.arange(3))
    data = xr.Dataset(
        {"co2": (changes.pop("dims", ("lat", "lon")), values, {"units": "t"})},
        {"lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})},
    )
    return data.rename(changes.pop("rename", {}))


@pytest.mark.parametrize("name", ["totals.nc", "totals.zarr"])
def test_a_field_in_netcdf_or_zarr_is_the_field_in_the_geotiff(land, cube, name):
    assert (totals_of(land, cube, field(land.totals), name)[0, 0] == land.totals).all()


def test_a_classic_file_is_read_too(land, cube):
    field(land.totals).to_netcdf(land.folder / "old.nc", engine="scipy", format="NETCDF3_64BIT")
    made = cube(land.config(totals=[land.total(path="old.nc", unit=None)], covariates=[]))
    assert (made.totals()[0, 0] == land.totals).all()


def test_geo_05_latitude_up_or_down_is_the_same_cube(land, cube):
    down = totals_of(land, cube, world(land.totals), "down.nc")
    up = totals_of(land, cube, world(land.totals[::-1], lat=50.85 + 0.1 * np.arange(3)), "up.nc")
    assert (up == down).all() and (down[0, 0] == land.totals).all()


@pytest.mark.parametrize(
    ("dims", "rename"),
    [
        (("lon", "lat"), {}),
        (("lat", "lon"), {"lat": "latitude", "lon": "longitude"}),
        (("lon", "lat"), {"lat": "y", "lon": "x"}),
        (("lat", "lon"), {"lat": "north_thing", "lon": "east_thing"}),  # told by their units alone
    ],
)
def test_geo_06_order_and_names_of_axes_do_not_matter(land, cube, dims, rename):
    values = land.totals if dims[0] == "lat" else land.totals.T
    made = totals_of(land, cube, world(values, dims=dims, rename=rename))
    assert (made[0, 0] == land.totals).all()


def test_geo_06_time_may_come_last(land, cube):
    data = world(land.totals).expand_dims(time=[2020], axis=2)
    assert (totals_of(land, cube, data)[0, 0] == land.totals).all()


def test_geo_07_a_landmark_lands_in_its_own_cell(land, cube):
    # One cell of the globe is lit: 16 E to 17 E, 48 N to 49 N. Vienna (16.4 E, 48.2 N) lies in it.
    values = np.zeros((180, 360))
    values[90 - 49, 180 + 16] = 1.0
    data = world(values, lat=89.5 - np.arange(180.0), lon=-179.5 + np.arange(360.0))
    save(land, data.rename(co2="light"), "light.nc")
    totals = xr.Dataset(
        {"co2": (("lat", "lon"), np.ones((3, 3)), {"units": "t"})},
        {"lat": [49.5, 48.5, 47.5], "lon": [15.5, 16.5, 17.5]},
    )
    layer = land.covariate(path="light.nc", kind="continuous")
    save(land, totals)
    made = cube(land.config(totals=[land.total(path="totals.nc", unit=None)], covariates=[layer]))
    lit = made.covariates(0, 0, 30, 30)[0, 0]
    assert (lit[10:20, 10:20] == 1).all() and lit.sum() == 100


def test_geo_08_longitudes_from_0_to_360_in_a_netcdf_are_the_same_ground(land, cube):
    values = np.random.default_rng(2).random((180, 360))
    lat = 89.5 - np.arange(180.0)
    save(land, world(values, lat=lat, lon=-179.5 + np.arange(360.0)), "signed.nc")
    save(land, world(np.roll(values, -180, axis=1), lat=lat, lon=0.5 + np.arange(360.0)), "turned.nc")
    jump = np.where(np.arange(360) < 180, 0.5 + np.arange(360.0), -359.5 + np.arange(360.0))
    save(land, world(np.roll(values, -180, axis=1), lat=lat, lon=jump), "jump.nc")
    save(land, world(land.totals, lon=-0.15 + 0.1 * np.arange(4)))  # straddles Greenwich
    total = land.total(path="totals.nc", unit=None)
    made = [
        cube(land.config(totals=[total], covariates=[land.covariate(path=path, kind="share", unit="1")]))
        for path in ("signed.nc", "turned.nc", "jump.nc")
    ]
    signed, turned, jumped = (one.covariates(0, 0, 30, 40) for one in made)
    assert (signed == turned).all() and (signed == jumped).all() and np.ptp(signed) > 0


def test_geo_10_coordinates_in_single_precision_are_made_regular_and_this_is_said(land):
    lon = (10.05 + 0.1 * np.arange(4)).astype(np.float32)
    lat = (51.05 - 0.1 * np.arange(3)).astype(np.float32)
    save(land, world(land.totals, lon=lon, lat=lat))
    band = Variable(str(land.folder / "totals.nc"))
    assert band.grid.left == pytest.approx(10.0, abs=1e-12) and band.grid.dx == pytest.approx(0.1, abs=1e-12)


def test_a_slightly_uneven_axis_is_repaired_and_this_is_said(land):
    bent = X + np.array([0.0, 5.0, -5.0, 0.0])  # 0.005 cells
    save(land, field(land.totals, x=("x", bent, {"units": "m"})))
    band = Variable(str(land.folder / "totals.nc"))
    assert band.grid.dx == pytest.approx(1000.0) and any("made regular" in note for note in band.notes)


def test_bounds_tell_when_coordinates_are_corners(land):
    edges = np.stack([X - 500, X + 500], axis=1)
    data = field(land.totals, x=("x", X - 500, {"units": "m", "bounds": "x_bnds"}))
    save(land, data.assign(x_bnds=(("x", "two"), edges)))
    band = Variable(str(land.folder / "totals.nc"))
    assert band.grid.left == 4_780_000 and any("bounds" in note for note in band.notes)


def test_kilometres_become_metres(land):
    km = {"units": "km"}
    save(land, field(land.totals, x=("x", X / 1000, km), y=("y", Y / 1000, km)))
    assert Variable(str(land.folder / "totals.nc")).grid.bounds == (
        4_780_000,
        2_819_000,
        4_784_000,
        2_822_000,
    )


@pytest.mark.parametrize("dtype", ["int16", "uint8"])
def test_val_06_packed_integers_give_physical_values(land, cube, dtype):
    packed = np.arange(12).reshape(3, 4).astype(dtype)
    data = field(packed, attrs={"scale_factor": 0.1, "add_offset": 5.0})
    assert totals_of(land, cube, data)[0, 0] == pytest.approx(packed * 0.1 + 5.0)


def test_val_02_every_way_to_say_no_value_is_understood(land):
    values = land.totals.copy()
    values[0, 0], values[0, 1], values[0, 2], values[1, 1] = -1.0, -2.0, np.nan, 1e7
    data = field(values, attrs={"_FillValue": -1.0, "missing_value": -2.0, "valid_max": 1e6})
    save(land, data)
    read = Variable(str(land.folder / "totals.nc")).read(0, 0, 3, 4)
    assert np.argwhere(np.isnan(read)).tolist() == [[0, 0], [0, 1], [0, 2], [1, 1]]


MONTHS = {"units": "days since 2020-01-01", "calendar": "standard"}
STARTS = np.cumsum([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30])  # of 2020, a leap year


def monthly(land, values, attrs=None, time=MONTHS):
    return field(values, dims=("time", "y", "x"), attrs=attrs, time=("time", STARTS, time))


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
    assert made.facts[0]["files"][0]["year"] == 2021
    assert any("2021" in note for note in made.facts[0]["files"][0]["notes"])


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


def test_sectors_may_lie_along_an_axis_or_be_variables(land, cube):
    both = np.stack([land.totals, land.totals * 2])
    data = field(both, dims=("sector", "y", "x"), sector=("sector", ["homes", "traffic"], {}))
    entry = land.total(path=save(land, data), unit=None, sectors=["homes", "traffic"], along="sector")
    made = cube(land.config(totals=[entry], covariates=[]))
    assert made.sectors == ("homes", "traffic") and (made.totals()[:, 0] == both).all()
    two = field(both[0], name="a")
    two["b"] = two["a"].copy(data=both[1])
    entry = land.total(path=save(land, two, "two.nc"), unit=None, sectors={"homes": "a", "traffic": "b"})
    assert (cube(land.config(totals=[entry], covariates=[])).totals()[:, 0] == both).all()


def test_several_years_of_one_file_are_an_axis(land, cube):
    values = np.stack([land.totals * year for year in (1, 2, 3)])
    data = field(values, dims=("time", "y", "x"), time=("time", [2019, 2020, 2021], {}))
    entry = {**land.total(path=save(land, data), unit=None), "years": [2019, 2021]}
    del entry["year"]
    made = cube(land.config(totals=[entry], covariates=[]))
    assert made.years == (2019, 2021) and (made.totals()[0] == values[[0, 2]]).all()


def test_an_axis_nobody_chose_lists_its_values(land, refusal):
    data = field(np.ones((2, 3, 4)), dims=("sector", "y", "x"), sector=("sector", ["homes", "traffic"], {}))
    text = refusal(land, data)
    assert "homes, traffic" in text and "select: {sector: ...}" in text


def test_a_variable_that_is_not_there_lists_those_that_are(land, refusal):
    data = field(land.totals, name="a")
    data["b"] = data["a"] * 2
    assert "a, b" in refusal(land, data) and "a, b" in refusal(land, data, variable="c")


def curvilinear(values, lon, lat):
    place = {"units": "degrees_east"}, {"units": "degrees_north"}
    return xr.Dataset(
        {"rain": (("j", "i"), values, {"units": "mm", "coordinates": "lon lat"})},
        {"lon": (("j", "i"), lon, place[0]), "lat": (("j", "i"), lat, place[1])},
    ).rename(j="y", i="x")


def test_a_curvilinear_layer_is_read_cell_by_cell_and_a_curvilinear_total_is_refused(land, cube, refusal):
    from pyproj import Transformer

    to_degrees = Transformer.from_crs(3035, 4326, always_xy=True)
    # Cells of 250 m in EPSG:3035, told by longitudes and latitudes alone; values rise by 1 a cell eastwards.
    east, north = np.meshgrid(4_779_000 + 250.0 * np.arange(26), 2_823_000 - 250.0 * np.arange(22))
    lon, lat = to_degrees.transform(east, north)
    data = curvilinear(np.broadcast_to(np.arange(26.0), east.shape).copy(), lon, lat)
    save(land, data, "rain.nc")
    made = cube(land.config(covariates=[land.covariate(path="rain.nc", unit="mm")]))
    found = made.covariates(0, 0, 30, 40)[0, 0]
    expected = (made.fine.x - 4_779_000) / 250.0
    assert np.abs(found - expected).max() < 1.0 and np.abs(found - expected).mean() < 0.3
    assert "curvilinear" in str(made.facts[0]["files"][0]["notes"])
    assert "curvilinear" in refusal(land, data, unit="t")


def test_a_rotated_pole_is_turned_back_for_a_layer_and_refused_for_totals(land, cube, refusal):
    from pyproj import Transformer

    pole = {
        "grid_mapping_name": "rotated_latitude_longitude",
        "grid_north_pole_latitude": 39.25,
        "grid_north_pole_longitude": -162.0,
    }
    rotated = CRS.from_cf(pole)
    turn = Transformer.from_crs(3035, rotated, always_xy=True)
    x0, y0 = turn.transform(4_782_000, 2_820_500)
    rlon, rlat = x0 + 0.005 * np.arange(-16, 17), y0 + 0.005 * np.arange(-16, 17)
    values = np.broadcast_to(
        np.arange(33.0)[:, None], (33, 33)
    ).copy()  # rises northwards, 1 every 0.005 degrees
    data = xr.Dataset(
        {
            "t2m": (("rlat", "rlon"), values, {"units": "K", "grid_mapping": "rotated_pole"}),
            "rotated_pole": ((), 0, pole),
        },
        {
            "rlat": ("rlat", rlat, {"units": "degrees", "standard_name": "grid_latitude"}),
            "rlon": ("rlon", rlon, {"units": "degrees", "standard_name": "grid_longitude"}),
        },
    )
    save(land, data, "model.nc")
    made = cube(land.config(covariates=[land.covariate(path="model.nc", variable="t2m", unit="K")]))
    found = made.covariates(0, 0, 30, 40)[0, 0]
    expected = (np.asarray(turn.transform(*np.meshgrid(made.fine.x, made.fine.y))[1]) - rlat[0]) / 0.005
    assert np.abs(found - expected).max() < 1.0
    assert "rotated pole" in refusal(land, data, variable="t2m", unit="t")


def test_counts_on_a_curvilinear_grid_are_refused(land, layer_refusal):
    lon, lat = np.meshgrid(16 + 0.01 * np.arange(30) ** 1.1, 48 + 0.01 * np.arange(30))
    text = layer_refusal(land, curvilinear(np.ones((30, 30)), lon, lat), kind="total", unit="persons")
    assert "counts" in text and "density" in text


def test_a_window_of_any_step_is_that_part_of_the_whole(land):
    values = np.random.default_rng(0).random((12, 3, 4))
    save(land, monthly(land, values[:, ::-1], {"cell_methods": "time: sum"}).assign_coords(y=Y[::-1]))
    band = Variable(str(land.folder / "totals.nc"), year=2020)
    assert band.read(0, 0, 3, 4) == pytest.approx(values.sum(axis=0))
    part = band.read(-1, 2, 3, 4)
    assert np.isnan(part[0]).all() and np.isnan(part[:, 2:]).all()
    assert (part[1:, :2] == band.read(0, 0, 3, 4)[:2, 2:]).all()


def test_every_file_of_a_store_enters_the_fingerprint(land):
    from stages.ingest import sources

    save(land, field(land.totals), "totals.zarr")
    config = land.config(totals=[land.total(path="totals.zarr", unit=None)], covariates=[])
    files = {Path(name).relative_to(land.folder).as_posix() for name in sources(config)}
    assert "totals.zarr/zarr.json" in files and any(name.startswith("totals.zarr/co2/c/") for name in files)


@pytest.fixture
def refusal(told):
    """What is said of a NetCDF file of totals that cannot be used."""

    def ask(land, data, **changes):
        total = land.total(path=save(land, data), **{"unit": None, **changes})
        return told(land.config(totals=[total], covariates=[]))

    return ask


@pytest.fixture
def layer_refusal(told):
    """What is said of a NetCDF layer that cannot be used."""

    def ask(land, data, **changes):
        return told(land.config(covariates=[land.covariate(path=save(land, data, "layer.nc"), **changes)]))

    return ask


def test_what_was_repaired_is_said_once_in_a_run_and_kept_in_the_report(land, cube):
    heard = []
    bent = X + np.array([0.0, 5.0, -5.0, 0.0])
    both = np.stack([land.totals, land.totals])
    data = field(both, dims=("s", "y", "x"), x=("x", bent, {"units": "m"}), s=("s", ["a", "b"], {}))
    entry = land.total(path=save(land, data), unit=None, sectors=["a", "b"], along="s")
    listen(heard.append)
    made = cube(land.config(totals=[entry], covariates=[]))
    listen(None)
    assert sum("made regular" in getattr(news, "text", "") for news in heard) == 1
    assert all("made regular" in total["notes"][0] for total in made.total_facts)


@pytest.mark.parametrize("library", ["h5py", "cftime", "scipy.spatial"])
def test_without_the_extra_the_message_names_it(land, monkeypatch, library):
    lon, lat = np.meshgrid(16 + 0.01 * np.arange(30), 48 + 0.01 * np.arange(30))
    time = {"units": "days since 2020-01-01"}
    data = (
        curvilinear(np.ones((30, 30)), lon, lat).expand_dims(time=[0]).assign_coords(time=("time", [0], time))
    )
    config = land.config(covariates=[land.covariate(path=save(land, data, "layer.nc"))])
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UsageFault) as caught:
        check(config)
    assert library.split(".")[0] in caught.value.found and ".[netcdf]" in caught.value.fix


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy", "zarr"])
def test_threads_that_read_one_file_change_no_byte(land, tmp_path, monkeypatch, engine):
    """HDF5 alone is not made for threads: its readers have to take turns, and nothing may show that they do."""
    from stages import ingest
    from stages.store import arrays, scan

    rng, fine = np.random.default_rng(5), (land.totals.shape[0] * 40, land.totals.shape[1] * 40)
    y, x = 2_822_000 - 25.0 * (np.arange(fine[0]) + 0.5), 4_780_000 + 25.0 * (np.arange(fine[1]) + 0.5)
    data = field(
        rng.random((6, *fine)),
        dims=("band", "y", "x"),
        y=("y", y, {"units": "m"}),
        x=("x", x, {"units": "m"}),
    )
    name = "layers.zarr" if engine == "zarr" else "layers.nc"
    chunks = {"co2": {"chunksizes": (1, 16, 16), "zlib": True}} if engine == "h5netcdf" else None
    if engine == "scipy":
        data.to_netcdf(land.folder / name, engine="scipy")
    else:
        save(land, data, name, chunks)
    layers = [land.covariate(name=f"l{k}", path=name, select={"band": k}, unit="1") for k in range(6)]
    monkeypatch.setattr(arrays, "CHUNK", 10)
    found = []
    for turn, threads in enumerate((1, 8, 8)):
        monkeypatch.setattr(ingest, "workers", lambda threads=threads: threads)
        monkeypatch.setattr(scan, "workers", lambda threads=threads: threads)
        out = tmp_path / f"turn{turn}"
        out.mkdir()
        ingest.run(land.config(covariates=layers), out=out)
        files = [file for file in sorted((out / "cube.zarr").rglob("*")) if file.is_file()]
        found.append({str(file.relative_to(out)): file.read_bytes() for file in files})
    assert found[0] == found[1] == found[2] and len(found[0]) > 6 * 12
