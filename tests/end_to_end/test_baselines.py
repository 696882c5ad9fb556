"""Every baseline on the shipped city, from layers to scores, lands where others measured it."""

import json

import pytest

from model.methods import METHODS

LEARNED = ("dst_carbon_former", "srresnet", "srgan")  # networks; the last two need fine fields as well
BASELINES = [name for name in METHODS if not name.startswith(LEARNED)]
# Misallocated share of homes and of other buildings by simple scripts of others on the same files; those that
# estimate a whole map at once and fit on all of it, where these see windows and the training split, differ a little.
# Trees may be better: ours also see what lies 3 and 5 blocks around.
MEASURED = {
    "uniform": (0.270, 0.304),
    "pycnophylactic": (0.235, 0.282),
    "smooth_mask": (0.231, 0.276),
    "additive_nnls": (0.261, 0.294),
    "additive_poisson": (0.261, 0.294),
    "exposure": (0.242, 0.286),
    "random_forest": (0.262, 0.282),
    "gradient_boosting": (0.262, 0.286),
}

TREES = ("random_forest", "gradient_boosting")


@pytest.mark.slow
def test_every_baseline_lands_where_others_measured_it(pipeline, tmp_path):
    """The command itself fails (exit 7) when a map misses a total."""
    settings = ("--set", "train.method=uniform", "--set", "evaluate.emd_blocks=0")
    settings += ("--set", f"evaluate.methods=[{', '.join(BASELINES)}]")
    pipeline("evaluate", "--workspace", tmp_path, *settings)
    run = tmp_path / "runs" / "vienna_city"
    scores = json.loads((run / "scores" / "scores.json").read_text())
    share = {(row["method"], row["sector"]): row["misallocated_share"] for row in scores["rows"]}
    assert {method for method, _ in share} == set(BASELINES)
    for method, (homes, other) in MEASURED.items():
        better = 0.02 if method in TREES else 0.01
        assert -better < share[method, "homes"] - homes < 0.01, method
        assert -better < share[method, "other_buildings"] - other < 0.01, method
