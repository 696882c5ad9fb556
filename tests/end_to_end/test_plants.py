"""A map with plants on it: they stand where they are, the rest is downscaled, and all of it is accounted for."""

import csv
import json

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import yaml
from affine import Affine

LEFT, TOP, SIZE = 4_780_000, 2_822_000, 8  # coarse cells of 1 km


def write(path, values, cell):
    rows, cols = values.shape
    facts = {
        "driver": "GTiff",
        "height": rows,
        "width": cols,
        "count": 1,
        "dtype": "float64",
        "crs": "EPSG:3035",
    }
    with rasterio.open(path, "w", transform=Affine(cell, 0, LEFT, 0, -cell, TOP), **facts) as data:
        data.write(values, 1)


@pytest.fixture(scope="module")
def world(tmp_path_factory, pipeline):
    """Plants: one that fits, two too large for their cell, one that fills its cell, one in the sea, one off the map."""
    folder = tmp_path_factory.mktemp("plants")
    chance = np.random.default_rng(5)
    totals = chance.gamma(2.0, 100.0, (SIZE, SIZE))
    totals[2, 3], totals[4, 4], totals[6, 6] = 50.0, 80.0, 0.25
    write(folder / "totals.tif", totals, 1000)
    write(folder / "built.tif", chance.gamma(1.0, 1.0, (SIZE * 10, SIZE * 10)), 100)
    plants = [
        (LEFT + 1_250, TOP - 1_350, 40.0), (LEFT + 3_050, TOP - 2_050, 60.0), (LEFT + 3_950, TOP - 2_950, 40.0),
        (LEFT + 4_550, TOP - 4_550, 80.0), (LEFT - 500, TOP - 500, 7.0),
    ]  # fmt: skip
    pyogrio.raw.write(
        folder / "plants.gpkg", np.array([shapely.Point(x, y).wkb for x, y, _ in plants], object),
        [np.array([mass * 1000 for *_, mass in plants])], ["kilos"], geometry_type="Point", crs="EPSG:3035",
        driver="GPKG",
    )  # fmt: skip
    config = {
        "name": "plants",
        "ingest": {
            "variable": "co2",
            "totals": [{"path": "totals.tif", "sector": "power", "year": 2020, "unit": "t"}],
            "points": [
                {"path": "plants.gpkg", "sector": "power", "year": 2020, "value": "kilos", "unit": "kg"}
            ],
            "covariates": [{"name": "built", "path": "built.tif", "kind": "continuous", "unit": "1"}],
        },
        "train": {"method": "single_proxy"},
    }
    (folder / "plants.yaml").write_text(yaml.safe_dump(config))
    pipeline("run", "-c", folder / "plants.yaml", "--workspace", folder / "ws")
    return folder / "ws" / "runs" / "plants", totals


def read(path, band=1):
    with rasterio.open(path) as data:
        return data.read(band).astype(np.float64)


def test_every_coarse_cell_holds_its_total_points_and_all(world):
    run, totals = world
    cells = read(run / "maps" / "co2_power_2020.tif")
    assert cells.reshape(SIZE, 10, SIZE, 10).sum(axis=(1, 3)) == pytest.approx(totals, rel=1e-6)
    assert cells.sum() == pytest.approx(totals.sum(), rel=1e-9)


def test_a_plant_stands_in_its_own_cell_and_only_the_rest_is_spread(world):
    run, totals = world
    cells = read(run / "maps" / "co2_power_2020.tif")
    # Row 13, column 12 is the cell at 1,250 m east and 1,350 m south.
    block = cells[10:20, 10:20]
    assert block[3, 2] > 40.0
    built = read(run.parents[2] / "built.tif")[10:20, 10:20]
    without = block.copy()
    without[3, 2] -= 40.0
    # The law on the remainder alone: the proxy's own estimate already meets it, so it is in proportion.
    assert without == pytest.approx(built / built.sum() * (totals[1, 1] - 40.0), rel=1e-4)


def test_plants_too_large_for_their_cell_fill_it_and_the_excess_is_told(world):
    run, _ = world
    cells = read(run / "maps" / "co2_power_2020.tif")
    # 60 t and 40 t in a cell of 50 t shrink by one half.
    assert cells[20, 30] == pytest.approx(30.0) and cells[29, 39] == pytest.approx(20.0)
    assert np.count_nonzero(cells[20:30, 30:40]) == 2
    told = json.loads((run / "maps" / "certificate.json").read_text())["points"]["maps"][0]
    assert told["given"] == pytest.approx(227.0)
    assert (told["placed"], told["excess"], told["outside"]) == pytest.approx((170.0, 50.0, 7.0))
    assert told["cells"] == 4 and told["short"] == 0
    assert {(place["row"], place["col"]) for place in told["placed_at"]} == {
        (13, 12),
        (20, 30),
        (29, 39),
        (45, 45),
    }


def test_the_block_file_says_which_cells_points_hold(world):
    run, _ = world
    fallback_levels = read(run / "maps" / "co2_power_2020_blocks.tif", 4)
    assert fallback_levels[2, 3] == fallback_levels[4, 4] == 6 and fallback_levels[1, 1] == 1
    at_points = read(run / "maps" / "co2_power_2020_blocks.tif", 5)
    assert at_points[1, 1] == 40.0 and at_points[2, 3] == 50.0 and at_points.sum() == 170.0


def test_the_table_accounts_for_every_plant(world):
    run, _ = world
    with (run / "maps" / "points.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 5
    for row in rows:
        parts = [float(row[f"{name} [t]"]) for name in ("placed", "excess", "outside")]
        assert sum(parts) == pytest.approx(float(row["given [t]"]), rel=1e-12)
    assert rows[4]["fine_row"] == "" and float(rows[4]["outside [t]"]) == 7.0
    assert "Point sources" in (run / "maps" / "report.html").read_text()
