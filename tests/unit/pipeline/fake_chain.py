"""A chain of small text stages under the real names, so that the loop is tested without rasters.

Run as a program it is the `pipeline` command over this chain: python fake_chain.py run tile -c FILE.
"""

import errno
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt, model_validator

import stages
from model.ground.errors import NumberError
from model.options import SourcePath
from stages import Stage
from stages.contract.body import AnyBody, StageBody
from stages.contract.progress import step, tell
from stages.contract.run_key import RunKey
from stages.contract.section import SafeName, Section

CHUNK = "cube.zarr/heat/c/0/1/2"


class IngestConfig(Section):
    source: SourcePath
    depth: PositiveInt = 3
    noise: float = 0.0
    layers: tuple[SafeName, ...] = ()


class TileConfig(Section):
    size: PositiveInt = 120
    stride: PositiveInt = 60
    steps: PositiveInt = 1  # each leaves a file in the working state
    pause: float = 0.0  # seconds a step takes
    fail: str = ""

    @model_validator(mode="after")
    def _stride_fits(self) -> "TileConfig":
        if self.stride > self.size:
            raise ValueError(f"stride {self.stride} must not exceed size {self.size}")
        return self


class TrainConfig(Section):
    method: SafeName = "network"
    learning_rate: float = 1e-3
    epochs: PositiveInt = 2


class PlainConfig(Section):
    law: str = "water_fill"


class EvaluateConfig(Section):
    methods: tuple[SafeName, ...] = ("uniform",)
    methods_if_installed: tuple[SafeName, ...] = ()
    cases: dict[SafeName, tuple[SafeName, ...]] = Field(default_factory=dict)


def ingest(config: Any, *, out: Path) -> None:
    chunk = out / CHUNK
    chunk.parent.mkdir(parents=True, exist_ok=True)
    chunk.write_text(Path(config.source).read_text()[: config.depth])
    (out / "ingest.json").write_text("{}")


def tile(config: Any, *, cube: Path, out: Path) -> None:
    state = out / ".progress"
    state.mkdir(exist_ok=True)
    before = len(list(state.iterdir()))
    for number in range(before, config.steps):
        time.sleep(config.pause)
        (state / str(number)).write_text("done")
        step("tile", number + 1, config.steps, "windows", before=before)
    tell("3 windows dropped", warning=True)
    FAILURES.get(config.fail, lambda out: None)(out)
    lines = [
        f"{(cube / CHUNK).read_text()} {config.stride}",
        *(["x" * 1000] * 1500 if config.fail == "big" else []),
    ]
    (out / "tiles.json").write_text("\n".join(lines))
    (out / "windows.geojson").write_text(f"{config.size}")


def train(config: Any, *, cube: Path, tiles: Path, out: Path) -> None:
    text = (tiles / "tiles.json").read_text()
    (out / "checkpoint.json").write_text(f"{config.method} {config.epochs} {text}")


def infer(config: Any, *, cube: Path, checkpoint: Path, out: Path) -> None:
    (out / "field.json").write_text((checkpoint / "checkpoint.json").read_text() + config.law)


def mosaic(config: Any, *, cube: Path, field: Path, out: Path) -> None:
    (out / "heat.tif").write_text((field / "field.json").read_text())
    (out / "report.html").write_text(f"{time.time_ns():020d}")


def evaluate(config: Any, *, cube: Path, maps: dict[RunKey, Path], out: Path) -> None:
    rows = [f"{key}: {(folder / 'heat.tif').read_text()}" for key, folder in maps.items()]
    (out / "scores.md").write_text("\n".join(rows))


def _fail_disk(out: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(out / "tiles.json"))


def _fail_defect(out: Path) -> None:
    raise ZeroDivisionError("a defect nobody foresaw")


def _fail_memory(out: Path) -> None:
    raise MemoryError


def _fail_numbers(out: Path) -> None:
    raise NumberError("block 7", "NaN", "a number", "lower train.learning_rate")


FAILURES = {"disk": _fail_disk, "defect": _fail_defect, "memory": _fail_memory, "numbers": _fail_numbers}


class FakeIngest(StageBody[IngestConfig]):
    def sources(self, config: IngestConfig) -> list[str]:
        return [config.source]


class FakeTrain(StageBody[TrainConfig]):
    def method(self, config: TrainConfig) -> str:
        return config.method

    def with_method(self, choice: str) -> tuple[str, ...]:
        return (f"method={choice}",)


class FakeMosaic(StageBody[PlainConfig]):
    def certify(self, cube: Path, artifact: Path) -> bool:
        return "bad" not in (artifact / "heat.tif").read_text()


BODIES: dict[str, AnyBody] = {
    "ingest": FakeIngest(IngestConfig, 1, ingest),
    "tile": StageBody(TileConfig, 1, tile),
    "train": FakeTrain(TrainConfig, 1, train),
    "infer": StageBody(PlainConfig, 1, infer),
    "mosaic": FakeMosaic(PlainConfig, 1, mosaic),
    "evaluate": StageBody(EvaluateConfig, 1, evaluate),
}


@dataclass(frozen=True)
class FakeStage(Stage):
    """A row whose body is in this file."""

    def body(self) -> AnyBody:
        return BODIES[self.name]


def fakes(table: Sequence[Stage]) -> tuple[Stage, ...]:
    """The same rows with bodies of this file."""
    return tuple(
        FakeStage(row.name, row.needs, row.gives, row.volatile, per_method=row.per_method) for row in table
    )


FAKES = fakes(stages.STAGES)
FAKE_EVALUATE = FakeStage("evaluate", ("cube", "maps"), "scores")
FAKE_TABLE = (*FAKES, FAKE_EVALUATE)


def write_config(folder: Path, text: str = "", name: str = "town") -> Path:
    """A configuration in a folder of its own with a source file beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "source.txt"
    if not source.exists():
        source.write_text("clay of the river")
        old = time.time() - 60
        os.utime(source, (old, old))
    path = folder / f"{name}.yaml"
    path.write_text("ingest:\n  source: source.txt\n" + text)
    return path


if __name__ == "__main__":
    stages.STAGES, stages.EVALUATE = FAKES, FAKE_EVALUATE  # before the pipeline binds its defaults
    from pipeline.cli.commands import main

    main(sys.argv[1:])
