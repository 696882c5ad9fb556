"""The plan of tiles: in the right place, without leaks, with statistics of the training split alone."""

import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from pydantic import ValidationError

from model.ground.windows import Split
from stages.artifacts.cube import Cube
from stages.artifacts.tiles import Samples
from stages.ingest.stage import run as ingest
from stages.tile.stage import Config, clashes, run, tile_side, tile_stride

COARSE = Affine(1000, 0, 4_780_000, 0, -1000, 2_822_000)
FINE = Affine(100, 0, 4_780_000, 0, -100, 2_822_000)


@pytest.fixture
def planned(land, tmp_path):
    """Plans a map of 30 x 28 coarse cells, the right half of it empty."""
    chance = np.random.default_rng(3)
    totals = chance.gamma(1.0, 50.0, (30, 28))
    totals[:, 14:] = 0
    land.file("totals.tif", totals, COARSE)
    land.file("roads.tif", chance.random((300, 280)).astype(np.float32), FINE)
    cube, tiles = tmp_path / "cube", tmp_path / "tiles"
    cube.mkdir(), tiles.mkdir()
    ingest(land.config(), out=cube)

    def make(**settings):
        run(Config(**{"spatial_block": 5, **settings}), cube=cube, out=tiles)
        return cube, tiles, json.loads((tiles / "tiles.json").read_text())

    return make


def test_run_11_target_cells_of_the_splits_are_disjoint_and_a_buffer_apart(planned):
    _, _, plan = planned(buffer=2, folds=2, test_share=0.2)
    cells = {name: set() for name in ("train", "valid", "test")}
    for window in plan["windows"]:
        if window["fold"] == 0 or window["split"] == "test":
            for index in window["target"]:
                cells[window["split"]].add((window["row"] + index // 12, window["col"] + index % 12))
    assert cells["train"] and cells["valid"]
    for one, other in (("train", "valid"), ("train", "test"), ("valid", "test")):
        gaps = [max(abs(a[0] - b[0]), abs(a[1] - b[1])) for a in cells[one] for b in cells[other]]
        assert min(gaps, default=99) > 2


def test_cells_that_score_are_counted_once(planned):
    _, _, plan = planned(test_share=0.2)
    for split, fold in (("valid", 0), ("valid", 3), ("test", -1), ("all", -1)):
        cells = [
            (window["row"] + index // 12, window["col"] + index % 12)
            for window in plan["windows"]
            if (window["split"], window["fold"]) == (split, fold)
            for index in window["target"]
        ]
        assert cells and len(cells) == len(set(cells))


def test_held_out_ground_of_all_folds_is_the_ground_that_may_be_learned_from(planned):
    _, tiles, plan = planned(buffer=0, test_share=0.2)
    with rasterio.open(tiles / "split.tif") as data:
        whole, *folds = data.read()
    assert len(folds) == plan["folds"] == 4
    assert ((np.stack(folds) == Split.VALID).sum(axis=0) == (whole == Split.TRAIN)).all()


def test_few_cells_with_mass_make_four_folds_and_many_two(planned, monkeypatch):
    assert planned()[2]["folds"] == 4
    monkeypatch.setattr("stages.tile.stage.MANY", 400)  # 30 x 14 cells hold mass
    assert planned()[2]["folds"] == 2
    assert planned(folds=5)[2]["folds"] == 5


def test_windows_without_anything_to_learn_are_dropped_and_counted(planned):
    _, _, plan = planned()
    assert all(window["mass"] > 0 for window in plan["windows"])
    assert sum(plan["dropped"].values()) > 0


def test_the_split_raster_and_the_window_outlines_lie_on_the_map(planned):
    cube, tiles, plan = planned()
    with rasterio.open(tiles / "split.tif") as data:
        assert data.crs.to_epsg() == 3035 and data.transform == COARSE
        assert (data.read(2) == Split.TRAIN).sum() == plan["cells"][0]["train"]
    outlines = json.loads((tiles / "windows.geojson").read_text())
    assert outlines["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::3035"
    first = outlines["features"][0]
    assert first["properties"]["split"] == "all"
    left, top = first["geometry"]["coordinates"][0][3]
    assert (left, top) == (
        4_780_000 + first["properties"]["col"] * 1000,
        2_822_000 - first["properties"]["row"] * 1000,
    )
    assert Cube.open(cube).coarse.rows == 30


def test_statistics_come_from_learned_ground_alone(planned):
    cube, tiles, plan = planned(test_share=0.2)
    opened = Cube.open(cube)
    with rasterio.open(tiles / "split.tif") as data:
        train = np.kron(data.read(1) == Split.TRAIN, np.ones((10, 10), bool))
    values = opened.covariates(0, 0, 300, 280)[0, 0][train].astype(np.float64)
    layer = {
        key: plan["statistics"]["layers"][key][0] for key in ("mean", "std", "positive_median", "zero_share")
    }
    assert layer["mean"] == pytest.approx(values.mean()) and layer["std"] == pytest.approx(values.std())
    assert layer["positive_median"] == pytest.approx(np.median(values), rel=1e-6)
    assert layer["zero_share"] == 0.0


def test_a_sample_is_the_ground_its_window_names(planned):
    cube, tiles, plan = planned()
    samples = Samples(cube, tiles, "train", 3, fold=1)
    window = [entry for entry in plan["windows"] if (entry["split"], entry["fold"]) == ("train", 1)][5]
    tile, opened = samples[5], Cube.open(cube)
    assert tile.halo == 4 and tile.totals.shape[-2:] == (20, 20) and not tile.target[:4].any()
    ground = (slice(window["row"], window["row"] + 12), slice(window["col"], window["col"] + 12))
    assert (tile.totals[0, 0, 4:16, 4:16] == opened.totals()[0, 0][ground]).all()
    seen = opened.covariates(window["row"] * 10, window["col"] * 10, 120, 120)
    assert (tile.covariates[..., 40:160, 40:160] == seen).all()
    assert tile.target.sum() == len(window["target"])
    assert samples.mass[5] == pytest.approx(tile.totals[0, 0][tile.target].sum())


def test_a_halo_reads_the_map_around_a_tile_and_is_invalid_beyond_it(planned):
    cube, tiles, plan = planned()
    opened = Cube.open(cube)
    known = np.pad(opened.known()[0, 0], 4)
    totals = np.pad(opened.totals()[0, 0], 4)
    valid = np.pad(opened.valid(0, 0, 300, 280), 40)
    entries = [entry for entry in plan["windows"] if entry["split"] == "all"]
    samples = Samples(cube, tiles, "all", 1)
    for index, entry in enumerate(entries):
        part = (slice(entry["row"], entry["row"] + 20), slice(entry["col"], entry["col"] + 20))
        fine = tuple(slice(axis.start * 10, axis.stop * 10) for axis in part)
        assert (samples[index].known[0, 0] == known[part]).all()
        assert (samples[index].totals[0, 0] == totals[part]).all()
        assert (samples[index].valid == valid[fine]).all()


def test_geo_15_a_map_smaller_than_a_tile_is_padded_as_invalid(land, tmp_path):
    cube, tiles = tmp_path / "cube", tmp_path / "tiles"
    cube.mkdir(), tiles.mkdir()
    ingest(land.config(), out=cube)  # 3 x 4 coarse cells
    run(Config(spatial_block=2, buffer=0), cube=cube, out=tiles)
    tile = Samples(cube, tiles, "all", 1)[0].fitted(5)  # 4 blocks of halo make no group of 5
    assert tile.valid.shape == (120, 120) and tile.valid.sum() == 1200
    assert not tile.known[0, 0, 3:].any() and not tile.target[3:].any()


def test_the_same_seed_gives_the_same_plan(planned):
    first = planned(seed=4)[2]
    assert planned(seed=4)[2] == first and planned(seed=5)[2] != first


@pytest.mark.parametrize(("factor", "side"), [(10, 12), (5, 24), (7, 18), (30, 4), (100, 2)])
def test_a_tile_is_near_120_cells_and_holds_pairs_of_blocks(factor, side):
    assert tile_side(Config(), factor) == side and side % 2 == 0
    assert tile_stride(Config(), factor) % 2 == 1


def test_cfg_05_sizes_that_cannot_work_together_are_told():
    assert "nearest to 120 is 126" in clashes(Config(size=120), 7)[0].wanted
    assert clashes(Config(size=120, stride=50), 10) == []
    assert "multiple of the factor, 10" in clashes(Config(stride=55), 10)[0].wanted
    with pytest.raises(ValidationError, match="larger than the tile"):
        Config(size=120, stride=130)
