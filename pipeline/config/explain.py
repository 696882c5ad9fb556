"""Tells what is wrong in a section of the configuration: the place, what stands there, what is wanted, what helps."""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from model.ground.errors import HectareError, UsageError
from model.methods import METHODS
from model.methods.choice import UNHEARD, UNKNOWN
from model.training.options import TrainingOptions
from pipeline.config import schema
from pipeline.config.yaml_source import Document, KeyPath, Place, YamlValue, spell
from stages.contract.section import LACKING, Renamed, Section


def mistakes(
    stage: str, cls: type[Section], document: Document, error: ValidationError
) -> list[HectareError]:
    """One fault a place; what the members of a union want is told together, and what is wrong alike in a list once."""
    gathered: dict[tuple[KeyPath, str], tuple[ErrorDetails, list[str]]] = {}
    for detail in error.errors(include_url=False):
        path = (stage, *_written(detail, document.data.get(stage)))
        own = detail["type"] if detail["type"] in ("missing", "extra_forbidden") else ""
        wanted = _wanted(detail)
        _, wants = gathered.setdefault((path, own), (detail, []))
        if wanted not in wants:
            wants.append(wanted)
    told: list[tuple[KeyPath, HectareError]] = []
    for (path, _), (detail, wants) in gathered.items():
        told.append(_told(path, detail, wants, cls, document))
    return _alike_once(told, document)


def _told(
    path: KeyPath, detail: ErrorDetails, wants: list[str], cls: type[Section], document: Document
) -> tuple[KeyPath, HectareError]:
    where = f"{place_of(document, path)}: {spell(path)}"
    if detail["type"] == UNHEARD:
        return path, _unheard(where, path, detail)
    if detail["type"] == UNKNOWN:
        return path, _unknown_method(where, path, detail)
    if detail["type"] == "extra_forbidden" and (new := cls.RENAMED.get(".".join(map(str, path[1:])))):
        return path, _renamed(where, path, new)
    if detail["type"] == "extra_forbidden":
        known = schema.keys_at(cls, path[1:-1])
        accepted = "one of " + ", ".join(known) if known else "no such key"
        return path, UsageError(
            where, f"unknown key `{path[-1]}`", accepted, hint(str(path[-1]), known, {}, path[:-1])
        )
    if detail["type"] == "missing":
        key = f"`{path[-1]}`"
        return path, UsageError(where, "nothing", f"a value for {key}", f"add {key} at this place")
    wanted = " or ".join(wants)
    if lacking := _lacking(detail):
        path = (*path, lacking)
        where = f"{place_of(document, path)}: {spell(path)}"
        return path, UsageError(where, "nothing", wanted, f"set `{spell(path)}`")
    fix = f"change `{spell(path)}`" if path in document.places else f"set `{spell(path)}`"
    return path, UsageError(where, _shorten(detail["input"]), wanted, fix)


def _renamed(where: str, path: KeyPath, new: Renamed) -> UsageError:
    """Of a key that an earlier version knew."""
    name = f"{path[0]}.{new.to}"
    also = f"; {new.how}" if new.how else ""
    return UsageError(where, f"`{spell(path)}`, its former name", f"`{name}`", f"renamed to `{name}`{also}")


def _unheard(where: str, path: KeyPath, detail: ErrorDetails) -> UsageError:
    """Of an option that the chosen method does not have."""
    told, key = detail["ctx"], str(path[-1])
    found = f"`{key}`, which {told['method']} does not hear"
    holder = path[:-1]
    if told["renamed"] is not None:
        fix = f"renamed to `{spell((*holder, told['renamed']))}`"
    elif told["heard_by"]:
        fix = f"remove it, or choose a method that hears it: {', '.join(told['heard_by'])}"
    elif key in TrainingOptions.model_fields:
        fix = f"it belongs to the training loop: `{path[0]}.{key}`"
    else:
        fix = hint(key, told["known"], {}, holder)
    return UsageError(where, found, told["wanted"], fix)


def _unknown_method(where: str, path: KeyPath, detail: ErrorDetails) -> UsageError:
    """Of a name that the table of methods does not have."""
    close = difflib.get_close_matches(str(detail["input"]), METHODS, 1, 0.6)
    fix = f"did you mean `{close[0]}`?" if close else "`pipeline methods` tells what each is for"
    return UsageError(where, _shorten(detail["input"]), detail["ctx"]["wanted"], fix)


def _lacking(detail: ErrorDetails) -> str | None:
    """The key that a section should have had when none of those it was asked for has a value."""
    section = detail["input"]
    if detail["type"] != LACKING or not isinstance(section, dict):
        return None
    keys: tuple[str, ...] = detail["ctx"]["keys"]
    return None if any(map(section.get, keys)) else keys[0]


class _Alike(NamedTuple):
    """What faults of entries of a list share: the keys of the place without positions, and two of the four parts."""

    keys: tuple[str, ...]
    found: str
    wanted: str


def _alike_once(told: list[tuple[KeyPath, HectareError]], document: Document) -> list[HectareError]:
    """One fault for the entries of a list that lack or hold the same."""
    alike: dict[_Alike, list[tuple[KeyPath, HectareError]]] = {}
    for path, fault in told:
        key = _Alike(tuple("" if isinstance(part, int) else part for part in path), fault.found, fault.wanted)
        alike.setdefault(key, []).append((path, fault))
    faults = []
    for (_, first), *others in alike.values():
        if others:
            lines = ", ".join(str(place_of(document, path).line) for path, _ in others)
            first.where += (
                f"; the same {len(others)} more times, line{'s' if len(others) > 1 else ''} {lines}"
            )
        faults.append(first)
    return faults


def _written(detail: ErrorDetails, data: YamlValue) -> KeyPath:
    """The part of pydantic's place that stands in the file: names of union members are left out."""
    path: list[str | int] = []
    *inner, last = detail["loc"] or ("",)
    for part in (*inner, last):
        if isinstance(data, dict) and str(part) in data:
            path.append(str(part))
            data = data[str(part)]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            path.append(part)
            data = data[part]
    if detail["type"] == "missing":
        path.append(str(last))
    return tuple(path)


def place_of(document: Document, path: KeyPath) -> Place:
    """Where the path, or what holds it, is written."""
    while path not in document.places:
        path = path[:-1]
    return document.places[path]


def _wanted(detail: ErrorDetails) -> str:
    text = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    text = text.removeprefix("Input should be ")
    return text.replace("a valid integer", "a whole number").replace("a valid string", "text")


def _shorten(value: object) -> str:
    if isinstance(value, dict):  # a whole section: what is wrong is how its settings go together
        return "settings that do not agree: " + ", ".join(map(str, value))
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else f"{text[:100]}... ({len(text)} characters)"


def hint(key: str, known: Sequence[str], classes: Mapping[str, type[Section]], path: KeyPath) -> str:
    """What helps where a key is unknown.

    Args:
      known: keys that may stand there.
      classes: sections by name, where the key may have been meant to stand.
      path: of what holds the key.
    Returns: the closest known key, here or in another section; else the advice to remove it.
    """
    if close := difflib.get_close_matches(key, known, 1, 0.6):
        return f"did you mean `{spell((*path, close[0]))}`?"
    for stage, cls in classes.items():
        if close := difflib.get_close_matches(key, list(cls.model_fields), 1, 0.75):
            return f"did you mean `{stage}.{close[0]}`?"
    return "remove it"
