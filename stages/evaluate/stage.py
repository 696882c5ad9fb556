"""Finished maps + truth -> one honest table; nobody else may open the truth."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.methods import METHODS
from stages.artifacts.cube import Cube
from stages.artifacts.maps import MapSpec, read_part
from stages.artifacts.records import TrainingRecord
from stages.contract.body import Preview, StageBody
from stages.contract.progress import step, tell
from stages.contract.run_key import RunKey
from stages.evaluate import intensive as means
from stages.evaluate import truth as truths
from stages.evaluate.accumulate import Answer, Ground, Rows, look_at, measure
from stages.evaluate.config import Config
from stages.evaluate.folds import ground_of
from stages.evaluate.page import PAGE, SHOWN, MapPlates, plates, render
from stages.evaluate.table import Entry, ReliabilityCurve, Setup, Table, build, write
from stages.evaluate.truth import Opened
from stages.formats.content_hash import files_of

VERSION = 4
MISMATCH = 1e-3  # share of the mass by which a truth may miss the totals without a word
AS_GIVEN, MATCHED = "as given", "matched"  # a truth that does not sum to the totals is scored both ways
PROTOCOL = "truth: methods learn from all totals and are scored on all cells of the map that the truth covers"

Maps = Mapping[RunKey, Path]
"""Folder of finished maps by case and method; the first is of the method that is judged."""


def sources(config: Config) -> list[str]:
    """Files whose content enters the fingerprint.

    Returns: one for each entry of the truth; of entries with dates, each file once, whichever dates share it.
    """
    plain, named = [], []
    for item in config.truth:
        if item.dates:
            named += [single.path for single in item.singles()]
        else:
            plain.append(item.path)
    found = []
    for path in (*plain, *dict.fromkeys(named)):
        found += files_of(path)
    return found


def check(config: Config) -> None:
    """Refuses a truth that cannot be used, before maps are made for hours.

    Raises: UsageError (exit 2) without any truth, InputError (exit 3) for files that cannot be read.
    """
    truths.check(config.truth)


@dataclass
class _Found:
    """What is gathered while maps are scored, one after the other."""

    entries: list[Entry] = field(default_factory=list)
    reliable: list[ReliabilityCurve] = field(default_factory=list)
    words: list[str] = field(default_factory=list)


def run(config: Config, *, cube: Path, maps: Maps, out: Path) -> None:
    """Scores the finished maps of every method, all rescaled to the same totals by their own certificates.

    Args:
      cube: whose totals the maps keep.
      maps: folder of finished maps by case and method; the first method is the one judged.
      out: folder of scores.json, scores.csv, scores.md and the page.
    Raises: UsageError (exit 2) without any truth, InputError (exit 3) for a truth that does not fit the maps.
    """
    check(config)
    opened = Cube.open(cube)
    if not opened.quantity.adds_up:  # means have scores of their own
        means.judge(config, opened, {str(key): folder for key, folder in maps.items()}, out)
        return
    truth = truths.open_truth(config.truth, opened)
    ground = ground_of(opened, config.spatial_block)
    found = _scored(config, truth, maps, opened, ground)
    judged = next(iter(maps)).method
    keys = _keys(maps, found.entries)
    entries = [_padded(entry, len(keys)) for entry in found.entries]
    table = build(entries, keys, judged, config.bootstrap_draws, config.seed)
    table.words.extend([*found.words, *_asides(entries, maps), *left_out(config, maps)])
    setup = Setup(opened.unit, PROTOCOL, config.spatial_block, config.bootstrap_draws, tuple(found.reliable))
    write(table, setup, out)
    others = len(_methods(maps)) - 1
    title = f"{opened.long_name}: {judged} against {others} others"
    shown = [_plates(item, opened, ground, maps, table) for item in truth[:SHOWN]]
    (out / PAGE).write_text(render(title, table, setup, shown), "utf-8")


def _scored(config: Config, truth: list[Opened], maps: Maps, cube: Cube, ground: Ground) -> _Found:
    """Every map against every truth of its sector and year."""
    found = _Found()
    done, total = 0, len(truth) * len(maps)
    for item in truth:
        for match, answer in _answers(item, cube, ground, config, found.words):
            for key, folder in maps.items():
                rows = _map_rows(folder, item.sheet, cube)
                scores, reliability, share = measure(rows, answer, ground)
                case = (key.case,) if key.case else ()
                place = (*case, item.sheet.sector, str(item.sheet.year), *match)
                found.entries.append(Entry(key.method, place, scores, share))
                found.reliable.append(ReliabilityCurve(key.method, place, reliability.points()))
                done += 1
                step("scoring", min(done, total), total, "maps")
    return found


def _methods(maps: Maps) -> set[str]:
    return {key.method for key in maps}


def _keys(maps: Maps, entries: list[Entry]) -> tuple[str, ...]:
    """Names of the parts of a place; `truth` only where one was scored both ways."""
    keys: tuple[str, ...] = ("sector", "year")
    if any(key.case for key in maps):
        keys = ("case", *keys)
    longest = max((len(entry.place) for entry in entries), default=0)
    return (*keys, "truth") if longest > len(keys) else keys


def _plates(item: Opened, cube: Cube, ground: Ground, maps: Maps, table: Table) -> MapPlates:
    """The truth, the judged map and the best of the others; where there are cases, those of the first."""
    sheet, judged = item.sheet, next(iter(maps))
    answer = look_at(item.rows, ground, 0, np.random.default_rng(0))
    found = {"truth": item.rows, str(judged): _map_rows(maps[judged], sheet, cube)}
    if (best := _best_other(table, sheet)) is not None:
        other = RunKey(best, judged.case)
        found[str(other)] = _map_rows(maps[other], sheet, cube)
    return plates(f"{sheet.sector} {sheet.year}", found, answer.sums, ground, cube.unit)


def _best_other(table: Table, sheet: MapSpec) -> str | None:
    """The method that the judged one was compared with on this map; None where it stands alone."""
    sector, year = table.keys.index("sector"), table.keys.index("year")
    for difference in table.differences:
        if (difference.place[sector], difference.place[year]) == (sheet.sector, str(sheet.year)):
            return difference.against
    return None


def _map_rows(folder: Path, sheet: MapSpec, cube: Cube) -> Rows:
    def rows(first: int, count: int) -> NDArray:
        return read_part(folder / sheet.map_file, cube.fine, first, 0, count, cube.fine.cols)

    return rows


def _answers(
    item: Opened, cube: Cube, ground: Ground, config: Config, words: list[str]
) -> Iterator[tuple[tuple[str, ...], Answer]]:
    """The truth as given and, where its blocks do not sum to the totals, also scaled to them."""
    sheet = item.sheet
    answer = look_at(item.rows, ground, config.emd_blocks, np.random.default_rng(config.seed))
    totals = cube.totals()[sheet.members[0], sheet.time]
    covered = np.isfinite(answer.sums) & cube.known()[sheet.members[0], sheet.time]
    given = float(totals[covered].sum())
    missed = float(np.abs(answer.sums - totals)[covered].sum())
    if not covered.any() or missed <= MISMATCH * max(given, float(answer.sums[covered].sum())):
        yield (), answer
        return
    share = missed / given if given > 0 else float("inf")
    text = (
        f"{sheet.sector} {sheet.year}: the truth does not sum to the totals (block by block {share:.1%} of the mass "
        "differs): scored as given, and matched, each block of it scaled to its total."
    )
    tell(text, warning=True)
    words.append(text)
    usable = covered & (answer.sums > 0)
    scale = np.divide(totals, answer.sums, out=np.ones_like(totals), where=usable)

    def matched(first: int, count: int) -> NDArray:
        return item.rows(first, count) * ground.spread(scale, first, count)

    yield (AS_GIVEN,), answer
    yield (MATCHED,), look_at(matched, ground, config.emd_blocks, np.random.default_rng(config.seed))


def _padded(entry: Entry, length: int) -> Entry:
    """The entry with a place of so many parts: a truth that was scored once was scored as given."""
    return replace(entry, place=(*entry.place, *[AS_GIVEN] * (length - len(entry.place))))


def left_out(config: Config, maps: Maps) -> list[str]:
    """Methods asked for where installed, and not made, in sentences.

    Returns: one for each such method, naming the extra that the table of methods says it takes.
    """
    made = _methods(maps)
    told = []
    for choice in config.methods_if_installed:
        if choice.name not in made:
            extra = METHODS[choice.name].extra
            told.append(f"{choice.name} was left out: the extra `{extra}` is not installed.")
    return told


def _asides(entries: list[Entry], maps: Maps) -> list[str]:
    """What a reader of the table must know: methods that fell back, truth that covers a part."""
    told = []
    for key, folder in maps.items():
        facts = json.loads((folder / "report.json").read_text("utf-8"))
        training = TrainingRecord.from_json(facts.get("training", {}))
        if instead := training.fell_back:
            told.append(f"{key} learned nothing ({training.reason}): its maps are those of {instead}.")
    for entry in entries:
        share = entry.scored_share
        if share is not None and share < 1.0:
            place = " ".join(entry.place)
            told.append(f"{place}: the truth covers {share:.1%} of the map; the rest is not scored.")
    return list(dict.fromkeys(told))


class EvaluateBody(StageBody[Config]):
    """Scores finished maps; it alone opens the truth."""

    def sources(self, config: Config) -> list[str]:
        return sources(config)

    def check(self, config: Config, preview: Preview) -> Preview:
        check(config)
        return preview


BODY = EvaluateBody(Config, VERSION, run)
