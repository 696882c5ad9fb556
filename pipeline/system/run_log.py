"""Appends what happens in a run to its machine-readable log, one JSON object a line."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from model.ground.errors import HectareError


class RunLog:
    """Events of one run: started, finished, skipped, note, fault, stopped."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def event(self, kind: str, **facts: Any) -> None:
        """Writes one line with the time."""
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": kind, **facts}, ensure_ascii=False, default=str)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError:
            # A full disk is told on the screen; failing to log it must not hide it.
            return

    def fault(self, fault: HectareError, stage: str | None = None) -> None:
        """The four parts and the exit code."""
        parts = {"where": fault.where, "found": fault.found, "wanted": fault.wanted, "fix": fault.fix}
        self.event("fault", stage=stage, error=type(fault).__name__, code=fault.code, **parts)
