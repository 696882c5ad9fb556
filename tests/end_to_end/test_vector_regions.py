"""Two places run from OSM extracts to maps, and conserve: totals and lengths by computations of their own."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
import xarray as xr

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "workspace" / "sources"
PLACES = {
    "krems": ("krems/totals_1km/heat_residential_mwh.tif", "heat_demand", "heat_demand_homes_2012.tif"),
    "malta": (
        "malta/totals_1km/census2021_population_2021.tif",
        "population",
        "population_residents_2021.tif",
    ),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, pipeline):
    folder = tmp_path_factory.mktemp("places")
    for name in PLACES:
        pipeline("run", "-c", f"configs/{name}.yaml", "--workspace", folder)
    return folder / "runs"


@pytest.mark.parametrize("name", PLACES)
def test_the_maps_hold_every_total(runs, name):
    source, variable, sheet = PLACES[name]
    with rasterio.open(SOURCES / source) as data:
        given = data.read(1).astype(np.float64)
    cube = xr.open_zarr(runs / name / "cube" / "cube.zarr")
    assert float(cube[variable].sum()) == pytest.approx(given.sum(), rel=1e-12)
    with rasterio.open(runs / name / "maps" / sheet) as data:
        cells = np.nan_to_num(data.read(1).astype(np.float64))
    blocks = cells.reshape(given.shape[0], 10, given.shape[1], 10).sum(axis=(1, 3))
    assert blocks == pytest.approx(given, rel=1e-6)
    assert cells.sum() == pytest.approx(given.sum(), rel=1e-9)
    assert json.loads((runs / name / "maps" / "certificate.json").read_text())["passed"]


def test_krems_has_its_emission_in_a_second_set_of_maps(runs):
    with rasterio.open(runs / "krems" / "maps" / "co2_homes_2012.tif") as data:
        emitted = data.read(1).astype(np.float64)
    # 150 308.05 MWh of 3.6 GJ each, 56.1 kg CO2 a GJ, in tonnes.
    assert np.nansum(emitted) == pytest.approx(150_308.05031967163 * 3.6 * 56.1 / 1000, rel=1e-8)
    told = json.loads((runs / "krems" / "maps" / "certificate.json").read_text())
    assert {fact["unit"] for fact in told["maps"]} == {"MWh", "t"} and told["passed"]


@pytest.mark.parametrize(
    ("name", "extract", "layer", "where"),
    [
        ("malta", "malta-latest.osm.pbf", "road_minor",
         "highway IN ('residential','unclassified','living_street','service','pedestrian','road')"),
        ("malta", "malta-latest.osm.pbf", "water", "\"natural\" = 'water'"),
        ("krems", "krems.osm.gz", "buildings", "building IS NOT NULL"),
    ],
)  # fmt: skip
@pytest.mark.skipif(
    shutil.which("ogr2ogr") is None, reason="ogr2ogr, the independent reader, is not installed"
)
def test_layers_hold_the_lengths_and_areas_another_program_finds(runs, tmp_path, name, extract, layer, where):
    path = SOURCES / name / extract
    kind = "lines" if layer.startswith("road") else "multipolygons"
    address = f"/vsigzip/{path}" if path.suffix == ".gz" else str(path)
    # GDAL's own program cuts nothing and divides no edge; OSM's edges are short, so the difference is tiny.
    subprocess.run(
        ["ogr2ogr", "-f", "GeoJSON", "-t_srs", "EPSG:3035", "-lco", "RFC7946=NO", "-lco", "COORDINATE_PRECISION=9",
         "-where", where, tmp_path / "out.geojson", address, kind],
        check=True, capture_output=True,
    )  # fmt: skip
    features = json.loads((tmp_path / "out.geojson").read_text())["features"]
    shapes = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    cube = xr.open_zarr(runs / name / "cube" / "cube.zarr")
    box = shapely.box(*_bounds(cube))
    if kind == "lines":
        expected = sum(shape.intersection(box).length for shape in shapes)
        found = float(cube[layer].sum(dtype="float64"))
    else:
        expected = shapely.union_all(shapely.make_valid(shapes)).intersection(box).area
        found = float(cube[layer].sum(dtype="float64")) * 1e4
    assert expected > 0
    assert found == pytest.approx(expected, rel=2e-6)  # layers are stored in float32


def _bounds(cube):
    x, y = cube["x"].values, cube["y"].values
    half = abs(x[1] - x[0]) / 2
    return x.min() - half, y.min() - half, x.max() + half, y.max() + half
