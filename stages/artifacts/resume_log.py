"""What a partial artifact already holds, written down line by line so that a killed stage can go on."""

import json
import os
import time
from pathlib import Path
from typing import Any

FOLDER = ".progress"
SYNC_SECONDS = 1.0  # of notes that a power cut may take; unpublished pieces are no safer


class ResumeLog:
    """Finished pieces of work by key, in the order they were finished; a torn last line is not believed."""

    def __init__(self, out: Path, name: str) -> None:
        folder = out / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{name}.jsonl"
        self.done: dict[str, Any] = {}
        kept = 0
        if self._path.exists():
            for line in self._path.read_bytes().splitlines(keepends=True):
                try:
                    entry = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    entry = None
                if entry is None:
                    break
                self.done[entry["key"]] = entry["value"]
                kept += len(line)
            os.truncate(self._path, kept)
        self._stream = self._path.open("ab", buffering=0)
        self._synced = time.monotonic()

    def add(self, key: str, value: Any = None) -> None:
        """Notes a finished piece; once this returns it survives a kill of the process."""
        self._stream.write(json.dumps({"key": key, "value": value}).encode() + b"\n")
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            os.fsync(self._stream.fileno())
            self._synced = time.monotonic()
        self.done[key] = value

    def close(self) -> None:
        self._stream.close()
