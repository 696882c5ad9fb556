"""Every row of the table of stages keeps the contract of a stage body."""

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from stages import EVALUATE, EXPERIMENTS, STAGES
from stages.contract.body import StageBody
from stages.contract.section import Section

ROOT = Path(__file__).resolve().parents[2]
ROWS = [*STAGES, EVALUATE]


@pytest.mark.parametrize("stage", [*ROWS, *EXPERIMENTS], ids=lambda stage: stage.name)
def test_a_body_takes_what_the_table_says(stage):
    parameters = inspect.signature(stage.body().run).parameters
    assert list(parameters) == ["config", *stage.needs, "out"]
    kinds = [parameter.kind for parameter in parameters.values()]
    assert kinds[0] is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert set(kinds[1:]) == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("stage", [*ROWS, *EXPERIMENTS], ids=lambda stage: stage.name)
def test_a_body_has_a_strict_frozen_section_and_a_version(stage):
    body = stage.body()
    assert issubclass(body.Config, Section)
    assert body.Config.model_config["frozen"] and body.Config.model_config["extra"] == "forbid"
    assert isinstance(body.VERSION, int) and body.VERSION >= 1


HOOKS = [
    name
    for kind in StageBody.__mro__[:-1]
    for name, value in vars(kind).items()
    if inspect.isfunction(value) and not name.startswith("_")
]


@pytest.mark.parametrize("stage", [*ROWS, *EXPERIMENTS], ids=lambda stage: stage.name)
def test_hooks_have_one_signature_and_one_name(stage):
    body = stage.body()
    assert isinstance(body, StageBody)
    own = {
        name
        for name, value in vars(type(body)).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    assert type(body) is StageBody or own <= set(HOOKS)
    for name in HOOKS:
        said = list(inspect.signature(getattr(type(body), name)).parameters)
        assert said == list(inspect.signature(getattr(StageBody, name)).parameters), name


def test_a_stage_needs_only_what_an_earlier_one_gives():
    given: set[str] = set()
    for stage in ROWS:
        assert set(stage.needs) <= given, stage.name
        assert stage.gives not in given
        given.add(stage.gives)


def test_only_one_stage_names_files_of_truth():
    """`evaluate` alone may open the truth: no other body has a setting that could name it."""
    holders = {stage.name for stage in ROWS if "truth" in stage.body().Config.model_fields}
    assert holders == {"evaluate"}
    beside = {stage.name for stage in EXPERIMENTS if "truth" in stage.body().Config.model_fields}
    assert beside == {
        "cross_validation"
    }  # it scores for `evaluate`, from whose section alone it is told the truth


@pytest.mark.parametrize(
    "stage",
    [row for row in (*ROWS, *EXPERIMENTS) if row.name not in ("train", "infer")],
    ids=lambda stage: stage.name,
)
def test_a_stage_that_does_not_learn_loads_no_torch(stage):
    name = stage.home
    code = f"import sys, pipeline.runner, pipeline.config.load, {name}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr


def test_running_ingest_loads_no_torch(tmp_path):
    """The whole command, on the shipped sample: reading every section must not load it either."""
    code = (
        "import sys\nfrom pipeline.cli.commands import main\n"
        f"try: main(['run', 'ingest', '-c', 'configs/default.yaml', '--workspace', {str(tmp_path)!r}])\n"
        "finally: print('torch loaded:', 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "torch loaded: False"


def test_stages_hold_no_state_made_at_import():
    """A folder made or a file read at import would show as a call at the top level of a body."""
    allowed = {
        "compile",
        "TypeVar",
        "ContextVar",
        "Stage",
        "dataclass",
        "frozenset",
        "set",
        "dict",
        "tuple",
        "range",
    }
    for stage in ROWS:
        path = Path(str(import_module(stage.home).__file__))
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign | ast.Expr) and isinstance(node.value, ast.Call):
                called = node.value.func
                name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                is_body = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
                if is_body and node.targets[0].id == "BODY":
                    continue  # holds a class, a number and a function
                assert name in allowed, f"{path.name}, line {node.lineno}: {name}()"


@pytest.mark.parametrize("package", ["stages", "model"])
def test_a_stage_names_commands_as_a_fix(package):
    """Spelled out in words, a command would be shown without the options that tell which run."""
    spelled = []
    for path in sorted((ROOT / package).rglob("*.py")):
        if "pipeline run" in path.read_text(encoding="utf-8"):
            spelled.append(path.name)
    assert not spelled
