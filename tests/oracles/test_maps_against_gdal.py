"""Finished maps as other programs see them: GDAL's command line, exactextract, GDAL's COG layout, QGIS."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import exactextract
import numpy as np
import pytest
import rasterio
from rasterio.features import shapes

from stages.artifacts.cube import Cube
from tests.small_world import World, build_world

needs_gdal = pytest.mark.skipif(
    not (shutil.which("gdalinfo") and shutil.which("gdalwarp")), reason="GDAL's command line is not installed"
)
QGIS_PYTHON = "/usr/bin/python3"


@pytest.fixture
def small_world(tmp_path: Path) -> Callable[..., World]:
    """A function that writes a world of 4 x 3 blocks, or of the totals given."""
    return partial(build_world, tmp_path)


@pytest.fixture
def world(small_world) -> World:
    """Two sectors, a masked corner, an unknown total and a zero."""
    totals = np.random.default_rng(11).lognormal(5.0, 2.0, (2, 1, 60, 70))
    totals[0, 0, 3, 4], totals[1, 0, 0, 0] = np.nan, 0.0
    valid = np.random.default_rng(12).random((600, 700)) < 0.9
    made = small_world(totals=totals, valid=valid)
    made.make_maps()
    return made


def gdalinfo(path: Path) -> dict:
    found = subprocess.run(["gdalinfo", "-json", str(path)], check=True, capture_output=True, text=True)
    return json.loads(found.stdout)


@needs_gdal
def test_mas_08_gdalwarp_finds_the_block_totals(world, tmp_path):
    cube = Cube.open(world.cube)
    for sector, name in enumerate(cube.sectors):
        summed = tmp_path / f"{name}_1km.tif"
        # Without -ovr NONE gdalwarp sums an overview, which holds averages.
        options = "-q -r sum -tr 1000 1000 -et 0 -wt Float64 -ot Float64 -ovr NONE"
        command = ["gdalwarp", *options.split()]
        subprocess.run([*command, str(world.maps / f"heat_{name}_2012.tif"), str(summed)], check=True)
        with rasterio.open(summed) as dataset:
            sums = dataset.read(1)
        totals, known = cube.totals()[sector, 0], cube.known()[sector, 0]
        assert np.isnan(sums[~known]).all()
        assert sums[known] == pytest.approx(totals[known], rel=1e-6)


def test_mas_08_exactextract_finds_the_block_totals(world):
    cube = Cube.open(world.cube)
    coarse = cube.coarse
    numbers = np.arange(coarse.rows * coarse.cols, dtype=np.int32).reshape(coarse.shape)
    squares = [
        {"type": "Feature", "geometry": shape, "properties": {"block": int(number)}}
        for shape, number in shapes(numbers, transform=rasterio.Affine(*coarse.transform))
    ]
    certificate = json.loads((world.maps / "certificate.json").read_text())
    for sector, name in enumerate(cube.sectors):
        found = exactextract.exact_extract(
            str(world.maps / f"heat_{name}_2012.tif"), squares, ["sum"], include_cols=["block"]
        )
        sums = np.empty(coarse.rows * coarse.cols)
        for feature in found:
            sums[feature["properties"]["block"]] = feature["properties"]["sum"] or 0.0
        given = cube.totals()[sector, 0].ravel()
        assert sums == pytest.approx(given, rel=1e-6)
        assert sums.sum() == pytest.approx(certificate["maps"][sector]["placed"], rel=1e-9)


@needs_gdal
def test_gdalinfo_sees_layout_place_unit_and_words(world):
    found = gdalinfo(world.maps / "heat_homes_2012.tif")
    band = found["bands"][0]
    assert found["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
    assert found["metadata"]["IMAGE_STRUCTURE"]["COMPRESSION"] == "DEFLATE"
    assert found["metadata"]["IMAGE_STRUCTURE"]["PREDICTOR"] == "3"
    assert 'ID["EPSG",3035]' in found["coordinateSystem"]["wkt"]
    assert found["geoTransform"] == [4_780_000.0, 100.0, 0.0, 2_822_000.0, 0.0, -100.0]
    assert (found["size"], band["type"], band["block"]) == ([700, 600], "Float32", [256, 256])
    assert band["noDataValue"] == "NaN" or np.isnan(band["noDataValue"])
    assert (band["unit"], band["description"]) == ("MWh", "annual heat demand, homes, 2012 [MWh]")
    assert len(band["overviews"]) == 2
    tags = found["metadata"][""]
    assert tags["cell_methods"] == "area: sum"
    assert tags["attribution"] == "Survey <of> Käse & Söhne (CC BY 4.0)"
    assert (tags["method"], tags["law"], tags["sector"], tags["year"]) == (
        "uniform",
        "proportional",
        "homes",
        "2012",
    )
    assert tags["source"] == "homes.tif; other.tif; built.tif"
    assert tags["licence"] == "CC BY 4.0"


@needs_gdal
def test_gdalinfo_sees_the_bands_of_the_block_file(world):
    bands = gdalinfo(world.maps / "heat_homes_2012_blocks.tif")["bands"]
    assert [band["description"] for band in bands] == [
        "total given",
        "mass placed",
        "relative residual",
        "fallback level",
    ]
    assert [band["unit"] for band in bands] == ["MWh", "MWh", "1", "1"]
    assert {band["type"] for band in bands} == {"Float64"}
    of_sum = gdalinfo(world.maps / "heat_all_2012_blocks.tif")["bands"]
    assert [band["description"] for band in of_sum] == ["total given", "mass placed", "relative residual"]


def test_overviews_average_the_cells_that_have_a_value(world):
    with rasterio.open(world.maps / "heat_homes_2012.tif") as dataset:
        cells = dataset.read(1).astype(np.float64)
    with rasterio.open(world.maps / "heat_homes_2012.tif", OVERVIEW_LEVEL=0) as dataset:
        small = dataset.read(1)
    fours = cells.reshape(300, 2, 350, 2)
    count = np.isfinite(fours).sum(axis=(1, 3))
    assert np.array_equal(np.isnan(small), count == 0)
    expected = np.nansum(fours, axis=(1, 3))[count > 0] / count[count > 0]
    assert small[count > 0] == pytest.approx(expected, rel=1e-5)


def test_mas_07_directories_and_overviews_come_before_the_cells_they_describe(world):
    """The layout GDAL's COG driver promises: directories first, overviews before the map."""
    path = world.maps / "heat_homes_2012.tif"
    assert b"LAYOUT=IFDS_BEFORE_DATA" in path.read_bytes()[:400]
    offsets = []
    for options in ({"OVERVIEW_LEVEL": 0}, {}):
        with rasterio.open(path, **options) as dataset:
            offsets.append(int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1)))
    assert offsets == sorted(offsets)


def test_mas_07_gdal_s_own_check_calls_every_map_cloud_optimised(world):
    check = [QGIS_PYTHON, "-m", "osgeo_utils.samples.validate_cloud_optimized_geotiff"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if subprocess.run([*check, "--help"], capture_output=True, env=environment).returncode not in (0, 1, 2):
        pytest.skip("GDAL's check script is not installed for the system's Python")
    for path in sorted(world.maps.glob("*.tif")):
        found = subprocess.run(
            [*check, "--full-check=yes", str(path)], capture_output=True, text=True, env=environment
        )
        if "No module named" in found.stderr:
            pytest.skip("GDAL's check script is not installed for the system's Python")
        assert "is a valid cloud optimized GeoTIFF" in found.stdout, found.stdout
        assert "warning" not in found.stdout.lower()


RENDER = """
import sys
from qgis.core import QgsApplication, QgsMapRendererSequentialJob, QgsMapSettings, QgsRasterLayer
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

QgsApplication.setPrefixPath("/usr", True)
application = QgsApplication([], False)
application.initQgis()
layer = QgsRasterLayer(sys.argv[1], "map")
assert layer.isValid(), layer.error().message()
renderer = layer.renderer()
settings = QgsMapSettings()
settings.setLayers([layer])
settings.setDestinationCrs(layer.crs())
settings.setExtent(layer.extent())
settings.setOutputSize(QSize(700, 600))
settings.setBackgroundColor(QColor("white"))
job = QgsMapRendererSequentialJob(settings)
job.start()
job.waitForFinished()
picture = job.renderedImage()
picture.save(sys.argv[2])
shader = renderer.shader().rasterShaderFunction()
print("|".join([
    layer.crs().authid(), layer.bandName(1), renderer.type(), str(renderer.band()),
    str(len(shader.colorRampItemList())), shader.colorRampItemList()[-1].label,
    str(len({picture.pixel(x, y) for x in range(700) for y in range(600)})),
]))
"""


@pytest.mark.parametrize(("name", "band"), [("heat_homes_2012", 1), ("heat_homes_2012_blocks", 3)])
def test_mas_06_qgis_opens_the_map_with_its_style(world, tmp_path, name, band):
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    environment.pop("PYTHONPATH", None)
    try:
        subprocess.run(
            [QGIS_PYTHON, "-c", "import qgis.core"], check=True, capture_output=True, env=environment
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("QGIS is not installed for the system's Python")
    picture = tmp_path / "qgis.png"
    command = [QGIS_PYTHON, "-c", RENDER, str(world.maps / f"{name}.tif"), str(picture)]
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    # the answer counts, not the exit code: QGIS without a display may stumble on its way out
    line = next(line for line in found.stdout.splitlines() if line.startswith("EPSG"))
    crs, band_name, renderer, shown, classes, last, colours = line.split("|")
    assert crs == "EPSG:3035"
    assert (renderer, int(shown)) == ("singlebandpseudocolor", band)
    assert int(classes) >= 6
    assert picture.stat().st_size > 0
    if band == 1:
        assert "annual heat demand, homes, 2012 [MWh]" in band_name
        assert last.endswith(" MWh")
        assert int(colours) > 20
