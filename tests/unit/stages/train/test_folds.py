"""Facts of all networks together: what learned is weighed against what learns nothing, on the same ground."""

import pytest

from stages.train.folds import OWN_BASE, _summed_up


def network(score, base, proxy):
    return {
        "score": score,
        "rivals": {OWN_BASE: base, "single_proxy": proxy},
        "step": 3,
        "steps": 5,
        "tiles": 2,
    }


def test_means_over_the_folds_are_compared_and_not_single_folds():
    # 0.3 and 0.5 against 0.2 and 0.8: the proxy wins the first fold and loses, 0.5 against 0.4.
    facts = _summed_up([network(0.3, 0.9, 0.2), network(0.5, 0.9, 0.8)])
    assert facts["score"] == pytest.approx(0.4) and facts["rivals"]["single_proxy"] == pytest.approx(0.5)
    assert facts["start_score"] == pytest.approx(0.9)
    assert (facts["folds"], facts["step"], facts["steps"], facts["tiles"]) == (2, 6, 10, 4)
    assert "beaten_by" not in facts


@pytest.mark.parametrize(
    ("base", "proxy", "best"),
    [(0.9, 0.39, "single_proxy"), (0.9, 0.4, "single_proxy"), (0.9, 0.41, None), (0.2, 0.3, OWN_BASE)],
)
def test_what_learns_nothing_is_named_where_it_is_as_good_or_better(base, proxy, best):
    assert _summed_up([network(0.4, base, proxy)]).get("beaten_by") == best
