"""The network of DSTCarbonFormer in compact form: covariates modulate what the smooth base says."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.layers.blocks import Dilated, Modulation, MultiScale, Spatial, Years
from model.layers.context import Context
from model.layers.init import draw_weights


class DualStream(nn.Module):
    """Auxiliary and main stream in, the logarithm of a factor on the base out.

    Args:
      auxiliary, main: number of input channels of each stream.
      outputs: sectors.
      width: channels inside.
      pool: fine cells along a place of the scan.
    """

    reach = 16  # fine cells it sees clearly each way; the scan looks on, blurred

    def __init__(self, auxiliary: int, main: int, outputs: int, width: int = 24, pool: int = 8) -> None:
        super().__init__()
        self.auxiliary_head = Spatial(auxiliary, width)
        self.auxiliary_body = Dilated(width)
        self.main_head = Spatial(main, width)
        self.main_body = MultiScale(width)
        self.modulation = Modulation(width)
        self.years = Years(width)
        self.context = Context(width, pool)
        self.tail = Spatial(width + auxiliary, 2 * width)
        self.head = Spatial(2 * width, outputs)

    def forward(self, auxiliary: Tensor, main: Tensor) -> Tensor:
        """auxiliary (B, A, T, H, W), main (B, M, T, H, W) -> (B, outputs, T, H, W).

        Returns: the logarithm of a factor on the base, of any sign; 0 leaves the base as it is. The covariates
          enter the tail once more as they are, past all blurring.
        """
        # Why two layouts: on a CPU, dense convolutions run twice as fast with channels last, depthwise ones
        # on a few channels several times slower.
        auxiliary = auxiliary.contiguous(memory_format=torch.channels_last_3d)
        seen = self.auxiliary_body(self.auxiliary_head(auxiliary))
        stream = self.main_body(functional.silu(self.main_head(main.contiguous())))
        stream = stream.contiguous(memory_format=torch.channels_last_3d)
        stream = self.context(self.years(self.modulation(stream, seen)))
        return self.head(functional.silu(self.tail(torch.cat([stream, auxiliary], dim=1))))

    def start(self, generator: torch.Generator) -> None:
        """Draws the first weights; the head is zero, so that the untrained network changes nothing.

        The modulation's last map is zero as well, as its own constructor left it before the draw.
        """
        draw_weights(self, generator)
        for silent in (self.modulation.tell, self.head):
            nn.init.zeros_(silent.convolution.weight)
