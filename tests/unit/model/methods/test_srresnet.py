"""SRResNet: what it is built of, what it learns from pairs, and what it keeps."""

import numpy as np
import pytest
import torch

from model.ground.blocks import merge
from model.layers.depth_scale import DepthScale
from model.layers.networks.srresnet import Discriminator, Generator, primes
from model.methods.srgan.options import SRResNetOptions
from model.methods.srgan.srresnet import SRResNet, conserve
from model.training.pairs import Pair
from model.training.validation import rmse_of
from tests.train_settings import pairs_trainer, told

FACTOR = 3


def fields(count: int, seed: int, side: int = 24) -> list[Pair]:
    """Smooth positive fields with a sea in a corner; block sums made of them."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        rough = rng.normal(size=(side, side))
        for _ in range(8):
            rough = sum(np.roll(rough, shift, axis) for shift in (-1, 0, 1) for axis in (0, 1)) / 6
        fine = np.exp(rough / rough.std())
        valid = np.add(*np.indices(fine.shape)) < 40
        made.append(Pair.of(np.where(valid, fine, np.nan), valid, np.ones_like(valid), FACTOR))
    return made


class Fields:
    """Fields as the training loop asks for them."""

    def __init__(self, pairs: list[Pair]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def draw(self, rng, count):
        return [
            self.pairs[int(rng.integers(len(self.pairs)))].turned(int(rng.integers(4)), False)
            for _ in range(count)
        ]

    def whole(self, index):
        return self.pairs[index]


class Memory:
    """A keeper that forgets nothing."""

    def __init__(self) -> None:
        self.states = []

    def save(self, state, epoch=None, best=False) -> None:
        arrays, plain = state
        self.states.append(({name: np.array(value) for name, value in arrays.items()}, dict(plain)))

    def load(self):
        return self.states[-1] if self.states else None


def method(**changes) -> SRResNet:
    few = {"epochs": 3, "steps_per_epoch": 8, "batch_tiles": 4}
    made = SRResNet(*told(SRResNetOptions, **({"width": 8, "residual_blocks": 1} | few | changes)))
    made._build(FACTOR)
    made.fit(fields(4, 1))
    return made


def test_a_factor_rises_by_its_primes():
    assert [primes(factor) for factor in (3, 5, 10, 40, 100)] == [
        (3,), (5,), (2, 5), (2, 2, 2, 5), (2, 2, 5, 5),
    ]  # fmt: skip


@pytest.mark.parametrize("factor", [3, 5, 10, 12])
def test_a_generator_gives_factor_cells_a_cell_and_none_below_zero(factor):
    network = Generator(2, factor, 8, 1)
    network.start(torch.Generator().manual_seed(0))
    torch.nn.init.normal_(network.tail.weight, std=1.0)
    out = network(torch.rand(2, 2, 4, 6))
    assert out.shape == (2, 1, 4 * factor, 6 * factor)
    assert float(out.detach().min()) == 0.0


def test_a_discriminator_of_any_size_of_field_says_one_number():
    network = Discriminator(4)
    assert [network(torch.rand(2, 1, side, side)).shape for side in (24, 45)] == [(2,), (2,)]


@pytest.mark.parametrize("kind", ["log1p", "quantile"])
def test_a_scale_keeps_zero_and_order_and_turns_back(kind):
    depths = np.random.default_rng(0).gamma(0.4, 10.0, 5000) * (np.arange(5000) % 3 > 0)
    scale = DepthScale.fitted(kind, depths)
    asked = torch.tensor([0.0, 0.1, 5.0, 200.0, 900.0])
    scaled = scale.to(asked)
    assert scaled[0] == 0.0 and (scaled.diff() > 0).all()
    torch.testing.assert_close(scale.back(scaled), asked, rtol=1e-4, atol=1e-6)
    again = DepthScale.from_json(scale.plain())
    assert torch.equal(again.to(asked), scaled)


def test_a_quantile_transform_makes_positive_depths_exponential():
    """The score at the median of positive values is -log(1 - 1/2)."""
    depths = np.random.default_rng(0).gamma(0.4, 10.0, 20_000)
    scale = DepthScale.fitted("quantile", depths)
    median = torch.tensor([float(np.median(depths))])
    assert float(scale.to(median)) == pytest.approx(np.log(2.0), rel=0.02)


def test_a_pair_shows_only_blocks_that_are_wholly_known():
    fine = np.ones((6, 6))
    fine[0, 0] = np.nan
    learnable = np.ones((6, 6), bool)
    learnable[3:, 3:] = False
    pair = Pair.of(fine, np.ones((6, 6), bool), learnable, 3)
    assert pair.known.tolist() == [[False, True], [True, False]]
    assert pair.totals.tolist() == [[0.0, 9.0], [9.0, 0.0]]
    assert not pair.counted[:3, :3].any() and not pair.counted[3:, 3:].any()


def test_a_pair_of_a_coast_holds_the_mass_of_its_valid_cells():
    fine = np.where(np.arange(9).reshape(3, 3) < 4, 2.0, np.nan)
    pair = Pair.of(fine, np.isfinite(fine), np.ones((3, 3), bool), 3)
    assert pair.totals.tolist() == [[8.0]] and pair.known.all() and pair.counted.sum() == 4


def test_a_turned_pair_still_sums_to_its_totals():
    pair = fields(1, 5)[0].turned(1, True)
    np.testing.assert_allclose(merge(pair.fine, FACTOR), pair.totals)


def test_what_is_learned_from_stands_after_totals_are_met():
    raw = torch.rand(1, 6, 6)
    totals = torch.tensor([[[9.0, 0.0], [3.0, 4.0]]])
    known = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])
    met = conserve(raw, totals, known, 3).numpy()[0]
    np.testing.assert_allclose(merge(met, 3)[known[0].numpy() > 0], [9.0, 0.0, 3.0], rtol=1e-6)
    assert np.array_equal(met[3:, 3:], raw[0, 3:, 3:].numpy())


def test_an_untrained_network_is_interpolation_on_the_log_scale_and_training_beats_it():
    made = method(epochs=8, steps_per_epoch=20, learning_rate=5e-3, width=12)
    valid = fields(3, 100)
    before = rmse_of(made.estimate, valid)
    progress = pairs_trainer(made, Fields(fields(12, 7)), valid, 0, Memory()).run()
    after = rmse_of(made.estimate, valid)
    assert after == pytest.approx(progress.kept[0].score)
    assert after < 0.97 * before


def test_an_estimate_meets_totals_of_another_factor_too():
    """Learned by 3, asked for 5: the field is interpolated from the learned one, blocks keep their sums."""
    made = method()
    rng = np.random.default_rng(2)
    fine = rng.gamma(2.0, 3.0, (20, 30))
    pair = Pair.of(fine, np.ones(fine.shape, bool), np.ones(fine.shape, bool), 5)
    found = made.estimate(pair.scene())[0, 0]
    assert found.shape == fine.shape
    np.testing.assert_allclose(merge(found.astype(np.float64), 5), pair.totals, rtol=1e-5)


def test_training_that_was_stopped_ends_in_the_same_bytes():
    """The keeper's state after two epochs, taken up by a fresh method, leads where the first one went."""
    train, valid = Fields(fields(6, 7)), fields(2, 100)
    whole, memory = method(), Memory()
    pairs_trainer(whole, train, valid, 3, memory, every=8).run()
    stopped = Memory()
    stopped.states = [state for state in memory.states if state[1]["total"] <= 16]
    resumed = method()
    pairs_trainer(resumed, train, valid, 3, stopped, every=8).run()
    for name, value in whole.state()[0].items():
        assert value.tobytes() == resumed.state()[0][name].tobytes(), name
