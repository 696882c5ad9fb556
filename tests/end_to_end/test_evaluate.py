"""`pipeline evaluate` from files to tables, by every protocol, on a small city."""

import json

import pytest

from tests.synthetic_city import build_city


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """The configuration of a city of 12 x 12 km, two cases of layers."""
    folder = tmp_path_factory.mktemp("town")
    cases = {"dark": ["roads", "buildings"], "all": ["lights", "roads", "buildings"]}
    evaluate = {"methods": ["uniform", "single_proxy"], "cases": cases, "coarsenings": [2]}
    return build_city(12, seed=1).write(folder, train={"method": "smooth_mask"}, evaluate=evaluate)


@pytest.mark.slow
def test_cases_and_methods_stand_in_one_table(town, tmp_path, pipeline):
    said = pipeline("evaluate", "-c", town, "--workspace", tmp_path).stdout
    told = json.loads((tmp_path / "runs" / "city" / "scores" / "scores.json").read_text())
    places = [(row["method"], row["case"]) for row in told["rows"]]
    assert len(places) == 6 and ("single_proxy", "dark") in places and ("smooth_mask", "all") in places
    share = {(row["method"], row["case"]): row["misallocated_share"] for row in told["rows"]}
    assert share["uniform", "dark"] == pytest.approx(share["uniform", "all"], abs=1e-9)
    assert share["single_proxy", "all"] < share["uniform", "all"]
    assert "| single_proxy | dark |" in said
    assert (tmp_path / "runs" / "city" / "scores" / "scores.html").is_file()
    assert "up to date" in pipeline("evaluate", "-c", town, "--workspace", tmp_path).stdout


def test_scale_shift_needs_no_truth(town, tmp_path, pipeline):
    words = ("-c", town, "--workspace", tmp_path, "--set", "evaluate.truth=[]")
    said = pipeline("evaluate", "--protocol", "scale_shift", *words).stdout
    told = json.loads((tmp_path / "runs" / "city" / "scale_shift" / "scores.json").read_text())
    assert {row["method"] for row in told["rows"]} == {"smooth_mask", "uniform", "single_proxy"}
    assert "| uniform | 2 x 2 |" in said and all(0 < row["misallocated_share"] < 1 for row in told["rows"])
    refused = pipeline("evaluate", *words, check=False)
    assert refused.returncode == 2 and "--protocol scale_shift" in refused.stderr


@pytest.mark.slow
def test_unseen_ground_and_spoilt_layers_are_scored(town, tmp_path, pipeline):
    words = ("-c", town, "--workspace", tmp_path, "--set", "evaluate.folds=2", "--set", "evaluate.methods=[]")
    said = pipeline(
        "evaluate", "--protocol", "spatial_cross_validation", *words, "--set", "train.method=single_proxy"
    ).stdout
    assert "| single_proxy | spatial blocks | all | 2020 |" in said and "a gap of" in said
    quick = ("--set", "evaluate.shifts=[1]", "--set", "evaluate.blurs=[]")
    said = pipeline("evaluate", "--protocol", "sensitivity", *words, *quick).stdout
    assert "| every layer | dropped |" in said and "| roads | shifted by 1 |" in said
    refused = pipeline("evaluate", "--protocol", "proxies", *words, check=False)
    assert refused.returncode == 2 and "renamed to `sensitivity`" in refused.stderr
    refused = pipeline("evaluate", "--protocol", "years", *words, check=False)
    assert refused.returncode == 2 and "at least two years" in refused.stderr
    refused = pipeline(
        "evaluate",
        "--protocol",
        "spatial_cross_validation",
        *words,
        "--set",
        "evaluate.folds=20",
        check=False,
    )
    assert refused.returncode == 2 and "spatial blocks for 20 folds" in refused.stderr
