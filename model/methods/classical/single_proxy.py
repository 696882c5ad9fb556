"""Each total shared out in proportion to one covariate: the one that best predicts the totals themselves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Scene, merge
from model.method import Phase, Survey
from model.options import MethodOptions
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
        usable = [index for index, layer in enumerate(survey.layers) if not layer.blocky]
        chosen, scores = [], []
        for sector in range(len(survey.sectors)):
            losses = {index: _misplaced(survey, sector, index) for index in usable}
            finite = {index: loss for index, loss in losses.items() if np.isfinite(loss)}
            chosen.append(min(finite, key=lambda index: finite[index]) if finite else None)
            scores.append({self.layers[index]: round(loss, 4) for index, loss in finite.items()})
        self.chosen, self.scores = tuple(chosen), tuple(scores)

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


def _misplaced(survey: Survey, sector: int, layer: int) -> float:
    """Misallocated share of the totals when 2 x 2 merged ones are shared out by the layer's block sums."""
    counted = survey.known[sector] & survey.target
    if not counted.any():
        counted = survey.known[sector]
    wrong = mass = 0.0
    for row in (0, 1):
        for col in (0, 1):
            part = _whole_pairs(row, col, counted.shape)
            full = merge(counted[part], 2) == 4
            truth = np.where(counted[part], survey.totals[sector][part], 0.0)
            proxy = np.maximum(survey.sums[layer][part], 0.0)
            guess = _shared(merge(truth, 2), proxy, survey.cells[part[1:]])
            wrong += float((0.5 * merge(np.abs(guess - truth), 2))[full].sum())
            mass += float(merge(truth, 2)[full].sum())
    return wrong / mass if mass > 0 else float("nan")


def _whole_pairs(row: int, col: int, shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    """All years, and the rows and columns that make whole pairs from (row, col) on."""
    rows, cols = (shape[-2] - row) // 2 * 2, (shape[-1] - col) // 2 * 2
    return slice(None), slice(row, row + rows), slice(col, col + cols)


def _shared(groups: NDArray[np.float64], proxy: NDArray, cells: NDArray) -> NDArray[np.float64]:
    """Group totals shared out by the proxy; evenly over valid cells where a whole group has none of it."""
    weight = proxy.astype(np.float64)
    bare = np.repeat(np.repeat(merge(weight, 2) <= 0, 2, -2), 2, -1)
    weight = np.where(bare, np.broadcast_to(cells, weight.shape), weight)
    sums = merge(weight, 2)
    scale = np.divide(groups, sums, out=np.zeros_like(groups), where=sums > 0)
    return weight * np.repeat(np.repeat(scale, 2, -2), 2, -1)
