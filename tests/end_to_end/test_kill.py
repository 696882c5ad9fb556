"""A killed run is healed by running it again, and ends with the bytes of one that was never disturbed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CHAIN = ("ingest", "tile", "train", "infer", "mosaic")
QUICK = ("--set", "train.epochs=2", "--set", "train.steps_per_epoch=3", "--set", "train.save_every=2")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, pipeline, content):
    workspace = tmp_path_factory.mktemp("whole")
    pipeline("run", *CHAIN, "--workspace", workspace, *QUICK)
    return content(workspace / "runs" / "vienna_city")


@pytest.mark.parametrize(
    ("stage", "step"),
    [
        *[("ingest", step) for step in (11, 13)],
        *[("tile", 2), ("train", 3), ("train", 6)],
        *[("infer", 2), ("infer", 4), ("mosaic", 2), ("mosaic", 5)],
    ],
    ids=lambda value: str(value),
)
def test_crs_01_to_05_killed_in_the_middle_of_a_stage_ends_with_the_same_bytes(
    stage, step, whole, tmp_path, pipeline, content
):
    died = pipeline("run", *CHAIN, "--workspace", tmp_path, *QUICK, kill=(stage, step))
    run = tmp_path / "runs" / "vienna_city"
    assert died.returncode == -signal.SIGKILL, died.stderr + died.stdout
    published = {name: digest for name, digest in content(run).items()}
    assert all(whole[name] == digest for name, digest in published.items())
    gives = {"ingest": "cube", "tile": "tiles", "train": "checkpoint", "infer": "field", "mosaic": "maps"}[
        stage
    ]
    assert not (run / gives).exists(), "nothing stands under the final name of a stage that was killed"
    pipeline("run", *CHAIN, "--workspace", tmp_path, *QUICK)
    assert content(run) == whole


@pytest.mark.parametrize("seed", range(8))
def test_crs_01_to_05_killed_at_random_moments_ends_with_the_same_bytes(
    seed, whole, tmp_path, pipeline, content
):
    chance = random.Random(seed)
    words = [
        sys.executable,
        "-c",
        "from pipeline.cli.commands import main; main()",
        "run",
        *CHAIN,
        "--workspace",
        str(tmp_path),
        *QUICK,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = tmp_path / "runs" / "vienna_city"
    for _ in range(3):
        child = subprocess.Popen(
            words,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(chance.uniform(0.5, 9.0))
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        found = content(run) if run.exists() else {}
        assert all(whole[name] == digest for name, digest in found.items()), (
            f"seed {seed}: a published file is not whole"
        )
    pipeline("run", *CHAIN, "--workspace", tmp_path, *QUICK)
    assert content(run) == whole, f"seed {seed}"
