"""Says how far a stage has come and what a user should know; whoever listens decides how to show it."""

from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Step:
    """So many of so many units done, among them `before` that an earlier attempt had left."""

    label: str
    done: int
    total: int
    unit: str
    before: int = 0
    detail: str = ""


@dataclass(frozen=True)
class Note:
    """A fact to act on: what was filled, masked, repaired, chosen or fell back."""

    text: str
    warning: bool = False


Listener = Callable[[Step | Note], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def listen(listener: Listener | None) -> None:
    """From now on steps and notes of this thread's context go to the listener."""
    _listener.set(listener)


def tell(text: str, *, warning: bool = False) -> None:
    """States a fact once."""
    if (listener := _listener.get()) is not None:
        listener(Note(text, warning))


def step(label: str, done: int, total: int, unit: str, *, before: int = 0, detail: str = "") -> None:
    """Reports that `done` of `total` units are finished."""
    if (listener := _listener.get()) is not None:
        listener(Step(label, done, total, unit, before, detail))


def track(items: Iterable[Item], label: str, total: int, unit: str, *, before: int = 0) -> Iterator[Item]:
    """Yields the items and reports a step after each is used."""
    if total:
        step(label, before, total, unit, before=before)
    for count, item in enumerate(items, start=before + 1):
        yield item
        step(label, count, total, unit, before=before)
