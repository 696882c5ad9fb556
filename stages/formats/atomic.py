"""Files that appear under their name only when they are whole and on the disk."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes, *, shared: bool = False) -> None:
    """Replaces a small file: a reader sees the old one or the whole new one, also after a power cut.

    The content is written beside it and is on the disk before it takes the name.

    Args: shared: True where several processes may write the file: each has a draft of its own. Else an attempt that
      was killed leaves a draft which the next one overwrites.
    Raises: OSError when the folder is full or not writable; the old file stands then.
    """
    draft = path.with_name(f".{path.name}.{os.getpid() if shared else 'new'}")
    try:
        draft.write_bytes(content)
        take_name(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def take_name(draft: Path, final: Path) -> None:
    """Gives a finished draft its name, when all its bytes are on the disk.

    Args: draft: in the folder of `final`, closed.
    Raises: OSError; what had the name keeps it then.
    """
    with draft.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(draft, final)
    sync_folder(final.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable, as a power cut would otherwise undo a rename."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
