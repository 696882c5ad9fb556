"""How far a fine layer seems to lie beside the totals it should explain, by phase correlation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import spread

Array = NDArray[np.float64]

FEWEST = 12  # blocks along a side below which nothing can be told


@dataclass(frozen=True)
class Shift:
    """Where the layer fits the totals best.

    Attributes:
      down, across: how far the layer lies south and east of there, in blocks.
      strength: height of the peak over the rest of the correlation, in standard deviations.
    """

    down: float
    across: float
    strength: float

    @property
    def size(self) -> float:
        return max(abs(self.down), abs(self.across))


def shift_between(layer: Array, totals: Array, factor: int) -> Shift | None:
    """Phase correlation within the frequencies that the totals can tell (Kuglin and Hines 1975).

    A layer whose blocks fit where they are has its peak at zero: its cells lie evenly around the middles of their
    blocks. Amplitudes are set to one, so that no single city decides; roots are taken for the same reason.

    Args:
      layer: (h * factor, w * factor), without NaN; totals: (h, w) of the same ground.
    Returns: None when the ground is too small, or one of them is the same everywhere.
    """
    if min(totals.shape) < FEWEST or np.ptp(layer) == 0 or np.ptp(totals) == 0:
        return None
    one = _spectrum(layer)
    other = _spectrum(spread(totals, factor))
    cross = one * np.conj(other)
    size = np.abs(cross)
    told = _below(layer.shape, factor) & (size > 1e-12 * size.max())
    phases = np.where(told, cross / np.where(size > 0, size, 1.0), 0.0)
    surface = np.abs(np.fft.ifft2(phases).real)
    row, col = divmod(int(np.argmax(surface)), surface.shape[1])
    near = _distance(surface.shape, row, col) <= 2 * factor
    rest = surface[~near]
    if rest.size == 0 or rest.std() == 0:
        return None
    strength = (surface[row, col] - rest.mean()) / rest.std()
    return Shift(
        _signed(row, surface.shape[0]) / factor, _signed(col, surface.shape[1]) / factor, float(strength)
    )


def _spectrum(values: Array) -> NDArray[np.complex128]:
    """Of the roots of the values about their mean, faded out towards the edges."""
    roots = np.sign(values) * np.sqrt(np.abs(values))
    window = np.outer(np.hanning(values.shape[0] + 2)[1:-1], np.hanning(values.shape[1] + 2)[1:-1])
    return np.asarray(np.fft.fft2((roots - roots.mean()) * window))


def _below(shape: tuple[int, ...], factor: int) -> NDArray[np.bool_]:
    """Frequencies that the blocks can carry, without the mean."""
    down, across = np.abs(np.fft.fftfreq(shape[0])), np.abs(np.fft.fftfreq(shape[1]))
    limit = 0.5 / factor
    kept = (down[:, None] < limit) & (across[None, :] < limit)
    kept[0, 0] = False
    return kept


def _distance(shape: tuple[int, ...], row: int, col: int) -> NDArray[np.int64]:
    """Cells from a place along the longer axis, on a surface whose edges meet."""
    down, across = np.abs(np.arange(shape[0]) - row), np.abs(np.arange(shape[1]) - col)
    down, across = np.minimum(down, shape[0] - down), np.minimum(across, shape[1] - across)
    return np.asarray(np.maximum(down[:, None], across[None, :]))


def _signed(index: int, count: int) -> int:
    return index - count if index > count // 2 else index
