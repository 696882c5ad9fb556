"""The figures of a training as they travel from checkpoint to report: JSON with pictures inside."""

import json
import shutil
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from model.ground.errors import ArtifactError, remake
from stages.formats.atomic import replace_file

FIGURES = "training.json"


def write_figures(networks: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Args: networks: fold, plots and plates of each; no times, so that equal trainings leave equal files."""
    replace_file(out / FIGURES, (json.dumps(networks, ensure_ascii=False, sort_keys=True) + "\n").encode())


def read_figures(folder: Path) -> list[dict[str, Any]]:
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
