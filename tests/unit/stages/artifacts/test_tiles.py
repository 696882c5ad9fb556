"""The plan of tiles as a record: what is no plan is refused by name."""

import json

import pytest

from model.ground.errors import ArtifactError
from stages.artifacts.records import LayerStatistics, SplitSums, TilePlan, TileRecord, TileStatistics
from stages.artifacts.tiles import PLAN, read_plan, write_plan


@pytest.fixture
def plan():
    sums = SplitSums(train=2.0, valid=1.0, test=0.0, buffer=1.0, nothing=0.0)
    layers = LayerStatistics(zero_share=(0.5,), mean=(1.5,), std=(0.25,), positive_median=(1.0,))
    return TilePlan(
        size=20, side=2, stride=10, halo=1, block=5, buffer=1, folds=1, cells=(sums,), mass=(sums,),
        dropped={"test: no target cell": 3}, statistics=TileStatistics(years={}, layers=layers, nonzero_cells=2),
        windows=(TileRecord(id="all-0-0", split="all", fold=-1, row=0, col=0, mass=0.1, target=(0, 3)),),
    )  # fmt: skip


def test_a_plan_comes_back_as_it_was_written_and_tells_of_pairs_only_where_there_are_any(plan, tmp_path):
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan
    assert "pairs" not in json.loads((tmp_path / PLAN).read_text())


def test_a_plan_without_its_windows_is_refused_with_the_key_that_is_missing(plan, tmp_path):
    (tmp_path / PLAN).write_text(json.dumps(plan.model_dump(mode="json", exclude={"windows"})))
    with pytest.raises(ArtifactError, match=r"(?s)tiles.json.*windows"):
        read_plan(tmp_path)
