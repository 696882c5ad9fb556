"""SRResNet's generator and SRGAN's discriminator (Ledig et al. 2017), for one channel and any whole factor."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def primes(factor: int) -> tuple[int, ...]:
    """Prime factors, smallest first: 100 -> 2, 2, 5, 5.

    Their product is the factor, so a sub-pixel step for each reaches it; 1 has none.
    """
    found, rest, divisor = [], factor, 2
    while rest > 1:
        while rest % divisor == 0:
            found.append(divisor)
            rest //= divisor
        divisor += 1
    return tuple(found)


def _convolution(inputs: int, outputs: int, size: int) -> nn.Conv2d:
    """Edges repeat: the border of a window is no wall of zeros."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, padding_mode="replicate")


class Residual(nn.Module):
    """conv3, batch norm, PReLU, conv3, batch norm; added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(width, width, 3), nn.BatchNorm2d(width), nn.PReLU(),
            _convolution(width, width, 3), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Generator(nn.Module):
    """Coarse field in, fine field out, never below 0.

    9 x 9 head, residual blocks, a long skip, one sub-pixel step for each prime of the factor (Shi et al. 2016),
    9 x 9 tail. Other than in the paper the input, interpolated, is added before the last ReLU: with the months or
    hours of one region to learn from, the network need only learn what interpolation misses.

    Args:
      inputs: channels; the first is the field itself.
      factor: fine cells along a coarse cell.
    """

    def __init__(self, inputs: int, factor: int, width: int, blocks: int) -> None:
        super().__init__()
        self.factor = factor
        self.head = nn.Sequential(_convolution(inputs, width, 9), nn.PReLU())
        self.body = nn.Sequential(
            *(Residual(width) for _ in range(blocks)), _convolution(width, width, 3), nn.BatchNorm2d(width)
        )
        steps: list[nn.Module] = []
        for prime in primes(factor):
            steps += [_convolution(width, width * prime**2, 3), nn.PixelShuffle(prime), nn.PReLU()]
        self.rise = nn.Sequential(*steps)
        self.tail = _convolution(width, 1, 9)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, 1, h * factor, w * factor).

        Returns: 0 or more, in the scale of x, whose first channel is interpolated bilinearly and added before the
          cut at zero.
        """
        seen = self.head(x)
        raised = self.tail(self.rise(seen + self.body(seen)))
        # Not align_corners: a coarse value stands at the middle of its cell.
        plain = functional.interpolate(
            x[:, :1], scale_factor=self.factor, mode="bilinear", align_corners=False
        )
        return functional.relu(plain + raised)

    def start(self, generator: torch.Generator) -> None:
        """Draws the first weights; the tail is zero, so that the untrained network interpolates."""
        draw_weights(self, generator)
        nn.init.zeros_(self.tail.weight)


class Discriminator(nn.Module):
    """Says whether a fine field is a true one: a logit, above 0 for true.

    3 x 3 convolutions, stride 2 on every other, channels doubling, LeakyReLU 0.2, pooled to 6 x 6, dense 1024.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        inputs = 1
        for step in range(8):
            outputs = width * 2 ** (step // 2)
            parts.append(nn.Conv2d(inputs, outputs, 3, stride=1 + step % 2, padding=1))
            parts += [nn.BatchNorm2d(outputs)] if step else []
            parts.append(nn.LeakyReLU(0.2))
            inputs = outputs
        self.body = nn.Sequential(*parts)
        self.judge = nn.Sequential(
            nn.AdaptiveAvgPool2d(6),
            nn.Flatten(),
            nn.Linear(inputs * 36, 1024),
            nn.LeakyReLU(0.2),
            nn.Linear(1024, 1),
        )

    def forward(self, fine: Tensor) -> Tensor:
        """(N, 1, H, W) -> (N,).

        Pooling to 6 x 6 lets windows of any size in. No sigmoid is applied.
        """
        return self.judge(self.body(fine)).squeeze(1)

    def start(self, generator: torch.Generator) -> None:
        """Draws the first weights."""
        draw_weights(self, generator)


def draw_weights(network: nn.Module, generator: torch.Generator) -> None:
    """Kaiming weights from a generator, whatever else drew before; biases 0.

    He et al. 2015 with a = 0.25, the slope at which PReLU starts. Batch norms keep their scale of 1.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, a=0.25, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
