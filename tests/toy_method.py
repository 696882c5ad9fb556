"""A method made up for tests, in one file with its options and one row; and an option that one of ours may get."""

import numpy as np

from model.methods.classical.uniform import Uniform
from model.methods.row import MethodRow
from model.methods.srgan.options import SRGANOptions
from model.options import MethodOptions
from model.priors.pycnophylactic import rescale_to_totals


class ToyOptions(MethodOptions):
    """What it may be told."""

    power: float = 1.0


class LaterOptions(SRGANOptions):
    """Those of SRGAN, and one that a later version may bring."""

    temperature: float = 2.0


class Toy(Uniform):
    """Row r of a block gets mass in proportion to (1 + r) to a power."""

    def __init__(self, options=None, training=None):
        """Args: as every method."""
        self.options = options or ToyOptions()

    def estimate(self, scene):
        """(sectors, time, H, W)."""
        rows = (1.0 + np.arange(scene.valid.shape[0]) % scene.side) ** self.options.power
        shape = (*scene.totals.shape[:2], *scene.valid.shape)
        return rescale_to_totals(np.broadcast_to(rows[:, None] * scene.valid, shape), scene)

    def state(self):
        """The power alone."""
        return {}, {"options": self.options.to_json()}

    def load_state(self, arrays, plain):
        """The inverse."""
        self.options = ToyOptions.from_json(plain["options"])


ROW = MethodRow(
    "tests.toy_method:Toy",
    "more mass in lower rows",
    "never",
    "nowhere",
    "tests.toy_method:ToyOptions",
    layers=False,
)
