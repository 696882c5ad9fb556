"""Work shared out over threads comes back whole, in order where that is promised, and stops at a failure."""

import threading

import pytest

from stages.contract.execution import spread, spread_runs


@pytest.mark.parametrize("threads", [1, 4])
def test_results_keep_the_order_of_their_pieces(threads):
    assert list(spread(lambda piece: piece * piece, range(50), threads)) == [n * n for n in range(50)]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_run_stays_in_one_thread_and_every_piece_is_done_once(threads):
    runs = [list(range(first, first + 7)) for first in range(0, 70, 7)]
    found = dict(spread_runs(lambda piece: threading.get_ident(), runs, threads))
    assert sorted(found) == list(range(70))
    assert all(len({found[piece] for piece in run}) == 1 for run in runs)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_failure_is_raised_and_stops_what_is_not_begun(threads):
    begun = []

    def work(piece):
        begun.append(piece)
        if piece == 0:
            raise ValueError("broken")
        return piece

    with pytest.raises(ValueError, match="broken"):
        list(spread_runs(work, [[0, 1, 2], *([n] for n in range(3, 3000))], threads))
    assert 1 not in begun and 2 not in begun and len(begun) < 2998
