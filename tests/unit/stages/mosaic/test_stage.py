"""Mosaic: what stands in the finished maps, and what happens when something goes wrong on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio

from model.ground.errors import ArtifactError, NumberError, UsageError
from stages.artifacts.cube import Cube
from stages.artifacts.maps import publish
from stages.mosaic import stage as mosaic
from tests.small_world import World, build_world


@pytest.fixture
def small_world(tmp_path: Path) -> Callable[..., World]:
    """A function that writes a world of 4 x 3 blocks, or of the totals given."""
    return partial(build_world, tmp_path)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read().astype(np.float64)


def block_sums(cells: np.ndarray, factor: int = 10) -> np.ndarray:
    rows, cols = cells.shape
    return np.nansum(cells.reshape(rows // factor, factor, cols // factor, factor), axis=(1, 3))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def change_cell(path: Path, value: float, row: int = 0, col: int = 0) -> None:
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
        cells = dataset.read(1)
        cells[row, col] = value
        dataset.write(cells, 1)


def test_stored_blocks_sum_to_the_totals_of_the_cube(small_world):
    world = small_world(years=(2012, 2015))
    maps = world.make_maps()
    cube = Cube.open(world.cube)
    for sector, name in enumerate(cube.sectors):
        for time_, year in enumerate(cube.years):
            sums = block_sums(read(maps / f"heat_{name}_{year}.tif")[0])
            assert sums == pytest.approx(cube.totals()[sector, time_], rel=1e-7)


def test_the_sum_over_sectors_is_a_map_of_its_own(small_world):
    world = small_world()
    maps = world.make_maps()
    homes, other, both = (read(maps / f"heat_{name}_2012.tif")[0] for name in ("homes", "other", "all"))
    assert block_sums(both) == pytest.approx(Cube.open(world.cube).totals()[:, 0].sum(axis=0), rel=1e-7)
    assert both == pytest.approx(homes + other, rel=1e-4)


def test_one_sector_needs_no_sum(small_world):
    maps = small_world(sectors=("all",)).make_maps()
    assert sorted(path.name for path in maps.glob("*.tif")) == [
        "heat_all_2012.tif",
        "heat_all_2012_blocks.tif",
    ]


def test_a_sector_named_as_the_sum_is_refused_when_there_is_a_sum(small_world):
    with pytest.raises(UsageError, match="all"):
        small_world(sectors=("homes", "all")).make_maps()


def test_val_13_zero_and_nodata_stay_different(small_world):
    totals = np.full((1, 1, 1, 3), 500.0)
    totals[0, 0, 0, 0], totals[0, 0, 0, 2] = 0.0, np.nan
    valid = np.ones((10, 30), bool)
    valid[:, 10:14] = False
    maps = small_world(totals=totals, valid=valid, sectors=("homes",)).make_maps()
    with rasterio.open(maps / "heat_homes_2012.tif") as dataset:
        cells = dataset.read(1)
        assert np.isnan(dataset.nodata)
    assert (cells[:, :10] == 0).all()  # a true zero
    assert np.isnan(cells[:, 10:14]).all()  # no place for mass
    assert not np.isnan(cells[:, 14:20]).any()
    assert np.isnan(cells[:, 20:]).all()  # a total that nobody knows
    given, placed, relative, level = read(maps / "heat_homes_2012_blocks.tif")
    assert np.array_equal(given, [[0.0, 500.0, np.nan]], equal_nan=True)
    assert placed[0, :2] == pytest.approx([0.0, 500.0], rel=1e-7)
    assert np.isnan(relative[0, 2]) and abs(relative[0, 1]) < 1e-7
    assert level.tolist() == [[0.0, 1.0, 255.0]]


def test_mas_02_mass_without_a_valid_cell_is_on_the_map_and_in_the_report(small_world):
    valid = np.ones((40, 30), bool)
    valid[10:20, 10:20] = False
    world = small_world(valid=valid)
    maps = world.make_maps()
    sums = block_sums(read(maps / "heat_homes_2012.tif")[0])
    assert sums[1, 1] == pytest.approx(Cube.open(world.cube).totals()[0, 0, 1, 1], rel=1e-7)
    facts = json.loads((maps / "report.json").read_text())
    assert facts["fallback_levels"][0]["counts"]["4"]["blocks"] == 1
    assert any("no cell is valid" in note for note in facts["notes"])


def test_a_sink_is_kept_apart_and_certified(small_world):
    totals = np.array([[[[70.0, -30.0]]], [[[10.0, 30.0]]]])
    world = small_world(totals=totals)
    certificate = json.loads((world.make_maps() / "certificate.json").read_text())
    assert certificate["passed"]
    assert [entry["given"] for entry in certificate["maps"]] == [40.0, 40.0, 80.0]
    assert certificate["maps"][0]["smallest_cell"] == pytest.approx(-0.3)


def test_the_certificate_balances_and_tells_the_worst_block(small_world):
    totals = np.array([[[[1000.0, np.nan], [0.0, 3.0]]]])
    world = small_world(totals=totals, sectors=("homes",))
    certificate = json.loads((world.make_maps() / "certificate.json").read_text())
    entry = certificate["maps"][0]
    assert (entry["given"], entry["blocks"], entry["blocks_outside"]) == (1003.0, 3, 0)
    assert entry["placed"] + entry["outside"] == pytest.approx(entry["given"], rel=1e-9)
    worst = entry["worst"]
    # 1 km cells from x 4,780,000 eastwards, y 2,822,000 southwards
    assert worst["x"] == 4_780_500.0 + 1000.0 * worst["col"]
    assert worst["y"] == 2_821_500.0 - 1000.0 * worst["row"]
    assert worst["given"] == totals[0, 0, worst["row"], worst["col"]]
    assert abs(worst["relative_residual"]) < 1e-7
    assert certificate["passed"]


def test_a_changed_cell_fails_the_certificate_and_is_named(small_world):
    world = small_world()
    maps = world.make_maps()
    change_cell(maps / "heat_homes_2012.tif", 1e6, row=25, col=13)
    certificate = mosaic.certify(world.cube, maps).to_json()
    assert not certificate["passed"]
    assert [entry["passed"] for entry in certificate["maps"]] == [False, True, True]
    worst = certificate["worst"]
    assert (worst["file"], worst["row"], worst["col"]) == ("heat_homes_2012.tif", 2, 1)


def test_mass_in_a_block_that_was_given_none_is_an_infinite_residual(small_world):
    world = small_world(totals=np.array([[[[0.0, 5.0]]]]), sectors=("homes",))
    maps = world.make_maps()
    change_cell(maps / "heat_homes_2012.tif", 1e-30)
    certificate = mosaic.certify(world.cube, maps).to_json()
    assert not certificate["passed"]
    assert certificate["worst"]["relative_residual"] == np.inf


@pytest.mark.parametrize("value", [np.nan, -1.0])
def test_a_hole_or_a_negative_cell_fails_even_where_sums_stand(small_world, value):
    world = small_world(totals=np.array([[[[50.0, 5.0]]]]), sectors=("homes",))
    maps = world.make_maps()
    cells = read(maps / "heat_homes_2012.tif")[0]
    row, col = (int(index) for index in np.argwhere(cells[:, :10] == 0)[0])
    change_cell(maps / "heat_homes_2012.tif", value, row, col)
    if value < 0:
        richest = np.unravel_index(cells[:, :10].argmax(), (10, 10))
        change_cell(maps / "heat_homes_2012.tif", cells[richest] + 1.0, int(richest[0]), int(richest[1]))
    entry = mosaic.certify(world.cube, maps).to_json()["maps"][0]
    assert abs(entry["worst"]["relative_residual"]) < 1e-6
    assert not entry["passed"]


def test_a_map_that_fails_stops_the_run_with_exit_7_and_the_next_run_heals(small_world):
    world = small_world()
    whole = contents(world.make_maps())
    change_cell(world.maps / "heat_other_2012.tif", 123456.0)
    with pytest.raises(NumberError) as caught:
        world.make_maps()
    assert caught.value.code == 7
    assert "heat_other_2012.tif, block row 0, column 0" in caught.value.where
    assert not (world.maps / "heat_other_2012.tif").exists()
    assert contents(world.make_maps()) == whole


def test_dmg_11_a_hole_in_the_field_stops_with_exit_4(small_world):
    world = small_world()
    world.change_mass(lambda mass: np.where(np.arange(30) == 17, np.nan, mass))
    with pytest.raises(ArtifactError, match="without a value") as caught:
        world.make_maps()
    assert caught.value.code == 4
    assert not list(world.maps.glob("*.tif"))


def test_a_field_that_misses_a_total_is_not_repaired_away(small_world):
    world = small_world()
    world.change_mass(lambda mass: mass * (1.0 + 1e-5))
    with pytest.raises(ArtifactError, match="misses its total"):
        world.make_maps()


def test_a_damaged_map_is_told_by_its_name(small_world):
    world = small_world()
    maps = world.make_maps()
    path = maps / "heat_homes_2012.tif"
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(ArtifactError, match=r"heat_homes_2012\.tif"):
        mosaic.certify(world.cube, maps).to_json()
    path.unlink()
    with pytest.raises(ArtifactError, match=r"heat_homes_2012\.tif"):
        mosaic.certify(world.cube, maps).to_json()


def test_the_same_field_gives_the_same_bytes(small_world, tmp_path):
    world = small_world()
    assert contents(world.make_maps()) == contents(world.make_maps(tmp_path / "again"))


def test_a_finished_map_is_kept_and_a_missing_one_made_anew(small_world):
    world = small_world()
    whole = contents(world.make_maps())
    kept = (world.maps / "heat_homes_2012.tif").stat()
    for name in ("heat_all_2012.tif", "heat_homes_2012_blocks.tif", "report.json"):
        (world.maps / name).unlink()
    world.make_maps()
    again = (world.maps / "heat_homes_2012.tif").stat()
    assert (again.st_ino, again.st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns)
    assert contents(world.maps) == whole


def test_what_an_attempt_left_half_done_is_never_taken_for_a_map(small_world):
    world = small_world()
    whole = contents(world.make_maps())
    (world.maps / "heat_homes_2012.tif").unlink()
    working = world.maps / ".progress"
    working.mkdir()
    (working / "heat_homes_2012.tif").write_bytes(whole["heat_homes_2012.tif"][:1000])
    (working / "heat_homes_2012.cog.tif").write_bytes(b"II*\0")
    world.make_maps()
    assert contents(world.maps) == whole
    assert not working.exists()


RUN = """
import sys
from pathlib import Path
from stages.mosaic import stage as mosaic
cube, field, out = map(Path, sys.argv[1:])
mosaic.run(mosaic.Config(), cube=cube, field=field, out=out)
assert "torch" not in sys.modules, "mosaic must not load torch"
"""


def start(world, out: Path) -> subprocess.Popen:
    out.mkdir(exist_ok=True)
    command = [sys.executable, "-c", RUN, str(world.cube), str(world.field), str(out)]
    root = Path(mosaic.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen(command, cwd=root, env=environment, start_new_session=True)


def test_mosaic_runs_without_torch(small_world, tmp_path):
    assert start(small_world(), tmp_path / "out").wait() == 0


@pytest.mark.slow
def test_crs_05_killed_at_any_moment_leaves_whole_maps_or_none(small_world, tmp_path):
    totals = np.random.default_rng(2).lognormal(5.0, 2.0, (2, 2, 40, 40))
    world = small_world(totals=totals, years=(2012, 2015))
    whole = contents(world.make_maps())
    # from the first map to the last file, found by watching the folder rather than the clock
    killed = 0
    for moment in (1, 3, 6, 9):
        out = tmp_path / f"killed_{moment}"
        child = start(world, out)
        while child.poll() is None and len(list(out.glob("*.*"))) < moment:
            time.sleep(0.002)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
        for name, found in contents(out).items():
            if name.endswith(".tif"):
                assert found == whole[name], f"{name} after {moment} files"
        world.make_maps(out)
        assert contents(out) == whole
    assert killed >= 2, "the kills came too late to show anything"


FULL_DISK = """
import resource, sys
from pathlib import Path
from model.ground.errors import HectareError
from stages.mosaic import stage as mosaic
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
cube, field, out = map(Path, sys.argv[1:4])
try:
    mosaic.run(mosaic.Config(), cube=cube, field=field, out=out)
except HectareError as fault:
    print(fault.found)
    sys.exit(fault.code)
"""


@pytest.mark.parametrize("bytes_allowed", [2_000, 600_000])
def test_crs_09_a_file_size_limit_gives_exit_6_and_no_broken_map(small_world, tmp_path, bytes_allowed):
    # 160,000 cells: the draft takes 640 kB, so both limits are met while it is written
    world = small_world(totals=np.full((1, 1, 40, 40), 9.0), sectors=("homes",))
    out = tmp_path / "out"
    out.mkdir()
    command = [
        sys.executable,
        "-c",
        FULL_DISK,
        str(world.cube),
        str(world.field),
        str(out),
        str(bytes_allowed),
    ]
    root = Path(mosaic.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 6, done.stderr
    assert "bytes are free" in done.stdout
    assert not list(out.glob("*.tif"))
    assert contents(world.make_maps(out)) == contents(world.make_maps())


def test_strips_that_never_reached_the_disk_are_not_taken_for_zero(tmp_path):
    draft, final = tmp_path / "draft.tif", tmp_path / "map.tif"
    place = {"width": 64, "height": 64, "count": 1, "dtype": "float32", "SPARSE_OK": True}
    rasterio.open(draft, "w", driver="GTiff", transform=rasterio.Affine(1, 0, 0, 0, -1, 64), **place).close()
    with pytest.raises(OSError, match="of 16384 bytes arrived"):
        publish(draft, final, overviews=True, resampling="AVERAGE")
    assert not final.exists()
