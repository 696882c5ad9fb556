"""Finished maps of a mean over the cell against fine truth: scores of every method, and of what conserves nothing."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from model.evaluation.field_scores import Standard, intervals, scores
from stages.artifacts.cube import Cube
from stages.artifacts.netcdf_maps import write_fields
from stages.contract.progress import tell
from stages.evaluate.config import Config
from stages.evaluate.intensive_curves import curves_of
from stages.evaluate.intensive_fields import SectorFields, fields_of_sector, open_held_out
from stages.evaluate.intensive_page import PAGE, SectorPage, draw_sector, render
from stages.evaluate.intensive_scores import FieldRow, FieldScores, SectorScores, verdicts, write_scores

PROTOCOL = "truth: held-out dates that no method learned from, all cells with a value in both"


def judge(config: Config, cube: Cube, maps: Mapping[str, Path], out: Path) -> None:
    """Scores the maps of every method on dates that none learned from.

    Args:
      maps: folder of finished maps by method; the first is the one judged.
      out: folder of scores.json, .csv, .md, the page, and a NetCDF file of all fields a sector.
    Raises: HectareErrors (exit 3) for a truth that does not fit the cube, or that was learned from.
    """
    opened = open_held_out(config.truth, cube)
    found = FieldScores(cube.unit, config.wet, config.bootstrap_draws, _methods(maps), PROTOCOL)
    pages: list[SectorPage] = []
    for sector, name in enumerate(cube.sectors):
        truth = {}
        for (own, label), field in opened.items():
            if own == name:
                truth[label] = field
        if not truth:
            continue
        fields = fields_of_sector(sector, truth, cube, maps, config.spatial_block)
        path = out / f"{cube.name}_{name}_held_out.nc"
        write_fields(cube, fields.dates, fields.every, path, f"{cube.long_name}, held-out dates")
        standard = Standard.of(fields.truth, config.wet)
        found.rows.extend(_rows(fields, standard, config))
        curves = curves_of(fields, cube, config)
        found.sectors.append(SectorScores(name, fields.dates, standard.extreme, curves))
        pages.append(draw_sector(fields, curves, cube))
    found.words.extend(verdicts(found.rows, next(iter(maps)), cube.unit))
    for word in found.words:
        tell(f"evaluate: {word}")
    write_scores(found, out)
    (out / PAGE).write_text(render(f"{cube.long_name}: held-out dates", found, pages), "utf-8")


def _rows(fields: SectorFields, standard: Standard, config: Config) -> list[FieldRow]:
    """The truth against itself, then every method."""
    rng = np.random.default_rng(config.seed)
    spans = intervals(fields.found, fields.truth, fields.units, standard, config.bootstrap_draws, rng)
    rows = []
    for method, field in fields.every.items():
        line = scores(field, fields.truth, standard)
        rows.append(FieldRow(method, fields.sector, len(fields.dates), line, spans.get(method, {})))
    return rows


def _methods(maps: Mapping[str, Path]) -> dict[str, dict[str, JsonValue]]:
    """What each method says of itself, where its contents were compared included."""
    told = {}
    for name, folder in maps.items():
        told[name] = json.loads((folder / "report.json").read_text("utf-8"))["describe"]
    return told
