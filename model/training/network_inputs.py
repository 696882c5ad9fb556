"""What a network gets to see of a scene: covariates and base on scales of order one, whatever their units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import spread
from model.ground.scene import Bools, Floats, Masses, Scene, Tile
from model.ground.survey import Survey
from model.priors.pycnophylactic import mean_density

CLIP = 6.0  # standard deviations: one wild pixel must not steer the network


class Masked(Protocol):
    """Whatever knows which cells may receive mass."""

    def mask(self, scene: Scene) -> Bools:
        """(time, H, W) True = may."""


@dataclass(frozen=True)
class Inputs:
    """Turns a scene into the two streams of a network.

    Attributes:
      layers: indices of the covariates used.
      medians: their positive medians; x enters as sign(x) log(1 + |x| / median).
      mean, std: of the auxiliary channels on the mask; the last channel is the blurred mask.
      density: (sectors,) mean mass per fine cell, the unit of the main stream.
    """

    layers: tuple[int, ...]
    medians: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    density: tuple[float, ...]

    @classmethod
    def of(cls, survey: Survey, keep_blocky: bool) -> "Inputs":
        """Picks the layers; channels stay unscaled until calibrated()."""
        chosen = [index for index, layer in enumerate(survey.layers) if keep_blocky or not layer.blocky]
        medians = [float(survey.positive_median[index]) for index in chosen]
        usable = [median if np.isfinite(median) and median > 0 else 1.0 for median in medians]
        channels = len(chosen) + 1
        density = tuple(float(value) for value in mean_density(survey))
        return cls(tuple(chosen), tuple(usable), (0.0,) * channels, (1.0,) * channels, density)

    def calibrated(self, tiles: Sequence[Tile], base: Masked) -> "Inputs":
        """With mean and standard deviation measured on the mask of the tiles; constant channels keep 1."""
        count, total, squares = 0, np.zeros(len(self.mean)), np.zeros(len(self.mean))
        for tile in tiles:
            scene = tile.scene()
            mask = base.mask(scene)
            ground = mask & spread(tile.target, tile.factor)  # of the training split alone
            seen = self._channels(scene, mask)[:, ground].astype(np.float64)
            count, total, squares = count + seen.shape[1], total + seen.sum(1), squares + (seen**2).sum(1)
        mean = total / max(count, 1)
        std = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0.0))
        std = np.where(std > 1e-3, std, 1.0)
        plain = self.plain() | {"mean": mean.tolist(), "std": std.tolist()}
        return Inputs.from_json(plain)

    def auxiliary(self, scene: Scene, mask: Bools) -> Floats:
        """(channels, time, H, W): standardised covariates and the mask blurred by one cell."""
        shape = (-1, 1, 1, 1)
        mean, std = np.reshape(self.mean, shape), np.reshape(self.std, shape)
        return np.clip((self._channels(scene, mask) - mean) / std, -CLIP, CLIP).astype(np.float32)

    def main(self, base: Masses) -> Floats:
        """(sectors, time, H, W): the base as log(1 + density / mean density); 0 outside the mask."""
        return np.log1p(base / np.reshape(self.density, (-1, 1, 1, 1))).astype(np.float32)

    def _channels(self, scene: Scene, mask: Bools) -> Floats:
        chosen = scene.covariates[list(self.layers)] / np.reshape(self.medians, (-1, 1, 1, 1))
        scaled = np.sign(chosen) * np.log1p(np.abs(chosen))  # below zero too: temperatures, depths
        return np.concatenate([scaled, blurred(mask)[None]]).astype(np.float32)

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        names = ("layers", "medians", "mean", "std", "density")
        return {name: list(getattr(self, name)) for name in names}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Inputs":
        """The inverse of plain()."""
        return cls(**{name: tuple(values) for name, values in plain.items()})


def blurred(mask: Bools) -> NDArray[np.float32]:
    """Share of the 3 x 3 neighbourhood that the mask allows; edges repeat."""
    rim = [(0, 0)] * (mask.ndim - 2) + [(1, 1), (1, 1)]
    wide = np.pad(mask.astype(np.float32), rim, mode="edge")
    rows, cols = mask.shape[-2:]
    shifted = [wide[..., r : r + rows, c : c + cols] for r in range(3) for c in range(3)]
    return np.mean(shifted, axis=0, dtype=np.float32)
