"""What training will cost, found by taking a few steps on made-up ground of the real size."""

import contextlib
import ctypes
import gc
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from model.ground.blocks import merge
from model.ground.scene import Layer, Tile
from model.ground.survey import Survey
from model.method import PairTrainable, Trainable
from model.training.pairs import Pair
from model.training.phase import Phase
from model.training.policy import Policy
from model.training.protocol import Forgetful, Learner
from model.training.sampler import Dataset, PairData, TileData
from stages.train.config import Config
from stages.train.paired import compare_contents

SPARE = 0.2  # of free memory, left to everything else
PAGE_BYTES = 4096


@dataclass(frozen=True)
class Sizes:
    """How large what training sees is, by which the cost of a step is decided.

    Attributes:
      layers, sectors, years: numbers of them.
      factor: fine cells along a coarse cell.
      side, halo: coarse cells along a tile, and read around it.
    """

    layers: int
    sectors: int
    years: int
    factor: int
    side: int
    halo: int


@dataclass(frozen=True)
class StepCost:
    """What one step of a phase takes, by the number of items it learns from.

    Attributes:
      seconds, memory: of one item [s, bytes beyond those held before the step].
      more_seconds, more_memory: of each further item.
    """

    seconds: float
    memory: int
    more_seconds: float
    more_memory: int

    def seconds_of(self, items: int) -> float:
        """Of a step that learns from so many."""
        return self.seconds + self.more_seconds * (items - 1)

    def memory_of(self, items: int) -> int:
        """Bytes of a step that learns from so many."""
        return self.memory + self.more_memory * (items - 1)

    def fits(self, free: int) -> int:
        """Items a step may learn from in `free` bytes, of which a part is left to everything else."""
        return max(0, 1 + int(((1 - SPARE) * free - self.memory) // self.more_memory))


@dataclass(frozen=True)
class Cost:
    """Of training one network.

    Attributes:
      seconds, memory: of a step with as many items as are set, in the phase that takes most.
      fits: items that a step of every phase may have on this machine.
      steps: of all phases, where nothing stops them; total_seconds: of all of them.
    """

    seconds: float
    memory: int
    fits: int
    steps: int
    total_seconds: float


class MadeUpTiles:
    """A few tiles that stand for those of a split."""

    def __init__(self, tiles: Sequence[Tile]) -> None:
        self._tiles = tiles
        self.mass = np.array(list(map(_mass_of, tiles)))

    def __len__(self) -> int:
        return len(self._tiles)

    def __getitem__(self, index: int) -> Tile:
        return self._tiles[index]


def _mass_of(tile: Tile) -> float:
    return float(tile.totals.sum())


class MadeUpPairs:
    """A few pairs of coarse and fine fields that stand for those of a split."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def draw(self, rng: np.random.Generator, count: int) -> list[Pair]:
        """Any of them, with replacement."""
        return list(map(self.whole, rng.integers(len(self._pairs), size=count)))

    def whole(self, index: int) -> Pair:
        """One of them."""
        return self._pairs[index]


class OnePhase:
    """A learner that stands at the beginning of one of its phases, so that its steps can be measured."""

    def __init__(self, learner: Learner, phase: Phase) -> None:
        self._learner, self._phase = learner, phase

    def phases(self) -> tuple[Phase, ...]:
        """That one alone."""
        return (self._phase,)

    def choose(self, name: str) -> None:
        """As the learner does."""
        self._learner.choose(name)


def rehearse(config: Config, device: str, sizes: Sizes, free: int) -> Cost | None:
    """What training will cost, by two steps of every phase on made-up ground.

    Args:
      config: the train section.
      device: cpu or cuda.
      sizes: of the tiles or windows a step learns from.
      free: bytes a step may take.
    Returns: None when the method does not learn.
    Raises: InputError (exit 3) where a file of weights to compare contents by cannot be used.
    """
    method = config.method.make(config)
    tiles = [_tile(sizes, config.years, seed) for seed in range(2)]
    method.prepare(_survey(tiles[0]))
    learner: Learner
    data: Dataset
    if isinstance(method, PairTrainable):
        compare_contents(config, method)
        pairs = [_pair(sizes, seed) for seed in range(2)]
        method.fit(pairs)
        learner, data = method, PairData(MadeUpPairs(pairs), config.seed)
    elif isinstance(method, Trainable) and method.phases():
        method.calibrate(tiles[:1])
        (learner,) = method.members((0,))
        data = TileData(MadeUpTiles(tiles), config.seed)
    else:
        return None
    method.place(device)
    phases = learner.phases()
    costs = [_measured_phase(OnePhase(learner, phase), data, config.policy, device) for phase in phases]
    return _summed_up(config, phases, costs, free)


def _measured_phase(learner: Learner, data: Dataset, policy: Policy, device: str) -> StepCost:
    """Steps of one item and of two; their difference is what a further item takes."""
    from model.training.trainer import Trainer  # torch loads only when something learns

    trainer = Trainer(learner, data, dict, Forgetful(), policy=policy)
    try:
        trainer.step(1)  # the first one fills caches
        one_seconds, one_memory = measured(partial(trainer.step, 1), device)
        two_seconds, two_memory = measured(partial(trainer.step, 2), device)
    finally:
        trainer.close()
    more = max(two_memory - one_memory, one_memory // 4, 1)
    return StepCost(one_seconds, one_memory, max(two_seconds - one_seconds, 0.0), more)


def _summed_up(config: Config, phases: Sequence[Phase], costs: Sequence[StepCost], free: int) -> Cost:
    """Why not the phases' own lengths: made-up ground is small, and on a small map epochs are shorter."""
    items, steps, seconds = config.batch_tiles, 0, 0.0
    for phase, cost in zip(phases, costs, strict=True):
        steps += phase.epochs * config.steps_per_epoch
        seconds += phase.epochs * config.steps_per_epoch * cost.seconds_of(items)
    slowest = max(cost.seconds_of(items) for cost in costs)
    largest = max(cost.memory_of(items) for cost in costs)
    fits = min(cost.fits(free) for cost in costs)
    return Cost(slowest, largest, fits, steps, seconds)


def measured(step: Callable[[], object], device: str = "cpu") -> tuple[float, int]:
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


def _tile(sizes: Sizes, years: int, seed: int) -> Tile:
    """Shares with many zeros, and totals that follow them; more layers than a method may keep."""
    rng = np.random.default_rng(seed)
    time_steps, blocks = min(years, sizes.years), sizes.side + 2 * sizes.halo
    fine = blocks * sizes.factor
    shares = np.clip(rng.normal(0.1, 0.3, (max(1, sizes.layers), time_steps, fine, fine)), 0.0, 1.0)
    spread_of_sectors = rng.lognormal(0.0, 1.0, (sizes.sectors, 1, 1, 1))
    totals = merge(shares.mean(axis=0), sizes.factor) * spread_of_sectors
    target = np.zeros((blocks, blocks), bool)
    inside = slice(sizes.halo, blocks - sizes.halo)
    target[inside, inside] = True
    layers = tuple(Layer(f"layer {index}", "share") for index in range(sizes.layers))
    return Tile(
        shares[: sizes.layers].astype(np.float32), np.ones((fine, fine), bool), totals, np.ones(totals.shape, bool),
        target, sizes.factor, layers, sizes.halo,
    )  # fmt: skip


def _pair(sizes: Sizes, seed: int) -> Pair:
    """Amounts as skewed as those of rain, known everywhere."""
    side = sizes.side * sizes.factor
    everywhere = np.ones((side, side), bool)
    fine = np.random.default_rng(seed).gamma(0.5, 2.0, (side, side))
    return Pair.of(fine, everywhere, everywhere, sizes.factor)


def _survey(tile: Tile) -> Survey:
    """The survey of a map that is this tile."""
    values = tile.covariates.reshape(len(tile.layers), prod(tile.covariates.shape[1:])).astype(np.float64)
    cells = np.full(tile.target.shape, tile.factor**2)
    return Survey(
        tile.layers, tuple(f"sector {index}" for index in range(tile.totals.shape[0])), tile.factor,
        tile.totals, tile.known, merge(tile.covariates.astype(np.float64), tile.factor), cells, tile.target,
        (values == 0).mean(axis=1), np.array([np.median(row[row > 0]) for row in values]),
    )  # fmt: skip
