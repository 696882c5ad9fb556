"""A configuration is checked as a whole, and every mistake is told with its place."""

from pathlib import Path

import pytest
from fake_chain import FAKE_TABLE, write_config

from model.ground.errors import HectareError, HectareErrors
from pipeline.config.load import RunConfig, load


def faults_of(path: Path, *overrides: str) -> list[HectareError]:
    with pytest.raises((HectareError, HectareErrors)) as caught:
        load(path, overrides, FAKE_TABLE)
    faults = caught.value.faults if isinstance(caught.value, HectareErrors) else [caught.value]
    assert {fault.code for fault in faults} == {2}
    assert all(fault.where and fault.found and fault.wanted and fault.fix for fault in faults)
    return faults


def loaded(path: Path, *overrides: str) -> RunConfig:
    return load(path, overrides, FAKE_TABLE)


def test_a_missing_section_means_its_defaults(tmp_path):
    config = loaded(write_config(tmp_path))
    assert config.name == "town" and config["tile"].stride == 60
    assert config["ingest"].source == str(tmp_path / "source.txt")


def test_a_missing_section_without_defaults_is_told(tmp_path):
    path = tmp_path / "town.yaml"
    path.write_text("tile:\n  size: 90\n")
    (fault,) = faults_of(path)
    assert fault.where.endswith("ingest.source") and "source" in fault.fix


def test_cfg_01_an_unknown_key_is_told_with_line_and_what_was_meant(tmp_path):
    (fault,) = faults_of(write_config(tmp_path, "train:\n  learning_rte: 1\n"))
    assert "town.yaml, line 4: train.learning_rte" in fault.where
    assert "did you mean `train.learning_rate`" in fault.fix


def test_cfg_01_an_unknown_key_at_the_top_is_looked_for_in_the_sections(tmp_path):
    (fault,) = faults_of(write_config(tmp_path, "learning_rte: 1\n"))
    assert "line 3" in fault.where and "train.learning_rate" in fault.fix


def test_cfg_02_a_key_given_twice_is_refused(tmp_path):
    (fault,) = faults_of(write_config(tmp_path, "train:\n  epochs: 1\n  epochs: 2\n"))
    assert "line 4" in fault.found and "line 5" in fault.found


def test_cfg_03_a_number_in_scientific_notation_is_a_number(tmp_path):
    assert loaded(write_config(tmp_path, "train:\n  learning_rate: 1e-4\n"))["train"].learning_rate == 0.0001


def test_cfg_04_all_mistakes_are_told_in_one_go(tmp_path):
    path = tmp_path / "town.yaml"
    path.write_text(
        "ingest:\n  depth: deep\ntile:\n  size: 0\n  nonsense: 1\n"
        "train:\n  epochs: 2.5\n  epochs: 3.5\nsome: 1\n"
    )
    where = [fault.where.split(": ", 1)[1] for fault in faults_of(path)]
    assert sorted(where) == sorted(
        [
            "ingest.depth",
            "ingest.source",
            "tile.size",
            "tile.nonsense",
            "train.epochs",
            "train.epochs",
            "some",
        ]
    )


def test_cfg_04_a_value_of_the_wrong_type_is_shown_as_it_stands(tmp_path):
    (fault,) = faults_of(write_config(tmp_path, "train:\n  epochs: many\n"))
    assert fault.found == '"many"' and "whole number" in fault.wanted and "line 4" in fault.where


@pytest.mark.parametrize("value", ["'3'", "true", "3.0"])
def test_cfg_04_nothing_is_taken_for_a_whole_number_that_is_none(value, tmp_path):
    faults_of(write_config(tmp_path, f"train:\n  epochs: {value}\n"))


def test_cfg_05_settings_that_cannot_work_together_are_told_with_the_rule(tmp_path):
    (fault,) = faults_of(write_config(tmp_path, "tile:\n  size: 50\n"))
    assert fault.wanted == "stride 60 must not exceed size 50" and "line 3: tile" in fault.where


def test_a_section_that_is_no_mapping_is_told(tmp_path):
    (fault,) = faults_of(write_config(tmp_path, "tile: 5\n"))
    assert fault.where.endswith("tile") and fault.found == "5"


def test_a_file_extends_another_mappings_merge_and_lists_are_replaced(tmp_path):
    write_config(tmp_path, "  layers: [a, b]\n  depth: 5\ntile:\n  size: 90\n", name="base")
    child = tmp_path / "child.yaml"
    child.write_text("extends: base.yaml\ningest:\n  layers: [c]\ntile:\n  stride: 45\n")
    config = loaded(child)
    assert config.name == "child" and config["ingest"].layers == ("c",) and config["ingest"].depth == 5
    assert (config["tile"].size, config["tile"].stride) == (90, 45)


def test_a_mistake_names_the_file_its_key_came_from(tmp_path):
    write_config(tmp_path, "tile:\n  size: none\n", name="base")
    child = tmp_path / "child.yaml"
    child.write_text("extends: base.yaml\ntile:\n  stride: none\n")
    by_key = {fault.where.split(": ")[1]: fault.where for fault in faults_of(child)}
    assert "base.yaml, line 4" in by_key["tile.size"] and "child.yaml, line 3" in by_key["tile.stride"]


def test_paths_of_an_extended_file_are_relative_to_that_file(tmp_path):
    write_config(tmp_path / "deep", name="base")
    child = tmp_path / "child.yaml"
    child.write_text("extends: deep/base.yaml\n")
    assert loaded(child)["ingest"].source == str(tmp_path / "deep" / "source.txt")


def test_files_that_extend_each_other_are_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    (fault,) = faults_of(tmp_path / "a.yaml")
    assert "loop" in fault.found and "b.yaml, line 1" in fault.where


def test_words_of_the_command_line_override_the_file(tmp_path):
    path = write_config(tmp_path, "  layers: [a]\n")
    config = loaded(
        path, "train.learning_rate=1e-4", "ingest.layers=[x, y]", "ingest.layers.0=z", "name=other"
    )
    assert (
        config["train"].learning_rate == 1e-4
        and config["ingest"].layers == ("z", "y")
        and config.name == "other"
    )


@pytest.mark.parametrize(
    "word", ["train.epoch=5", "train.epochs=few", "epochs", "=5", "train.epochs.x=1", "a.b=[1"]
)
def test_a_wrong_override_is_told_as_such(word, tmp_path):
    (fault,) = faults_of(write_config(tmp_path, "train:\n  epochs: 3\n"), word)
    assert f"--set {word}" in fault.where


NAMES = [
    "../../x",
    "/abs",
    "..\\x",
    '"nul\\0"',
    "x" * 300,
    "CON",
    "nul.txt",
    "-rf",
    ".hidden",
    "a:b",
    "'a '",
    '""',
    "5",
]


@pytest.mark.parametrize("name", NAMES)
def test_sec_09_a_run_name_that_could_leave_its_folder_is_refused(name, tmp_path):
    (fault,) = faults_of(write_config(tmp_path, f"name: {name}\n"))
    assert "name" in fault.where and len(fault.found) < 200


@pytest.mark.parametrize("name", NAMES[:-1])
def test_sec_09_a_layer_name_that_could_leave_its_folder_is_refused(name, tmp_path):
    faults_of(write_config(tmp_path, f"  layers: [{name}]\n"))


def test_sec_12_names_may_hold_letters_of_any_script(tmp_path):
    name = "ünï 空 layer"
    config = loaded(write_config(tmp_path, f"name: {name}\n", name="ünï 空 layer's"))
    assert config.name == name


@pytest.mark.parametrize(
    "path",
    ["http://localhost/x", "s3://bucket/x", "/vsicurl/http://localhost/x", "/vsizip/a.zip/x", "netcdf:x:y"],
)
def test_sec_04_only_files_of_this_machine_are_named(path, tmp_path):
    file = tmp_path / "town.yaml"
    file.write_text(f"ingest:\n  source: '{path}'\n")
    (fault,) = faults_of(file)
    assert "only files on this machine" in fault.wanted and path in fault.found


def test_cfg_05_a_tile_that_does_not_fit_the_factor_is_told_with_its_line(tmp_path):
    text = """
ingest:
  variable: co2
  factor: 7
  totals:
    - {path: a.tif, year: 2020, unit: t}
tile:
  size: 120
infer:
  halo: 90
"""
    file = tmp_path / "clash.yaml"
    file.write_text(text)
    with pytest.raises(HectareErrors) as caught:
        load(file)
    told = {fault.where: fault for fault in caught.value.faults}
    assert caught.value.code == 2
    tile = next(fault for where, fault in told.items() if where.endswith("tile.size"))
    assert "line 8" in tile.where and "126" in tile.wanted
    assert any(where.endswith("infer.halo") for where in told)


def test_what_several_entries_lack_is_told_once_with_every_line(tmp_path):
    path = tmp_path / "town.yaml"
    path.write_text(
        "ingest:\n  variable: co2\n  totals:\n    - {path: a.tif, unit: t}\n    - {path: b.tif, unit: t}\n"
        "    - path: c.tif\n      year: null\n"
    )
    with pytest.raises(HectareError) as caught:
        load(path)  # by the real chain
    fault = caught.value
    assert "line 4: ingest.totals[0].year" in fault.where and "2 more times, lines 5, 7" in fault.where
    assert fault.found == "nothing" and "a `year`" in fault.wanted
    assert fault.fix == "set `ingest.totals[0].year`"
