"""What a state of training is worth: the share it misses of totals it was not shown, on ground it has not seen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan, sqrt
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.evaluation.scores import Scores
from model.ground.blocks import merge, spread
from model.ground.scene import Scene, Tile, counted_groups
from model.training.pairs import Pair, squared_errors


class Judged(Protocol):
    """What validation needs of a learner."""

    def candidates(self, scene: Scene) -> Mapping[str, NDArray]:
        """As in Learner."""


def evenly(count: int, wanted: int) -> list[int]:
    """At most `wanted` indices, evenly spaced over `count`."""
    return (
        sorted({int(place) for place in np.linspace(0, count - 1, min(count, wanted)).round()})
        if count
        else []
    )


@dataclass(frozen=True)
class TotalsValidation:
    """What a learner misses of totals it was not shown.

    Attributes:
      tiles: of ground it does not learn from.
      groups: coarse cells merged along each axis when scores are taken; fixed.
      score: a key of RELATIVE.
    """

    learner: Judged
    tiles: Sequence[Tile]
    groups: tuple[int, ...]
    score: str = "nonzero_mae"

    def __call__(self) -> dict[str, float]:
        return candidate_scores(self.learner, self.tiles, self.groups, self.score)


@dataclass(frozen=True)
class PairValidation:
    """Root mean squared error of an estimate of fine fields of dates held out."""

    estimate: Callable[[Scene], NDArray]
    pairs: Sequence[Pair]

    def __call__(self) -> dict[str, float]:
        return {"as trained": rmse_of(self.estimate, self.pairs)}


def rmse_of(estimate: Callable[[Scene], NDArray], pairs: Sequence[Pair]) -> float:
    """Root mean squared error over the counted cells of all pairs; NaN when there is none."""
    found = [squared_errors(estimate(pair.scene())[0, 0], pair) for pair in pairs]
    cells = sum(count for _, count in found)
    return sqrt(sum(total for total, _ in found) / cells) if cells else nan


def candidate_scores(
    method: Judged, tiles: Sequence[Tile], groups: tuple[int, ...], by: str = "nonzero_mae"
) -> dict[str, float]:
    """What each candidate misses of the 1 km totals when it is shown merged ones.

    Args:
      by: nonzero_mae, or balanced_mae, which weighs what is placed on true zeros as much as all the rest.
    Returns: by name, the mean over sectors and groups of that score divided by the mean non-zero total,
      pooled over the tiles; NaN when no group of target cells holds mass.
    """
    pooled: dict[str, dict[tuple[int, int], Scores]] = {}
    for tile in tiles:
        for group in groups:
            part = tile.fitted(group)
            counted = spread(counted_groups(part, group), group)
            for name, estimate in method.candidates(part.scene(group)).items():
                cells = merge(estimate.astype(np.float64), tile.factor)
                sums = pooled.setdefault(name, {})
                for sector in range(cells.shape[0]):
                    score = Scores.of(cells[sector], part.totals[sector], counted[sector])
                    sums[sector, group] = sums.get((sector, group), Scores()) + score
    return {name: _mean([RELATIVE[by](score) for score in sums.values()]) for name, sums in pooled.items()}


def _relative_balanced(score: Scores) -> float:
    """Balanced MAE over the mean non-zero total; where no total is zero, that of the others alone."""
    if score.cells == score.nonzero:
        return float(score.relative_nonzero_mae)
    return float(score.balanced_mae * score.nonzero / score.nonzero_mass) if score.nonzero_mass > 0 else nan


RELATIVE: dict[str, Callable[[Scores], float]] = {
    "nonzero_mae": lambda score: score.relative_nonzero_mae,
    "balanced_mae": _relative_balanced,
}


def _mean(values: list[float]) -> float:
    usable = [value for value in values if isfinite(value)]
    return float(np.mean(usable)) if usable else float("nan")
