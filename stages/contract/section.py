"""What every section of a configuration is made of: frozen, strict pydantic models and paths relative to the file."""

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer, ValidationInfo

from model.ground.errors import UsageFault

REMOTE = re.compile(r"^(?:[a-zA-Z][a-zA-Z0-9+.-]*:|/vsi|\\\\)", re.ASCII)


class Section(BaseModel):
    """A part of the configuration: unknown keys refused, never changed after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _resolve(text: str, info: ValidationInfo) -> str:
    if "\0" in text or not text.strip():
        raise ValueError("a path must not be empty or hold a NUL character")
    if REMOTE.match(text):
        raise ValueError("only files on this machine are read: no URL, no /vsi path, no driver prefix")
    folder = (info.context or {}).get("folder", Path.cwd())
    return os.path.normpath(Path(folder) / Path(text).expanduser())


# Why a name only: moving a checkout must make nothing stale; the content is hashed beside it.
SourcePath = Annotated[str, AfterValidator(_resolve), PlainSerializer(lambda path: Path(path).name)]
"""An input file, given relative to the configuration file; absolute once read. Dumps to its name alone."""


RESERVED = re.compile(
    r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE
)  # device names of Windows


def safe_name(text: str) -> str:
    """The text, composed (NFC), when it may name a file or folder on every system.

    Raises: ValueError saying what is wrong with it.
    """
    name = unicodedata.normalize("NFC", text)
    if not 0 < len(name) <= 80 or len(name.encode()) > 160:  # 255 bytes are the limit of most file systems
        raise ValueError("a name must have 1 to 80 characters (160 bytes)")
    if odd := sorted({character for character in name if not (character.isalnum() or character in "_-. ")}):
        raise ValueError(f"a name must be of letters, digits, '_', '-', '.' and space; it holds {odd!r}")
    if name[0] in "-. " or name[-1] in ". ":
        raise ValueError("a name must not start with '-', '.' or space, nor end with '.' or space")
    if RESERVED.fullmatch(name):
        raise ValueError("this name is reserved on Windows")
    return name


SafeName = Annotated[str, AfterValidator(safe_name)]
"""A name that ends up in a file's name: of a run, a layer, a sector."""


@dataclass(frozen=True)
class Clash:
    """Settings that are right alone and cannot work together: the key to change, what is there, what would work."""

    key: str
    found: str
    wanted: str

    def fault(self, stage: str, place: str = "") -> UsageFault:
        """Exit 2, at a place in the file when it is known."""
        where = f"{place}: {stage}.{self.key}" if place else f"{stage}.{self.key}"
        return UsageFault(where, self.found, self.wanted, f"correct `{stage}.{self.key}`, or leave it out")


def dump(section: Any) -> dict[str, Any]:
    """The section as plain JSON values, the way it enters a fingerprint."""
    return section.model_dump(mode="json")
