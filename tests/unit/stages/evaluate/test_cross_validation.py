"""Methods kept from a part of the totals are scored on that part alone; spoilt layers tell what a map rests on."""

import json

import numpy as np
import pytest
import rasterio
from affine import Affine

from stages.artifacts import field as field_store
from stages.artifacts.cube import Cube
from stages.contract.run_key import RunKey
from stages.evaluate.experiments import cross_validation, sensitivity
from stages.evaluate.folds import Hide, grounds
from stages.formats import zarr_groups as arrays
from tests.small_world import build_world

FINE = Affine(100, 0, 4_780_000, 0, -100, 2_822_000)


@pytest.fixture
def world(tmp_path):
    """6 x 8 blocks, two years, and the truth of both: what its own field says."""
    totals = np.random.default_rng(9).lognormal(3.0, 1.0, (1, 2, 6, 8))
    made = build_world(tmp_path, totals=totals, sectors=("homes",), years=(2012, 2015))
    mass = field_store.Field.open(made.field).mass(0, 0, 60, 80)[0]
    for year, values in zip((2012, 2015), mass, strict=True):
        place = {"transform": FINE, "crs": "EPSG:3035", "dtype": "float64"}
        facts = {"driver": "GTiff", "height": 60, "width": 80, "count": 1}
        with rasterio.open(tmp_path / f"truth{year}.tif", "w", **facts, **place) as data:
            data.write(values, 1)
    return made, mass


def another_field(world, name, mass):
    """A field of the world's grids that holds this mass, (years, rows, cols)."""
    folder = world.folder / name
    group = field_store.lay_out(folder / field_store.STORE, Cube.open(world.cube), 60)
    group["mass"][0] = mass
    arrays.seal(folder / field_store.STORE)
    (folder / field_store.FACTS).write_text(json.dumps({"training": {}}))
    return folder


def score(world, parts, fields, tmp_path):
    truth = [
        {"path": f"truth{year}.tif", "sector": "homes", "year": year, "unit": "MWh", "nodata": "none"}
        for year in (2012, 2015)
    ]
    config = cross_validation.Config.model_validate(
        {"parts": parts, "truth": truth, "spatial_block": 2}, context={"folder": world.folder}
    )
    out = tmp_path / "out"
    out.mkdir()
    cross_validation.run(config, cube=world.cube, fields=fields, out=out)
    return json.loads((out / "scores.json").read_text())


def test_only_the_ground_of_the_fold_counts_and_folds_are_pooled(world, tmp_path):
    """Both fields are wrong on the other fold only, which must not show."""
    made, mass = world
    hides = [Hide(fold=fold, folds=2, side=2, buffer=0) for fold in (0, 1)]
    fields = {}
    for number, hide in enumerate(hides):
        ground = np.kron(grounds(hide, Cube.open(made.cube))[0], np.ones((10, 10), bool))
        fields[RunKey("ours", part=number)] = another_field(
            made, f"fold{number}", np.where(ground, mass, 3.0 * mass)
        )
    parts = [{"name": "spatial blocks", "hide": hide.model_dump()} for hide in hides]
    told = score(made, parts, fields, tmp_path)
    assert [row["misallocated_share"] for row in told["rows"]] == pytest.approx([0.0, 0.0], abs=1e-12)
    assert [row["year"] for row in told["rows"]] == ["2012", "2015"]


def test_the_largest_cells_are_those_of_the_whole_map(world, tmp_path):
    """The largest 1 % are of all folds together: a fold without any of them has no error there.

    Two folds; every cell of the largest 1 % of the map is moved into the first, so the second has none of its own.
    """
    made, mass = world
    hides = [Hide(fold=fold, folds=2, side=2, buffer=0) for fold in (0, 1)]
    grounds_of = [np.kron(grounds(hide, Cube.open(made.cube))[0], np.ones((10, 10), bool)) for hide in hides]
    truth = np.where(grounds_of[0], 1000.0 + mass, mass / mass.max())
    for year, values in zip((2012, 2015), truth, strict=True):
        with rasterio.open(tmp_path / f"truth{year}.tif", "r+") as data:
            data.write(values, 1)
    right, wrong = another_field(made, "right", truth), another_field(made, "wrong", 2.0 * truth)
    parts = [{"name": "spatial blocks", "hide": hide.model_dump()} for hide in hides]
    fields = {RunKey("ours", part=0): right, RunKey("ours", part=1): wrong}
    told = score(made, parts, fields, tmp_path)
    assert [row["top_1_percent_mae"] for row in told["rows"]] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert [row["hot_spot_precision"] for row in told["rows"]] == [
        1.0,
        1.0,
    ]  # nor does the estimate have any there
    assert all(row["misallocated_share"] > 0 for row in told["rows"])


def test_a_hidden_year_is_the_only_one_that_counts(world, tmp_path):
    made, mass = world
    fields = {RunKey("ours", part=0): another_field(made, "late", np.stack([9.0 * mass[0], mass[1] * 1.5]))}
    told = score(made, [{"name": "year 2015", "years": [2015]}], fields, tmp_path)
    (row,) = told["rows"]
    assert row["year"] == "2015" and row["misallocated_share"] == pytest.approx(0.5 * 0.5)


def test_the_gap_between_blocks_and_random_folds_is_told(world, tmp_path):
    made, mass = world
    hide = Hide(fold=0, folds=2, side=2, buffer=0)
    parts = [
        {"name": "spatial blocks", "hide": hide.model_dump()},
        {"name": "random folds", "hide": {**hide.model_dump(), "kind": "random"}},
    ]
    fields = {
        RunKey("ours", part=0): another_field(made, "blocks", mass * 1.2),
        RunKey("ours", part=1): another_field(made, "cells", mass * 1.1),
    }
    told = score(made, parts, fields, tmp_path)
    assert (
        "homes 2012, ours: 0.100 on unseen blocks, 0.050 on random cells, a gap of +0.050"
        in told["words"][-2]
    )


def test_the_layer_whose_loss_moves_most_mass_comes_first(world, tmp_path):
    made, mass = world
    moved = mass.copy()
    for block in np.ndindex(6, 8):
        part = moved[:, block[0] * 10 : block[0] * 10 + 10, block[1] * 10 : block[1] * 10 + 10]
        part[...] = part[:, ::-1]  # every block upside down
    fields = {
        RunKey(part="lights", change="dropped"): another_field(made, "same", mass),
        RunKey(part="built", change="dropped"): another_field(made, "upside", moved),
    }
    out = tmp_path / "out"
    out.mkdir()
    sensitivity.run(
        sensitivity.Config(spatial_block=2, emd_blocks=4),
        cube=made.cube,
        field=made.field,
        fields=fields,
        out=out,
    )
    first, second, *_ = json.loads((out / "scores.json").read_text())["rows"]
    assert (first["layer"], second["layer"]) == ("built", "lights")
    assert first["moved_share"] == pytest.approx(0.5 * np.abs(moved - mass)[0].sum() / mass[0].sum())
    assert second["moved_share"] == 0.0 and second["distance_m"] == 0.0 and first["distance_m"] > 0
    assert "| homes | 2012 | built | dropped |" in (out / "scores.md").read_text()


def test_each_sector_is_compared_with_its_own_field(tmp_path):
    """Two sectors of unlike mass, one of them altered: the other has not moved, whichever stands first."""
    totals = np.random.default_rng(9).lognormal(3.0, 1.0, (2, 1, 6, 8))
    made = build_world(tmp_path, totals=totals, sectors=("homes", "ships"), years=(2012,))
    mass = field_store.Field.open(made.field).mass(0, 0, 60, 80)
    folders = {}
    for altered in (0, 1):
        folder = made.folder / f"altered{altered}"
        group = field_store.lay_out(folder / field_store.STORE, Cube.open(made.cube), 60)
        changed = mass.copy()
        changed[altered] *= 1.5
        group["mass"][...] = changed
        arrays.seal(folder / field_store.STORE)
        (folder / field_store.FACTS).write_text(json.dumps({"training": {}}))
        folders[RunKey(part=f"layer{altered}", change="dropped")] = folder
    out = tmp_path / "out"
    out.mkdir()
    config = sensitivity.Config(spatial_block=2, emd_blocks=0)
    sensitivity.run(config, cube=made.cube, field=made.field, fields=folders, out=out)
    rows = json.loads((out / "scores.json").read_text())["rows"]
    moved = {(row["layer"], row["sector"]): row["moved_share"] for row in rows}
    assert moved == pytest.approx({
        ("layer0", "homes"): 0.25, ("layer0", "ships"): 0.0,
        ("layer1", "homes"): 0.0, ("layer1", "ships"): 0.25,
    })  # fmt: skip  # half of the added half
