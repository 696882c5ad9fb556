"""Each total shared out in proportion to one covariate: the one that best predicts the totals themselves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Scene
from model.ground.survey import Survey
from model.method import Phase
from model.options import MethodOptions
from model.priors.proxy_ranking import ProxyRanking, rank_proxies
from model.priors.pycnophylactic import meet_totals
from model.training.options import TrainingOptions


class SingleProxy:
    """One layer a sector, chosen without any fine truth."""

    def __init__(self, options: MethodOptions | None = None, training: TrainingOptions | None = None) -> None:
        """There is nothing to choose."""
        self.chosen: tuple[int | None, ...] = ()
        self.layers: tuple[str, ...] = ()
        self.sectors: tuple[str, ...] = ()
        self.scores: tuple[dict[str, float], ...] = ()

    def prepare(self, survey: Survey) -> None:
        """Merges the totals 2 x 2, shares them out by each layer, keeps the layer that misplaces least mass.

        Layers as coarse as a block are left out: inside a block they tell nothing, here they would tell all.
        """
        self.layers = tuple(layer.name for layer in survey.layers)
        self.sectors = survey.sectors
        rankings = rank_proxies(survey)
        self.chosen = tuple(ranking.best for ranking in rankings)
        self.scores = tuple(self._named(ranking) for ranking in rankings)

    def _named(self, ranking: ProxyRanking) -> dict[str, float]:
        scores = {}
        for index, missed in ranking.missed.items():
            scores[self.layers[index]] = round(missed, 4)
        return scores

    def phases(self) -> tuple[Phase, ...]:
        """It does not learn."""
        return ()

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """In proportion to the layer, on valid cells; without a usable layer evenly."""
        even = np.ones(scene.covariates.shape[1:], dtype=np.float64)
        shares = [
            even if index is None else np.maximum(scene.covariates[index], 0.0) for index in self.chosen
        ]
        return meet_totals(np.stack(shares).astype(np.float64) * scene.valid, scene)

    def state(self) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """The choices and the scores behind them."""
        plain = {"chosen": self.chosen, "layers": self.layers, "sectors": self.sectors, "scores": self.scores}
        return {}, {name: list(values) for name, values in plain.items()}

    def load_state(self, arrays: Mapping[str, NDArray], plain: Mapping[str, Any]) -> None:
        """Restores the choices."""
        for name in ("chosen", "layers", "sectors", "scores"):
            setattr(self, name, tuple(plain[name]))

    def describe(self) -> dict[str, Any]:
        """The layer of each sector, and every candidate's misallocated share at the totals' own scale."""
        names = [None if index is None else self.layers[index] for index in self.chosen]
        return {
            "summary": "each total shared out in proportion to one covariate",
            "learns": False,
            "proxy": dict(zip(self.sectors, names, strict=True)),
            "scores": dict(zip(self.sectors, self.scores, strict=True)),
        }
