"""A drafted configuration holds what the files tell, and asks for the rest; it guesses no unit."""

import json

import numpy as np
import pytest
import yaml

from model.fault import Fault
from stages.ingest import Config
from stages.sources.draft import draft


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
    with pytest.raises(Fault) as caught:
        draft(tmp_path, tmp_path)
    assert caught.value.code == 3


def test_gaps_of_a_layer_are_told_whatever_marks_them(land):
    holed = land.layer.copy()
    holed[:2] = np.nan
    land.file("roads.tif", holed)
    assert "80 of 1200 cells have no value (NaN)" in drafted(land)[1]
