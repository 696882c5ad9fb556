"""DSTCarbonFormer in its two published forms, one method with two presets: v1.7 and v3.0."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.layers.carbon_former import V1_7, V3_0, CarbonFormer, Form
from model.layers.experts import Routing
from model.layers.physics import block_sums, meet_shown
from model.layers.picture_losses import LearnedWeights, balanced_charbonnier, roughness, ssim_loss
from model.layers.precision import measuring
from model.layers.shown import Everywhere, Scale, Shown, as_it_is, random_turn
from model.layers.sum_losses import ZeroStatistics, log_sum_loss, macro_micro_loss, tweedie_loss
from model.losses import counted_groups, groups_of
from model.method import Phase, Survey, Turn
from model.sample import Scene, Tile, spread
from model.transforms import Inputs

LEARNABLE = 100  # fewer coarse cells with mass than this: the score that stops training is noise
BALANCE = 0.01  # weight of the experts' balance term, in units of the loss's own factor (Fedus et al. 2021)
PICTURE = (
    1000.0  # published factor of the three weighted terms; AdamW does not feel it, the printed loss does
)
ON_SUMS = {"published": macro_micro_loss, "log_sum": log_sum_loss, "tweedie": tweedie_loss}


@dataclass(frozen=True)
class Options:
    """What may be chosen; the train section of a configuration offers the same names.

    Attributes:
      scales: totals shown along 12 coarse cells in training; the published forms show 1.
      without: parts left out: scan, experts, sft, frequency, attention, or the law inside training.
      turns: flips and quarter turns of each batch; drop_layers: chance that a covariate is hidden.
      sum_loss: what v3.0 minimises; published, or one of ours.
      others: see model/methods/dst_carbon_former.py.
    """

    seed: int = 0
    scales: tuple[int, ...] = (1,)
    epochs: int = 10
    steps_per_epoch: int = 30
    batch_tiles: int = 3
    learning_rate: float = 1e-3
    patience: int = 5
    weight_decay: float = 1e-3
    clip: float = 1.0
    average: float = 0.9
    width: int = 64
    pool: int | None = None
    blocky_layers: str = "drop"
    without: tuple[str, ...] = ()
    turns: bool = True
    drop_layers: float = 0.0
    sum_loss: str = "published"


class Member:
    """One network, its loss and its estimates."""

    def __init__(self, method: "Published") -> None:
        self.method = method
        body = CarbonFormer(len(method.inputs.mean), len(method.sectors), method.form, method.options.width)
        self.network = nn.ModuleDict({"body": body, "weights": LearnedWeights(3)})
        self.usage: list[float] = []
        self.terms: dict[str, Tensor] = {}

    def phases(self) -> tuple[Phase, ...]:
        """One phase."""
        options = self.method.options
        names = ("learning_rate", "weight_decay", "clip", "average", "patience")
        chosen = {name: getattr(options, name) for name in names}
        chosen |= {"steps": options.steps_per_epoch, "batch": options.batch_tiles, "tolerance": 0.0}
        turn = Turn("network", self.network, self.loss, self.told)
        return (Phase(self.method.NAME, options.epochs, chosen, (turn,)),)

    def loss(self, tiles: Sequence[Tile], generator: torch.Generator) -> Tensor:
        """Shows merged totals and compares with the 1 km totals: their mosaic (v1.7), or their sums (v3.0)."""
        method = self.method
        offered = groups_of(method.options.scales, *tiles[0].totals.shape[-2:])
        group = offered[int(torch.randint(len(offered), (), generator=generator))]
        turn = random_turn(generator) if method.options.turns else as_it_is
        batch = [tile.scene(group) for tile in tiles]
        shown = Shown.of(batch, method.inputs, method.scale, self._device()).turned(turn)
        hidden = torch.rand(shown.auxiliary.shape[:2], generator=generator) < method.options.drop_layers
        shown = replace(
            shown,
            auxiliary=shown.auxiliary.masked_fill(hidden[:, :, None, None, None].to(self._device()), 0.0),
        )
        estimate, routing = self.estimated(shown, law="law" not in method.options.without)
        totals = turn(self._stacked([tile.totals for tile in tiles]))
        counted = turn(torch.from_numpy(np.stack([counted_groups(tile, 1) for tile in tiles])))
        with measuring(estimate):
            loss, self.terms = method.compare(
                self.network, estimate, totals, counted.to(self._device()), shown, tiles[0].factor
            )
        if routing is None:
            return loss
        self.terms |= {"balance": routing.balance.detach()}
        return loss + BALANCE * method.FACTOR * routing.balance

    def told(self) -> dict[str, float]:
        """The terms of the last loss, and the weights that v1.7 learns for its own."""
        return {name: float(value) for name, value in self.terms.items()}

    def _stacked(self, arrays: Sequence[NDArray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).float().to(self._device())

    def estimated(self, shown: "Shown", law: bool = True) -> tuple[Tensor, Routing | None]:
        """(B, sectors, time, H, W) units per fine cell."""
        raw, routing = self.network["body"](shown.auxiliary, shown.main, shown.side)
        with measuring(raw):
            units = self.method.scale.read(raw.float())
            if law:
                valid = shown.valid.expand(units.shape)
                units = meet_shown(units, shown.totals, shown.known, valid, shown.side)
        return units, routing

    def candidates(self, scene: Scene) -> dict[str, NDArray[np.float32]]:
        """The estimate; there is nothing to choose."""
        with torch.inference_mode():
            units, routing = self.estimated(self._shown(scene))
        self.usage = [] if routing is None else [round(float(share), 4) for share in routing.usage]
        unit = np.reshape(self.method.scale.unit, (-1, 1, 1, 1))
        return {"as trained": (units[0].double().cpu().numpy() * unit).astype(np.float32)}

    def choose(self, name: str) -> None:
        """There is one candidate."""

    def where(self, scene: Scene) -> NDArray[np.int64]:
        """(time, H, W) first choice among the experts at each place, for a map."""
        with torch.inference_mode():
            routing = self.estimated(self._shown(scene))[1]
        if routing is None:
            raise ValueError("this form has no experts")
        return np.asarray(routing.where[0].cpu().numpy(), dtype=np.int64)

    def _shown(self, scene: Scene) -> Shown:
        return Shown.of([scene], self.method.inputs, self.method.scale, self._device())

    def _device(self) -> torch.device:
        return next(self.network.parameters()).device


class Published:
    """What both forms share: scales, members, state."""

    NAME = ""
    FORM = Form()
    FACTOR = 1.0  # by which the loss is multiplied

    def __init__(self, options: Any = None) -> None:
        """Takes the fields of Options from any object that has them."""
        if options is not None:
            known = {
                field.name: getattr(options, field.name)
                for field in fields(Options)
                if hasattr(options, field.name)
            }
            options = Options(**known)
        self.options = options or Options()
        self.networks: list[Member] = []

    @property
    def form(self) -> Form:
        """The published form, less what is to be left out."""
        left: dict[str, dict[str, Any]] = {
            "scan": {"levels": 0},
            "experts": {"experts": 0},
            "sft": {"sft": False},
        }
        left |= {"frequency": {"frequency": False}, "attention": {"attention": "none"}, "law": {}}
        changes: dict[str, Any] = {} if self.options.pool is None else {"pool": self.options.pool}
        for part in self.options.without:
            changes |= left[part]
        return replace(self.FORM, **changes)

    def refusal(self, survey: Survey) -> str | None:
        """Why it would rather not learn here; None when it may."""
        cells = int(((survey.totals > 0.0) & survey.known).any(axis=(0, 1)).sum())
        if cells < LEARNABLE:
            return f"only {cells} coarse cells hold mass; below {LEARNABLE} nothing can be learned from them"
        return None

    def prepare(self, survey: Survey) -> None:
        """Measures the statistics of the training split and draws the first weights of one network."""
        self.layers, self.sectors = tuple(layer.name for layer in survey.layers), survey.sectors
        counted = survey.known & survey.target
        self.statistics = ZeroStatistics.of(survey.totals, counted)
        known = np.where(survey.known, survey.totals, 0.0)
        self.scale = Scale.of(known, self.statistics, survey.factor**2)
        self.inputs = Inputs.of(survey, keep_blocky=self.options.blocky_layers == "average")
        self.members((0,))

    def members(self, folds: Sequence[int]) -> tuple[Member, ...]:
        """A network for each fold, untrained."""
        self.networks = [Member(self) for _ in folds]
        for fold, member in zip(folds, self.networks, strict=True):
            generator = torch.Generator().manual_seed(self.options.seed + 1000 * fold)
            body: Any = member.network["body"]
            body.start(generator)
        self.folds = tuple(folds)
        return tuple(self.networks)

    def keep(self, folds: Sequence[int]) -> None:
        """Forgets what could not be trained."""
        pairs = [
            (fold, member) for fold, member in zip(self.folds, self.networks, strict=True) if fold in folds
        ]
        self.folds, self.networks = tuple(fold for fold, _ in pairs), [member for _, member in pairs]

    def calibrate(self, tiles: Sequence[Tile]) -> None:
        """Measures the scale of the inputs on some training tiles."""
        everywhere: Any = Everywhere()
        self.inputs = self.inputs.calibrated(tiles, everywhere)

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

    def choose(self, name: str) -> None:
        """There is one candidate."""

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """The mean of the networks, each of which meets the totals shown; without any, the totals spread evenly."""
        if not self.networks:
            even = np.where(scene.known, scene.totals, 0.0) / scene.side**2
            return (spread(even, scene.side) * scene.valid).astype(np.float32)
        usage = [list(member.usage) for member in self.networks]
        found = [member.candidates(scene)["as trained"] for member in self.networks]
        for member, before in zip(self.networks, usage, strict=True):
            member.usage = before  # what is reported stays that of the training
        return np.asarray(np.mean(found, axis=0, dtype=np.float64), dtype=np.float32)

    def compare(
        self, network: Any, estimate: Tensor, totals: Tensor, counted: Tensor, shown: Shown, factor: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and what it is made of.

        Args:
          network: with the learned weights.
          estimate: (B, sectors, time, H, W) units per fine cell.
          totals: (B, sectors, time, h, w) mass per coarse cell; counted: same shape, True = it may be asked.
          factor: fine cells along a coarse cell.
        """
        raise NotImplementedError

    def state(self) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """Weights of all networks, and all choices as JSON values."""
        weights = {
            f"{fold}/{name}": value.detach().cpu().numpy()
            for fold, member in zip(self.folds, self.networks, strict=True)
            for name, value in member.network.state_dict().items()
        }
        options = asdict(self.options)
        options |= {name: list(options[name]) for name in ("scales", "without")}
        plain = {
            "options": options,
            "layers": list(self.layers),
            "sectors": list(self.sectors),
            "inputs": self.inputs.plain(),
            "scale": {"unit": list(self.scale.unit), "top": list(self.scale.top)},
            "statistics": {name: value.tolist() for name, value in vars(self.statistics).items()},
            "folds": list(self.folds),
            "usage": [list(member.usage) for member in self.networks],
        }
        return weights, plain

    def load_state(self, arrays: Mapping[str, NDArray], plain: Mapping[str, Any]) -> None:
        """Rebuilds the networks as they were saved."""
        options = dict(plain["options"])
        self.options = Options(**(options | {name: tuple(options[name]) for name in ("scales", "without")}))
        self.layers, self.sectors = tuple(plain["layers"]), tuple(plain["sectors"])
        self.inputs = Inputs.from_plain(plain["inputs"])
        self.scale = Scale(**{name: tuple(values) for name, values in plain["scale"].items()})
        statistics = {name: np.array(values) for name, values in plain["statistics"].items()}
        self.statistics = ZeroStatistics(**statistics)
        for fold, member in zip(plain["folds"], self.members(plain["folds"]), strict=True):
            own = {
                name.partition("/")[2]: torch.from_numpy(np.array(value))
                for name, value in arrays.items()
                if name.startswith(f"{fold}/")
            }
            member.network.load_state_dict(own)
        for member, usage in zip(self.networks, plain["usage"], strict=True):
            member.usage = list(usage)

    def describe(self) -> dict[str, Any]:
        """Size, parts, inputs, and how often each expert was used in the last window of validation."""
        facts: dict[str, Any] = {
            "summary": f"DSTCarbonFormer {self.NAME} as published",
            "learns": True,
            "parameters": sum(w.numel() for member in self.networks for w in member.network.parameters()),
            "inputs": [self.layers[index] for index in self.inputs.layers],
            "form": asdict(self.form),
        }
        weights = [member.network["weights"] for member in self.networks]
        if self.NAME == "v1.7":
            facts["loss_weights"] = [
                [round(float(value), 4) for value in weight.weights().detach()]  # type: ignore[operator]
                for weight in weights
            ]
        return facts | {"expert_use": [list(member.usage) for member in self.networks]}


class V17(Published):
    """Trained on the picture of the 1 km totals, since no finer truth may be shown: no skill below 1 km is taught."""

    NAME = "v1.7"
    FORM = V1_7
    FACTOR = 1000.0  # as published; AdamW does not feel it

    def compare(
        self, network: Any, estimate: Tensor, totals: Tensor, counted: Tensor, shown: Shown, factor: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """1000 (w1 balanced Charbonnier + w2 (1 - SSIM) + w3 roughness), on the logarithmic scale of 0 to 1."""
        ours = self.scale.shown(estimate)
        mosaic = self.scale.shown(self.scale.units(totals / factor**2))
        theirs, asked = (
            part.repeat_interleave(factor, -2).repeat_interleave(factor, -1) for part in (mosaic, counted)
        )
        asked = asked & shown.valid
        terms = (
            balanced_charbonnier(ours, theirs, asked),
            ssim_loss(ours, theirs, asked),
            roughness(ours, asked),
        )
        loss: Tensor = self.FACTOR * network["weights"](torch.stack(terms))
        weights = network["weights"].weights().detach()
        told = {name: term.detach() for name, term in zip(("pixel", "ssim", "roughness"), terms, strict=True)}
        names = (f"weight {name}" for name in list(told))
        return loss, told | dict(zip(names, weights, strict=True))


class V30(Published):
    """Trained on sums of 10 x 10 cells alone."""

    NAME = "v3.0"
    FORM = V3_0

    def compare(
        self, network: Any, estimate: Tensor, totals: Tensor, counted: Tensor, shown: Shown, factor: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The macro-micro weighted error of block sums, or one of our own losses on them."""
        mass = estimate * estimate.new_tensor(self.scale.unit)[:, None, None, None]
        sums = block_sums(mass, factor)
        loss = ON_SUMS[self.options.sum_loss](sums, totals, counted, self.statistics)
        return loss, {"sums": loss.detach()}
