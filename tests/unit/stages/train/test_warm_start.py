"""Networks begin with those of a checkpoint made elsewhere, on its scales, and only where the inputs are the same."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from model.ground.errors import InputError
from model.methods import METHODS, method_class
from pipeline.config.load import load
from pipeline.experiments import designs as protocols
from stages.artifacts import checkpoint
from stages.artifacts.cube import Cube
from stages.contract.progress import Note, listen
from stages.tile import stage as tile
from stages.train import stage as train
from tests.small_world import World, build_world
from tests.train_settings import section

QUICK = {"networks": 1, "epochs": 1, "steps_per_epoch": 2, "batch_tiles": 1, "width": 4, "device": "cpu"}


def make_world(folder: Path, seed: int) -> World:
    folder.mkdir()
    totals = np.random.default_rng(seed).lognormal(3.0, 1.0, (2, 1, 26, 26))
    world = build_world(folder, totals=totals)
    (folder / "tiles").mkdir()
    tile.run(tile.Config(spatial_block=6, size=80, halo=20, folds=2), cube=world.cube, out=folder / "tiles")
    return world


def trained(world: World, out: Path, **settings) -> Path:
    out.mkdir()
    train.run(section(**(QUICK | settings)), cube=world.cube, tiles=world.folder / "tiles", out=out)
    return out


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("here") / "world", 3)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    """A checkpoint of other totals."""
    folder = tmp_path_factory.mktemp("elsewhere")
    return trained(make_world(folder / "world", 4), folder / "big", learning_rate=0.3)


def altered(folder: Path, out: Path, change) -> Path:
    """The checkpoint with its description changed."""
    out.mkdir()
    record = json.loads((folder / checkpoint.FACTS).read_text())
    change(record)
    (out / checkpoint.FACTS).write_text(json.dumps(record))
    (out / checkpoint.WEIGHTS).write_bytes((folder / checkpoint.WEIGHTS).read_bytes())
    return out


def test_training_begins_with_its_networks_on_its_scales(here, elsewhere, tmp_path):
    donor, donor_facts = checkpoint.load(elsewhere)
    # With a rate of nearly nothing what was handed on is what comes out.
    out = trained(here, tmp_path / "out", pretrained=str(elsewhere), learning_rate=1e-30, weight_decay=0.0)
    method, facts = checkpoint.load(out, Cube.open(here.cube))
    assert facts["pretrained"] == "big"
    assert method.inputs.mean == donor.inputs.mean
    assert method.base.smooth.floor != donor.base.smooth.floor  # the base is its own
    for own, theirs in zip(method._members, donor._members, strict=True):
        for name, value in own.network.state_dict().items():
            assert torch.equal(value, theirs.network.state_dict()[name])
    untrained = checkpoint.load(trained(here, tmp_path / "none"))[1]
    assert (
        facts["rivals"] == untrained["rivals"]
    )  # "its base" is the base, not what the networks made of it at first
    assert donor_facts["score"] != facts["score"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record["state"].update(sectors=["north", "south"]), "sectors north, south there"),
        (lambda record: record["facts"].update(factor=7), "factor 7 there, 10 here"),
        (lambda record: record["state"].update(layers=["forest"] * 9), "inputs forest"),
        (lambda record: [layer.update(kind="class") for layer in record["facts"]["layers"]], "(class) there"),
        (
            lambda record: record["state"]["base"].update(kinds=["mean", "mean"]),
            "they bend another base (mean, mean",
        ),
    ],
)
def test_networks_that_do_not_fit_are_left_and_it_is_said(change, said, here, elsewhere, tmp_path):
    other = altered(elsewhere, tmp_path / "other", change)
    heard: list[Note] = []
    listen(lambda news: heard.append(news) if isinstance(news, Note) else None)
    try:
        out = trained(here, tmp_path / "out", pretrained=str(other))
    finally:
        listen(None)
    assert any(said in note.text and note.warning for note in heard)
    facts = json.loads((out / checkpoint.FACTS).read_text())["facts"]
    assert said in facts["pretrained_left"] and "pretrained" not in facts
    plain = trained(here, tmp_path / "plain")
    assert (out / checkpoint.WEIGHTS).read_bytes() == (plain / checkpoint.WEIGHTS).read_bytes()


def test_networks_of_another_size_are_left(here, elsewhere, tmp_path):
    out = trained(here, tmp_path / "out", pretrained=str(elsewhere), width=8, pool=4)
    told = json.loads((out / checkpoint.FACTS).read_text())["facts"]["pretrained_left"]
    assert "width 4 there, 8 here" in told and "pool" not in told  # which the plain network does not have


def test_networks_of_another_method_are_left(here, tmp_path):
    flat = trained(here, tmp_path / "flat", method="uniform")
    out = trained(here, tmp_path / "out", pretrained=str(flat))
    told = json.loads((out / checkpoint.FACTS).read_text())["facts"]["pretrained_left"]
    assert "of uniform" in told


@pytest.mark.parametrize("place", ["absent", "file", "damaged"])
def test_a_folder_without_a_whole_checkpoint_is_refused_before_anything_is_made(place, elsewhere, tmp_path):
    folder = altered(elsewhere, tmp_path / "damaged", lambda record: record.pop("weights"))
    (tmp_path / "file").write_text("no folder")
    config = train.Config(pretrained=str(tmp_path / place))
    with pytest.raises(InputError, match=r"train\.pretrained") as caught:
        train.check(config)
    assert "train.pretrained: null" in caught.value.fix and str(tmp_path / place) in caught.value.found
    assert folder.is_dir()


def test_a_least_that_no_total_reaches_is_refused(here, tmp_path):
    with pytest.raises(InputError, match=r"train\.method\.reporting_threshold"):
        trained(here, tmp_path / "out", reporting_threshold=1e9)
    method, _ = checkpoint.load(trained(here, tmp_path / "told", reporting_threshold=0.5))
    assert set(method.least.values()) == {0.5}


def test_those_that_hear_it_are_those_that_can():
    assert {name for name in METHODS if hasattr(method_class(name), "warm_start")} == {
        name for name, row in METHODS.items() if row.pretrained
    }


def test_what_does_not_hear_it_does_not_depend_on_it(tmp_path):
    named = {"pretrained": str(tmp_path / "absent")}
    assert len(train.sources(train.Config(**named))) == 2
    assert train.sources(train.Config(**named, method="uniform")) == []
    assert train.sources(train.Config(**named, method="dst_carbon_former_v1_7")) == []
    assert train.sources(train.Config(**named, start=str(tmp_path))) == []  # states go first
    train.check(train.Config(**named, method="uniform"))


def test_protocols_that_hide_ground_leave_it_out(monkeypatch):
    """What was shipped may have seen the ground that is hidden."""
    root = Path(__file__).parents[4]
    config = load(root / "configs" / "default.yaml")
    assert config["train"].pretrained is not None
    seen: list = []
    monkeypatch.setattr(protocols, "carry_out", lambda runner, everything: seen.extend(everything))
    shelf = protocols.Shelf(Path("unused"))
    runner = type("R", (), {"workspace": type("W", (), {"shelf": shelf})})()
    config = config.changed("evaluate.methods=[uniform]")
    for protocol in (protocols.scale_shift, protocols.spatial_cross_validation):
        protocol(runner, config)
    training = [task.config for task in seen if task.stage.name == "train"]
    assert len(training) > 4
    assert all(section.pretrained is None for section in training)


def test_the_shipped_networks_are_whole_and_fit_the_city():
    root = Path(__file__).parents[4]
    config = load(root / "configs" / "default.yaml")
    method, facts = checkpoint.load(Path(config["train"].pretrained))
    assert facts["sectors"] == ["homes", "other_buildings"]
    assert {layer["name"] for layer in facts["layers"]} == set(config["ingest"].layer_names)
    assert facts["factor"] == config["ingest"].factor
    assert len(method.describe()["strength"]) == 2
