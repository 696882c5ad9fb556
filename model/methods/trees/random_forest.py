"""A random forest on the logarithm of the totals' density, asked of fine cells."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Masses
from model.methods.trees.tree_method import TreeMethod, library
from model.priors.forest import LEAF, Forest

TREES = 100
LEAF_BLOCKS = 3  # at least, in a leaf
MOST_BLOCKS = 20_000  # drawn for a tree: bounds time and the size of the checkpoint, however large the map


class RandomForest(TreeMethod):
    """Breiman's (2001) forest by scikit-learn, on blocks that hold mass: a logarithm knows no zero, the mask does."""

    name: ClassVar[str] = "random_forest"
    summary: ClassVar[str] = "random forest on the density of the totals, on the cells the covariates allow"

    def grow(self, rows: NDArray[np.float32], density: Masses, cells: Masses) -> Forest:
        """Trees that average; a third of the features tried at each split."""
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


def forest_of(fitted: Any) -> Forest:
    """A fitted RandomForestRegressor as plain arrays; its mean over trees becomes a sum."""
    share = 1.0 / len(fitted.estimators_)
    return Forest.joined([_plain(estimator.tree_, share) for estimator in fitted.estimators_])


def _plain(tree: Any, share: float) -> dict[str, NDArray]:
    leaf = tree.children_left < 0
    return {
        "feature": np.where(leaf, LEAF, tree.feature),
        "threshold": np.where(leaf, 0.0, tree.threshold),
        "value": np.where(leaf, share * tree.value[:, 0, 0], 0.0),
        "left": tree.children_left,
        "right": tree.children_right,
    }
