"""The shipped regions run end to end, and their cubes hold what other programs find in the files."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource

from pipeline.config.load import load
from stages.artifacts.cube import Cube
from stages.ingest import stage as ingest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "workspace" / "sources"
SMOOTH = ("--set", "train.method=smooth_mask")


def uk():
    """Tonnes by sector: GDAL's bands, times the area of a cell of 100 km in km2."""
    with rasterio.open(SOURCES / "uk" / "co2_flux_by_sector_100km.tif") as data:
        return {
            name: data.read(band).sum() * 100.0 * 100.0 * 1e6
            for band, name in enumerate(data.descriptions, 1)
        }


def oslo():
    """Persons: the last of the file's 22 years, by h5py."""
    import h5py

    with h5py.File(SOURCES / "oslo" / "population_2001_2022.nc") as file:
        return {"residents": float(file["population"][21].astype(np.float64).sum())}


def burundi():
    return {"residents": _by_exactextract(SOURCES / "burundi" / "population_persons.tif")}


def neiba():
    return {"forest": _by_exactextract(SOURCES / "neiba" / "co2e_mg_per_cell_0p01deg.tif")}


def _by_exactextract(path):
    with rasterio.open(path) as data:
        box, values = data.bounds, data.read(1).astype(np.float64)
    corners = [(box.left, box.bottom), (box.right, box.bottom), (box.right, box.top), (box.left, box.top)]
    shape = {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
    source = NumPyRasterSource(values, *box)
    found = exact_extract(source, [{"type": "Feature", "geometry": shape, "properties": {}}], ["sum"])
    return found[0]["properties"]["sum"]


@pytest.mark.parametrize("region", [uk, oslo, burundi, neiba], ids=lambda region: region.__name__)
def test_totals_of_the_cube_are_those_another_program_finds(region, tmp_path):
    config = load(ROOT / "configs" / f"{region.__name__}.yaml")["ingest"]
    ingest.run(config.model_copy(update={"covariates": (), "derived": ()}), out=tmp_path)
    cube = Cube.open(tmp_path)
    found = dict(zip(cube.sectors, cube.totals().sum(axis=(1, 2, 3)), strict=True))
    expected = region()
    assert found.keys() == expected.keys()
    for sector, mass in expected.items():
        assert found[sector] == pytest.approx(mass, rel=1e-9), sector
    told = json.loads((tmp_path / "ingest.json").read_text())["totals"]
    assert [total["mass"] for total in told] == pytest.approx(list(expected.values()), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("region", [uk, oslo, burundi, neiba], ids=lambda region: region.__name__)
def test_the_maps_of_a_region_hold_all_its_mass(region, tmp_path, pipeline):
    name = region.__name__
    pipeline("run", "-c", f"configs/{name}.yaml", "--workspace", tmp_path, *SMOOTH)
    maps = tmp_path / "runs" / name / "maps"
    certificate = json.loads((maps / "certificate.json").read_text())
    assert certificate["passed"]
    variable = load(ROOT / "configs" / f"{name}.yaml")["ingest"].variable
    for sector, mass in region().items():
        (path,) = maps.glob(f"{variable}_{sector}_[0-9]*[0-9].tif")
        with rasterio.open(path) as data:
            stored = np.nansum(data.read(1, masked=True).filled(0).astype(np.float64))
        assert stored == pytest.approx(mass, rel=1e-7, abs=1e-9), (
            sector
        )  # float32 in the file, float64 in the cube


def test_geo_16_a_map_that_is_no_multiple_of_a_tile_keeps_its_edges(tmp_path, pipeline):
    totals = np.random.default_rng(0).gamma(1.0, 10.0, (25, 37))
    place = rasterio.Affine(1000, 0, 4_780_000, 0, -1000, 2_822_000)
    facts = {"driver": "GTiff", "width": 37, "height": 25, "count": 1, "dtype": "float64", "crs": "EPSG:3035"}
    with rasterio.open(tmp_path / "totals.tif", "w", transform=place, **facts) as data:
        data.write(totals[None])
    (tmp_path / "map.yaml").write_text(
        "ingest:\n  variable: co2\n  totals:\n    - {path: totals.tif, year: 2020, unit: t}\n"
        "train: {method: smooth_mask}\n"
    )
    pipeline("run", "-c", tmp_path / "map.yaml", "--workspace", tmp_path)
    with rasterio.open(tmp_path / "runs" / "map" / "maps" / "co2_all_2020.tif") as data:
        stored = data.read(1).astype(np.float64)
        assert data.transform.almost_equals(place @ rasterio.Affine.scale(0.1))
    assert stored.shape == (250, 370) and (stored[-10:, -10:] > 0).any()
    blocks = stored.reshape(25, 10, 37, 10).sum(axis=(1, 3))
    assert blocks == pytest.approx(totals, rel=1e-6)


def test_check_lists_the_faults_of_every_stage_at_once(tmp_path, pipeline):
    done = pipeline(
        "check", "-c", "configs/oslo.yaml", "--workspace", tmp_path, "--set", "infer.proxy=moon",
        "--set", "ingest.covariates.0.path=absent.tif", check=False,
    )  # fmt: skip
    assert done.returncode == 3 and "absent.tif" in done.stderr and "Traceback" not in done.stderr
    done = pipeline(
        "check", "-c", "configs/oslo.yaml", "--workspace", tmp_path, "--set", "infer.proxy=moon", check=False
    )
    assert done.returncode == 2 and "no layer 'moon'" in done.stderr and "residents_2001" in done.stderr


@pytest.mark.slow
def test_check_tells_place_and_sum_of_every_layer(tmp_path, pipeline):
    told = pipeline("check", "-c", "configs/uk.yaml", "--workspace", tmp_path).stdout
    assert told.count("total ") == 10 and "British National Grid" in told and "Tg km-2 yr-1" in told
    assert "layer leaf_area: lai_1km.tif, band 1: 1378 x 812 cells" in told


@pytest.mark.slow
def test_check_finds_the_layer_of_oslo_that_lies_a_kilometre_too_far_east(tmp_path, pipeline):
    where = ("-c", "configs/oslo.yaml", "--workspace", tmp_path)
    moved_back = pipeline("check", *where)
    assert "fits the totals best" not in moved_back.stdout + moved_back.stderr
    as_it_came = pipeline("check", *where, "--set", "ingest.covariates.0.registration=[0, 0]")
    told = as_it_came.stdout + as_it_came.stderr
    assert "residents_2001 fits the totals best when it is moved by -1000, 0" in told
    assert "residents_2011 fits" not in told
