"""Published stacks to GeoTIFFs that ingest reads, with the configuration for them, and finished maps to stacks."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import merge, nested
from model.ground.errors import ArtifactError, InputError
from model.ground.grid import Grid
from stages.artifacts import maps as store
from stages.artifacts.cube import Cube
from stages.formats.npy_stacks import Arrangement, cut, laid_out, read_stack, split_of, years_of
from stages.report.preview import write_comparison

CONFIG = "stacks.yaml"
PREVIEW = "result_preview.png"


def import_stacks(folder: Path, arrangement: Arrangement, out: Path) -> list[str]:
    """Writes a GeoTIFF for each layer, total and year, and a configuration that names them.

    Why totals: Y repeats a 1 km total over its cells, as a mean, so what it knows is the sum of a coarse cell.

    Returns: facts for the user.
    Raises: InputError (exit 3).
    """
    years, totals, layers, facts = years_of(folder), [], [], []
    out.mkdir(parents=True, exist_ok=True)
    for year in years:
        stack = read_stack(folder / f"X_{year}.npy", len(arrangement.layers))
        target = read_stack(folder / f"Y_{year}.npy", 1)
        if target.shape[::2] != stack.shape[::2]:
            found = f"{target.shape[0]} windows of {target.shape[2]} cells"
            wanted = f"{stack.shape[0]} of {stack.shape[2]}, as in X_{year}.npy"
            raise InputError(f"Y_{year}.npy", found, wanted, "export both again")
        grid = arrangement.grid(len(stack), stack.shape[2])
        channels = laid_out(stack, arrangement, f"X_{year}.npy")
        for name, values in zip(arrangement.layers, channels, strict=True):
            layers.append((name, year, _write(out / f"{name}_{year}.tif", grid, values, name, "1")))
        mosaic = laid_out(target, arrangement, f"Y_{year}.npy")[0]
        sums, spoilt = _block_sums(mosaic, arrangement.factor)
        file = out / f"{arrangement.variable}_{year}.tif"
        coarse, unit = _coarsened(grid, arrangement.factor), arrangement.unit
        totals.append((year, _write(file, coarse, sums, arrangement.variable, unit)))
        if spoilt:
            facts.append(f"{year}: in {spoilt} coarse cells Y is not one value: its finer detail is left out")
    (out / CONFIG).write_text("\n".join(_configuration(arrangement, totals, layers)) + "\n", "utf-8")
    if (split := split_of(folder, len(stack))) is not None:
        shares = ", ".join(f"{len(numbers)} {name}" for name, numbers in split.items())
        facts.append(
            f"the published split ({shares}) is not used: its windows share ground; tiles are dealt by blocks"
        )
    return [f"{len(years)} years, {len(stack)} windows each, {grid.rows} x {grid.cols} fine cells", *facts]


def export_stacks(arrangement: Arrangement, folder: Path, cube: Cube, maps: Path, out: Path) -> list[Path]:
    """Writes Pred_{year}.npy as the windows lay in X, from finished maps, and result_preview.png of the last year.

    Raises: ArtifactError (exit 4) when the maps lie on another grid.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = []
    chosen = {
        sheet.year: sheet for sheet in store.sheets(cube) if not sheet.factors
    }  # the last is of all sectors
    for year, sheet in sorted(chosen.items()):
        stack = read_stack(folder / f"X_{year}.npy", len(arrangement.layers))
        grid = arrangement.grid(len(stack), stack.shape[2])
        if grid.shape != cube.fine.shape or not np.allclose(grid.bounds, cube.fine.bounds):
            raise ArtifactError(
                "maps", f"{cube.fine.shape} cells within {cube.fine.bounds}",
                f"{grid.shape} within {grid.bounds}, as declared",
                "run the configuration made by `pipeline import-stacks`",
            )  # fmt: skip
        field = store.read_part(maps / sheet.map_file, grid, 0, 0, *grid.shape).astype(np.float64)
        path = out / f"Pred_{year}.npy"
        np.save(path, cut(field, arrangement, len(stack), stack.shape[2]), allow_pickle=False)
        written.append(path)
        given = store.read_blocks(maps / sheet.blocks_file, cube.coarse)[0]
    write_comparison(out / PREVIEW, f"{sheet.long_name}, {year}", cube, given, field, sheet.unit)
    return [*written, out / PREVIEW]


def _block_sums(mosaic: NDArray[np.float64], factor: int) -> tuple[NDArray[np.float64], int]:
    """Sums of factor x factor cells, NaN where a cell has no value; and in how many blocks they differ."""
    blocks = nested(mosaic, factor)
    first = blocks[:, :1, :, :1]
    same = np.isclose(blocks, first, rtol=1e-4, atol=1e-9) | np.isnan(blocks)
    return merge(mosaic, factor), int((~same.all(axis=(1, 3))).sum())


def _coarsened(grid: Grid, factor: int) -> Grid:
    return Grid(
        grid.rows // factor, grid.cols // factor, grid.left, grid.top, grid.dx * factor, grid.dy * factor,
        grid.crs, grid.ellipsoid, grid.metre,
    )  # fmt: skip


def _write(path: Path, grid: Grid, values: NDArray[np.float64], name: str, unit: str) -> str:
    draft = path.with_suffix(".draft.tif")
    store.write_blocks(draft, grid, {}, [(name, unit, values)])
    store.publish(draft, path, overviews=False, resampling="NEAREST")
    return path.name


def _configuration(
    arrangement: Arrangement, totals: list[tuple[int, str]], layers: list[tuple[str, int, str]]
) -> Iterator[str]:
    yield "# Made by `pipeline import-stacks` from published stacks; every option is explained in configs/default.yaml."
    yield from (
        "",
        "ingest:",
        f"  variable: {arrangement.variable}",
        f"  factor: {arrangement.factor}",
        "  totals:",
    )
    for year, file in totals:
        yield f"    - {{path: {file}, sector: all_sources, year: {year}, unit: {arrangement.unit!r}, missing: unknown}}"
    yield "  covariates:"
    for name, year, file in layers:
        yield f"    - {{name: {name}, path: {file}, kind: continuous, year: {year}, unit: '1', allow_partial: true}}"
    yield from ("", "train:", "  method: dst_carbon_former_v1_7")
