"""Boosted trees with a Tweedie likelihood on the totals' density, asked of fine cells."""

from typing import ClassVar, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Masses
from model.methods.trees.tree_method import TreeMethod, library
from model.priors.forest import LEAF, Forest

ROUNDS = 150
SETTINGS = {
    "objective": "tweedie",
    "tweedie_variance_power": 1.5,  # between Poisson (1) and Gamma (2): exact zeros beside heavy tails
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 20,
    "num_threads": 1,  # with the next two: equal runs give equal trees
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


class DumpedNode(TypedDict, total=False):
    """A node as LightGBM tells it: a split with two children, or a leaf with its value."""

    split_feature: int
    threshold: float
    left_child: "DumpedNode"
    right_child: "DumpedNode"
    leaf_value: float


class DumpedTree(TypedDict):
    """One of the trees of a booster."""

    tree_structure: DumpedNode


class DumpedModel(TypedDict):
    """What is read of a booster's own account of itself."""

    tree_info: list[DumpedTree]


class Booster(Protocol):
    """A trained lightgbm.Booster, as far as it is read here."""

    def dump_model(self) -> DumpedModel:
        """All trees as nested dictionaries."""


class GradientBoosting(TreeMethod):
    """LightGBM (Ke et al. 2017) on all blocks, those without mass too, each weighted by its valid cells."""

    name: ClassVar[str] = "gradient_boosting"
    summary: ClassVar[str] = "boosted trees on the density of the totals, on the cells the covariates allow"

    def grow(self, rows: NDArray[np.float32], density: Masses, cells: Masses) -> Forest:
        """Trees that add up to the logarithm of the density in units of its mean.

        Args: as TreeMethod.grow; blocks without mass enter too, since the Tweedie law has a mass at 0.
        Raises: UsageError (exit 2) when LightGBM is not installed.
        """
        lightgbm = library("lightgbm", "lightgbm", self.name)
        data = lightgbm.Dataset(rows, density / density.mean(), weight=cells)
        return forest_of(lightgbm.train(SETTINGS | {"seed": self.seed}, data, ROUNDS))


def forest_of(booster: Booster) -> Forest:
    """A LightGBM booster without missing values or categories as plain arrays; its sum is the raw score.

    The score is the logarithm of what a Tweedie objective predicts.
    """
    return Forest.joined([_plain(tree["tree_structure"]) for tree in booster.dump_model()["tree_info"]])


def _plain(root: DumpedNode) -> dict[str, NDArray]:
    """Nodes in the order they are met, every parent before its children."""
    nodes: list[tuple[int, float, float]] = []
    children: list[list[int]] = []
    todo: list[tuple[DumpedNode, int]] = [(root, -1)]
    while todo:
        node, parent = todo.pop()
        if parent >= 0:
            children[parent].append(len(nodes))
        if "split_feature" in node:
            nodes.append((int(node["split_feature"]), float(node["threshold"]), 0.0))
            todo += [(node["right_child"], len(children)), (node["left_child"], len(children))]
        else:
            nodes.append((LEAF, 0.0, float(node["leaf_value"])))
        children.append([])
    feature, threshold, value = map(np.array, zip(*nodes, strict=True))
    left, right = (np.array([pair[side] if pair else 0 for pair in children]) for side in (0, 1))
    return {"feature": feature, "threshold": threshold, "value": value, "left": left, "right": right}
