"""Where the contents of fine fields are compared: their spectra, fixed filters, or VGG19 with weights a user brings."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Content = Callable[[Tensor, Tensor], Tensor]
SHIPPED = {
    "spectral": "difference of log power spectra, radially averaged (shipped)",
    "features": "local energy of fixed differences at 1, 2 and 4 cells (shipped, nothing learned)",
    "pixel": "pixels alone",
}
FAINT = 1e-3  # of the mean power of the true field: below it a wavelength counts as empty
# Convolutions of VGG19 up to conv 4 before pool 5 (Simonyan and Zisserman 2015), M = pool; Ledig et al. 2017.
VGG19 = (64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512, 512, 512, 512)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation its weights expect


def spectral(found: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of log power by wavenumber; (N, 1, H, W) each.

    Why a floor of FAINT x mean true power under both: wavelengths the truth hardly holds would otherwise rule the
    logarithm. Phases are not compared, so texture may lie elsewhere at no cost.
    """
    power, wanted = radial_power(found), radial_power(truth)
    floor = FAINT * wanted.mean(dim=1, keepdim=True) + 1e-12
    return (torch.log(power + floor) - torch.log(wanted + floor)).abs().mean()


def radial_power(field: Tensor) -> Tensor:
    """(N, rings) mean power by whole wavenumber, the mean of the field left out; a Hann window hides the edges.

    Rings are whole wavenumbers 1 to min(H, W) // 2, in cycles along the shorter side. The transform is not
    scaled, so only the power of fields of one size may be compared.
    """
    rows, cols = field.shape[-2:]
    window = torch.hann_window(rows, periodic=False)[:, None] * torch.hann_window(cols, periodic=False)
    wave = field - field.mean(dim=(-2, -1), keepdim=True)
    power = torch.fft.rfft2(wave * window.to(field)).abs() ** 2
    down = torch.fft.fftfreq(rows)[:, None] * min(rows, cols)
    across = torch.fft.rfftfreq(cols)[None, :] * min(rows, cols)
    ring = torch.hypot(down, across).round().long().to(field.device)
    last = min(rows, cols) // 2
    inside = ((ring >= 1) & (ring <= last)).flatten()
    places = ring.flatten()[inside] - 1
    flat = power.flatten(1)[:, inside]
    summed = torch.zeros(len(flat), last).to(flat).index_add(1, places, flat)
    count = torch.zeros(last).to(flat).index_add(0, places, torch.ones(len(places)).to(flat))
    return summed / count.clamp(min=1.0)


def features(found: Tensor, truth: Tensor) -> Tensor:
    """Mean squared difference of how rough both are around each place, whatever the phase.

    Args:
      found, truth: (N, 1, H, W), more than 4 cells along each axis.
    Returns: scalar, 0 or more: over both axes and steps of 1, 2 and 4 cells, each mean of |difference| over 4 x 4
      cells (stride 2) is compared.
    """
    losses = tuple(map(functional.mse_loss, _rough(found), _rough(truth)))
    return torch.stack(losses).mean()


def _rough(field: Tensor) -> list[Tensor]:
    out = []
    for step in (1, 2, 4):
        for axis in (-2, -1):
            size = field.shape[axis] - step
            off = field.narrow(axis, step, size) - field.narrow(axis, 0, size)
            out.append(functional.avg_pool2d(off.abs(), 4, stride=2, ceil_mode=True))
    return out


class Vgg(nn.Module):
    """VGG19's features of a field, given as a grey picture: fields are divided by their truth's largest value."""

    def __init__(self, weights: Mapping[str, NDArray]) -> None:
        """Args: weights: `features.0.weight` and so on, as published; others are left alone.

        Raises: KeyError or RuntimeError when they are not those of VGG19.
        """
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for entry in VGG19:
            if isinstance(entry, str):
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
                continue
            layers += [nn.Conv2d(inputs, entry, 3, padding=1), nn.ReLU()]
            inputs = entry
        self.features = nn.Sequential(*layers[:-1])
        wanted = {name: torch.from_numpy(np.array(weights[name])) for name in self.state_dict()}
        self.load_state_dict(wanted)
        self.requires_grad_(False)

    def forward(self, found: Tensor, truth: Tensor) -> Tensor:
        """Mean squared difference of features.

        Args:
          found, truth: (N, 1, H, W), 0 or more; both are divided by the largest value of the truth in the sample.
        Returns: scalar, 0 or more. The filters are frozen; the gradient reaches `found` through them.
        """
        top = truth.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
        return functional.mse_loss(self._seen(found / top), self._seen(truth / top))

    def _seen(self, field: Tensor) -> Tensor:
        mean, deviation = (torch.tensor(part).to(field).view(1, 3, 1, 1) for part in IMAGENET)
        found: Tensor = self.features((field.expand(-1, 3, -1, -1) - mean) / deviation)
        return found


def nothing(found: Tensor, truth: Tensor) -> Tensor:
    """No comparison beside that of pixels.

    A zero that still hangs on `found`, so that a backward pass through it is defined.
    """
    return found.sum() * 0.0


CONTENTS: dict[str, Content] = {"spectral": spectral, "features": features, "pixel": nothing}
