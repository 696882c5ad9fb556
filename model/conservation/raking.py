"""Several totals at once: cells scaled until overlapping groups meet theirs (Deming, Stephan 1940)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.conservation.problem import Doubles, Floats

CLOSE = 1e-12  # of each total
NEWTON = 60  # steps; a handful is usual
FAR = 5.0  # the most that a logarithm of a factor moves in a step


@dataclass(frozen=True)
class Groups:
    """Which share of each cell lies in which group: coarse cells of another grid, districts, sectors.

    One entry for each pair that overlaps; a cell may lie in many groups.

    Attributes:
      cell, group: (entries,) indices.
      share: (entries,) of the cell's mass that counts in the group, above 0, at most 1.
      totals: (groups,) S >= 0.
    """

    cell: NDArray[np.integer]
    group: NDArray[np.integer]
    share: Floats
    totals: Doubles

    def __post_init__(self) -> None:
        if not len(self.cell) == len(self.group) == len(self.share):
            raise ValueError("cell, group and share need one entry for each overlap")
        if not ((self.share > 0) & (self.share <= 1)).all():
            raise ValueError("shares lie above 0 and are at most 1")
        bad = np.flatnonzero(~(np.isfinite(self.totals) & (self.totals >= 0)))
        if bad.size:
            raise ValueError(f"totals are negative or not finite in groups {bad[:5].tolist()}")

    def sums(self, mass: Doubles) -> Doubles:
        """(groups,) sum f m.

        Args: mass: (cells,) in the unit of the totals.
        Returns: 0 for a group that no cell overlaps; a cell counts with its share in each of its groups.
        """
        held = self.share * mass[self.cell]
        return np.bincount(self.group, held, minlength=len(self.totals)).astype(np.float64)


def rake_within(
    raw: Doubles, block: NDArray[np.integer], groups: Groups, steps: int = NEWTON, close: float = CLOSE
) -> tuple[Doubles, Doubles]:
    """Moves mass inside blocks, whose sums stay as they are, until groups that cut across them meet their totals.

    The same field as raking blocks and groups in turn until the end of time, q = raw x (factor of the block) x
    prod_k exp(f_k lambda_k), but with the factors of the blocks worked out, so that only lambda is left: the
    minimum of the convex function sum_b S_b log sum_b raw exp(f lambda) - lambda S (the dual of the KL projection;
    Csiszar 1975), by Newton's method with conjugate gradients. Turn-taking needs thousands of cycles where borders
    cut cells.

    Args:
      raw: (cells,) p >= 0.
      block: (cells,) index of the block of each cell.
      groups: with their totals.
    Returns: (cells,) mass and (groups,) residual. Where the totals contradict those of the blocks the residual
      tells by how much; the blocks keep theirs.
    """
    if not (np.isfinite(raw) & (raw >= 0)).all():
        raise ValueError("estimates are negative or not finite")
    start = _without_empty_groups(raw, block, groups)
    held = np.bincount(block, raw).astype(np.float64)
    level = np.zeros(len(groups.totals))
    mass, height = _within(start, block, held, groups, level)
    for _ in range(steps):
        residual = groups.sums(mass) - groups.totals
        if (np.abs(residual) <= close * groups.totals).all():
            break
        way = _newton(mass, block, held, groups, residual)
        way *= min(1.0, FAR / max(float(np.abs(way).max()), 1e-300))
        slope = float(way @ residual)
        for halving in range(30):
            share = 0.5**halving
            moved, below = _within(start, block, held, groups, level + share * way)
            if below <= height + 1e-4 * share * slope:
                break
        else:
            break  # rounding, or totals that contradict each other: nothing is won any more
        level, mass, height = level + share * way, moved, below
    return mass, groups.sums(mass) - groups.totals


def _within(
    raw: Doubles, block: NDArray[np.integer], held: Doubles, groups: Groups, level: Doubles
) -> tuple[Doubles, float]:
    """Mass at lambda = level, and the dual function there."""
    pull = np.bincount(groups.cell, groups.share * level[groups.group], minlength=len(raw))
    top = np.full(len(held), -np.inf)
    np.maximum.at(top, block, np.where(raw > 0, pull, -np.inf))
    grown = raw * np.exp(np.where(raw > 0, pull - np.where(np.isfinite(top), top, 0.0)[block], 0.0))
    sums = np.bincount(block, grown, minlength=len(held))
    scale = np.divide(held, sums, out=np.zeros_like(held), where=sums > 0)
    there = held > 0
    height = float((held[there] * (np.log(sums[there]) + top[there])).sum() - level @ groups.totals)
    return grown * scale[block], height


def _newton(
    mass: Doubles, block: NDArray[np.integer], held: Doubles, groups: Groups, residual: Doubles
) -> Doubles:
    """The step that brings the residual to 0 to first order, by preconditioned conjugate gradients."""

    def curved(way: Doubles) -> Doubles:
        pull = np.bincount(groups.cell, groups.share * way[groups.group], minlength=len(mass))
        mean = np.bincount(block, mass * pull, minlength=len(held))
        mean = np.divide(mean, held, out=np.zeros_like(held), where=held > 0)
        return groups.sums(mass * (pull - mean[block])) + ridge * way

    weight = np.bincount(groups.group, groups.share**2 * mass[groups.cell], minlength=len(residual))
    ridge = 1e-10 * np.maximum(weight, max(float(weight.max()), 1e-300) * 1e-6)
    size = np.maximum(weight, ridge)
    way, rest = np.zeros_like(residual), -residual
    turned = rest / size
    ahead, energy = turned, float(rest @ turned)
    first = energy
    for _ in range(200):
        if energy <= 1e-6 * first or energy == 0:
            break
        bent = curved(ahead)
        step = energy / float(ahead @ bent)
        way, rest = way + step * ahead, rest - step * bent
        turned = rest / size
        energy, before = float(rest @ turned), energy
        ahead = turned + energy / before * ahead
    return way


def _without_empty_groups(raw: Doubles, block: NDArray[np.integer], groups: Groups) -> Doubles:
    """Cells of a group with a total of 0 are emptied where their block has others."""
    gone = np.zeros(len(raw), bool)
    gone[groups.cell[groups.totals[groups.group] == 0]] = True
    kept = np.where(gone, 0.0, raw)
    only = np.bincount(block, kept, minlength=int(block.max()) + 1) == 0
    return np.where(only[block], raw, kept)
