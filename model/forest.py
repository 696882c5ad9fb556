"""Decision trees as plain arrays: read, checked and summed without the library that grew them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

LEAF = -1  # in place of a feature


@dataclass(frozen=True)
class Forest:
    """The sum of the values of the leaves a row ends in, one leaf a tree.

    A node sends a row to the left when its feature is at most the threshold.

    Attributes:
      feature: (nodes,) index of a feature, or LEAF.
      threshold, value: (nodes,) of inner nodes and of leaves; 0 elsewhere.
      left, right: (nodes,) index of a child; both come after their parent. 0 for a leaf.
      roots: (trees,) index of each tree's first node.
    """

    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    value: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    roots: NDArray[np.int32]

    NAMES: ClassVar[tuple[str, ...]] = ("feature", "threshold", "value", "left", "right", "roots")

    def __post_init__(self) -> None:
        """Raises: ValueError when the arrays are no trees: then a row might never reach a leaf."""
        count = self.feature.size
        if any(getattr(self, name).shape != (count,) for name in self.NAMES[:-1]):
            raise ValueError("the arrays of a forest differ in length")
        inner = np.flatnonzero(self.feature != LEAF)
        children = np.concatenate([self.left[inner] - inner, self.right[inner] - inner])
        last = max(self.left[inner].max(initial=0), self.right[inner].max(initial=0))
        if (children <= 0).any() or last >= count:
            raise ValueError("a node of a forest has a child that does not come after it")
        if self.roots.min(initial=0) < 0 or self.roots.max(initial=-1) >= count:
            raise ValueError("a tree of a forest begins beyond its nodes")
        if self.feature.min(initial=LEAF) < LEAF or not np.isfinite(self.value).all():
            raise ValueError("a forest holds a feature or a value that is none")

    @classmethod
    def joined(cls, trees: list[Mapping[str, NDArray]]) -> "Forest":
        """One forest of trees that each count their nodes from 0, the root first."""
        sizes = [len(tree["feature"]) for tree in trees]
        starts = np.cumsum([0, *sizes])[:-1].astype(np.int32)
        kinds = {"feature": np.int32, "threshold": np.float64, "value": np.float64}
        parts: dict[str, Any] = {
            name: np.concatenate([np.asarray(tree[name]) for tree in trees]).astype(kind)
            for name, kind in kinds.items()
        }
        inner = parts["feature"] != LEAF
        shift = np.repeat(starts, sizes)
        for name in ("left", "right"):
            child = np.concatenate([np.asarray(tree[name]) for tree in trees]) + shift
            parts[name] = np.where(inner, child, 0).astype(np.int32)
        return cls(**parts, roots=starts)

    @classmethod
    def constant(cls, value: float = 0.0) -> "Forest":
        """A single leaf: every row gives the same."""
        leaf = {"feature": [LEAF], "threshold": [0.0], "value": [value], "left": [0], "right": [0]}
        return cls.joined([{name: np.array(values) for name, values in leaf.items()}])

    @property
    def features(self) -> int:
        """How many features a row must have at least."""
        return int(self.feature.max(initial=LEAF)) + 1

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n,) sums for (n, features) rows, tree after tree."""
        total = np.zeros(len(rows))
        for root in self.roots:
            total += self.value[self._leaves(rows, int(root))]
        return total

    def _leaves(self, rows: NDArray[np.float32], root: int) -> NDArray[np.int64]:
        node = np.full(len(rows), root, dtype=np.int64)
        on_the_way = np.arange(len(rows))
        while True:
            here = node[on_the_way]
            feature = self.feature[here]
            inner = feature != LEAF
            if not inner.all():
                on_the_way, here, feature = on_the_way[inner], here[inner], feature[inner]
            if not on_the_way.size:
                return node
            goes_left = rows[on_the_way, feature] <= self.threshold[here]
            node[on_the_way] = np.where(goes_left, self.left[here], self.right[here])

    def arrays(self, prefix: str) -> dict[str, NDArray]:
        """By name, for a checkpoint."""
        return {f"{prefix}.{name}": getattr(self, name) for name in self.NAMES}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray], prefix: str) -> "Forest":
        """The inverse of arrays(); KeyError or ValueError when they are no forest."""
        return cls(**{name: np.asarray(arrays[f"{prefix}.{name}"]) for name in cls.NAMES})
