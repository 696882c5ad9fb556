"""SRGAN: SRResNet's generator, taught by pixels, then by contents and a discriminator that it tries to fool."""

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model.layers.losses.content import CONTENTS, SHIPPED, Content, Vgg
from model.layers.networks.srresnet import Discriminator
from model.method import Phase, Survey, Turn
from model.methods.srgan.options import SRGANOptions
from model.methods.srgan.srresnet import SRResNet
from model.training.options import TrainingOptions


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
        self.told: dict[str, float] = {}

    def prepare(self, survey: Survey) -> None:
        """Builds both networks."""
        super().prepare(survey)
        self.critic = Discriminator(max(4, self.options.width // 2))
        self.critic.start(torch.Generator().manual_seed(self.training.seed + 1))

    def compare_by(self, weights: Mapping[str, NDArray], words: str) -> None:
        """Compares contents by VGG19. Args: weights: of it; words: what the file is, for every table."""
        self.content, self.compared = Vgg(weights), words

    def place(self, device: str) -> None:
        """Moves its networks to cpu or cuda."""
        super().place(device)
        for network in (self.critic, self.content):
            if isinstance(network, torch.nn.Module):
                network.to(device)

    def phases(self) -> tuple[Phase, ...]:
        """Pixels first; then the discriminator's turn and the generator's in each step."""
        if self.critic is None:
            return ()
        judge = Turn("discriminator", self.critic, self.critic_loss)
        fool = Turn("generator", self._network, self.content_loss)
        pace = {**self._pace(), "learning_rate": self.training.learning_rate / 4}
        options = {**pace, "keep": "last", "judge": "discriminator"}
        return self._pretrain(), Phase("adversarial", self.options.adversarial_epochs, options, (judge, fool))

    def critic_loss(self, pairs: Any, generator: torch.Generator) -> Tensor:
        """Binary cross entropy of telling true fields from found ones."""
        with torch.no_grad():
            found, truth = self._fields(pairs)
        true, false = self._judged(truth), self._judged(found)
        loss = functional.binary_cross_entropy_with_logits
        return (loss(true, torch.ones_like(true)) + loss(false, torch.zeros_like(false))) / 2

    def content_loss(self, pairs: Any, generator: torch.Generator) -> Tensor:
        """Pixels, contents, and a little of what the discriminator says."""
        found, batch = self.generate(pairs)
        counted = batch.counted
        off = (found - batch.fine) / self.deviation
        pixels = (off**2 * counted).sum() / counted.sum().clamp(min=1.0)
        fields = [(field * counted / self.deviation)[:, None] for field in (found, batch.fine)]
        content = pixels + self.options.content_weight * self.content(fields[0], fields[1])
        judged = self._judged(self.scale.to(found * counted)[:, None])
        fooled = functional.binary_cross_entropy_with_logits(judged, torch.ones_like(judged))
        self.told = {"content": float(content.item()), "adversarial": float(fooled.item())}
        return content + self.options.adversarial_weight * fooled

    def _judged(self, fields: Tensor) -> Tensor:
        assert self.critic is not None
        logits: Tensor = self.critic(fields)
        return logits

    def _fields(self, pairs: Any) -> tuple[Tensor, Tensor]:
        """(N, 1, H, W) found and true, on the scale of networks; both 0 where the truth is not counted."""
        found, batch = self.generate(pairs)
        found, truth = (self.scale.to(field * batch.counted)[:, None] for field in (found, batch.fine))
        return found, truth

    def load_state(self, arrays: Mapping[str, NDArray], plain: Mapping[str, Any]) -> None:
        """Rebuilds the generator; the discriminator has done its work."""
        super().load_state(arrays, plain)
        self.compared = plain["compared"]

    def state(self) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """Weights of the generator, and all choices as JSON values."""
        arrays, plain = super().state()
        return arrays, {**plain, "compared": self.compared}

    def describe(self) -> dict[str, Any]:
        """Size, steps, transform, and where contents were compared."""
        return {**super().describe(), "contents compared by": self.compared}
