"""Runs the pipeline as a user would: the command line in a process of its own."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("--set", "train.epochs=2", "--set", "train.steps_per_epoch=3")  # enough to train, resume and compare
VOLATILE = ("report.html", "training.html", "manifest.json")  # pages carry the time they were made, or took

# Kills its own process in the middle of a stage, at the n-th step it reports, as kill -9 would.
SUICIDE = """
import os, signal, sys
stage, steps = sys.argv.pop(1), int(sys.argv.pop(1))
from stages.contract import progress
real, seen = progress.listen, {"stage": None, "steps": 0}
def listen(listener):
    def hear(news):
        listener(news)
        if isinstance(news, progress.Step) and seen["stage"] == stage:
            seen["steps"] += 1
            if seen["steps"] == steps:
                os.kill(os.getpid(), signal.SIGKILL)
    real(hear if listener else None)
progress.listen = listen
from stages import Stage
body = Stage.body
def watched(row):
    seen["stage"] = row.name
    return body(row)
Stage.body = watched
from pipeline.cli.commands import main
main()
"""


@pytest.fixture(scope="session")
def pipeline() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `pipeline WORDS`; with kill=(stage, step) the process dies there."""

    def call(
        *words: object, kill: tuple[str, int] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        start = (
            ["-c", SUICIDE, kill[0], str(kill[1])]
            if kill
            else ["-c", "from pipeline.cli.commands import main; main()"]
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, *start, *map(str, words)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        if check and kill is None:
            assert done.returncode == 0, done.stderr + done.stdout
        return done

    return call


@pytest.fixture(scope="session")
def content() -> Callable[[Path], dict[str, str]]:
    """Hash of every published file of a run by name, but for those that carry times."""

    def read(run: Path) -> dict[str, str]:
        found = {}
        for artifact in ("cube", "tiles", "checkpoint", "field", "maps"):
            for file in sorted((run / artifact).rglob("*")):
                if file.is_file() and file.name not in VOLATILE:
                    name = f"{artifact}/{file.relative_to(run / artifact)}"
                    found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
        return found

    return read


@pytest.fixture(scope="session")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, pipeline: Callable[..., subprocess.CompletedProcess[str]]
) -> Path:
    """The shipped city, run once from nothing to report; read it, do not change it."""
    workspace = tmp_path_factory.mktemp("undisturbed")
    pipeline("run", "ingest", "tile", "train", "infer", "mosaic", "--workspace", workspace, *QUICK)
    return workspace / "runs" / "vienna_city"
