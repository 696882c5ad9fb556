"""A drafted configuration holds what the files tell, and asks for the rest; it guesses no unit."""

import json

import numpy as np
import pytest
import rasterio
import xarray as xr
import yaml
from affine import Affine
from pyproj import CRS

from model.ground.errors import HectareError
from stages.ingest.draft.config import draft
from stages.ingest.stage import Config

COARSE = Affine(1000, 0, 4_780_000, 0, -1000, 2_822_000)
FINE = Affine(100, 0, 4_780_000, 0, -100, 2_822_000)


def drafted(land):
    text, left_out = draft(land.folder, land.folder)
    return yaml.safe_load(text)["ingest"], text, left_out


def test_the_coarse_file_is_the_total_and_the_fine_one_a_layer(land):
    given, _, _ = drafted(land)
    assert [item["path"] for item in given["totals"]] == ["totals.tif"]
    assert [item["path"] for item in given["covariates"]] == ["roads.tif"]
    assert given["factor"] == 10


def test_no_unit_is_guessed_and_every_gap_is_a_question(land):
    given, text, _ = drafted(land)
    assert given["totals"][0]["unit"] is None and given["covariates"][0]["unit"] is None
    assert given["variable"] is None and given["totals"][0]["year"] is None
    assert text.count("# ?") >= 4


def test_an_answered_draft_is_a_configuration(land):
    given, _, _ = drafted(land)
    given["variable"], given["totals"][0]["year"], given["totals"][0]["unit"] = "co2", 2020, "t"
    given["covariates"][0]["unit"] = "m"
    config = Config.model_validate_json(json.dumps(given), context={"folder": land.folder})
    assert config.sectors == ("totals",) and config.known_factor == 10


def test_the_year_in_a_name_is_a_fact_for_totals(land):
    (land.folder / "totals.tif").rename(land.folder / "co2_2019_kt.tif")
    assert drafted(land)[0]["totals"][0]["year"] == 2019


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.random.default_rng(0).random((30, 40)), "share"),
        (np.random.default_rng(0).normal(0, 5, (30, 40)), "continuous"),
        (np.random.default_rng(0).integers(1, 9, (30, 40)), "class"),
    ],
)
def test_the_kind_of_a_layer_is_proposed_from_its_values(land, values, kind):
    land.file("roads.tif", values.astype(np.float32))
    assert drafted(land)[0]["covariates"][0]["kind"] == kind


def test_files_that_are_no_rasters_are_left_out_and_told(land):
    (land.folder / "page.tif").write_text("<html></html>")
    given, _, left_out = drafted(land)
    assert "saved web page" in left_out[0].found
    assert all(item["path"] != "page.tif" for item in given["covariates"])


def test_a_folder_without_rasters_is_told(tmp_path):
    with pytest.raises(HectareError) as caught:
        draft(tmp_path, tmp_path)
    assert caught.value.code == 3


def test_gaps_of_a_layer_are_told_whatever_marks_them(land):
    holed = land.layer.copy()
    holed[:2] = np.nan
    land.file("roads.tif", holed)
    assert "80 of 1200 cells have no value (NaN)" in drafted(land)[1]


def netcdf(land, name, values, dims=("sector", "time", "y", "x"), **attrs):
    axes = {
        "sector": ("sector", ["homes", "traffic"]),
        "time": ("time", [2019, 2020]),
        "y": ("y", 2_821_500 - 1000.0 * np.arange(3), {"units": "m", "axis": "Y"}),
        "x": ("x", 4_780_500 + 1000.0 * np.arange(4), {"units": "m", "axis": "X"}),
    }
    data = xr.Dataset(
        {"co2": (dims, values, {"grid_mapping": "crs", **attrs})}, {dim: axes[dim] for dim in dims}
    )
    data = data.assign(crs=((), 0, CRS.from_epsg(3035).to_cf()))
    data.to_netcdf(land.folder / name, engine="h5netcdf")


def test_sectors_and_years_of_a_netcdf_are_told_and_its_unit_is_not_guessed(land):
    netcdf(land, "totals.nc", np.random.default_rng(0).random((2, 2, 3, 4)), units="kt yr-1")
    (land.folder / "totals.tif").unlink()
    given, _, _ = drafted(land)
    (total,) = given["totals"]
    assert (total["path"], total["variable"], total["unit"]) == ("totals.nc", "co2", "kt yr-1")
    assert (total["sectors"], total["along"], total["years"]) == (
        ["homes", "traffic"],
        "sector",
        [2019, 2020],
    )
    given["variable"], given["covariates"][0]["unit"] = "co2", "m"
    config = Config.model_validate_json(json.dumps(given), context={"folder": land.folder})
    assert config.sectors == ("homes", "traffic") and config.years == (2019, 2020)
    netcdf(land, "totals.nc", np.ones((2, 2, 3, 4)), units="1")
    assert drafted(land)[0]["totals"][0]["unit"] is None


def test_how_months_become_a_year_is_asked(land):
    netcdf(land, "months.nc", np.random.default_rng(0).random((3, 4)), dims=("y", "x"), units="t")
    data = xr.open_dataset(land.folder / "months.nc", engine="h5netcdf").load()
    data.close()
    data = data.assign(co2=data["co2"].expand_dims(time=12)).assign_coords(
        time=("time", np.arange(12) * 30 + 1, {"units": "days since 2020-01-01"})
    )
    data.to_netcdf(land.folder / "months.nc", engine="h5netcdf")
    given, text, _ = drafted(land)
    assert "12 steps a year" in text
    month = next(item for item in given["totals"] if item["path"] == "months.nc")
    assert month["cell_methods"] is None and month["year"] == 2020


def test_a_fine_file_that_adds_up_to_the_totals_is_the_truth_and_no_layer(land):
    fine = np.random.default_rng(1).gamma(0.5, 5.0, (30, 40))
    land.file("answer.tif", fine)
    land.file("totals.tif", fine.reshape(3, 10, 4, 10).sum(axis=(1, 3)), COARSE)
    text, _ = draft(land.folder, land.folder)
    whole = yaml.safe_load(text)
    assert [item["path"] for item in whole["evaluate"]["truth"]] == ["answer.tif"]
    assert [item["path"] for item in whole["ingest"]["covariates"]] == ["roads.tif"]


def test_coarse_files_on_another_grid_are_layers(land):
    moved = Affine(1000, 0, 4_780_300, 0, -1000, 2_822_000)
    land.file("census.tif", land.totals, moved)
    given, _, _ = drafted(land)
    assert len(given["totals"]) == 1 and len(given["covariates"]) == 2


def test_every_band_of_a_file_is_an_entry_named_as_the_file_names_it(land):
    land.file("totals.tif", np.stack([land.totals, land.totals * 2]), COARSE)
    with rasterio.open(land.folder / "totals.tif", "r+") as data:
        data.descriptions = ("homes", "traffic")
    given, _, _ = drafted(land)
    assert [(item["sector"], item["band"]) for item in given["totals"]] == [("homes", 1), ("traffic", 2)]


def test_a_layer_whose_unit_is_an_amount_is_conserved(land):
    with rasterio.open(land.folder / "roads.tif", "r+") as data:
        data.units = ("persons per cell",)
    assert drafted(land)[0]["covariates"][0]["kind"] == "total"


def test_what_another_file_tells_already_is_left_out_of_the_totals(land):
    more = np.random.default_rng(2).gamma(2.0, 50.0, land.totals.shape)
    land.file("a_sectors.tif", np.stack([land.totals, more]), COARSE)
    land.file("b_sum_kg.tif", (land.totals + more) * 1000.0, COARSE)
    land.file("c_other.tif", more[::-1].copy(), COARSE)
    (land.folder / "totals.tif").unlink()
    given, text, _ = drafted(land)
    assert [item["path"] for item in given["totals"]] == ["a_sectors.tif", "a_sectors.tif", "c_other.tif"]
    assert "left out" in text and "follows the sum of a_sectors.tif" in text


def test_what_was_asked_of_one_band_is_not_asked_of_the_next(land):
    land.file("many.tif", np.stack([land.layer * k for k in (1, 2, 3)]), FINE)
    _, text, _ = drafted(land)
    kinds = [line for line in text.splitlines() if line.lstrip().startswith("kind:")]
    assert sum("# ?" in line for line in kinds) == 2  # roads.tif and the first band of many.tif
    assert sum("# as above" in line for line in kinds) == 2


def test_the_truth_is_asked_for_once_however_often_the_folder_holds_it(land):
    cells = np.random.default_rng(5).gamma(2.0, 5.0, (2, 30, 40))
    blocks = cells.reshape(2, 3, 10, 4, 10).sum(axis=(2, 4))
    land.file("totals.tif", blocks, COARSE)
    with rasterio.open(land.folder / "totals.tif", "r+") as data:
        data.descriptions = ("homes", "traffic")
    axes = {
        "sector": ("sector", ["homes", "traffic"]),
        "y": ("y", 2_821_950 - 100.0 * np.arange(30), {"units": "m", "axis": "Y"}),
        "x": ("x", 4_780_050 + 100.0 * np.arange(40), {"units": "m", "axis": "X"}),
    }
    truth = xr.Dataset(
        {"co2": (("sector", "y", "x"), cells, {"grid_mapping": "crs", "units": "t yr-1"})}, axes
    )
    truth.assign(crs=((), 0, CRS.from_epsg(3035).to_cf())).to_netcdf(
        land.folder / "a_truth.nc", engine="h5netcdf"
    )
    land.file("b_truth_kg.tif", cells * 1000.0, FINE)  # both sectors once more
    padded = np.zeros((32, 43))  # their sum, on a grid that begins a row higher and goes on further
    padded[1:31, :40] = cells.sum(axis=0)
    land.file("c_sum.tif", padded, FINE @ Affine.translation(0, -1))
    _, text, _ = drafted(land)
    truths = yaml.safe_load(text)["evaluate"]["truth"]
    assert [(item["path"], item["sector"]) for item in truths] == [
        ("a_truth.nc", "homes"),
        ("a_truth.nc", "traffic"),
    ]
    assert text.count('left out: "b_truth_kg.tif"') == 2
