"""Knows where artifacts lie: partial folders, publishing in one step, and the lock of a run."""

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from model.ground.errors import ArtifactError, BusyError, ResourceError
from pipeline import manifest as manifests
from pipeline.manifest import Manifest, Provenance
from stages import Stage
from stages.contract.section import safe_name
from stages.formats.atomic import replace_file, sync_folder

DOOMED = ".doomed"
HISTORY = ".history"  # in a partial folder: files that outlive the artifact, for people


@dataclass(frozen=True)
class Shelf:
    """A folder of artifacts: each name is a relative link to .artifacts/<name>-<stamp>.

    Attributes:
      borrowed: artifacts that lie on another shelf and are only read here.
    """

    folder: Path
    borrowed: Mapping[str, "Shelf"] = field(default_factory=dict)

    def link(self, artifact: str) -> Path:
        """Where readers find the artifact."""
        return self.borrowed.get(artifact, self).folder / artifact

    def manifest(self, artifact: str) -> Manifest | None:
        """The record of the artifact that stands under its name; None when there is none."""
        return manifests.read(self.link(artifact))

    @property
    def artifacts(self) -> Path:
        """Where published folders lie, by artifact and stamp; the links point here."""
        return self.folder / ".artifacts"

    @property
    def partials(self) -> Path:
        """Where unfinished work lies, by stage and fingerprint."""
        return self.folder / ".partial"

    def partial(self, stage: Stage, fingerprint: str) -> Path:
        """Where a stage works until it is published; survives a crash."""
        return self.partials / f"{stage.name}-{fingerprint[:12]}"

    def beside(self, method: str, borrowed: Sequence[str]) -> "Shelf":
        """The shelf of another method, sharing some artifacts with this one."""
        return Shelf(self.folder / "evaluate" / safe_name(method), dict.fromkeys(borrowed, self))

    def discard(self, partial: Path) -> None:
        """Removes a partial folder; renamed first, so that no kill leaves half of it to be resumed."""
        doomed = partial.with_name(f"{partial.name.removesuffix(DOOMED)}{DOOMED}")
        if doomed.exists():
            shutil.rmtree(doomed)
        if partial.exists():
            os.rename(partial, doomed)
            shutil.rmtree(doomed)

    def is_written(self, stage: Stage, fingerprint: str) -> bool:
        """True when a partial folder is whole and only its publishing was cut off."""
        folder = self.partial(stage, fingerprint)
        record = manifests.read(folder)
        if record is None or record.fingerprint != fingerprint:
            return False
        return not manifests.damage(folder, stage.gives, "")

    def publish(self, stage: Stage, fingerprint: str, made_from: Provenance) -> Manifest:
        """Turns the partial folder into the artifact, in one step for readers.

        Why this order: the manifest is written while the working state is still there, so a kill before it
        resumes the body and a kill after it only repeats what follows. A folder that is not empty cannot be
        renamed over, hence the link.

        Args:
          made_from: what decided the content, for the manifest.
        Raises: ArtifactError (exit 4) when the stage made no file, or something else stands in the artifact's place.
        """
        partial = self.partial(stage, fingerprint)
        if not self.is_written(stage, fingerprint):
            manifests.drop_unfinished(partial)
            files = manifests.measure(partial)
            if not files:
                raise ArtifactError(stage.gives, "no file was made", "at least one", "report this: a defect")
            stamp = manifests.content_stamp(files, stage.volatile)
            made = Manifest(
                version=made_from.version,
                config=made_from.config,
                needs=made_from.needs,
                sources=made_from.sources,
                stage=stage.name,
                fingerprint=fingerprint,
                stamp=stamp,
                files=files,
            )
            made.write(partial)
        record = manifests.read(partial)
        if record is None:
            raise ArtifactError(str(partial), "no manifest after writing it", "a manifest", "run again")
        self._file(stage, record.stamp, partial)
        manifests.drop_working_state(partial)
        self._swap(stage.gives, record.stamp, partial)
        self._sweep(stage)
        return record

    def _file(self, stage: Stage, stamp: str, partial: Path) -> None:
        """Moves what a stage left for the record, in `.history`, under the run's history with the date."""
        left = partial / HISTORY
        if left.is_dir():
            now = datetime.now().astimezone()
            shelf = self.folder / "history"
            shelf.mkdir(exist_ok=True)
            os.rename(left, _free_name(shelf, f"{now:%Y%m%dT%H%M%S}-{stage.name}-{stamp[:8]}"))

    def _swap(self, artifact: str, stamp: str, partial: Path) -> None:
        link = self.folder / artifact
        if link.exists() and not link.is_symlink():
            found, wanted = "a folder or file put there by hand", f"a link to the artifact {artifact}"
            raise ArtifactError(str(link), found, wanted, "move it away")
        self.artifacts.mkdir(parents=True, exist_ok=True)
        home = _free_name(self.artifacts, f"{artifact}-{stamp[:16]}")
        os.rename(partial, home)
        sync_folder(self.artifacts)
        arrow = self.artifacts / f".link-{artifact}"
        arrow.unlink(missing_ok=True)
        arrow.symlink_to(Path(".artifacts") / home.name)
        os.replace(arrow, link)
        sync_folder(self.folder)

    def _sweep(self, stage: Stage) -> None:
        """Removes replaced artifacts of the stage and partial folders of other fingerprints."""
        kept = (self.folder / stage.gives).resolve().name
        for old in self.artifacts.glob(f"{stage.gives}-*"):
            if old.name != kept:
                shutil.rmtree(old)
        for partial in self.partials.glob(f"{stage.name}-*"):
            self.discard(partial)
        with contextlib.suppress(OSError):  # other stages may still work there
            self.partials.rmdir()


def _free_name(folder: Path, name: str) -> Path:
    """A name nobody holds there, so that nothing published is ever replaced by halves."""
    home, number = folder / name, 2
    while home.exists():
        home, number = folder / f"{name}-{number}", number + 1
    return home


@dataclass(frozen=True)
class Workspace:
    """The folder of one run: runs/<name> under the workspace's root."""

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.root / "runs" / self.name

    @property
    def shelf(self) -> Shelf:
        return Shelf(self.folder)

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"

    @property
    def hashes(self) -> Path:
        return self.folder / ".artifacts" / "hashes.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run for this process.

        Raises: BusyError naming the holder. The system frees the lock when its holder dies, however it dies.
        """
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise self._busy() from error
        except OSError as error:
            found = f"{error.strerror or error}: {error.filename or self.folder}"
            fix = "choose another --workspace DIR, or change the folder's permissions"
            raise ResourceError(str(self.folder), found, "a folder this user may write to", fix) from error
        try:
            started = datetime.now().astimezone().isoformat(timespec="seconds")
            info = {"pid": os.getpid(), "host": socket.gethostname(), "started": started}
            replace_file(self._holder, (json.dumps(info) + "\n").encode(), shared=True)
            yield
        finally:
            self._holder.unlink(missing_ok=True)
            lock.release()

    @property
    def _holder(self) -> Path:
        return self.folder / ".lock.json"

    def _busy(self) -> BusyError:
        try:
            info = json.loads(self._holder.read_text(encoding="utf-8"))
            found = f"in use by process {info['pid']} on {info['host']} since {info['started']}"
        except (OSError, ValueError, KeyError, TypeError):
            found = "in use by another process that has not said its name yet"
        return BusyError(str(self.folder), found, "one run at a time", "wait for it, or stop that process")
