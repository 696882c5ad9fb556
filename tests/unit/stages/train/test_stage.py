"""The train stage: a whole checkpoint, the same after a crash, and an honest word when it cannot learn."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from model.ground.blocks import merge
from model.ground.errors import UsageError
from model.methods import METHODS
from model.methods.dst_carbon_former.options import Addition, Part
from model.methods.dst_carbon_former.published import ADDED, LEFT_OUT
from stages.artifacts import checkpoint
from stages.artifacts.cube import STORE, Cube
from stages.artifacts.tiles import Samples
from stages.contract import progress
from stages.contract.device import device_of
from stages.formats import zarr_groups as arrays
from stages.report.training_figures import FIGURES
from stages.tile import stage as tile
from stages.train import folds as learn
from stages.train import stage as train
from stages.train.expert_map import chosen_experts
from stages.train.monitor import read_steps
from stages.train.page import PAGE
from tests.small_world import World, build_world
from tests.train_settings import section

QUICK = {"epochs": 2, "steps_per_epoch": 3, "batch_tiles": 1, "width": 4, "save_every": 2, "device": "cpu"}


def make_world(folder: Path, side: int) -> World:
    rng = np.random.default_rng(3)
    world = build_world(folder, totals=rng.lognormal(3.0, 1.0, (2, 1, side, side)))
    (folder / "tiles").mkdir()
    tile.run(tile.Config(spatial_block=6, size=80, halo=20, folds=2), cube=world.cube, out=folder / "tiles")
    return world


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), 26)


def trained(world: World, out: Path, **settings) -> Path:
    out.mkdir(exist_ok=True)
    train.run(section(**(QUICK | settings)), cube=world.cube, tiles=world.folder / "tiles", out=out)
    return out


def published(out: Path) -> dict[str, bytes]:
    """All but the page, which tells how fast it went."""
    return {
        path.name: path.read_bytes()
        for path in out.iterdir()
        if not path.name.startswith(".") and path.name != PAGE
    }


@pytest.fixture
def notes():
    heard = []
    progress.listen(lambda news: heard.append(news) if isinstance(news, progress.Note) else None)
    yield heard
    progress.listen(None)


def test_training_leaves_a_whole_checkpoint_and_a_history_without_times(world, tmp_path):
    out = trained(world, tmp_path / "out")
    assert set(published(out)) == {
        checkpoint.WEIGHTS, checkpoint.FACTS, checkpoint.HISTORY, checkpoint.TABLE, learn.STEPS, learn.STEPS_TABLE,
        FIGURES,
    }  # fmt: skip
    lines = [json.loads(line) for line in (out / checkpoint.HISTORY).read_text().splitlines()]
    assert [(line["fold"], line["step"]) for line in lines] == [
        (k, step) for k in range(2) for step in (0, 3, 6)
    ]
    assert set(lines[0]) == {"fold", "phase", "step", "scores"}
    method, facts = checkpoint.load(out, Cube.open(world.cube))
    assert facts["asked"] == "dst_carbon_former"
    assert "fell_back" not in facts
    assert len(method.describe()["strength"]) == facts["folds"] == 2


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(world, tmp_path):
    seeds = {"a": 1, "b": 1, "c": 2}
    runs = [published(trained(world, tmp_path / name, seed=seed)) for name, seed in seeds.items()]
    assert runs[0] == runs[1]
    assert runs[0][checkpoint.HISTORY] != runs[2][checkpoint.HISTORY]


@pytest.mark.slow
@pytest.mark.parametrize("kill_at_save", [1, 3, 6])  # each of two networks saves four times
def test_a_killed_run_continues_to_the_same_bytes(world, tmp_path, kill_at_save):
    undisturbed = published(trained(world, tmp_path / "whole"))
    script = f"""
import os
from pathlib import Path
from stages.train import stage as train
from stages.artifacts.training_states import States
from tests.train_settings import section
save, count = States.save, 0
def die(self, state, **how):
    global count
    save(self, state, **how)
    count += 1
    if count == {kill_at_save}:
        os.kill(os.getpid(), 9)
States.save = die
out = Path({str(tmp_path / "killed")!r})
out.mkdir()
cube, tiles = Path({str(world.cube)!r}), Path({str(world.folder / "tiles")!r})
train.run(section(**{QUICK!r}), cube=cube, tiles=tiles, out=out)
"""
    root = Path(train.__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", script], cwd=root, check=False)
    assert killed.returncode == -9
    assert not published(tmp_path / "killed")
    assert published(trained(world, tmp_path / "killed")) == undisturbed


class Halt(Exception):
    """Stands for Ctrl-C."""


def stopped(world, out, label, done):
    """Training until the listener stops it at a step of a network."""

    def hear(news):
        if isinstance(news, progress.Step) and label in news.label and news.done == done:
            raise Halt

    progress.listen(hear)
    with pytest.raises(Halt):
        trained(world, out)
    progress.listen(None)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "step"), [("0/step_0000002", 2), ("step_0000004", 4), ("1/latest", 3)])
def test_training_taken_back_to_a_chosen_state_ends_byte_for_byte_like_an_undisturbed_one(
    world, tmp_path, name, step
):
    """Autosaves at steps 2, 4 and where it was stopped, latest at 3; without a number, of the second network."""
    undisturbed = published(trained(world, tmp_path / "whole"))
    out = tmp_path / "back"
    stopped(world, out, "network 2 of 2", 5)
    config = section(**QUICK)
    assert {"0/latest", "0/step_0000002", "1/latest", "1/step_0000005"} <= set(train.states(config, out))
    told = train.restore(config, out, name)
    assert told.endswith(f"step {step}")
    assert "1/step_0000005" not in train.states(config, out) or name.startswith("0/")
    assert published(trained(world, out)) == undisturbed


def test_a_state_that_was_never_saved_is_answered_with_those_that_were(world, tmp_path):
    stopped(world, tmp_path / "out", "network 1 of 2", 2)
    with pytest.raises(UsageError) as caught:
        train.restore(section(**QUICK), tmp_path / "out", "epoch_010")
    assert caught.value.wanted == "one of 0/step_0000002"
    assert caught.value.code == 2


def test_training_may_begin_with_what_another_run_had_learned_under_other_settings(world, tmp_path):
    """At a rate of almost nothing it stays as good as it was, which the untrained network is not."""
    first = trained(world, tmp_path / "first", learning_rate=3e-2)
    history = first / ".history"
    begun = trained(
        world, tmp_path / "second", start=str(history), learning_rate=1e-9, epochs=1, save_every=1
    )
    lines = [json.loads(line) for line in (begun / checkpoint.HISTORY).read_text().splitlines()]
    before = [json.loads(line) for line in (first / checkpoint.HISTORY).read_text().splitlines()]
    best = [min(min(line["scores"].values()) for line in before if line["fold"] == fold) for fold in (0, 1)]
    assert [(line["fold"], line["step"]) for line in lines] == [(k, s) for k in (0, 1) for s in (0, 0, 3)]
    scores = [min(line["scores"].values()) for line in lines]
    assert [scores[1], scores[4]] == pytest.approx(best, rel=1e-6)
    assert scores[0] != scores[1]
    given = section(**QUICK, start=str(history))
    assert [Path(path).parent.name for path in train.sources(given)] == ["train0", "train1"]
    with pytest.raises(UsageError, match="other networks"):
        trained(world, tmp_path / "third", start=str(history), width=6)
    with pytest.raises(UsageError, match="no such state"):
        trained(world, tmp_path / "fourth", start=str(history), start_at="epoch_010")


def test_a_finished_training_leaves_its_settings_score_and_best_states_for_the_record(world, tmp_path):
    out = trained(world, tmp_path / "out")
    record = json.loads((out / ".history" / "summary.json").read_text())
    facts = json.loads((out / checkpoint.FACTS).read_text())["facts"]
    assert record["score"] == facts["score"]
    assert record["config"]["epochs"] == QUICK["epochs"]
    assert set(record["states"]) == {"train0/best.safetensors", "train1/best.safetensors"}
    for name, digest in record["states"].items():
        assert hashlib.sha256((out / ".history" / name).read_bytes()).hexdigest() == digest


def test_a_single_network_may_be_asked_for_and_is_the_first_of_all(world, tmp_path):
    """Of two folds the first is held out; its network is byte for byte the one that is trained among two."""
    one, every = trained(world, tmp_path / "one", networks=1), trained(world, tmp_path / "every")
    (alone, facts), (method, _) = checkpoint.load(one), checkpoint.load(every)
    assert facts["folds"] == 1 and {line["fold"] for line in read_steps(one / learn.STEPS)} == {0}
    weights, among = alone.state()[0], method.state()[0]
    assert set(weights) == {name for name in among if name.startswith("0.")}
    assert all(np.array_equal(value, among[name]) for name, value in weights.items())


def test_every_step_is_a_line_with_loss_and_rate_and_so_in_the_table(world, tmp_path):
    out = trained(world, tmp_path / "out")
    lines = [json.loads(line) for line in (out / learn.STEPS).read_text().splitlines()]
    assert [(line["fold"], line["step"]) for line in lines] == [(k, s) for k in (0, 1) for s in range(1, 7)]
    assert set(lines[0]) == {"fold", "step", "loss", "rate", "best"}
    table = (out / learn.STEPS_TABLE).read_text().splitlines()
    assert table[0] == "best,fold,loss,rate,step" and len(table) == 13


def test_the_page_of_a_training_shows_curves_a_sample_and_who_worked_where(world, tmp_path):
    out = trained(world, tmp_path / "out", method="dst_carbon_former_v1_7", coarsen=(2,))
    page = (out / PAGE).read_text()
    assert page.count("<polyline") == 2 * (
        1 + 1 + 1 + 4 + 3
    )  # score, loss, rate, terms with balance, weights
    assert page.count("data:image/png") == 2 * 6
    assert "expert chosen first, whole map" in page
    assert 'src="http' not in page and "<script" not in page
    assert "% of the time waiting for data" in page
    lines = [json.loads(line) for line in (out / learn.STEPS).read_text().splitlines()]
    assert {"pixel", "ssim", "roughness", "balance", "weight pixel"} <= set(lines[0])
    assert sum(lines[-1][f"weight {name}"] for name in ("pixel", "ssim", "roughness")) == pytest.approx(3.0)


def test_the_map_of_experts_tells_who_works_where(world):
    """A member whose third expert works where the only layer exceeds its median in a cell, the first elsewhere."""
    cube = Cube.open(world.cube)
    layer, valid = cube.covariates(0, 0, *cube.fine.shape)[0], cube.valid(0, 0, *cube.fine.shape)
    middle = float(np.median(layer))

    class Chooser:
        usage = (0.5, 0.0, 0.5)

        def where(self, scene):
            return np.where(scene.covariates[0] > middle, 2, 0)

    found = chosen_experts(Chooser(), cube, 3)
    high = merge((layer[-1] > middle) & valid, cube.factor)
    low = merge((layer[-1] <= middle) & valid, cube.factor)
    np.testing.assert_array_equal(found, np.where(high + low == 0, -1, np.where(high > low, 2, 0)))
    assert {0, 2} <= set(found.flat)
    assert chosen_experts(object(), cube, 3) is None


def test_a_small_map_falls_back_and_says_so(tmp_path, notes):
    world = make_world(tmp_path, 8)
    out = trained(world, tmp_path / "out")
    method, facts = checkpoint.load(out)
    assert not method.describe()["learns"] and not method.phases()
    assert (facts["asked"], facts["fell_back"]) == ("dst_carbon_former", "its base")
    assert "64 coarse cells" in facts["reason"]
    assert any(note.warning and facts["reason"] in note.text for note in notes)
    assert (out / checkpoint.HISTORY).read_text() == ""


@pytest.mark.parametrize(("rival", "beaten"), [(9.0, False), (0.0, True)])
def test_a_baseline_that_does_as_well_on_held_out_ground_is_named(
    world, tmp_path, notes, monkeypatch, rival, beaten
):
    """The rival's score is the mean of what it misses while each fold is held out."""
    monkeypatch.setattr(learn, "_free_scores", lambda *_: {"single_proxy": rival, "uniform": 9.0})
    _, facts = checkpoint.load(trained(world, tmp_path / "out"))
    assert facts["rivals"]["single_proxy"] == rival
    if beaten:
        assert facts["beaten_by"] == "single_proxy"
        assert any(note.warning and "single_proxy, which learns nothing" in note.text for note in notes)
    else:
        assert facts.get("beaten_by") in (None, "its base")


def test_baselines_are_judged_on_the_ground_that_is_held_out(world):
    """Uniform shares 2 x 2 cells' mass evenly; by hand over the cells that count."""
    samples = Samples(world.cube, world.folder / "tiles", "valid", 1, fold=0)
    tiles = [samples[index] for index in range(len(samples))]
    survey = train.survey_of(Cube.open(world.cube), samples)
    missed, mass = np.zeros((2, 2))
    for one in tiles:
        blocks = one.totals[:, 0].reshape(2, 6, 2, 6, 2)
        counted = one.target.reshape(6, 2, 6, 2).all((1, 3), keepdims=True)
        even = blocks.mean((2, 4), keepdims=True)
        missed += (np.abs(blocks - even) * counted).sum((1, 2, 3, 4))
        mass += (blocks * counted).sum((1, 2, 3, 4))
    found = learn._free_scores(survey, tiles, (2,))["uniform"]
    assert found == pytest.approx(float((missed / mass).mean()), rel=1e-5)


def test_a_window_longer_than_the_cube_has_years_is_said_once(world, tmp_path, notes):
    trained(world, tmp_path / "out", method="uniform", years=3)
    assert [note.text for note in notes if "year" in note.text] == [
        "train: 1 year(s) in the cube, so windows hold 1, not 3"
    ]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_the_table_may_be_asked_for(name):
    assert train.Config(method=name).method.options == METHODS[name].options_class()()


LEARNERS = ("dst_carbon_former", "srresnet", "srgan")  # the last two need fine fields


@pytest.mark.parametrize("method", [name for name in METHODS if not name.startswith(LEARNERS)])
def test_a_baseline_passes_through_the_same_stage_without_torch(world, tmp_path, method):
    script = (
        "import sys; from pathlib import Path; from stages.train import stage as train; "
        f"cube, tiles = Path({str(world.cube)!r}), Path({str(world.folder / 'tiles')!r}); "
        f"train.run(train.Config(method={method!r}), cube=cube, tiles=tiles, out=Path({str(tmp_path)!r})); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=Path(train.__file__).parents[2], check=True)
    assert checkpoint.load(tmp_path)[1]["asked"] == method


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_where_there_is_none_is_a_usage_fault(world, tmp_path):
    with pytest.raises(UsageError, match="no CUDA device") as caught:
        trained(world, tmp_path / "out", device="cuda")
    assert caught.value.code == 2
    assert device_of("auto", "train.device") == "cpu"


def test_the_survey_read_in_parts_equals_the_map_read_at_once(world, monkeypatch):
    samples = Samples(world.cube, world.folder / "tiles", "all", 1)
    cube = Cube.open(world.cube)
    whole = train.survey_of(cube, samples)
    monkeypatch.setattr(train, "READ", 70)
    parts = train.survey_of(cube, samples)
    np.testing.assert_array_equal(parts.sums, whole.sums)
    np.testing.assert_array_equal(parts.cells, whole.cells)
    everything = cube.covariates(0, 0, *cube.fine.shape).astype(np.float64)
    assert whole.sums.sum() == pytest.approx(everything.sum())


def test_the_survey_keeps_apart_what_falls_below_zero(tmp_path):
    """0.5 everywhere but -2 in one cell: a block of 100 sums to 47.5, its positive part to 49.5."""
    world = build_world(tmp_path, totals=np.ones((1, 1, 6, 6)), sectors=("all",))
    (tmp_path / "tiles").mkdir()
    tile.run(tile.Config(), cube=world.cube, out=tmp_path / "tiles")
    samples = Samples(world.cube, tmp_path / "tiles", "train", 1)
    layer = arrays.open_group(world.cube / STORE, "ingest", mode="r+")["built"]
    layer[...] = 0.5
    assert train.survey_of(Cube.open(world.cube), samples).positive_sums is None
    layer[3, 4] = -2.0
    survey = train.survey_of(Cube.open(world.cube), samples)
    assert survey.sums[0, 0, 0, 0] == 47.5
    assert survey.positive_sums[0, 0, 0, 0] == 49.5


def test_the_options_offer_every_part_of_the_published_forms():
    assert (set(get_args(Addition)), set(get_args(Part))) == (set(ADDED), set(LEFT_OUT))


@pytest.mark.parametrize(
    "wrong", [{"coarsen": (5,)}, {"coarsen": ()}, {"epochs": 0}, {"method": "gan"}, {"ema_decay": 1.0}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        train.Config(**wrong)
