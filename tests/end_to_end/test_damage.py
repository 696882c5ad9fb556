"""What an earlier stage made and somebody spoiled is told by name, and healed by the command it names."""

import shutil

import numpy as np
import pytest
import rasterio
import zarr
from affine import Affine

pytestmark = pytest.mark.slow

QUICK = ("--set", "train.epochs=2", "--set", "train.steps_per_epoch=3")


@pytest.fixture
def spoiled(undisturbed, tmp_path):
    """A copy of the run that may be damaged."""
    workspace = tmp_path / "copy"
    shutil.copytree(undisturbed.parents[1], workspace, symlinks=True)
    return workspace / "runs" / "vienna_city"


def test_dmg_06_a_deleted_chunk_of_the_cube_is_named_and_the_named_command_heals(spoiled, pipeline):
    (spoiled / "cube" / "cube.zarr" / "built" / "c" / "0" / "1").unlink()
    words = ("--workspace", spoiled.parents[1], *QUICK)
    died = pipeline("run", "tile", "--force", *words, check=False)
    assert died.returncode == 4
    assert "built" in died.stderr and "0/1" in died.stderr and "pipeline run ingest --force" in died.stderr
    pipeline("run", "ingest", "--force", *words)
    assert "up to date" in pipeline("run", *words).stdout


@pytest.mark.parametrize("file", ["cube/cube.zarr/built/c/1/0", "checkpoint/weights.safetensors"])
def test_dmg_07_09_a_flipped_byte_is_found_before_it_is_used(spoiled, pipeline, file):
    target = spoiled / file
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 0x55
    target.write_bytes(content)
    died = pipeline("run", "infer", "--force", "--workspace", spoiled.parents[1], *QUICK, check=False)
    assert died.returncode == 4 and file.rsplit("/", 1)[1] in died.stderr


def test_cfg_06_a_stage_before_its_needs_names_the_command_that_makes_them(tmp_path, pipeline):
    died = pipeline("run", "mosaic", "--workspace", tmp_path, check=False)
    assert died.returncode == 4 and "pipeline run ingest tile train infer" in died.stderr
    assert not list(tmp_path.rglob("*.zarr"))


def verify(spoiled, pipeline):
    died = pipeline("verify", "--workspace", spoiled.parents[1], *QUICK, check=False)
    assert died.returncode == 4, died.stderr
    return died.stderr


def test_verify_names_the_block_of_a_changed_pixel(spoiled, pipeline):
    path = spoiled / "maps" / "heat_demand_homes_2012.tif"
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as data:
        cells = data.read(1)
        row, col = np.argwhere(cells > 0)[500]
        cells[row, col] *= 1.01
        data.write(cells, 1)
    told = verify(spoiled, pipeline)
    assert f"heat_demand_homes_2012.tif, block row {row // 10}, column {col // 10} " in told
    assert "bytes other than those published" in told


def test_verify_tells_a_moved_map_by_its_place(spoiled, pipeline):
    with rasterio.open(
        spoiled / "maps" / "heat_demand_other_buildings_2012.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES"
    ) as data:
        data.transform = data.transform @ Affine.translation(1, 0)
        moved = data.transform.c
    told = verify(spoiled, pipeline)
    assert "heat_demand_other_buildings_2012.tif" in told and str(moved) in told and "the cube's grid" in told


def test_verify_names_both_blocks_of_a_swapped_total(spoiled, pipeline):
    array = zarr.open_group(spoiled / "cube" / "cube.zarr", mode="r+")["heat_demand"]
    totals = array[:]
    first, second = np.argwhere(totals[0, 0] > 0)[[3, 40]]
    totals[0, 0][tuple(first)], totals[0, 0][tuple(second)] = (
        totals[0, 0][tuple(second)],
        totals[0, 0][tuple(first)],
    )
    array[:] = totals
    told = verify(spoiled, pipeline)
    assert f"cube, total of homes, 2012, block row {first[0]}, column {first[1]} " in told
    assert f"also row {second[0]}, column {second[1]}" in told


def test_maps_of_another_cube_are_stale_and_no_broken_proof(spoiled, pipeline):
    words = ("--workspace", spoiled.parents[1], *QUICK)
    pipeline("run", "ingest", "--set", "ingest.long_name=another", *words)
    died = pipeline("verify", "--set", "ingest.long_name=another", *words, check=False)
    assert died.returncode == 4 and "another cube" in died.stderr


def test_a_map_without_layers_runs_through_the_chain(tmp_path, pipeline):
    words = (
        "--set",
        "ingest.covariates=[]",
        "--set",
        "ingest.derived=[]",
        "--set",
        "train.method=smooth_mask",
    )
    pipeline("run", "--workspace", tmp_path, *words)
    assert (tmp_path / "runs" / "vienna_city" / "maps" / "certificate.json").exists()
