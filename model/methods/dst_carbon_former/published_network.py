"""One network of a published form: its loss, its estimates, and which of its experts work where."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.ground.scene import Scene, Tile, counted_groups
from model.layers.experts import Routing
from model.layers.losses.image import LearnedWeights
from model.layers.network_batch import NetworkBatch, Scale, as_it_is, random_turn
from model.layers.networks.carbon_former import CarbonFormer, Form
from model.layers.precision import measuring
from model.layers.water_filling import water_fill_blocks
from model.methods.dst_carbon_former.options import PublishedOptions
from model.training.losses import groups_of
from model.training.network_inputs import Inputs
from model.training.options import TrainingOptions
from model.training.phase import Keep, OptimisationStep, Patience, Phase
from model.training.schedule import ONE_CYCLE

EMA_DECAY = 0.9  # memory of the averaged weights
BALANCE = 0.01  # weight of the experts' balance term, in units of the loss's own factor (Fedus et al. 2021)


class Shared(Protocol):
    """What the networks of a method share: scales, inputs, form, options and loss."""

    NAME: str
    FACTOR: float
    options: PublishedOptions
    training: TrainingOptions
    sectors: tuple[str, ...]
    inputs: Inputs
    scale: Scale

    @property
    def form(self) -> Form:
        """The parts of its network."""

    def compare(
        self,
        network: nn.ModuleDict,
        estimate: Tensor,
        totals: Tensor,
        counted: Tensor,
        shown: NetworkBatch,
        factor: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and what it is made of."""


class Member:
    """One network, its loss and its estimates."""

    def __init__(self, method: Shared) -> None:
        """Args: method: whose scales, inputs, form, options and loss it shares."""
        self.method = method
        body = CarbonFormer(len(method.inputs.mean), len(method.sectors), method.form, method.options.width)
        self.network = nn.ModuleDict({"body": body, "weights": LearnedWeights(3)})
        self.usage: list[float] = []
        self.terms: dict[str, Tensor] = {}

    def phases(self) -> tuple[Phase, ...]:
        """One phase, under the name of the form.

        The state of the best validation is kept; training stops when it has not come for `patience` epochs.
        """
        training = self.method.training
        phase = Phase(
            self.method.NAME,
            training.epochs,
            training.steps_per_epoch,
            training.batch_tiles,
            turns=(OptimisationStep("network", self.network, self.loss, self.told),),
            optim=training.optim(ONE_CYCLE, EMA_DECAY),
            keep=Keep.best_within(),
            stop=(Patience(training.patience),),
        )
        return (phase,)

    def loss(self, tiles: Sequence[Tile], generator: torch.Generator) -> Tensor:
        """Shows merged totals and compares with the 1 km totals: their mosaic (v1.7), or their sums (v3.0).

        Args:
          tiles: of one size; one group of merged coarse cells is drawn for all of them.
          generator: of the group, the turn and the covariates that are hidden.
        Returns: scalar, with the experts' balance term where there are experts.
        """
        method = self.method
        offered = groups_of(method.training.coarsen, *tiles[0].totals.shape[-2:])
        group = offered[int(torch.randint(len(offered), (), generator=generator))]
        turn = random_turn(generator) if method.options.augment else as_it_is
        batch = [tile.scene(group) for tile in tiles]
        shown = NetworkBatch.of(batch, method.inputs, method.scale, self._device()).turned(turn)
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
        """The terms of the last loss, and the weights that v1.7 learns for its own.

        Read after a step, for those who watch; empty before the first.
        """
        return {name: float(value) for name, value in self.terms.items()}

    def _stacked(self, arrays: Sequence[NDArray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).float().to(self._device())

    def estimated(self, shown: NetworkBatch, law: bool = True) -> tuple[Tensor, Routing | None]:
        """The estimate of what is shown, and where its experts worked.

        Args: law: whether the totals shown are met by water filling, exactly and with nothing below 0.
        Returns: (B, sectors, time, H, W) units per fine cell; None where the form has no experts.
        """
        raw, routing = self.network["body"](shown.auxiliary, shown.main, shown.side)
        with measuring(raw):
            units = self.method.scale.read(raw.float())
            if law:
                valid = shown.valid.expand(units.shape)
                units = water_fill_blocks(units, shown.totals, shown.known, valid, shown.side)
        return units, routing

    def candidates(self, scene: Scene) -> dict[str, NDArray[np.float32]]:
        """The estimate; there is nothing to choose.

        Returns: under one name, (sectors, time, H, W) mass per fine cell. Notes how often experts were used.
        """
        with torch.inference_mode():
            units, routing = self.estimated(self._shown(scene))
        self.usage = [] if routing is None else [round(float(share), 4) for share in routing.usage]
        unit = np.reshape(self.method.scale.unit, (-1, 1, 1, 1))
        return {"as trained": (units[0].double().cpu().numpy() * unit).astype(np.float32)}

    def choose(self, name: str) -> None:
        """There is one candidate."""

    def where(self, scene: Scene) -> NDArray[np.int64]:
        """(time, H, W) first choice among the experts at each place, for a map.

        Raises: ValueError when the form has no experts.
        """
        with torch.inference_mode():
            routing = self.estimated(self._shown(scene))[1]
        if routing is None:
            raise ValueError("this form has no experts")
        return np.asarray(routing.where[0].cpu().numpy(), dtype=np.int64)

    def _shown(self, scene: Scene) -> NetworkBatch:
        return NetworkBatch.of([scene], self.method.inputs, self.method.scale, self._device())

    def _device(self) -> torch.device:
        return next(self.network.parameters()).device
