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
from itertools import chain, cycle
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.ground.scene import Bools, Masses, Scene, Tile
from model.ground.survey import Survey
from model.layers.networks.dual_stream import DualStream
from model.layers.networks.plain import Plain
from model.layers.precision import measuring
from model.methods.dst_carbon_former.options import DSTCarbonFormerOptions
from model.priors.prior_choice import ChosenBase, ChosenBaseRecord
from model.priors.pycnophylactic import Base, rescale_to_totals
from model.priors.reporting_threshold import CutOffRecord, ReportingThreshold
from model.training.losses import Groups, groups_of, share_loss
from model.training.network_inputs import Inputs
from model.training.options import TrainingOptions
from model.training.phase import Keep, OptimisationStep, Patience, Phase
from model.training.schedule import ONE_CYCLE

LEARNABLE = 100  # fewer coarse cells with mass than this: the score that stops training is noise
SMALL, VERY_SMALL = (
    1000,
    600,
)  # coarse cells with mass below which training is cut short (measured on six maps)
EMA_DECAY = 0.9  # memory of the averaged weights
TOLERANCE = 0.03  # on a small map an earlier state this much worse is preferred
BOUND = 8.0  # of the log factor: exp stays finite whatever the network says
STRENGTHS = ("1.0", "0.5")  # what may stand before the log factor


class DSTCarbonFormerRecord(TypedDict):
    """All choices as a checkpoint keeps them beside the weights."""

    options: Mapping[str, Any]
    layers: list[str]
    sectors: list[str]
    cells: int  # coarse, with mass
    base: ChosenBaseRecord
    cut_off: CutOffRecord
    inputs: Any  # of model/training/network_inputs.py
    members: dict[str, float]  # strength by the number of the fold held out


# By a call: some of its keys are no Python names.
DSTCarbonFormerFacts = TypedDict(
    "DSTCarbonFormerFacts",
    {
        "summary": str,
        "learns": bool,
        "parameters": int,
        "inputs": list[str],
        "mask": list[str],
        "base": dict[str, str],  # its kind, by sector
        "base misses": dict[str, list[float]],  # by kind, a share of mass for each sector
        "strength": list[float],
        "least in a cell": NotRequired[dict[str, float]],  # by sector
    },
)


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
        """One phase; shorter epochs on a small map, where every step may be the one too many.

        Below VERY_SMALL coarse cells with mass all epochs together have about 100 steps; below SMALL an earlier
        state that is worse by up to TOLERANCE is preferred.
        """
        training, cells = self._method.training, self._method.cells
        steps = training.steps_per_epoch
        if cells < VERY_SMALL:
            steps = min(steps, max(1, 100 // training.epochs))
        phase = Phase(
            "shares",
            training.epochs,
            steps,
            training.batch_tiles,
            turns=(OptimisationStep("network", self.network, self.loss),),
            optim=training.optim(ONE_CYCLE, EMA_DECAY),
            keep=Keep.best_within(TOLERANCE if cells < SMALL else 0.0),
            stop=(Patience(training.patience),),
        )
        return (phase,)

    def loss(self, tiles: Sequence[Tile], generator: torch.Generator) -> Tensor:
        """Shows each tile merged totals and compares the estimate with the totals it was not shown.

        Args:
          tiles: of one size; for each one group of coarse cells is drawn that are merged.
          generator: of the draw and of the noise on the inputs.
        Returns: scalar, of how the parts of a shown total are shared out.
        """
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
        """The estimate at every strength that may be chosen.

        Returns: by strength, (sectors, time, H, W) mass per fine cell. The network runs once for all of them.
        """
        base = self._method.base(scene)
        factor = self.log_factor(scene, base)
        estimates = {}
        for name in STRENGTHS:
            estimates[name] = rescale_to_totals(base * np.exp(float(name) * factor), scene)
        return estimates

    def choose(self, name: str) -> None:
        """Settles the strength.

        Args: name: one of STRENGTHS, as candidates() calls them.
        """
        self.strength = float(name)

    def log_factor(self, scene: Scene, base: NDArray) -> NDArray[np.float64]:
        """The logarithm of the factor at full strength, without noise and without a gradient.

        Args: base: (sectors, time, H, W) mass per fine cell, of the same scene.
        Returns: (sectors, time, H, W), at most BOUND from 0.
        """
        with torch.inference_mode():
            factor: NDArray[np.float64] = self.factor(scene, base).double().cpu().numpy()
        return factor

    def factor(self, scene: Scene, base: NDArray, generator: torch.Generator | None = None) -> Tensor:
        """(sectors, time, H, W) logarithm of the factor, 0 deep in the rim; noise only with a generator.

        Deep is what lies farther out than the network reaches: it could not change what is kept.
        """
        deep = max(0, scene.rim - self.network.reach)
        rows, cols = scene.valid.shape
        seen = (..., slice(deep, rows - deep), slice(deep, cols - deep))
        method = self._method
        auxiliary = method.inputs.auxiliary(scene, method.base.mask(scene))[seen]
        streams = [self._tensor(auxiliary), self._tensor(method.inputs.main(base)[seen])]
        if generator is not None:
            for place, stream in enumerate(streams):
                wild = torch.randn(stream.shape, generator=generator).to(stream)
                streams[place] = stream + method.options.noise * wild
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
        self.cut_off = ReportingThreshold()
        self._members: tuple[Member, ...] = ()
        self._donors: tuple[Member, ...] = ()

    def refusal(self, survey: Survey) -> str | None:
        """Why it would rather not learn here; None when it may.

        Below LEARNABLE coarse cells with mass the score that stops training is noise.
        """
        cells = coarse_cells_with_mass(survey)
        if cells < LEARNABLE:
            return f"only {cells} coarse cells hold mass; below {LEARNABLE} nothing can be learned from them"
        return None

    def prepare(self, survey: Survey) -> None:
        """Fits what bases may be made of; picks the mask, the inputs and how long to train.

        Nothing is chosen among the bases yet: that needs tiles, see calibrate.
        """
        self.layers = tuple(layer.name for layer in survey.layers)
        self.sectors = survey.sectors
        self.cells = coarse_cells_with_mass(survey)
        self.cut_off = ReportingThreshold.of(survey, self.options.reporting_threshold)
        self.base = ChosenBase.of(survey, groups_of(self.training.coarsen, 12, 12))
        self.inputs = Inputs.of(survey, keep_blocky=self.options.blocky_layers == "average")
        self.members((0,))

    def calibrate(self, tiles: Sequence[Tile]) -> None:
        """Measures the scale of the inputs, and chooses the base by totals it is not shown.

        In this order: inputs are scaled on the mask, the threshold is measured with the base that was chosen.
        """
        self.inputs = self.inputs.calibrated(tiles, self.base)
        self.base = self.base.chosen(tiles, few=self.cells < LEARNABLE)
        self.cut_off = self.cut_off.measured(tiles, self.base)

    def members(self, folds: Sequence[int]) -> tuple[Member, ...]:
        """One network for each fold, untrained or as another training left it; none leaves the base as it is.

        Where another training left more or fewer networks than there are folds, they are taken in turn.
        """
        self._members = tuple(Member(self, number) for number in folds)
        for member, donor in zip(self._members, cycle(self._donors), strict=False):
            member.network.load_state_dict(donor.network.state_dict())
        return self._members

    @property
    def least(self) -> dict[str, float]:
        """By sector, the mass a cell holds at least; sectors of which nothing is known are left out.

        In the unit of the totals; empty before prepare and once the threshold is forgotten.
        """
        each = zip(self.sectors, self.cut_off.least, strict=False)
        return {sector: least for sector, least in each if least > 0.0}

    def incompatibilities(self, donor: "DSTCarbonFormer") -> list[str]:
        """In words, why networks of another training cannot begin here; empty when they can.

        Compared are inputs and sectors by name and order, the shape of the network, and the kinds of the base.
        """
        there = map(donor.layers.__getitem__, donor.inputs.layers)
        here = map(self.layers.__getitem__, self.inputs.layers)
        pairs = {"inputs": (", ".join(there), ", ".join(here))}
        pairs["sectors"] = ", ".join(donor.sectors), ", ".join(self.sectors)
        for name in ("network", "width", "pool")[: 3 if self.options.network == "dual_stream" else 2]:
            pairs[name] = getattr(donor.options, name), getattr(self.options, name)
        told = [f"{name} {old} there, {new} here" for name, (old, new) in pairs.items() if old != new]
        if not donor._members:
            told.append("nothing was learned there")
        if not told and donor.base.kinds != self.base.kinds:
            theirs, ours = donor.base.kinds, self.base.kinds
            told.append(f"they bend another base ({', '.join(theirs)}, here {', '.join(ours)})")
        return told

    @property
    def begun(self) -> bool:
        """Networks begin with those of another training."""
        return bool(self._donors)

    def before_learning(self, scene: Scene) -> NDArray[np.float32]:
        """The base, scaled to the totals shown.

        Returns: (sectors, time, H, W) mass per fine cell, what an untrained network says too.
        """
        return rescale_to_totals(self.base(scene), scene)

    def warm_start(self, donor: "DSTCarbonFormer") -> None:
        """The networks of the next members() begin with those of another training, and see inputs on its scales.

        The unit of the main stream stays that of this map: regions differ in how dense they are.
        """
        self.inputs = replace(donor.inputs, layers=self.inputs.layers, density=self.inputs.density)
        self._donors = donor._members

    def keep(self, folds: Sequence[int]) -> None:
        """Forgets the networks of other folds.

        Args: folds: numbers of those that could be trained; without any the base is left as it is.
        """
        self._members = tuple(member for member in self._members if member.number in folds)

    def place(self, device: str) -> None:
        """Moves the networks to cpu or cuda."""
        for member in self._members:
            member.network.to(device)

    def phases(self) -> tuple[Phase, ...]:
        """Those of all networks; each is trained alone.

        One phase a network, in the order of the folds.
        """
        return tuple(chain.from_iterable(member.phases() for member in self._members))

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """The base bent by what was learned, scaled to the totals shown.

        Returns: (sectors, time, H, W) mass per fine cell. Log factors are averaged, so the factors' geometric
          mean stands before the base.
        """
        base = self.base(scene)
        if not self._members:
            return rescale_to_totals(base, scene)
        factors = [member.strength * member.log_factor(scene, base) for member in self._members]
        return rescale_to_totals(base * np.exp(np.mean(factors, axis=0)), scene)

    def finish(self, estimate: NDArray, totals: Masses, known: Bools) -> Masses:
        """Of a region whose seams are blended: no cell holds less than what the inventory reports at least.

        Why not where totals are merged: far more cells share them, and those cut off are the wrong ones more often.
        Args: estimate: (sectors, time, H, W); totals, known: (sectors, time, h, w), the inventory's own.
        """
        return self.cut_off(estimate, totals, known)

    def forget_threshold(self) -> None:
        """Called where it is applied to other totals than those it learned from, so their least is forgotten.

        From then on finish() leaves every estimate as it is.
        """
        self.cut_off = ReportingThreshold()

    def state(self) -> tuple[dict[str, NDArray], DSTCarbonFormerRecord]:
        """Weights, and all choices as JSON values.

        Returns: tensors by `fold.torch name`; networks to begin with are not kept.
        """
        weights = {}
        for member in self._members:
            for name, value in member.network.state_dict().items():
                weights[f"{member.number}.{name}"] = value.detach().cpu().numpy()
        plain: DSTCarbonFormerRecord = {
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

    def load_state(self, arrays: Mapping[str, NDArray], plain: DSTCarbonFormerRecord) -> None:
        """Rebuilds the networks as they were saved.

        Raises: KeyError or RuntimeError when weights and record do not belong together; pydantic's
          ValidationError when an option is none of this method's.
        """
        self.options = DSTCarbonFormerOptions.from_json(plain["options"])
        self.layers, self.sectors = tuple(plain["layers"]), tuple(plain["sectors"])
        self.cells = plain["cells"]
        self.base, self.inputs = ChosenBase.from_json(plain["base"]), Inputs.from_json(plain["inputs"])
        self.cut_off = ReportingThreshold.from_json(plain["cut_off"])
        self.members(sorted(map(int, plain["members"])))
        for member in self._members:
            own = f"{member.number}."
            weights = {}
            for name, value in arrays.items():
                if name.startswith(own):
                    weights[name.removeprefix(own)] = torch.from_numpy(np.array(value))
            member.network.load_state_dict(weights)
            member.strength = float(plain["members"][str(member.number)])

    def describe(self) -> DSTCarbonFormerFacts:
        """Size, inputs, base and strengths.

        `base misses` is what each kind of base misallocates of totals it was not shown, lower is better.
        """
        mask = list(map(self.layers.__getitem__, self.base.smooth.mask_layers))
        parameters = 0
        for member in self._members:
            parameters += sum(map(torch.numel, member.network.parameters()))
        misses = {}
        for kind, values in self.base.scores.items():
            misses[kind] = [round(value, 4) for value in values]
        facts: DSTCarbonFormerFacts = {
            "summary": "a base that suits the totals, bent by networks that learned from the totals alone",
            "learns": bool(self._members),
            "parameters": parameters,
            "inputs": list(map(self.layers.__getitem__, self.inputs.layers)),
            "mask": mask or ["every valid cell"],
            "base": dict(zip(self.sectors, self.base.kinds, strict=True)),
            "base misses": misses,
            "strength": [member.strength for member in self._members],
        }
        if self.least:
            facts["least in a cell"] = self.least
        return facts


def coarse_cells_with_mass(survey: Survey) -> int:
    """Coarse cells that hold mass in any sector and year.

    A measure of how much there is to learn from; only known totals count.
    """
    return int(((survey.totals > 0.0) & survey.known).any(axis=(0, 1)).sum())
