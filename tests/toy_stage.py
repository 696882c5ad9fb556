"""A stage made up for tests, between two of ours: turns every block of a field upside down, so that sums stay."""

import shutil
from pathlib import Path

from stages.artifacts import field
from stages.artifacts.cube import Cube
from stages.contract.body import StageBody
from stages.contract.section import Section
from stages.formats import zarr_groups as arrays


class Config(Section):
    """How it is told that it was here."""

    note: str = "turned"


def run(config: Config, *, cube: Path, estimate: Path, out: Path) -> None:
    """A field in which the rows of each block stand in the other order."""
    shutil.copytree(estimate, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
    stored = arrays.open_group(out / field.STORE, "infer", mode="r+")["mass"]
    mass, factor = stored[...], Cube.open(cube).factor
    blocks = mass.reshape(*mass.shape[:2], -1, factor, mass.shape[3])
    stored[...] = blocks[..., ::-1, :].reshape(mass.shape)
    (out / "note.txt").write_text(config.note, "utf-8")


BODY = StageBody(Config, 1, run)
