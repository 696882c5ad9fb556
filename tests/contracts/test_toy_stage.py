"""A sixth stage and another method, written into a copy of the tree, go through the run and every protocol.

Nothing but the two tables tells of them. The toy stage turns blocks upside down, so each score says whether it was
asked; what it must be follows from the totals and the truth alone.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.synthetic_city import FACTOR, build_city

ROOT = Path(__file__).resolve().parents[2]
CITY = build_city(12, seed=1)
YEARS = (2020, 2021)  # the same numbers twice
POWER = 2.0
METHOD_ROW = """    "toy": MethodRow(
        "tests.toy_method:Toy", "more mass in lower rows", "never", "nowhere", "tests.toy_method:ToyOptions",
        layers=False,
    ),
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The packages with one row more in the table of methods, and one more between infer and mosaic."""
    root = tmp_path_factory.mktemp("tree")
    for package in ("model", "stages", "pipeline"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tests").mkdir()
    shutil.copyfile(ROOT / "tests/toy_method.py", root / "tests/toy_method.py")
    (root / "stages/turn").mkdir()
    (root / "stages/turn/__init__.py").write_text('"""A toy."""\n', "utf-8")
    shutil.copyfile(ROOT / "tests/toy_stage.py", root / "stages/turn/stage.py")
    _replace(
        root / "model/methods/__init__.py",
        "METHODS: dict[str, MethodRow] = {\n",
        "METHODS: dict[str, MethodRow] = {\n" + METHOD_ROW,
    )
    _replace(
        root / "stages/__init__.py",
        'Stage("infer", needs=("cube", "checkpoint"), gives="field"),\n',
        'Stage("infer", needs=("cube", "checkpoint"), gives="estimate"),\n'
        '    Stage("turn", needs=("cube", "estimate"), gives="field"),\n',
    )
    return root


def _replace(file, old, new):
    text = file.read_text("utf-8")
    assert text.count(old) == 1, file
    file.write_text(text.replace(old, new), "utf-8")


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """A city of 12 x 12 km and two years, its method the toy."""
    folder = tmp_path_factory.mktemp("town")
    place = {"unit": "t", "nodata": "none"}
    totals = [{"path": "totals.tif", "year": year, **place} for year in YEARS]
    truth = [{"path": "truth.tif", "year": year, **place} for year in YEARS]
    evaluate = {
        "truth": truth,
        "methods": ["uniform"],
        "coarsenings": [2],
        "folds": 2,
        "shifts": [1],
        "blurs": [],
    }
    train = {"method": {"name": "toy", "power": POWER}}
    return CITY.write(folder, ingest={"totals": totals}, train=train, evaluate=evaluate)


@pytest.fixture(scope="module")
def asked(tree, town, tmp_path_factory):
    """A function that runs a command in the copy and returns the folder of the run."""
    workspace = tmp_path_factory.mktemp("workspace")

    def ask(*words):
        code = "from pipeline.cli.commands import main; main()"
        command = [sys.executable, "-c", code, *words, "-c", str(town), "--workspace", str(workspace)]
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return workspace / "runs" / "city"

    return ask


def scores(folder, artifact):
    return json.loads((folder / artifact / "scores.json").read_text("utf-8"))["rows"]


def shares(folder, artifact, method, **where):
    """Misallocated shares of a method in the rows that say so."""
    rows = [row for row in scores(folder, artifact) if row["method"] == method]
    found = [row["misallocated_share"] for row in rows if where.items() <= row.items()]
    assert found
    return found


def turned(side):
    """What the toy method gives each row of a block, upside down: (1 + r) to the power, the last row first."""
    weights = np.arange(side, 0, -1.0) ** POWER
    return weights / weights.sum()


def misallocated(found, true):
    return 0.5 * np.abs(found - true).sum() / true.sum()


def fine_share():
    """Of the whole map, by hand: every total spread by row, evenly along each."""
    column = np.tile(turned(FACTOR), len(CITY.totals)) / FACTOR
    found = np.kron(CITY.totals, np.ones((FACTOR, FACTOR))) * column[:, None]
    return misallocated(found, CITY.truth)


def uniform_share():
    found = np.kron(CITY.totals, np.ones((FACTOR, FACTOR))) / FACTOR**2
    return misallocated(found, CITY.truth)


def test_the_run_passes_through_both_toys(asked):
    folder = asked("run")
    assert (folder / "field" / "note.txt").read_text() == "turned"
    assert (folder / "estimate").is_dir()
    with rasterio.open(folder / "maps" / "co2_all_2020.tif") as data:
        mass = data.read(1).astype(np.float64)
    rows = mass.reshape(12, FACTOR, 12, FACTOR).sum(axis=(0, 2, 3))
    np.testing.assert_allclose(rows / rows.sum(), turned(FACTOR), rtol=1e-5)
    assert json.loads((folder / "maps" / "certificate.json").read_text())["passed"]


def test_truth_scores_what_the_toy_stage_made(asked):
    folder = asked("evaluate")
    assert shares(folder, "scores", "toy") == pytest.approx([fine_share()] * 2, rel=1e-5)
    assert shares(folder, "scores", "uniform") == pytest.approx([uniform_share()] * 2, rel=1e-5)


def test_folds_add_up_to_the_whole_map(asked):
    folder = asked("evaluate", "--protocol", "spatial_cross_validation")
    for kind in ("spatial blocks", "random folds"):
        found = shares(folder, "spatial_cross_validation", "toy", kept=kind)
        assert found == pytest.approx([fine_share()] * 2, rel=1e-5)


def test_the_last_year_is_kept_apart(asked):
    folder = asked("evaluate", "--protocol", "years")
    assert {row["year"] for row in scores(folder, "years")} == {"2021"}
    assert shares(folder, "years", "toy") == pytest.approx([fine_share()], rel=1e-5)


def test_merged_totals_go_through_the_toys(asked):
    """A block of 2 x 2 totals: the sum of the weights of its upper 10 rows, and of its lower ones."""
    folder = asked("evaluate", "--protocol", "scale_shift")
    halves = turned(2 * FACTOR).reshape(2, FACTOR).sum(axis=1)
    merged = CITY.totals.reshape(6, 2, 6, 2).sum(axis=(1, 3))
    found = np.kron(merged, np.outer(halves, [0.5, 0.5]))
    expected = misallocated(found, CITY.totals)
    assert shares(folder, "scale_shift", "toy") == pytest.approx([expected] * 2, rel=1e-5)


def test_a_method_without_layers_does_not_mind_that_they_are_spoilt(asked):
    folder = asked("evaluate", "--protocol", "sensitivity")
    rows = scores(folder, "sensitivity")
    assert {row["layer"] for row in rows} == {"every layer", "lights", "roads", "buildings"}
    assert [row["moved_share"] for row in rows] == pytest.approx([0.0] * len(rows), abs=1e-12)
    assert (folder / "evaluate/sensitivity/roads/drop_0/field/note.txt").is_file()
