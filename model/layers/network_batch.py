"""What the published networks see of scenes: covariates, and totals on a logarithmic scale from 0 to 1."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.ground.blocks import spread
from model.ground.scene import Bools, Scene
from model.layers.losses.aggregate import ZeroStatistics
from model.training.network_inputs import Inputs

BOUND = 3.0  # of the estimate on its own scale, on which the largest known total is 1: it stays finite
Turning = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Scale:
    """The logarithmic scale of main stream and estimate: 0 without mass, 1 at the densest total known.

    Attributes:
      unit: (sectors,) mean mass per fine cell where there is any.
      top: (sectors,) log1p of the densest total, in units.
    """

    unit: tuple[float, ...]
    top: tuple[float, ...]

    @classmethod
    def of(cls, totals: NDArray[np.float64], statistics: ZeroStatistics, cells: int) -> "Scale":
        """Read off the totals known.

        Args:
          totals: (sectors, ...) mass per coarse cell; the largest makes `top`, which is log 2 at least.
          statistics: of the training split; its unit is the mean total above zero.
          cells: fine cells in a coarse one.
        """
        densest = totals.reshape(len(totals), -1).max(1) / statistics.unit
        top = np.log1p(np.maximum(densest, 1.0))
        return cls(tuple(statistics.unit / cells), tuple(top))

    def units(self, mass: Tensor) -> Tensor:
        """(..., sectors, time, H, W) mass per cell in units."""
        return mass / mass.new_tensor(self.unit)[:, None, None, None]

    def shown(self, units: Tensor) -> Tensor:
        """Units per cell -> scale.

        Args: units: (..., sectors, time, H, W), 0 or more.
        Returns: same shape; log1p over its value at the densest total, so known totals lie in [0, 1].
        """
        return torch.log1p(units) / units.new_tensor(self.top)[:, None, None, None]

    def read(self, scaled: Tensor) -> Tensor:
        """Scale -> units per cell.

        Cut at BOUND on the scale, where the densest known total is 1: an estimate of an untrained network stays
        finite.
        """
        return torch.expm1(scaled.clamp_max(BOUND) * scaled.new_tensor(self.top)[:, None, None, None])


class Everywhere:
    """The mask of a method without one: every valid cell may receive mass."""

    def mask(self, scene: Scene) -> Bools:
        """(time, H, W)."""
        return np.broadcast_to(scene.valid, scene.covariates.shape[1:]).copy()


@dataclass(frozen=True)
class NetworkBatch:
    """Scenes as a network sees them.

    Attributes:
      auxiliary, main: (B, channels, time, H, W).
      totals, known: (B, sectors, time, H/side, W/side), units per block.
      valid: (B, 1, 1, H, W).
      side: fine cells along a block.
    """

    auxiliary: Tensor
    main: Tensor
    totals: Tensor
    known: Tensor
    valid: Tensor
    side: int

    @classmethod
    def of(
        cls, scenes: Sequence[Scene], inputs: Inputs, scale: Scale, device: torch.device
    ) -> "NetworkBatch":
        """All scenes are shown totals of the same size.

        Args:
          scenes: one `side` and window size for all, because they are stacked.
          scale: turns totals into units, and units into the main stream.
        Returns: on the device, main stream and totals in float32; the main stream is 0 where a total is not
          known.
        """
        side = scenes[0].side
        auxiliary = np.stack([inputs.auxiliary(scene, Everywhere().mask(scene)) for scene in scenes])
        totals = scale.units(torch.from_numpy(np.stack([scene.totals for scene in scenes])))
        known = torch.from_numpy(np.stack([scene.known for scene in scenes]))
        valid = torch.from_numpy(np.stack([scene.valid for scene in scenes]))[:, None, None]
        cells = scale.shown(torch.where(known, totals, 0.0) / side**2)
        main = spread(cells, side).float()
        return cls(
            torch.from_numpy(auxiliary).to(device),
            main.to(device),
            totals.float().to(device),
            known.to(device),
            valid.to(device),
            side,
        )

    def turned(self, turn: Turning) -> "NetworkBatch":
        """All in the same new orientation.

        Totals turn with their cells: a turn of the coarse array is that of its blocks.
        """
        return NetworkBatch(
            turn(self.auxiliary),
            turn(self.main),
            turn(self.totals),
            turn(self.known),
            turn(self.valid),
            self.side,
        )


def as_it_is(values: Tensor) -> Tensor:
    """No turn."""
    return values


def random_turn(generator: torch.Generator) -> Turning:
    """One of the eight ways to lay a square window down.

    Args:
      generator: draws quarters and flip once; the same turn then serves every tensor of the batch.
    Returns: a function on (..., H, W). A window that is not square is turned by halves alone, which keep its
      shape.
    """
    quarters = int(torch.randint(4, (), generator=generator))
    flip = int(torch.randint(2, (), generator=generator))

    def turn(values: Tensor) -> Tensor:
        square = values.shape[-1] == values.shape[-2]
        turned = torch.rot90(values, quarters if square else 2 * (quarters % 2), (-2, -1))
        return turned.flip(-1) if flip else turned

    return turn
