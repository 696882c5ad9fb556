"""The toy method and the toy stage of docs/developing.md are written into a copy of the tree and run."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs/developing.md").read_text("utf-8")
ENTRY = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]["pipeline"]


def block(name: str) -> str:
    """The code block of the guide that follows <!-- run: NAME -->."""
    found = re.search(rf"<!-- run: {name} -->\n```(?:python|text)\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None, name
    return found.group(1)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the packages, with what the guide adds."""
    root = tmp_path_factory.mktemp("tree")
    for package in ("model", "stages", "pipeline"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "model/methods/classical/layer_power.py").write_text(block("method"), "utf-8")
    insert(root / "model/methods/__init__.py", r"METHODS: dict.*?\{\n.*?(?=^\})", block("method row"))
    (root / "stages/peaks").mkdir()
    (root / "stages/peaks/__init__.py").write_text("", "utf-8")
    (root / "stages/peaks/stage.py").write_text(block("stage"), "utf-8")
    insert(root / "stages/__init__.py", r"^STAGES\b.*?\(\n.*?(?=^\))", block("stage row"))
    return root


def insert(file: Path, table: str, row: str) -> None:
    """Adds a row at the end of a table."""
    text = file.read_text("utf-8")
    found = re.search(table, text, re.DOTALL | re.MULTILINE)
    assert found is not None, file
    file.write_text(text[: found.end()] + row + text[found.end() :], "utf-8")


def pipeline(tree: Path, *words: str) -> str:
    """What a command prints in the copy."""
    module, _, function = ENTRY.partition(":")
    code = f"from {module} import {function}; {function}()"
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_toy_method_is_told_like_any_other(tree):
    told = pipeline(tree, "methods", "layer_power")
    assert "power of the first layer" in told and "more contrast" in told


def test_the_toy_method_and_the_toy_stage_run(tree, tmp_path):
    config = tmp_path / "toy.yaml"
    config.write_text(
        f"extends: {ROOT / 'configs/default.yaml'}\nname: toy\n"
        "ingest: {area: {bounds: [4790000, 2805000, 4796000, 2811000]}}\n"
        "train: {method: {name: layer_power, power: 2.0}, pretrained: null}\npeaks: {cells: 2}\n",
        "utf-8",
    )
    words = ("-c", str(config), "--workspace", str(tmp_path))
    assert "peaks: done" in pipeline(tree, "run", *words)
    lines = (tmp_path / "runs/toy/peaks/peaks.csv").read_text("utf-8").splitlines()
    assert lines[0] == "file,row,col,mass" and len(lines) == 1 + 2 * 3  # two sectors and their sum
    assert "up to date" in pipeline(tree, "run", *words)
