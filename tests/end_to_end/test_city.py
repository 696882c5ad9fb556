"""The shipped city from nothing to report, read back by programs that are not ours."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from exactextract import exact_extract
from safetensors.numpy import load_file

from stages.formats.raster.geotiff import Raster

pytestmark = pytest.mark.slow

SOURCES = Path(__file__).resolve().parents[2] / "workspace" / "sources" / "vienna"
TOTALS = {"homes": "heat_residential_mwh.tif", "other_buildings": "heat_nonresidential_mwh.tif"}
QUICK = ("--set", "train.epochs=2", "--set", "train.steps_per_epoch=3")


def blocks_of(totals: Path) -> list[dict]:
    """The cells of a coarse raster as polygons with their value."""
    with rasterio.open(totals) as data:
        values, place = data.read(1), data.transform
    found = []
    for row, col in np.ndindex(values.shape):
        (left, top), (right, bottom) = place @ (col, row), place @ (col + 1, row + 1)
        ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        found.append(
            {"type": "Feature", "properties": {"total": float(values[row, col])}, "geometry": geometry}
        )
    return found


@pytest.mark.parametrize("sector", sorted(TOTALS))
def test_mas_08_exactextract_finds_every_total_in_the_written_map(undisturbed, sector):
    blocks = blocks_of(SOURCES / "city" / "totals_1km" / TOTALS[sector])
    found = exact_extract(
        str(undisturbed / "maps" / f"heat_demand_{sector}_2012.tif"), blocks, ["sum"], include_cols=["total"]
    )
    given = np.array([feature["properties"]["total"] for feature in found])
    placed = np.array([feature["properties"]["sum"] for feature in found], np.float64)
    assert len(given) == 31 * 25
    assert np.abs(placed - given)[given > 0] / given[given > 0] == pytest.approx(0, abs=1e-6)
    assert (placed[given == 0] == 0).all()
    assert placed.sum() == pytest.approx(given.sum(), rel=1e-9)


@pytest.mark.skipif(shutil.which("gdalwarp") is None, reason="needs the gdal-bin package")
def test_mas_08_gdal_adds_the_map_up_to_its_total(undisturbed, tmp_path):
    # -ovr NONE: overviews are means, and gdalwarp would take one for a sum.
    small = tmp_path / "sums.tif"
    command = [
        "gdalwarp",
        "-q",
        "-r",
        "sum",
        "-tr",
        "1000",
        "1000",
        "-et",
        "0",
        "-ovr",
        "NONE",
        "-ot",
        "Float64",
    ]
    subprocess.run([*command, undisturbed / "maps" / "heat_demand_homes_2012.tif", small], check=True)
    with (
        rasterio.open(small) as data,
        rasterio.open(SOURCES / "city" / "totals_1km" / TOTALS["homes"]) as totals,
    ):
        assert data.read(1).sum() == pytest.approx(totals.read(1).sum(), rel=1e-6)


def test_the_map_of_all_sectors_is_their_sum(undisturbed):
    maps = {}
    for sector in ("homes", "other_buildings", "all"):
        with rasterio.open(undisturbed / "maps" / f"heat_demand_{sector}_2012.tif") as data:
            maps[sector] = data.read(1).astype(np.float64)
    assert maps["all"] == pytest.approx(maps["homes"] + maps["other_buildings"], rel=1e-5, abs=1e-6)


def test_the_certificate_passes_and_says_how_close(undisturbed):
    certificate = json.loads((undisturbed / "maps" / "certificate.json").read_text())
    assert certificate["passed"]


def test_every_artifact_opens_with_a_plain_reader(undisturbed):
    assert xr.open_zarr(undisturbed / "cube" / "cube.zarr")["heat_demand"].sum() > 0
    field = xr.open_zarr(undisturbed / "field" / "field.zarr")
    assert field["mass"].dtype == np.float64 and field["mass"].attrs["units"] == "MWh"
    assert json.loads((undisturbed / "tiles" / "windows.geojson").read_text())["features"]
    assert load_file(undisturbed / "checkpoint" / "weights.safetensors")
    with rasterio.open(undisturbed / "maps" / "heat_demand_homes_2012.tif") as data:
        assert data.crs.to_epsg() == 3035 and data.units == ("MWh",) and data.overviews(1)


def test_the_truth_is_named_by_evaluate_alone(undisturbed):
    for artifact in ("cube", "tiles", "checkpoint", "field", "maps"):
        sources = json.loads((undisturbed / artifact / "manifest.json").read_text())["sources"]
        truth = {Raster(str(path), nodata="none").name for path in SOURCES.glob("truth/city/*.tif")}
        inputs = {path.name for path in SOURCES.glob("city/*/*.tif")}
        inputs |= {path.name for path in SOURCES.parent.glob("pretrained/*/*")}
        assert {name for name, _ in sources} <= inputs
        hashes = {digest for _, digest in sources}
        assert not hashes & {_sha256(path) for path in SOURCES.glob("truth/city/*.tif")} and truth


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_cfg_08_a_second_run_touches_nothing(undisturbed, pipeline, idle_proof):
    before = idle_proof(undisturbed)
    said = pipeline(
        "run", "ingest", "tile", "train", "infer", "mosaic", "--workspace", undisturbed.parents[1], *QUICK
    )
    assert "up to date" in said.stdout + said.stderr and idle_proof(undisturbed) == before


def test_evaluate_compares_finished_maps_with_the_truth(undisturbed, pipeline, tmp_path):
    workspace = tmp_path / "copy"
    shutil.copytree(undisturbed.parents[1], workspace, symlinks=True)
    pipeline("evaluate", "--workspace", workspace, *QUICK, "--set", "evaluate.emd_blocks=10")
    scores = json.loads((workspace / "runs" / "vienna_city" / "scores" / "scores.json").read_text())
    share = {(row["method"], row["sector"]): row["misallocated_share"] for row in scores["rows"]}
    # Measured by simple scripts of others on the same data: uniform .270 / .304, pycnophylactic x mask .231 / .276.
    assert share["uniform", "homes"] == pytest.approx(0.270, abs=0.001)
    assert share["uniform", "other_buildings"] == pytest.approx(0.304, abs=0.001)
    assert share["smooth_mask", "homes"] == pytest.approx(0.231, abs=0.002)
    assert share["dst_carbon_former", "homes"] < share["single_proxy", "homes"] < share["uniform", "homes"]
    assert pipeline("verify", "--workspace", workspace, *QUICK).returncode == 0
