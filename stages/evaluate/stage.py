"""Finished maps + truth -> one honest table; nobody else may open the truth."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from model.methods.choice import MethodChoice
from stages.artifacts.cube import Cube
from stages.artifacts.maps import Sheet, read_part
from stages.contract.body import Preview, StageBody
from stages.contract.progress import step, tell
from stages.contract.run_key import RunKey
from stages.contract.section import SafeName, Section
from stages.declare.types import Pair
from stages.evaluate import intensive as means
from stages.evaluate import truth as truths
from stages.evaluate.accumulate import Answer, Ground, Rows, look_at, measure
from stages.evaluate.folds import ground_of
from stages.evaluate.page import PAGE, SHOWN, plates, render
from stages.evaluate.table import Entry, Table, build, write
from stages.evaluate.truth import Opened, Truth
from stages.formats.content_hash import files_of

VERSION = 4
Names = Annotated[tuple[SafeName, ...], Field(strict=False)]
Methods = Annotated[tuple[MethodChoice, ...], Field(strict=False)]
JUDGES = {"intensive": means.judge}  # quantities that are no amounts have scores of their own
MISMATCH = 1e-3  # share of the mass by which a truth may miss the totals without a word


class Config(Section):
    """What is compared, how, and with which truth."""

    # Each by name with its defaults, or {name: NAME, option: value}; what `train` says of the loop holds for all.
    methods: Methods = tuple(map(MethodChoice.parse, ("uniform", "single_proxy", "smooth_mask")))
    methods_if_installed: Methods = ()  # as well, where the extra they take is installed; else the table says so
    cases: dict[SafeName, Names] = Field(default_factory=dict)  # name -> the layers used; none: the run's own
    truth: Annotated[tuple[Truth, ...], Field(strict=False)] = ()
    block: PositiveInt = 10  # coarse cells along the spatial blocks of the bootstrap
    draws: Annotated[int, Field(ge=100, le=100_000)] = 1000  # of the bootstrap
    moves: NonNegativeInt = 500  # blocks whose earth mover's distance is taken; 0: none
    seed: NonNegativeInt = 0  # of the draws and of the sample of blocks
    groups: Annotated[tuple[Annotated[int, Field(ge=2, le=100)], ...], Field(strict=False, min_length=1)] = (
        *(2, 3, 4, 6, 10),
    )  # coarse cells merged along an axis by the protocol scale_shift
    match: bool = True  # there, layers are averaged too: none is finer against a block than in the run itself
    folds: Annotated[int, Field(ge=2, le=20)] = (
        5  # parts of the ground, each unseen once, by the protocol spatial_cross_validation
    )
    wet: PositiveFloat = 1.0  # means: depth of a step from which a cell is wet, in the unit of the maps
    # means: x, y (degrees where cells have their own) of places whose series are drawn; none: four of them
    sites: Annotated[tuple[Pair, ...], Field(strict=False)] = ()
    shifts: Annotated[tuple[Annotated[int, Field(ge=1, le=50)], ...], Field(strict=False)] = (
        *(1, 2, 3),
    )  # fine cells a layer is shifted by in the protocol sensitivity
    blurs: Annotated[tuple[Annotated[int, Field(ge=1, le=50)], ...], Field(strict=False)] = (
        1,
    )  # fine cells it is blurred over, on each side

    @field_validator("methods", "methods_if_installed")
    @classmethod
    def _once(cls, choices: tuple[MethodChoice, ...]) -> tuple[MethodChoice, ...]:
        """A method has one row in a table; named twice alike it is compared once."""
        different = {choice.name: choice for choice in choices}
        if odd := [choice.name for choice in choices if choice != different[choice.name]]:
            raise ValueError(f"each method with one set of options; {', '.join(odd)} has two")
        return tuple(different.values())


def sources(config: Config) -> list[str]:
    """Files whose content enters the fingerprint, one for each entry."""
    named = dict.fromkeys(single.path for item in config.truth if item.dates for single in item.singles())
    plain = [item.path for item in config.truth if not item.dates]
    return [file for path in (*plain, *named) for file in files_of(path)]


def check(config: Config) -> None:
    """Refuses a truth that cannot be used, before maps are made for hours.

    Raises: UsageFault (exit 2) without any truth, InputFault (exit 3) for files that cannot be read.
    """
    truths.check(config.truth)


def run(config: Config, *, cube: Path, maps: Mapping[RunKey, Path], out: Path) -> None:
    """Scores the finished maps of every method, all rescaled to the same totals by their own certificates.

    Args:
      maps: folder of finished maps by case and method; the first method is the one judged.
    """
    check(config)
    opened = Cube.open(cube)
    if (judge := JUDGES.get(opened.quantity.name)) is not None:
        judge(config, opened, {str(key): folder for key, folder in maps.items()}, out)
        return
    found = truths.open_truth(config.truth, opened)
    ground = ground_of(opened, config.block)
    entries: list[Entry] = []
    reliable: list[dict[str, Any]] = []
    words: list[str] = []
    done, total = 0, len(found) * len(maps)
    for item in found:
        for match, answer in _answers(item, opened, ground, config, words):
            for key, folder in maps.items():
                scores, reliability, scored = measure(_map_rows(folder, item.sheet, opened), answer, ground)
                place = (*([key.case] if key.case else []), item.sheet.sector, str(item.sheet.year), *match)
                entries.append(Entry(key.method, place, scores, {"scored_share": scored}))
                reliable.append({"method": key.method, "place": place, "points": reliability.points()})
                done += 1
                step("scoring", min(done, total), total, "maps")
    keys = (*(["case"] if any(key.case for key in maps) else []), "sector", "year")
    keys = (*keys, *(["truth"] if any(len(entry.place) > len(keys) for entry in entries) else []))
    entries = [_padded(entry, len(keys)) for entry in entries]
    judged = next(iter(maps)).method
    table = build(entries, keys, judged, config.draws, config.seed)
    table.words.extend(words + _asides(entries, maps) + left_out(config, maps))
    facts = {
        "unit": opened.unit,
        "protocol": "truth: methods learn from all totals and are scored on all cells of the map that the truth covers",
        "block": config.block,
        "draws": config.draws,
        "reliability": reliable,
    }
    write(table, facts, out)
    rivals = {key.method for key in maps} - {judged}
    title = f"{opened.long_name}: {judged} against {len(rivals)} others"
    shown = [_plates(item, opened, ground, maps, table) for item in found[:SHOWN]]
    (out / PAGE).write_text(render(title, table, facts, shown), "utf-8")


def _plates(
    item: Opened, cube: Cube, ground: Ground, maps: Mapping[RunKey, Path], table: Table
) -> dict[str, Any]:
    """The truth, the judged map and the best of the others; where there are cases, those of the first."""
    sheet, judged = item.sheet, next(iter(maps))
    answer = look_at(item.rows, ground, 0, np.random.default_rng(0))
    told = [
        entry["against"]
        for entry in table.differences
        if (entry["sector"], entry["year"]) == (sheet.sector, str(sheet.year))
    ]
    chosen = [judged, *(RunKey(name, judged.case) for name in told[:1])]
    found = {"truth": item.rows} | {str(key): _map_rows(maps[key], sheet, cube) for key in chosen}
    return plates(f"{sheet.sector} {sheet.year}", found, answer.sums, ground, cube.unit)


def _map_rows(folder: Path, sheet: Sheet, cube: Cube) -> Rows:
    def rows(first: int, count: int) -> NDArray:
        return read_part(folder / sheet.map_file, cube.fine, first, 0, count, cube.fine.cols)

    return rows


def _answers(
    item: Opened, cube: Cube, ground: Ground, config: Config, words: list[str]
) -> Iterator[tuple[tuple[str, ...], Answer]]:
    """The truth as given and, where its blocks do not sum to the totals, also scaled to them."""
    sheet = item.sheet
    answer = look_at(item.rows, ground, config.moves, np.random.default_rng(config.seed))
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

    yield ("as given",), answer
    yield ("matched",), look_at(matched, ground, config.moves, np.random.default_rng(config.seed))


def _padded(entry: Entry, length: int) -> Entry:
    place = (*entry.place, *["as given"] * (length - len(entry.place)))
    return Entry(entry.method, place, entry.scores, entry.facts)


def left_out(config: Config, maps: Mapping[RunKey, Path]) -> list[str]:
    """Methods asked for where installed, and not made, in sentences."""
    made = {key.method for key in maps}
    missing = [choice.name for choice in config.methods_if_installed if choice.name not in made]
    return [f"{name} was left out: the extra `trees` is not installed." for name in missing]


def _asides(entries: list[Entry], maps: Mapping[RunKey, Path]) -> list[str]:
    """What a reader of the table must know: methods that fell back, truth that covers a part."""
    told = []
    for key, folder in maps.items():
        training = json.loads((folder / "report.json").read_text("utf-8")).get("training", {})
        if instead := training.get("fell_back"):
            told.append(f"{key} learned nothing ({training.get('reason')}): its maps are those of {instead}.")
    for place, share in dict.fromkeys((entry.place, entry.facts["scored_share"]) for entry in entries):
        if share < 1.0:
            told.append(
                f"{' '.join(place)}: the truth covers {share:.1%} of the map; the rest is not scored."
            )
    return list(dict.fromkeys(told))


class EvaluateBody(StageBody[Config]):
    """Scores finished maps; it alone opens the truth."""

    def sources(self, config: Config) -> list[str]:
        return sources(config)

    def check(self, config: Config, preview: Preview) -> Preview:
        check(config)
        return preview


BODY = EvaluateBody(Config, VERSION, run)
