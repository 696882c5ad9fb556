"""Artifacts appear whole or not at all, and one run at a time holds the workspace."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_chain import CHUNK, FAKES

from model.ground.errors import ArtifactError, BusyError, ResourceError
from pipeline import manifest as manifests
from pipeline.manifest import Provenance, PublishedFile
from pipeline.workspace import Shelf, Workspace

INGEST, MOSAIC = FAKES[0], FAKES[4]
FACTS = Provenance(version=1, config={}, needs={}, sources=[])


def publish(shelf: Shelf, files: dict[str, str], mark: str = "f" * 64, stage=INGEST):
    partial = shelf.partial(stage, mark)
    for name, text in files.items():
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).write_text(text)
    return shelf.publish(stage, mark, FACTS)


def test_an_artifact_stands_under_a_relative_link_with_its_manifest(tmp_path):
    shelf = Shelf(tmp_path)
    record = publish(shelf, {CHUNK: "abc", "ingest.json": "{}", ".progress/1": "x"})
    link = tmp_path / "cube"
    assert os.readlink(link) == f".artifacts/cube-{record.stamp[:16]}"
    assert (link / CHUNK).read_text() == "abc" and not (link / ".progress").exists()
    assert record.files[CHUNK] == PublishedFile(
        sha256="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",  # of "abc", FIPS 180-2
        bytes=3,
    )
    assert manifests.read(link) == record and not (tmp_path / ".partial").exists()


def test_equal_content_has_an_equal_stamp_whatever_its_volatile_files_say(tmp_path):
    shelf = Shelf(tmp_path)
    stamps = [
        publish(shelf, {"heat.tif": text, "report.html": time}, stage=MOSAIC).stamp
        for text, time in (("a", "12:00"), ("a", "12:01"), ("b", "12:01"))
    ]
    assert stamps[0] == stamps[1] != stamps[2]


def test_a_new_artifact_replaces_the_old_one_and_leaves_nothing_behind(tmp_path):
    shelf = Shelf(tmp_path)
    for text in ("old", "new", "new"):
        publish(shelf, {"ingest.json": text})
        (home,) = (tmp_path / ".artifacts").iterdir()
        assert (tmp_path / "cube").resolve() == home.resolve()
        assert (tmp_path / "cube" / "ingest.json").read_text() == text


def test_partial_folders_of_other_settings_go_when_the_stage_publishes(tmp_path):
    shelf = Shelf(tmp_path)
    (shelf.partial(INGEST, "0" * 64)).mkdir(parents=True)
    (shelf.partial(MOSAIC, "0" * 64)).mkdir(parents=True)
    publish(shelf, {"ingest.json": "{}"})
    assert [path.name for path in (tmp_path / ".partial").iterdir()] == ["mosaic-000000000000"]


def test_half_chunks_of_a_killed_zarr_writer_are_not_published(tmp_path):
    left = f"{CHUNK}.{'0' * 32}.partial"
    record = publish(Shelf(tmp_path), {CHUNK: "abc", left: "a"})
    assert list(record.files) == [CHUNK]


def test_a_link_is_no_content_of_an_artifact(tmp_path):
    shelf = Shelf(tmp_path)
    partial = shelf.partial(INGEST, "f" * 64)
    partial.mkdir(parents=True)
    (partial / "ingest.json").symlink_to("/etc/hostname")
    with pytest.raises(ArtifactError, match="not a plain file"):
        shelf.publish(INGEST, "f" * 64, FACTS)
    assert not (tmp_path / "cube").exists()


def test_a_folder_put_in_the_place_of_an_artifact_is_not_destroyed(tmp_path):
    mine = tmp_path / "cube" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("by hand")
    with pytest.raises(ArtifactError, match="put there by hand"):
        publish(Shelf(tmp_path), {"ingest.json": "{}"})
    assert mine.read_text() == "by hand"


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_text("abd"), "bytes other than those published"),
        (lambda path: path.write_text(""), "bytes other than those published"),
    ],
)
def test_dmg_06_damage_is_told_with_variable_and_chunk(harm, found, tmp_path):
    publish(Shelf(tmp_path), {CHUNK: "abc", "ingest.json": "{}"})
    harm(tmp_path / "cube" / CHUNK)
    (fault,) = manifests.damage(tmp_path / "cube", "cube", "heal it")
    assert fault.where == "cube: cube.zarr, variable heat, chunk 0/1/2" and fault.found == found


def test_a_chunk_nobody_published_is_damage_but_what_a_viewer_lays_beside_is_not(tmp_path):
    publish(Shelf(tmp_path), {CHUNK: "abc", "ingest.json": "{}"})
    (tmp_path / "cube" / "heat.tif.aux.xml").write_text("statistics by QGIS")
    assert manifests.damage(tmp_path / "cube", "cube", "heal it") == []
    (tmp_path / "cube" / CHUNK).with_name("3").write_text("?")
    (fault,) = manifests.damage(tmp_path / "cube", "cube", "heal it")
    assert fault.where.endswith("variable heat, chunk 0/1/3")


PUBLISHER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_workspace import Shelf, publish
shelf = Shelf(Path({folder!r}))
print("ready", flush=True)
for number in range(100000):
    publish(shelf, {{f"{{part}}.txt": f"{{number}}" for part in range(12)}}, f"{{number % 7}}" * 64)
"""


@pytest.mark.parametrize("round_", range(3))
def test_a_reader_sees_the_old_or_the_new_whole_artifact_after_a_kill(round_, tmp_path):
    """Were files copied into place, or the link removed before the rename, some kill would leave a mix."""
    seed = random.randrange(2**32)
    print("seed", seed)
    wait = random.Random(seed).uniform(0.02, 0.4)
    code = PUBLISHER.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        while not (tmp_path / "cube").exists():
            time.sleep(0.005)
        time.sleep(wait)
        os.killpg(child.pid, signal.SIGKILL)
    assert manifests.damage(tmp_path / "cube", "cube", "") == []
    assert len({path.read_text() for path in (tmp_path / "cube").glob("*.txt")}) == 1
    publish(Shelf(tmp_path), {"0.txt": "healed"}, "a" * 64)
    assert len(list((tmp_path / ".artifacts").glob("cube-*"))) == 1 and not (tmp_path / ".partial").exists()


HOLDER = """
import time
from pathlib import Path
from pipeline.workspace import Workspace
with Workspace(Path({root!r}), "town").locked():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the run."""
    code = HOLDER.format(root=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"held\n"
        yield child
        child.kill()


def test_crs_13_a_second_run_is_told_who_holds_the_first(holder, tmp_path):
    with pytest.raises(BusyError) as caught, Workspace(tmp_path, "town").locked():
        pytest.fail("two runs at once")
    assert caught.value.code == 5
    assert f"process {holder.pid}" in caught.value.found and socket.gethostname() in caught.value.found
    assert "since 20" in caught.value.found


def test_another_run_of_the_same_workspace_is_free(holder, tmp_path):
    with Workspace(tmp_path, "village").locked():
        assert (tmp_path / "runs" / "village").is_dir()


def test_crs_14_a_killed_holder_blocks_nobody(holder, tmp_path):
    holder.kill()
    holder.wait()
    with Workspace(tmp_path, "town").locked():
        info = json.loads((tmp_path / "runs" / "town" / ".lock.json").read_text())
    assert info["pid"] == os.getpid()


def test_crs_12_a_workspace_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(ResourceError) as caught, Workspace(blocked, "town").locked():
        pytest.fail("locked where nothing can be written")
    assert caught.value.code == 6 and str(blocked) in caught.value.where
