"""The frequency constraint: slow waves from the coarse field, fast ones from the estimate."""

from functools import cache
from math import pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


def constrain_frequencies(
    estimate: Tensor, coarse: Tensor, side: int, softness: float = 0.5, years_cut: float | None = None
) -> Tensor:
    """Replaces what the totals know, waves longer than two blocks, by the coarse field's.

    Why before projection: projection moves whole blocks; where the slow waves already agree with the totals it
    moves them little, and less of the coarse grid's staircase is left. Computed in float32 at least. May be negative.

    Args:
      estimate, coarse: (B, C, T, H, W); coarse repeats each block's value over its cells.
      side: fine cells along a block; the cut-off is the coarse grid's Nyquist, 1 / (2 side) cycles per cell,
        which is 6 cycles in 120 cells for 10.
      softness: width of the transition from one field to the other, in cut-offs; 0 is an ideal mask.
      years_cut: cycles per year where time is cut as well; None leaves each year alone (2D).
    """
    with torch.autocast(estimate.device.type, enabled=False):
        difference = (coarse - estimate).float() if estimate.dtype != torch.float64 else coarse - estimate
        rows, cols = estimate.shape[-2:]
        # Why reflected: a window is no torus, and its opposite edges do not meet.
        down, across = min(side, rows - 1), min(side, cols - 1)
        flat = functional.pad(difference.flatten(0, 1), (across, across, down, down), mode="reflect")
        axes = (-2, -1) if years_cut is None else (-3, -2, -1)
        waves = torch.fft.rfftn(flat, dim=axes)
        shape = tuple(map(int, flat.shape[-3:]))
        mask = torch.from_numpy(_mask(shape, 1 / (2 * side), softness, years_cut)).to(flat)
        slow = torch.fft.irfftn(waves * mask, s=[flat.shape[axis] for axis in axes], dim=axes)
        slow = slow[..., down : down + rows, across : across + cols].reshape(estimate.shape)
    return estimate + slow.to(estimate.dtype)


@cache
def _mask(
    shape: tuple[int, ...], cut: float, softness: float, years_cut: float | None
) -> NDArray[np.float64]:
    """Made once for windows of a size; numbers, not a tensor, which would remember the mode it was made in."""
    return np.asarray(low_pass(torch.Size(shape), cut, softness, years_cut).double().numpy())


def low_pass(shape: torch.Size, cut: float, softness: float, years_cut: float | None = None) -> Tensor:
    """1 for waves slower than the cut-off, 0 for faster ones, half a cosine between.

    Args:
      shape: years, rows, cols.
      cut: cycles per cell; years_cut: cycles per year, or None.
    Returns: (years, rows, cols // 2 + 1) for a real transform, one year when years_cut is None; float64.
    """
    years, rows, cols = shape
    down = torch.fft.fftfreq(rows, dtype=torch.float64)[:, None] / cut
    across = torch.fft.rfftfreq(cols, dtype=torch.float64) / cut
    square = (down**2 + across**2)[None]
    if years_cut is not None:
        square = square + (torch.fft.fftfreq(years, dtype=torch.float64)[:, None, None] / years_cut) ** 2
    radius = square.sqrt()
    if softness == 0:
        return (radius <= 1).double()
    place = ((radius - 1) / softness + 0.5).clamp(0, 1)
    return 0.5 * (1 + torch.cos(pi * place))
