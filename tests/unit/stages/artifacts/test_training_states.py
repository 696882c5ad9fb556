"""States of training come back exactly, rotate, and can be gone back to; damage and other settings are named."""

import numpy as np
import pytest

from model.ground.errors import ArtifactError
from stages.artifacts.training_states import ROTATING, States
from stages.contract import progress


def state(total, **plain):
    return {"w": np.array([float(total)], np.float32)}, {"total": total, **plain}


@pytest.fixture
def notes():
    heard = []
    progress.listen(heard.append)
    yield heard
    progress.listen(None)


def test_a_state_comes_back_exactly(tmp_path):
    states = States(tmp_path)
    assert states.load() is None
    arrays = {"a/b": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.array(3.0, np.float32)}
    plain = {"total": 7, "history": [{"score": 0.1 + 0.2}]}
    states.save((arrays, plain))
    found, told = States(tmp_path).load()
    assert told == plain
    assert {name: (value.tobytes(), value.shape) for name, value in found.items()} == {
        name: (value.tobytes(), value.shape) for name, value in arrays.items()
    }


def test_five_states_between_epochs_rotate_while_epochs_and_the_best_stay(tmp_path):
    """Autosaves at 1 to 19 but for the epochs' ends, which come every second step up to 20."""
    states = States(tmp_path)
    for total in range(1, 21):
        even = total % 2 == 0
        states.save(state(total), epoch=total // 2 if even else None, best=total == 8)
    assert states.names() == [
        "best", "epoch_010", "latest", *(f"step_{total:07d}" for total in (11, 13, 15, 17, 19))
    ]  # fmt: skip
    assert ROTATING == 5
    assert states.load()[1]["total"] == 20
    assert [path.stem for path in states.lasting()] == ["best", "epoch_010"]
    assert states._read(states._path("best"))[1]["total"] == 8


def test_going_back_forgets_what_came_after(tmp_path):
    states = States(tmp_path)
    for total in range(1, 7):
        states.save(state(total), epoch=total // 3 if total % 3 == 0 else None, best=total in (3, 6))
    assert states.restore("step_0000004") == 4
    assert states.names() == ["latest", "step_0000001", "step_0000002", "step_0000004"]
    assert states.load()[1]["total"] == 4


def test_a_damaged_latest_state_gives_way_to_the_one_before_and_that_is_said(tmp_path, notes):
    states = States(tmp_path)
    states.save(state(2))
    states.save(state(3), epoch=1)
    latest = states.folder / "latest.safetensors"
    latest.write_bytes(latest.read_bytes()[:-3])
    assert states.load()[1]["total"] == 2
    assert "damaged state" in notes[0].text and notes[0].warning
    (states.folder / "step_0000002.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match="damaged state"):
        states.load()


def test_a_state_of_other_settings_is_refused(tmp_path):
    States(tmp_path, config="a").save(state(2))
    with pytest.raises(ArtifactError, match="other settings") as caught:
        States(tmp_path, config="b").load()
    assert "--fresh" in caught.value.fix
