"""Each total shared out in proportion to the product of the covariates that rise with the totals."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Masses, Scene
from model.method import Phase, Survey
from model.options import MethodOptions
from model.priors.dasymetric import Evidence
from model.priors.pycnophylactic import meet_totals
from model.training.options import TrainingOptions

FLOOR = 0.01  # of a layer's mean: only a cell that every layer leaves out is ruled out


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
        self.correlations = tuple(
            tuple(rank_correlation(layer[counted], wanted[counted]) for layer in mean)
            for wanted, counted in zip(density, evidence.counted, strict=True)
        )
        self.chosen = tuple(
            tuple(place for place, value in enumerate(row) if value > 0.0) for row in self.correlations
        )

    def phases(self) -> tuple[Phase, ...]:
        """It does not learn."""
        return ()

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """The product on valid cells, scaled to the totals shown; without a usable layer evenly."""
        return meet_totals(np.stack([self._product(scene, row) for row in self.chosen]) * scene.valid, scene)

    def _product(self, scene: Scene, places: tuple[int, ...]) -> Masses:
        """(time, H, W) geometric mean of the layers at `places` among those used; 0 where all of them are."""
        logs = np.zeros(scene.covariates.shape[1:])
        named = np.full(logs.shape, not places)
        for place in places:
            layer = np.maximum(scene.covariates[self.used[place]], 0.0).astype(np.float64)
            logs += np.log(layer / self.means[place] + FLOOR) / len(places)
            named |= layer > 0.0
        return np.exp(logs) * named

    def state(self) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """The choices, and the correlations behind them."""
        plain = {name: list(getattr(self, name)) for name in ("used", "means", "layers", "sectors")}
        nested = {name: [list(row) for row in getattr(self, name)] for name in ("chosen", "correlations")}
        return {}, plain | nested

    def load_state(self, arrays: Mapping[str, NDArray], plain: Mapping[str, Any]) -> None:
        """Restores the choices."""
        for name in ("used", "means", "layers", "sectors"):
            setattr(self, name, tuple(plain[name]))
        for name in ("chosen", "correlations"):
            setattr(self, name, tuple(tuple(row) for row in plain[name]))

    def describe(self) -> dict[str, Any]:
        """The layers of each sector, and the rank correlation of every one with the totals."""
        names = [self.layers[index] for index in self.used]
        proxies = [[names[place] for place in row] for row in self.chosen]
        rows = [[round(value, 4) for value in row] for row in self.correlations]
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return {
            "summary": "each total shared out by the product of the covariates that rise with it",
            "learns": False,
            "proxies": dict(zip(self.sectors, proxies, strict=True)),
            "correlations": dict(zip(self.sectors, found, strict=True)),
        }


def rank_correlation(one: NDArray, other: NDArray) -> float:
    """Spearman's: Pearson's of the ranks, equal values sharing their mean rank; 0 where either is constant."""
    ranks = [_ranks(values) for values in (one, other)]
    if one.size < 2 or any(rank.min() == rank.max() for rank in ranks):
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: NDArray) -> NDArray[np.float64]:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: NDArray = (last - (count - 1) / 2.0)[place]
    return ranks
