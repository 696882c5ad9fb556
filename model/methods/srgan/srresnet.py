"""SRResNet: a network that learns from pairs how fields look inside a block; every block keeps its total."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model.ground.blocks import merge, spread
from model.ground.scene import Masses, Scene, Tile
from model.ground.survey import Survey
from model.layers.depth_scale import DepthScale
from model.layers.networks.srresnet import Generator, primes
from model.layers.precision import measuring
from model.methods.srgan.options import SRResNetOptions
from model.methods.srgan.record import SRResNetFacts, SRResNetRecord
from model.priors.pycnophylactic import bilinear, mean_density, rescale_to_totals
from model.training.options import TrainingOptions
from model.training.pairs import Pair, looks
from model.training.phase import Keep, OptimisationStep, Patience, Phase
from model.training.schedule import WARM_COSINE

CHANNELS = 2  # density of a block, and the share of its cells that is valid


class SRResNet:
    """Fine depth = scale of (interpolated + learned), cut at 0, each block scaled to the total shown."""

    summary = "a residual network with sub-pixel steps, learned from pairs of coarse and fine fields"

    OPTIONS: ClassVar[type[SRResNetOptions]] = SRResNetOptions

    def __init__(
        self, options: SRResNetOptions | None = None, training: TrainingOptions | None = None
    ) -> None:
        """Args: options: its own; training: of the loop, of which its phases are made."""
        self.options, self.training = options or self.OPTIONS(), training or TrainingOptions()
        self.scale = DepthScale(1.0)
        self.deviation = 1.0  # of fine values over the training dates
        self.generator: Generator | None = None
        self.learned = False

    def prepare(self, survey: Survey) -> None:
        """Builds the network for the factor of the map; the unit is its mean density until pairs tell better.

        The first weights follow from the seed of the train section.
        """
        density = mean_density(survey)
        self.scale, self.deviation = DepthScale(float(density.mean())), float(density.mean())
        self._build(survey.factor)

    def calibrate(self, tiles: Sequence[Tile]) -> None:
        """Nothing: pairs are looked at by fit.

        Tiles hold totals alone, and the transform is one of fine values.
        """

    @property
    def shifts_blocks(self) -> bool:
        """As its options say."""
        return self.options.shift_blocks

    def fit(self, pairs: Sequence[Pair]) -> None:
        """Fits the transform to fine values of training dates.

        Counted cells alone; without any the unit stays the mean density. A constant field has deviation 1.
        """
        values = np.concatenate([pair.fine[pair.counted] for pair in pairs])
        if values.size:
            self.scale = DepthScale.fitted(self.options.transform, values)
            self.deviation = float(values.std()) or 1.0
        self.learned = True

    def place(self, device: str) -> None:
        """Moves its networks to cpu or cuda.

        Raises: RuntimeError before prepare or load_state.
        """
        self._network.to(device)

    def phases(self) -> tuple[Phase, ...]:
        """One phase, that lowers the squared error of what stands after every block got its total.

        The state of the best validation is kept; training stops when it has not come for `patience` epochs.
        """
        return (self._pretrain(),)

    def _pretrain(self) -> Phase:
        training = self.training
        return Phase(
            "pretrain",
            training.epochs,
            training.steps_per_epoch,
            training.batch_tiles,
            turns=(OptimisationStep("generator", self._network, self.pixel_loss),),
            optim=training.optim(WARM_COSINE, ema_decay=0.0),
            keep=Keep.best_within(),
            stop=(Patience(training.patience),),
        )

    def choose(self, name: str) -> None:
        """There is one candidate."""

    def pixel_loss(self, pairs: Sequence[Pair], generator: torch.Generator) -> Tensor:
        """Mean squared error over counted cells, in variances of the fine field.

        Args: pairs: of one factor; generator: not used, nothing is drawn.
        Returns: scalar.
        """
        estimate, batch = self.generate(pairs)
        with measuring(estimate):
            return self._squared(estimate, batch)

    def _squared(self, estimate: Tensor, batch: "Batch") -> Tensor:
        off = (estimate - batch.fine) / self.deviation
        return (off**2 * batch.counted).sum() / batch.counted.sum().clamp(min=1.0)

    def generate(self, pairs: Sequence[Pair]) -> tuple[Tensor, "Batch"]:
        """(N, H, W) mass per fine cell that meets the totals shown, and the batch as tensors.

        Args: pairs: of one size and factor. Where a total is unknown a block stays as the network left it.
        """
        batch = Batch.of(pairs, next(self._network.parameters()).device)
        raw = self._raw(batch.seen)[:, 0] * batch.valid
        with measuring(raw):
            return conserve(raw, batch.totals, batch.known, pairs[0].factor), batch

    def _raw(self, seen: Tensor) -> Tensor:
        """(N, 1, H, W) depth per fine cell, before it meets totals."""
        scaled = torch.cat([self.scale.to(seen[:, :1]), seen[:, 1:]], dim=1)
        answer = self._network(scaled)
        with measuring(answer):
            return self.scale.back(answer.float())

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """The learned field, scaled to the totals shown; of another factor than it learned, interpolated from it.

        A block of which the network sees nothing, though it holds mass, is spread evenly.
        """
        network = self._network.eval()
        seen = torch.from_numpy(looks(scene)).to(next(network.parameters()).device)
        with torch.inference_mode():
            found = np.concatenate([self._raw(part)[:, 0].double().cpu().numpy() for part in seen.split(8)])
        rows, cols = scene.valid.shape
        learned = network.factor
        density: Masses = found.reshape(*scene.totals.shape[:2], *found.shape[1:])
        density = bilinear(density, learned, scene.side)[..., :rows, :cols] * scene.valid
        plain = (
            spread(seen[:, 0].double().cpu().numpy().reshape(scene.totals.shape), scene.side) * scene.valid
        )
        empty = spread(merge(density, scene.side) <= 0, scene.side)
        return rescale_to_totals(np.where(empty, plain, density), scene)

    @property
    def _network(self) -> Generator:
        if self.generator is None:
            raise RuntimeError("prepare() or load_state() comes first")
        return self.generator

    def _build(self, factor: int) -> None:
        self.generator = Generator(CHANNELS, factor, self.options.width, self.options.residual_blocks)
        self.generator.start(torch.Generator().manual_seed(self.training.seed))

    def state(self) -> tuple[dict[str, NDArray], SRResNetRecord]:
        """Weights of the generator, and all choices as JSON values.

        Returns: the tensors of the network by their torch names; options, factor and scales.
        """
        weights = {name: value.detach().cpu().numpy() for name, value in self._network.state_dict().items()}
        plain: SRResNetRecord = {
            "options": self.options.to_json(), "factor": self._network.factor, "scale": self.scale.plain(),
            "deviation": self.deviation, "learned": self.learned,
        }  # fmt: skip
        return weights, plain

    def load_state(self, arrays: Mapping[str, NDArray], plain: SRResNetRecord) -> None:
        """Rebuilds the network as it was saved.

        Raises: RuntimeError when names or shapes of the weights are not those of the options; pydantic's
          ValidationError when an option is none of this method's.
        """
        self.options = self.OPTIONS.from_json(plain["options"])
        self.scale, self.deviation = DepthScale.from_json(plain["scale"]), float(plain["deviation"])
        self.learned = bool(plain["learned"])
        self._build(int(plain["factor"]))
        self._network.load_state_dict(
            {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
        )

    def describe(self) -> SRResNetFacts:
        """Size, steps and transform.

        The steps are the prime factors of the factor, one sub-pixel layer each.
        """
        return {
            "summary": self.summary,
            "learns": self.learned,
            "parameters": sum(weight.numel() for weight in self._network.parameters()),
            "sub-pixel steps": list(primes(self._network.factor)),
            "transform": "quantile" if self.scale.values else "log1p",
        }


@dataclass(frozen=True)
class Batch:
    """Pairs as tensors: seen (N, 2, h, w), totals and known (N, h, w), the rest (N, H, W)."""

    seen: Tensor
    fine: Tensor
    valid: Tensor
    counted: Tensor
    totals: Tensor
    known: Tensor

    @classmethod
    def of(cls, pairs: Sequence[Pair], device: torch.device) -> "Batch":
        def stacked(values: Sequence[NDArray]) -> Tensor:
            return torch.from_numpy(np.stack(values).astype(np.float32)).to(device)

        seen = np.concatenate([looks(pair.scene()) for pair in pairs])
        names = ("fine", "valid", "counted", "totals", "known")
        return cls(stacked(list(seen)), *(stacked([getattr(pair, name) for pair in pairs]) for name in names))


def conserve(raw: Tensor, totals: Tensor, known: Tensor, factor: int) -> Tensor:
    """Each block in proportion to the total shown, where there is one; (N, H, W).

    Args:
      raw: (N, H, W) mass per fine cell, 0 or more. totals, known: (N, h, w); known > 0 = the total counts.
      factor: fine cells along a coarse one.
    Returns: like raw. A block whose sum is below 1e-12 stays as it is: a quotient of nothing tells nothing.
    """
    sums = functional.avg_pool2d(raw[:, None], factor, divisor_override=1)[:, 0]
    usable = (known > 0) & (sums > 1e-12)
    scale = torch.where(usable, totals / torch.where(usable, sums, 1.0), 1.0)
    return raw * spread(scale, factor)
