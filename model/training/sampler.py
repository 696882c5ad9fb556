"""Which tiles a step learns from, read in the background while the step before it is computed."""

from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Tile
from model.training.protocol import Tiles


@dataclass(frozen=True)
class Draw:
    """What one step learns from.

    Attributes:
      numbers: of the tiles in their split.
      seed: of all further chance in the step.
    """

    numbers: NDArray[np.int64]
    tiles: list[Tile]
    seed: int


class Draws:
    """Tiles by step; all chance follows from (seed, step), so reading ahead changes nothing but the time.

    Attributes:
      waited: seconds that whoever asked had to wait for tiles.
    """

    def __init__(self, tiles: Tiles, seed: int) -> None:
        self._tiles, self._seed = tiles, seed
        self._chances = draw_chances(tiles.mass)
        self._reader = ThreadPoolExecutor(1, "tiles")
        self._ahead: dict[tuple[int, int], Future[Draw]] = {}
        self.waited = 0.0

    def at(self, step: int, count: int, more: bool) -> Draw:
        """The tiles of a step.

        Args:
          step: finished ones before it; count: tiles it takes.
          more: whether a step follows, whose tiles may be read meanwhile.
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
        """Why every reading goes there: tiles that are kept for reuse are then never touched by two threads."""
        return self._reader.submit(copy_context().run, self._read, step, count)

    def _read(self, step: int, count: int) -> Draw:
        chance = np.random.default_rng([self._seed, step])
        numbers = chance.choice(len(self._tiles), count, p=self._chances)
        return Draw(numbers, [self._tiles[int(index)] for index in numbers], int(chance.integers(2**62)))


def draw_chances(mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half by mass, half evenly: a city teaches most, but villages must be seen too."""
    return 0.5 * mass / mass.sum() + 0.5 / mass.size
