"""How much of the ground with totals each layer covers; gaps are refused or told, never filled."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ground.errors import Fault, InputFault
from model.ground.grid import Grid
from stages.contract.progress import tell
from stages.ingest.layer_plan import LayerPlan
from stages.report.pictures import average, value_picture

SHOWN = 4  # layers named of several that have the same fault
THUMB = 120  # pixels along the longer side of a thumbnail, about


def tally(
    values: NDArray[np.float64],
    wanted: NDArray[np.bool_],
    there: NDArray[np.bool_],
    filled: NDArray[np.bool_],
    row: int,
    col: int,
    step: int,
) -> dict[str, Any]:
    """Counts one region of a layer.

    Args:
      values: (years, rows, cols).
      wanted, there, filled: (rows, cols) lies under a known total, has a value in all years, was given it.
      row, col: of the region, in fine cells.
      step: fine cells along a pixel of the layer's thumbnail.
    """
    lacking = wanted & ~there
    gap = np.argwhere(lacking) if lacking.any() else None
    corner = np.array([row, col])
    good = values.ravel() if there.all() else values[~np.isnan(values)]
    return {
        "wanted": int(np.count_nonzero(wanted)),
        "gap": 0 if gap is None else len(gap),
        "filled": int(np.count_nonzero(wanted & filled)),
        "box": None if gap is None else [*(gap.min(0) + corner).tolist(), *(gap.max(0) + corner).tolist()],
        "count": good.size,
        "sum": float(good.sum()),
        "low": float(good.min()) if good.size else None,
        "high": float(good.max()) if good.size else None,
        "thumb": [
            [None if np.isnan(mean) else float(f"{mean:.3g}") for mean in line]
            for line in average(values[-1], step).tolist()
        ],
    }


def sum_up(regions: list[dict[str, Any]]) -> dict[str, Any]:
    """The counts of all regions of a layer; box is (top, left, bottom, right) of its gaps, in fine cells."""
    boxes = [region["box"] for region in regions if region["box"]]
    lows = [region["low"] for region in regions if region["low"] is not None]
    highs = [region["high"] for region in regions if region["high"] is not None]
    sides = list(zip(*boxes, strict=True))
    return {
        **{
            key: sum(region[key] for region in regions) for key in ("wanted", "gap", "filled", "count", "sum")
        },
        "box": [min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])] if boxes else None,
        "low": min(lows, default=None),
        "high": max(highs, default=None),
    }


def thumb_step(fine: Grid, chunk: int) -> int:
    """Fine cells along a pixel of a thumbnail: a divisor of the chunk, so that regions meet at whole pixels."""
    needed = -(-max(fine.shape) // THUMB)
    return next((step for step in range(needed, chunk) if chunk % step == 0), chunk)


def thumbnail(regions: dict[tuple[int, int], dict[str, Any]]) -> str:
    """The picture of a layer from the means that its regions kept, by (row, col) of the region."""
    rows = sorted({row for row, _ in regions})
    lines = [[regions[place]["thumb"] for place in sorted(regions) if place[0] == row] for row in rows]
    return value_picture(np.block([[np.array(part, dtype=np.float64) for part in line] for line in lines]))


def describe(counted: dict[str, Any]) -> dict[str, Any]:
    """The counts of a layer as facts of the cube."""
    count = counted["count"]
    return {
        "coverage": 1.0 - counted["gap"] / counted["wanted"] if counted["wanted"] else 1.0,
        "masked_cells": counted["gap"],
        "filled_cells": counted["filled"],
        "low": counted["low"],
        "high": counted["high"],
        "sum": counted["sum"],
        "mean": counted["sum"] / count if count else None,
    }


def gaps(plan: list[LayerPlan], counted: list[dict[str, Any]], fine: Grid) -> list[Fault]:
    """A fault for every gap that nobody allowed, with its share and its box; bands with one gap share the fault."""
    alike: dict[tuple[str, int, tuple[int, ...]], list[str]] = {}
    wanted = 0
    for layer, found in zip(plan, counted, strict=True):
        if not found["gap"] or layer.facts["allow_partial"] or layer.derived is not None:
            continue
        names, wanted = ", ".join(file["source"] for file in layer.facts["files"]), found["wanted"]
        alike.setdefault((names, found["gap"], tuple(found["box"])), []).append(layer.name)
    return [_gap(names, layers, gap / wanted, box, fine) for (names, gap, box), layers in alike.items()]


def _gap(names: str, layers: list[str], share: float, box: tuple[int, ...], fine: Grid) -> Fault:
    top, left, bottom, right = box
    bounds = fine.window(top, left, bottom - top + 1, right - left + 1).bounds
    return InputFault(
        f"{names} (layer{'s' if len(layers) > 1 else ''} {_listed(layers)})",
        f"{share:.1%} of the area with totals has no value, "
        f"within x {bounds[0]:.10g} to {bounds[2]:.10g}, y {bounds[1]:.10g} to {bounds[3]:.10g}",
        "a value in every fine cell",
        "give a layer that covers the totals, `nodata: none` if the nodata value is a true number, "
        "`fill:` with what such cells are, "
        "or `allow_partial: true`: cells in the gap then receive no mass, "
        "their block's total goes to its other cells",
    )


def _listed(layers: list[str]) -> str:
    shown = ", ".join(layers[:SHOWN])
    return shown if len(layers) <= SHOWN else f"{shown} and {len(layers) - SHOWN} more"


def say(plan: list[LayerPlan], counted: list[dict[str, Any]]) -> None:
    """Tells what was masked and which layer is constant, in one line where it is the same of several."""
    alike: dict[str, list[str]] = {}
    for layer, found in zip(plan, counted, strict=True):
        if found["gap"]:
            alike.setdefault(f": {found['gap']} cells without a value are masked", []).append(layer.name)
        if found["filled"]:
            told = f": {found['filled']} cells without a value were given {layer.facts['fill']:g}"
            alike.setdefault(told, []).append(layer.name)
        if found["low"] is not None and found["low"] == found["high"]:
            told = f" is {found['low']:g} everywhere; it tells nothing"
            alike.setdefault(told, []).append(layer.name)
    for text, layers in alike.items():
        each = text if len(layers) == 1 else text.replace(" is ", " are ").replace("it tells", "they tell")
        tell(f"layer{'s' if len(layers) > 1 else ''} {_listed(layers)}{each}", warning=True)
