"""The figures of a training as they travel from checkpoint to report: JSON with pictures inside."""

import json
import shutil
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NotRequired, TypedDict

import jinja2

from model.ground.errors import ArtifactError, remake
from stages.formats.atomic import replace_file

FIGURES = "training.json"
Place = tuple[float, float]  # CSS pixels from the left and from the top of a plot
Tick = tuple[float, str]  # CSS pixels along the axis, and the number written there


class Curve(TypedDict):
    """One line of a plot."""

    name: str
    colour: str
    places: list[Place]


class Plot(TypedDict):
    """Curves over steps; `ups` and `steps` are the ticks of its axes."""

    title: str
    ups: list[Tick]
    steps: list[Tick]
    lines: list[Curve]


class KeyEntry(TypedDict):
    """What a colour of a picture stands for."""

    name: str
    colour: str


class Picture(TypedDict):
    """A picture with its title; `source` is a data URI."""

    name: str
    source: str
    key: list[KeyEntry]


class NetworkFigures(TypedDict):
    """Of one network; `words` on how its training went are for the page alone, as they tell times."""

    fold: int
    plots: list[Plot]
    plates: list[Picture]
    words: NotRequired[str]


def write_figures(networks: Sequence[NetworkFigures], out: Path) -> None:
    """Args: networks: fold, plots and plates of each; no times, so that equal trainings leave equal files."""
    replace_file(out / FIGURES, (json.dumps(networks, ensure_ascii=False, sort_keys=True) + "\n").encode())


def read_figures(folder: Path) -> list[NetworkFigures]:
    """Empty where nothing was trained.

    Raises: ArtifactError (exit 4) when the file is damaged.
    """
    path = folder / FIGURES
    try:
        return list(json.loads(path.read_text("utf-8"))) if path.exists() else []
    except (OSError, ValueError) as error:
        fix = remake("mosaic")
        raise ArtifactError(FIGURES, f"not readable ({error})", "the figures of the training", fix) from error


def carry_figures(source: Path, out: Path) -> None:
    """Hands the figures of a training on to another artifact, so that each stage reads its own inputs alone.

    Args:
      source, out: artifact folders; nothing is done where the source has none.
    """
    if (source / FIGURES).is_file():
        shutil.copyfile(source / FIGURES, out / FIGURES)


def environment() -> jinja2.Environment:
    """For pages that draw them: `{% import "training_figures.html.j2" as figures %}`; every text is escaped."""
    loader = jinja2.FunctionLoader(lambda name: files("stages.report").joinpath(name).read_text("utf-8"))
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
