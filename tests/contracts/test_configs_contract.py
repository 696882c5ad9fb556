"""Every file in configs/ loads, names files that are there, and none is read as something else."""

from pathlib import Path

import pytest
import yaml

from pipeline.config.load import TABLE, load
from stages.contract.section import Section

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.y*ml"))


def test_there_is_a_default():
    assert ROOT / "configs" / "default.yaml" in CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_configuration_loads(path):
    config = load(path)
    assert set(config.sections) == {stage.name for stage in TABLE}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_configuration_names_files_that_are_shipped(path):
    config = load(path)
    for stage in TABLE:
        body = stage.body()
        for source in body.sources(config[stage.name]) if hasattr(body, "sources") else []:
            assert Path(source).is_file(), f"{path.name}: {stage.name}: {source}"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_runs_do_not_share_a_folder(path):
    names = [load(other).name for other in CONFIGS]
    assert names.count(load(path).name) == 1


def _documented(section: type[Section], data: dict, text: str, missing: list[str], path: str) -> None:
    for name, field in section.model_fields.items():
        if name not in data and f"{name}:" not in text:
            missing.append(f"{path}.{name}")
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section) and isinstance(data.get(name), dict):
            _documented(inner, data[name], text, missing, f"{path}.{name}")


def test_the_default_shows_every_option():
    text = (ROOT / "configs" / "default.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    missing: list[str] = []
    for stage in TABLE:
        _documented(stage.body().Config, data.get(stage.name) or {}, text, missing, stage.name)
    assert not missing


def test_the_truth_is_no_input():
    for path in CONFIGS:
        config = load(path)
        reads = {stage.name: set() for stage in TABLE}
        for stage in TABLE:
            if stage.body().sources(config[stage.name]):
                reads[stage.name] = {
                    Path(name).resolve() for name in stage.body().sources(config[stage.name])
                }
        inputs = set().union(*(files for name, files in reads.items() if name != "evaluate"))
        shared = inputs & reads["evaluate"]
        assert {Path(item.path).resolve() for item in config["ingest"].every_pair} >= shared, path.name
        # A file of many dates may serve both, if no date of it does.
        learned = {(Path(item.path).resolve(), item.year) for item in config["ingest"].every_pair}
        singles = [single for item in config["evaluate"].truth for single in item.singles()]
        assert not learned & {(Path(item.path).resolve(), item.year) for item in singles}, path.name
