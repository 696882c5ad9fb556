"""The physics layer: whatever a network says, each total it was shown is met, by water-filling inside its block."""

import torch
from torch import Tensor

from model.conservation.torch_layer import project


def meet_shown(raw: Tensor, totals: Tensor, known: Tensor, valid: Tensor, side: int) -> Tensor:
    """Shifts each block whose total is known until it meets it, never below zero; differentiable in raw.

    Args:
      raw: (..., H, W) estimate >= 0, mass per cell.
      totals, known: (..., H/side, W/side) mass per block, and whether it is known.
      valid: (..., H, W) True = the cell may receive mass.
    Returns: (..., H, W); 0 outside valid. A block whose total is not known, or without a valid cell, stays raw.
    """
    raw = raw * valid
    blocks, support = _blocks(raw, side), _blocks(valid, side)
    usable = known.flatten() & support.any(1)
    met = project(blocks[usable], totals.flatten()[usable], support[usable])
    placed = blocks.index_put((usable.nonzero()[:, 0],), met)
    rows, cols = raw.shape[-2] // side, raw.shape[-1] // side
    return placed.reshape(-1, rows, cols, side, side).transpose(2, 3).reshape(raw.shape)


def _blocks(values: Tensor, side: int) -> Tensor:
    """(..., H, W) -> (blocks, side * side)."""
    rows, cols = values.shape[-2] // side, values.shape[-1] // side
    parts = values.reshape(-1, rows, side, cols, side).transpose(2, 3)
    return parts.reshape(-1, side * side)


def block_sums(values: Tensor, side: int) -> Tensor:
    """(..., H, W) -> (..., H/side, W/side)."""
    rows, cols = values.shape[-2] // side, values.shape[-1] // side
    return torch.sum(values.reshape(*values.shape[:-2], rows, side, cols, side), dim=(-3, -1))
