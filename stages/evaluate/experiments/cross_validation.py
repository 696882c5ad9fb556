"""Fields of methods that never saw the totals of a fold + the truth there -> how well they do on unseen ground."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Setting
from pydantic import NonNegativeInt, PositiveInt

from model.evaluation.scores import Scores
from stages.artifacts.cube import Cube
from stages.artifacts.field import Field
from stages.contract.body import StageBody
from stages.contract.progress import step
from stages.contract.run_key import RunKey
from stages.contract.section import Section
from stages.evaluate import truth as truths
from stages.evaluate.accumulate import look_at, measure
from stages.evaluate.folds import Hide, fell_back, ground_of, grounds, rows_of
from stages.evaluate.page import PAGE, render
from stages.evaluate.table import JUDGED_BY, Entry, build, write
from stages.evaluate.truth import Truth

VERSION = 1


class Part(Section):
    """What was hidden from training: a fold of the ground, or years."""

    name: str  # rows of one name are pooled: all folds of a kind
    hide: Hide | None = None
    years: Annotated[tuple[int, ...], Setting(strict=False)] = ()


class Config(Section):
    """Which part each field was kept from, and the truth; set from the section `evaluate`."""

    parts: Annotated[tuple[Part, ...], Setting(strict=False)]
    truth: Annotated[tuple[Truth, ...], Setting(strict=False)]
    block: PositiveInt = 10
    draws: Annotated[int, Setting(ge=100, le=100_000)] = 1000
    seed: NonNegativeInt = 0


def sources(config: Config) -> list[str]:
    """Files whose content enters the fingerprint, one for each entry."""
    return [item.path for item in config.truth]


def run(config: Config, *, cube: Path, fields: Mapping[RunKey, Path], out: Path) -> None:
    """Scores each field on the ground it was kept from, and pools the folds of a kind.

    Args:
      fields: folder of a field by part (its number) and method; the judged method first.
    """
    opened = Cube.open(cube)
    found = truths.open_truth(config.truth, opened)
    whole = ground_of(opened, config.block)
    words: list[str] = []
    pooled: dict[tuple[str, str, str, str], Scores] = {}
    for done, (key, folder) in enumerate(fields.items(), start=1):
        method, part = key.method, config.parts[int(key.part)]
        field = Field.open(folder)
        words += fell_back(f"{part.name} {key}", folder)
        ground = replace(whole, counted=_counted(part, opened))
        for item in found:
            sheet = item.sheet
            if part.years and sheet.year not in part.years:
                continue
            answer = look_at(item.rows, ground, 0, np.random.default_rng(0))
            # Why the cuts of the whole: the largest cells of all folds together are the largest of the map.
            answer = replace(answer, cuts=look_at(item.rows, whole, 0, np.random.default_rng(0)).cuts)
            rows = rows_of(field, opened, sheet.members[0], sheet.time)
            scores, _, _ = measure(rows, answer, ground, whole)
            place = (part.name, method, sheet.sector, str(sheet.year))
            pooled[place] = pooled[place] + scores if place in pooled else scores
        step("scoring", done, len(fields), "fields")
    entries = [
        Entry(method, (name, sector, year), scores) for (name, method, sector, year), scores in pooled.items()
    ]
    judged = next(iter(fields)).method
    table = build(entries, ("kept", "sector", "year"), judged, config.draws, config.seed)
    table.words.extend(_gaps(table.rows) + list(dict.fromkeys(words)))
    facts = {
        "unit": opened.unit,
        "protocol": "kept apart: methods never saw the totals they are scored on; at inference the totals are known "
        "and met",
        "block": config.block,
        "draws": config.draws,
        "reliability": [],
    }
    write(table, facts, out)
    (out / PAGE).write_text(render(f"{opened.long_name}: unseen ground", table, facts, []), "utf-8")


def _counted(part: Part, cube: Cube) -> NDArray[np.bool_]:
    if part.hide is None:
        return np.ones(cube.coarse.shape, bool)
    return grounds(part.hide, cube)[0]


def _gaps(rows: list[dict[str, Any]]) -> list[str]:
    """How much better random folds look than whole blocks of unseen ground."""
    share = {(row["kept"], row["method"], row["sector"], row["year"]): row[JUDGED_BY] for row in rows}
    told = []
    for (kept, method, sector, year), value in share.items():
        other = share.get(("random folds", method, sector, year))
        if kept == "spatial blocks" and None not in (value, other):
            told.append(
                f"{sector} {year}, {method}: {value:.3f} on unseen blocks, {other:.3f} on random cells, "
                f"a gap of {value - other:+.3f} in misallocated share."
            )
    return told


class CrossValidationBody(StageBody[Config]):
    """Scores fields on ground or years they were kept from; it is told the truth by `evaluate`."""

    def sources(self, config: Config) -> list[str]:
        return sources(config)


BODY = CrossValidationBody(Config, VERSION, run)
