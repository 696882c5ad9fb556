"""The loss asks only for shares inside groups, and counts only groups that are wholly known target cells."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.training.losses import Groups, groups_of, share_loss


def fine(tile):
    """An estimate whose 1 km sums are exactly the totals: everything in the first cell of a block."""
    estimate = np.zeros((*tile.totals.shape[:2], *tile.valid.shape))
    estimate[..., :: tile.factor, :: tile.factor] = tile.totals
    return torch.from_numpy(estimate).float()[None]


def test_the_truth_has_the_lowest_loss_and_its_scale_does_not_matter(make_tile):
    tile = make_tile(0)
    asked = [Groups.of(tile, 2)]
    best = share_loss(fine(tile), asked)
    torch.testing.assert_close(share_loss(7.0 * fine(tile), asked), best)
    torch.manual_seed(0)
    assert share_loss(fine(tile) * torch.rand_like(fine(tile)), asked) > best


def test_the_loss_of_a_group_by_hand(make_tile):
    tile = make_tile(0, blocks=2, factor=1, years=1, sectors=1)
    tile = replace(tile, totals=np.array([[[[3.0, 1.0], [0.0, 0.0]]]]))
    even = torch.ones(1, 1, 1, 2, 2)
    misallocated = 0.5 * (0.5 + 0.0 + 0.25 + 0.25)
    entropy = np.log(4.0)
    loss = share_loss(even, [Groups.of(tile, 2)])
    assert float(loss) == pytest.approx(0.5 * misallocated + 0.5 * entropy, rel=1e-6)


@pytest.mark.parametrize("what", ["known", "target"])
def test_a_group_with_a_member_that_does_not_count_is_left_out_whole(make_tile, what):
    tile = make_tile(0, blocks=4)
    getattr(tile, what)[..., 0, 1] = False
    mass = Groups.of(tile, 2).mass
    assert not mass[..., 0, 0].any()
    assert mass[..., 1, 1].all()


def test_what_happens_outside_the_counted_groups_does_not_change_the_loss(make_tile):
    tile = make_tile(0, blocks=4)
    tile.target[:2, :2] = False
    estimate = fine(tile) + 0.01
    changed = estimate.clone()
    changed[..., :8, :8] *= torch.linspace(1, 5, 8)
    asked = [Groups.of(tile, 2)]
    assert torch.equal(share_loss(changed, asked), share_loss(estimate, asked))


def test_tiles_that_count_nothing_give_a_loss_of_zero(make_tile):
    tile = replace(make_tile(0), target=np.zeros((12, 12), bool))
    assert float(share_loss(fine(tile), [Groups.of(tile, 2)])) == 0.0


@pytest.mark.parametrize(
    ("coarsen", "side", "groups"),
    [
        ((2,), 12, (2,)),
        ((12, 6, 4, 3, 2), 12, (2, 3, 4, 6, 12)),
        ((2,), 24, (2,)),
        ((3,), 10, (2,)),
        ((2,), 7, (7,)),
        ((2,), 1, ()),
    ],
)
def test_factors_become_groups_that_fit_the_window(coarsen, side, groups):
    assert groups_of(coarsen, side, side) == groups
