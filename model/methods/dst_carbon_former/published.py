"""DSTCarbonFormer in its two published forms, one method with two presets: v1.7 and v3.0."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, NotRequired, TypedDict, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.ground.blocks import merge, spread
from model.ground.scene import Scene, Tile
from model.ground.survey import Survey
from model.layers.losses.aggregate import ZeroStatistics, log_sum_loss, macro_micro_loss, tweedie_loss
from model.layers.losses.image import LearnedWeights, balanced_charbonnier, roughness, ssim_loss
from model.layers.network_batch import Everywhere, NetworkBatch, Scale
from model.layers.networks.carbon_former import V1_7, V3_0, CarbonFormer, Form
from model.method import Facts
from model.methods.dst_carbon_former.options import PublishedOptions, V17Options, V30Options
from model.methods.dst_carbon_former.published_network import Member
from model.training.network_inputs import Inputs
from model.training.options import TrainingOptions
from model.training.phase import Phase

LEARNABLE = 100  # fewer coarse cells with mass than this: the score that stops training is noise
ON_SUMS = {"published": macro_micro_loss, "log_sum": log_sum_loss, "tweedie": tweedie_loss}
LEFT_OUT: dict[str, dict[str, Any]] = {
    "scan": {"levels": 0},
    "experts": {"experts": 0},
    "sft": {"sft": False},
    "frequency": {"frequency": False},
    "attention": {"attention": "none"},
    "law": {},  # of the loss, not of the network
}
ADDED: dict[str, dict[str, Any]] = {
    "fusion": {"fusion": True},  # the auxiliary stream is also let in through a gate
    "valley": {"levels": 3},  # the scan reads three sizes, each half of the one before
    "context": {"attention": "context"},  # one vector for all places, instead of a factor for each channel
    "exact_zero": {"exact_zero": True},  # a gate that may shut, so that a place gets nothing
    "years_wave": {
        "years_cut": 0.25
    },  # waves in time longer than four years are slow too: the constraint in 3D
    "coordinates": {"coordinates": True},  # row and column in the window; a network may learn places by heart
}


class ScaleRecord(TypedDict):
    """The logarithmic scale, one value a sector."""

    unit: list[float]
    top: list[float]


class StatisticsRecord(TypedDict):
    """How rare and uneven mass is: by sector and year, and the unit by sector."""

    zero_ratio: list[list[float]]
    log_spread: list[list[float]]
    unit: list[float]


class PublishedRecord(TypedDict):
    """All choices as a checkpoint keeps them beside the weights; `usage` by network, then by expert."""

    options: Mapping[str, Any]
    layers: list[str]
    sectors: list[str]
    inputs: Any  # of model/training/network_inputs.py
    scale: ScaleRecord
    statistics: StatisticsRecord
    folds: list[int]
    usage: list[list[float]]


class PublishedFacts(Facts):
    """What the report tells of it; `form` by the names of Form."""

    parameters: int
    inputs: list[str]
    form: Mapping[str, Any]
    loss_weights: NotRequired[list[list[float]]]  # of v1.7 alone
    expert_use: list[list[float]]


class Published(ABC):
    """What both forms share: scales, members, state."""

    NAME = ""
    FORM = Form()
    FACTOR = 1.0  # by which the loss is multiplied
    OPTIONS: ClassVar[type[PublishedOptions]] = PublishedOptions

    def __init__(
        self, options: PublishedOptions | None = None, training: TrainingOptions | None = None
    ) -> None:
        """Args: options: its own; training: of the loop, of which its phases are made."""
        self.options, self.training = options or self.OPTIONS(), training or TrainingOptions()
        self.networks: list[Member] = []

    @property
    def form(self) -> Form:
        """The published form, with and without what was chosen.

        What is added comes after what is left out, so `added: valley` brings a scan back.
        """
        changes: dict[str, Any] = {"pool": self.options.pool}
        for part in self.options.without:
            changes |= LEFT_OUT[part]
        for addition in self.options.added:
            changes |= ADDED[addition]
        return replace(self.FORM, **changes)

    def refusal(self, survey: Survey) -> str | None:
        """Why it would rather not learn here; None when it may.

        Below LEARNABLE coarse cells with mass the score that stops training is noise.
        """
        cells = int(((survey.totals > 0.0) & survey.known).any(axis=(0, 1)).sum())
        if cells < LEARNABLE:
            return f"only {cells} coarse cells hold mass; below {LEARNABLE} nothing can be learned from them"
        return None

    def prepare(self, survey: Survey) -> None:
        """Measures the statistics of the training split and draws the first weights of one network.

        Statistics and units from coarse cells of the training split; the top of the scale from all known ones.
        """
        self.layers, self.sectors = tuple(layer.name for layer in survey.layers), survey.sectors
        counted = survey.known & survey.target
        self.statistics = ZeroStatistics.of(survey.totals, counted)
        known = np.where(survey.known, survey.totals, 0.0)
        self.scale = Scale.of(known, self.statistics, survey.factor**2)
        self.inputs = Inputs.of(survey, keep_blocky=self.options.blocky_layers == "average")
        self.members((0,))

    def members(self, folds: Sequence[int]) -> tuple[Member, ...]:
        """A network for each fold, untrained.

        Its first weights follow from the seed and the number of the fold.
        """
        self.networks = [Member(self) for _ in folds]
        for fold, member in zip(folds, self.networks, strict=True):
            generator = torch.Generator().manual_seed(self.training.seed + 1000 * fold)
            cast(CarbonFormer, member.network["body"]).start(generator)
        self.folds = tuple(folds)
        return tuple(self.networks)

    def keep(self, folds: Sequence[int]) -> None:
        """Forgets what could not be trained.

        Without any fold left the totals are spread evenly.
        """
        kept: dict[int, Member] = {}
        for fold, member in zip(self.folds, self.networks, strict=True):
            if fold in folds:
                kept[fold] = member
        self.folds, self.networks = tuple(kept), list(kept.values())

    def calibrate(self, tiles: Sequence[Tile]) -> None:
        """Measures the scale of the inputs on some training tiles.

        On every valid cell: the published forms know no mask.
        """
        self.inputs = self.inputs.calibrated(tiles, Everywhere())

    def place(self, device: str) -> None:
        """Moves the networks to cpu or cuda."""
        for member in self.networks:
            member.network.to(device)

    def phases(self) -> tuple[Phase, ...]:
        """Of the first network."""
        return self.networks[0].phases()

    def candidates(self, scene: Scene) -> dict[str, NDArray[np.float32]]:
        """Of the first network."""
        return self.networks[0].candidates(scene)

    def choose(self, name: str) -> None:  # noqa: B027  # nothing to choose in either form
        """There is one candidate."""

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """The mean of the networks, each of which meets the totals shown; without any, the totals spread evenly.

        Returns: (sectors, time, H, W) mass per fine cell, float32.
        """
        if not self.networks:
            even = np.where(scene.known, scene.totals, 0.0) / scene.side**2
            return (spread(even, scene.side) * scene.valid).astype(np.float32)
        usage = [list(member.usage) for member in self.networks]
        found = [member.candidates(scene)["as trained"] for member in self.networks]
        for member, before in zip(self.networks, usage, strict=True):
            member.usage = before  # what is reported stays that of the training
        return np.asarray(np.mean(found, axis=0, dtype=np.float64), dtype=np.float32)

    @abstractmethod
    def compare(
        self,
        network: nn.ModuleDict,
        estimate: Tensor,
        totals: Tensor,
        counted: Tensor,
        shown: NetworkBatch,
        factor: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and what it is made of.

        Args:
          network: with the learned weights.
          estimate: (B, sectors, time, H, W) units per fine cell.
          totals: (B, sectors, time, h, w) mass per coarse cell; counted: same shape, True = it may be asked.
          factor: fine cells along a coarse cell.
        """

    def state(self) -> tuple[dict[str, NDArray], PublishedRecord]:
        """Weights of all networks, and all choices as JSON values.

        Returns: tensors by `fold/torch name`, those of the learned loss weights too.
        """
        weights = {}
        for fold, member in zip(self.folds, self.networks, strict=True):
            for name, value in member.network.state_dict().items():
                weights[f"{fold}/{name}"] = value.detach().cpu().numpy()
        statistics = self.statistics
        plain: PublishedRecord = {
            "options": self.options.to_json(),
            "layers": list(self.layers),
            "sectors": list(self.sectors),
            "inputs": self.inputs.plain(),
            "scale": {"unit": list(self.scale.unit), "top": list(self.scale.top)},
            "statistics": {
                "zero_ratio": statistics.zero_ratio.tolist(),
                "log_spread": statistics.log_spread.tolist(),
                "unit": statistics.unit.tolist(),
            },
            "folds": list(self.folds),
            "usage": [list(member.usage) for member in self.networks],
        }
        return weights, plain

    def load_state(self, arrays: Mapping[str, NDArray], plain: PublishedRecord) -> None:
        """Rebuilds the networks as they were saved.

        Raises: KeyError or RuntimeError when weights and record do not belong together; pydantic's
          ValidationError when an option is none of this form's.
        """
        self.options = self.OPTIONS.from_json(plain["options"])
        self.layers, self.sectors = tuple(plain["layers"]), tuple(plain["sectors"])
        self.inputs = Inputs.from_json(plain["inputs"])
        scale, statistics = plain["scale"], plain["statistics"]
        self.scale = Scale(unit=tuple(scale["unit"]), top=tuple(scale["top"]))
        self.statistics = ZeroStatistics(
            zero_ratio=np.array(statistics["zero_ratio"]),
            log_spread=np.array(statistics["log_spread"]),
            unit=np.array(statistics["unit"]),
        )
        for fold, member in zip(plain["folds"], self.members(plain["folds"]), strict=True):
            own = {}
            for name, value in arrays.items():
                if name.startswith(f"{fold}/"):
                    own[name.partition("/")[2]] = torch.from_numpy(np.array(value))
            member.network.load_state_dict(own)
        for member, usage in zip(self.networks, plain["usage"], strict=True):
            member.usage = list(usage)

    def describe(self) -> PublishedFacts:
        """Size, parts, inputs, and how often each expert was used in the last window of validation.

        Uses are shares of places, one list a network; empty where the form has no experts.
        """
        parameters = 0
        for member in self.networks:
            parameters += sum(map(torch.numel, member.network.parameters()))
        facts: PublishedFacts = {
            "summary": f"DSTCarbonFormer {self.NAME} as published",
            "learns": True,
            "parameters": parameters,
            "inputs": list(map(self.layers.__getitem__, self.inputs.layers)),
            "form": asdict(self.form),
            "expert_use": [list(member.usage) for member in self.networks],
        }
        if self.NAME == "v1.7":
            facts["loss_weights"] = []
            for member in self.networks:
                learned = cast(LearnedWeights, member.network["weights"]).weights().detach()
                facts["loss_weights"].append([round(float(value), 4) for value in learned])
        return facts


class V17(Published):
    """Trained on the picture of the 1 km totals, since no finer truth may be shown: no skill below 1 km is taught."""

    NAME = "v1.7"
    FORM = V1_7
    OPTIONS = V17Options
    FACTOR = 1000.0  # as published; AdamW does not feel it

    def compare(
        self,
        network: nn.ModuleDict,
        estimate: Tensor,
        totals: Tensor,
        counted: Tensor,
        shown: NetworkBatch,
        factor: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """1000 (w1 balanced Charbonnier + w2 (1 - SSIM) + w3 roughness), on the logarithmic scale of 0 to 1.

        The picture compared with is the mosaic of the totals, each spread evenly over its fine cells; w1, w2, w3
        are learned. Returns: scalar loss; its terms and weights by name, detached.
        """
        ours = self.scale.shown(estimate)
        mosaic = self.scale.shown(self.scale.units(totals / factor**2))
        theirs, asked = spread(mosaic, factor), spread(counted, factor)
        asked = asked & shown.valid
        terms = (
            balanced_charbonnier(ours, theirs, asked),
            ssim_loss(ours, theirs, asked),
            roughness(ours, asked),
        )
        loss: Tensor = self.FACTOR * network["weights"](torch.stack(terms))
        weights = cast(LearnedWeights, network["weights"]).weights().detach()
        told = {name: term.detach() for name, term in zip(("pixel", "ssim", "roughness"), terms, strict=True)}
        names = (f"weight {name}" for name in list(told))
        return loss, told | dict(zip(names, weights, strict=True))


class V30(Published):
    """Trained on sums of 10 x 10 cells alone."""

    NAME = "v3.0"
    FORM = V3_0
    OPTIONS = V30Options
    options: V30Options

    def compare(
        self,
        network: nn.ModuleDict,
        estimate: Tensor,
        totals: Tensor,
        counted: Tensor,
        shown: NetworkBatch,
        factor: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The macro-micro weighted error of block sums, or one of our own losses on them.

        Sums are of mass, over the fine cells of each coarse cell asked.
        Returns: scalar loss; the same under `sums`, detached.
        """
        mass = estimate * estimate.new_tensor(self.scale.unit)[:, None, None, None]
        sums = merge(mass, factor)
        loss = ON_SUMS[self.options.sum_loss](sums, totals, counted, self.statistics)
        return loss, {"sums": loss.detach()}
