"""The physics layer: whatever a network says, each total it was shown is met, by water-filling inside its block."""

from torch import Tensor

from model.conservation.torch_layer import project
from model.ground.blocks import from_blocks, to_blocks


def water_fill_blocks(raw: Tensor, totals: Tensor, known: Tensor, valid: Tensor, side: int) -> Tensor:
    """Shifts each block whose total is known until it meets it, never below zero; differentiable in raw.

    Args:
      raw: (..., H, W) estimate >= 0, mass per cell.
      totals, known: (..., H/side, W/side) mass per block, and whether it is known.
      valid: (..., H, W) True = the cell may receive mass.
    Returns: (..., H, W); 0 outside valid. A block whose total is not known, or without a valid cell, stays raw.
    """
    raw = raw * valid
    blocks, support = to_blocks(raw, side), to_blocks(valid, side)
    cells, inside = blocks.reshape(-1, side * side), support.reshape(-1, side * side)
    usable = known.flatten() & inside.any(1)
    met = project(cells[usable], totals.flatten()[usable], inside[usable])
    placed = cells.index_put((usable.nonzero()[:, 0],), met).reshape(blocks.shape)
    return from_blocks(placed, totals.shape[-2], totals.shape[-1], side)
