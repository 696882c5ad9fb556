"""Protocols and cases put together the right chains; nothing runs here."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from model import methods
from model.ground.errors import UsageError
from pipeline.config.load import load
from pipeline.experiments.comparison import cases, judged, on_its_own, others, words_of
from pipeline.experiments.designs import merged_by
from pipeline.plan import tasks
from pipeline.workspace import Shelf
from stages import EVALUATE, STAGES

ROOT = Path(__file__).resolve().parents[4]
REGION = ROOT / "configs" / "vienna_region.yaml"
BESIDE = ["evaluate.methods=[uniform, smooth_mask]", "evaluate.methods_if_installed=[]"]
FAIR = ["built", "census_population"]


def test_a_checkpoint_from_elsewhere_makes_tiles_and_training_needless(tmp_path):
    config = load(REGION, ["infer.checkpoint=../somewhere"])
    chain = tasks(config, Shelf(tmp_path))
    assert [task.stage.name for task in chain] == ["ingest", "infer", "mosaic"]
    assert list(chain[1].inputs) == ["cube"]
    assert [task.stage.name for task in tasks(load(REGION), Shelf(tmp_path))] == [row.name for row in STAGES]


def test_methods_beside_a_transferred_one_are_made_here(tmp_path):
    config = load(REGION, ["infer.checkpoint=../somewhere", *BESIDE])
    made = {name: other for name, other, _ in others(config, Shelf(tmp_path), STAGES, EVALUATE)}
    assert judged(config) == "transferred" and list(made) == ["uniform", "smooth_mask"]
    assert all(other["infer"].checkpoint is None for other in made.values())


def test_methods_of_extras_are_compared_where_they_are_installed(tmp_path, monkeypatch):
    config = load(REGION, ["evaluate.methods=[uniform]"])

    def asked():
        return [name for name, *_ in others(config, Shelf(tmp_path), STAGES, EVALUATE)]

    assert asked() == ["uniform", "random_forest", "gradient_boosting"]
    row = replace(methods.METHODS["random_forest"], package="no_such_package")
    monkeypatch.setitem(methods.METHODS, "random_forest", row)
    assert asked() == ["uniform", "gradient_boosting"]


def test_a_method_of_a_comparison_takes_its_defaults_or_what_it_is_given(tmp_path):
    """Not what the run's own method was told: width 48 is srresnet's here."""
    told = "evaluate.methods=[uniform, srgan, {name: dst_carbon_former_v3_0, width: 16, without: [law]}]"
    config = load(REGION, ["train.method={name: srresnet, width: 48}", "train.epochs=2", told])
    made = {name: other for name, other, _ in others(config, Shelf(tmp_path), STAGES, EVALUATE)}
    assert made["srgan"]["train"].method.options.width == 24
    form = made["dst_carbon_former_v3_0"]["train"]
    assert form.method.given() == {"name": "dst_carbon_former_v3_0", "width": 16, "without": ("law",)}
    assert form.epochs == 2


def test_a_method_compared_with_itself_is_refused():
    with pytest.raises(UsageError, match="srgan"):
        load(REGION, ["evaluate.methods=[srgan, {name: srgan, width: 48}]"])


def test_the_case_of_the_runs_own_layers_shares_its_artifacts(tmp_path):
    config, shelf = load(REGION), Shelf(tmp_path)
    found = {case: (changed, home) for case, changed, home in cases(config, shelf, EVALUATE)}
    assert found["fair"][1] == shelf and found["easy"][1].folder == tmp_path / "evaluate" / "cases" / "easy"
    assert "floor_area_other" not in found["fair"][0]["ingest"].layer_names
    assert "floor_area_other" in found["easy"][0]["ingest"].layer_names


def test_a_case_of_an_unknown_layer_is_refused(tmp_path):
    config = load(REGION, ["evaluate.cases.odd=[buit]"])
    with pytest.raises(UsageError, match=r"evaluate\.cases\.odd.*buit"):
        list(cases(config, Shelf(tmp_path), EVALUATE))


@pytest.mark.parametrize("name", ["comparison.py", "designs.py"])
def test_experiments_name_no_link_of_the_chain_and_no_method(name):
    """What they must know of a stage they ask its body; what of a method, its row."""
    tree = ast.parse((ROOT / "pipeline" / "experiments" / name).read_text("utf-8"))
    known = {row.name for row in STAGES} | set(methods.METHODS)
    words = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert not [word for word in words if isinstance(word, str) and word.split(".")[0] in known]


def test_merged_totals_take_sizes_anew_and_keep_the_ground_of_spatial_blocks():
    """By hand: blocks of 10 coarse cells are 3 merged ones, 10 / 3 = 3.3; what another run learned is left out."""
    config = load(
        REGION, ["tile.size=120", "infer.core=120", "infer.checkpoint=../somewhere", "tile.spatial_block=10"]
    )
    words = [*words_of(config, STAGES, merged_by(3)), *words_of(config, STAGES, on_its_own)]
    chain = config.changed(*words)
    assert (chain["tile"].size, chain["tile"].stride, chain["tile"].spatial_block) == (None, None, 3)
    assert (chain["infer"].core, chain["infer"].halo, chain["infer"].checkpoint) == (None, None, None)
    assert chain["train"].pretrained is None
