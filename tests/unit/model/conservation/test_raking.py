"""Raking meets several totals at once, and says which ones contradict each other."""

import numpy as np
import pytest

from model.conservation.raking import Groups, rake_within
from tests.laws.turns import rake


def nested(group, totals):
    group = np.array(group)
    return Groups(np.arange(group.size), group, np.ones(group.size), np.array(totals, float))


def test_rows_and_columns_are_met_together():
    # A 2 x 2 table of ones with rows 3, 1 and columns 2, 2 becomes 1.5, 1.5, 0.5, 0.5.
    raked = rake(np.ones(4), (nested([0, 0, 1, 1], [3, 1]), nested([0, 1, 0, 1], [2, 2])))
    assert raked.mass == pytest.approx([1.5, 1.5, 0.5, 0.5])
    assert not any(missed.any() for missed in raked.missed)


def test_coarse_cells_and_a_district_are_met_together():
    rng = np.random.default_rng(2)
    truth = rng.lognormal(0, 1, (8, 25))
    group = np.repeat(np.arange(8), 25)
    district = (np.arange(200) % 7 < 3).astype(int)
    flat = truth.ravel()
    totals = np.bincount(group, flat), np.bincount(district, flat)
    raked = rake(rng.lognormal(0, 1, 200), (nested(group, totals[0]), nested(district, totals[1])))
    assert not raked.missed[0].any() and not raked.missed[1].any()
    assert np.bincount(group, raked.mass) == pytest.approx(totals[0], rel=1e-11)


def test_a_grid_that_does_not_nest_is_met_by_shares_of_overlap():
    # Three cells of 1 km under two of 1.5 km: the middle cell lies half in each.
    groups = Groups(
        np.array([0, 1, 1, 2]), np.array([0, 0, 1, 1]), np.array([1, 0.5, 0.5, 1]), np.array([4.0, 2.0])
    )
    raked = rake(np.ones(3), (groups,))
    assert groups.sums(raked.mass) == pytest.approx([4.0, 2.0], rel=1e-11)
    assert raked.mass.sum() == pytest.approx(6.0)


def test_a_total_of_zero_empties_its_cells_and_empty_cells_stay_empty():
    raked = rake(np.array([1.0, 2.0, 0.0, 4.0]), (nested([0, 0, 1, 1], [0.0, 5.0]),))
    assert raked.mass == pytest.approx([0, 0, 0, 5])


def test_groups_that_cannot_be_met_are_named():
    empty = rake(np.array([0.0, 0.0, 1.0]), (nested([0, 0, 1], [3.0, 1.0]),), cycles=5)
    assert empty.missed[0].tolist() == [True, False]
    assert empty.residuals[0][0] == -3.0
    # The rows hold 4, the columns 5: no field has both.
    both = rake(np.ones(4), (nested([0, 0, 1, 1], [3, 1]), nested([0, 1, 0, 1], [2, 3])), cycles=50)
    assert any(missed.any() for missed in both.missed)


@pytest.mark.parametrize("share, total", [(0.0, 1.0), (2.0, 1.0), (1.0, -1.0), (1.0, np.nan)])
def test_shares_and_totals_that_mean_nothing_are_refused(share, total):
    with pytest.raises(ValueError):
        Groups(np.array([0]), np.array([0]), np.array([share]), np.array([total]))


def crossing(seed, cells=60, blocks=6, zones=4):
    """Cells in blocks, and zones that cut across them; a third of the cells lie half in one zone, half in another."""
    chance = np.random.default_rng(seed)
    block, zone = chance.integers(blocks, size=cells), chance.integers(zones, size=cells)
    block[:blocks] = np.arange(blocks)
    cut = chance.random(cells) < 0.3
    cell = np.concatenate([np.arange(cells), np.flatnonzero(cut)])
    group = np.concatenate([zone, (zone[cut] + 1) % zones])
    share = np.concatenate([np.where(cut, 0.5, 1.0), np.full(cut.sum(), 0.5)])
    truth = chance.gamma(0.7, 3.0, cells)
    raw = truth * chance.lognormal(0.0, 0.5, cells)
    held = np.bincount(block, truth) / np.bincount(block, raw)
    totals = np.bincount(group, share * truth[cell], minlength=zones)
    return raw * held[block], block, Groups(cell, group, share, totals)


@pytest.mark.parametrize("seed", range(20))
def test_raking_within_blocks_ends_where_taking_turns_ends(seed):
    raw, block, groups = crossing(seed)
    mass, residual = rake_within(raw, block, groups)
    own = Groups(np.arange(len(raw)), block, np.ones(len(raw)), np.bincount(block, raw))
    assert np.abs(residual).max() <= 1e-11 * groups.totals.max()
    assert own.sums(mass) == pytest.approx(own.totals, rel=1e-12)
    turns = rake(raw, (groups, own), cycles=20_000, close=1e-11)
    assert mass == pytest.approx(turns.mass, rel=1e-6, abs=1e-8)


def test_raking_within_blocks_tells_what_they_cannot_give():
    # One block of 10, all of it in the zone, which wants 12: 2 are missing, and the block keeps its 10.
    groups = Groups(np.arange(2), np.zeros(2, int), np.ones(2), np.array([12.0]))
    mass, residual = rake_within(np.array([4.0, 6.0]), np.zeros(2, int), groups)
    assert mass == pytest.approx([4.0, 6.0]) and residual == pytest.approx([-2.0])


def test_a_zone_that_holds_nothing_is_emptied_where_its_blocks_have_other_cells():
    groups = Groups(np.array([0, 2]), np.zeros(2, int), np.ones(2), np.array([0.0]))
    mass, residual = rake_within(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1]), groups)
    # Block 0 moves its 4 to the second cell; block 1 has no other cell and keeps its 5.
    assert mass.tolist() == [0.0, 4.0, 5.0] and residual.tolist() == [5.0]


def test_raking_within_blocks_leaves_an_empty_block_empty():
    groups = Groups(np.arange(4), np.array([0, 1, 0, 1]), np.ones(4), np.array([3.0, 1.0]))
    mass, residual = rake_within(np.array([0.0, 0.0, 2.0, 2.0]), np.array([0, 0, 1, 1]), groups)
    assert mass == pytest.approx([0.0, 0.0, 3.0, 1.0]) and np.abs(residual).max() <= 1e-12


@pytest.mark.parametrize("power", [-120, 120])
def test_raking_within_blocks_knows_no_unit(power):
    raw, block, groups = crossing(3)
    scaled = Groups(groups.cell, groups.group, groups.share, groups.totals * 2.0**power)
    mass, _ = rake_within(raw, block, groups)
    assert rake_within(raw * 2.0**power, block, scaled)[0] == pytest.approx(mass * 2.0**power, rel=1e-9)
