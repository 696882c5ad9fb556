"""Fields of methods that never saw the totals of a fold + the truth there -> how well they do on unseen ground."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

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
from stages.evaluate.table import JUDGED_BY, Entry, Row, Setup, build, write
from stages.evaluate.truth import Opened, Truth

VERSION = 1
BLOCKS, RANDOM = "spatial blocks", "random folds"  # names of the two kinds of folds whose gap is told
PROTOCOL = (
    "kept apart: methods never saw the totals they are scored on; at inference the totals are known and met"
)


class Part(Section):
    """What was hidden from training: a fold of the ground, or years."""

    name: str  # rows of one name are pooled: all folds of a kind
    hide: Hide | None = None
    years: Annotated[tuple[int, ...], Setting(strict=False)] = ()


class Config(Section):
    """Which part each field was kept from, and the truth; set from the section `evaluate`."""

    parts: Annotated[tuple[Part, ...], Setting(strict=False)]
    truth: Annotated[tuple[Truth, ...], Setting(strict=False)]
    spatial_block: PositiveInt = 10
    bootstrap_draws: Annotated[int, Setting(ge=100, le=100_000)] = 1000
    seed: NonNegativeInt = 0


def sources(config: Config) -> list[str]:
    """Files whose content enters the fingerprint.

    Returns: the path of every truth; an entry with dates stands once.
    """
    return [item.path for item in config.truth]


@dataclass(frozen=True)
class _Pool:
    """Whose folds are added up: one kind of part, one method, one map."""

    part: str
    method: str
    sector: str
    year: str


def run(config: Config, *, cube: Path, fields: Mapping[RunKey, Path], out: Path) -> None:
    """Scores each field on the ground it was kept from, and pools the folds of a kind.

    Args:
      cube: of the run itself, nothing hidden.
      fields: folder of a field by part (its number) and method; the judged method first.
      out: folder of the scores.
    Raises: UsageError (exit 2) for fewer spatial blocks than folds; InputError (exit 3) for a truth that does not fit.
    """
    opened = Cube.open(cube)
    found = truths.open_truth(config.truth, opened)
    words: list[str] = []
    pooled: dict[_Pool, Scores] = {}
    for done, (key, folder) in enumerate(fields.items(), start=1):
        part = config.parts[int(key.part)]
        words += fell_back(f"{part.name} {key}", folder)
        for pool, scores in _scored(config, part, key.method, Field.open(folder), opened, found):
            pooled[pool] = pooled[pool] + scores if pool in pooled else scores
        step("scoring", done, len(fields), "fields")
    entries = []
    for pool, scores in pooled.items():
        entries.append(Entry(pool.method, (pool.part, pool.sector, pool.year), scores))
    judged = next(iter(fields)).method
    table = build(entries, ("kept", "sector", "year"), judged, config.bootstrap_draws, config.seed)
    table.words.extend([*_gaps(table.rows), *dict.fromkeys(words)])
    setup = Setup(opened.unit, PROTOCOL, config.spatial_block, config.bootstrap_draws)
    write(table, setup, out)
    (out / PAGE).write_text(render(f"{opened.long_name}: unseen ground", table, setup, []), "utf-8")


def _scored(
    config: Config, part: Part, method: str, field: Field, cube: Cube, found: Sequence[Opened]
) -> Iterator[tuple[_Pool, Scores]]:
    """The scores of one field on the part it was kept from, map by map."""
    whole = ground_of(cube, config.spatial_block)
    ground = replace(whole, counted=_counted(part, cube))
    for item in found:
        sheet = item.sheet
        if part.years and sheet.year not in part.years:
            continue
        answer = look_at(item.rows, ground, 0, np.random.default_rng(0))
        # Why the cuts of the whole: the largest cells of all folds together are the largest of the map.
        answer = replace(answer, cuts=look_at(item.rows, whole, 0, np.random.default_rng(0)).cuts)
        scores, _, _ = measure(rows_of(field, cube, sheet.members[0], sheet.time), answer, ground, whole)
        yield _Pool(part.name, method, sheet.sector, str(sheet.year)), scores


def _counted(part: Part, cube: Cube) -> NDArray[np.bool_]:
    if part.hide is None:
        return np.ones(cube.coarse.shape, bool)
    return grounds(part.hide, cube)[0]


def _gaps(rows: list[Row]) -> list[str]:
    """How much better random folds look than whole blocks of unseen ground."""
    share: dict[_Pool, float | None] = {}
    for row in rows:
        kept, sector, year = row.place
        share[_Pool(kept, row.method, sector, year)] = row.scores[JUDGED_BY].value
    told = []
    for pool, value in share.items():
        other = share.get(replace(pool, part=RANDOM))
        if pool.part == BLOCKS and value is not None and other is not None:
            told.append(
                f"{pool.sector} {pool.year}, {pool.method}: {value:.3f} on unseen blocks, {other:.3f} on random cells, "
                f"a gap of {value - other:+.3f} in misallocated share."
            )
    return told


class CrossValidationBody(StageBody[Config]):
    """Scores fields on ground or years they were kept from; it is told the truth by `evaluate`."""

    def sources(self, config: Config) -> list[str]:
        return sources(config)


BODY = CrossValidationBody(Config, VERSION, run)
