"""Small synthetic ground for tests of everything that learns."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from model.ground.blocks import merge
from model.ground.scene import Layer, Tile
from model.ground.survey import Survey

LAYERS = (Layer("built", "share"), Layer("age", "share"), Layer("census", "total", blocky=True))


def build_tile(seed: int, blocks: int = 12, factor: int = 4, years: int = 2, sectors: int = 2) -> Tile:
    """Clumps of buildings; mass follows built x age, so there is something to learn."""
    rng = np.random.default_rng(seed)
    side = blocks * factor
    rough = rng.normal(size=(side, side))
    for _ in range(6):
        rough = rough + sum(np.roll(rough, shift, axis) for shift in (-1, 1) for axis in (0, 1)) / 4
    built = np.clip(rough / rough.std() - 0.3, 0.0, 1.0)
    age = built * (np.linspace(0, 1, side)[:, None] > 0.4)
    mass = np.stack([(sector + 1.0) * built * (0.2 + age) for sector in range(sectors)])
    totals = np.repeat(merge(mass, factor)[:, None], years, axis=1)
    census = np.kron(merge(mass[0], factor), np.ones((factor, factor)))
    covariates = np.repeat(np.stack([built, age, census])[:, None], years, axis=1).astype(np.float32)
    return Tile(
        covariates,
        np.ones((side, side), bool),
        totals,
        np.ones(totals.shape, bool),
        np.ones((blocks, blocks), bool),
        factor,
        LAYERS,
    )


def survey_of(tile: Tile) -> Survey:
    """The survey of a map that is one tile."""
    values = tile.covariates.reshape(len(tile.layers), -1).astype(np.float64)
    medians = np.array([np.median(row[row > 0]) for row in values])
    return Survey(
        tile.layers,
        tuple(f"sector{index}" for index in range(tile.totals.shape[0])),
        tile.factor,
        tile.totals,
        tile.known,
        merge(tile.covariates.astype(np.float64), tile.factor),
        merge(tile.valid.astype(np.int64), tile.factor),
        tile.target,
        (values == 0).mean(1),
        medians,
    )


@pytest.fixture
def make_tile() -> Callable[..., Tile]:
    return build_tile


@pytest.fixture
def make_survey() -> Callable[[Tile], Survey]:
    return survey_of


class Plan:
    """Tiles of a split, as the training loop asks for them."""

    def __init__(self, tiles: list[Tile]) -> None:
        self.tiles = tiles
        self.mass = np.array([tile.totals.sum() for tile in tiles])

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, index: int) -> Tile:
        return self.tiles[index]


@pytest.fixture
def training_plan() -> Plan:
    return Plan([build_tile(seed) for seed in range(6)])


@pytest.fixture
def validation_plan() -> Plan:
    return Plan([build_tile(seed) for seed in range(20, 23)])


@pytest.fixture
def without_validation() -> Plan:
    """Tiles none of whose cells may be counted."""
    return Plan([replace(build_tile(1), target=np.zeros((12, 12), bool))])
