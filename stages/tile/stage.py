"""Cube -> 120 x 120 windows, leak-proof folds and training statistics; a plan, no pixel copies."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from model.ground import time_steps as when
from model.ground.blocks import merge, spread
from model.ground.errors import raise_together
from model.ground.windows import Split, Window, deal_ground, lay_windows, split_map
from stages.artifacts.cube import Cube
from stages.artifacts.records import (
    LayerStatistics,
    PairDates,
    SplitSums,
    TilePlan,
    TileRecord,
    TileStatistics,
    YearStatistics,
)
from stages.artifacts.tiles import DATES, SPLIT, WINDOWS, write_dates, write_plan, write_splits, write_windows
from stages.contract.body import Preview, StageBody
from stages.contract.progress import tell, track
from stages.contract.section import Clash, Renamed, Section
from stages.declare.dates import DateText

VERSION = 2
NEAR = 120  # fine cells along a tile, as near as whole pairs of blocks allow
HALO = 40  # fine cells read around it: two of the merged totals that training shows
MANY = 5000  # coarse cells with mass above which two folds hold enough each
BAND = 24  # coarse rows read at a time for the statistics
KEPT = 2_000_000  # values kept per layer for its median
Share = Annotated[float, Field(ge=0, lt=0.5)]


class Config(Section):
    """How the map is cut and split."""

    RENAMED: ClassVar[Mapping[str, Renamed]] = {"block": Renamed("spatial_block")}

    size: PositiveInt | None = (
        None  # fine cells along a tile; default: the multiple of two blocks nearest to 120
    )
    stride: PositiveInt | None = (
        None  # fine cells from one training tile to the next; default: an odd number of blocks
    )
    halo: NonNegativeInt | None = None  # fine cells read around a tile, to inform it; default: near 40
    spatial_block: PositiveInt = 10  # coarse cells along a spatial block: ground that stays in one split
    buffer: NonNegativeInt = 1  # coarse cells between splits that serve none
    # Parts of the ground, held out in turn while the others train; default: 4, or 2 above 5,000 cells with mass.
    folds: Annotated[int, Field(ge=2, le=20)] | None = None
    test_share: Share = 0.0  # of mass, by spatial blocks: never learned from
    seed: NonNegativeInt = 0  # which block goes where
    valid_share: Annotated[float, Field(gt=0, lt=1)] = (
        0.2  # of the dates of pairs: they validate, evenly spaced
    )
    valid_dates: Annotated[
        tuple[DateText, ...], Field(strict=False)
    ] = ()  # instead: these dates, or longer spans

    @model_validator(mode="after")
    def _agree(self) -> "Config":
        if self.size is not None and self.stride is not None and self.stride > self.size:
            raise ValueError(
                f"stride {self.stride} is larger than the tile ({self.size}): ground between tiles would be lost"
            )
        return self


def clashes(config: Config, factor: int) -> list[Clash]:
    """Settings that cannot work with the factor of the cube."""
    out = []
    side = tile_side(config, factor) * factor
    if config.size is not None and config.size % (2 * factor):
        nearest = tile_side(Config(), factor) * factor
        wanted = f"a multiple of two blocks of {factor} fine cells; the nearest to {NEAR} is {nearest}"
        out.append(Clash("size", f"{config.size} fine cells", wanted))
    if config.stride is not None and config.stride % factor:
        out.append(Clash("stride", f"{config.stride} fine cells", f"a multiple of the factor, {factor}"))
    if config.stride is not None and config.stride > side:
        out.append(Clash("stride", f"{config.stride} fine cells", f"at most the tile, {side}"))
    return out


def tile_side(config: Config, factor: int) -> int:
    """Coarse cells along a tile.

    Why an even number: training merges 2 x 2 cells, and an odd side has no such groups.
    """
    return max(2, 2 * round(NEAR / (2 * factor))) if config.size is None else config.size // factor


def tile_halo(config: Config, factor: int) -> int:
    """Coarse cells read around a tile; by default whole pairs."""
    return max(2, 2 * round(HALO / (2 * factor))) if config.halo is None else -(-config.halo // factor)


def expect(config: Config, preview: Preview, free: int) -> Preview:
    """What `pipeline check` tells of the tiles: their sides in coarse cells."""
    side, halo = tile_side(config, preview.factor), tile_halo(config, preview.factor)
    return replace(preview, tile_side=side, tile_halo=halo)


def tile_stride(config: Config, factor: int) -> int:
    """Coarse cells between training tiles; odd by default, so that groups fall on every offset."""
    side = tile_side(config, factor)
    return max(1, 2 * (side * 5 // 24) + 1) if config.stride is None else config.stride // factor


def run(config: Config, *, cube: Path, out: Path) -> None:
    """Lays windows, splits the ground and counts what the training split holds."""
    opened = Cube.open(cube)
    raise_together([clash.fault("tile") for clash in clashes(config, opened.factor)])
    totals, known = opened.remainder(), opened.known()
    cells = _valid_cells(opened)
    usable = known.all(axis=(0, 1)) & (cells > 0)
    mass = np.maximum(totals, 0.0).sum(axis=(0, 1))
    folds = config.folds or (2 if int(((mass > 0) & usable).sum()) > MANY else 4)
    chance = np.random.default_rng(config.seed)
    ground = deal_ground(np.where(usable, mass, 0.0), config.spatial_block, folds, config.test_share, chance)
    held_out = (None, *range(folds))
    splits = [split_map(ground, usable, config.buffer, fold) for fold in held_out]
    side, stride = tile_side(config, opened.factor), tile_stride(config, opened.factor)
    windows, dropped = _windows(splits, mass, side, stride)
    dates = _split_dates(config, opened) if opened.record.pairs else None
    plan = TilePlan(
        size=side * opened.factor,
        side=side,
        stride=stride * opened.factor,
        halo=tile_halo(config, opened.factor),
        block=config.spatial_block,
        buffer=config.buffer,
        folds=folds,
        cells=tuple(_count(split, np.ones_like(mass)) for split in splits[1:]),
        mass=tuple(_count(split, mass) for split in splits[1:]),
        dropped=dropped,
        statistics=_statistics(opened, splits[0] == Split.TRAIN, totals, mass),
        windows=tuple(windows),
        pairs=dates,
    )
    write_plan(out, plan)
    write_windows(out / WINDOWS, plan, opened.coarse)
    write_splits(out / SPLIT, splits, opened.coarse)
    if dates is not None:
        write_dates(out / DATES, dates, opened)
    _say(plan)


def _split_dates(config: Config, cube: Cube) -> PairDates:
    """Dates to learn from, dates that validate, and dates with totals alone.

    Why by date and not by field: the sectors of one date share their weather.
    """
    has_pair = np.asarray(cube.paired().any(axis=0))
    paired = list(compress(cube.years, has_pair))
    valid = _named_dates(config, paired) if config.valid_dates else _spaced_dates(config, paired)
    return PairDates(
        train=tuple(label for label in paired if label not in set(valid)),
        valid=tuple(valid),
        unpaired=tuple(compress(cube.years, ~has_pair)),
    )


def _named_dates(config: Config, paired: list[int]) -> list[int]:
    """Those within a span that the section names."""
    spans = [when.span(when.parse(text)) for text in config.valid_dates]
    valid = []
    for label in paired:
        first, end = when.span(label)
        if any(start <= first and end <= stop for start, stop in spans):
            valid.append(label)
    return valid


def _spaced_dates(config: Config, paired: list[int]) -> list[int]:
    """A share of them, evenly spaced; one is always left to learn from."""
    count = min(max(1, round(config.valid_share * len(paired))), max(len(paired) - 1, 0))
    places = (np.arange(count) + 0.5) * len(paired) / max(count, 1)
    return [paired[int(place)] for place in places]


def _count(split: NDArray[np.uint8], weight: NDArray[np.float64]) -> SplitSums:
    """Sum of the weight by split."""
    sums = {}
    for item in Split:
        sums[item.name.lower()] = float(weight[split == item].sum())
    return SplitSums(**sums)


def _valid_cells(cube: Cube) -> NDArray[np.int64]:
    """(h, w) number of valid fine cells of each coarse cell."""
    out = np.zeros(cube.coarse.shape, np.int64)
    for row in range(0, cube.coarse.rows, BAND):
        rows = min(BAND, cube.coarse.rows - row)
        valid = cube.valid(row * cube.factor, 0, rows * cube.factor, cube.fine.cols)
        out[row : row + rows] = merge(valid.astype(np.int64), cube.factor)
    return out


def _windows(
    splits: list[NDArray[np.uint8]], mass: NDArray[np.float64], side: int, stride: int
) -> tuple[list[TileRecord], dict[str, int]]:
    """Every window with something to learn or to score, once per split it serves in each fold.

    Training tiles overlap; those of other splits do not count a cell twice. Split `all` holds whatever may be
    learned from, whichever fold it lies in; fold -1 stands for none.
    """
    kept: list[TileRecord] = []
    dropped: Counter[str] = Counter()
    jobs = [("all", -1, Split.TRAIN, side), ("test", -1, Split.TEST, side)]
    for fold in range(len(splits) - 1):
        jobs += [("train", fold, Split.TRAIN, stride), ("valid", fold, Split.VALID, side)]
    for name, fold, code, step in jobs:
        split = splits[fold + 1]
        counted = np.zeros(split.shape, bool)
        for window in lay_windows(split.shape[0], split.shape[1], side, step):
            target = _target(split == code, window, side)
            if name != "train":
                target &= ~_target(counted, window, side)
                counted[window.row : window.row + side, window.col : window.col + side] = True
            inside = _target(mass, window, side)[target]
            if not target.any():
                dropped[f"{name}: no target cell"] += 1
            elif not inside.sum() > 0:
                dropped[f"{name}: target cells hold no mass"] += 1
            else:
                number = "" if fold < 0 else f"{fold}-"
                kept.append(
                    TileRecord(
                        id=f"{name}-{number}{window.row:04d}-{window.col:04d}",
                        split=name,
                        fold=fold,
                        row=window.row,
                        col=window.col,
                        mass=float(inside.sum()),
                        target=tuple(np.flatnonzero(target).tolist()),
                    )
                )
    return kept, dict(sorted(dropped.items()))


def _target(values: NDArray, window: Window, side: int) -> NDArray:
    """(side, side) of a coarse map at a window; 0 beyond the map."""
    part = values[window.row : window.row + side, window.col : window.col + side]
    return np.pad(part, [(0, side - part.shape[0]), (0, side - part.shape[1])])


def _statistics(
    cube: Cube, train: NDArray[np.bool_], totals: NDArray[np.float64], mass: NDArray[np.float64]
) -> TileStatistics:
    """Zero ratio and spread of the totals by year, and the scale of each layer, over the training split alone."""
    years = {}
    for index, year in enumerate(cube.years):
        here = totals[:, index][:, train]
        logs = np.log1p(here[here > 0])
        years[str(year)] = YearStatistics(
            zeros=int((here == 0).sum()),
            nonzeros=int((here > 0).sum()),
            cv_log=float(logs.std() / logs.mean()) if logs.size and logs.mean() > 0 else None,
        )
    layers, nonzero = _layer_statistics(cube, train), int((mass[train] > 0).sum())
    return TileStatistics(years=years, layers=layers, nonzero_cells=nonzero)


def _layer_statistics(cube: Cube, train: NDArray[np.bool_]) -> LayerStatistics:
    count, sums, squares, zeros = 0, *(np.zeros(len(cube.layers)) for _ in range(3))
    thin = max(1, cube.fine.rows * cube.fine.cols * len(cube.years) // KEPT)
    positive: list[list[NDArray[np.float32]]] = [[] for _ in cube.layers]
    for row in track(
        range(0, cube.coarse.rows, BAND), "training statistics", -(-cube.coarse.rows // BAND), "bands"
    ):
        rows = min(BAND, cube.coarse.rows - row)
        window = (row * cube.factor, 0, rows * cube.factor, cube.fine.cols)
        target = spread(train[row : row + rows], cube.factor) & cube.valid(*window)
        values = cube.covariates(*window)[:, :, target].astype(np.float64)
        values = values.reshape(len(cube.layers), len(cube.years) * int(target.sum()))
        count += values.shape[1]
        sums, squares, zeros = (
            sums + values.sum(1),
            squares + (values**2).sum(1),
            zeros + (values == 0).sum(1),
        )
        for index, layer in enumerate(values):
            positive[index].append(layer[layer > 0][::thin].astype(np.float32))
    mean = sums / max(count, 1)
    return LayerStatistics(
        zero_share=tuple((zeros / max(count, 1)).tolist()),
        mean=tuple(mean.tolist()),
        std=tuple(np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0.0)).tolist()),
        positive_median=tuple(map(_median, positive)),
    )


def _median(parts: list[NDArray[np.float32]]) -> float:
    """Of all parts together; 1 where there is no value."""
    values = np.concatenate(parts) if parts else np.empty(0, np.float32)
    return float(np.median(values)) if values.size else 1.0


def _say(plan: TilePlan) -> None:
    counts = Counter(window.split for window in plan.windows)
    tell(
        f"tile: {plan.folds} folds; {counts['train']} training, {counts['valid']} validation "
        f"and {counts['test']} test windows"
    )
    for reason, number in plan.dropped.items():
        tell(f"tile: {number} windows dropped, {reason}")
    if len({window.fold for window in plan.windows if window.split == "valid"}) < 2:
        tell("tile: the map is too small to hold ground apart; train will learn nothing", warning=True)


class TileBody(StageBody[Config]):
    """Lays windows and splits the ground."""

    def clashes(self, config: Config, factor: int) -> list[Clash]:
        return clashes(config, factor)

    def expect(self, config: Config, preview: Preview, free: int) -> Preview:
        return expect(config, preview, free)

    def merged(self, config: Config, group: int) -> tuple[str, ...]:
        return "size=null", "stride=null", f"spatial_block={max(1, round(config.spatial_block / group))}"


BODY = TileBody(Config, VERSION, run)
