"""What every record of choices is made of: frozen strict pydantic models, and paths of input files in them."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer, ValidationInfo

REMOTE = re.compile(r"^(?:[a-zA-Z][a-zA-Z0-9+.-]*:|/vsi|\\\\)", re.ASCII)


class StrictModel(BaseModel):
    """Unknown keys refused, nothing turned from one type into another, never changed after reading."""

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


class MethodOptions(StrictModel):
    """What one method may be told, beside what the training loop is told; a method without options takes this one.

    Each method's own stand in a file beside it that imports no torch, so that reading a configuration loads none.
    A field's `description` is what `pipeline methods NAME` prints.
    """

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The inverse of to_json().

        Raises: pydantic.ValidationError, a ValueError, when a name or a value is none of this method's.
        """
        return cls.model_validate_json(json.dumps(dict(stored)))

    def to_json(self) -> dict[str, Any]:
        """As JSON values; of a path its name alone."""
        return self.model_dump(mode="json")

    def weight_files(self) -> tuple[str, ...]:
        """Files of weights made elsewhere that the method reads, by absolute path; their content enters the
        fingerprint."""
        return ()

    def for_means(self) -> Self:
        """As they apply to means over a cell (intensive quantities), of which no block is a sum."""
        return self
