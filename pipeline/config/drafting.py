"""Writes the draft of a configuration, made of a folder of the user's files, to a file of its own."""

from dataclasses import dataclass
from pathlib import Path

from model.ground.errors import HectareError, UsageError
from stages.formats.atomic import replace_file
from stages.ingest.draft.config import draft


@dataclass(frozen=True)
class Drafted:
    """A configuration that was drafted.

    Attributes:
      file: where it stands.
      questions: what the files do not tell and a person must answer.
      left_out: faults of files that it does not use.
    """

    file: Path
    questions: int
    left_out: tuple[HectareError, ...]


def write_draft(folder: Path, file: Path) -> Drafted:
    """Drafts a configuration from a folder and writes it.

    Args:
      folder: searched with all its subfolders for GeoTIFFs, NetCDF files and Zarr stores.
      file: to write; never overwritten.
    Raises: UsageError (exit 2) where the file cannot stand; InputError (exit 3) when nothing in the folder is readable.
    """
    if not file.absolute().parent.is_dir():
        raise UsageError(str(file), "no such folder", "a folder that is there", "make it first")
    if file.exists():
        raise UsageError(str(file), "a file of this name", "a new file", "name another one with -o")
    text, left_out = draft(folder, file.absolute().parent)
    replace_file(file, text.encode(), shared=True)
    # Why less one: the heading explains the sign.
    return Drafted(file, text.count("?") - 1, tuple(left_out))
