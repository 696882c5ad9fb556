"""Training as those who watch it see it: a line on the screen, lines on disk, and TensorBoard where it is installed."""

import importlib.util
import json
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO

from model.training.protocol import StepNews
from stages.artifacts.training_states import FOLDER
from stages.contract.progress import step
from stages.formats.atomic import replace_file

LINES = 1000  # of one network, at most, on disk
HISTORY = ".history"  # in the partial folder; filed under the run's history when training is over


class Live:
    """Listens to the training of one network.

    What is written holds no times, so that equal trainings leave equal lines; times are for the screen.
    """

    def __init__(self, out: Path, fold: int, label: str) -> None:
        self._label, self._fold, self._board_folder = (
            label,
            fold,
            out / HISTORY / "tensorboard" / f"fold{fold}",
        )
        self.path = steps_file(out, fold)
        self._first: int | None = None
        self._news: StepNews | None = None
        self._began, self._seconds = perf_counter(), 0.0
        self._stream: TextIO | None = None
        self._board: Any = None

    def hear(self, news: StepNews) -> None:
        """One step is over."""
        if self._first is None:
            self._first = news.done - 1
            self._go_on_from(news.done - 1)
        if news.done == news.total or news.done % max(1, news.total // LINES) == 0:
            self._write(news)
        self._news, self._seconds = news, perf_counter() - self._began
        step(self._label, news.done, news.total, "steps", before=self._first, detail=told(news))

    def told(self) -> str:
        """How fast it went in this attempt, and how much of that was waiting; for the page."""
        if self._news is None or self._first is None:
            return "All steps were taken by an earlier attempt."
        taken = self._news.done - self._first
        return (
            f"{taken} steps in this attempt, {taken / max(self._seconds, 1e-9):.3g} steps/s, "
            f"{100 * self._news.waiting:.0f} % of the time waiting for data, {self._news.skipped} steps skipped."
        )

    def close(self) -> None:
        """Training is over, or was when it was begun."""
        if self._stream is not None:
            self._stream.close()
        if self._board is not None:
            self._board.close()

    def _go_on_from(self, done: int) -> None:
        """Drops lines of steps that are now taken again."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = [line for line in read_steps(self.path) if line["step"] <= done]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        replace_file(self.path, text.encode())
        self._stream = self.path.open("a", encoding="utf-8", buffering=1)
        self._board = _board(self._board_folder, done + 1)

    def _write(self, news: StepNews) -> None:
        line: dict[str, Any] = {
            "step": news.done,
            "loss": news.loss,
            "rate": news.rate,
            "best": news.best,
            **news.terms,
        }
        line |= {"skipped": news.skipped} if news.skipped else {}
        if self._stream is not None:
            self._stream.write(json.dumps(line) + "\n")
        if self._board is not None:
            for name, value in line.items():
                if name != "step":
                    self._board.add_scalar(name, value, news.done)
            self._board.add_scalar("waiting for data", news.waiting, news.done)


def _board(folder: Path, step: int) -> Any:
    """TensorBoard's writer, whose curves from `step` on are written anew; None where it is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step)


def told(news: StepNews) -> str:
    """`loss 0.1213 (pixel 0.05), rate 2.9e-03, best score 0.2210, 3 % of the time waiting for data`."""
    terms = ", ".join(f"{name} {value:.3g}" for name, value in news.terms.items())
    words = [f"loss {news.loss:.4f}" + (f" ({terms})" if terms else "")]
    words += [f"rate {news.rate:.1e}", f"best score {news.best:.4f}"]
    words += [f"{100 * news.waiting:.0f} % of the time waiting for data"]
    words += [f"{news.skipped} steps skipped"] if news.skipped else []
    return ", ".join(words)


def steps_file(out: Path, fold: int) -> Path:
    """Where the lines of one network's steps are while training lasts."""
    return out / FOLDER / f"train{fold}" / "steps.jsonl"


def read_steps(path: Path) -> list[dict[str, Any]]:
    """The lines as written; a torn last one is not believed."""
    lines = []
    for text in path.read_text("utf-8").splitlines(keepends=True) if path.exists() else ():
        if text.endswith("\n"):
            lines.append(json.loads(text))
    return lines
