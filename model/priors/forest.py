"""Decision trees as plain arrays: read, checked and summed without the library that grew them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

LEAF = -1  # in place of a feature
LEVELS = 4  # taken down a tree before those that arrived are left out


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
        by_node = (self.feature, self.threshold, self.value, self.left, self.right)
        count = self.feature.size
        if any(array.shape != (count,) for array in by_node):
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
        """One forest of trees that each count their nodes from 0, the root first.

        Args:
          trees: arrays named as in NAMES without `roots`, (nodes,) each. At a leaf the children are not looked
            at.
        Raises: ValueError when they are no trees.
        """
        sizes = [len(tree["feature"]) for tree in trees]
        starts = np.cumsum([0, *sizes])[:-1].astype(np.int32)
        kinds = {"feature": np.int32, "threshold": np.float64, "value": np.float64}
        parts: dict[str, Any] = {}
        for name, kind in kinds.items():
            parts[name] = _end_to_end(trees, name).astype(kind)
        inner = parts["feature"] != LEAF
        shift = np.repeat(starts, sizes)
        for name in ("left", "right"):
            child = _end_to_end(trees, name) + shift
            parts[name] = np.where(inner, child, 0).astype(np.int32)
        return cls(**parts, roots=starts)

    @classmethod
    def constant(cls, value: float = 0.0) -> "Forest":
        """A single leaf: every row gives the same."""
        none = np.zeros(1)
        leaf = {"feature": np.array([LEAF]), "value": np.array([value])}
        return cls.joined([dict.fromkeys(("threshold", "left", "right"), none) | leaf])

    @property
    def features(self) -> int:
        """How many features a row must have at least.

        Read off the nodes; a forest of leaves alone has 0, and looks at no row.
        """
        return int(self.feature.max(initial=LEAF)) + 1

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n,) sums for (n, features) rows, tree after tree."""
        total = np.zeros(len(rows))
        if not self.features:
            return total + self.value[self.roots].sum()
        walk = self._walk(np.ascontiguousarray(rows))
        for root in self.roots:
            total += self.value.take(walk(int(root)))
        return total

    def _walk(self, rows: NDArray[np.float32]) -> Callable[[int], NDArray[np.int64]]:
        """From a root to the leaf of each row.

        Why a leaf is its own child: several levels may be taken at once before asking who has arrived, which
        halves the time.
        """
        leaf, own = self.feature == LEAF, np.arange(self.feature.size)
        feature, threshold = np.where(leaf, 0, self.feature), np.where(leaf, np.inf, self.threshold)
        child = np.where(leaf[:, None], own[:, None], np.stack([self.left, self.right], axis=1)).ravel()
        values, starts = rows.ravel(), np.arange(len(rows)) * rows.shape[1]

        def walk(root: int) -> NDArray[np.int64]:
            node = np.full(len(rows), root, dtype=np.int64)
            walking, here, start = np.arange(len(rows)), node.copy(), starts
            while walking.size:
                for _ in range(LEVELS):
                    goes_right = values.take(start + feature.take(here)) > threshold.take(here)
                    here = child.take(2 * here + goes_right)
                node[walking] = here
                under_way = ~leaf.take(here)
                walking, here, start = walking[under_way], here[under_way], start[under_way]
            return node

        return walk

    def arrays(self, prefix: str) -> dict[str, NDArray]:
        """By name, for a checkpoint.

        Keys are `prefix.name`, with the names of NAMES; the arrays are handed over, not copied.
        """
        arrays: tuple[NDArray, ...] = (
            self.feature, self.threshold, self.value, self.left, self.right, self.roots,
        )  # fmt: skip
        named: dict[str, NDArray] = {}
        for name, array in zip(self.NAMES, arrays, strict=True):
            named[f"{prefix}.{name}"] = array
        return named

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray], prefix: str) -> "Forest":
        """The inverse of arrays(); KeyError or ValueError when they are no forest."""
        return cls(**{name: np.asarray(arrays[f"{prefix}.{name}"]) for name in cls.NAMES})


def _end_to_end(trees: list[Mapping[str, NDArray]], name: str) -> NDArray:
    """One array of all trees, a tree after another."""
    return np.concatenate([np.asarray(tree[name]) for tree in trees])
