"""Hashes source files once and remembers them, so that an unchanged file of many gigabytes is not read again."""

import json
import os
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pipeline import manifest as manifests
from stages.formats.atomic import replace_file

GONE = "missing"
SETTLED_NS = 2_000_000_000  # a file younger than this may change again without its time showing it


class Remembered(NamedTuple):
    """A file as it was when it was hashed: size [bytes], time of its last change [ns], SHA-256."""

    size: int
    changed_ns: int
    sha256: str


@dataclass
class Hashes:
    """SHA-256 of source files, remembered by size and modification time.

    Why keyed by the absolute path: the memory belongs to one machine and is no part of any artifact.
    """

    memory: Path
    known: dict[str, Remembered] = field(default_factory=dict)
    changed: bool = False

    def __post_init__(self) -> None:
        try:
            told = json.loads(self.memory.read_text(encoding="utf-8"))
            self.known = dict(zip(told, map(Remembered._make, told.values()), strict=True))
        except (OSError, ValueError, TypeError, AttributeError):
            self.known = {}  # without memory every file is read once more

    def of(self, path: str) -> str:
        """The file's hash.

        Args:
          path: absolute.
        Returns: SHA-256, or GONE when it is no readable file.
        """
        try:
            state = os.stat(path)
            if not stat.S_ISREG(state.st_mode):
                return GONE
            known = self.known.get(path)
            if known is not None and (known.size, known.changed_ns) == (state.st_size, state.st_mtime_ns):
                return known.sha256
            digest = manifests.file_hash(Path(path))
        except OSError:
            return GONE
        if time.time_ns() - state.st_mtime_ns > SETTLED_NS:
            self.known[path] = Remembered(state.st_size, state.st_mtime_ns, digest)
            self.changed = True
        return digest

    def save(self) -> None:
        """Writes what was learned, if anything."""
        if self.changed:
            self.memory.parent.mkdir(parents=True, exist_ok=True)
            replace_file(
                self.memory, (json.dumps(self.known, indent=1, sort_keys=True) + "\n").encode(), shared=True
            )
            self.changed = False
