"""`pipeline methods` and `pipeline schema` tell what there is, without loading torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from model.ground.errors import UsageError
from model.methods import METHODS
from pipeline.cli.commands import main
from pipeline.cli.methods import page, table
from pipeline.config.editor_schema import editor_schema

ROOT = Path(__file__).resolve().parents[4]


def test_every_method_has_a_line_and_no_torch_is_loaded():
    code = (
        "import sys\nfrom pipeline.cli.commands import main\nmain(['methods'])\n"
        "main(['methods', 'srgan'])\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    first = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    assert first[: len(METHODS)] == list(METHODS)


def test_a_missing_extra_is_said(monkeypatch):
    from dataclasses import replace

    monkeypatch.setitem(
        METHODS, "random_forest", replace(METHODS["random_forest"], package="no_such_package")
    )
    (line,) = [line for line in table() if line.startswith("random_forest")]
    assert "the extra `trees` is not installed" in line


@pytest.mark.parametrize("name", METHODS)
def test_a_method_tells_options_defaults_source_needs_and_use(name):
    text = "\n".join(page(name))
    assert METHODS[name].when in text and METHODS[name].source in text
    for option, field in METHODS[name].options_class().model_fields.items():
        assert f"  {option}: " in text and field.description in text
    assert ("ingest.pairs" in text) == (METHODS[name].trained_on == "pairs")
    assert ("covariates" in text.split("needs:")[1].splitlines()[0]) == METHODS[name].layers


def test_defaults_are_spelled_as_yaml_does():
    text = "\n".join(page("dst_carbon_former_v1_7"))
    assert "  augment: true" in text and "  without: []" in text and "  width: 64" in text
    assert "  vgg19: null" in "\n".join(page("srgan"))


def test_a_method_that_there_is_not_is_a_usage_fault():
    with pytest.raises(UsageError) as caught:
        list(page("gan"))
    assert caught.value.code == 2


def test_the_schema_for_editors_knows_each_method_and_its_options_alone(capsys):
    main(["schema"])
    schema = json.loads(capsys.readouterr().out)
    assert schema == json.loads(json.dumps(editor_schema()))
    train = schema["$defs"][schema["properties"]["train"]["$ref"].rpartition("/")[2]]
    offered = train["properties"]["method"]["anyOf"]
    assert [each["const"] for each in offered if "const" in each] == list(METHODS)
    mappings = {each["properties"]["name"]["const"]: each for each in offered if "properties" in each}
    for name, row in METHODS.items():
        assert set(mappings[name]["properties"]) == {"name", *row.options_class().model_fields}
        assert mappings[name]["additionalProperties"] is False
