"""What training will cost, found by taking a few steps on made-up ground of the real size."""

import contextlib
import ctypes
import gc
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from model.ground.blocks import merge
from model.ground.scene import Layer, Tile
from model.ground.survey import Survey
from model.training.protocol import Forgetful
from model.training.sampler import TileData
from stages.train.folds import policy_of

SPARE = 0.2  # of free memory, left to everything else
PAGE_BYTES = 4096


@dataclass(frozen=True)
class Cost:
    """Of one step.

    Attributes:
      seconds: for a batch of as many tiles as are set; memory: bytes beyond those held before it.
      fits: tiles a batch may have on this machine.
    """

    seconds: float
    memory: int
    fits: int


class MadeUp:
    """A few tiles that stand for those of a split."""

    def __init__(self, tiles: Sequence[Tile]) -> None:
        self._tiles = tiles
        self.mass = np.array([float(tile.totals.sum()) for tile in tiles])

    def __len__(self) -> int:
        return len(self._tiles)

    def __getitem__(self, index: int) -> Tile:
        return self._tiles[index]


def rehearse(config: Any, device: str, sizes: Mapping[str, Any], free: int) -> Cost | None:
    """Cost of a step; None when the method does not learn.

    Args:
      config: the train section.
      sizes: layers, sectors, years: numbers; factor; side, halo: coarse cells of a tile and around it.
      free: bytes a batch may take.
    """
    method: Any = config.method.make(config)
    tiles = [_tile(sizes, config.years, seed) for seed in range(2)]
    method.prepare(_survey(tiles[0]))
    if not method.phases():
        return None
    method.calibrate(tiles[:1])
    from model.training.trainer import Trainer

    (learner,) = method.members((0,))
    method.place(device)
    trainer = Trainer(
        learner,
        TileData(MadeUp(tiles), config.seed),
        lambda: {},
        Forgetful(),
        policy=policy_of(config),
    )
    try:
        trainer.step(1)  # the first one fills caches
        one, two = (measured(partial(trainer.step, count), device) for count in (1, 2))
    finally:
        trainer.close()
    each = max(two[1] - one[1], one[1] // 4, 1)
    count = config.batch_tiles
    return Cost(
        one[0] + max(two[0] - one[0], 0.0) * (count - 1),
        one[1] + each * (count - 1),
        max(0, 1 + int(((1 - SPARE) * free - one[1]) // each)),
    )


def measured(step: Callable[[], Any], device: str = "cpu") -> tuple[float, int]:
    """Seconds, and the most bytes held beyond those before the step (on a CPU by looking every 2 ms, on Linux)."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before, began = torch.cuda.memory_allocated(), time.perf_counter()
        step()
        torch.cuda.synchronize()
        return time.perf_counter() - began, torch.cuda.max_memory_allocated() - before
    gc.collect()
    with contextlib.suppress(
        OSError, AttributeError
    ):  # glibc: memory kept for reuse would hide what a step takes
        ctypes.CDLL(None).malloc_trim(0)
    before, most, done = _resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            most[0] = max(most[0], _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        step()
    finally:
        seconds = time.perf_counter() - began
        done.set()
        watcher.join()
    return seconds, max(0, most[0] - before)


def _resident() -> int:
    """Bytes in memory now (Linux); 0 elsewhere."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
    except OSError:
        return 0


def _tile(sizes: Mapping[str, Any], years: int, seed: int) -> Tile:
    """Shares with many zeros, and totals that follow them; more layers than a method may keep."""
    rng = np.random.default_rng(seed)
    time_steps, blocks = min(years, sizes["years"]), sizes["side"] + 2 * sizes["halo"]
    fine = blocks * sizes["factor"]
    shares = np.clip(rng.normal(0.1, 0.3, (sizes["layers"], time_steps, fine, fine)), 0.0, 1.0)
    totals = merge(shares.mean(axis=0), sizes["factor"]) * rng.lognormal(
        0.0, 1.0, (sizes["sectors"], 1, 1, 1)
    )
    target = np.zeros((blocks, blocks), bool)
    inside = slice(sizes["halo"], blocks - sizes["halo"])
    target[inside, inside] = True
    layers = tuple(Layer(f"layer {index}", "share") for index in range(sizes["layers"]))
    return Tile(
        shares.astype(np.float32), np.ones((fine, fine), bool), totals, np.ones(totals.shape, bool),
        target, sizes["factor"], layers, sizes["halo"],
    )  # fmt: skip


def _survey(tile: Tile) -> Survey:
    """The survey of a map that is this tile."""
    values = tile.covariates.reshape(len(tile.layers), -1).astype(np.float64)
    cells = np.full(tile.target.shape, tile.factor**2)
    return Survey(
        tile.layers, tuple(f"sector {index}" for index in range(tile.totals.shape[0])), tile.factor,
        tile.totals, tile.known, merge(tile.covariates.astype(np.float64), tile.factor), cells, tile.target,
        (values == 0).mean(axis=1), np.array([np.median(row[row > 0]) for row in values]),
    )  # fmt: skip
