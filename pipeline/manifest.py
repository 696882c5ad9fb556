"""The record inside every artifact: what made it, from what, and the SHA-256 of each file."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.ground.errors import ArtifactFault, Fault

NAME = "manifest.json"
SYNCED_AT_ONCE = (
    8  # files brought to the disk side by side: thousands of chunks would else wait for each other
)
CHUNK = re.compile(r"(?P<store>[^/]+\.zarr)/(?P<variable>.+)/c(?:/(?P<chunk>[0-9/]+))?")
UNFINISHED = re.compile(r".*\.[0-9a-f]{32}\.partial")  # what zarr leaves of a chunk whose writer was killed


@dataclass(frozen=True)
class Manifest:
    """What a published folder says of itself.

    Attributes:
      config: the stage's section as plain values.
      needs: stamp of each artifact it was made from.
      sources: (name, SHA-256) of each input file.
      files: relative path -> {"sha256", "bytes"}.
      stamp: hash of the content without volatile files; equal bytes give an equal stamp.
    """

    stage: str
    version: int
    fingerprint: str
    stamp: str
    config: dict[str, Any]
    needs: dict[str, str]
    sources: list[list[str]]
    files: dict[str, dict[str, Any]]

    def write(self, folder: Path) -> None:
        """Writes it whole or not at all."""
        text = json.dumps(vars(self), indent=1, sort_keys=True, ensure_ascii=False)
        write_whole(folder / NAME, text + "\n")


def read(folder: Path) -> Manifest | None:
    """The folder's manifest; None when it is missing or is none."""
    try:
        return Manifest(**json.loads((folder / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_whole(path: Path, text: str) -> None:
    """Replaces a small file so that a reader sees the old or the new text, also after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_hash(path: Path, *, sync: bool = False) -> str:
    """SHA-256 of a file; with `sync` its bytes are on the disk afterwards."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if sync:
            os.fsync(file.fileno())
    return digest


def text_hash(*words: Any) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(words, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def result_files(folder: Path) -> Iterator[Path]:
    """Files of an artifact without the manifest and without working state (names starting with a dot)."""
    for entry in sorted(folder.iterdir()):
        if entry.name == NAME or entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from (path for path in sorted(entry.rglob("*")) if not path.is_dir())
        else:
            yield entry


def drop_working_state(folder: Path) -> None:
    """Removes what must not be published."""
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def drop_unfinished(folder: Path) -> None:
    """Removes half-written chunks that a killed writer left beside the whole ones."""
    for path in folder.rglob("*.partial"):
        if UNFINISHED.fullmatch(path.name):
            path.unlink()


def measure(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each file, which is then on the disk.

    Raises: ArtifactFault for a link: an artifact holds its own bytes.
    """
    found = list(result_files(folder))
    for path in found:
        if path.is_symlink() or not path.is_file():
            raise ArtifactFault(str(path), "not a plain file", "plain files in an artifact", "remove it")
    with ThreadPoolExecutor(SYNCED_AT_ONCE) as pool:
        hashes = pool.map(lambda path: file_hash(path, sync=True), found)
        files = {
            path.relative_to(folder).as_posix(): {"sha256": digest, "bytes": path.stat().st_size}
            for path, digest in zip(found, hashes, strict=True)
        }
    for entry in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync_folder(entry)
    return files


def content_stamp(files: Mapping[str, Mapping[str, Any]], volatile: Iterable[str]) -> str:
    """Hash over (path, SHA-256) of the files that do not change from run to run by nature."""
    left_out = set(volatile)
    lasting = sorted((name, facts["sha256"]) for name, facts in files.items() if name not in left_out)
    return text_hash(lasting)


def missing(folder: Path, manifest: Manifest) -> str | None:
    """The first file that is gone or has another size, in words; cheap, for every start."""
    for name, facts in manifest.files.items():
        try:
            size = (folder / name).stat().st_size
        except OSError:
            return f"output file {name} is missing"
        if size != facts["bytes"]:
            return f"output file {name} has {size} bytes, not {facts['bytes']}"
    return None


def damage(folder: Path, artifact: str, fix: str) -> list[Fault]:
    """Every file that is not what was published, by full hashes.

    Args:
      fix: the command that makes the artifact anew.
    """
    manifest = read(folder)
    if manifest is None:
        where = f"{artifact}: {folder / NAME}"
        return [ArtifactFault(where, "missing or unreadable", "the artifact's record", fix)]
    faults: list[Fault] = []
    for name, facts in manifest.files.items():
        path = folder / name
        try:
            found = None if file_hash(path) == facts["sha256"] else "bytes other than those published"
        except OSError as error:
            found = "missing" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        if found:
            wanted = f"SHA-256 {facts['sha256'][:12]}... as published"
            faults.append(ArtifactFault(describe(artifact, name), found, wanted, fix))
    present = {path.relative_to(folder).as_posix() for path in result_files(folder)}
    # Inside a store a strange file may be read as data; beside maps viewers lay their own (.aux.xml).
    for name in sorted(name for name in present - set(manifest.files) if ".zarr/" in name):
        faults.append(ArtifactFault(describe(artifact, name), "a file nobody published", "none", fix))
    return faults


def describe(artifact: str, name: str) -> str:
    """`cube: cube.zarr, variable heat, chunk 0/1/2` for a chunk's path; else artifact and path."""
    if match := CHUNK.fullmatch(name):
        chunk = match["chunk"] or "0"
        return f"{artifact}: {match['store']}, variable {match['variable']}, chunk {chunk}"
    return f"{artifact}: {name}"
