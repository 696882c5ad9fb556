"""States of training on disk: the latest, the best, the last few between epochs, and one every ten epochs for good.

A state is one file, replaced at once or not at all, of tensors and JSON: reading it never runs code.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as format_tensors

from model.ground.errors import ArtifactError
from model.training.protocol import State
from stages.artifacts.checkpoint import REDO
from stages.contract.progress import tell
from stages.formats.atomic import replace_file

LATEST, BEST, STEP, EPOCH = "latest", "best", "step_", "epoch_"
ROTATING = 5  # states between epochs that are kept
LASTING = 10  # epochs between two that are kept for good
SUFFIX = ".safetensors"
FOLDER = ".progress"


class States:
    """The states of one network's training.

    Args:
      out: the stage's partial folder.
      fold: of the network; each has states of its own.
      config: hash of the settings; a state of others is refused.
    """

    def __init__(self, out: Path, fold: int = 0, config: str = "") -> None:
        self.folder = out / FOLDER / f"train{fold}"
        self._config = config

    def save(self, state: State, epoch: int | None = None, best: bool = False) -> None:
        """Keeps a state: as the latest when an epoch has ended, else among the rotating ones."""
        arrays, plain = state
        self.folder.mkdir(parents=True, exist_ok=True)
        contiguous = {name: np.array(value, order="C") for name, value in arrays.items()}
        content = format_tensors(contiguous, {"plain": json.dumps(plain), "config": self._config})
        names = [f"{STEP}{plain['total']:07d}"] if epoch is None else [LATEST]
        names += [BEST] if best else []
        names += [f"{EPOCH}{epoch:03d}"] if epoch and epoch % LASTING == 0 else []
        for name in names:
            replace_file(self._path(name), content)
        for old in sorted(self.folder.glob(f"{STEP}*{SUFFIX}"))[:-ROTATING]:
            old.unlink()

    def load(self) -> State | None:
        """The latest that is whole; None when there is nothing.

        Raises: ArtifactError when none of several is whole, or they belong to other settings.
        """
        found = [self._path(LATEST), *self.folder.glob(f"{STEP}*{SUFFIX}")]
        damage: list[ArtifactError] = []
        states = []
        for path in found:
            if path.exists():
                try:
                    states.append(self._read(path))
                except ArtifactError as fault:
                    damage.append(fault)
        if damage and not states:
            raise damage[0]
        for lost in damage:
            tell(f"train: {lost.where}: {lost.found}; goes on from the one before", warning=True)
        return max(states, key=lambda state: state[1]["total"], default=None)

    @staticmethod
    def of(path: Path) -> State:
        """A state of another training, whatever its settings were.

        Raises: ArtifactError when it is damaged.
        """
        return _parsed(path)[0]

    def restore(self, name: str) -> int:
        """Makes the named state the latest, and forgets all that came after it.

        Returns: the step it stands at.
        """
        chosen = self._read(self._path(name))
        step = int(chosen[1]["total"])
        replace_file(self._path(LATEST), self._path(name).read_bytes())
        for other in self.names():
            if self._read(self._path(other))[1]["total"] > step:
                self._path(other).unlink()
        return step

    def names(self) -> list[str]:
        """Of all states there are."""
        return sorted(path.name.removesuffix(SUFFIX) for path in self.folder.glob(f"[!.]*{SUFFIX}"))

    def lasting(self) -> Iterator[Path]:
        """The files worth keeping when training is over: the best, and those of every tenth epoch."""
        yield from (path for path in (self._path(BEST),) if path.is_file())
        yield from sorted(self.folder.glob(f"{EPOCH}*{SUFFIX}"))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"

    def _read(self, path: Path) -> State:
        state, config = _parsed(path)
        if config != self._config:
            raise ArtifactError(
                f"{path.parent.name}/{path.name}", "a state of training under other settings",
                "one of this configuration", "go back to those settings, or start anew with --fresh",
            )  # fmt: skip
        return state


def _parsed(path: Path) -> tuple[State, str]:
    """A state and the hash of its settings.

    Raises: ArtifactError when the file is not whole.
    """
    content = path.read_bytes()
    try:
        size = int.from_bytes(content[:8], "little")
        told: dict[str, Any] = json.loads(content[8 : 8 + size])["__metadata__"]
        return (parse_tensors(content), json.loads(told["plain"])), told["config"]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        where, found = f"{path.parent.name}/{path.name}", f"damaged state of unfinished training ({error})"
        raise ArtifactError(where, found, "a whole file", REDO) from error
