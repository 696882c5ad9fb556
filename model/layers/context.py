"""Context from far away: a bidirectional selective scan over the pooled field of all years."""

from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.layers.kernels.scan import selective_scan

STATE = 16
KERNEL = 4  # reach of the causal convolution, in places along the sequence


class Direction(nn.Module):
    """One reading of the sequence: causal depthwise convolution, then the scan with its own step, B and C."""

    def __init__(self, width: int, state: int = STATE) -> None:
        super().__init__()
        self.rank = max(1, width // 16)
        self.state = state
        self.convolution = nn.Conv1d(width, width, KERNEL, groups=width)
        self.select = nn.Linear(width, self.rank + 2 * state, bias=False)
        self.step = nn.Linear(self.rank, width)
        # S4D-real start: each channel holds memories that fade at rates 1 to N.
        rates = torch.arange(1, state + 1, dtype=torch.float32).repeat(width, 1)
        self.log_decay = nn.Parameter(rates.log())
        self.skip = nn.Parameter(torch.ones(width))

    def start_steps(self, generator: torch.Generator) -> None:
        """Draws the first steps log-uniformly from 0.001 to 0.1, as the published block does.

        The bias is the inverse of softplus at the drawn step, s + log(1 - exp(-s)), so that softplus gives it
        back (Gu and Dao 2023). A step sets how fast a channel forgets: exp(-step x rate).
        """
        draw = torch.rand(self.step.bias.shape, generator=generator)
        first = torch.exp(draw * (log(0.1) - log(0.001)) + log(0.001))
        with torch.no_grad():
            self.step.bias.copy_(first + torch.log(-torch.expm1(-first)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D); a place sees itself and what came before it.

        Why padded in front alone: the convolution then reaches KERNEL - 1 places back and none ahead. What comes
        later is left to the second direction of Context, which reads the sequence reversed.
        """
        padded = functional.pad(x.transpose(1, 2), (KERNEL - 1, 0))
        x = functional.silu(self.convolution(padded)).transpose(1, 2)
        rank, into, out = self.select(x).split([self.rank, self.state, self.state], dim=-1)
        step = functional.softplus(self.step(rank))
        return selective_scan(x, step, -self.log_decay.exp(), into, out, self.skip)


class Context(nn.Module):
    """Pools space, reads (time, rows, columns) as one sequence both ways, and adds what it found."""

    def __init__(self, channels: int, pool: int) -> None:
        super().__init__()
        self.pool = pool
        self.norm = nn.LayerNorm(channels)
        self.enter = nn.Linear(channels, 4 * channels)
        self.forwards = Direction(2 * channels)
        self.backwards = Direction(2 * channels)
        self.leave = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> same shape; H and W need not be multiples of the pooling.

        The found field is widened bilinearly and cut to H and W, then added: the block is a residual.
        """
        return x + widened(self.read(pooled(x, self.pool)), self.pool, x.shape)

    def read(self, x: Tensor) -> Tensor:
        """(B, C, T, h, w) -> what both readings of the whole field find at each place, same shape.

        Time is the slowest index of the sequence, so the years before a place come before it. Both directions
        share the way in, the gate and the way out; their answers are added.
        """
        tokens = x.movedim(1, -1).flatten(1, -2)
        main, gate = self.enter(self.norm(tokens)).chunk(2, dim=-1)
        read = self.forwards(main) + self.backwards(main.flip(1)).flip(1)
        found: Tensor = self.leave(read * functional.silu(gate))
        return found.reshape(*x.movedim(1, -1).shape).movedim(-1, 1)


class Valley(nn.Module):
    """The same reading at several sizes: down to the coarsest, and up again with what was found there.

    Args:
      channels: C of (B, C, T, H, W).
      pool: fine cells along a place at the finest size.
      levels: sizes, each half of the one before.
    """

    def __init__(self, channels: int, pool: int, levels: int = 3) -> None:
        super().__init__()
        self.pool = pool
        self.readers = nn.ModuleList(Context(channels, pool) for _ in range(levels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> same shape.

        Each finer size reads its own places plus what the coarser ones found, so far ground reaches a place in
        few steps; the finest result is widened and added to x.
        """
        sizes = [pooled(x, self.pool)]
        for _ in self.readers[1:]:
            sizes.append(pooled(sizes[-1], 2))
        found = torch.zeros_like(sizes[-1])
        reader: Any
        for reader, seen in zip(reversed(self.readers), reversed(sizes), strict=True):
            if found.shape != seen.shape:
                found = widened(found, 2, seen.shape)
            found = found + reader.read(seen + found)
        return x + widened(found, self.pool, x.shape)


def pooled(x: Tensor, pool: int) -> Tensor:
    """Means over pool x pool cells of each year: (B, C, T, H, W) -> (B, C, T, h, w); edges repeat.

    Args:
      x: (B, C, T, H, W); the last row and column repeat until H and W are multiples of pool.
      pool: cells along a place.
    Returns: h = ceil(H / pool), w = ceil(W / pool).
    """
    flat = x.transpose(1, 2).flatten(0, 1)
    right, below = -x.shape[-1] % pool, -x.shape[-2] % pool
    small = functional.avg_pool2d(functional.pad(flat, (0, right, 0, below), mode="replicate"), pool)
    return small.reshape(len(x), -1, *small.shape[1:]).transpose(1, 2)


def widened(x: Tensor, pool: int, shape: torch.Size) -> Tensor:
    """The way back to (B, C, T, H, W), bilinear.

    Args:
      x: (B, C, T, h, w); each place becomes pool x pool cells, whose values are read at their own middles.
      shape: of the field that was pooled; rows and columns beyond it, which were padding, are cut off.
    """
    flat = x.transpose(1, 2).flatten(0, 1)
    size = (x.shape[-2] * pool, x.shape[-1] * pool)
    wide = functional.interpolate(flat, size=size, mode="bilinear", align_corners=False)
    wide = wide[..., : shape[-2], : shape[-1]]
    return wide.reshape(len(x), -1, *wide.shape[1:]).transpose(1, 2)
