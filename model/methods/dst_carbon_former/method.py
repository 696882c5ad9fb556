"""DSTCarbonFormer: networks that learn from totals alone how covariates bend the base that suits the totals.

The way through, in the order of reading:

  Member.loss, below                a training step: totals are merged, shown, and asked for again in parts
  Member.factor, below              covariates and base -> what the base is multiplied by
  model/layers/networks/plain.py             the network of the default: dilated convolutions over the covariates alone
  model/layers/networks/dual_stream.py       with `network: dual_stream`: the base modulated by covariates, and a scan
  model/priors/prior_choice.py      the base, chosen by totals it was not shown
  model/priors/reporting_threshold.py  what the inventory reports at least in a cell: less is emptied or raised
  model/training/trainer.py                 the loop: steps, validation, when to stop, what is kept

The published forms v1.7 and v3.0 are model/methods/dst_carbon_former/published.py (losses and options) and
published_network.py (a step). Their network is drawn at the head of model/layers/networks/carbon_former.py; each
part it names is a small file in model/layers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.ground.scene import Bools, Masses, Scene, Tile
from model.layers.networks.dual_stream import DualStream
from model.layers.networks.plain import Plain
from model.layers.precision import measuring
from model.method import Phase, Survey, Turn
from model.methods.dst_carbon_former.options import DSTCarbonFormerOptions
from model.priors.prior_choice import ChosenBase
from model.priors.pycnophylactic import Base, meet_totals
from model.priors.reporting_threshold import CutOff
from model.training.losses import Groups, groups_of, share_loss
from model.training.network_inputs import Inputs
from model.training.options import TrainingOptions

LEARNABLE = 100  # fewer coarse cells with mass than this: the score that stops training is noise
SMALL, VERY_SMALL = (
    1000,
    600,
)  # coarse cells with mass below which training is cut short (measured on six maps)
BOUND = 8.0  # of the log factor: exp stays finite whatever the network says
STRENGTHS = ("1.0", "0.5")  # what may stand before the log factor


class Member:
    """One network, learning from the ground that is left when one fold is held out."""

    def __init__(self, method: "DSTCarbonFormer", number: int, strength: float = 1.0) -> None:
        """Args: number: of the fold; the first weights follow from it and the seed."""
        self._method, self.number, self.strength = method, number, strength
        options, sectors = method.options, len(method.sectors)
        channels = len(method.inputs.mean)
        if options.network == "plain":
            self.network: Plain | DualStream = Plain(channels, sectors, options.width)
        else:
            self.network = DualStream(channels, sectors, sectors, options.width, options.pool)
        self.network.start(torch.Generator().manual_seed(method.training.seed + 1000 * number))

    def phases(self) -> tuple[Phase, ...]:
        """One phase; shorter epochs on a small map, where every step may be the one too many."""
        training, cells = self._method.training, self._method.cells
        steps = training.steps_per_epoch
        if cells < VERY_SMALL:
            steps = min(steps, max(1, 100 // training.epochs))
        chosen = training.phase(steps, 0.03 if cells < SMALL else 0.0)
        return (Phase("shares", training.epochs, chosen, (Turn("network", self.network, self.loss),)),)

    def loss(self, tiles: Sequence[Tile], generator: torch.Generator) -> Tensor:
        """Shows each tile merged totals and compares the estimate with the totals it was not shown."""
        side = tiles[0].target.shape[-1] - 2 * tiles[0].halo
        offered = groups_of(self._method.training.coarsen, side, side)
        drawn = torch.randint(len(offered), (len(tiles),), generator=generator).tolist()
        estimates, asked = [], []
        for tile, index in zip(tiles, drawn, strict=True):
            part = tile.fitted(offered[index])
            scene = part.scene(offered[index])
            base = self._method.base(scene)
            factor = self.factor(scene, base, generator)
            estimates.append(torch.from_numpy(base).to(factor) * torch.exp(factor))
            asked.append(Groups.of(part, offered[index]))
        with measuring(estimates[0]):
            return share_loss(estimates, asked)

    def candidates(self, scene: Scene) -> dict[str, NDArray[np.float32]]:
        """The estimate at every strength that may be chosen."""
        base = self._method.base(scene)
        factor = self.log_factor(scene, base)
        return {name: meet_totals(base * np.exp(float(name) * factor), scene) for name in STRENGTHS}

    def choose(self, name: str) -> None:
        """Settles the strength."""
        self.strength = float(name)

    def log_factor(self, scene: Scene, base: NDArray) -> NDArray[np.float64]:
        """(sectors, time, H, W) at full strength."""
        with torch.inference_mode():
            factor: NDArray[np.float64] = self.factor(scene, base).double().cpu().numpy()
        return factor

    def factor(self, scene: Scene, base: NDArray, generator: torch.Generator | None = None) -> Tensor:
        """(sectors, time, H, W) logarithm of the factor, 0 deep in the rim; noise only with a generator."""
        deep = max(0, scene.rim - self.network.reach)
        rows, cols = scene.valid.shape
        seen = (..., slice(deep, rows - deep), slice(deep, cols - deep))
        method = self._method
        auxiliary = method.inputs.auxiliary(scene, method.base.mask(scene))[seen]
        streams = [self._tensor(auxiliary), self._tensor(method.inputs.main(base)[seen])]
        if generator is not None:
            noise = (torch.randn(stream.shape, generator=generator).to(stream) for stream in streams)
            scale = method.options.noise
            streams = [stream + scale * wild for stream, wild in zip(streams, noise, strict=True)]
        factor = BOUND * torch.tanh(self.network(*streams)[0].float() / BOUND)
        return torch.nn.functional.pad(factor, (deep,) * 4)

    def _tensor(self, values: NDArray) -> Tensor:
        device = next(self.network.parameters()).device
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None].to(device)


class DSTCarbonFormer:
    """p = base x exp(mean over networks of strength x network), each sector scaled to the totals shown."""

    def __init__(
        self, options: DSTCarbonFormerOptions | None = None, training: TrainingOptions | None = None
    ) -> None:
        """Args: options: its own; training: of the loop, of which its phases are made."""
        self.options, self.training = options or DSTCarbonFormerOptions(), training or TrainingOptions()
        self.base = ChosenBase(Base((), ()), (), {}, 1, {})
        self.cut_off = CutOff()
        self._members: tuple[Member, ...] = ()
        self._donors: tuple[Member, ...] = ()

    def refusal(self, survey: Survey) -> str | None:
        """Why it would rather not learn here; None when it may."""
        cells = coarse_cells_with_mass(survey)
        if cells < LEARNABLE:
            return f"only {cells} coarse cells hold mass; below {LEARNABLE} nothing can be learned from them"
        return None

    def prepare(self, survey: Survey) -> None:
        """Fits what bases may be made of; picks the mask, the inputs and how long to train."""
        self.layers = tuple(layer.name for layer in survey.layers)
        self.sectors = survey.sectors
        self.cells = coarse_cells_with_mass(survey)
        self.cut_off = CutOff.of(survey, self.options.reporting_threshold)
        self.base = ChosenBase.of(survey, groups_of(self.training.coarsen, 12, 12))
        self.inputs = Inputs.of(survey, keep_blocky=self.options.blocky_layers == "average")
        self.members((0,))

    def calibrate(self, tiles: Sequence[Tile]) -> None:
        """Measures the scale of the inputs, and chooses the base by totals it is not shown."""
        self.inputs = self.inputs.calibrated(tiles, self.base)
        self.base = self.base.chosen(tiles, few=self.cells < LEARNABLE)
        self.cut_off = self.cut_off.measured(tiles, self.base)

    def members(self, folds: Sequence[int]) -> tuple[Member, ...]:
        """One network for each fold, untrained or as another training left it; none leaves the base as it is."""
        self._members = tuple(Member(self, number) for number in folds)
        for member, donor in zip(self._members, cycle(self._donors), strict=False):
            member.network.load_state_dict(donor.network.state_dict())
        return self._members

    @property
    def least(self) -> dict[str, float]:
        """By sector, the mass a cell holds at least; sectors of which nothing is known are left out."""
        each = zip(self.sectors, self.cut_off.least, strict=False)
        return {sector: least for sector, least in each if least > 0.0}

    def unlike(self, donor: "DSTCarbonFormer") -> list[str]:
        """In words, why networks of another training cannot begin here; empty when they can."""
        there = [donor.layers[index] for index in donor.inputs.layers]
        here = [self.layers[index] for index in self.inputs.layers]
        pairs = {"inputs": (", ".join(there), ", ".join(here))}
        pairs["sectors"] = ", ".join(donor.sectors), ", ".join(self.sectors)
        for name in ("network", "width", "pool")[: 3 if self.options.network == "dual_stream" else 2]:
            pairs[name] = getattr(donor.options, name), getattr(self.options, name)
        told = [f"{name} {old} there, {new} here" for name, (old, new) in pairs.items() if old != new]
        return told if donor._members else [*told, "nothing was learned there"]

    @property
    def begun(self) -> bool:
        """Networks begin with those of another training."""
        return bool(self._donors)

    def begin_with(self, donor: "DSTCarbonFormer") -> None:
        """The networks of the next members() begin with those of another training, and see inputs on its scales."""
        self.inputs = replace(donor.inputs, layers=self.inputs.layers, density=self.inputs.density)
        self._donors = donor._members

    def keep(self, folds: Sequence[int]) -> None:
        """Forgets the networks of other folds."""
        self._members = tuple(member for member in self._members if member.number in folds)

    def place(self, device: str) -> None:
        """Moves the networks to cpu or cuda."""
        for member in self._members:
            member.network.to(device)

    def phases(self) -> tuple[Phase, ...]:
        """Those of all networks; each is trained alone."""
        return tuple(phase for member in self._members for phase in member.phases())

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """The base bent by what was learned, scaled to the totals shown."""
        base = self.base(scene)
        if not self._members:
            return meet_totals(base, scene)
        factors = [member.strength * member.log_factor(scene, base) for member in self._members]
        return meet_totals(base * np.exp(np.mean(factors, axis=0)), scene)

    def finish(self, estimate: NDArray, totals: Masses, known: Bools) -> Masses:
        """Of a region whose seams are blended: no cell holds less than what the inventory reports at least.

        Why not where totals are merged: far more cells share them, and those cut off are the wrong ones more often.
        Args: estimate: (sectors, time, H, W); totals, known: (sectors, time, h, w), the inventory's own.
        """
        return self.cut_off(estimate, totals, known)

    def away(self) -> None:
        """Told that it is applied to other totals than those it learned from, so their least is forgotten."""
        self.cut_off = CutOff()

    def state(self) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """Weights, and all choices as JSON values."""
        weights = {
            f"{member.number}.{name}": value.detach().cpu().numpy()
            for member in self._members
            for name, value in member.network.state_dict().items()
        }
        plain = {
            "options": self.options.to_json(),
            "layers": list(self.layers),
            "sectors": list(self.sectors),
            "cells": self.cells,
            "base": self.base.plain(),
            "cut_off": self.cut_off.plain(),
            "inputs": self.inputs.plain(),
            "members": {str(member.number): member.strength for member in self._members},
        }
        return weights, plain

    def load_state(self, arrays: Mapping[str, NDArray], plain: Mapping[str, Any]) -> None:
        """Rebuilds the networks as they were saved."""
        self.options = DSTCarbonFormerOptions.from_json(plain["options"])
        self.layers, self.sectors = tuple(plain["layers"]), tuple(plain["sectors"])
        self.cells = plain["cells"]
        self.base, self.inputs = ChosenBase.from_plain(plain["base"]), Inputs.from_plain(plain["inputs"])
        self.cut_off = CutOff.from_plain(plain["cut_off"])
        self.members(sorted(int(number) for number in plain["members"]))
        for member in self._members:
            own = f"{member.number}."
            weights = {
                name.removeprefix(own): torch.from_numpy(np.array(value))
                for name, value in arrays.items()
                if name.startswith(own)
            }
            member.network.load_state_dict(weights)
            member.strength = float(plain["members"][str(member.number)])

    def describe(self) -> dict[str, Any]:
        """Size, inputs, base and strengths."""
        mask = [self.layers[index] for index in self.base.smooth.mask_layers]
        networks = [member.network for member in self._members]
        return {
            "summary": "a base that suits the totals, bent by networks that learned from the totals alone",
            "learns": bool(networks),
            "parameters": sum(weight.numel() for network in networks for weight in network.parameters()),
            "inputs": [self.layers[index] for index in self.inputs.layers],
            "mask": mask or ["every valid cell"],
            "base": dict(zip(self.sectors, self.base.kinds, strict=True)),
            "base misses": {
                kind: [round(value, 4) for value in values] for kind, values in self.base.scores.items()
            },
            "strength": [member.strength for member in self._members],
        } | ({"least in a cell": self.least} if self.least else {})


def coarse_cells_with_mass(survey: Survey) -> int:
    """Coarse cells that hold mass in any sector and year."""
    return int(((survey.totals > 0.0) & survey.known).any(axis=(0, 1)).sum())
