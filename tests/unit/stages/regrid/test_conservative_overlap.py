"""Layers whose cells do not nest keep their counts, their shares and their means, whatever the windows."""

import exactextract
import numpy as np
import pytest
from affine import Affine
from exactextract.raster import NumPyRasterSource
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.warp import transform_bounds

from stages.formats import zarr_groups as arrays
from stages.regrid.conservative_overlap import _shares
from tests.examples import examples


def layer_of(cube):
    return cube.covariates(0, 0, *cube.fine.shape)[:, 0]


@given(start=st.floats(-5, 5), step=st.floats(0.05, 4), count=st.integers(1, 60), size=st.floats(0.05, 4))
@examples(200)
def test_every_source_interval_is_divided_in_full(start, step, count, size):
    source = start + step * np.arange(count + 1)
    # Targets that reach beyond the source on both sides.
    target = start - 1.0 + size * np.arange(int((step * count + 2.0) / size) + 2)
    low, met, index, weight = _shares(target, source, total=True)
    assert (low, met) == (0, count)
    assert np.bincount(index.ravel(), weight.ravel(), count) == pytest.approx(np.ones(count), rel=1e-9)


@pytest.mark.parametrize("pixel", [37.0, 130.0, 270.0, 1300.0])
def test_counts_of_cells_that_do_not_nest_are_kept(land, cube, pixel):
    rows, cols = int(3000 / pixel) + 3, int(4000 / pixel) + 3
    counts = np.zeros((rows, cols))
    counts[1:-3, 1:-3] = np.random.default_rng(3).random((rows - 4, cols - 4))  # well inside the map
    place = Affine(pixel, 0, 4_780_000 - 0.3 * pixel, 0, -pixel, 2_822_000 + 0.6 * pixel)
    config = land.with_layer(counts, place, kind="total", unit="persons", allow_partial=True)
    assert layer_of(cube(config)).sum(dtype=np.float64) == pytest.approx(counts.sum(), rel=1e-6)


def test_shares_and_counts_agree_with_exactextract(land, cube):
    place = Affine(137.0, 0, 4_779_950, 0, -137.0, 2_822_060)
    codes = np.random.default_rng(5).choice([1, 2, 3], (23, 31)).astype(np.uint8)
    made = cube(land.with_layer(codes, place, kind="class", unit="1"))
    counts = cube(land.with_layer(codes.astype(np.float32), place, kind="total", unit="persons"))
    left, top, right, bottom = 4_779_950, 2_822_060, 4_779_950 + 31 * 137, 2_822_060 - 23 * 137
    source = NumPyRasterSource(codes.astype(np.float64), left, bottom, right, top)
    cells = []
    picked = [(0, 0), (7, 12), (29, 39), (15, 20)]
    for row, col in picked:
        x, y = 4_780_000 + 100 * col, 2_822_000 - 100 * row
        ring = [[x, y], [x + 100, y], [x + 100, y - 100], [x, y - 100], [x, y]]
        cells.append(
            {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {}}
        )
    told = exactextract.exact_extract(source, cells, ["unique", "frac", "sum"])
    for (row, col), fact in zip(picked, told, strict=True):
        shares = dict(zip(fact["properties"]["unique"], fact["properties"]["frac"], strict=True))
        found = layer_of(made)[:, row, col]
        assert found == pytest.approx([shares.get(code, 0.0) for code in (1, 2, 3)], abs=1e-6)
        assert layer_of(counts)[0, row, col] == pytest.approx(fact["properties"]["sum"], rel=1e-6)


@pytest.mark.parametrize("crs", ["EPSG:3035", "EPSG:4326"])
@pytest.mark.parametrize("pixel", [0.0007, 0.0021])
def test_classes_of_any_grid_add_up_to_one(land, cube, crs, pixel):
    left, _, _, top = transform_bounds("EPSG:3035", crs, 4_780_000, 2_819_000, 4_784_000, 2_822_000)
    pixel = pixel if crs == "EPSG:4326" else pixel * 100_000
    place = Affine(pixel, 0, left - 5.5 * pixel, 0, -pixel, top + 5.5 * pixel)
    size = int(6000 / (pixel if crs == "EPSG:3035" else pixel * 70_000)) + 20
    codes = np.random.default_rng(6).choice([1, 5, 9], (size, size)).astype(np.uint8)
    shares = layer_of(cube(land.with_layer(codes, place, crs, kind="class", unit="1")))
    assert shares.shape[0] == 3 and shares.sum(axis=0) == pytest.approx(1.0, abs=1e-6)
    assert ((shares > 0.01) & (shares < 0.99)).any()  # shares, not the nearest class


@pytest.mark.parametrize("chunk", [10, 17])
@pytest.mark.parametrize("kind", ["total", "share", "class"])
def test_no_window_changes_a_bit(land, cube, monkeypatch, chunk, kind):
    place = Affine(137.0, 0, 4_779_950, 0, -137.0, 2_822_060)
    values = np.random.default_rng(8).integers(0, 2, (23, 31)).astype(np.uint8)
    config = land.with_layer(values, place, kind=kind, unit="1")
    whole = layer_of(cube(config))
    monkeypatch.setattr(arrays, "CHUNK", chunk)
    assert (layer_of(cube(config)) == whole).all()


def reference(values, place, crs, fine):
    """Each source cell cut into 24 x 24 parts, every part projected exactly."""
    k = 24
    rows, cols = values.shape
    v, u = (np.arange(rows * k) + 0.5) / k, (np.arange(cols * k) + 0.5) / k
    x, y = place @ tuple(np.meshgrid(u, v))
    east, north = Transformer.from_crs(crs, fine.crs, always_xy=True).transform(x, y)
    row, col = np.floor((fine.top - north) / fine.dy), np.floor((east - fine.left) / fine.dx)
    lands = (row >= 0) & (row < fine.rows) & (col >= 0) & (col < fine.cols)
    parts = np.repeat(np.repeat(values, k, 0), k, 1) / k**2
    index = (row[lands] * fine.cols + col[lands]).astype(int)
    return np.bincount(index, parts[lands], fine.rows * fine.cols).reshape(fine.shape)


@pytest.mark.parametrize(("pixel", "worst"), [(0.0001, 0.02), (0.0005, 0.08), (0.0012, 0.1)])
def test_counts_of_small_cells_in_another_system_are_kept_and_nearly_exact(land, cube, pixel, worst):
    left, _, _, top = transform_bounds("EPSG:3035", "EPSG:4326", 4_780_000, 2_819_000, 4_784_000, 2_822_000)
    place = Affine(pixel, 0, left + 0.008, 0, -pixel, top - 0.006)
    size = int(0.02 / pixel)
    counts = np.random.default_rng(4).gamma(1.0, 10.0, (size, size))  # well inside the map
    config = land.with_layer(counts, place, "EPSG:4326", kind="total", unit="persons", fill=0)
    made = cube(config)
    found, expected = layer_of(made)[0].astype(np.float64), reference(counts, place, "EPSG:4326", made.fine)
    assert found.sum() == pytest.approx(counts.sum(), rel=1e-6)
    heavy = expected > np.median(expected[expected > 0])
    assert (np.abs(found - expected)[heavy] / expected[heavy]).max() < worst
    blocks = found.reshape(3, 10, 4, 10).sum(axis=(1, 3)), expected.reshape(3, 10, 4, 10).sum(axis=(1, 3))
    full = blocks[1] > np.median(blocks[1][blocks[1] > 0])
    assert (np.abs(blocks[0] - blocks[1])[full] / blocks[1][full]).max() < 5e-3


@pytest.mark.parametrize("chunk", [10, 17])
@pytest.mark.parametrize("pixel", [0.0003, 0.0012])
def test_no_window_changes_a_bit_of_counts_from_another_system(land, cube, monkeypatch, chunk, pixel):
    left, _, _, top = transform_bounds("EPSG:3035", "EPSG:4326", 4_780_000, 2_819_000, 4_784_000, 2_822_000)
    place = Affine(pixel, 0, left - 5.5 * pixel, 0, -pixel, top + 5.5 * pixel)
    counts = np.random.default_rng(9).random((int(0.05 / pixel), int(0.08 / pixel)))
    config = land.with_layer(counts, place, "EPSG:4326", kind="total", unit="persons", allow_partial=True)
    whole = layer_of(cube(config))
    monkeypatch.setattr(arrays, "CHUNK", chunk)
    assert np.array_equal(layer_of(cube(config)), whole)
