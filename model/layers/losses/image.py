"""Losses between two pictures of a window, pixel by pixel: the terms of the published v1.7, masked."""

import torch
from torch import Tensor, nn
from torch.nn import functional

SOURCE = 1e-6  # a pixel above this is a source
SPAN, SIGMA = 11, 1.5  # of the window of SSIM (Wang et al. 2004)


def balanced_charbonnier(estimate: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """sqrt(d^2 + 1e-6), averaged over sources and over the rest, half each: 0.001 or more.

    Args:
      estimate, truth: (..., H, W) on a logarithmic scale of order one.
      counted: same shape, True = the pixel counts. Where one of the two kinds is absent the other counts whole.
    """
    error = ((estimate - truth) ** 2 + 1e-6).sqrt()
    source = truth > SOURCE
    means = []
    for kind in (counted & source, counted & ~source):
        if bool(kind.any()):
            means.append(_mean(error, kind))
    return torch.stack(means).mean() if means else (error * 0.0).sum()


def ssim_loss(estimate: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """max(0, 1 - mean SSIM) over the counted pixels, 0 to 2; Gaussian window, values in about [0, 1].

    Args:
      estimate, truth, counted: (..., H, W). A counted pixel's window reaches 5 cells, beyond `counted` too; edges
        are mirrored.
    """
    ours, theirs = estimate.flatten(0, -3)[:, None], truth.flatten(0, -3)[:, None]
    mean, other = _blurred(ours), _blurred(theirs)
    spread, wide = _blurred(ours**2) - mean**2, _blurred(theirs**2) - other**2
    common = _blurred(ours * theirs) - mean * other
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * mean * other + c1) * (2 * common + c2)
    similar = similar / ((mean**2 + other**2 + c1) * (spread + wide + c2))
    return (1.0 - _mean(similar[:, 0].reshape(estimate.shape), counted)).clamp_min(0.0)


def roughness(estimate: Tensor, counted: Tensor) -> Tensor:
    """Twice the mean squared difference of neighbours, along rows and columns both, 0 or more (TV of the paper).

    Args:
      estimate, counted: (..., H, W); a pair counts when both pixels do.
    """
    down = estimate[..., 1:, :] - estimate[..., :-1, :]
    across = estimate[..., 1:] - estimate[..., :-1]
    pairs = counted[..., 1:, :] & counted[..., :-1, :], counted[..., 1:] & counted[..., :-1]
    return 2.0 * (_mean(down**2, pairs[0]) + _mean(across**2, pairs[1]))


class LearnedWeights(nn.Module):
    """Weights of several losses that are learned with the network: positive, with a mean of one.

    w = n (floor + (1 - n floor) softmax(theta)). Why a floor: minimising a softmax-weighted sum gives all weight to
    the term that is smallest, which is usually the roughness, and the network then learns to be smooth. Why the
    entropy beside it: at the floor the slope is gone, so the pull back to even weights must be there before.

    Args:
      terms: n.
      floor: smallest share of a term; 0.2 of 3 leaves the others 0.6 at most.
      pull: weight of n (log n - entropy of the softmax), which is 0 when all are even.
    """

    def __init__(self, terms: int, floor: float = 0.2, pull: float = 0.1) -> None:
        super().__init__()
        if not 0 <= floor * terms < 1:
            raise ValueError(f"{terms} terms cannot each have a share of at least {floor}")
        self.theta = nn.Parameter(torch.zeros(terms))
        self.floor, self.pull = floor, pull

    def weights(self) -> Tensor:
        """(n,) positive, with a mean of one.

        Each is at least n x floor and at most n (1 - (n - 1) floor); their gradient reaches theta.
        """
        count = len(self.theta)
        return count * (self.floor + (1 - count * self.floor) * self.theta.softmax(0))

    def forward(self, losses: Tensor) -> Tensor:
        """(n,) losses -> their weighted sum, with the pull in units of their mean.

        The mean in the pull is detached: the pull only moves the weights, never the network, and stays
        as strong beside the losses when they shrink.
        """
        count = len(self.theta)
        log_share = self.theta.log_softmax(0)
        uneven = torch.tensor(float(count)).log() + (log_share.exp() * log_share).sum()
        return (self.weights() * losses).sum() + self.pull * count * uneven * losses.detach().mean()


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    return (values * counted).sum() / counted.sum().clamp_min(1)


def _blurred(values: Tensor) -> Tensor:
    """(N, 1, H, W) -> same shape, Gaussian over 11 x 11 pixels."""
    place = torch.arange(SPAN, dtype=values.dtype, device=values.device) - SPAN // 2
    bell = torch.exp(-(place**2) / (2 * SIGMA**2))
    bell = (bell / bell.sum()).reshape(1, 1, -1, 1)
    half = SPAN // 2
    mode = "reflect" if min(values.shape[-2:]) > half else "replicate"
    wide = functional.pad(values, (half,) * 4, mode=mode)
    return functional.conv2d(functional.conv2d(wide, bell), bell.mT)
