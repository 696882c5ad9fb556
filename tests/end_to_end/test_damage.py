"""What an earlier stage made and somebody spoiled is told by name, and healed by the command it names."""

import shutil

import pytest
import rasterio

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


def test_a_changed_cell_of_a_finished_map_is_found_by_verify(spoiled, pipeline):

    with rasterio.open(
        spoiled / "maps" / "heat_demand_homes_2012.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES"
    ) as data:
        cells = data.read(1)
        cells[cells > 0] *= 1.01
        data.write(cells, 1)
    died = pipeline("verify", "--workspace", spoiled.parents[1], *QUICK, check=False)
    assert died.returncode in (4, 7) and "heat_demand_homes_2012.tif" in died.stderr


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
