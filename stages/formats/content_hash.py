"""The content hash of a file, or of a folder that is one source."""

import hashlib
from pathlib import Path


def sha256_of(path: Path | str) -> str:
    """SHA-256 in hexadecimal digits, read in pieces; of a folder: of the names and hashes of all its files.

    A folder is one source: a Zarr store. Times of its files do not count, so a copy has the same hash.
    """
    if Path(path).is_dir():
        whole = hashlib.sha256()
        for file in files_of(str(path)):
            whole.update(f"{Path(file).relative_to(path).as_posix()} {sha256_of(file)}\n".encode())
        return whole.hexdigest()
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_of(path: str) -> list[str]:
    """The file itself, or all files of a folder in order of their names."""
    folder = Path(path)
    if not folder.is_dir():
        return [path]
    return sorted(str(file) for file in folder.rglob("*") if file.is_file())
