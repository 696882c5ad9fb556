"""An intensive quantity from files to maps: means kept, units told apart, bad input refused."""

import json

import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

from model.ground.errors import HectareError
from stages.artifacts.cube import Cube
from stages.infer import stage as infer
from stages.ingest import stage as ingest
from tests.rain_world import COLS, FACTOR, ROWS, WEST, Rain, build_rain, means_of
from tests.train_settings import section

REGION = (0, 0, ROWS * FACTOR, COLS * FACTOR)


def test_the_written_netcdf_keeps_every_block_mean_weighted_by_area(rain):
    maps = rain.chain(rain.config())
    with xr.open_dataset(maps / "rain_rain.nc", engine="h5netcdf") as data:
        found, given = data["sr"].values.astype(np.float64), data["lr"].values
        area = data["cell_area"].values
        assert data["sr"].attrs["units"] == "mm"
        assert data["sr"].attrs["cell_methods"] == "area: mean time: sum"
        assert [str(day)[:10] for day in data["time"].values] == [f"2001-01-0{day}" for day in range(1, 5)]
    assert np.array_equal(np.isnan(found), np.isnan(rain.fine))
    np.testing.assert_allclose(given, rain.means, rtol=1e-12)
    known = np.isfinite(given)
    np.testing.assert_allclose(means_of(found, area)[known], rain.means[known], rtol=1e-6)
    assert np.nanmin(found) >= 0.0


def test_the_certificate_is_told_in_means(rain):
    maps = rain.chain(rain.config())
    told = json.loads((maps / "certificate.json").read_text("utf-8"))
    assert told["unit"] == "mm" and told["passed"]
    first = told["maps"][0]
    known = np.isfinite(rain.means[0])
    whole = (rain.means[0][known] * rain.room[known]).sum() / rain.room[known].sum()
    # Cells of one block count relative to their block here, so rows of blocks count alike.
    assert first["given"] == pytest.approx(whole, rel=0.1)
    assert first["placed"] == pytest.approx(first["given"], rel=1e-6)


def test_a_block_with_too_few_valid_cells_has_no_mean(rain):
    """The rule asks for half: every block whose cells are mostly sea is left without a value, and counted."""
    half = rain.config(least_valid=0.5)
    rain.chain(half)
    valid = np.isfinite(rain.fine[0]).reshape(ROWS, FACTOR, COLS, FACTOR).sum(axis=(1, 3))
    scarce = (valid > 0) & (valid < 4.5)
    assert scarce.any()
    cube = Cube.open(rain.folder / "cube")
    assert not cube.known()[0, :, scarce].any()
    assert cube.known()[0, :, valid >= 4.5].all()
    assert cube.record.scarce_blocks == 4 * int(scarce.sum())


def test_no_block_with_enough_valid_cells_is_a_fault(rain, told):
    rain.write(
        "speck.nc", np.where(np.arange(24) == 0, 1.0, np.nan)[None, None] * np.ones((1, 18, 1)), fine=True
    )
    with pytest.raises(HectareError) as caught:
        (rain.folder / "cube").mkdir()
        config = rain.config(valid={"path": "speck.nc"}, least_valid=0.9)
        ingest.run(config, out=rain.folder / "cube")
    assert caught.value.code == 3 and "90.0%" in caught.value.wanted


def test_means_made_of_fine_fields_are_those_of_the_coarse_file(rain):
    total = {"path": "fine.nc", "coarsen": True, "sector": "rain", "missing": "unknown",
             "dates": {"first": "2001-01-01", "last": "2001-01-04"}}  # fmt: skip
    (rain.folder / "cube").mkdir()
    ingest.run(rain.config(totals=[total]), out=rain.folder / "cube")
    cube = Cube.open(rain.folder / "cube")
    known = cube.known()[0]
    np.testing.assert_allclose((cube.totals() / cube.room)[0][known], rain.means[known], rtol=1e-9)


def test_pairs_are_kept_for_their_dates_alone(rain):
    pair = {"path": "fine.nc", "sector": "rain", "dates": {"first": "2001-01-01", "last": "2001-01-03"}}
    (rain.folder / "cube").mkdir()
    ingest.run(rain.config(pairs=[pair]), out=rain.folder / "cube")
    cube = Cube.open(rain.folder / "cube")
    assert cube.paired().tolist() == [[True, True, True, False]]
    np.testing.assert_allclose(cube.pair(0, 1, *REGION) / cube.weights, rain.fine[1], rtol=1e-6)
    assert np.isnan(cube.pair(0, 3, *REGION)).all()


def test_temperatures_below_zero_keep_their_means_by_the_additive_law(tmp_path):
    cold = build_rain(tmp_path, offset=-20.0)
    cold.write("fine.nc", cold.fine, fine=True, unit="C")
    cold.write("coarse.nc", cold.means, fine=False, unit="C")
    maps = cold.chain(cold.config(), infer_config=infer.Config(law="additive"))
    with xr.open_dataset(maps / "rain_rain.nc", engine="h5netcdf") as data:
        found, area = data["sr"].values.astype(np.float64) - 273.15, data["cell_area"].values
        assert data["sr"].attrs["units"] == "K" and "time: mean" in data["sr"].attrs["cell_methods"]
    known = np.isfinite(cold.means)
    assert np.nanmin(found) < -5.0
    np.testing.assert_allclose(means_of(found, area)[known], cold.means[known], atol=273 * 1e-6)


def test_files_by_pattern_are_a_time_axis_and_their_names_say_the_date(rain):
    """One file a day whose time axis says nothing."""
    for day in range(4):
        name = f"tp_200101{day + 1:02d}.nc"
        rain.write(name, rain.means[day : day + 1], fine=False)
        with xr.open_dataset(rain.folder / name, engine="h5netcdf", decode_cf=False) as data:
            bare = data.load()
        bare["time"].attrs.clear()
        bare.to_netcdf(rain.folder / name, engine="h5netcdf")
    total = {"path": "tp_%Y%m%d.nc", "sector": "rain", "missing": "unknown",
             "dates": {"first": "2001-01-01", "last": "2001-01-04", "without": ["2001-01-02"]}}  # fmt: skip
    config = rain.config(totals=[total])
    assert [path.rpartition("/")[2] for path in ingest.sources(config)] == [
        "tp_20010101.nc", "tp_20010103.nc", "tp_20010104.nc", "fine.nc",
    ]  # fmt: skip
    (rain.folder / "cube").mkdir()
    ingest.run(config, out=rain.folder / "cube")
    cube = Cube.open(rain.folder / "cube")
    assert cube.years == (20010101, 20010103, 20010104)
    known = np.isfinite(rain.means[2])
    np.testing.assert_allclose((cube.totals() / cube.room)[0, 1][known], rain.means[2][known], rtol=1e-12)


def test_a_window_is_cut_by_a_box(rain):
    box = {"bounds": [WEST + 1.5, 54.1, WEST + 6.0, 59.9]}
    pair = {"path": "fine.nc", "sector": "rain", "dates": {"first": "2001-01-01", "last": "2001-01-01"}}
    (rain.folder / "cube").mkdir()
    ingest.run(rain.config(area=box, pairs=[pair]), out=rain.folder / "cube")
    cube = Cube.open(rain.folder / "cube")
    assert cube.coarse.shape == (4, 3)
    np.testing.assert_allclose((cube.totals() / cube.room)[0, 0], rain.means[0, :4, 1:4], rtol=1e-12)
    np.testing.assert_allclose(
        cube.pair(0, 0, 0, 0, 12, 9) / cube.weights, rain.fine[0, :12, 3:12], rtol=1e-6
    )


def test_numbers_at_nodes_are_told_as_such(rain):
    total = {**rain.facts()["totals"][0], "values_at": "nodes"}
    (rain.folder / "cube").mkdir()
    ingest.run(rain.config(totals=[total]), out=rain.folder / "cube")
    told = json.loads((rain.folder / "cube" / "ingest.json").read_text("utf-8"))
    assert any("nodes" in note for note in told["totals"][0]["notes"])


def test_negative_rain_is_refused(rain, told):
    wrong = rain.means.copy()
    wrong[1, 0, 0] = -0.5
    rain.write("coarse.nc", wrong, fine=False)
    assert "1 negative total(s), the lowest -0.5" in told(rain.config())


def test_negative_rain_in_a_fine_field_is_refused(rain, told):
    wrong = rain.fine.copy()
    wrong[1, 0, 0] = -0.5
    rain.write("wrong.nc", wrong, fine=True)
    pair = {"path": "wrong.nc", "sector": "rain", "dates": {"first": "2001-01-01", "last": "2001-01-02"}}
    assert "1 negative value(s), the lowest -0.5 mm" in told(rain.config(pairs=[pair]))


def test_a_unit_that_contradicts_the_file_is_refused(rain, told):
    total = {**rain.facts()["totals"][0], "unit": "mm/month"}
    assert "`unit: mm/month`, but the file says 'mm/day'" in told(rain.config(totals=[total]))


def test_a_unit_text_nobody_understands_must_be_declared(rain, told):
    rain.write("coarse.nc", rain.means, fine=False, unit="mm/m")
    assert "unknown unit 'mm/m'" in told(rain.config())
    declared = {**rain.facts()["totals"][0], "unit": "mm/day"}
    assert ingest.check(rain.config(totals=[declared])).coarse_cells == ROWS * COLS


def test_a_pair_in_another_unit_than_its_totals_is_refused(rain, told):
    """A day's rain in mm/month is 31 times the day's in mm/day: the means tell what the tags do not."""
    rain.write("fine31.nc", rain.fine * 31, fine=True, unit="mm/m")
    pair = {"path": "fine31.nc", "sector": "rain", "unit": "mm/day",
            "dates": {"first": "2001-01-01", "last": "2001-01-01"}}  # fmt: skip
    assert "31 times the totals" in told(rain.config(pairs=[pair]))
    right = {**pair, "unit": "mm/month"}
    assert ingest.check(rain.config(pairs=[right]))


def test_rates_per_second_are_turned_into_the_depth_of_the_day(rain):
    rain.write("coarse.nc", rain.means / 86400, fine=False, unit="kg m-2 s-1")
    (rain.folder / "cube").mkdir()
    ingest.run(rain.config(), out=rain.folder / "cube")
    cube = Cube.open(rain.folder / "cube")
    known = np.isfinite(rain.means)
    np.testing.assert_allclose((cube.totals() / cube.room)[0][known], rain.means[known], rtol=1e-12)


def test_a_date_that_the_file_lacks_is_named(rain, told):
    total = {**rain.facts()["totals"][0], "dates": {"first": "2001-01-01", "last": "2001-01-05"}}
    assert "one in 2001-01-05" in told(rain.config(totals=[total]))


def test_a_date_missing_in_one_of_a_pair_is_refused(rain):
    pair = {"path": "fine.nc", "sector": "rain", "dates": {"first": "2001-01-01", "last": "2001-01-05"}}
    with pytest.raises(ValidationError, match="2001-01-05; one of a pair is missing"):
        rain.config(pairs=[pair])


def test_a_field_without_any_value_is_refused(rain, told):
    empty = rain.means.copy()
    empty[2] = np.nan
    rain.write("coarse.nc", empty, fine=False)
    assert "every cell is nodata" in told(rain.config())
    hollow = rain.fine.copy()
    hollow[1] = np.nan
    rain.write("hollow.nc", hollow, fine=True)
    rain.write("coarse.nc", rain.means, fine=False)
    pair = {"path": "hollow.nc", "sector": "rain", "dates": {"first": "2001-01-01", "last": "2001-01-02"}}
    assert "no value in any cell" in told(rain.config(pairs=[pair]))


def test_fields_off_the_fine_grid_are_refused(rain, told):
    pair = {"path": "coarse.nc", "sector": "rain", "dates": {"first": "2001-01-01", "last": "2001-01-01"}}
    assert "cells of 1.5 x 1.5 that are not those of the fine grid" in told(rain.config(pairs=[pair]))


def test_amounts_of_a_mean_are_refused(rain):
    with pytest.raises(ValidationError, match="only amounts have that"):
        rain.config(substance="CO2")


def test_a_factor_of_100_makes_500_cells_of_5_and_keeps_their_means(tmp_path):
    """A 5 x 5 window of nodes, learned from one synthetic fine date: 100 = 2 x 2 x 5 x 5."""
    rng = np.random.default_rng(0)
    down, across = np.indices((500, 500)) / 60.0
    fine = np.stack(
        [10 * np.exp(np.sin(down + part) * np.cos(across)) + rng.random((500, 500)) for part in range(3)]
    )
    lat, lon = 30.0 - (np.arange(500) + 0.5) * 0.01, 105.5 + (np.arange(500) + 0.5) * 0.01
    data = xr.Dataset(
        {"tp": (("time", "lat", "lon"), fine.astype(np.float32), {"units": "mm/day"})},
        coords={"time": ("time", np.arange(3), {"units": "days since 2023-08-01"}),
                "lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})},
    )  # fmt: skip
    data.to_netcdf(tmp_path / "fine.nc", engine="h5netcdf")
    dates = {"first": "2023-08-01", "last": "2023-08-03"}
    facts = {
        "variable": "rain", "quantity": "intensive", "factor": 100,
        "totals": [{"path": "fine.nc", "coarsen": True, "sector": "rain", "dates": dates}],
        "pairs": [{"path": "fine.nc", "sector": "rain", "dates": dates | {"last": "2023-08-02"}}],
    }  # fmt: skip
    world = Rain(tmp_path, fine, fine, fine)
    few = section(
        method="srresnet", years=1, width=4, residual_blocks=1, epochs=1, steps_per_epoch=1, batch_tiles=1
    )
    maps = world.chain(ingest.Config.model_validate(facts, context={"folder": tmp_path}), few, size=None)
    with xr.open_dataset(maps / "rain_rain.nc", engine="h5netcdf") as written:
        found, given, area = (
            written["sr"].values.astype(np.float64),
            written["lr"].values,
            written["cell_area"].values,
        )
    assert found.shape == (3, 500, 500) and given.shape == (3, 5, 5)
    weight = area.reshape(5, 100, 5, 100)
    means = (found.reshape(3, 5, 100, 5, 100) * weight).sum(axis=(2, 4)) / weight.sum(axis=(1, 3))
    np.testing.assert_allclose(means, given, rtol=1e-6)


def test_an_ingest_cut_off_is_taken_up_to_the_same_bytes(rain, monkeypatch):
    """Cut off after the pairs were kept, before the map was filled."""
    pair = {"path": "fine.nc", "sector": "rain", "dates": {"first": "2001-01-01", "last": "2001-01-03"}}
    config, whole, cut = rain.config(pairs=[pair]), rain.folder / "whole", rain.folder / "cut"
    whole.mkdir(), cut.mkdir()
    ingest.run(config, out=whole)
    fill = ingest.Filler.fill

    def killed(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ingest.Filler, "fill", killed)
    with pytest.raises(KeyboardInterrupt):
        ingest.run(config, out=cut)
    monkeypatch.setattr(ingest.Filler, "fill", fill)
    ingest.run(config, out=cut)
    made = [{path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
            for folder in (whole, cut)]  # fmt: skip
    assert made[0].keys() == made[1].keys()
    assert [name for name, content in made[0].items() if content != made[1][name]] == []
