"""Each total shared out in proportion to the product of the covariates that rise with the totals."""

from collections.abc import Mapping
from itertools import repeat
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Masses, Scene
from model.ground.survey import Survey
from model.method import Facts, Phase
from model.options import MethodOptions
from model.priors.dasymetric import Evidence
from model.priors.pycnophylactic import rescale_to_totals
from model.training.options import TrainingOptions

FLOOR = 0.01  # of a layer's mean: only a cell that every layer leaves out is ruled out


class ProxyProductRecord(TypedDict):
    """The choices as a checkpoint keeps them.

    `used` are indices of layers; `means` and each row of `correlations` run over them, `chosen` are places among
    them. Of the last two there is one row a sector.
    """

    used: list[int]
    means: list[float]
    layers: list[str]
    sectors: list[str]
    chosen: list[list[int]]
    correlations: list[list[float]]


class ProxyProductFacts(Facts):
    """What the report tells of it, by sector."""

    proxies: dict[str, list[str]]
    correlations: dict[str, dict[str, float]]


class ProxyProduct:
    """The geometric mean of the layers, each in units of its mean: multiplicative weighting of several proxies.

    As in LitPop (Eberenz et al. 2020: night lights x population, with a shift where there are people but no
    light). Why a geometric mean: without the root every further layer would sharpen the map, however alike.
    """

    def __init__(self, options: MethodOptions | None = None, training: TrainingOptions | None = None) -> None:
        """There is nothing to choose."""
        self.chosen: tuple[tuple[int, ...], ...] = ()
        self.used: tuple[int, ...] = ()
        self.means: tuple[float, ...] = ()
        self.correlations: tuple[tuple[float, ...], ...] = ()
        self.layers: tuple[str, ...] = ()
        self.sectors: tuple[str, ...] = ()

    def prepare(self, survey: Survey) -> None:
        """Keeps for each sector the layers whose block means go up with the density of the totals.

        By rank correlation over the blocks that count: neither units nor a single plant decide. Layers as coarse
        as a block and layers that are the same everywhere are left out.
        """
        evidence = Evidence.of(survey)
        cells = np.maximum(evidence.cells, 1)
        mean, density = evidence.sums / cells, evidence.totals / cells
        self.layers = tuple(layer.name for layer in survey.layers)
        self.sectors, self.used = survey.sectors, evidence.layers
        ground = max(int(evidence.cells.sum()), 1)
        self.means = tuple(float(layer.sum() / (ground * len(layer))) for layer in evidence.sums)
        correlations, chosen = [], []
        for wanted, counted in zip(density, evidence.counted, strict=True):
            row = tuple(rank_correlation(layer[counted], wanted[counted]) for layer in mean)
            correlations.append(row)
            chosen.append(tuple(place for place, value in enumerate(row) if value > 0.0))
        self.correlations, self.chosen = tuple(correlations), tuple(chosen)

    def phases(self) -> tuple[Phase, ...]:
        """None: it does not learn.

        The training loop is left out and the checkpoint is written right after prepare.
        """
        return ()

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """The product on valid cells, scaled to the totals shown; without a usable layer evenly.

        Returns: (sectors, time, H, W) mass per fine cell. A cell is ruled out only where all chosen layers are 0.
        """
        return rescale_to_totals(
            np.stack([*map(self._product, repeat(scene), self.chosen)]) * scene.valid, scene
        )

    def _product(self, scene: Scene, places: tuple[int, ...]) -> Masses:
        """(time, H, W) geometric mean of the layers at `places` among those used; 0 where all of them are."""
        logs = np.zeros(scene.covariates.shape[1:])
        named = np.full(logs.shape, not places)
        for place in places:
            layer = np.maximum(scene.covariates[self.used[place]], 0.0).astype(np.float64)
            logs += np.log(layer / self.means[place] + FLOOR) / len(places)
            named |= layer > 0.0
        return np.exp(logs) * named

    def state(self) -> tuple[dict[str, NDArray], ProxyProductRecord]:
        """The choices, and the correlations behind them.

        Returns: no arrays; means are in the units of their layers.
        """
        return {}, {
            "used": list(self.used),
            "means": list(self.means),
            "layers": list(self.layers),
            "sectors": list(self.sectors),
            "chosen": list(map(list, self.chosen)),
            "correlations": list(map(list, self.correlations)),
        }

    def load_state(self, arrays: Mapping[str, NDArray], plain: ProxyProductRecord) -> None:
        """Restores the choices.

        Raises: KeyError when the record lacks one of its parts.
        """
        self.used, self.means = tuple(plain["used"]), tuple(plain["means"])
        self.layers, self.sectors = tuple(plain["layers"]), tuple(plain["sectors"])
        self.chosen = tuple(map(tuple, plain["chosen"]))
        self.correlations = tuple(map(tuple, plain["correlations"]))

    def describe(self) -> ProxyProductFacts:
        """The layers of each sector, and the rank correlation of every one with the totals.

        Correlations are Spearman's over blocks, -1 to 1; a layer is chosen where its own is above 0.
        """
        names = [self.layers[index] for index in self.used]
        proxies: dict[str, list[str]] = {}
        found: dict[str, dict[str, float]] = {}
        for sector, places, row in zip(self.sectors, self.chosen, self.correlations, strict=True):
            proxies[sector] = [names[place] for place in places]
            found[sector] = dict(zip(names, map(round, row, repeat(4)), strict=False))
        return {
            "summary": "each total shared out by the product of the covariates that rise with it",
            "learns": False,
            "proxies": proxies,
            "correlations": found,
        }


def rank_correlation(one: NDArray, other: NDArray) -> float:
    """Spearman's: Pearson's of the ranks, equal values sharing their mean rank; 0 where either is constant.

    Args: one, other: (n,) of the same places.
    Returns: -1 to 1; 0 for fewer than two places.
    """
    if one.size < 2:
        return 0.0
    first, second = _ranks(one), _ranks(other)
    if first.min() == first.max() or second.min() == second.max():
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: NDArray) -> NDArray[np.float64]:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: NDArray = (last - (count - 1) / 2.0)[place]
    return ranks
