"""Reads YAML strictly: plain values only, no key twice, and the line of every key kept for error messages."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from model.ground.errors import HectareError, UsageError

KeyPath = tuple[str | int, ...]
YamlValue: TypeAlias = "dict[str, YamlValue] | list[YamlValue] | str | int | float | bool | None"
INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:e[-+]?[0-9]+)?|[-+]?\.inf|\.nan", re.IGNORECASE)
PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq")}
DEEPEST = 40  # levels; far above any configuration, far below Python's own limit


@dataclass(frozen=True)
class Place:
    """A line of a file, or a word of the command line (line 0)."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}" if self.line else self.file


@dataclass
class Document:
    """What a text says.

    Attributes:
      data: dicts with text keys, lists, text, whole numbers, numbers, truth values, None.
      places: key path -> where it is written; () is the document itself.
      faults: what is wrong with the text although it could be read.
    """

    data: Any
    places: dict[KeyPath, Place]
    faults: list[HectareError] = field(default_factory=list)


class _Loader(yaml.SafeLoader):
    """Why its own resolvers: YAML 1.1 takes 1e-4 for text, NO for false, 010 for 8 and 1:30 for 90."""


_Loader.yaml_implicit_resolvers = {}


def _resolve(kind: str, pattern: str, first: str) -> None:
    expression = re.compile(pattern, re.IGNORECASE)
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", expression, list(first))


_resolve("bool", r"^(?:true|false)$", "tTfF")
_resolve("null", r"^(?:~|null|)$", "~nN")
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^$"), [""])
_resolve("int", f"^(?:{INTEGER.pattern})$", "-+0123456789")
_resolve("float", f"^(?:{NUMBER.pattern})$", "-+.0123456789")


def read(path: Path, shown: str) -> Document:
    """Reads a file.

    Args:
      shown: how messages name the file.
    Raises: UsageError when the file cannot be read or is not YAML.
    """
    fix = "give the path of a configuration with -c FILE"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte {error.start} is not UTF-8 text"
        raise UsageError(shown, found, "a YAML file in UTF-8", fix) from error
    except OSError as error:
        raise UsageError(shown, error.strerror or str(error), "a readable YAML file", fix) from error
    return parse(text, shown)


def parse(text: str, shown: str, *, one_line: bool = False) -> Document:
    """Reads a text.

    Args:
      shown: how messages name it.
      one_line: places have no line numbers, as for words of the command line.
    Returns: the document; what is wrong with it although it could be read is among its faults.
    Raises: UsageError (exit 2) when it is not YAML.
    """
    loader: yaml.SafeLoader | None = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        mark = error.problem_mark or error.context_mark if isinstance(error, yaml.MarkedYAMLError) else None
        place = Place(shown, 0 if one_line or mark is None else mark.line + 1)
        raise UsageError(str(place), _problem(error), "YAML", "correct the text at this place") from error
    except RecursionError as error:
        wanted = f"at most {DEEPEST} levels"
        raise UsageError(shown, "nested without end", wanted, "flatten the text") from error
    finally:
        if loader is not None:
            loader.dispose()
    document = Document(None, {(): Place(shown)})
    if node is not None:
        document.data = _value(node, (), _Reading(document, shown, one_line))
    return document


def _problem(error: yaml.YAMLError) -> str:
    problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else None
    problem = problem or str(error).splitlines()[0]
    return f"not YAML: {problem}"


@dataclass
class _Reading:
    document: Document
    shown: str
    one_line: bool
    seen: set[int] = field(default_factory=set)

    def place(self, node: Node) -> Place:
        return Place(self.shown, 0 if self.one_line else node.start_mark.line + 1)

    def complain(self, node: Node, path: KeyPath, found: str, wanted: str, fix: str) -> None:
        where = f"{self.place(node)}: {spell(path)}" if path else str(self.place(node))
        self.document.faults.append(UsageError(where, found, wanted, fix))


def _value(node: Node, path: KeyPath, reading: _Reading) -> YamlValue:
    """The plain value of a node; notes its place, and a fault where it is not plain."""
    reading.document.places.setdefault(path, reading.place(node))
    if id(node) in reading.seen:
        fix = "repeat the value, or use `extends:`"
        reading.complain(node, path, "an alias (*name)", "values written out", fix)
        return None
    reading.seen.add(id(node))
    if node.tag not in PLAIN_TAGS:
        reading.complain(
            node, path, f"the tag {node.tag}", "plain values; no tag is ever followed", "remove the tag"
        )
        return None
    if len(path) > DEEPEST:
        reading.complain(node, path[:3], "nested too deep", f"at most {DEEPEST} levels", "flatten the text")
        return None
    if isinstance(node, MappingNode):
        return dict(_items(node, path, reading))
    if isinstance(node, SequenceNode):
        return [_value(child, (*path, index), reading) for index, child in enumerate(node.value)]
    return _scalar(node, path, reading) if isinstance(node, ScalarNode) else None


def _items(node: MappingNode, path: KeyPath, reading: _Reading) -> Iterator[tuple[str, YamlValue]]:
    lines: dict[str, Place] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, ScalarNode):
            reading.complain(key_node, path, "a key that is not a word", "plain keys", "write `key: value`")
            continue
        key, place = key_node.value, reading.place(key_node)
        here = (*path, key)
        if key in lines:
            found = f"`{key}` twice: {lines[key]} and {place}"
            reading.complain(key_node, here, found, "each key once", "remove one of the two")
        lines[key] = place
        _forget(reading.document.places, here)
        reading.document.places[here] = place
        yield key, _value(value_node, here, reading)


def _forget(places: dict[KeyPath, Place], path: KeyPath) -> None:
    """Drops the places at and under a path that is about to be written anew."""
    if path in places:
        for known in list(places):
            if known[: len(path)] == path:
                del places[known]


def _scalar(node: ScalarNode, path: KeyPath, reading: _Reading) -> YamlValue:
    kind, text = node.tag.rsplit(":", 1)[1], node.value
    if kind == "str":
        return text
    if kind == "null":
        return None
    try:
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        if kind == "int":
            return int(text)
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except (KeyError, ValueError):
        fix = "remove the tag or correct the value"
        reading.complain(node, path, f"`{text}`", f"a value of kind {kind}", fix)
        return None


def spell(path: KeyPath) -> str:
    """`ingest.layers[2].unit` for ("ingest", "layers", 2, "unit")."""
    words = ""
    for part in path:
        words += f"[{part}]" if isinstance(part, int) else f".{part}"
    return words.removeprefix(".")
