"""How much of the ground with totals each layer covers; gaps are refused or told, never filled."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.fault import Fault, InputFault
from model.grid import Grid
from stages.progress import tell
from stages.sources.layers import LayerPlan
from stages.store.pictures import average, value_picture

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
    gap = np.argwhere(wanted & ~there)
    corner = np.array([row, col])
    good = values.ravel() if there.all() else values[~np.isnan(values)]
    return {
        "wanted": int(wanted.sum()),
        "gap": len(gap),
        "filled": int((wanted & filled).sum()),
        "box": [*(gap.min(0) + corner).tolist(), *(gap.max(0) + corner).tolist()] if len(gap) else None,
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
    """A fault for every layer with a gap that nobody allowed, with its share and its box."""
    faults: list[Fault] = []
    for layer, found in zip(plan, counted, strict=True):
        if not found["gap"] or layer.facts["allow_partial"] or layer.derived is not None:
            continue
        top, left, bottom, right = found["box"]
        box = fine.window(top, left, bottom - top + 1, right - left + 1).bounds
        names = ", ".join(file["source"] for file in layer.facts["files"])
        faults.append(
            InputFault(
                f"{names} (layer {layer.name})",
                f"{found['gap'] / found['wanted']:.1%} of the area with totals has no value, "
                f"within x {box[0]:.10g} to {box[2]:.10g}, y {box[1]:.10g} to {box[3]:.10g}",
                "a value in every fine cell",
                "give a layer that covers the totals, `nodata: none` if the nodata value is a true number, "
                "`fill:` with what such cells are, "
                "or `allow_partial: true`: cells in the gap then receive no mass, "
                "their block's total goes to its other cells",
            )
        )
    return faults


def say(plan: list[LayerPlan], counted: list[dict[str, Any]]) -> None:
    """Tells what was masked and which layer is constant."""
    for layer, found in zip(plan, counted, strict=True):
        if found["gap"]:
            tell(f"layer {layer.name}: {found['gap']} cells without a value are masked", warning=True)
        if found["filled"]:
            fill = layer.facts["fill"]
            tell(
                f"layer {layer.name}: {found['filled']} cells without a value were given {fill:g}",
                warning=True,
            )
        if found["low"] is not None and found["low"] == found["high"]:
            tell(f"layer {layer.name} is {found['low']:g} everywhere; it tells nothing", warning=True)
