"""The cube holds what the files hold, on one grid, with mass intact."""

import base64
import io
import json

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from affine import Affine
from PIL import Image
from pydantic import ValidationError
from pyproj import CRS
from rasterio.warp import transform_bounds

from stages.artifacts.cube import STORE
from stages.formats import zarr_groups as arrays
from stages.ingest.stage import check, run, sources

COARSE = Affine(1000, 0, 4_780_000, 0, -1000, 2_822_000)
FINE = Affine(100, 0, 4_780_000, 0, -100, 2_822_000)


def layer_of(cube):
    return cube.covariates(0, 0, *cube.fine.shape)[0, 0]


def test_totals_and_a_nested_layer_arrive_unchanged(land, cube):
    made = cube(land.config())
    assert made.totals()[0, 0] == pytest.approx(land.totals)
    assert layer_of(made) == pytest.approx(land.layer)
    assert made.fine.shape == (30, 40) and made.factor == 10
    assert made.valid(0, 0, 30, 40).all()


def test_plain_xarray_opens_the_cube_with_its_crs_and_units(land, tmp_path):
    run(land.config(), out=tmp_path)
    assert rioxarray.__version__  # its import gives xarray the .rio accessor
    opened = xr.open_zarr(tmp_path / STORE)
    assert opened.rio.crs.to_epsg() == 3035
    assert opened["roads"].rio.crs.to_epsg() == opened["co2"].rio.crs.to_epsg() == 3035
    assert opened["roads"].rio.transform().almost_equals(FINE)
    assert opened["co2"].attrs["units"] == "t" and "area: sum" in opened["co2"].attrs["cell_methods"]
    assert opened["time"].dt.year.values.tolist() == [2020]


def test_kilograms_become_tonnes(land, cube):
    made = cube(land.with_total(land.totals * 1000, unit="kg"))
    assert made.totals()[0, 0] == pytest.approx(land.totals)


def test_a_flux_becomes_mass_by_the_area_of_the_cell(land, cube):
    land.file("other.tif", np.full((3, 4), 2e-9), COARSE)
    made = cube(land.config(quantity="flux", totals=[land.total(path="other.tif", unit="kg m-2 s-1")]))
    # 2e-9 kg m-2 s-1 x 1e6 m2 x 31,536,000 s = 63,072 kg.
    assert made.totals() == pytest.approx(63.072)


def test_geo_04_a_south_up_file_gives_the_same_cube(land, cube):
    upside = Affine(100, 0, 4_780_000, 0, 100, 2_819_000)
    assert layer_of(cube(land.with_layer(land.layer[::-1], upside))) == pytest.approx(land.layer)
    turned = land.with_total(land.totals[::-1], Affine(1000, 0, 4_780_000, 0, 1000, 2_819_000))
    assert cube(turned).totals()[0, 0] == pytest.approx(land.totals)


def test_geo_10_coordinate_noise_is_the_same_grid(land, cube):
    noisy = Affine(1000, 0, 4_780_000 + 1e-6, 0, -1000, 2_822_000)
    assert cube(land.with_total(transform=noisy)).totals()[0, 0] == pytest.approx(land.totals)


def test_geo_12_layers_in_other_reference_systems_land_where_they_belong(land, cube):
    # A bright spot of 300 m at the middle of the map, on a 25 m grid of another projection.
    left, bottom, right, top = transform_bounds(
        "EPSG:3035", "EPSG:32633", 4_780_000, 2_819_000, 4_784_000, 2_822_000
    )
    there = Affine(25, 0, left - 500, 0, -25, top + 500)
    rows, cols = int((top - bottom + 1000) / 25), int((right - left + 1000) / 25)
    x, y = np.meshgrid(there.c + (np.arange(cols) + 0.5) * 25, there.f - (np.arange(rows) + 0.5) * 25)
    spot_left, spot_bottom, spot_right, spot_top = transform_bounds(
        "EPSG:3035", "EPSG:32633", 4_781_500, 2_820_500, 4_781_800, 2_820_800
    )
    spot = ((x > spot_left) & (x < spot_right) & (y > spot_bottom) & (y < spot_top)).astype(np.float32)
    made = layer_of(cube(land.with_layer(spot, there, "EPSG:32633", kind="share")))
    assert made[13, 16] == pytest.approx(1.0, abs=0.02)  # its middle cell: x 4,781,600, y 2,820,700
    rows_lit, cols_lit = np.nonzero(made > 0.5)
    assert (rows_lit.min(), rows_lit.max(), cols_lit.min(), cols_lit.max()) == (12, 14, 15, 17)


@pytest.mark.parametrize(
    ("crs", "pixel"), [("EPSG:32633", 130.0), ("EPSG:4326", 0.0021), ("EPSG:3035", 270.0)]
)
def test_counts_of_a_covariate_are_conserved_across_reference_systems(land, cube, crs, pixel):
    left, bottom, right, top = transform_bounds("EPSG:3035", crs, 4_780_000, 2_819_000, 4_784_000, 2_822_000)
    rows, cols = int((top - bottom) / pixel) + 12, int((right - left) / pixel) + 12
    counts = np.zeros((rows, cols), np.float32)
    counts[rows // 3 : rows // 2, cols // 3 : cols // 2] = 7.0  # well inside the map
    place = Affine(pixel, 0, left - 6 * pixel, 0, -pixel, top + 6 * pixel)
    made = layer_of(cube(land.with_layer(counts, place, crs, kind="total", unit="persons", resample=True)))
    assert made.sum(dtype=np.float64) == pytest.approx(counts.sum(dtype=np.float64), rel=1e-6)


def test_a_coarser_total_is_split_evenly_and_a_coarser_share_is_repeated(land, cube):
    census = np.arange(12, dtype=np.float32).reshape(3, 4)
    split = layer_of(cube(land.with_layer(census, COARSE, kind="total", unit="persons")))
    assert split[:10, 10:20] == pytest.approx(0.01)
    repeated = cube(land.with_layer(census / 12, COARSE, kind="share", unit="1"))
    assert layer_of(repeated)[25, 35] == pytest.approx(11 / 12)
    assert repeated.layers[0].blocky


def test_a_finer_total_is_summed_and_a_finer_share_averaged(land, cube):
    half = Affine(50, 0, 4_780_000, 0, -50, 2_822_000)
    ones = np.ones((60, 80), np.float32)
    assert layer_of(cube(land.with_layer(ones, half, kind="total", unit="persons"))) == pytest.approx(4.0)
    assert layer_of(cube(land.with_layer(ones, half, kind="share", unit="1"))) == pytest.approx(1.0)


def test_classes_become_one_share_each_and_add_up_to_one(land, cube):
    half = Affine(50, 0, 4_780_000, 0, -50, 2_822_000)
    codes = np.random.default_rng(1).choice([10, 20, 30], (60, 80)).astype(np.uint8)
    made = cube(land.with_layer(codes, half, kind="class", unit="1"))
    assert [layer.name for layer in made.layers] == ["roads_10", "roads_20", "roads_30"]
    shares = made.covariates(0, 0, 30, 40)[:, 0]
    assert shares.sum(axis=0) == pytest.approx(1.0)
    assert shares[1, 0, 0] == pytest.approx((codes[:2, :2] == 20).mean())


@pytest.mark.parametrize("pixel", [50, 70])  # nested in the fine cells, and cutting their lines
def test_classes_may_be_joined_under_names(land, cube, pixel):
    place = Affine(pixel, 0, 4_780_000, 0, -pixel, 2_822_000)
    codes = np.random.default_rng(1).choice([10, 20, 30], (60, 80)).astype(np.uint8)
    each = cube(land.with_layer(codes, place, kind="class", unit="1"))
    joined = {"wet": [10, 30], "dry": [20]}
    made = cube(land.with_layer(codes, place, kind="class", unit="1", classes=joined))
    assert [layer.name for layer in made.layers] == ["roads_wet", "roads_dry"]
    ten, twenty, thirty = each.covariates(0, 0, *each.fine.shape)[:, 0]
    assert made.covariates(0, 0, *made.fine.shape)[:, 0] == pytest.approx(
        np.stack([ten + thirty, twenty]), abs=1e-6
    )


def test_a_name_without_classes_is_refused(land, cube):
    with pytest.raises(ValidationError, match="wet"):
        cube(land.with_layer(np.ones((30, 40)), kind="class", unit="1", classes={"wet": []}))


def test_val_06_scale_and_offset_give_physical_values(land, cube):

    packed = np.full((30, 40), 250, np.int16)
    config = land.with_layer(packed)
    with rasterio.open(land.folder / "layer.tif", "r+") as data:
        data.scales, data.offsets = (0.1,), (5.0,)
    assert layer_of(cube(config)) == pytest.approx(30.0)


def test_val_02_nodata_and_nan_are_both_masked_and_counted_apart(land, cube):
    holed = land.layer.copy()
    holed[0, :3], holed[1, 0] = -1.0, np.nan
    made = cube(land.with_layer(holed, profile={"nodata": -1.0}, allow_partial=True))
    assert not made.valid(0, 0, 2, 3)[0].any() and not made.valid(1, 0, 1, 1).any()
    facts = made.record.layers[0]
    assert (facts.files[0].nodata_cells, facts.files[0].nan_cells, facts.masked_cells) == (3, 1, 4)


def test_geo_08_longitudes_from_0_to_360_are_the_same_ground(land, cube):
    totals = Affine(0.1, 0, -0.2, 0, -0.1, 51.2)  # straddles Greenwich
    land.file("world.tif", land.totals, totals, crs="EPSG:4326")
    given = [land.total(path="world.tif")]
    values = np.random.default_rng(2).random((60, 3600)).astype(np.float32)
    west = Affine(0.1, 0, -180, 0, -0.1, 53.0)
    land.file("signed.tif", values, west, crs="EPSG:4326")
    land.file("turned.tif", np.roll(values, -1800, axis=1), Affine(0.1, 0, 0, 0, -0.1, 53.0), crs="EPSG:4326")
    signed = cube(land.config(totals=given, covariates=[land.covariate(path="signed.tif", kind="share")]))
    turned = cube(land.config(totals=given, covariates=[land.covariate(path="turned.tif", kind="share")]))
    assert layer_of(turned) == pytest.approx(layer_of(signed))


def test_sectors_and_years_are_axes(land, cube):
    for name in ("a", "b", "c", "d"):
        land.file(f"{name}.tif", np.full((3, 4), float(ord(name))), COARSE)
    made = cube(
        land.config(
            totals=[
                land.total(path="a.tif", sector="homes", year=2020),
                land.total(path="b.tif", sector="homes", year=2021),
                land.total(path="c.tif", sector="roads", year=2020),
                land.total(path="d.tif", sector="roads", year=2021),
            ],
        )
    )
    assert (made.sectors, made.years) == (("homes", "roads"), (2020, 2021))
    assert made.totals()[:, :, 0, 0].tolist() == [[97.0, 98.0], [99.0, 100.0]]
    assert made.covariates(0, 0, 30, 40).shape == (1, 2, 30, 40)


def test_a_layer_with_years_follows_the_years_of_the_totals(land, cube):
    land.file("b.tif", land.totals * 2, COARSE)
    land.file("later.tif", land.layer * 3)
    both = [land.covariate(year=2020), land.covariate(path="later.tif", year=2021)]
    made = cube(land.config(totals=[land.total(), land.total(path="b.tif", year=2021)], covariates=both))
    values = made.covariates(0, 0, 30, 40)[0]
    assert values[1] == pytest.approx(values[0] * 3)


def test_a_derived_layer_is_the_clipped_sum_of_its_parts(land, cube):
    made = cube(land.config(derived=[{"name": "built", "sum": ["roads"], "clip": [0, 5]}]))
    assert made.covariates(0, 0, 30, 40)[1, 0] == pytest.approx(np.clip(land.layer, 0, 5))


def test_a_killed_ingest_goes_on_and_ends_with_the_same_bytes(land, tmp_path, monkeypatch):

    monkeypatch.setattr(arrays, "CHUNK", 10)  # 12 regions instead of one
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir(), broken.mkdir()
    run(land.config(), out=whole)

    from stages.contract.progress import listen
    from stages.ingest import stage as ingest

    def stop_at_five(step):
        if getattr(step, "label", "") == "filling the cube" and step.done == 5:
            raise KeyboardInterrupt

    listen(stop_at_five)
    with pytest.raises(KeyboardInterrupt):
        ingest.run(land.config(), out=broken)
    resumed = []
    listen(lambda step: resumed.append(step))
    ingest.run(land.config(), out=broken)
    listen(None)
    assert next(step.done for step in resumed if getattr(step, "label", "") == "filling the cube") == 6

    def content(folder):
        return {
            str(file.relative_to(folder)): file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file() and ".progress" not in str(file)
        }

    assert content(whole) == content(broken)


def test_check_tells_sizes_and_makes_nothing(land, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    assert check(land.config()).fine_cells == 1200 and sorted(tmp_path.rglob("*")) == before


def test_every_input_file_enters_the_fingerprint(land):
    config = land.config()
    assert [path.rsplit("/", 1)[1] for path in sources(config)] == ["totals.tif", "roads.tif"]


def test_which_layer_reads_which_file_enters_the_fingerprint(land):
    twice = land.config(covariates=[land.covariate(name="a"), land.covariate(name="b")])
    assert len(sources(twice)) == 3


def test_the_ingest_report_names_what_was_done(land, tmp_path):
    run(land.config(), out=tmp_path)
    facts = json.loads((tmp_path / "ingest.json").read_text())
    assert facts["layers"][0]["resampling"] == "none: cells coincide"
    assert facts["layers"][0]["coverage"] == 1.0
    assert facts["totals"][0]["sum"] == pytest.approx(land.totals.sum())


def test_one_reference_system_in_two_spellings_is_one(land, cube):
    spelled = 'PROJCS["my Europe",' + CRS.from_epsg(3035).to_wkt("WKT1_GDAL").split(",", 1)[1]
    made = cube(land.with_layer(crs=spelled))
    assert made.record.layers[0].resampling == "none: cells coincide"
    assert layer_of(made) == pytest.approx(land.layer)


def test_a_layer_of_the_whole_globe_meets_a_regional_projection(land, cube):
    values = np.random.default_rng(4).random((180, 360)).astype(np.float32)
    globe = Affine(1, 0, -180, 0, -1, 90)
    made = cube(land.with_layer(values, globe, "EPSG:4326"))
    assert np.isfinite(layer_of(made)).all() and made.layers[0].blocky


@pytest.mark.parametrize("pixel", [0.0012, 0.012, 0.05, 0.4])
def test_counts_on_cells_of_any_size_are_divided_evenly_and_without_holes(land, cube, pixel):
    left, bottom, right, top = transform_bounds(
        "EPSG:3035", "EPSG:4326", 4_780_000, 2_819_000, 4_784_000, 2_822_000
    )
    rows, cols = int((top - bottom) / pixel) + 6, int((right - left) / pixel) + 6
    place = Affine(pixel, 0, left - 3 * pixel, 0, -pixel, top + 3 * pixel)
    # As many persons in every cell of the file: fine cells of equal size then hold nearly equally many.
    made = layer_of(
        cube(
            land.with_layer(
                np.ones((rows, cols), np.float32), place, "EPSG:4326", kind="total", unit="persons"
            )
        )
    )
    assert np.isfinite(made).all()
    middle = made if pixel > 0.004 else made[5:-5, 5:-5]
    assert middle.max() / middle.min() < (1.3 if pixel > 0.004 else 2.1)


@pytest.mark.parametrize("chunk", [10, 17, 40])
def test_counts_from_larger_cells_do_not_depend_on_the_windows(land, cube, monkeypatch, chunk):

    counts = np.random.default_rng(8).random((9, 11)).astype(np.float32)
    left, _, _, top = transform_bounds("EPSG:3035", "EPSG:4326", 4_780_000, 2_819_000, 4_784_000, 2_822_000)
    place = Affine(0.009, 0, left - 0.01, 0, -0.009, top + 0.01)
    whole = layer_of(cube(land.with_layer(counts, place, "EPSG:4326", kind="total", unit="persons")))
    monkeypatch.setattr(arrays, "CHUNK", chunk)
    pieces = layer_of(cube(land.with_layer(counts, place, "EPSG:4326", kind="total", unit="persons")))
    assert (pieces == whole).all()


def test_what_lies_beside_a_file_does_not_change_how_it_is_read(land, cube):
    before = layer_of(cube(land.with_layer()))
    (land.folder / "layer.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><Offset>5</Offset><Scale>10</Scale></PAMRasterBand></PAMDataset>'
    )
    assert (layer_of(cube(land.config(covariates=[land.covariate(path="layer.tif")]))) == before).all()


def test_cells_hidden_by_a_mask_inside_the_file_have_no_value(land, cube):

    config = land.with_layer(allow_partial=True)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(land.folder / "layer.tif", "r+") as data:
        shown = np.full((30, 40), 255, np.uint8)
        shown[:10] = 0
        data.write_mask(shown)
    made = cube(config)
    assert not made.valid(0, 0, 10, 40).any() and made.valid(10, 0, 20, 40).all()


def test_a_map_without_any_layer_is_a_cube(land, cube):
    assert cube(land.config(covariates=[])).covariates(0, 0, 30, 40).shape == (0, 1, 30, 40)


def test_the_report_of_a_layer_tells_before_and_after_and_shows_it(land, cube):
    half = Affine(50, 0, 4_780_000, 0, -50, 2_822_000)
    made = cube(land.with_layer(np.arange(4800.0).reshape(60, 80), half, kind="total", unit="persons"))
    facts, file = made.record.layers[0], made.record.layers[0].files[0]
    assert (file.low, file.mean, file.high) == (0.0, 2399.5, 4799.0)
    # The first cell of the cube holds 0 + 1 + 80 + 81, the last 4799 + 4798 + 4719 + 4718.
    assert (facts.low, facts.high) == (162.0, 19034.0)
    assert facts.sum == file.sum == 4799 * 4800 / 2
    header, picture = facts.thumbnail.split(",")
    shown = Image.open(io.BytesIO(base64.b64decode(picture)))
    assert header == "data:image/png;base64" and shown.size == (40, 30)
    assert len(np.unique(np.asarray(shown))) > 20


def test_a_thumbnail_of_several_regions_is_whole(land, cube, monkeypatch):
    whole = cube(land.config()).record.layers[0].thumbnail
    monkeypatch.setattr(arrays, "CHUNK", 12)
    assert cube(land.config()).record.layers[0].thumbnail == whole


def test_the_mass_of_a_total_is_told_beside_its_sum(land, cube):
    made = cube(land.with_total(land.totals, unit="kg"))
    told = made.record.totals[0]
    assert told.sum == pytest.approx(land.totals.sum())
    assert told.mass == pytest.approx(told.sum / 1000)


def test_check_tells_what_every_file_holds(land):
    lines = check(land.config()).inputs
    assert lines[0].startswith("total all 2020: totals.tif, band 1: 3 x 4 cells in ETRS89")
    assert f"sum {land.totals.sum():.10g} t" in lines[0] and "layer roads" in lines[1]


def test_the_cube_holds_the_same_bytes_whatever_the_threads(land, tmp_path, monkeypatch):
    from stages.formats import zarr_groups as stored
    from stages.ingest import fill

    monkeypatch.setattr(stored, "CHUNK", 10)
    found = []
    for threads in (1, 5):
        monkeypatch.setattr(fill, "workers", lambda threads=threads: threads)
        out = tmp_path / str(threads)
        out.mkdir()
        run(land.config(), out=out)
        files = [file for file in sorted((out / STORE).rglob("*")) if file.is_file()]
        found.append({str(file.relative_to(out)): file.read_bytes() for file in files})
    assert found[0] == found[1] and len(found[0]) > 12
