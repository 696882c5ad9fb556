"""SRGAN: SRResNet's generator, taught by pixels, then by contents and a discriminator that it tries to fool."""

from collections.abc import Mapping, Sequence

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model.ground.survey import Survey
from model.layers.losses.content import CONTENTS, SHIPPED, Content, Vgg
from model.layers.networks.srresnet import Discriminator
from model.layers.precision import measuring
from model.methods.srgan.options import SRGANOptions
from model.methods.srgan.record import SRResNetFacts, SRResNetRecord
from model.methods.srgan.srresnet import Batch, SRResNet
from model.training.options import TrainingOptions
from model.training.pairs import Pair
from model.training.phase import Keep, OptimisationStep, Phase, WhenWon
from model.training.schedule import WARM_COSINE

ADVERSARIAL_RATE = 1 / 4  # of the learning rate, in the second phase
WON = 0.02  # mean loss of the discriminator over an epoch below which nothing is learned from it any more


class SRGAN(SRResNet):
    """As SRResNet, with a second phase; what is kept of it is the generator."""

    summary = "SRResNet, then taught by contents and a discriminator, for fields as rough as true ones"

    OPTIONS = SRGANOptions
    options: SRGANOptions

    def __init__(self, options: SRGANOptions | None = None, training: TrainingOptions | None = None) -> None:
        """Args: options: its own; training: of the loop, of which its phases are made."""
        super().__init__(options, training)
        self.critic: Discriminator | None = None
        self.content: Content = CONTENTS.get(self.options.content, CONTENTS["spectral"])
        self.compared = SHIPPED.get(self.options.content, "")
        self.terms: dict[str, float] = {}  # of the last loss

    def prepare(self, survey: Survey) -> None:
        """Builds both networks.

        The discriminator is half as wide, but 4 channels at least; its first weights follow from the seed + 1.
        """
        super().prepare(survey)
        self.critic = Discriminator(max(4, self.options.width // 2))
        self.critic.start(torch.Generator().manual_seed(self.training.seed + 1))

    def compare_by(self, weights: Mapping[str, NDArray], words: str) -> None:
        """Compares contents by VGG19 (Simonyan and Zisserman 2015).

        Args:
          weights: by their published names, `features.0.weight` and on.
          words: what the file is, for every table.
        """
        self.content, self.compared = Vgg(weights), words

    def place(self, device: str) -> None:
        """Moves its networks to cpu or cuda.

        Both, and the one that compares contents where that is a network.
        """
        super().place(device)
        for network in (self.critic, self.content):
            if isinstance(network, torch.nn.Module):
                network.to(device)

    def phases(self) -> tuple[Phase, ...]:
        """Pixels first; then the discriminator's turn and the generator's in each step.

        As Ledig et al. (2017). The second phase keeps its last state, since its loss is no measure of skill, and
        ends early once the discriminator has won. None after load_state: the discriminator is not kept.
        """
        if self.critic is None:
            return ()
        training = self.training
        judge = OptimisationStep("discriminator", self.critic, self.critic_loss)
        fool = OptimisationStep("generator", self._network, self.content_loss, lambda: self.terms)
        adversarial = Phase(
            "adversarial",
            self.options.adversarial_epochs,
            training.steps_per_epoch,
            training.batch_tiles,
            turns=(judge, fool),
            optim=training.optim(WARM_COSINE, ema_decay=0.0, rate=ADVERSARIAL_RATE),
            keep=Keep.last(),
            stop=(WhenWon("discriminator", WON),),
        )
        return self._pretrain(), adversarial

    def critic_loss(self, pairs: Sequence[Pair], generator: torch.Generator) -> Tensor:
        """Binary cross entropy of telling true fields from found ones.

        Args: pairs: of one factor; generator: not used.
        Returns: scalar. No gradient reaches the generator network.
        """
        with torch.no_grad():
            found, truth = self._fields(pairs)
        true, false = self._judged(truth), self._judged(found)
        loss = functional.binary_cross_entropy_with_logits
        return (loss(true, torch.ones_like(true)) + loss(false, torch.zeros_like(false))) / 2

    def content_loss(self, pairs: Sequence[Pair], generator: torch.Generator) -> Tensor:
        """Pixels, contents, and a little of what the discriminator says.

        Returns: scalar, mean squared error in variances of the fine field, plus content_weight x contents, plus
          adversarial_weight x the cross entropy of being taken for true.
        """
        found, batch = self.generate(pairs)
        with measuring(found):
            return self._content(found, batch)

    def _content(self, found: Tensor, batch: Batch) -> Tensor:
        counted = batch.counted
        off = (found - batch.fine) / self.deviation
        pixels = (off**2 * counted).sum() / counted.sum().clamp(min=1.0)
        ours = (found * counted / self.deviation)[:, None]
        theirs = (batch.fine * counted / self.deviation)[:, None]
        content = pixels + self.options.content_weight * self.content(ours, theirs)
        judged = self._judged(self.scale.to(found * counted)[:, None])
        fooled = functional.binary_cross_entropy_with_logits(judged, torch.ones_like(judged))
        self.terms = {"content": float(content.item()), "adversarial": float(fooled.item())}
        return content + self.options.adversarial_weight * fooled

    def _judged(self, fields: Tensor) -> Tensor:
        assert self.critic is not None
        logits: Tensor = self.critic(fields)
        return logits.float()

    def _fields(self, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        """(N, 1, H, W) found and true, on the scale of networks; both 0 where the truth is not counted."""
        found, batch = self.generate(pairs)
        truth = self.scale.to(batch.fine * batch.counted)[:, None]
        return self.scale.to(found * batch.counted)[:, None], truth

    def load_state(self, arrays: Mapping[str, NDArray], plain: SRResNetRecord) -> None:
        """Rebuilds the generator; the discriminator has done its work.

        Raises: KeyError when the record is that of SRResNet, which compared no contents.
        """
        super().load_state(arrays, plain)
        self.compared = plain["compared"]

    def state(self) -> tuple[dict[str, NDArray], SRResNetRecord]:
        """Weights of the generator, and all choices as JSON values.

        The discriminator is left out: no estimate needs it.
        """
        arrays, plain = super().state()
        return arrays, {**plain, "compared": self.compared}

    def describe(self) -> SRResNetFacts:
        """Size, steps, transform, and where contents were compared.

        Of another's weights the words tell what file they came from.
        """
        return {**super().describe(), "contents compared by": self.compared}
