"""Pieces of a band kept in memory are what its file holds, within their budget, and are given back."""

import numpy as np
import pytest
import rasterio
from affine import Affine

from stages.formats.raster.band import STRIP
from stages.formats.raster.block_cache import CacheBudget
from stages.formats.raster.geotiff import Raster
from stages.formats.raster.statistics import scan

ROWS, COLS = STRIP + 300, 2 * STRIP + 10  # six pieces, four of them cut off by an edge
MEGABYTE = 1 << 20


def write(path, *, down=-1.0, hidden=None):
    values = np.random.default_rng(3).integers(1, 2000, (ROWS, COLS)).astype(np.int16)
    values[5, 7] = -1
    facts = {"driver": "GTiff", "count": 1, "dtype": "int16", "crs": "EPSG:3035", "nodata": -1}
    place = Affine(100, 0, 4e6, 0, 100 * down, 3e6)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", height=ROWS, width=COLS, transform=place, tiled=True, **facts) as data,
    ):
        data.write(values, 1)
        if hidden is not None:
            data.write_mask(~hidden)
    return str(path)


WINDOWS = [
    (0, 0, 10, 10),
    (STRIP - 3, STRIP - 5, 9, 12),
    (1000, 1000, 400, 1100),
    (-4, -4, 20, 20),
    (0, 0, ROWS, COLS),
]


@pytest.mark.parametrize("down", [-1.0, 1.0], ids=["north-up", "south-up"])
@pytest.mark.parametrize("megabytes", [0, 3, 100])
def test_what_is_read_is_what_the_file_holds_whatever_was_kept(tmp_path, down, megabytes):
    path = write(tmp_path / "a.tif", down=down)
    plain, kept = Raster(path), Raster(path)
    assert scan(plain, tag_is_real=False) == scan(kept, tag_is_real=False, keeper=CacheBudget(megabytes))
    for window in WINDOWS:
        expected = plain.read(*window)
        found = kept.read(*window)
        assert np.array_equal(found, expected, equal_nan=True)
        found[...] = 0  # the reader owns what it got
        assert np.array_equal(kept.read(*window), expected, equal_nan=True)


def test_what_was_kept_is_decoded_once(tmp_path, monkeypatch):
    raster = Raster(write(tmp_path / "a.tif"))
    scan(raster, tag_is_real=False, keeper=CacheBudget())
    monkeypatch.setattr(raster, "_stored", None)  # any look into the file would now fail
    assert np.isnan(raster.read(5, 7, 1, 1)[0, 0])
    assert np.isnan(raster.read(0, 0, ROWS, COLS)).sum() == 1


def test_the_budget_is_shared_kept_to_and_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "stages.formats.raster.statistics.workers", lambda: 1
    )  # else the order of pieces is chance
    keeper = CacheBudget(5)
    raster = Raster(write(tmp_path / "a.tif"))
    scan(raster, tag_is_real=False, keeper=keeper)
    # Pieces in their order [bytes]: 2 MiB, 2 MiB, 20 KiB, 600 KiB, 600 KiB, 6 KiB: all but one of 600 KiB fit in 5 MiB.
    left = 5 * MEGABYTE - 2 * (2 * STRIP * STRIP + STRIP * 10 + 300 * STRIP + 300 * 10)
    assert not keeper.take(left + 1) and keeper.take(left)
    keeper.give_back(left)
    raster.close()
    assert keeper.take(5 * MEGABYTE) and not keeper.take(1)


def test_what_a_mask_hides_stays_hidden(tmp_path):
    hidden = np.zeros((ROWS, COLS), bool)
    hidden[100:200, 50:60] = True
    raster = Raster(write(tmp_path / "a.tif", hidden=hidden), nodata="none")
    scan(raster, tag_is_real=True, keeper=CacheBudget())
    assert np.array_equal(np.isnan(raster.read(0, 0, ROWS, COLS)), hidden)
