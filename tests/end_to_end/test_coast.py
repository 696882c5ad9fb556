"""A synthetic coast in degrees: two sectors, two years, factor 5, sea, gaps, unknown totals; nothing is lost."""

import json

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine

pytestmark = pytest.mark.slow

ROWS, COLS, FACTOR = 40, 36, 5
COARSE = Affine(0.01, 0, -71.0, 0, -0.01, 19.0)
FINE = Affine(0.002, 0, -71.0, 0, -0.002, 19.0)


def smooth(rng, shape, sigma):
    """A standardised Gaussian random field, periodic."""
    rows, cols = np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None]
    pass_band = np.exp(-2 * (np.pi * sigma) ** 2 * (rows**2 + cols**2))
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal(shape)) * pass_band).real
    return (field - field.mean()) / field.std()


def write(path, values, transform):
    facts = {"driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1}
    with rasterio.open(path, "w", **facts, transform=transform, crs="EPSG:4326", dtype=values.dtype) as data:
        data.write(values, 1)


@pytest.fixture(scope="module")
def coast(tmp_path_factory, pipeline):
    """Runs the chain on a coast whose truth is known; returns (folder of the run, truth, sea)."""
    folder = tmp_path_factory.mktemp("coast")
    rng = np.random.default_rng(5)
    shape = (ROWS * FACTOR, COLS * FACTOR)
    urban = np.exp(1.3 * smooth(rng, shape, 14))
    buildings = np.maximum(urban * np.exp(0.8 * smooth(rng, shape, 1.5)) - 1.0, 0.0)
    roads = (np.abs(smooth(rng, shape, 5)) < 0.08).astype(float)
    sea = np.arange(shape[1])[None] > shape[1] * 0.8 + 12 * smooth(rng, shape, 20)
    hidden = np.exp(0.5 * smooth(rng, shape, 2))
    truth = {"homes": buildings * hidden, "traffic": roads * np.sqrt(urban)}
    totals = []
    for sector, values in truth.items():
        for year, growth in ((2019, 1.0), (2020, 1.2)):
            blocks = np.where(sea, 0, values * growth).reshape(ROWS, FACTOR, COLS, FACTOR).sum(axis=(1, 3))
            blocks[3, -1] = 4.0  # ships: mass where every cell is sea
            blocks[0, 0] = np.nan
            write(folder / f"{sector}_{year}.tif", blocks, COARSE)
            totals.append(
                {
                    "path": f"{sector}_{year}.tif",
                    "sector": sector,
                    "year": year,
                    "unit": "kt",
                    "missing": "unknown",
                }
            )
    layers = {"buildings": buildings, "roads": roads}
    covariates = [
        {"name": name, "path": f"{name}.tif", "kind": "continuous", "unit": "1", "allow_partial": True}
        for name in layers
    ]
    for name, values in layers.items():
        write(folder / f"{name}.tif", np.where(sea, np.nan, values).astype(np.float32), FINE)
    config = {
        "ingest": {"variable": "co2", "factor": FACTOR, "totals": totals, "covariates": covariates},
        "tile": {"spatial_block": 6},
        "train": {"epochs": 2, "steps_per_epoch": 5},
    }
    (folder / "coast.yaml").write_text(yaml.safe_dump(config))
    pipeline("run", "-c", folder / "coast.yaml", "--workspace", folder)
    return folder / "runs" / "coast", truth, sea


def read(path):
    with rasterio.open(path) as data:
        return data.read(1).astype(np.float64)


@pytest.mark.parametrize("sector", ["homes", "traffic"])
@pytest.mark.parametrize("year", [2019, 2020])
def test_every_known_total_is_in_its_block_of_the_map(coast, sector, year):
    run, _, _ = coast
    given = read(run.parents[1] / f"{sector}_{year}.tif") * 1000  # kt -> t
    mass = read(run / "maps" / f"co2_{sector}_{year}.tif")
    placed = np.nansum(mass.reshape(ROWS, FACTOR, COLS, FACTOR), axis=(1, 3))
    known = np.isfinite(given)
    assert placed[known] == pytest.approx(given[known], rel=1e-6)


def test_mas_02_mass_over_the_sea_is_kept_and_its_rung_told(coast):
    run, _, _ = coast
    facts = json.loads((run / "field" / "field.json").read_text())
    assert all(entry["fallback_levels"]["uniform"] >= 1 for entry in facts["counts"])
    with rasterio.open(run / "maps" / "co2_homes_2019_blocks.tif") as data:
        level = data.read(4)
    assert level[3, -1] == 4 and level[0, 0] == 255


def test_val_13_sea_is_nodata_and_land_without_mass_is_zero(coast):
    run, _, sea = coast
    mass = read(run / "maps" / "co2_traffic_2020.tif")
    whole = np.ones_like(sea)
    whole[:FACTOR, :FACTOR] = False  # unknown total
    whole[3 * FACTOR : 4 * FACTOR, -FACTOR:] = False  # ships
    assert np.isnan(mass[sea & whole]).all()
    assert np.isfinite(mass[~sea & whole]).all() and (mass[~sea & whole] == 0).any()


def test_years_of_a_place_share_one_split_and_two_years_make_a_window(coast):
    run, _, _ = coast
    facts = json.loads((run / "checkpoint" / "checkpoint.json").read_text())
    assert facts["facts"]["years"] == 2


def test_a_method_that_forgets_its_covariates_would_fail_here(coast):
    run, truth, sea = coast
    found = read(run / "maps" / "co2_traffic_2019.tif")
    real = np.where(sea, 0.0, truth["traffic"]) * 1000
    counted = np.isfinite(found) & (found >= 0)
    counted[3 * FACTOR : 4 * FACTOR, -FACTOR:] = False
    blocks = real.reshape(ROWS, FACTOR, COLS, FACTOR).sum(axis=(1, 3)) / FACTOR**2
    even = np.repeat(np.repeat(blocks, FACTOR, 0), FACTOR, 1)

    def misallocated(estimate):
        return 0.5 * np.abs(estimate - real)[counted].sum() / real[counted].sum()

    assert misallocated(found) < 0.75 * misallocated(even)
