"""First weights, drawn from a generator alone, so that a seed says everything about them."""

import torch
from torch import nn

from model.layers.context import Direction
from model.layers.kernels.depthwise import Depthwise

DRAWN = (Depthwise, nn.Conv1d, nn.Conv2d, nn.Linear)


def draw_weights(network: nn.Module, generator: torch.Generator) -> None:
    """Kaiming's uniform draw for every convolution and linear map, zero for their biases; steps for every scan."""
    for module in network.modules():
        if isinstance(module, DRAWN):
            nn.init.kaiming_uniform_(module.weight, a=5**0.5, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, Direction):
            module.start_steps(generator)
