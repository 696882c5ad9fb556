"""The words say `beats` only where the interval leaves no room for chance."""

import json

import numpy as np
import pytest

from model.evaluation.scores import Cuts, Scores
from stages.evaluate.table import Entry, Setup, build, write

BLOCKS, CELLS = 60, 25


@pytest.fixture
def judged():
    """The table of two methods on 60 spatial blocks of 25 cells; each errs by what is given for every block."""
    truth = np.random.default_rng(0).lognormal(3.0, 0.3, BLOCKS * CELLS)
    labels = np.repeat(np.arange(BLOCKS), CELLS)

    def entry(method, error):
        guess = truth * (1.0 + np.repeat(np.broadcast_to(error, BLOCKS), CELLS))
        everywhere = np.ones(truth.size, bool)
        cuts = Cuts.of(lambda: [truth])
        scores = Scores.of(guess, truth, everywhere, cuts=cuts, labels=labels, count=BLOCKS)
        return Entry(method, ("homes", "2012"), scores)

    def make(ours, theirs, *more):
        entries = [entry("ours", ours), entry("theirs", theirs)]
        entries += [entry(f"other{number}", error) for number, error in enumerate(more)]
        return build(entries, ("sector", "year"), "ours", 1000, 0)

    return make


def share_gain(table):
    """By how much the judged method is better by the misallocated share."""
    (found,) = [entry for entry in table.differences if entry.score == "misallocated_share"]
    return found.gain


def test_a_gain_in_every_block_beats(judged):
    table = judged(0.10, 0.20)
    assert table.words == [
        "homes 2012: ours beats theirs by 0.050 (0.050 to 0.050, 50.0%) on misallocated share."
    ]  # half of 10 % against half of 20 %, the same in every block
    gain = share_gain(table)
    assert gain.value == pytest.approx(0.05) and gain.low == pytest.approx(0.05)


def test_a_gain_that_hangs_on_a_few_blocks_is_not_told_apart(judged):
    rng = np.random.default_rng(1)
    table = judged(np.abs(rng.normal(0.2, 0.1, BLOCKS)), np.abs(rng.normal(0.2, 0.1, BLOCKS)))
    gain = share_gain(table)
    assert gain.low < 0 < gain.high
    assert "not told apart" in table.words[0] and " beats " not in table.words[0]


def test_a_loss_in_every_block_is_worse(judged):
    assert judged(0.2, 0.1).words[0].startswith("homes 2012: ours does not beat theirs: it is worse, -0.050")


def test_the_best_of_the_others_is_the_one_to_beat(judged):
    assert "beats other0 by 0.025" in judged(0.10, 0.30, 0.15).words[0]


def test_paired_differences_are_surer_than_the_two_intervals(judged):
    """Blocks differ a lot, both methods alike: each interval is wide, that of the difference narrow."""
    level = np.random.default_rng(2).uniform(0.05, 0.6, BLOCKS)
    table = judged(level, level + 0.02)
    share = table.rows[0].scores["misallocated_share"]
    assert share.high - share.low > 0.03
    gain = share_gain(table)
    assert gain.high - gain.low < 0.001 and "ours beats theirs" in table.words[0]


def test_what_is_written_is_the_same_three_times(judged, tmp_path):
    table = judged(0.1, 0.2)
    write(table, Setup("t", "for tests", 1, 1000), tmp_path)
    told = json.loads((tmp_path / "scores.json").read_text())
    assert told["rows"][0]["misallocated_share"] == pytest.approx(0.05)
    head, first = (tmp_path / "scores.csv").read_text().splitlines()[:2]
    value = dict(zip(head.split(","), first.split(","), strict=True))
    assert float(value["misallocated_share"]) == told["rows"][0]["misallocated_share"]
    assert float(value["misallocated_share_low"]) == told["rows"][0]["intervals"]["misallocated_share"][0]
    assert "| ours | homes | 2012 | 0.050 (0.050 to 0.050) |" in (tmp_path / "scores.md").read_text()
