"""What every way of downscaling offers, whether it learns or not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Layer, Masses, Scene


@dataclass(frozen=True)
class Survey:
    """The whole map at the inventory's own scale, and what the training split says of each layer.

    Attributes:
      layers: one per covariate, in the cube's order.
      sectors: names.
      factor: fine cells along a coarse cell.
      totals: (sectors, time, h, w) mass; 0 where not known.
      known: same shape.
      sums: (layers, time, h, w) sum of each covariate over the valid fine cells of a block.
      cells: (h, w) number of valid fine cells.
      target: (h, w) True = coarse cell of the training split outside the buffer.
      zero_share, positive_median: (layers,) over valid fine cells of the training split.
      positive_sums: as sums, of values clipped at 0; None = no layer falls below 0, so the two are one.
    """

    layers: tuple[Layer, ...]
    sectors: tuple[str, ...]
    factor: int
    totals: Masses
    known: NDArray[np.bool_]
    sums: Masses
    cells: NDArray[np.int64]
    target: NDArray[np.bool_]
    zero_share: Masses
    positive_median: Masses
    positive_sums: Masses | None = None


@dataclass(frozen=True)
class Turn:
    """One network's step within a batch: the loss it is to lower.

    Attributes:
      name: distinct among the turns of a method.
      network: a torch module; turns may share one.
      loss: (tiles or pairs, generator) -> scalar tensor; all chance comes from the torch generator.
      terms: what the last loss was made of, by name, for those who watch.
    """

    name: str
    network: Any
    loss: Callable[[Sequence[Any], Any], Any]
    terms: Callable[[], Mapping[str, float]] = dict


@dataclass(frozen=True)
class Phase:
    """A stretch of training: how long, how fast, and whose turn it is in each step."""

    name: str
    epochs: int
    options: Mapping[str, Any] = field(default_factory=dict)
    turns: tuple[Turn, ...] = ()


class Method(Protocol):
    """Turns a scene into a raw estimate; learns in phases, or not at all.

    A method is made by `Class(options)` (options: a frozen pydantic Section or None), then either
    `prepare(survey)` and training, or `load_state(...)`. One that has a word on whole blocks, once the seams of windows
    are blended, offers `finish(estimate, totals, known)`.
    """

    def prepare(self, survey: Survey) -> None:
        """Looks at the map once: picks scales, proxies, sizes. Called before training or first use."""

    def phases(self) -> tuple[Phase, ...]:
        """What the training loop is to do; empty for a method that does not learn."""

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """Raw estimate (sectors, time, H, W) >= 0 in mass per fine cell.

        An exact 0 states that the cell may not receive mass while its block has another place.
        NaN is allowed and counted: the ladder takes over.
        """

    def state(self) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """All it has learned: arrays by name, and plain JSON values."""

    def load_state(self, arrays: Mapping[str, NDArray], plain: Mapping[str, Any]) -> None:
        """The inverse of state()."""

    def describe(self) -> dict[str, Any]:
        """Plain facts for the report: what was chosen and how large it is."""
