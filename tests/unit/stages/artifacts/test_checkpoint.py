"""A checkpoint comes back as it was saved, or the damage is named."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from model.ground.errors import ArtifactError
from model.ground.scene import Scene
from model.methods import method_class
from stages.artifacts import checkpoint
from stages.artifacts.cube import Cube
from stages.train.stage import survey_of
from tests.small_world import build_world


class Plan:
    """What a survey takes from the plan of tiles, for a cube of one layer."""

    def __init__(self) -> None:
        self.target_map = np.ones((4, 3), bool)
        self.statistics = dict.fromkeys(("zero_share", "positive_median"), np.array([0.4]))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Cube]:
    cube = Cube.open(build_world(tmp_path / "world").cube)
    method = method_class("dst_carbon_former")(None)
    method.prepare(survey_of(cube, Plan()))
    (member,) = method.members((0,))
    for weight in member.network.parameters():
        weight.data += 0.1
    out = tmp_path / "checkpoint"
    out.mkdir()
    checkpoint.save("dst_carbon_former", method, checkpoint.cube_facts(cube), out)
    return out, cube


def estimate(method, cube: Cube) -> bytes:
    rows, cols = cube.fine.shape
    window = (0, 0, rows, cols)
    scene = Scene(
        cube.covariates(*window), cube.valid(*window), cube.totals(), cube.known(), cube.factor, cube.layers
    )
    return method.estimate(scene).tobytes()


def test_a_checkpoint_comes_back_as_it_was_saved(saved):
    out, cube = saved
    (first, facts), (second, _) = checkpoint.load(out, cube), checkpoint.load(out)
    assert estimate(first, cube) == estimate(second, cube)
    assert facts == checkpoint.cube_facts(cube) | {"method": "dst_carbon_former"}
    again = out.parent / "again"
    again.mkdir()
    checkpoint.save("dst_carbon_former", first, checkpoint.cube_facts(cube), again)
    for name in (checkpoint.WEIGHTS, checkpoint.FACTS):
        assert (again / name).read_bytes() == (out / name).read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_dmg_08_weights_that_are_cut_short_are_refused(saved, share):
    path = saved[0] / checkpoint.WEIGHTS
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ArtifactError) as caught:
        checkpoint.load(saved[0])
    assert f"{len(content)} bytes" in caught.value.wanted
    assert "pipeline run train" in caught.value.fix


@pytest.mark.parametrize("place", [20, -1])
def test_dmg_09_one_flipped_byte_of_the_weights_is_noticed(saved, place):
    path = saved[0] / checkpoint.WEIGHTS
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match="changed since training"):
        checkpoint.load(saved[0])


@pytest.mark.parametrize("name", [checkpoint.WEIGHTS, checkpoint.FACTS])
def test_a_missing_file_is_named(saved, name):
    (saved[0] / name).unlink()
    with pytest.raises(ArtifactError, match="missing") as caught:
        checkpoint.load(saved[0])
    assert name in caught.value.where


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 9, "method": "uniform"}'])
def test_a_description_that_is_no_checkpoint_is_refused(saved, text):
    (saved[0] / checkpoint.FACTS).write_text(text)
    with pytest.raises(ArtifactError):
        checkpoint.load(saved[0])


def test_a_method_this_version_does_not_know_is_not_imported(saved):
    path = saved[0] / checkpoint.FACTS
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"method": "os:system"}))
    with pytest.raises(ArtifactError, match="os:system"):
        checkpoint.load(saved[0])


def test_sec_06_a_pickle_in_place_of_the_weights_is_never_run(saved, tmp_path):
    canary = tmp_path / "canary"

    class Trap:
        def __reduce__(self):
            return (canary.touch, ())

    (saved[0] / checkpoint.WEIGHTS).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ArtifactError):
        checkpoint.load(saved[0])
    assert not canary.exists()


def test_weights_of_another_network_are_refused(saved):
    path = saved[0] / checkpoint.FACTS
    record = json.loads(path.read_text())
    record["state"]["options"]["width"] = 12
    path.write_text(json.dumps(record))
    with pytest.raises(ArtifactError, match="do not belong together"):
        checkpoint.load(saved[0])


def test_dmg_10_every_difference_from_the_cube_is_listed(saved, tmp_path):
    other = build_world(
        tmp_path / "other",
        factor=5,
        sectors=("homes", "traffic"),
        layer="roads",
        totals=np.ones((2, 1, 4, 3)),
    )
    with pytest.raises(ArtifactError) as caught:
        checkpoint.load(saved[0], Cube.open(other.cube))
    for words in ("factor 10 in training, 5", "'traffic'", "built (share) only in training", "roads (share)"):
        assert words in caught.value.found


def test_the_history_is_a_table_too_with_a_column_for_each_score(tmp_path):
    lines = [
        {"phase": "shares", "step": 0, "scores": {"0.5": 0.25, "1.0": 0.5}},
        {"phase": "shares", "step": 30, "scores": {"0.5": 0.125}},
    ]
    checkpoint.write_history(lines, tmp_path)
    table = (tmp_path / checkpoint.TABLE).read_text().splitlines()
    assert table == ["phase,scores.0.5,scores.1.0,step", "shares,0.25,0.5,0", "shares,0.125,,30"]
