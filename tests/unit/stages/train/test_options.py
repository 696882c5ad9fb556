"""A method brings its own options: they alone enter the fingerprint, and what it does not hear is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.ground.errors import HectareError, HectareErrors
from model.methods import METHODS
from model.options import MethodOptions
from pipeline.config.load import load
from pipeline.manifest import Provenance
from pipeline.task import fingerprint
from stages import STAGES
from stages.artifacts import checkpoint
from stages.artifacts.tiles import Samples
from stages.contract import progress
from stages.contract.section import dump
from stages.tile import stage as tile
from stages.train import stage as train
from stages.train.renamed import RENAMED
from tests.small_world import build_world
from tests.toy_method import ROW, Toy, ToyOptions

ROOT = Path(__file__).resolve().parents[4]
CITY = ROOT / "configs" / "default.yaml"
TRAIN = next(stage for stage in STAGES if stage.name == "train")


def stamp(*overrides: str) -> str:
    section = load(CITY, overrides)["train"]
    return fingerprint(TRAIN, Provenance(1, dump(section), {}, []))


def faults_of(*overrides: str) -> list[HectareError]:
    with pytest.raises((HectareError, HectareErrors)) as caught:
        load(CITY, overrides)
    found = caught.value.faults if isinstance(caught.value, HectareErrors) else [caught.value]
    assert {fault.code for fault in found} == {2}
    return found


def test_a_new_option_of_one_method_makes_no_other_methods_run_stale(monkeypatch):
    chosen = ("uniform", "dst_carbon_former", "srresnet")
    before = {name: stamp(f"train.method={name}") for name in (*chosen, "srgan")}
    later = replace(METHODS["srgan"], options="tests.toy_method:LaterOptions")
    monkeypatch.setitem(METHODS, "srgan", later)
    after = {name: stamp(f"train.method={name}") for name in (*chosen, "srgan")}
    assert {name: after[name] for name in chosen} == {name: before[name] for name in chosen}
    assert after["srgan"] != before["srgan"]


def test_a_setting_of_the_loop_makes_no_baseline_stale_and_is_told(tmp_path):
    changed = ("train.epochs=3", "train.pretrained=null", "train.ema_decay=0.5")
    assert stamp("train.method=uniform") == stamp("train.method=uniform", *changed)
    assert stamp() != stamp("train.epochs=3")
    assert set(dump(train.Config(method="uniform", epochs=3))) == {"method", "seed", "years"}
    heard: list = []
    progress.listen(heard.append)
    train._tell_unheard(train.Config(method="uniform", epochs=3, seed=1))
    progress.listen(None)
    assert [note.text for note in heard] == ["train: uniform does not hear `train.epochs`"]


def test_settings_that_learning_from_pairs_does_not_hear_leave_it_fresh():
    assert stamp("train.method=srresnet") == stamp(
        "train.method=srresnet", "train.coarsen=[3]", "train.networks=1"
    )
    assert stamp("train.method=srresnet") != stamp("train.method=srresnet", "train.epochs=3")


def test_an_option_that_the_method_does_not_hear_is_refused_with_those_that_do():
    (fault,) = faults_of("train.method=uniform", "train.method.adversarial_weight=0.5")
    assert fault.where.endswith("train.method.adversarial_weight") and "uniform does not hear" in fault.found
    assert fault.fix.endswith("a method that hears it: srgan")
    (fault,) = faults_of("train.method={name: srresnet, widht: 8}")
    assert "did you mean `train.method.width`" in fault.fix
    (fault,) = faults_of("train.method.epochs=5")
    assert "`train.epochs`" in fault.fix
    (fault,) = faults_of("train.method={name: srresnet, blocks: 3}")
    assert fault.fix == "renamed to `train.method.residual_blocks`"


def test_a_name_that_the_table_does_not_have_is_told_with_what_was_meant():
    (fault,) = faults_of("train.method=srgann")
    assert "did you mean `srgan`" in fault.fix and "single_proxy" in fault.wanted


@pytest.mark.parametrize("old", RENAMED)
def test_a_former_key_is_told_with_its_new_name_which_there_is(old):
    (fault,) = faults_of(f"train.{old}=1")
    new = f"train.{RENAMED[old].to}"
    assert fault.fix.startswith(f"renamed to `{new}`")
    *holder, key = RENAMED[old].to.split(".")
    options = {name for row in METHODS.values() for name in row.options_class().model_fields}
    assert key in (options if holder else train.Config.model_fields)


def test_following_the_advice_heals():
    """`train.width` of before, for the default method; `train.scales: [6]` becomes [2]."""
    (width,), (scales,) = faults_of("train.width=32"), faults_of("train.scales=[6]")
    assert (
        width.wanted == "`train.method.width`"
        and scales.wanted == "`train.coarsen`"
        and "[6] becomes [2]" in scales.fix
    )
    section = load(CITY, ["train.method.width=32", "train.coarsen=[2]"])["train"]
    assert section.method.options.width == 32 and section.coarsen == (2,)


def test_a_method_may_be_named_or_told_piece_by_piece():
    def method(*overrides: str):
        return load(CITY, overrides)["train"].method

    assert method("train.method=srgan").options == METHODS["srgan"].options_class()()
    assert method("train.method.name=srgan") == method("train.method=srgan")
    assert method("train.method=srgan", "train.method.width=32").given() == {"name": "srgan", "width": 32}
    assert method("train.method={name: srgan, content: pixel}").options.content == "pixel"
    assert method("train.method={width: 12}").name == train.DEFAULT_METHOD


def test_a_file_that_names_another_method_than_the_one_it_extends_begins_with_its_defaults(tmp_path):
    base, over, same = tmp_path / "base.yaml", tmp_path / "over.yaml", tmp_path / "same.yaml"
    base.write_text(f"extends: {CITY}\ntrain:\n  method: {{name: srresnet, width: 48}}\n")
    over.write_text("extends: base.yaml\ntrain:\n  method: srgan\n")
    same.write_text("extends: base.yaml\ntrain:\n  method: {residual_blocks: 2}\n")
    assert load(over)["train"].method.given() == {"name": "srgan"}
    assert load(same)["train"].method.given() == {"name": "srresnet", "width": 48, "residual_blocks": 2}


def test_a_path_among_the_options_is_relative_to_the_file_that_names_it(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    told = "{name: srgan, content: vgg19, vgg19: weights.pt}"
    (inner / "base.yaml").write_text(f"extends: {CITY}\ntrain:\n  method: {told}\n")
    (tmp_path / "over.yaml").write_text("extends: inner/base.yaml\n")
    section = load(tmp_path / "over.yaml")["train"]
    assert train.sources(section)[0] == str(inner / "weights.pt")
    assert dump(section)["method"]["vgg19"] == "weights.pt"


def test_the_shipped_networks_of_version_0_1_open_with_their_options_under_todays_names():
    folder = ROOT / "workspace" / "sources" / "pretrained" / "vienna_region"
    assert json.loads((folder / checkpoint.FACTS).read_text())["format"] == checkpoint.OLD_FORMAT
    method, _ = checkpoint.load(folder)
    assert method.options == METHODS["dst_carbon_former"].options_class()()


def test_a_checkpoint_of_version_0_1_keeps_what_was_chosen(tmp_path):
    """Old names, settings of the loop beside them, and options that the method never heard."""
    options = {
        "width": 8,
        "blocks": 1,
        "turns": False,
        "content": "vgg19",
        "epochs": 3,
        "clip": 1.0,
        "pool": None,
    }
    record = {"method": "srgan", "state": {"options": options}}
    assert checkpoint._of_today(record)["state"]["options"] == {"width": 8, "residual_blocks": 1}
    record = {"method": "dst_carbon_former", "state": {"options": {"least": 0.5, "scales": [6]}}}
    assert checkpoint._of_today(record)["state"]["options"] == {"reporting_threshold": 0.5}


def test_a_method_of_one_file_and_one_row_runs_through_the_stage(tmp_path, monkeypatch):
    """Row r of ten gets (1 + r)^2 of 385 parts of a block's mass."""
    monkeypatch.setitem(METHODS, "toy", ROW)
    world = build_world(tmp_path, totals=np.full((1, 1, 8, 8), 385.0), sectors=("all",))
    (tmp_path / "tiles").mkdir()
    tile.run(tile.Config(), cube=world.cube, out=tmp_path / "tiles")
    out = tmp_path / "out"
    out.mkdir()
    config = train.Config.model_validate_json('{"method": {"name": "toy", "power": 2}}')
    train.run(config, cube=world.cube, tiles=tmp_path / "tiles", out=out)
    method, facts = checkpoint.load(out)
    assert isinstance(method, Toy) and method.options == ToyOptions(power=2.0) and facts["asked"] == "toy"
    assert dump(config)["method"] == {"name": "toy", "power": 2.0}
    scene = Samples(world.cube, tmp_path / "tiles", "all", 1)[0].scene()
    row, col = np.argwhere(scene.known[0, 0])[0] * 10
    block = method.estimate(scene)[0, 0, row : row + 10, col : col + 10]
    np.testing.assert_allclose(block.sum(axis=1), np.arange(1.0, 11.0) ** 2, rtol=1e-5)


def test_options_are_frozen_and_take_nothing_for_something_else():
    for row in METHODS.values():
        kind = row.options_class()
        assert issubclass(kind, MethodOptions) and kind.model_config["frozen"] and kind.model_config["strict"]
        for name, field in kind.model_fields.items():
            assert field.description, f"{kind.__name__}.{name}"
        assert kind.from_json(kind().to_json()) == kind()
