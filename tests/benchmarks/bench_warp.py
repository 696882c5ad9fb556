"""How fast layers come onto the grid, as ratios measured side by side with GDAL's own program; run it by hand.

    python tests/benchmarks/bench_warp.py [--size 10000] [--rounds 3] [--threads 2]

A lat/lon float32 layer of size x size cells goes to a 100 m grid in UTM: by `gdalwarp -multi`, and by ingest, which
also scans the source for faults, keeps account of coverage and writes a compressed cube. Each is a process of its
own; wall time, CPU time and peak memory come from the system. The second table is of conserved layers: ingest's
way against exactextract on the corners of every cell, and what GDAL's `sum` loses.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path

import numpy as np
import rasterio
import yaml
from affine import Affine
from rasterio.warp import reproject, transform_bounds

ROOT = Path(__file__).resolve().parents[2]
CRS, FINE, BLOCK = "EPSG:32633", 100, 1000
STEP = 0.001  # degrees
EXACT = 0.005  # source cells, as in stages/regrid/transform_mesh.py


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds, seconds of CPU, MiB."""

    wall: float
    cpu: float
    peak: float


def measure(command: list[str], **environment: str) -> Cost:
    begun = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **environment}
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(said.decode())
    scale = 1 if sys.platform == "darwin" else 1024
    return Cost(time.monotonic() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss * scale / 2**20)


def make_source(path: Path, size: int) -> None:
    """Smooth hills with noise, in strips, so that a large one needs little memory."""
    chance = np.random.default_rng(0)
    place = Affine(STEP, 0, 13.0, 0, -STEP, 52.0)
    profile = {
        "driver": "GTiff",
        "width": size,
        "height": size,
        "count": 1,
        "dtype": "float32",
        "crs": "EPSG:4326",
    }
    with rasterio.open(path, "w", transform=place, tiled=True, compress="deflate", **profile) as data:
        x = np.sin(np.arange(size) / 97.0)
        for row in range(0, size, 512):
            rows = min(512, size - row)
            y = np.cos(np.arange(row, row + rows) / 131.0)[:, None]
            hills = 100 + 50 * x * y + chance.random((rows, size), np.float32)
            data.write(hills.astype(np.float32), 1, window=((row, row + rows), (0, size)))


def target_of(path: Path) -> tuple[float, float, int, int]:
    """(left, top, rows, cols) of whole 1 km cells well inside the source."""
    with rasterio.open(path) as data:
        west, south, east, north = data.bounds
    inset = 0.03 * (east - west)
    box = transform_bounds(
        "EPSG:4326", CRS, west + inset, south + inset, east - inset, north - inset, densify_pts=101
    )
    left, bottom, right, top = (
        ceil(box[0] / BLOCK),
        ceil(box[1] / BLOCK),
        floor(box[2] / BLOCK),
        floor(box[3] / BLOCK),
    )
    return left * BLOCK, top * BLOCK, top - bottom, right - left


def compare(folder: Path, size: int, rounds: int, threads: int) -> None:
    source = folder / "source.tif"
    make_source(source, size)
    left, top, rows, cols = target_of(source)
    totals = folder / "totals.tif"
    profile = {"driver": "GTiff", "width": cols, "height": rows, "count": 1, "dtype": "float64", "crs": CRS}
    with rasterio.open(totals, "w", transform=Affine(BLOCK, 0, left, 0, -BLOCK, top), **profile) as data:
        data.write(np.ones((rows, cols)), 1)
    config = {
        "name": "bench",
        "ingest": {
            "variable": "mass",
            "totals": [{"path": "totals.tif", "year": 2020, "unit": "t"}],
            "covariates": [
                {
                    "name": "hills",
                    "path": "source.tif",
                    "kind": "continuous",
                    "unit": "1",
                    "allow_partial": True,
                }
            ],
        },
    }
    (folder / "bench.yaml").write_text(yaml.safe_dump(config))
    bounds = [left, top - rows * BLOCK, left + cols * BLOCK, top]
    warp = [
        "gdalwarp", "-q", "-overwrite", "-multi", "-wo", f"NUM_THREADS={threads}", "-wm", "500", "-r", "bilinear",
        "-t_srs", CRS, "-te", *map(str, bounds), "-tr", str(FINE), str(FINE), "-co", "TILED=YES",
        str(source), str(folder / "warped.tif"),
    ]  # fmt: skip
    ingest = [
        sys.executable, "-c", "from pipeline.cli.commands import main; main()", "run", "ingest",
        "-c", str(folder / "bench.yaml"), "--workspace", str(folder / "workspace"), "--force", "ingest",
    ]  # fmt: skip
    places = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""}
    if hasattr(os, "sched_setaffinity"):  # ingest takes as many threads as it has processors
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    alike = [
        "-co",
        "COMPRESS=ZSTD",
        "-co",
        "ZSTD_LEVEL=1",
        "-et",
        str(EXACT),
    ]  # as packed and as exact as ours
    commands = {"gdalwarp -multi": warp, "gdalwarp -multi, ZSTD 1, as exact": warp[:-2] + alike + warp[-2:]}
    costs: dict[str, list[Cost]] = {name: [] for name in (*commands, "ingest")}
    for turn in range(rounds):
        for name, command in commands.items():
            costs[name].append(measure(command))
            (folder / "warped.tif").rename(folder / f"{turn} {name[9:]}.tif")
        costs["ingest"].append(measure(ingest, **places))
        # Why nothing is deleted: for seconds after, this file system searches long for the place of a new file.
        (folder / "workspace").rename(folder / f"workspace {turn}")
    best = {name: min(found, key=lambda cost: cost.wall) for name, found in costs.items()}
    yardstick = best["gdalwarp -multi"]
    print(
        f"{size} x {size} degrees cells to {rows * 10} x {cols * 10} cells of 100 m, best of {rounds} rounds"
    )
    print(
        "| | seconds | throughput / gdalwarp | by CPU | peak MiB | peak / gdalwarp |\n|---|---|---|---|---|---|"
    )
    for name, cost in best.items():
        shares = (yardstick.wall / cost.wall, yardstick.cpu / cost.cpu, cost.peak / yardstick.peak)
        print(
            f"| {name} | {cost.wall:.2f} | {shares[0]:.2f} | {shares[1]:.2f} | {cost.peak:.0f} | {shares[2]:.2f} |"
        )


def conserve(size: int, rounds: int) -> None:
    """A layer of counts, by ingest's way and by GDAL's sum in chunks: seconds and what is lost."""
    from model.ground.grid import Region
    from stages.formats.raster.geotiff import Raster
    from stages.formats.zarr_groups import make_grid
    from stages.regrid.dispatch import bring

    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "counts.tif"
        make_source(source, size)
        with Raster(str(source)) as raster:
            west, south, east, north = 13.0, 52.0 - size * STEP, 13.0 + size * STEP, 52.0
            box = transform_bounds("EPSG:4326", CRS, west, south, east, north, densify_pts=101)
            left, top = floor(box[0] / 1000) * 1000, ceil(box[3] / 1000) * 1000
            rows, cols = ceil((top - box[1]) / 1000), ceil((box[2] - left) / 1000)
            from pyproj import CRS as System

            grid = make_grid(rows, cols, left, top, 1000, 1000, System.from_user_input(CRS))
            whole = raster.read(0, 0, size, size)
            seconds = []
            for _ in range(rounds):
                begun = time.monotonic()
                ours = bring(raster, grid, Region(0, 0, rows, cols), "total")
                seconds.append(time.monotonic() - begun)
            begun = time.monotonic()
            theirs = np.zeros((rows, cols))
            half = rows // 2
            for start, end in ((0, half), (half, rows)):  # in two chunks, as a large warp is
                part = grid.window(start, 0, end - start, cols)
                reproject(
                    whole, theirs[start:end], src_transform=raster.transform, src_crs="EPSG:4326",
                    dst_transform=Affine(*part.transform), dst_crs=CRS, resampling=rasterio.enums.Resampling.sum,
                )  # fmt: skip
            gdal = time.monotonic() - begun
    mass = whole.sum()
    ours_lost, gdal_lost = (abs(np.nansum(values) / mass - 1) for values in (ours, theirs))
    print(f"\n{size} x {size} counts to {rows} x {cols} cells of 1 km")
    print("| | source Mpixel/s | mass error |\n|---|---|---|")
    print(f"| ingest | {size**2 / statistics.median(seconds) / 1e6:.1f} | {ours_lost:.1e} |")
    print(f"| GDAL sum, two chunks | {size**2 / gdal / 1e6:.1f} | {gdal_lost:.1e} |")


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--size", type=int, default=10_000)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--threads", type=int, default=2)
    words.add_argument(
        "--conserve", type=int, default=1500, help="size of the layer of counts; 0 leaves it out"
    )
    chosen = words.parse_args()
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as scratch:
        compare(Path(scratch), chosen.size, chosen.rounds, chosen.threads)
    if chosen.conserve:
        conserve(chosen.conserve, chosen.rounds)
