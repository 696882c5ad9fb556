"""The content hash of a file."""

import hashlib
from pathlib import Path


def sha256_of(path: Path | str) -> str:
    """SHA-256 in hexadecimal digits, read in pieces."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
