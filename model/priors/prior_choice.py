"""The base that suits the totals: a smooth density, an exposure with a smooth intensity, or their mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product, starmap
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import merge, spread
from model.ground.scene import Bools, Masses, Scene, Tile, counted_groups
from model.ground.survey import Survey
from model.priors.dasymetric import FITS, REACH, Evidence, Exposure, ExposureRecord, with_smoothed_ratio
from model.priors.proxy_ranking import rank_proxies
from model.priors.pycnophylactic import Base, BaseRecord, rescale_to_totals

SMOOTH, MEAN, PROXY = "smooth", "mean", "proxy"
# Coarse cells merged along each axis, whose members are asked for. Why none wider: of two bases the one that is ahead
# from 2 cells to 1 need not be so from 4 to 2, and what is wanted lies on the fine side.
SHOWN = 2
REACHES = (REACH, 0.5, 0.25)  # of the smooth intensity, in blocks; the first wins a tie
# Why such margins: the score sees how well a base tells block from block, and what it promises inside blocks
# comes out smaller. On nine maps with known fine values the smooth density lost by up to a fifth where it was
# the better start. On seven pieces of one region with fewer than 100 cells an exposure that missed 0.48 and more of
# what the smooth density did was between 2 % better and 14 % worse than what is chosen now; one that missed 0.21 to
# 0.38 was better than half of it by 30 to 80 %. Chosen with those fine values in sight.
NOTHING = 1e-3  # misallocated share below which two bases are equal
DECISIVE = np.log(2.0)  # a sector that gains more than this has no more to say about the others
FEW = 12  # tiles up to which all four ways to pair cells are judged
REQUIRED_IMPROVEMENT = {
    "mean": 0.70,
    "exposure": 0.95,
    "more layers": 0.97,
    "exposure of few": 0.42,
}  # error over that of the next simpler base, at most


class ChosenBaseRecord(TypedDict):
    """The prior of each sector as a checkpoint keeps it."""

    smooth: BaseRecord
    kinds: list[str]
    exposures: dict[str, dict[str, ExposureRecord]]  # by fit, then by coarsening
    factor: int
    scores: dict[str, list[float]]
    reach: float


@dataclass(frozen=True)
class ChosenBase:
    """One kind of base for each sector, all on the cells that the covariates allow.

    Attributes:
      smooth: density and mask.
      kinds: one a sector: smooth, mean (geometric, of smooth and poisson), or an exposure with a smooth
        intensity: proxy (one layer), poisson or least_squares (all of them).
      exposures: by fit, by coarse cells merged along each axis: fitted to the totals shown, nothing finer.
      scores: by kind, one a sector: what it misses of the totals not shown; empty before the choice.
      reach: of the smooth intensity, in blocks; the same for every sector.
    """

    smooth: Base
    kinds: tuple[str, ...]
    exposures: Mapping[str, Mapping[int, Exposure]]
    factor: int
    scores: Mapping[str, tuple[float, ...]]
    reach: float = REACH

    @classmethod
    def of(cls, survey: Survey, groups: Sequence[int]) -> "ChosenBase":
        """Everything fitted, nothing chosen: smooth in every sector.

        Args: groups: coarse cells merged along each axis in training.
        """
        smooth = Base.of(survey)
        finest, usable = Evidence.of(survey), {}
        for group in sorted({1, *groups, SHOWN}):
            seen = finest if group == 1 else Evidence.of(survey, group)
            if seen.counted.any():
                usable[group] = seen
        exposures: dict[str, Mapping[int, Exposure]] = {}
        if finest.layers:  # else nothing but a constant would be fitted
            exposures[PROXY] = dict.fromkeys(usable, _proxy(survey, finest))
            for fit in FITS:
                exposures[fit] = {group: Exposure.fit(seen, fit) for group, seen in usable.items()}
        return cls(smooth, (SMOOTH,) * len(survey.sectors), exposures, survey.factor, {})

    def mask(self, scene: Scene) -> Bools:
        """(time, H, W) True = the cell may receive mass."""
        return self.smooth.mask(scene)

    def __call__(self, scene: Scene) -> Masses:
        """(sectors, time, H, W) mass per fine cell, before it is made to meet the totals."""
        made: dict[str, Masses] = {}
        rows = []
        for sector, kind in enumerate(self.kinds):
            if kind not in made:
                made[kind] = self.candidate(kind, scene)
            rows.append(made[kind][sector])
        return np.stack(rows)

    def candidate(self, kind: str, scene: Scene) -> Masses:
        """What every sector would start from if this kind were chosen.

        Args: kind: smooth, mean or a key of `exposures`.
        Returns: (sectors, time, H, W) mass per fine cell. The mean is geometric, of the smooth density and the
          Poisson exposure, each first made to meet the totals: 0 where either is.
        """
        if kind == SMOOTH:
            return self.smooth(scene)
        bent = self._curvilinear("poisson" if kind == MEAN else kind, scene)
        if kind != MEAN:
            return bent
        density = rescale_to_totals(self.smooth(scene), scene).astype(np.float64)
        return np.sqrt(density * rescale_to_totals(bent, scene))

    def _curvilinear(self, fit: str, scene: Scene) -> Masses:
        group = max(1, scene.side // self.factor)
        fitted = self.exposures[fit]
        exposure = fitted[max((known for known in fitted if known <= group), default=min(fitted))]
        return with_smoothed_ratio(exposure(scene) * self.mask(scene), scene, self.reach) * self.mask(scene)

    def chosen(self, tiles: Sequence[Tile], few: bool = False) -> "ChosenBase":
        """With the kind of each sector chosen by what it misses of totals it was not shown.

        Args: few: so few totals that a fit may explain them by chance; an exposure must then be far ahead.
        """
        if not self.exposures or not tiles:
            return self
        if len(tiles) <= FEW:
            tiles = _in_every_pairing(tiles)
        logs = {}
        for kind in (SMOOTH, MEAN, *self.exposures):
            logs[kind] = np.log(np.maximum(self._missed(kind, tiles), NOTHING))
        if not np.isfinite(logs[SMOOTH]).all():
            return self
        pooled, scores = {}, {}
        for kind, values in logs.items():
            # A sector is judged half by itself, half by all: a few cells tell little.
            ahead = values - logs[SMOOTH]
            pooled[kind] = 0.5 * ahead + 0.5 * np.clip(ahead, -DECISIVE, DECISIVE).mean()
            scores[kind] = tuple(np.exp(values).tolist())
        picked = tuple(_pick(pooled, sector, few) for sector in range(len(self.kinds)))
        needed = {"poisson" if kind == MEAN else kind for kind in picked} - {SMOOTH}
        kept = {fit: self.exposures[fit] for fit in self.exposures if fit in needed}
        chosen = replace(self, kinds=picked, exposures=kept, scores=scores)
        return chosen._reaching(tiles) if needed else chosen

    def _reaching(self, tiles: Sequence[Tile]) -> "ChosenBase":
        """With the reach at which the picked kinds miss least of totals not shown."""

        def missed(reach: float) -> float:
            base = replace(self, reach=reach)
            made: dict[str, NDArray[np.float64]] = {}
            logs = []
            for sector, kind in enumerate(self.kinds):
                if kind == SMOOTH:
                    continue
                if kind not in made:
                    made[kind] = base._missed(kind, tiles)
                logs.append(np.log(max(made[kind][sector], NOTHING)))
            return float(np.mean(logs))

        return replace(self, reach=min(REACHES, key=missed))

    def _missed(self, kind: str, tiles: Sequence[Tile]) -> NDArray[np.float64]:
        """(sectors,) misallocated share of totals not shown; NaN where nothing could be judged."""
        wrong, mass = np.zeros((2, len(self.kinds)))
        for tile in tiles:
            if ((np.array(tile.target.shape) - 2 * tile.halo) % SHOWN).any():
                continue
            part = tile.fitted(SHOWN)
            scene = part.scene(SHOWN)
            counted = spread(counted_groups(part, SHOWN), SHOWN)
            found = merge(
                rescale_to_totals(self.candidate(kind, scene), scene).astype(np.float64), tile.factor
            )
            truth = np.where(part.known, part.totals, 0.0)
            wrong += 0.5 * (np.abs(found - truth) * counted).sum(axis=(1, 2, 3))
            mass += (truth * counted).sum(axis=(1, 2, 3))
        return np.divide(wrong, mass, out=np.full_like(wrong, np.nan), where=mass > 0)

    def plain(self) -> ChosenBaseRecord:
        """As JSON values.

        JSON has no whole numbers as keys, so coarsenings become strings; from_json() turns them back.
        """
        exposures: dict[str, dict[str, ExposureRecord]] = {}
        for fit, fitted in self.exposures.items():
            exposures[fit] = {str(group): exposure.plain() for group, exposure in fitted.items()}
        scores = dict(zip(self.scores, map(list, self.scores.values()), strict=True))
        return {
            "smooth": self.smooth.plain(), "kinds": list(self.kinds), "exposures": exposures,
            "factor": self.factor, "scores": scores, "reach": self.reach,
        }  # fmt: skip

    @classmethod
    def from_json(cls, plain: ChosenBaseRecord) -> "ChosenBase":
        """The inverse of plain()."""
        exposures: dict[str, dict[int, Exposure]] = {}
        for fit, fitted in plain["exposures"].items():
            exposures[fit] = {int(group): Exposure.from_json(entry) for group, entry in fitted.items()}
        scores = dict(zip(plain["scores"], map(tuple, plain["scores"].values()), strict=True))
        return cls(
            Base.from_json(plain["smooth"]),
            tuple(plain["kinds"]),
            exposures,
            plain["factor"],
            scores,
            plain["reach"],
        )


def _proxy(survey: Survey, evidence: Evidence) -> Exposure:
    """The one layer that best tells 1 km totals from one another where merged ones are shown, sector by sector."""
    best = [ranking.best for ranking in rank_proxies(survey)]
    layers = tuple(sorted({layer for layer in best if layer is not None}))
    weights, constant = [], []
    for sector, chosen in enumerate(best):
        counted = evidence.counted[sector]
        mass = float(evidence.totals[sector][counted].sum())
        if chosen is None:
            amount = float(np.broadcast_to(evidence.cells, counted.shape)[counted].sum())
        else:
            amount = float(evidence.sums[evidence.layers.index(chosen)][counted].sum())
        rate = mass / amount if mass > 0 and amount > 0 else 1.0
        weights.append(tuple(rate if layer == chosen else 0.0 for layer in layers))
        constant.append(rate if chosen is None else 0.0)
    return Exposure(layers, tuple(weights), tuple(constant))


def _in_every_pairing(tiles: Sequence[Tile]) -> list[Tile]:
    """Each tile four times, so that every cell is merged with its neighbours on either side."""
    return list(starmap(_shifted, product(tiles, (0, 1), (0, 1))))


def _shifted(tile: Tile, down: int, across: int) -> Tile:
    """The tile without its first rows and columns of coarse cells; as many unknown ones follow the last."""

    def move(values: NDArray, cell: int) -> NDArray:
        rim = [(0, 0)] * (values.ndim - 2) + [(0, down * cell), (0, across * cell)]
        return np.pad(values[..., down * cell :, across * cell :], rim)

    return replace(
        tile,
        covariates=move(tile.covariates, tile.factor),
        valid=move(tile.valid, tile.factor),
        totals=move(tile.totals, 1),
        known=move(tile.known, 1),
        target=move(tile.target, 1),
    )


def _pick(logs: Mapping[str, NDArray[np.float64]], sector: int, few: bool) -> str:
    """The simplest kind that no other beats by its margin; logs: by kind, logarithm of what each sector misses."""
    value = {kind: float(values[sector]) for kind, values in logs.items()}
    exposure, *others = (kind for kind in value if kind not in (SMOOTH, MEAN))  # simple ones first
    for other in others:
        if value[other] < value[exposure] + np.log(REQUIRED_IMPROVEMENT["more layers"]):
            exposure = other
    if few:
        ahead = value[exposure] < value[SMOOTH] + np.log(REQUIRED_IMPROVEMENT["exposure of few"])
    else:
        ahead = value[exposure] < min(value[SMOOTH], value[MEAN]) + np.log(REQUIRED_IMPROVEMENT["exposure"])
    if ahead:
        return exposure
    return MEAN if value[MEAN] < value[SMOOTH] + np.log(REQUIRED_IMPROVEMENT["mean"]) else SMOOTH
