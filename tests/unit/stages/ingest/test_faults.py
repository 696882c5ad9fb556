"""What would spoil a total is refused, with where, found, wanted and fix."""

import os

import numpy as np
import pytest
import rasterio
from affine import Affine

from stages.ingest.stage import check

COARSE = Affine(1000, 0, 4_780_000, 0, -1000, 2_822_000)


FINE = Affine(100, 0, 4_780_000, 0, -100, 2_822_000)


def test_geo_01_a_file_without_a_reference_system_is_named(land, told):
    text = told(land.with_layer(crs=None))
    assert "layer.tif" in text and "no coordinate system" in text and "crs:" in text


def test_geo_01_the_setting_it_names_helps(land, cube):
    land.with_layer(crs=None)
    assert cube(land.config(covariates=[land.covariate(path="layer.tif", crs="EPSG:3035")])).fine.shape == (
        30,
        40,
    )


def test_geo_02_pixel_numbers_are_never_metres(land, told):
    text = told(land.with_layer(transform=None))
    assert "layer.tif" in text and "no transform" in text


@pytest.mark.parametrize("shift", [50.0, 500.0, 30.0])
def test_geo_09_totals_shifted_by_part_of_a_cell_are_refused(land, shift, told):
    moved = Affine(1000, 0, 4_780_000 + shift, 0, -1000, 2_822_000)
    land.file("census.tif", np.ones((3, 4), np.float32), COARSE)
    config = land.with_total(transform=moved)
    census = land.covariate(name="census", path="census.tif", kind="total", unit="persons")
    text = told(
        config.model_copy(
            update={"covariates": (*config.covariates, land.config(covariates=[census]).covariates[0])}
        )
    )
    assert f"{shift:g}" in text.replace("-", "") and "cells" in text and "registration" in text


def test_geo_09_a_registration_puts_the_file_back(land, cube):
    moved = Affine(100, 0, 4_780_050, 0, -100, 2_822_000)
    land.file("layer.tif", land.layer, moved)
    made = cube(land.config(covariates=[land.covariate(path="layer.tif", registration=[-50, 0])]))
    assert made.covariates(0, 0, 30, 40)[0, 0] == pytest.approx(land.layer)


def test_geo_09_totals_of_two_sectors_need_one_grid(land, told):
    land.file("b.tif", land.totals, Affine(1000, 0, 4_780_500, 0, -1000, 2_822_000))
    text = told(land.config(totals=[land.total(sector="a"), land.total(sector="b", path="b.tif")]))
    assert "500" in text and "0.5" in text and "totals.tif" in text


def test_geo_11_a_cell_that_is_no_whole_number_of_fine_cells_names_the_sizes_that_work(land, told):
    text = told(land.config(fine_pixel=90))
    assert "1000" in text and "90" in text and "90.9091" in text and "83.3333" in text


def test_geo_13_a_gap_is_told_with_its_share_and_its_box(land, tmp_path, told):
    clipped = land.layer.copy()
    clipped[:, 28:] = np.nan  # 12 of 40 columns
    text = told(land.with_layer(clipped), tmp_path)
    assert "30.0%" in text and "4782800" in text and "allow_partial" in text


def test_geo_13_an_allowed_gap_is_masked_and_counted(land, cube):
    clipped = land.layer[:, :28]
    made = cube(land.with_layer(clipped, allow_partial=True))
    assert not made.valid(0, 28, 30, 12).any() and made.valid(0, 0, 30, 28).all()
    assert made.record.layers[0].masked_cells == 360 and made.record.layers[0].coverage == pytest.approx(0.7)


def test_geo_13_ground_without_totals_needs_no_cover(land, cube):
    totals = land.totals.copy()
    totals[:, 3] = np.nan
    land.file("other.tif", totals, COARSE)
    land.file("layer.tif", land.layer[:, :30])
    config = land.config(
        totals=[land.total(path="other.tif", missing="unknown")],
        covariates=[land.covariate(path="layer.tif")],
    )
    assert cube(config).known()[0, 0, :, 3].sum() == 0


def test_geo_14_layers_far_apart_show_both_boxes(land, told):
    text = told(land.with_layer(transform=Affine(100, 0, 5_280_000, 0, -100, 2_822_000)))
    assert "5280000" in text and "4780000" in text and "axis order" in text


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (b"", "an empty file"),
        (b"hello", "a text file"),
        (b"<!DOCTYPE html><html></html>", "a saved web page"),
    ],
)
def test_dmg_04_a_name_ending_in_tif_proves_nothing(land, content, looks, told):
    (land.folder / "roads.tif").write_bytes(content)
    text = told(land.config())
    assert "roads.tif" in text and looks in text


def test_dmg_05_all_bad_paths_are_told_at_once(land, told):
    (land.folder / "folder.tif").mkdir()
    (land.folder / "link.tif").symlink_to("nowhere.tif")
    paths = ["absent.tif", "folder.tif", "link.tif"]
    layers = [land.covariate(name=f"l{number}", path=path) for number, path in enumerate(paths)]
    text = told(land.config(covariates=layers))
    assert all(path in text for path in paths)
    assert "no such file" in text and "a folder" in text and "nowhere.tif" in text


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_dmg_01_a_truncated_file_is_told_as_such(land, share, told):
    noise = np.random.default_rng(3).random((30, 40)).astype(np.float32)
    config = land.with_layer(noise, profile={"compress": "deflate", "tiled": False, "blockysize": 4})
    file = land.folder / "layer.tif"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    assert "layer.tif" in told(config) and "truncated or damaged" in told(config)


CANARY = "the canary sings"


def test_sec_01_a_virtual_dataset_in_disguise_is_refused(land, tmp_path, told):
    (land.folder / "secret.bin").write_bytes((CANARY * 400).encode())
    (land.folder / "layer.tif").write_text(
        '<VRTDataset rasterXSize="40" rasterYSize="30"><GeoTransform>4780000,100,0,2822000,0,-100</GeoTransform>'
        '<SRS>EPSG:3035</SRS><VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand">'
        '<SourceFilename relativetoVRT="1">secret.bin</SourceFilename></VRTRasterBand></VRTDataset>'
    )
    out = tmp_path / "out"
    out.mkdir()
    text = told(land.config(covariates=[land.covariate(path="layer.tif")]), out)
    assert "virtual dataset" in text and CANARY not in text
    assert not any(CANARY.encode() in file.read_bytes() for file in out.rglob("*") if file.is_file())


def test_sec_05_a_giant_declared_size_is_refused_before_it_is_read(land, told):

    with rasterio.open(
        land.folder / "giant.tif",
        "w",
        driver="GTiff",
        width=1_000_000,
        height=1_000_000,
        count=1,
        dtype="uint8",
        sparse_ok=True,
        tiled=True,
        blockxsize=16384,
        blockysize=16384,
        bigtiff="yes",
        crs="EPSG:3035",
        transform=FINE,
    ):
        pass
    text = told(land.config(covariates=[land.covariate(path="giant.tif")]))
    assert "1000000 x 1000000" in text and "at most" in text


def test_tim_01_a_layer_without_a_year_of_the_totals_stops_unless_the_nearest_may_serve(land, cube, told):
    layers = [land.covariate(year=2018)]
    assert "year_policy: nearest" in told(land.config(covariates=layers))
    assert cube(land.config(covariates=layers, year_policy="nearest")).layers[0].name == "roads"


def test_several_faults_of_one_pass_are_told_together(land, told):
    land.file("layer.tif", np.full((30, 40), np.inf, np.float32))
    text = told(land.config(totals=[land.total(unit="tons?")], covariates=[land.covariate(path="layer.tif")]))
    assert "tons?" in text and "infinite" in text


def test_geo_09_totals_half_a_cell_beside_a_layer_of_their_size_are_told_in_metres_and_cells(land, told):
    text = told(land.with_total(transform=Affine(1000, 0, 4_780_500, 0, -1000, 2_822_000)))
    assert "500" in text and "0.5" in text and "shifted" in text and "registration" in text


@pytest.mark.parametrize("name", ["x", "time", "spatial_ref", "valid"])
def test_names_that_the_cube_needs_are_refused(land, name):
    with pytest.raises(ValueError, match="keeps these names"):
        land.config(covariates=[land.covariate(name=name)])


def test_a_sector_called_all_is_kept_for_the_sum(land):
    with pytest.raises(ValueError, match="sum"):
        land.config(totals=[land.total(sector="all"), land.total(sector="b")])


def test_check_finds_a_gap_before_a_run_does(land, told):
    clipped = land.layer.copy()
    clipped[:, 28:] = np.nan
    assert "30.0%" in told(land.with_layer(clipped))


def test_a_pipe_is_not_waited_for(land, told):

    os.mkfifo(land.folder / "pipe.tif")
    assert "no regular file" in told(land.config(covariates=[land.covariate(path="pipe.tif")]))


def test_a_layer_named_for_another_year_is_told(land, told):
    from stages.contract.progress import listen

    heard = []
    land.file("roads_2011.tif", land.layer)
    listen(heard.append)
    check(land.config(covariates=[land.covariate(path="roads_2011.tif", year=2020)]))
    listen(None)
    assert any("roads_2011.tif" in getattr(note, "text", "") for note in heard)


def test_faults_of_files_of_places_and_of_gaps_are_told_in_one_pass(land, told):
    land.file("gap.tif", np.where(np.arange(40) < 28, land.layer, np.nan))
    land.file("far.tif", land.layer, Affine(100, 0, 5_280_000, 0, -100, 2_822_000))
    land.file("inf.tif", np.full((30, 40), np.inf, np.float32))
    names = ("gap", "far", "inf", "absent")
    text = told(land.config(covariates=[land.covariate(name=name, path=f"{name}.tif") for name in names]))
    assert "30.0%" in text and "axis order" in text and "infinite" in text and "no such file" in text
