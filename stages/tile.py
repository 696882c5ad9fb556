"""Cube -> 120 x 120 windows, leak-proof splits and training statistics; a plan, no pixel copies."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from model.fault import raise_all
from model.sample import merge
from model.windows import Split, Window, lay_windows, split_map
from stages.progress import tell, track
from stages.section import Clash, Section
from stages.store.cube import Cube
from stages.store.samples import SPLIT, WINDOWS, write_plan, write_split, write_windows

VERSION = 1
NEAR = 120  # fine cells along a tile, as near as whole pairs of blocks allow
BAND = 24  # coarse rows read at a time for the statistics
KEPT = 2_000_000  # values kept per layer for its median
Share = Annotated[float, Field(ge=0, lt=0.5)]


class Config(Section):
    """How the map is cut and split."""

    size: PositiveInt | None = (
        None  # fine cells along a tile; default: the multiple of two blocks nearest to 120
    )
    stride: PositiveInt | None = (
        None  # fine cells from one training tile to the next; default: an odd number of blocks
    )
    block: PositiveInt = 10  # coarse cells along a spatial block: ground that stays in one split
    buffer: NonNegativeInt = 1  # coarse cells between splits that serve none
    valid_share: Share = 0.15  # of mass, by spatial blocks
    test_share: Share = 0.1
    seed: NonNegativeInt = 0  # which block goes where

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


def tile_stride(config: Config, factor: int) -> int:
    """Coarse cells between training tiles; odd by default, so that groups fall on every offset."""
    side = tile_side(config, factor)
    return max(1, 2 * (side * 5 // 24) + 1) if config.stride is None else config.stride // factor


def run(config: Config, *, cube: Path, out: Path) -> None:
    """Lays windows, splits the ground and counts what the training split holds."""
    opened = Cube.open(cube)
    raise_all([clash.fault("tile") for clash in clashes(config, opened.factor)])
    totals, known = opened.remainder(), opened.known()
    cells = _valid_cells(opened)
    usable = known.all(axis=(0, 1)) & (cells > 0)
    mass = np.maximum(totals, 0.0).sum(axis=(0, 1))
    split = split_map(
        mass,
        usable,
        config.block,
        config.buffer,
        config.valid_share,
        config.test_share,
        np.random.default_rng(config.seed),
    )
    side, stride = tile_side(config, opened.factor), tile_stride(config, opened.factor)
    windows, dropped = _windows(split, mass, side, stride)
    statistics = _statistics(opened, split == Split.TRAIN, totals, mass)
    plan = {
        "size": side * opened.factor,
        "side": side,
        "stride": stride * opened.factor,
        "block": config.block,
        "buffer": config.buffer,
        "cells": {item.name.lower(): int((split == item).sum()) for item in Split},
        "mass": {item.name.lower(): float(mass[split == item].sum()) for item in Split},
        "dropped": dropped,
        "statistics": statistics,
        "windows": windows,
    }
    write_plan(out, plan)
    write_windows(out / WINDOWS, windows, side, opened.coarse)
    write_split(out / SPLIT, split, opened.coarse)
    _say(plan)


def _valid_cells(cube: Cube) -> NDArray[np.int64]:
    """(h, w) number of valid fine cells of each coarse cell."""
    out = np.zeros(cube.coarse.shape, np.int64)
    for row in range(0, cube.coarse.rows, BAND):
        rows = min(BAND, cube.coarse.rows - row)
        valid = cube.valid(row * cube.factor, 0, rows * cube.factor, cube.fine.cols)
        out[row : row + rows] = merge(valid.astype(np.int64), cube.factor)
    return out


def _windows(
    split: NDArray[np.uint8], mass: NDArray[np.float64], side: int, stride: int
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Every window with something to learn or to score, once per split it serves.

    Training tiles overlap; those of other splits do not count a cell twice.
    """
    rows, cols = split.shape
    kept: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()
    for name, code, step in (
        ("train", Split.TRAIN, stride),
        ("valid", Split.VALID, side),
        ("test", Split.TEST, side),
    ):
        counted = np.zeros(split.shape, bool)
        for window in lay_windows(rows, cols, side, step):
            target = _target(split == code, window, side)
            if code != Split.TRAIN:
                target &= ~_target(counted, window, side)
                counted[window.row : window.row + side, window.col : window.col + side] = True
            inside = _target(mass, window, side)[target]
            if not target.any():
                dropped[f"{name}: no target cell"] += 1
            elif not inside.sum() > 0:
                dropped[f"{name}: target cells hold no mass"] += 1
            else:
                kept.append(
                    {
                        "id": f"{name}-{window.row:04d}-{window.col:04d}",
                        "split": name,
                        "row": window.row,
                        "col": window.col,
                        "mass": float(inside.sum()),
                        "target": np.flatnonzero(target).tolist(),
                    }
                )
    return kept, dict(sorted(dropped.items()))


def _target(values: NDArray, window: Window, side: int) -> NDArray:
    """(side, side) of a coarse map at a window; 0 beyond the map."""
    part = values[window.row : window.row + side, window.col : window.col + side]
    return np.pad(part, [(0, side - part.shape[0]), (0, side - part.shape[1])])


def _statistics(
    cube: Cube, train: NDArray[np.bool_], totals: NDArray[np.float64], mass: NDArray[np.float64]
) -> dict[str, Any]:
    """Zero ratio and spread of the totals by year, and the scale of each layer, over the training split alone."""
    years = {}
    for index, year in enumerate(cube.years):
        here = totals[:, index][:, train]
        logs = np.log1p(here[here > 0])
        years[str(year)] = {
            "zeros": int((here == 0).sum()),
            "nonzeros": int((here > 0).sum()),
            "cv_log": float(logs.std() / logs.mean()) if logs.size and logs.mean() > 0 else None,
        }
    return {
        "years": years,
        "layers": _layer_statistics(cube, train),
        "nonzero_cells": int((mass[train] > 0).sum()),
    }


def _layer_statistics(cube: Cube, train: NDArray[np.bool_]) -> dict[str, list[float]]:
    count, sums, squares, zeros = 0, *(np.zeros(len(cube.layers)) for _ in range(3))
    thin = max(1, cube.fine.rows * cube.fine.cols * len(cube.years) // KEPT)
    positive: list[list[NDArray[np.float32]]] = [[] for _ in cube.layers]
    for row in track(
        range(0, cube.coarse.rows, BAND), "training statistics", -(-cube.coarse.rows // BAND), "bands"
    ):
        rows = min(BAND, cube.coarse.rows - row)
        window = (row * cube.factor, 0, rows * cube.factor, cube.fine.cols)
        target = np.repeat(np.repeat(train[row : row + rows], cube.factor, 0), cube.factor, 1) & cube.valid(
            *window
        )
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
    medians = [
        np.median(np.concatenate(parts)) if any(part.size for part in parts) else 1.0 for parts in positive
    ]
    return {
        "zero_share": (zeros / max(count, 1)).tolist(),
        "mean": mean.tolist(),
        "std": np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0.0)).tolist(),
        "positive_median": [float(median) for median in medians],
    }


def _say(plan: Mapping[str, Any]) -> None:
    counts = Counter(entry["split"] for entry in plan["windows"])
    tell(f"tile: {counts['train']} training, {counts['valid']} validation and {counts['test']} test windows")
    for reason, number in plan["dropped"].items():
        tell(f"tile: {number} windows dropped, {reason}")
    if not counts["valid"]:
        tell(
            "tile: the map is too small to hold validation ground apart; train will use a baseline",
            warning=True,
        )
