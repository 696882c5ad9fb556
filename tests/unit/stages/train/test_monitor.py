"""What is shown and written while training lasts."""

import importlib.util
import sys
from types import SimpleNamespace

import pytest

from model.training.protocol import StepNews
from stages.contract import progress
from stages.train import monitor as live
from stages.train.monitor import Live, read_steps, steps_file, told


def news(done, **changed):
    facts = {
        "done": done, "total": 4, "loss": 0.5, "terms": {"pixel": 0.25}, "rate": 1e-3,
        "best": 0.125, "skipped": 0, "waiting": 0.03,
    }  # fmt: skip
    return StepNews(**(facts | changed))


def test_a_step_is_told_with_its_terms_rate_best_score_and_waiting():
    words = "loss 0.5000 (pixel 0.25), rate 1.0e-03, best score 0.1250, 3 % of the time waiting for data"
    assert told(news(1)) == words
    assert told(news(1, skipped=2)) == f"{words}, 2 steps skipped"


def test_lines_of_steps_taken_again_are_dropped_and_a_torn_one_is_not_believed(tmp_path):
    first = Live(tmp_path, 0, "train")
    for done in (1, 2, 3):
        first.hear(news(done))
    first.close()
    with steps_file(tmp_path, 0).open("a") as file:
        file.write('{"step": 4, "lo')
    again = Live(tmp_path, 0, "train")
    again.hear(news(3, loss=0.75))
    again.close()
    lines = read_steps(steps_file(tmp_path, 0))
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 0.5), (2, 0.5), (3, 0.75)]


def test_a_long_training_leaves_a_thousand_lines(tmp_path):
    watch = Live(tmp_path, 0, "train")
    for done in range(1, 2501):
        watch.hear(news(done, total=2500))
    watch.close()
    assert [line["step"] for line in read_steps(watch.path)] == list(range(2, 2501, 2))


def test_steps_of_an_earlier_attempt_are_no_part_of_the_rate(tmp_path):
    heard = []
    progress.listen(heard.append)
    watch = Live(tmp_path, 0, "train, network 1 of 4")
    watch.hear(news(3))
    progress.listen(None)
    watch.close()
    assert [(step.label, step.done, step.before) for step in heard] == [("train, network 1 of 4", 3, 2)]
    assert watch.told().startswith("1 steps in this attempt")


def test_tensorboard_gets_the_same_numbers_where_it_is_installed(tmp_path, monkeypatch):
    written, made = {}, []

    class Writer:
        def __init__(self, folder, purge_step):
            made.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            written[name, step] = value

        def close(self):
            made.append("closed")

    find = importlib.util.find_spec
    monkeypatch.setattr(live.importlib.util, "find_spec", lambda name: name == "tensorboard" or find(name))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    watch = Live(tmp_path, 3, "train")
    watch.hear(news(2))
    watch.close()
    assert made == [(str(tmp_path / ".history" / "tensorboard" / "fold3"), 2), "closed"]
    assert written == {
        ("loss", 2): 0.5, ("rate", 2): 1e-3, ("best", 2): 0.125, ("pixel", 2): 0.25,
        ("waiting for data", 2): 0.03,
    }  # fmt: skip


def test_tensorboard_itself_reads_what_was_written(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra `log` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    watch = Live(tmp_path, 0, "train")
    watch.hear(news(1))
    watch.close()
    events = EventAccumulator(str(tmp_path / ".history" / "tensorboard" / "fold0")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 0.5)]
