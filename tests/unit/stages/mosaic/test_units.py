"""Maps of whole numbers: every block holds exactly the units it owes, and readers see mass."""

import json
from functools import partial

import numpy as np
import pytest
import rasterio

from model.ground.errors import NumberError
from stages.artifacts.cube import Cube
from stages.artifacts.maps import read_bands, read_overview
from stages.mosaic import stage as mosaic
from tests.small_world import build_world


@pytest.fixture
def made(tmp_path):
    world = build_world(tmp_path)
    out = tmp_path / "units"
    out.mkdir()
    mosaic.run(mosaic.Config(scale_factor=0.125), cube=world.cube, field=world.field, out=out)
    return world, out


def units_of(path):
    with rasterio.open(path) as data:
        assert data.dtypes[0] == "int32" and data.scales == (0.125,)
        return np.where(data.read(1) == data.nodata, 0, data.read(1)).astype(np.int64)


def per_block(units):
    rows, cols = units.shape
    return units.reshape(rows // 10, 10, cols // 10, 10).sum(axis=(1, 3))


def test_every_block_holds_the_number_of_units_nearest_to_its_total(made):
    world, out = made
    cube = Cube.open(world.cube)
    owed = 0
    for index, sector in enumerate(cube.sectors):
        held = per_block(units_of(out / f"heat_{sector}_2012.tif"))
        wanted = np.rint(np.where(cube.known()[index, 0], cube.totals()[index, 0], 0) / 0.125).astype(
            np.int64
        )
        assert np.array_equal(held, wanted)
        owed = owed + wanted
    assert np.array_equal(per_block(units_of(out / "heat_all_2012.tif")), owed)


def test_the_certificate_says_exact_and_how_much_rounding_moved(made):
    world, out = made
    certificate = json.loads((out / "certificate.json").read_text())
    cube = Cube.open(world.cube)
    assert certificate["passed"] and certificate["scale_factor"] == 0.125
    for index, entry in enumerate(entry for entry in certificate["maps"] if not entry["is_sum"]):
        assert entry["exact"] and entry["worst"]["relative_residual"] == 0
        totals = np.where(cube.known()[index, 0], cube.totals()[index, 0], 0.0)
        assert entry["rounded"] == pytest.approx(
            float((totals - np.rint(totals / 0.125) * 0.125).sum()), abs=1e-9
        )
        assert entry["given"] == pytest.approx(
            entry["placed"] + entry["outside"] + entry["rounded"], rel=1e-12
        )
        assert sum(entry["fallback_levels"].values()) == totals.size
    assert "whole numbers of 0.125" in (out / "report.html").read_text()


def test_readers_see_mass_and_no_value_where_there_is_none(made):
    world, out = made
    cube, path = Cube.open(world.cube), out / "heat_homes_2012.tif"
    cells = np.concatenate([band for _, band in read_bands(path, cube.fine, cube.factor, cube.coarse)])
    with rasterio.open(path) as data:
        raw = data.read(1)
    assert np.array_equal(np.isnan(cells), raw == -(2**31))
    assert np.array_equal(np.nan_to_num(cells), np.where(raw == -(2**31), 0, raw * 0.125))
    assert read_overview(path, cube.fine, 1) == pytest.approx(cells, nan_ok=True)


def test_a_unit_moved_within_the_limit_still_fails_a_map_of_whole_numbers(made):
    world, out = made
    with rasterio.open(out / "heat_homes_2012.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as data:
        raw = data.read(1)
        row, col = np.argwhere(raw > 0)[0]
        raw[row, col] += 1
        data.write(raw, 1)
    assert not mosaic.certify(world.cube, out, limit=1.0).passed


def test_a_scale_factor_too_small_for_the_type_is_refused(tmp_path):
    world = build_world(tmp_path, totals=np.full((1, 1, 6, 6), 1e6))
    out = tmp_path / "units"
    out.mkdir()
    run = partial(mosaic.run, cube=world.cube, field=world.field, out=out)
    with pytest.raises(NumberError, match="2\\^31 units"):
        run(mosaic.Config(scale_factor=1e-6))
