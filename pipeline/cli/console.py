"""Shows a person how far the run is: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from dataclasses import dataclass
from typing import IO, Any

from stages.contract.progress import Note, Step

PLAIN_SECONDS = 5.0  # between two plain lines of the same work


@dataclass
class _Work:
    """One label's progress since it was first seen."""

    label: str
    began: float
    said: float = float("-inf")
    done: int = -1


class Screen:
    """Prints facts about stages; the only part of the program that knows a terminal."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self.stream = stream or sys.stdout
        self._work: _Work | None = None
        self._bar: Any = None
        self._row: Any = None

    def say(self, text: str) -> None:
        """One line, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self.stream, flush=True)

    def hear(self, news: Step | Note) -> None:
        """Listens to a stage."""
        if isinstance(news, Note):
            self.say(f"  {'warning: ' if news.warning else ''}{news.text}")
        else:
            self._show(news)

    def rest(self) -> None:
        """Takes the bar away: the stage is over."""
        self._work = None
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._row = None

    def _show(self, step: Step) -> None:
        now = time.monotonic()
        work = self._work
        if work is None or work.label != step.label or step.done < work.done:
            self._work = work = _Work(step.label, now)
            if self._bar is not None:
                self._bar.remove_task(self._row)
                self._row = None
        text = f"{step.label}: {amounts(step, now - work.began)}"
        work.done = step.done
        if self.stream.isatty():
            self._draw(step, text)
        elif self._is_due(step, work, now):
            work.said = now
            self.say(f"  {text}")

    def _is_due(self, step: Step, work: _Work, now: float) -> bool:
        if step.done >= step.total:
            return True
        return step.done > step.before and now - max(work.said, work.began) >= PLAIN_SECONDS

    def _draw(self, step: Step, text: str) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                BarColumn(bar_width=24),
                TextColumn("{task.description}", markup=False),
                console=Console(file=self.stream),
                transient=True,
            )
            self._bar.start()
        if self._row is None:
            self._row = self._bar.add_task(text, total=step.total)
        self._bar.update(self._row, completed=step.done, total=step.total, description=text)


def amounts(step: Step, seconds: float) -> str:
    """`12 of 80 epochs, 0.8 epochs/s, 1 min 25 s left` and the stage's own detail."""
    words = [f"{step.done} of {step.total} {step.unit}"]
    fresh = step.done - step.before
    if fresh > 0 and seconds > 0:
        rate = fresh / seconds
        words.append(f"{rate:.3g} {step.unit}/s" if rate >= 0.1 else f"{1 / rate:.3g} s each")
        if step.done < step.total:
            words.append(f"{duration((step.total - step.done) / rate)} left")
    if step.before and step.done == step.before:
        words.append("found from an earlier attempt")
    return ", ".join([*words, step.detail] if step.detail else words)


def duration(seconds: float) -> str:
    """`4.2 s`, `1 min 25 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """`312 MB`."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
