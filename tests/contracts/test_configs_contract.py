"""Every file in configs/ loads, names files that are there, and none is read as something else."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from model.ground.errors import HectareError, HectareErrors
from model.methods import METHODS
from model.methods.choice import MethodChoice
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


# What describes the shipped city, and so has no default of its own.
OF_THE_CITY = {"ingest.long_name", "ingest.factor", "ingest.covariates", "ingest.derived", "evaluate.truth"}
# Entries of these are files as those of the totals are, where the options that all files share are shown.
LIKE_TOTALS = {"ingest.valid", "ingest.pairs", "ingest.covariates", "evaluate.truth"}
DEFAULT = ROOT / "configs" / "default.yaml"


def _blocks(text: str) -> dict[str, str]:
    """`stage.option` -> the comments above it, its line, and all below it up to the next option."""
    blocks: dict[str, list[str]] = {}
    stage, option, above = "", "", []
    for line in text.splitlines():
        if section := re.match(r"(\w+):", line):
            stage, option, above = section[1], "", []
        elif key := re.match(r"  (\w+):", line):
            option = f"{stage}.{key[1]}"
            blocks[option], above = [*above, line], []
        elif option:
            blocks[option].append(line)
            above = [*above, line] if line.startswith("  #") else []
        else:
            above.append(line)
    return {option: "\n".join(lines) for option, lines in blocks.items()}


def _sections_in(annotation: object) -> list[type[Section]]:
    """The sections that a setting may hold, alone, in a list or in a choice of several."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [kind for inner in get_args(annotation) for kind in _sections_in(inner)]


def undocumented(text: str) -> list[str]:
    """Options of the code that the text does not show where they belong, examples in comments included."""
    blocks, missing = _blocks(text), []
    for stage in TABLE:
        for name, field in stage.body().Config.model_fields.items():
            option = f"{stage.name}.{name}"
            if option not in blocks:
                missing.append(option)
                continue
            shown = blocks[option] + (blocks["ingest.totals"] if option in LIKE_TOTALS else "")
            for kind in _sections_in(field.annotation):
                lacking = [key for key in kind.model_fields if not re.search(rf"\b{key}:", shown)]
                missing += [f"{option}.{key}" for key in lacking]
    return missing


def differing(path: Path) -> list[str]:
    """Options whose value is not the code's default while nothing beside them says `(default VALUE)` rightly."""
    config, blocks = load(path), _blocks(path.read_text(encoding="utf-8"))
    found = []
    for stage in TABLE:
        for name, field in type(config[stage.name]).model_fields.items():
            option = f"{stage.name}.{name}"
            if option in OF_THE_CITY or field.is_required():
                continue
            default = field.get_default(call_default_factory=True)
            above, _, rest = blocks[option].partition(f"  {name}:")
            said = re.search(r"\(default (.*?)\)", above + rest.partition("\n")[0])
            told = yaml.safe_load(said[1]) if said else getattr(config[stage.name], name)
            if (tuple(told) if isinstance(told, list) else told) != default:
                found.append(option)
    return found


def methods_shown(text: str) -> dict[str, MethodChoice]:
    """The method that default.yaml chooses, and each that it shows in a comment, by name."""
    chosen = yaml.safe_load(text)["train"]["method"]
    commented = re.findall(
        r"# method: (\{.*?\})", re.sub(r"\n  # {4,}", "", _blocks(text)["train.method"]), re.DOTALL
    )
    examples = [chosen, *(yaml.safe_load(example.replace("1e-3", "0.001")) for example in commented)]
    kind = type("Holder", (Section,), {"__annotations__": {"method": MethodChoice}})
    return {each["name"]: kind.model_validate_json(json.dumps({"method": each})).method for each in examples}


def test_the_default_shows_every_option_where_it_belongs():
    assert not undocumented(DEFAULT.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        (r"  # zones:\n(  #   .*\n)+", "mosaic.zones.key"),
        (r"  warm_up: .*\n", "train.warm_up"),
        (r"  core: .*\n", "infer.core"),
    ],
)
def test_an_option_that_another_section_shows_is_missed_all_the_same(gone, told):
    text, count = re.subn(gone, "", DEFAULT.read_text(encoding="utf-8"))
    assert count == 1
    assert told in undocumented(text)


def test_the_default_states_the_defaults_of_the_code_or_says_which():
    assert not differing(DEFAULT)


@pytest.mark.parametrize(("old", "new", "told"), [("patience: 5", "patience: 4", "train.patience"),
                                                  ("(default 10)", "(default 11)", "tile.spatial_block")])  # fmt: skip
def test_a_value_that_is_not_the_default_is_told(old, new, told, tmp_path):
    changed = tmp_path / "default.yaml"
    changed.write_text(DEFAULT.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    assert told in differing(changed)


def test_the_default_shows_every_method_that_has_options_with_its_defaults():
    shown = methods_shown(DEFAULT.read_text(encoding="utf-8"))
    with_options = {
        name: row.options_class() for name, row in METHODS.items() if row.options_class().model_fields
    }
    assert {name: choice.options for name, choice in shown.items()} == {
        name: kind() for name, kind in with_options.items()
    }
    for name, choice in shown.items():
        assert choice.options.model_fields_set == set(with_options[name].model_fields), name


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


SECTIONS = {stage.name: stage.body().Config for stage in TABLE}
FORMER = [(name, old) for name, section in SECTIONS.items() for old in section.RENAMED]


@pytest.mark.parametrize(("name", "old"), FORMER, ids=str)
def test_a_former_key_is_answered_with_its_present_name(name, old, tmp_path):
    """The present name is a setting of the section, or an option under `method`; the former one is none."""
    section = SECTIONS[name]
    new = section.RENAMED[old].to
    assert old not in section.model_fields
    assert new in section.model_fields or new.startswith("method.")
    file = tmp_path / "mine.yaml"
    file.write_text(f"extends: {ROOT / 'configs' / 'default.yaml'}\nname: mine\n{name}:\n  {old}: 1\n")
    with pytest.raises((HectareError, HectareErrors)) as caught:
        load(file)
    faults = caught.value.faults if isinstance(caught.value, HectareErrors) else [caught.value]
    assert any(str(fault.fix).startswith(f"renamed to `{name}.{new}`") for fault in faults)
