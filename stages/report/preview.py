"""One picture per map for people in a hurry: what was given beside what was found."""

from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import spread
from model.ground.grid import Grid
from stages.artifacts import maps as store
from stages.artifacts.cube import Cube
from stages.artifacts.maps import MapSpec
from stages.report.qgis_style import RAMP, Legend, number

if TYPE_CHECKING:  # matplotlib loads only when something is drawn
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

PANEL = 5.6  # inches along a panel's width
DOTS = 150  # per inch
WIDEST = 1600  # cells of a panel; larger maps are read as averages


def write_preview(path: Path, title: str, cube: Cube, sheet: MapSpec, folder: Path, legend: Legend) -> None:
    """Draws the coarse totals, as the mean per fine cell, beside the finished map, in the same colours.

    Args:
      folder: of the finished maps.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shared = cube.quantity.fine_part(cube.factor)
    given = store.read_blocks(folder / sheet.blocks_file, cube.coarse)[0] / shared
    step = ceil(max(cube.fine.shape) / WIDEST)
    found = store.read_overview(folder / sheet.map_file, cube.fine, step)
    aspect = cube.fine.rows * cube.fine.dy / (cube.fine.cols * cube.fine.dx)
    figure = Figure(figsize=(2 * PANEL, PANEL * aspect + 1.1), dpi=DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    pixel, block = _size(cube.fine), _size(cube.coarse)
    what = cube.quantity.block_value
    for axis, values, words in (
        (axes[0], given, f"given: {what}s of {block} cells (mean per {pixel} cell)"),
        (axes[1], found, f"found: {pixel} cells; every {block} {what} is kept"),
    ):
        picture = _show(axis, values, legend, cube)
        axis.set_title(words, fontsize=9)
    bar = figure.colorbar(picture, ax=axes, orientation="horizontal", shrink=0.5, aspect=50, pad=0.02)
    bar.set_ticks(np.linspace(0, 1, len(legend.stops)).tolist() if len(legend.stops) > 1 else [1.0])
    bar.set_ticklabels([number(stop) for stop in legend.stops] or [""])
    unit = cube.quantity.fine_unit(sheet.unit, pixel)
    bar.set_label(f"{unit}; white is zero, grey has no value", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=11)
    # Why no metadata: the same map must give the same bytes, whichever release drew it.
    figure.savefig(path, metadata={"Software": None})


def _show(axis: "Axes", values: NDArray, legend: Legend, cube: Cube) -> "AxesImage":
    """One panel; zero and no value stay white, both told apart in the map itself."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list(
        "magma", [tuple(band / 255 for band in colour) for colour in RAMP]
    )
    axis.set_facecolor("#cdcbc6")  # no value
    axis.imshow(
        np.where(np.isnan(values), np.nan, 0.0),
        cmap=LinearSegmentedColormap.from_list("zero", ["white", "white"]),
        extent=_extent(cube),
        interpolation="nearest",
    )
    positive = np.isfinite(values) & (values > 0)
    place = np.full(values.shape, np.nan)
    place[positive] = legend.positions(values[positive].astype(np.float64))
    axis.set_xticks([]), axis.set_yticks([])
    return axis.imshow(place, cmap=colours, vmin=0, vmax=1, extent=_extent(cube), interpolation="nearest")


def _extent(cube: Cube) -> tuple[float, float, float, float]:
    left, bottom, right, top = cube.fine.bounds
    return left, right, bottom, top


def _size(grid: Grid) -> str:
    """The width of a cell in words."""
    if grid.ellipsoid is not None:
        return f"{grid.dx:.6g}°"
    metres = grid.dx * grid.metre
    return f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"


def write_comparison(path: Path, title: str, cube: Cube, given: NDArray, found: NDArray, unit: str) -> None:
    """Three panels: the truth of coarse cells, the estimate of fine ones, and by how much they differ.

    Args:
      given: (h, w) mass per coarse cell; found: (H, W) mass per fine cell.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    truth = spread(given / cube.factor**2, cube.factor)
    error, top = found - truth, float(np.nanquantile(np.where(found > 0, found, np.nan), 0.99))
    figure = Figure(figsize=(3 * PANEL, PANEL + 1.1), dpi=DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    for axis, values, words, (low, high, colours) in zip(
        figure.subplots(1, 3), (truth, found, error),
        (f"truth, {_size(cube.coarse)}", f"estimate, {_size(cube.fine)}", "estimate - truth"),
        ((0.0, top, "magma"), (0.0, top, "magma"), (-top, top, "RdBu_r")), strict=True,
    ):  # fmt: skip
        picture = axis.imshow(
            values, cmap=colours, vmin=low, vmax=high, extent=_extent(cube), interpolation="nearest"
        )
        axis.set_title(words, fontsize=9)
        axis.set_xticks([]), axis.set_yticks([])
        figure.colorbar(picture, ax=axis, orientation="horizontal", shrink=0.8).set_label(
            f"{unit} per fine cell"
        )
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, metadata={"Software": None})
