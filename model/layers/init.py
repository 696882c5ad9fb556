"""First weights, drawn from a generator alone, so that a seed says everything about them."""

import torch
from torch import nn

from model.layers.context import Direction
from model.layers.kernels.depthwise import Depthwise

DRAWN = (Depthwise, nn.Conv1d, nn.Conv2d, nn.Linear)


def draw_weights(network: nn.Module, generator: torch.Generator) -> None:
    """Kaiming's uniform draw for every convolution and linear map, zero for their biases; steps for every scan.

    Bounds are those of torch's own default, 1 / sqrt(fan in) (He et al. 2015, a = sqrt 5). Modules are visited in
    the order they were registered, so the same network and generator state always give the same weights. Steps
    are drawn last.
    """
    for module in network.modules():
        if isinstance(module, DRAWN):
            nn.init.kaiming_uniform_(module.weight, a=5**0.5, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, Direction):
            module.start_steps(generator)
