"""Each total shared out in proportion to one covariate: the one that best predicts the totals themselves."""

from collections.abc import Mapping
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Scene
from model.ground.survey import Survey
from model.method import Facts, Phase
from model.options import MethodOptions
from model.priors.proxy_ranking import ProxyRanking, rank_proxies
from model.priors.pycnophylactic import rescale_to_totals
from model.training.options import TrainingOptions


class SingleProxyRecord(TypedDict):
    """The choices as a checkpoint keeps them; `chosen` and `scores` hold one entry a sector."""

    chosen: list[int | None]
    layers: list[str]
    sectors: list[str]
    scores: list[dict[str, float]]


class SingleProxyFacts(Facts):
    """What the report tells of it, by sector; None = no usable layer."""

    proxy: dict[str, str | None]
    scores: dict[str, dict[str, float]]


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
        self.scores = tuple(map(self._named, rankings))

    def _named(self, ranking: ProxyRanking) -> dict[str, float]:
        scores = {}
        for index, missed in ranking.missed.items():
            scores[self.layers[index]] = round(missed, 4)
        return scores

    def phases(self) -> tuple[Phase, ...]:
        """None: it does not learn.

        The training loop is left out and the checkpoint is written right after prepare.
        """
        return ()

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        """In proportion to the layer, on valid cells; without a usable layer evenly.

        Values below 0 count as 0. Returns: (sectors, time, H, W) mass per fine cell.
        A block in which the layer is 0 throughout stays empty.
        """
        even = np.ones(scene.covariates.shape[1:], dtype=np.float64)
        shares = []
        for index in self.chosen:
            shares.append(even if index is None else np.maximum(scene.covariates[index], 0.0))
        return rescale_to_totals(np.stack(shares).astype(np.float64) * scene.valid, scene)

    def state(self) -> tuple[dict[str, NDArray], SingleProxyRecord]:
        """The choices and the scores behind them.

        Returns: no arrays; a chosen layer is its index, None where a sector has no usable layer.
        """
        return {}, {
            "chosen": list(self.chosen),
            "layers": list(self.layers),
            "sectors": list(self.sectors),
            "scores": list(self.scores),
        }

    def load_state(self, arrays: Mapping[str, NDArray], plain: SingleProxyRecord) -> None:
        """Restores the choices.

        Raises: KeyError when the record lacks one of its parts.
        """
        self.chosen, self.scores = tuple(plain["chosen"]), tuple(plain["scores"])
        self.layers, self.sectors = tuple(plain["layers"]), tuple(plain["sectors"])

    def describe(self) -> SingleProxyFacts:
        """The layer of each sector, and every candidate's misallocated share at the totals' own scale.

        The share is of mass, 0 to 1, when totals merged 2 x 2 are shared out by that layer; lower is better.
        """
        names = [None if index is None else self.layers[index] for index in self.chosen]
        return {
            "summary": "each total shared out in proportion to one covariate",
            "learns": False,
            "proxy": dict(zip(self.sectors, names, strict=True)),
            "scores": dict(zip(self.sectors, self.scores, strict=True)),
        }
