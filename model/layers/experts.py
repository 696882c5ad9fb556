"""Mixture of experts: every place is worked on by the few experts its gate chooses (Shazeer et al. 2017)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Routing:
    """Who worked where.

    Attributes:
      balance: scalar; 1 when all experts share the places evenly, up to their number when one takes all
        (Fedus et al. 2021); to be added to the loss with a small weight.
      usage: (experts,) share of places each took part in; sums to the number chosen.
      where: (B, T, H, W) the first choice of each place.
    """

    balance: Tensor
    usage: Tensor
    where: Tensor


class Experts(nn.Module):
    """x + the weighted answers of the chosen experts, two pointwise layers with SiLU each.

    Args:
      channels: C of (B, C, T, H, W).
      count: of experts.
      chosen: at each place. Weights are the softmax over the chosen; of a single one its probability among all,
        since the softmax over one is 1 and would teach the gate nothing.
    """

    def __init__(self, channels: int, count: int, chosen: int) -> None:
        super().__init__()
        self.count, self.chosen = count, chosen
        self.gate = nn.Linear(channels, count)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, channels))
            for _ in range(count)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
        """(B, C, T, H, W) -> same shape, and who worked where. Only chosen experts are computed.

        Each expert sees only the places that chose it, gathered as rows, and its answers are added back by index.
        The gate's logits are taken to float32 before the softmax.
        """
        last = x.movedim(1, -1)
        places = last.reshape(-1, x.shape[1])
        logits = self.gate(places).float()
        likely = logits.softmax(-1)
        best, index = logits.topk(self.chosen, dim=-1)
        weights = best.softmax(-1) if self.chosen > 1 else likely.gather(1, index)
        answer = torch.zeros_like(places)
        for number, expert in enumerate(self.experts):
            rows, slot = (index == number).nonzero(as_tuple=True)
            said = expert(places[rows]) * weights[rows, slot, None].to(places.dtype)
            answer = answer.index_add(0, rows, said)
        first = index[:, 0]
        took = torch.bincount(first, minlength=self.count) / len(first)
        usage = torch.bincount(index.flatten(), minlength=self.count) / len(first)
        balance = self.count * (took * likely.mean(0)).sum()
        return x + answer.reshape(last.shape).movedim(-1, 1), Routing(
            balance, usage, first.reshape(last.shape[:-1])
        )
