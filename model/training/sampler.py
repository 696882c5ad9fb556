"""What a step learns from, read in the background while the step before it is computed."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Tile
from model.training.pairs import PairSource

PAIR_SEEDS = 1_000_003  # distance between the chances of two seeds


@dataclass(frozen=True)
class Draw:
    """What one step learns from.

    Attributes:
      names: of the items in their split, for messages.
      items: tiles, pairs, or whatever the method's losses take.
      seed: of all further chance in the step.
    """

    names: tuple[str, ...]
    items: Sequence[Any]
    seed: int


class Dataset(Protocol):
    """Where a training's items come from."""

    def draw(self, step: int, count: int) -> Draw:
        """The items of a step; all chance follows from the data's own seed and the step."""

    def explain(self, draw: Draw) -> str:
        """The range of numbers in the items, for the message about a loss that is none."""


class Tiles(Protocol):
    """Tiles of one split, read when asked for, and the mass of their target cells."""

    mass: NDArray[np.float64]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Tile: ...


class TileData:
    """Tiles of one split, heavy ones more often than light ones."""

    def __init__(self, tiles: Tiles, seed: int) -> None:
        self._tiles, self._seed = tiles, seed
        self._chances = draw_chances(tiles.mass)

    def draw(self, step: int, count: int) -> Draw:
        """Tiles with replacement."""
        chance = np.random.default_rng([self._seed, step])
        numbers = [int(number) for number in chance.choice(len(self._tiles), count, p=self._chances)]
        tiles = [self._tiles[number] for number in numbers]
        return Draw(tuple(f"tile {number}" for number in numbers), tiles, int(chance.integers(2**62)))

    def explain(self, draw: Draw) -> str:
        """The range of every layer."""
        ranges = []
        for index, layer in enumerate(draw.items[0].layers):
            values = np.stack([tile.covariates[index] for tile in draw.items])
            ranges.append(f"{layer.name} {values.min():.6g} to {values.max():.6g}")
        return f"layers there: {'; '.join(ranges)}"


class PairData:
    """Windows of random fine fields, places and sides."""

    def __init__(self, pairs: PairSource, seed: int) -> None:
        self._pairs, self._seed = pairs, seed

    def draw(self, step: int, count: int) -> Draw:
        """Pairs as their source draws them."""
        chance = np.random.default_rng([self._seed, step])
        pairs = self._pairs.draw(chance, count)
        names = tuple(f"window {number}" for number in range(len(pairs)))
        return Draw(names, pairs, self._seed * PAIR_SEEDS + step)

    def explain(self, draw: Draw) -> str:
        """The range of the totals shown and of the fine fields."""
        totals = np.concatenate([pair.totals.ravel() for pair in draw.items])
        fine = np.concatenate([pair.fine.ravel() for pair in draw.items])
        return (
            f"totals there: {totals.min():.6g} to {totals.max():.6g}; "
            f"fine fields: {fine.min():.6g} to {fine.max():.6g}"
        )


class ReadAhead:
    """Items by step; as all chance follows from the step, reading ahead changes nothing but the time.

    Attributes:
      waited: seconds that whoever asked had to wait for items.
    """

    def __init__(self, data: Dataset) -> None:
        self._data = data
        self._reader = ThreadPoolExecutor(1, "read ahead")
        self._ahead: dict[tuple[int, int], Future[Draw]] = {}
        self.waited = 0.0

    def at(self, step: int, count: int, more: bool) -> Draw:
        """The items of a step.

        Args:
          step: finished ones before it; count: items it takes.
          more: whether a step follows, whose items may be read meanwhile.
        """
        before = perf_counter()
        coming = self._ahead.pop((step, count), None)
        self._ahead.clear()
        draw = (coming or self._submit(step, count)).result()
        self.waited += perf_counter() - before
        if more:
            self._ahead[step + 1, count] = self._submit(step + 1, count)
        return draw

    def close(self) -> None:
        """Reads no more."""
        self._reader.shutdown(wait=True, cancel_futures=True)

    def _submit(self, step: int, count: int) -> Future[Draw]:
        """Why every reading goes there: items that are kept for reuse are then never touched by two threads."""
        return self._reader.submit(copy_context().run, self._data.draw, step, count)


def draw_chances(mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half by mass, half evenly: a city teaches most, but villages must be seen too."""
    return 0.5 * mass / mass.sum() + 0.5 / mass.size
