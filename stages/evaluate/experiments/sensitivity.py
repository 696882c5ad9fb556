"""Fields made with one layer spoilt + the field as it is -> what the map rests on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field as Setting
from pydantic import NonNegativeInt, PositiveInt

from model.evaluation.bootstrap import draw_blocks, interval
from stages.artifacts.cube import Cube
from stages.artifacts.field import Field
from stages.contract.body import StageBody
from stages.contract.progress import step
from stages.contract.run_key import RunKey
from stages.contract.section import Section
from stages.evaluate.accumulate import look_at, measure
from stages.evaluate.folds import ground_of, rows_of

VERSION = 1


class Config(Section):
    """How changes are measured; set from the section `evaluate`."""

    block: PositiveInt = 10
    draws: Annotated[int, Setting(ge=100, le=100_000)] = 1000
    moves: NonNegativeInt = 500
    seed: NonNegativeInt = 0


def run(config: Config, *, cube: Path, field: Path, fields: Mapping[RunKey, Path], out: Path) -> None:
    """Share of the mass that goes elsewhere, and how far, when one layer is dropped, shifted or blurred.

    Args:
      field: of the run itself.
      fields: folder of a field by part (the layer) and change; the method and its checkpoint are the same.
    """
    opened = Cube.open(cube)
    ground, own = ground_of(opened, config.block), Field.open(field)
    rows: list[dict[str, Any]] = []
    for sector, name in enumerate(opened.sectors):
        for time, year in enumerate(opened.years):
            rng = np.random.default_rng(config.seed)
            answer = look_at(rows_of(own, opened, sector, time), ground, config.moves, rng)
            for key, folder in fields.items():
                spoilt = Field.open(folder)
                scores, _, _ = measure(rows_of(spoilt, opened, sector, time), answer, ground)
                filled = np.asarray(scores.cells) > 0
                weights = draw_blocks(filled, config.draws, np.random.default_rng(config.seed))
                whole, drawn = scores.pooled(), scores.weighted(weights)
                found = interval(whole.misallocated_share, drawn.misallocated_share, int(filled.sum()))
                distance = whole.distance if np.isfinite(whole.distance) else None
                rows.append(
                    {
                        "layer": key.part,
                        "change": key.change,
                        "sector": name,
                        "year": year,
                        "moved_share": found.value,
                        "low": found.low,
                        "high": found.high,
                        "distance_m": distance,
                    }
                )
                step("comparing", len(rows), len(fields) * len(opened.sectors) * len(opened.years), "fields")
    rows.sort(key=lambda row: (row["sector"], row["year"], -(row["moved_share"] or 0.0)))
    (out / "scores.json").write_text(json.dumps({"rows": rows}, indent=1, allow_nan=False) + "\n", "utf-8")
    (out / "scores.md").write_text(_markdown(rows), "utf-8")


def _markdown(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| sector | year | layer | change | mass that goes elsewhere | moved within blocks by [m] |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        share = "-" if row["moved_share"] is None else f"{row['moved_share']:.3f}"
        if row["low"] is not None:
            share += f" ({row['low']:.3f} to {row['high']:.3f})"
        distance = "-" if row["distance_m"] is None else f"{row['distance_m']:.1f}"
        cells = (row["sector"], str(row["year"]), row["layer"], row["change"], share, distance)
        lines.append("| " + " | ".join(cells) + " |")
    note = (
        "- Protocol: sensitivity: the same method and checkpoint, one layer spoilt: dropped (every block sees its "
        "mean), shifted south and east, or blurred. In brackets: 95 % interval of a bootstrap over spatial blocks."
    )
    return "\n".join([*lines, "", note]) + "\n"


BODY = StageBody(Config, VERSION, run)
