"""Fields made with one layer spoilt + the field as it is -> what the map rests on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field as Setting
from pydantic import JsonValue, NonNegativeInt, PositiveInt

from model.evaluation.bootstrap import Interval, draw_blocks, interval
from model.evaluation.scores import Scores
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

    spatial_block: PositiveInt = 10
    bootstrap_draws: Annotated[int, Setting(ge=100, le=100_000)] = 1000
    emd_blocks: NonNegativeInt = 500
    seed: NonNegativeInt = 0


@dataclass(frozen=True)
class Effect:
    """What one change of one layer does to one map.

    Attributes:
      moved_share: of the mass of a map, what lies in other cells, with its 95 % interval.
      distance: earth mover's distance within blocks [m]; None where nothing was sampled.
    """

    layer: str
    change: str
    sector: str
    year: int
    moved_share: Interval
    distance: float | None

    def to_json(self) -> dict[str, JsonValue]:
        """As JSON values.

        Returns: the interval as low and high, the distance in metres; null where not defined.
        """
        return {
            "layer": self.layer,
            "change": self.change,
            "sector": self.sector,
            "year": self.year,
            "moved_share": self.moved_share.value,
            "low": self.moved_share.low,
            "high": self.moved_share.high,
            "distance_m": self.distance,
        }

    @property
    def rank(self) -> tuple[str, int, float]:
        """Map by map, the largest effect first."""
        return self.sector, self.year, -(self.moved_share.value or 0.0)


def run(config: Config, *, cube: Path, field: Path, fields: Mapping[RunKey, Path], out: Path) -> None:
    """Share of the mass that goes elsewhere, and how far, when one layer is dropped, shifted or blurred.

    Args:
      cube: of the run itself.
      field: of the run itself.
      fields: folder of a field by part (the layer) and change; the method and its checkpoint are the same.
      out: folder of scores.json and scores.md.
    """
    opened = Cube.open(cube)
    ground, own = ground_of(opened, config.spatial_block), Field.open(field)
    spoilt = {key: Field.open(folder) for key, folder in fields.items()}
    effects: list[Effect] = []
    count = len(fields) * len(opened.sectors) * len(opened.years)
    for sector, name in enumerate(opened.sectors):
        for time, year in enumerate(opened.years):
            rng = np.random.default_rng(config.seed)
            answer = look_at(rows_of(own, opened, sector, time), ground, config.emd_blocks, rng)
            for key, changed in spoilt.items():
                scores, _, _ = measure(rows_of(changed, opened, sector, time), answer, ground)
                effects.append(_effect(key, name, year, scores, config))
                step("comparing", len(effects), count, "fields")
    effects.sort(key=lambda effect: effect.rank)
    told = {"rows": [effect.to_json() for effect in effects]}
    (out / "scores.json").write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", "utf-8")
    (out / "scores.md").write_text(_markdown(effects), "utf-8")


def _effect(key: RunKey, sector: str, year: int, scores: Scores, config: Config) -> Effect:
    filled = np.asarray(scores.cells) > 0
    weights = draw_blocks(filled, config.bootstrap_draws, np.random.default_rng(config.seed))
    whole, drawn = scores.pooled(), scores.weighted(weights)
    share = interval(whole.misallocated_share, drawn.misallocated_share, int(filled.sum()))
    distance = whole.distance if np.isfinite(whole.distance) else None
    return Effect(str(key.part), key.change, sector, year, share, distance)


def _markdown(effects: list[Effect]) -> str:
    lines = [
        "| sector | year | layer | change | mass that goes elsewhere | moved within blocks by [m] |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for effect in effects:
        moved = effect.moved_share
        share = "-" if moved.value is None else f"{moved.value:.3f}"
        if moved.low is not None:
            share += f" ({moved.low:.3f} to {moved.high:.3f})"
        distance = "-" if effect.distance is None else f"{effect.distance:.1f}"
        cells = (effect.sector, str(effect.year), effect.layer, effect.change, share, distance)
        lines.append("| " + " | ".join(cells) + " |")
    note = (
        "- Protocol: sensitivity: the same method and checkpoint, one layer spoilt: dropped (every block sees its "
        "mean), shifted south and east, or blurred. In brackets: 95 % interval of a bootstrap over spatial blocks."
    )
    return "\n".join([*lines, "", note]) + "\n"


BODY = StageBody(Config, VERSION, run)
