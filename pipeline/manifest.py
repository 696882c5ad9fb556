"""The record inside every artifact: what made it, from what, and the SHA-256 of each file."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import JsonValue

from model.ground.errors import ArtifactError, HectareError
from stages.formats.atomic import replace_file, sync_folder

NAME = "manifest.json"
SYNCED_AT_ONCE = (
    8  # files brought to the disk side by side: thousands of chunks would else wait for each other
)
CHUNK = re.compile(r"(?P<store>[^/]+\.zarr)/(?P<variable>.+)/c(?:/(?P<chunk>[0-9/]+))?")
UNFINISHED = re.compile(r".*\.[0-9a-f]{32}\.partial")  # what zarr leaves of a chunk whose writer was killed


@dataclass(frozen=True)
class PublishedFile:
    """What is recorded of a file of an artifact; bytes: its size."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Difference:
    """A published file that is not as it was published.

    Attributes:
      file: its path inside the artifact.
      found: what is wrong with it, in words that go on after its name.
    """

    file: str
    found: str


@dataclass(frozen=True)
class Provenance:
    """All that decides what a stage makes.

    Attributes:
      version: of the stage.
      config: the stage's section as plain values.
      needs: stamp of each artifact it is made from.
      sources: (name, SHA-256) of each input file.
    """

    version: int
    config: Mapping[str, JsonValue]
    needs: Mapping[str, str]
    sources: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Manifest(Provenance):
    """What a published folder says of itself.

    Attributes:
      files: by relative path.
      stamp: hash of the content without volatile files; equal bytes give an equal stamp.
    """

    stage: str
    fingerprint: str
    stamp: str
    files: Mapping[str, PublishedFile]

    def write(self, folder: Path) -> None:
        """Writes it whole or not at all."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False)
        replace_file(folder / NAME, (text + "\n").encode(), shared=True)


def read(folder: Path) -> Manifest | None:
    """The folder's manifest; None when it is missing or is none."""
    try:
        told = json.loads((folder / NAME).read_text(encoding="utf-8"))
        files: dict[str, PublishedFile] = {}
        for name, facts in told["files"].items():
            files[name] = PublishedFile(**facts)
        return Manifest(**{**told, "files": files})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def file_hash(path: Path, *, sync: bool = False) -> str:
    """SHA-256 of a file; with `sync` its bytes are on the disk afterwards."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if sync:
            os.fsync(file.fileno())
    return digest


def text_hash(*words: object) -> str:
    """SHA-256 of plain values, as JSON with sorted keys spells them; equal values give an equal hash."""
    return hashlib.sha256(json.dumps(words, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def result_files(folder: Path) -> Iterator[Path]:
    """Files of an artifact, in the order of their paths.

    Left out are the manifest and the working state: entries of the folder whose names start with a dot.
    """
    for entry in sorted(folder.iterdir()):
        if entry.name == NAME or entry.name.startswith("."):
            continue
        if entry.is_dir():
            for path in sorted(entry.rglob("*")):
                if not path.is_dir():
                    yield path
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


def measure(folder: Path) -> dict[str, PublishedFile]:
    """Size and SHA-256 of each file, which is then on the disk.

    Returns: by path relative to the folder.
    Raises: ArtifactError (exit 4) for a link: an artifact holds its own bytes.
    """
    found = list(result_files(folder))
    for path in found:
        if path.is_symlink() or not path.is_file():
            raise ArtifactError(str(path), "not a plain file", "plain files in an artifact", "remove it")
    files: dict[str, PublishedFile] = {}
    with ThreadPoolExecutor(SYNCED_AT_ONCE) as pool:
        hashes = pool.map(lambda path: file_hash(path, sync=True), found)
        for path, digest in zip(found, hashes, strict=True):
            files[path.relative_to(folder).as_posix()] = PublishedFile(digest, path.stat().st_size)
    sync_folder(folder)
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
    return files


def content_stamp(files: Mapping[str, PublishedFile], volatile: Iterable[str]) -> str:
    """Hash of an artifact's content.

    Args:
      files: by relative path.
      volatile: files left out, since they change from run to run by nature, such as pages with a date.
    Returns: SHA-256 over (path, SHA-256) of the rest, in the order of the paths.
    """
    left_out = set(volatile)
    lasting: list[tuple[str, str]] = []
    for name in sorted(files):
        if name not in left_out:
            lasting.append((name, files[name].sha256))
    return text_hash(lasting)


def missing(folder: Path, manifest: Manifest) -> Difference | None:
    """The first file that is gone or has another size; cheap, for every start."""
    for name, published in manifest.files.items():
        try:
            size = (folder / name).stat().st_size
        except OSError:
            return Difference(name, "is missing")
        if size != published.bytes:
            return Difference(name, f"has {size} bytes, not {published.bytes}")
    return None


def damage(folder: Path, artifact: str, fix: str) -> list[HectareError]:
    """Every file that is not what was published, by full hashes, and files that nobody published.

    Args:
      folder: of the artifact.
      artifact: its name, for messages.
      fix: the command that makes the artifact anew.
    Returns: ArtifactFaults (exit 4), none when all is as published.
    """
    manifest = read(folder)
    if manifest is None:
        where = f"{artifact}: {folder / NAME}"
        return [ArtifactError(where, "missing or unreadable", "the artifact's record", fix)]
    faults: list[HectareError] = []
    for name, published in manifest.files.items():
        path = folder / name
        try:
            found = None if file_hash(path) == published.sha256 else "bytes other than those published"
        except OSError as error:
            found = "missing" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        if found:
            wanted = f"SHA-256 {published.sha256[:12]}... as published"
            faults.append(ArtifactError(describe(artifact, name), found, wanted, fix))
    # Inside a store a strange file may be read as data; beside maps viewers lay their own (.aux.xml).
    for path in result_files(folder):
        name = path.relative_to(folder).as_posix()
        if name not in manifest.files and ".zarr/" in name:
            faults.append(ArtifactError(describe(artifact, name), "a file nobody published", "none", fix))
    return faults


def describe(artifact: str, name: str) -> str:
    """`cube: cube.zarr, variable heat, chunk 0/1/2` for a chunk's path; else artifact and path."""
    if match := CHUNK.fullmatch(name):
        chunk = match["chunk"] or "0"
        return f"{artifact}: {match['store']}, variable {match['variable']}, chunk {chunk}"
    return f"{artifact}: {name}"
