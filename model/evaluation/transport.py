"""The least work that turns one distribution of mass over the cells of a block into another, exactly."""

import numpy as np
from numpy.typing import NDArray

Masses = NDArray[np.float64]
_NOTHING = 1e-12  # of a block's surplus: what rounding may leave behind


def centre_distances(rows: int, cols: int, height: float, width: float) -> Masses:
    """(cells, cells) distance between the centres of cells of a block, row by row.

    Args:
      rows, cols: of a block; height, width: of a cell, in the unit wanted.
    Returns: symmetric, 0 on the diagonal; plane geometry, which suits the size of a block.
    """
    y, x = np.divmod(np.arange(rows * cols), cols)
    return np.hypot((y[:, None] - y) * height, (x[:, None] - x) * width)


def least_work(surplus: Masses, distance: Masses) -> Masses:
    """Earth mover's work of each block: mass times distance of the cheapest way to even out a surplus.

    Args:
      surplus: (blocks, cells) estimate minus truth; each block sums to 0.
      distance: (cells, cells) a metric, so that mass both maps agree on may stay where it is.
    Why not a library: successive shortest paths with potentials (Edmonds and Karp 1972) take all blocks along at
    once, and the core stays free of a solver. Exact up to rounding; tested against linear programming.
    """
    flow = np.zeros((*surplus.shape, surplus.shape[1]))
    plan = _Plan(surplus.copy(), surplus > 0, surplus < 0, distance, flow, np.zeros_like(surplus))
    least = _NOTHING * np.maximum(surplus, 0.0).sum(axis=1)
    busy = np.flatnonzero(_waiting(plan.left, least))
    while busy.size:
        plan.advance(busy)
        busy = busy[_waiting(plan.left[busy], least[busy])]
    return np.einsum("bij,ij->b", flow, distance)


def _waiting(left: Masses, least: Masses) -> NDArray[np.bool_]:
    return (np.maximum(left, 0.0).sum(axis=1) > least) & (np.maximum(-left, 0.0).sum(axis=1) > least)


class _Plan:
    """Mass already sent in every block, and what is left to send (> 0) and to receive (< 0)."""

    def __init__(
        self,
        left: Masses,
        gives: NDArray[np.bool_],
        takes: NDArray[np.bool_],
        distance: Masses,
        flow: Masses,
        height: Masses,
    ) -> None:
        self.left, self.gives, self.takes = left, gives, takes
        self.distance, self.flow, self.height = distance, flow, height  # height: the potential of each cell

    def advance(self, busy: NDArray[np.int64]) -> None:
        """Sends mass along one cheapest path in each of the blocks.

        Args: busy: indices of blocks with mass left on both sides. Potentials keep reduced costs at 0 or more, so
          Dijkstra's search stays right after mass was taken back (Edmonds and Karp 1972).
        """
        cost, parent, target = self._search(busy)
        reached = cost[np.arange(busy.size), target]
        self.height[busy] += np.minimum(cost, reached[:, None])
        self._send(busy, parent, target)

    def _search(self, busy: NDArray[np.int64]) -> tuple[Masses, NDArray[np.int64], NDArray[np.int64]]:
        """Dijkstra from all cells with a surplus to the nearest one that lacks mass, in reduced costs."""
        cost = np.where(self.left[busy] > 0, np.maximum(-self.height[busy], 0.0), np.inf)
        parent = np.full(cost.shape, -1)
        target = np.zeros(busy.size, np.int64)
        settled = np.zeros(cost.shape, bool)
        seeking = np.arange(busy.size)
        while seeking.size:
            cell = np.where(settled[seeking], np.inf, cost[seeking]).argmin(axis=1)
            block = busy[seeking]
            settled[seeking, cell] = True
            found = self.left[block, cell] < 0
            target[seeking[found]] = cell[found]
            seeking, block, cell = seeking[~found], block[~found], cell[~found]
            if not seeking.size:
                break
            giver = self.gives[block, cell][:, None]
            step = np.where(giver, self.distance[cell], -self.distance[cell])
            open_ = np.where(giver, self.takes[block], self.flow[block, :, cell] > 0) & ~settled[seeking]
            step += self.height[block, cell][:, None] - self.height[block]
            reach = cost[seeking, cell][:, None] + np.maximum(step, 0.0)
            better = open_ & (reach < cost[seeking])
            cost[seeking] = np.where(better, reach, cost[seeking])
            parent[seeking] = np.where(better, cell[:, None], parent[seeking])
        return cost, parent, target

    def _send(self, busy: NDArray[np.int64], parent: NDArray[np.int64], target: NDArray[np.int64]) -> None:
        """Moves as much as the path's ends and the flows it undoes allow."""
        walk: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
        amount = -self.left[busy, target]
        here, cell = np.arange(busy.size), target.copy()
        while here.size:
            before = parent[here, cell]
            first = before < 0
            ends = here[first]
            amount[ends] = np.minimum(amount[ends], self.left[busy[ends], cell[first]])
            walk.append((ends, cell[first], np.full(ends.size, -1)))
            here, cell, before = here[~first], cell[~first], before[~first]
            undo = self.gives[busy[here], cell]  # the step before came from a taker: it takes mass back
            back = self.flow[busy[here], cell, before]
            amount[here] = np.where(undo, np.minimum(amount[here], back), amount[here])
            walk.append((here, cell, before))
            cell = before
        for here, cell, before in walk:
            block, mass = busy[here], amount[here]
            first, undo = before < 0, self.gives[block, cell]
            forth, undo = ~first & ~undo, ~first & undo
            self.left[block[first], cell[first]] -= mass[first]
            self.flow[block[forth], before[forth], cell[forth]] += mass[forth]
            self.flow[block[undo], cell[undo], before[undo]] -= mass[undo]
        self.left[busy, target] += amount
