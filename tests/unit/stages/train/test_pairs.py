"""Learning from pairs of coarse and fine fields, from files to maps and scores; no held-out value is seen."""

import json

import numpy as np
import pytest
import xarray as xr

from model.ground.errors import HectareError
from stages.artifacts.cube import Cube
from stages.artifacts.pairs import PairSamples
from stages.artifacts.tiles import Samples
from stages.contract.run_key import RunKey
from stages.evaluate import stage as evaluate
from stages.infer import stage as infer
from stages.ingest import stage as ingest
from stages.mosaic import stage as mosaic
from stages.tile import stage as tile
from stages.train import stage as train
from tests.rain_world import COLS, FACTOR, ROWS, means_of
from tests.train_settings import section

REGION = (0, 0, ROWS * FACTOR, COLS * FACTOR)


def test_a_method_that_learns_from_pairs_runs_from_files_to_maps(rain):
    """Three dates to learn from, one of them held out to validate; the fourth has totals alone."""
    pair = {"path": "fine.nc", "sector": "rain", "dates": {"first": "2001-01-01", "last": "2001-01-03"}}
    few = section(
        method="srresnet", years=1, width=4, residual_blocks=1, epochs=1, steps_per_epoch=2, batch_tiles=2
    )
    maps = rain.chain(rain.config(pairs=[pair]), few)
    split = json.loads((rain.folder / "tiles" / "dates.json").read_text("utf-8"))
    dates = {name: [entry["date"] for entry in entries] for name, entries in split.items()}
    assert dates == {
        "train": ["2001-01-01", "2001-01-03"],
        "valid": ["2001-01-02"],
        "unpaired": ["2001-01-04"],
    }
    assert all(entry["fine"] == "fine.nc" for name in ("train", "valid") for entry in split[name])
    assert "fine" not in split["unpaired"][0]
    with xr.open_dataset(maps / "rain_rain.nc", engine="h5netcdf") as data:
        found, area, truth = (
            data["sr"].values.astype(np.float64),
            data["cell_area"].values,
            data["truth"].values,
        )
    known = np.isfinite(rain.means)
    np.testing.assert_allclose(means_of(found, area)[known], rain.means[known], rtol=1e-6)
    np.testing.assert_allclose(truth[:3], rain.fine[:3], rtol=1e-6)
    assert np.isnan(truth[3]).all()
    told = json.loads((rain.folder / "checkpoint" / "checkpoint.json").read_text("utf-8"))["facts"]
    assert (told["pairs"], told["valid_pairs"], told["steps"]) == (2, 1, 2)


def test_interpolated_pairs_are_a_smoke_test_and_every_record_says_so(rain):
    """The coarse file in the place of fine fields: everything runs, and nobody may take it for skill."""
    pair = {"path": "coarse.nc", "sector": "rain", "interpolated": True,
            "dates": {"first": "2001-01-01", "last": "2001-01-03"}}  # fmt: skip
    few = section(
        method="srresnet", years=1, width=4, residual_blocks=1, epochs=1, steps_per_epoch=2, batch_tiles=2
    )
    rain.chain(rain.config(pairs=[pair]), few)
    told = json.loads((rain.folder / "checkpoint" / "checkpoint.json").read_text("utf-8"))["facts"]
    assert told["notes"] == [
        "3 of 3 fine fields were interpolated from coarse ones: what was learned is interpolation, and no score "
        "tells of skill"
    ]
    ingested = json.loads((rain.folder / "cube" / "ingest.json").read_text("utf-8"))
    assert all("smoke test" in fact["notes"][-1] for fact in ingested["pairs"])


def test_a_fine_field_is_not_interpolated(rain, told):
    pair = {
        "path": "fine.nc",
        "sector": "rain",
        "interpolated": True,
        "dates": {"first": "2001-01-01", "last": "2001-01-03"},
    }
    assert "not whole blocks of the fine grid" in told(rain.config(pairs=[pair]))


def test_the_steps_of_training_from_pairs_are_written_with_the_terms_of_their_loss(rain):
    pair = {"path": "fine.nc", "sector": "rain", "dates": {"first": "2001-01-01", "last": "2001-01-03"}}
    few = section(
        method="srgan",
        years=1,
        width=4,
        residual_blocks=1,
        epochs=1,
        steps_per_epoch=2,
        batch_tiles=2,
        adversarial_epochs=1,
    )
    rain.chain(rain.config(pairs=[pair]), few)
    lines = (rain.folder / "checkpoint" / "steps.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]
    assert {"content", "adversarial", "discriminator", "generator"} <= set(json.loads(lines[-1]))


def test_no_fine_value_of_a_validating_date_or_of_held_out_ground_is_learned_from(rain):
    """Windows drawn for training hold numbers of training dates and training ground alone."""
    pair = {"path": "fine.nc", "sector": "rain", "dates": {"first": "2001-01-01", "last": "2001-01-04"}}
    cube, tiles = rain.folder / "cube", rain.folder / "tiles"
    cube.mkdir(), tiles.mkdir()
    ingest.run(rain.config(pairs=[pair]), out=cube)
    plan = tile.Config(size=12, spatial_block=2, buffer=1, test_share=0.3, valid_dates=("2001-01-03",))
    tile.run(plan, cube=cube, out=tiles)
    samples = PairSamples(cube, tiles, "train")
    target = np.kron(Samples(cube, tiles, "all", 1).target_map, np.ones((FACTOR, FACTOR))) > 0
    assert 0 < target.sum() < target.size
    weights = Cube.open(cube).weights
    learned = np.where(target, rain.fine * weights, np.nan)
    hidden = set(np.round(rain.fine[2][rain.fine[2] > 0] * 1, 4)) | set(
        np.round((np.where(target, np.nan, rain.fine) * weights)[[0, 1, 3]].ravel(), 4)
    )
    allowed = set(np.round(learned[[0, 1, 3]].ravel(), 4))
    drawn = samples.draw(np.random.default_rng(0), 40)
    counted = np.concatenate([pair.fine[pair.counted] for pair in drawn])
    assert set(np.round(counted[counted > 0], 4)) <= allowed
    assert not set(np.round(counted[counted > 0], 4)) & (hidden - allowed)
    assert any(pair.known.any() and not pair.known.all() for pair in drawn)


def test_a_method_that_needs_pairs_says_so(rain):
    with pytest.raises(HectareError) as caught:
        rain.chain(rain.config(), train.Config(method="srresnet", years=1))
    assert caught.value.code == 2 and "ingest.pairs" in caught.value.fix


def test_held_out_dates_are_scored_beside_what_keeps_no_mean(rain):
    pair = {"path": "fine.nc", "sector": "rain", "dates": {"first": "2001-01-01", "last": "2001-01-03"}}
    maps = rain.chain(rain.config(pairs=[pair]))
    truth = {
        "path": "fine.nc",
        "sector": "rain",
        "unit": "mm/day",
        "dates": {"first": "2001-01-04", "last": "2001-01-04"},
    }
    settings = {"truth": [truth], "spatial_block": 2, "bootstrap_draws": 100, "wet": 0.5, "methods": []}
    config = evaluate.Config.model_validate(settings, context={"folder": rain.folder})
    out = rain.folder / "scores"
    out.mkdir()
    evaluate.run(config, cube=rain.folder / "cube", maps={RunKey("bilinear"): maps}, out=out)
    told = json.loads((out / "scores.json").read_text("utf-8"))
    rows = {row["method"]: row for row in told["rows"]}
    assert list(rows) == ["truth", "bilinear", "interpolated", "quantile_mapping"]
    with xr.open_dataset(maps / "rain_rain.nc", engine="h5netcdf") as data:
        found = data["sr"].values[3].astype(np.float64)
    valid = np.isfinite(found)
    off = (found - rain.fine[3])[valid]
    assert rows["bilinear"]["rmse"] == pytest.approx(np.sqrt((off**2).mean()), rel=1e-6)
    assert rows["truth"]["wet_frequency"] == pytest.approx((rain.fine[3][valid] >= 0.5).mean())
    low, high = rows["bilinear"]["intervals"]["rmse"]
    assert low < rows["bilinear"]["rmse"] < high
    with xr.open_dataset(out / "rain_rain_held_out.nc", engine="h5netcdf") as data:
        np.testing.assert_allclose(data["truth"].values[0], rain.fine[3], rtol=1e-6)
        assert [str(day)[:10] for day in data["time"].values] == ["2001-01-04"]
        assert {"bilinear", "interpolated", "quantile_mapping"} <= set(data.data_vars)
    page = (out / "scores.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") == 4 and "http" not in page.replace("http-equiv", "")


def test_a_date_that_was_learned_from_is_no_truth(rain):
    pair = {"path": "fine.nc", "sector": "rain", "dates": {"first": "2001-01-01", "last": "2001-01-03"}}
    maps = rain.chain(rain.config(pairs=[pair]))
    truth = {
        "path": "fine.nc",
        "sector": "rain",
        "unit": "mm/day",
        "dates": {"first": "2001-01-03", "last": "2001-01-04"},
    }
    config = evaluate.Config.model_validate({"truth": [truth]}, context={"folder": rain.folder})
    with pytest.raises(HectareError, match="learned from") as caught:
        evaluate.run(config, cube=rain.folder / "cube", maps={RunKey("bilinear"): maps}, out=rain.folder)
    assert caught.value.code == 3


def test_one_generator_serves_another_factor(rain):
    """Learned at 3 cells along a block, used at 6: every mean is kept on the finer grid too."""
    pair = {"path": "fine.nc", "sector": "rain", "dates": {"first": "2001-01-01", "last": "2001-01-03"}}
    few = section(
        method="srresnet", years=1, width=4, residual_blocks=1, epochs=1, steps_per_epoch=1, batch_tiles=2
    )
    rain.chain(rain.config(pairs=[pair]), few)
    elsewhere = rain.folder / "checkpoint"
    facts = rain.facts(factor=6)
    del facts["valid"]
    config = ingest.Config.model_validate(facts, context={"folder": rain.folder})
    folders = {name: rain.folder / f"other_{name}" for name in ("cube", "field", "maps")}
    for folder in folders.values():
        folder.mkdir()
    ingest.run(config, out=folders["cube"])
    infer.run(infer.Config(checkpoint=str(elsewhere)), cube=folders["cube"], out=folders["field"])
    mosaic.run(mosaic.Config(netcdf=True), cube=folders["cube"], field=folders["field"], out=folders["maps"])
    with xr.open_dataset(folders["maps"] / "rain_rain.nc", engine="h5netcdf") as data:
        found, area = data["sr"].values.astype(np.float64), data["cell_area"].values
    known = np.isfinite(rain.means[0])
    counted = np.where(np.isfinite(found), area, 0.0).reshape(4, ROWS, 6, COLS, 6)
    summed = (np.nan_to_num(found).reshape(counted.shape) * counted).sum(axis=(2, 4))
    means = summed / np.maximum(counted.sum(axis=(2, 4)), 1)
    np.testing.assert_allclose(means[:, known], rain.means[:, known], rtol=1e-6)
