"""The network of DSTCarbonFormer in full, in both published forms; what each part does is in a file of its own.

auxiliary --stem, many scales--+------------+---------(fusion)
                               | SFT        | SFT      |
main ------stem, many scales---*--residual--*--experts-+--attention--years--scan--tail--> residual

raw = max(main + residual, 0), then the frequency constraint, then max(., 0) again.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.layers.attention import ChannelAttention, GlobalContext
from model.layers.blocks import Years
from model.layers.context import Context, Valley
from model.layers.convolutions import ManyScales, Pointwise, Residual, Separable
from model.layers.coordinates import CHANNELS, with_coordinates
from model.layers.experts import Experts, Routing
from model.layers.frequency import constrain_frequencies
from model.layers.fusion import GatedFusion, Sft
from model.layers.init import draw_weights
from model.layers.kernels.depthwise import LAST
from model.layers.zero_head import ZeroHead


@dataclass(frozen=True)
class Form:
    """Which parts a network has.

    Attributes:
      experts, chosen: how many there are and work at a place; 0 leaves the mixture out.
      pool: fine cells along a place of the scan; levels: sizes it is read at, more than one makes a valley,
        0 leaves the scan out.
      sft: whether the auxiliary stream scales and shifts the main one, at two depths.
      fusion: whether it is also let in through a gate.
      attention: channel (mean and maximum), context (one vector for all places), or none.
      frequency: whether slow waves are taken from the totals shown; softness: see the constraint.
      years_cut: cycles per year above which time is no slow wave either; None leaves each year alone.
      exact_zero: a gate beside the residual, which may shut.
      coordinates: whether the network is told where in the window a cell lies.
    """

    experts: int = 3
    chosen: int = 1
    pool: int = 4
    levels: int = 1
    sft: bool = True
    fusion: bool = False
    attention: str = "channel"
    frequency: bool = True
    softness: float = 0.5
    years_cut: float | None = None
    exact_zero: bool = False
    coordinates: bool = False


V1_7 = Form()
V3_0 = Form(experts=4, chosen=2, pool=2, frequency=False)


class CarbonFormer(nn.Module):
    """Auxiliary and main stream in, the estimate on the main stream's own scale out.

    Args:
      auxiliary: number of covariates; sectors: channels of the main stream and of the estimate.
      width: channels inside, a multiple of 4 (published: 64).
    """

    def __init__(self, auxiliary: int, sectors: int, form: Form, width: int = 64) -> None:
        super().__init__()
        self.form = form
        auxiliary += CHANNELS if form.coordinates else 0
        self.auxiliary_stem = nn.Sequential(Separable(auxiliary, width), nn.ReLU(), ManyScales(width))
        self.main_stem = nn.Sequential(Separable(sectors, width), nn.ReLU(), ManyScales(width))
        self.first_sft = Sft(width) if form.sft else None
        self.body = Residual(width)
        self.second_sft = Sft(width) if form.sft else None
        self.experts = Experts(width, form.experts, form.chosen) if form.experts else None
        self.fusion = GatedFusion(width) if form.fusion else None
        kinds: dict[str, Any] = {"channel": ChannelAttention, "context": GlobalContext, "none": None}
        kind = kinds[form.attention]
        self.attention = kind(width) if kind else None
        self.years = Years(width)
        self.scan = _scan(width, form)
        self.look = Separable(width, width)
        self.tail = Pointwise(width, sectors)
        self.zero = ZeroHead(width, sectors) if form.exact_zero else None

    def forward(self, auxiliary: Tensor, main: Tensor, side: int) -> tuple[Tensor, Routing | None]:
        """The estimate >= 0 and which experts worked where.

        Args:
          auxiliary: (B, A, T, H, W); main: (B, sectors, T, H, W) the totals shown, repeated over their cells.
          side: fine cells along a total shown.
        """
        features, routing = self.features(auxiliary, main)
        residual = self.tail(features)
        if self.zero is not None:
            raw = self.zero(features) * functional.relu(main + residual)
        else:
            raw = functional.relu(main + residual)
        if self.form.frequency:
            # Why cut at zero again: waves swing below it.
            raw = functional.relu(
                constrain_frequencies(raw, main, side, self.form.softness, self.form.years_cut)
            )
        return raw, routing

    def features(self, auxiliary: Tensor, main: Tensor) -> tuple[Tensor, Routing | None]:
        """(B, width, T, H, W) all that is known of a place before it is said.

        Args:
          auxiliary: (B, A, T, H, W), the covariates; main: (B, sectors, T, H, W), the totals shown, spread over
            their cells.
        Returns: also which experts worked where; None in a form without experts.
        """
        if self.form.coordinates:
            auxiliary = with_coordinates(auxiliary)
        seen = self.auxiliary_stem(auxiliary.contiguous(memory_format=LAST))
        stream = self.main_stem(main.contiguous(memory_format=LAST))
        if self.first_sft is not None:
            stream = self.first_sft(stream, seen)
        stream = self.body(stream)
        if self.second_sft is not None:
            stream = self.second_sft(stream, seen)
        routing = None
        if self.experts is not None:
            stream, routing = self.experts(stream)
        if self.fusion is not None:
            stream = self.fusion(stream, seen)
        if self.attention is not None:
            stream = self.attention(stream)
        stream = self.years(stream)
        if self.scan is not None:
            stream = self.scan(stream)
        return functional.relu(self.look(stream)), routing

    def start(self, generator: torch.Generator) -> None:
        """Draws the first weights; the tail is zero, so that the untrained network repeats the main stream.

        Modulation and context are silenced again and the zero gate opened, since the draw overwrote their starts.
        The generator alone decides the weights, whatever else drew before.
        """
        draw_weights(self, generator)
        for module in self.modules():
            if isinstance(module, Sft | GlobalContext):
                module.silence()
        for weight in self.tail.parameters():
            nn.init.zeros_(weight)
        if self.zero is not None:
            self.zero.open()


def _scan(width: int, form: Form) -> nn.Module | None:
    if form.levels == 0:
        return None
    return Context(width, form.pool) if form.levels == 1 else Valley(width, form.pool, form.levels)
