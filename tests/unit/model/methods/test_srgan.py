"""SRGAN: where contents are compared, the second phase, and a discriminator that has won."""

import numpy as np
import pytest
import torch

from model.layers.losses.content import VGG19, Vgg, features, radial_power, spectral
from model.methods.srgan.options import SRGANOptions
from model.methods.srgan.srgan import SRGAN
from model.training.pairs import Pair
from stages.artifacts.checkpoint import network_weights
from tests.train_settings import pairs_trainer, told

FACTOR = 3


def rough(count: int, seed: int) -> list[Pair]:
    rng = np.random.default_rng(seed)
    fields = rng.gamma(1.0, 3.0, (count, 24, 24))
    whole = np.ones((24, 24), bool)
    return [Pair.of(field, whole, whole, FACTOR) for field in fields]


class Fields:
    def __init__(self, pairs: list[Pair]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def draw(self, rng, count):
        return [self.pairs[int(index)] for index in rng.integers(len(self.pairs), size=count)]

    def whole(self, index):
        return self.pairs[index]


class Forgetful:
    def save(self, state, epoch=None, best=False) -> None: ...

    def load(self):
        return None


def method(**changes) -> SRGAN:
    few = {"epochs": 1, "steps_per_epoch": 3, "batch_tiles": 4, "adversarial_epochs": 2}
    made = SRGAN(*told(SRGANOptions, **({"width": 8, "residual_blocks": 1} | few | changes)))
    made._build(FACTOR)
    from model.layers.networks.srresnet import Discriminator

    made.critic = Discriminator(4)
    made.fit(rough(4, 1))
    return made


@pytest.mark.parametrize("content", [spectral, features])
def test_contents_are_alike_for_equal_fields_and_not_for_smooth_ones(content):
    truth = torch.from_numpy(np.random.default_rng(0).gamma(1.0, 3.0, (2, 1, 24, 24))).float()
    smooth = torch.nn.functional.avg_pool2d(truth, 5, stride=1, padding=2)
    assert float(content(truth, truth)) == pytest.approx(0.0, abs=1e-6)
    assert float(content(smooth, truth)) > 10 * float(content(truth + 1e-3, truth)) + 1e-3


def test_contents_by_spectrum_do_not_mind_where_the_rain_fell():
    truth = torch.rand(1, 1, 32, 32)
    moved = torch.flip(truth, (2, 3))
    assert float(spectral(moved, truth)) < 1e-4 < float((moved - truth).abs().mean())
    assert radial_power(truth).shape == (1, 16)


def test_the_second_phase_tells_content_adversary_and_discriminator():
    made = method()
    progress = pairs_trainer(made, Fields(rough(6, 2)), rough(2, 9), 0, Forgetful()).run()
    last = progress.history[-1]
    assert last["phase"] == "adversarial" and progress.total == 9
    assert {"content", "adversarial", "discriminator", "generator"} <= set(last["losses"])
    assert made.describe()["contents compared by"].startswith("difference of log power spectra")


def test_training_stops_when_the_discriminator_has_won():
    """A discriminator that cannot be fooled: its loss is nothing for an epoch, so the phase ends there."""
    made = method(adversarial_epochs=5)
    made.critic_loss = lambda pairs, generator: (
        1e-4 * sum(p.square().mean() for p in made.critic.parameters())
    )
    progress = pairs_trainer(made, Fields(rough(6, 2)), rough(2, 9), 0, Forgetful()).run()
    assert progress.total == 3 + 3
    assert len(progress.notes) == 1 and "discriminator had won at step 6" in progress.notes[0]


def vgg_weights(scale: float = 0.05) -> dict[str, np.ndarray]:
    """Weights of VGG19's shape; the published ones are not shipped."""
    rng = np.random.default_rng(0)
    found, inputs, index = {}, 3, 0
    for entry in VGG19:
        if isinstance(entry, str):
            index += 1
            continue
        found[f"features.{index}.weight"] = (scale * rng.normal(size=(entry, inputs, 3, 3))).astype(
            np.float32
        )
        found[f"features.{index}.bias"] = np.zeros(entry, np.float32)
        inputs, index = entry, index + 2
    return found


def test_vgg19_takes_weights_by_their_published_names_and_no_others():
    weights = vgg_weights()
    assert "features.34.weight" in weights  # conv 4 before pool 5
    network = Vgg(weights)
    truth = torch.rand(1, 1, 32, 32)
    assert float(network(truth, truth)) == 0.0 < float(network(truth.flip(2), truth))
    assert not any(part.requires_grad for part in network.parameters())
    with pytest.raises(KeyError):
        Vgg({name: value for name, value in weights.items() if "34" not in name})


def test_a_file_of_weights_is_read_without_running_anything(tmp_path):
    """A pickle that would run code is refused, and does not run; its hash is told of a good one."""
    import hashlib

    from model.ground.errors import InputError

    good = tmp_path / "vgg19.pt"
    torch.save({"features.0.weight": torch.ones(2)}, good)
    arrays, digest = network_weights(str(good))
    assert arrays["features.0.weight"].tolist() == [1.0, 1.0]
    assert digest == hashlib.sha256(good.read_bytes()).hexdigest()

    class Runs:
        def __reduce__(self):
            return (open, (str(tmp_path / "canary"), "w"))

    torch.save({"features.0.weight": Runs()}, tmp_path / "bad.pt")
    with pytest.raises(InputError, match="refused"):
        network_weights(str(tmp_path / "bad.pt"))
    assert not (tmp_path / "canary").exists()
    with pytest.raises(InputError, match="no such file"):
        network_weights(str(tmp_path / "absent.pt"))
