"""Two ways in which the auxiliary stream bends the main one: by scale and shift, and through a gate."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.layers.convolutions import Pointwise
from model.layers.kernels.depthwise import Depthwise


class Sft(nn.Module):
    """out = main (1 + scale) + shift, both read off the auxiliary stream (Wang et al. 2018).

    Both streams (B, C, T, H, W). The last map starts at zero, so at first the main stream passes unchanged.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.look = Depthwise(channels)
        self.mix = Pointwise(channels, channels)
        self.tell = Pointwise(channels, 2 * channels)
        self.silence()

    def silence(self) -> None:
        """Lets the main stream pass unchanged.

        Scale and shift are 0 then; called again after all weights were drawn, which would overwrite them.
        """
        for weight in self.tell.parameters():
            nn.init.zeros_(weight)

    def forward(self, main: Tensor, auxiliary: Tensor) -> Tensor:
        seen = functional.leaky_relu(self.mix(self.look(auxiliary)), 0.1)
        scale, shift = self.tell(seen).chunk(2, dim=1)
        return torch.addcmul(main + shift, main, scale)


class GatedFusion(nn.Module):
    """g main + (1 - g) auxiliary with a gate g in (0, 1) for every channel and place: (B, C, T, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = Pointwise(2 * channels, channels)

    def forward(self, main: Tensor, auxiliary: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(torch.cat([main, auxiliary], dim=1)))
        return torch.lerp(auxiliary, main, gate)
