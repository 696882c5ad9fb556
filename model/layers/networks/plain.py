"""The small network: dilated convolutions over the covariates alone."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.layers.blocks import Dilated, Spatial
from model.layers.init import draw_weights


class Plain(nn.Module):
    """Auxiliary stream in, the logarithm of a factor on the base out; the main stream is not looked at.

    Why blind to the base: it carries the totals already. On totals that were not shown, a network that reads
    them too looks better than it is inside a block.

    Args:
      inputs: auxiliary channels.
      outputs: sectors.
      width: channels inside.
    """

    reach = 8  # fine cells it sees each way, rounded up
    layout = torch.channels_last_3d  # in memory: twice as fast on a CPU

    def __init__(self, inputs: int, outputs: int, width: int = 24) -> None:
        super().__init__()
        self.enter = Spatial(inputs, width)
        self.body = Dilated(width)
        self.tail = Spatial(width + inputs, 2 * width)
        self.head = Spatial(2 * width, outputs)

    def forward(self, auxiliary: Tensor, main: Tensor) -> Tensor:
        """auxiliary (B, A, T, H, W) -> (B, outputs, T, H, W).

        `main` is taken so that all networks are called alike; it is not read. 0 leaves the base as it is.
        """
        auxiliary = auxiliary.contiguous(memory_format=self.layout)
        seen = self.body(self.enter(auxiliary))
        return self.head(functional.silu(self.tail(torch.cat([seen, auxiliary], dim=1))))

    def start(self, generator: torch.Generator) -> None:
        """Draws the first weights; the head is zero, so that the untrained network changes nothing."""
        draw_weights(self, generator)
        nn.init.zeros_(self.head.convolution.weight)
