"""A person sees how far the work is, how fast it goes and how long it will take."""

import io

import pytest

from pipeline.cli import console as screens
from pipeline.cli.console import Screen, amounts, duration, size
from stages.contract.progress import Note, Step


def test_progress_has_a_rate_and_the_time_left():
    assert amounts(Step("train", 20, 80, "epochs"), 10.0) == "20 of 80 epochs, 2 epochs/s, 30 s left"


def test_the_rate_counts_only_what_this_attempt_did():
    text = amounts(Step("infer", 60, 80, "windows", before=50), 100.0)
    assert text == "60 of 80 windows, 0.1 windows/s, 3 min 20 s left"
    assert amounts(Step("infer", 51, 52, "windows", before=50), 20.0).startswith(
        "51 of 52 windows, 20 s each"
    )


def test_resumed_work_says_so_before_it_goes_on():
    assert (
        amounts(Step("infer", 50, 80, "windows", 50), 0.0)
        == "50 of 80 windows, found from an earlier attempt"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.23, "4.2 s"), (59, "59 s"), (85, "1 min 25 s"), (7500, "2 h 5 min")]
)
def test_durations_are_read_at_a_glance(seconds, text):
    assert duration(seconds) == text


def test_sizes_are_read_at_a_glance():
    assert size(312_000_000) == "312 MB" and size(1_500_000_000) == "1.50 GB"


def lines_after(steps: list[tuple[float, int]], monkeypatch) -> list[str]:
    stream = io.StringIO()
    shown = Screen(stream)
    for now, done in steps:
        monkeypatch.setattr(screens.time, "monotonic", lambda now=now: now)
        shown.hear(Step("filling", done, 100, "regions"))
    return stream.getvalue().splitlines()


def test_off_a_terminal_lines_are_rare_and_the_last_one_is_always_there(monkeypatch):
    every_tenth = [(second / 10, second) for second in range(101)]
    lines = lines_after(every_tenth, monkeypatch)
    assert [line.split()[1] for line in lines] == ["50", "100"]


def test_a_new_round_of_the_same_work_starts_a_new_clock(monkeypatch):
    lines = lines_after([(0, 0), (50, 100), (60, 0), (70, 100)], monkeypatch)
    assert lines[1].strip() == "filling: 100 of 100 regions, 10 regions/s"


def test_on_a_terminal_a_bar_is_drawn_and_notes_stay_above_it():
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Tty()
    shown = Screen(stream)
    shown.hear(Step("filling", 3, 10, "regions"))
    shown.hear(Note("[bold] is no markup", warning=True))
    shown.rest()
    assert "warning: [bold] is no markup" in stream.getvalue() and "3 of 10 regions" in stream.getvalue()
