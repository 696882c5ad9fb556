"""Where a cell lies in its window, as two more layers; off by default, since a network may learn places by heart."""

import torch
from torch import Tensor

CHANNELS = 2


def with_coordinates(auxiliary: Tensor) -> Tensor:
    """(B, A, T, H, W) -> (B, A + 2, T, H, W): row and column, each from 0 to 1 across the window.

    Both new layers are the same for every sample and year, in the precision and on the device of auxiliary. They
    tell the place in the window, not on the map: the same ground has other coordinates in another window.
    """
    rows, cols = auxiliary.shape[-2:]
    down = torch.linspace(0, 1, rows).to(auxiliary)[:, None].expand(rows, cols)
    across = torch.linspace(0, 1, cols).to(auxiliary)[None].expand(rows, cols)
    place = torch.stack([down, across])[None, :, None].expand(len(auxiliary), -1, auxiliary.shape[2], -1, -1)
    return torch.cat([auxiliary, place], dim=1)
