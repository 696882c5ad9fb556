"""The table is right, and the truth is held to the same rules as any other input."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pydantic import ValidationError

from model.ground.errors import HectareError, HectareErrors
from stages.contract.run_key import RunKey
from stages.evaluate.stage import Config, left_out, run
from tests.small_world import build_world

FINE = Affine(100, 0, 4_780_000, 0, -100, 2_822_000)


@pytest.fixture
def compared(tmp_path):
    """A world of 4 x 3 blocks, its maps, and a truth that its homes meet exactly."""
    world = build_world(tmp_path)
    maps = world.make_maps()
    with rasterio.open(maps / "heat_homes_2012.tif") as data:
        homes = data.read(1).astype(np.float64)
    out = tmp_path / "scores"
    out.mkdir()

    def write(values, name="truth.tif", transform=FINE, **profile):
        facts = {"driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1}
        place = {"transform": transform, "crs": "EPSG:3035", "dtype": "float64"}
        with rasterio.open(tmp_path / name, "w", **facts, **place, **profile) as data:
            data.write(values, 1)
        return name

    def score(**truth):
        given = {
            "path": "truth.tif",
            "sector": "homes",
            "year": 2012,
            "unit": "MWh",
            "nodata": "none",
            **truth,
        }
        config = Config.model_validate({"truth": [given], "spatial_block": 1}, context={"folder": tmp_path})
        run(config, cube=world.cube, maps={RunKey("ours"): maps, RunKey("same"): maps}, out=out)
        return json.loads((out / "scores.json").read_text())

    return homes, write, score, out


def test_a_map_equal_to_the_truth_has_nothing_in_the_wrong_cell(compared):
    homes, write, score, out = compared
    write(homes)
    row = score()["rows"][0]
    assert row["misallocated_share"] == 0.0 and row["r2"] == 1.0 and row["zeros_with_mass"] == 0.0
    with (out / "scores.csv").open() as stream:
        assert next(csv.DictReader(stream))["method"] == "ours"
    assert "| ours | homes | 2012 | 0.000 (0.000 to 0.000) |" in (out / "scores.md").read_text()


def test_mass_moved_to_another_cell_is_counted_once(compared):
    homes, write, score, _ = compared
    moved = homes.copy()
    source, sink = np.unravel_index(homes.argmax(), homes.shape), np.argwhere(homes == 0)[0]
    moved[tuple(sink)], moved[source] = homes.max(), 0.0
    write(moved)
    assert score()["rows"][0]["misallocated_share"] == pytest.approx(homes.max() / homes.sum())


def test_val_07_truth_in_another_unit_is_the_same_truth(compared):
    homes, write, score, _ = compared
    write(homes * 1000)
    assert score(unit="kWh")["rows"][0]["misallocated_share"] == pytest.approx(0.0, abs=1e-12)


def test_it_says_in_words_when_a_method_does_not_beat_another(compared):
    homes, write, score, _ = compared
    write(homes)
    assert "does not beat same: the two are not told apart" in score()["words"][0]


def test_a_truth_that_does_not_sum_to_the_totals_is_scored_as_given_and_matched(compared):
    homes, write, score, out = compared
    write(homes * 0.8)
    told = score()
    share = {row["truth"]: row["misallocated_share"] for row in told["rows"]}
    assert share["as given"] == pytest.approx(0.5 * 0.2 / 0.8)  # a fifth of the totals is too much everywhere
    assert share["matched"] == pytest.approx(0.0, abs=1e-7)
    assert any("does not sum to the totals (block by block 20.0%" in word for word in told["words"])
    assert "| as given |" in (out / "scores.md").read_text()


def test_a_truth_that_covers_more_than_the_map_is_cut_to_it(compared):
    homes, write, score, _ = compared
    wide = np.pad(homes, ((3, 0), (5, 2)))
    write(wide, transform=Affine(100, 0, 4_779_500, 0, -100, 2_822_300))
    assert score()["rows"][0]["misallocated_share"] == 0.0


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"path": "absent.tif"}, "no such file"),
        ({"sector": "ships"}, "ships"),
        ({"unit": "furlong"}, "furlong"),
        ({"path": "coarse.tif"}, "fine grid"),
    ],
)
def test_a_truth_that_cannot_be_used_is_refused(compared, change, word):
    homes, write, score, _ = compared
    write(homes)
    write(np.ones((4, 3)), "coarse.tif", Affine(1000, 0, 4_780_000, 0, -1000, 2_822_000))
    with pytest.raises((HectareError, HectareErrors)) as caught:
        score(**change)
    assert caught.value.code == 3 and word in str(caught.value)


def test_without_any_truth_it_says_what_to_set(compared, tmp_path):
    with pytest.raises(HectareError) as caught:
        run(Config(), cube=tmp_path / "cube", maps={}, out=tmp_path)
    assert caught.value.code == 2 and "evaluate.truth" in caught.value.fix


def test_methods_whose_extra_is_missing_are_named():
    config = Config(methods_if_installed=("random_forest", "gradient_boosting"))
    made = dict.fromkeys((RunKey("uniform", "fair"), RunKey("gradient_boosting", "fair")), Path())
    assert left_out(config, made) == ["random_forest was left out: the extra `trees` is not installed."]


@pytest.mark.parametrize("key", ["methods", "methods_if_installed"])
def test_a_method_that_there_is_not_is_refused_before_anything_is_made(key):
    with pytest.raises(ValidationError, match=rf"{key}\.1\n.*one of .*input_value='rndom_forest'"):
        Config(**{key: ("uniform", "rndom_forest")})


def test_the_page_stands_alone_and_shows_the_truth_beside_the_maps(compared):
    homes, write, score, out = compared
    write(homes * np.random.default_rng(0).lognormal(0, 0.5, homes.shape))
    told = score()
    page = (out / "scores.html").read_text()
    assert page.count("data:image/png;base64,") == 6  # truth, ours and same: whole and near
    assert "http:" not in page and "https:" not in page and "<script" not in page
    assert "<polyline" in page and all(word.split(":")[0] in page for word in told["words"])


def test_reliability_lies_on_the_diagonal_where_the_map_is_the_truth(compared):
    homes, write, score, _ = compared
    write(homes)
    for point in score()["reliability"][0]["points"]:
        assert point["truth"] == pytest.approx(point["estimate"], rel=1e-6)
