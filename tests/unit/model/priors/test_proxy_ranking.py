"""The proxy of a sector is the layer that tells block from block best where totals are shown merged."""

from dataclasses import replace

import numpy as np
import pytest

from model.ground.scene import Layer
from model.ground.survey import Survey
from model.priors.proxy_ranking import rank_proxies

LAYERS = (Layer("even", "share"), Layer("true", "share"), Layer("census", "total", blocky=True))


def four_blocks() -> Survey:
    """3, 1, 0 and 0 in one square of blocks; one layer says nothing, one all, and a blocky one all too."""
    totals = np.array([[[[3.0, 1.0], [0.0, 0.0]]]])
    sums = np.stack([np.ones((1, 2, 2)), totals[0], totals[0]])
    cells, known = np.full((2, 2), 4), np.ones((1, 1, 2, 2), bool)
    return Survey(LAYERS, ("homes",), 2, totals, known, sums, cells, known[0, 0], np.zeros(3), np.ones(3))


def test_the_layer_that_misplaces_least_is_best_and_blocky_ones_are_not_asked():
    """Shared out evenly each block gets 1 of 4: half of |1-3| + |1-1| + |1-0| + |1-0| is 2, a share of 1/2."""
    (ranking,) = rank_proxies(four_blocks())
    assert ranking.missed == pytest.approx({0: 0.5, 1: 0.0})
    assert ranking.best == 1


def test_where_nothing_can_be_judged_no_layer_is_best():
    survey = four_blocks()
    (ranking,) = rank_proxies(replace(survey, known=np.zeros_like(survey.known)))
    assert (ranking.missed, ranking.best) == ({}, None)
