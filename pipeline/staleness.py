"""Tells whether an artifact is what a run of its stage would make now, and if not, why."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from pydantic import JsonValue

from pipeline import manifest as manifests
from pipeline.manifest import Manifest, Provenance
from pipeline.source_hashes import GONE, Hashes
from pipeline.task import Task, fingerprint


class Kind(Enum):
    """The kinds of reason for which a stage runs, in the words that introduce them."""

    FORCED = "forced"
    NEVER_RUN = "never run"
    NO_RECORD = "its record is missing"
    UNFIT_RECORD = "its record does not fit its fingerprint"
    CHANGED = ""
    OUTPUT = "output file"
    WAITS = "waits on"


@dataclass(frozen=True)
class Reason:
    """Why a stage is to run.

    Attributes:
      kind: tells what can be done about it.
      detail: what changed, the stages it waits on, or what is wrong with the file.
      file: path inside the artifact, of kind OUTPUT.
    """

    kind: Kind
    detail: str = ""
    file: str = ""

    def __str__(self) -> str:
        """As a user reads it, e.g. output file heat.tif is missing."""
        return " ".join(filter(None, (self.kind.value, self.file, self.detail)))

    def about(self, artifact: str) -> str:
        """The same beside the artifact's name; a file of a Zarr store with variable and chunk."""
        return f"{manifests.describe(artifact, self.file)} {self.detail}" if self.file else str(self)


FORCED = Reason(Kind.FORCED)


def staleness(task: Task, hashes: Hashes) -> Reason | None:
    """Why the artifact is not what the stage would make now.

    Compares the published record with the settings, versions, needs and sources of now, then the files with the
    record, by size alone: full hashes are taken before a stage reads them.
    Returns: None when it is fresh.
    """
    record = task.shelf.manifest(task.stage.gives)
    if record is None:
        return Reason(Kind.NO_RECORD if task.link.exists() else Kind.NEVER_RUN)
    now = task.provenance(hashes)
    if changes := list(_differences(record, now)):
        return Reason(Kind.CHANGED, "; ".join(changes))
    if record.fingerprint != fingerprint(task.stage, now):
        return Reason(Kind.UNFIT_RECORD)
    lost = manifests.missing(task.link, record)
    return Reason(Kind.OUTPUT, lost.found, lost.file) if lost else None


def _differences(record: Manifest, now: Provenance) -> Iterator[str]:
    if record.version != now.version:
        yield f"stage version {record.version} -> {now.version}"
    yield from _section_differences(_flat(record.config, record.stage), _flat(now.config, record.stage))
    yield from _source_differences(record.sources, now.sources)
    for name, stamp in now.needs.items():
        if stamp == GONE:
            yield f"{name} is missing"
        elif record.needs.get(name) != stamp:
            yield f"{name} was remade"
    for name in record.needs:
        if name not in now.needs:
            yield f"{name} is no longer read"


def _section_differences(old: Mapping[str, JsonValue], new: Mapping[str, JsonValue]) -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        if key not in old:
            yield f"`{key}` is new: {_short(new[key])}"
        elif key not in new:
            yield f"`{key}` is gone"
        elif old[key] != new[key]:
            yield f"`{key}` changed {_short(old[key])} -> {_short(new[key])}"


def _source_differences(old: Sequence[Sequence[str]], new: Sequence[Sequence[str]]) -> Iterator[str]:
    before = set(map(tuple, old))
    left = set(map(_name, old))
    for name, digest in new:
        if digest == GONE:
            yield f"source {name} is missing"
        elif name not in left:
            yield f"source {name} is new"
        elif (name, digest) not in before:
            yield f"source {name} changed"
    for name in sorted(left - set(map(_name, new))):
        yield f"source {name} is no longer read"


def _name(source: Sequence[str]) -> str:
    return source[0]


def _flat(value: JsonValue | Mapping[str, JsonValue], path: str) -> dict[str, JsonValue]:
    """`tile.stride` -> 60 for every plain value inside."""
    inner: list[tuple[str, JsonValue]] = []
    if isinstance(value, Mapping):
        inner = [(f"{path}.{name}", part) for name, part in value.items()]
    elif isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        inner = [(f"{path}[{number}]", part) for number, part in enumerate(value)]
    if not inner:
        return {path: dict(value) if isinstance(value, Mapping) else value}
    leaves: dict[str, JsonValue] = {}
    for place, part in inner:
        leaves |= _flat(part, place)
    return leaves


def _short(value: JsonValue) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
