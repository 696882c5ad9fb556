"""A head that can say exactly nothing, so that parks and water receive none."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.layers.convolutions import Pointwise

STRETCH = 0.1  # the sigmoid is stretched to (-0.1, 1.1) and cut to [0, 1] (Louizos et al. 2018)


class ZeroHead(nn.Module):
    """gate x magnitude: (B, C, T, H, W) features -> (B, outputs, T, H, W), >= 0 and often exactly 0.

    The gate starts open at 0.9, so that every cell can learn before some close.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.gate = Pointwise(channels, outputs)
        self.magnitude = Pointwise(channels, outputs)
        self.open()

    def open(self) -> None:
        """Sets the gate to 0.9 everywhere.

        Weights become 0 and the bias 1.6: sigmoid(1.6) = 0.832, stretched to 1.2 x 0.832 - 0.1 = 0.898.
        """
        nn.init.zeros_(self.gate.linear.weight)
        nn.init.constant_(self.gate.linear.bias, 1.6)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(x)) * (1 + 2 * STRETCH) - STRETCH
        return gate.clamp(0, 1) * functional.softplus(self.magnitude(x))
