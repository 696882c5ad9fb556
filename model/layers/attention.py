"""What matters in the whole window: attention over channels, and one context vector for all places."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ChannelAttention(nn.Module):
    """Scales each channel by what its mean and its maximum over the window say (Woo et al. 2018).

    (B, C, T, H, W) -> same shape; the factor lies in (0, 1).
    """

    def __init__(self, channels: int, squeeze: int = 4) -> None:
        super().__init__()
        inner = max(1, channels // squeeze)
        self.judge = nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels))

    def forward(self, x: Tensor) -> Tensor:
        mean, top = x.mean((2, 3, 4)), x.amax((2, 3, 4))
        factor = torch.sigmoid(self.judge(mean) + self.judge(top))
        return x * factor[:, :, None, None, None]


class GlobalContext(nn.Module):
    """Adds to every place one vector, the mean over places weighted by attention (Cao et al. 2019).

    (B, C, T, H, W) -> same shape. Linear in the number of places. The last map starts at zero.
    """

    def __init__(self, channels: int, squeeze: int = 4) -> None:
        super().__init__()
        inner = max(1, channels // squeeze)
        self.notice = nn.Linear(channels, 1)
        self.think = nn.Sequential(nn.Linear(channels, inner), nn.LayerNorm(inner), nn.ReLU())
        self.tell = nn.Linear(inner, channels)
        self.silence()

    def silence(self) -> None:
        """Adds nothing.

        So an untrained network passes the window on unchanged; called again after all weights were drawn.
        """
        for weight in self.tell.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Tensor) -> Tensor:
        places = x.movedim(1, -1).flatten(1, -2)
        weights = functional.softmax(self.notice(places), dim=1)
        context = self.tell(self.think((places * weights).sum(1)))
        return x + context[:, :, None, None, None]
