"""Tells whether an artifact is what a run of its stage would make now, and if not, why."""

import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import manifest as manifests
from pipeline.manifest import Manifest
from pipeline.workspace import Shelf
from stages import Stage
from stages.contract.run_key import RunKey
from stages.contract.section import Section, dump

GONE = "missing"
SETTLED_NS = 2_000_000_000  # a file younger than this may change again without its time showing it


@dataclass
class Hashes:
    """SHA-256 of source files, remembered by size and modification time.

    Why keyed by the absolute path: the memory belongs to one machine and is no part of any artifact.
    """

    memory: Path
    known: dict[str, list[Any]] = field(default_factory=dict)
    changed: bool = False

    def __post_init__(self) -> None:
        try:
            known = json.loads(self.memory.read_text(encoding="utf-8"))
            self.known = known if isinstance(known, dict) else {}
        except (OSError, ValueError):
            self.known = {}

    def of(self, path: str) -> str:
        """The file's hash, or GONE when it is no readable file."""
        try:
            state = os.stat(path)
            if not stat.S_ISREG(state.st_mode):
                return GONE
            sight = [state.st_size, state.st_mtime_ns]
            if self.known.get(path, [None, None])[:2] == sight:
                return str(self.known[path][2])
            digest = manifests.file_hash(Path(path))
        except OSError:
            return GONE
        if time.time_ns() - state.st_mtime_ns > SETTLED_NS:
            self.known[path] = [*sight, digest]
            self.changed = True
        return digest

    def save(self) -> None:
        """Writes what was learned, if anything."""
        if self.changed:
            self.memory.parent.mkdir(parents=True, exist_ok=True)
            manifests.write_whole(self.memory, json.dumps(self.known, indent=1, sort_keys=True) + "\n")
            self.changed = False


@dataclass(frozen=True)
class Task:
    """One stage, its section, what it reads and where it publishes.

    Attributes:
      inputs: argument of run -> the artifact's link, or the links of several runs.
    """

    stage: Stage
    config: Section
    shelf: Shelf
    inputs: Mapping[str, Path | Mapping[RunKey, Path]]

    @property
    def link(self) -> Path:
        return self.shelf.link(self.stage.gives)

    def artifacts(self) -> Iterator[tuple[str, Path]]:
        """Every artifact it reads, with a name to call it by."""
        for name, value in self.inputs.items():
            if isinstance(value, Mapping):
                yield from ((f"{name}.{key}", path) for key, path in value.items())
            else:
                yield name, value

    def facts(self, hashes: Hashes) -> dict[str, Any]:
        """All that decides what the stage makes, as it enters manifest and fingerprint."""
        body = self.stage.body()
        records = {name: manifests.read(path) for name, path in self.artifacts()}
        files = body.sources(self.config)
        return {
            "version": body.VERSION,
            # Why by way of JSON: compared with what a manifest says after reading it back.
            "config": json.loads(json.dumps(dump(self.config))),
            "needs": {name: record.stamp if record else GONE for name, record in records.items()},
            "sources": [[Path(path).name, hashes.of(str(path))] for path in files],
        }


def fingerprint(stage: Stage, facts: Mapping[str, Any]) -> str:
    """Hash of stage name, version, section, stamps of the needs and content of the sources."""
    return manifests.text_hash(stage.name, facts)


def staleness(task: Task, hashes: Hashes) -> str | None:
    """Why the artifact is not what the stage would make now; None when it is fresh."""
    record = task.shelf.manifest(task.stage.gives)
    if record is None:
        return "its record is missing" if task.link.exists() else "never run"
    facts = task.facts(hashes)
    if reasons := list(_differences(record, facts)):
        return "; ".join(reasons)
    if record.fingerprint != fingerprint(task.stage, facts):
        return "its record does not fit its fingerprint"
    return manifests.missing(task.link, record)


def _differences(record: Manifest, facts: Mapping[str, Any]) -> Iterator[str]:
    stage = record.stage
    if record.version != facts["version"]:
        yield f"stage version {record.version} -> {facts['version']}"
    old, new = _flat(record.config, stage), _flat(facts["config"], stage)
    for key in sorted(old.keys() | new.keys()):
        if key not in old:
            yield f"`{key}` is new: {_short(new[key])}"
        elif key not in new:
            yield f"`{key}` is gone"
        elif old[key] != new[key]:
            yield f"`{key}` changed {_short(old[key])} -> {_short(new[key])}"
    yield from _source_differences(record.sources, facts["sources"])
    for name, stamp in facts["needs"].items():
        if stamp == GONE:
            yield f"{name} is missing"
        elif record.needs.get(name) != stamp:
            yield f"{name} was remade"
    yield from (f"{name} is no longer read" for name in record.needs if name not in facts["needs"])


def _source_differences(old: list[list[str]], new: list[list[str]]) -> Iterator[str]:
    before = {tuple(pair) for pair in old}
    names = {name for name, _ in old}
    for name, digest in new:
        if digest == GONE:
            yield f"source {name} is missing"
        elif name not in names:
            yield f"source {name} is new"
        elif (name, digest) not in before:
            yield f"source {name} changed"
    yield from (f"source {name} is no longer read" for name in sorted(names - {name for name, _ in new}))


def _flat(value: Any, path: str) -> dict[str, Any]:
    """`tile.stride` -> 60 for every plain value inside."""
    if isinstance(value, Mapping) and value:
        return _joined(_flat(inner, f"{path}.{name}") for name, inner in value.items())
    if isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        return _joined(_flat(inner, f"{path}[{number}]") for number, inner in enumerate(value))
    return {path: value}


def _joined(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {key: leaf for part in parts for key, leaf in part.items()}


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
