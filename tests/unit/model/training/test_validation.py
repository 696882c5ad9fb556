"""Validation by hand: what is missed of totals that were not shown, by either score."""

from dataclasses import replace

import numpy as np
import pytest

from model.training.validation import candidate_scores, evenly


class Even:
    """Spreads what is shown."""

    def candidates(self, scene):
        return {"even": np.kron(scene.totals / scene.side**2, np.ones((scene.side, scene.side)))}


def pair(make_tile, totals):
    """A window of 2 x 2 coarse cells, shown their sum alone."""
    tile = make_tile(3, blocks=2, years=1, sectors=1)
    return replace(tile, totals=np.array(totals, float).reshape(1, 1, 2, 2))


def test_true_zeros_count_in_the_balanced_score_alone(make_tile):
    """Shown 16, each of 4 cells gets 4. Truth 12, 4, 0, 0: |q - y| is 8, 0 on the mass and 4, 4 on the zeros.

    Nonzero-MAE 4, over the mean non-zero total of 8: 0.5. MAE on zeros 4, so balanced (4 + 4) / 2 = 4: 0.5.
    Truth 8, 4, 4, 0: 4, 0, 0 on the mass, 4 on the zero. Nonzero-MAE 4/3 over 16/3: 0.25; balanced 8/3: 0.5.
    """
    for totals, nonzero, balanced in (([12, 4, 0, 0], 0.5, 0.5), ([8, 4, 4, 0], 0.25, 0.5)):
        tile = pair(make_tile, totals)
        assert candidate_scores(Even(), [tile], (2,))["even"] == pytest.approx(nonzero)
        assert candidate_scores(Even(), [tile], (2,), "balanced_mae")["even"] == pytest.approx(balanced)


def test_without_a_true_zero_both_scores_are_one(make_tile):
    """Truth 7, 3, 3, 3: missed 3, 1, 1, 1, so 1.5 over a mean of 4."""
    tile = pair(make_tile, [7, 3, 3, 3])
    for by in ("nonzero_mae", "balanced_mae"):
        assert candidate_scores(Even(), [tile], (2,), by)["even"] == pytest.approx(0.375)


def test_without_mass_nothing_can_be_told(make_tile):
    tile = pair(make_tile, [0, 0, 0, 0])
    for by in ("nonzero_mae", "balanced_mae"):
        assert np.isnan(candidate_scores(Even(), [tile], (2,), by)["even"])


@pytest.mark.parametrize(("count", "wanted", "found"), [(0, 4, []), (3, 9, [0, 1, 2]), (9, 3, [0, 4, 8])])
def test_validation_tiles_are_spaced_evenly(count, wanted, found):
    assert evenly(count, wanted) == found
