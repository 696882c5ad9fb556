"""What every section of a configuration is made of: a frozen strict model, safe names, clashes, renamed keys."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from model.ground.errors import UsageError
from model.options import StrictModel


@dataclass(frozen=True)
class Renamed:
    """A key of an earlier version: where its value stands now, and how to write it there.

    Attributes:
      to: path of keys inside the section, such as `method.width`.
      how: what else changes, in words; empty when the value stays as it is.
    """

    to: str
    how: str = ""


class Section(StrictModel):
    """A part of the configuration.

    RENAMED: keys of earlier versions, told with their new names where they are still used.
    """

    RENAMED: ClassVar[Mapping[str, Renamed]] = {}


LACKING = "lacking"  # the type of the error that `lacking` makes


def lacking(wanted: str, *keys: str) -> PydanticCustomError:
    """What a section raises that needs exactly one of several keys and holds none, or more.

    Args:
      wanted: in words, e.g. a `year`, or `dates`.
      keys: those that would do; where none is set, the first is the one a user is asked for.
    """
    return PydanticCustomError(LACKING, "{wanted}", {"wanted": wanted, "keys": keys})


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

    def fault(self, stage: str, place: str = "") -> UsageError:
        """Exit 2, at a place in the file when it is known."""
        where = f"{place}: {stage}.{self.key}" if place else f"{stage}.{self.key}"
        return UsageError(where, self.found, self.wanted, f"correct `{stage}.{self.key}`, or leave it out")


def dump(section: Any) -> dict[str, Any]:
    """The section as plain JSON values, the way it enters a fingerprint."""
    return section.model_dump(mode="json")
