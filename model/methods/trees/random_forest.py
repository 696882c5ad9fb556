"""A random forest on the logarithm of the totals' density, asked of fine cells."""

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Masses
from model.methods.trees.tree_method import TreeMethod, library
from model.priors.forest import LEAF, Forest

TREES = 100
LEAF_BLOCKS = 3  # at least, in a leaf
MOST_BLOCKS = 20_000  # drawn for a tree: bounds time and the size of the checkpoint, however large the map


class FittedTree(Protocol):
    """The arrays of sklearn.tree's Tree, one element a node; children are -1 at a leaf."""

    children_left: NDArray
    children_right: NDArray
    feature: NDArray
    threshold: NDArray
    value: NDArray  # (nodes, outputs, 1)


class FittedEstimator(Protocol):
    """One tree of a forest."""

    tree_: FittedTree


class FittedForest(Protocol):
    """A fitted RandomForestRegressor, as far as it is read here."""

    estimators_: Sequence[FittedEstimator]


class RandomForest(TreeMethod):
    """Breiman's (2001) forest by scikit-learn, on blocks that hold mass: a logarithm knows no zero, the mask does."""

    name: ClassVar[str] = "random_forest"
    summary: ClassVar[str] = "random forest on the density of the totals, on the cells the covariates allow"

    def grow(self, rows: NDArray[np.float32], density: Masses, cells: Masses) -> Forest:
        """Trees that average; a third of the features tried at each split (Breiman's advice for regression).

        Args: as TreeMethod.grow; blocks without mass are left out.
        Raises: UsageError (exit 2) when scikit-learn is not installed.
        """
        ensemble = library("sklearn.ensemble", "scikit-learn", self.name)
        holds = density > 0.0
        forest = ensemble.RandomForestRegressor(
            TREES,
            min_samples_leaf=LEAF_BLOCKS,
            max_features=1.0 / 3.0,
            max_samples=min(MOST_BLOCKS, int(holds.sum())),
            random_state=self.seed,
            n_jobs=1,  # equal runs give equal trees
        )
        forest.fit(rows[holds], np.log(density[holds]))
        return forest_of(forest)


def forest_of(fitted: FittedForest) -> Forest:
    """A fitted RandomForestRegressor as plain arrays; its mean over trees becomes a sum.

    So each leaf holds its value divided by the number of trees.
    """
    share = 1.0 / len(fitted.estimators_)
    return Forest.joined([_plain(estimator.tree_, share) for estimator in fitted.estimators_])


def _plain(tree: FittedTree, share: float) -> dict[str, NDArray]:
    leaf = tree.children_left < 0
    return {
        "feature": np.where(leaf, LEAF, tree.feature),
        "threshold": np.where(leaf, 0.0, tree.threshold),
        "value": np.where(leaf, share * tree.value[:, 0, 0], 0.0),
        "left": tree.children_left,
        "right": tree.children_right,
    }
