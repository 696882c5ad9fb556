"""How much of the ground with totals each layer covers; gaps are refused or told, never filled."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import field_serializer, field_validator

from model.ground.errors import HectareError, InputError
from model.ground.grid import Grid, Region
from stages.artifacts.records import LayerRecord, Record
from stages.contract.progress import tell
from stages.ingest.layer_plan import LayerPlan
from stages.report.pictures import average, value_picture

SHOWN = 4  # layers named of several that have the same fault
THUMB = 120  # pixels along the longer side of a thumbnail, about


class Tally(Record):
    """What was counted of one layer, on a region or on the map; as JSON it stands in the log of what is done.

    Attributes:
      wanted: fine cells under a known total; gap: those of them without a value; filled: those given one.
      box: the smallest region of fine cells that holds the gap; None without one. The log holds its first row and
        column and its last ones.
      count, sum, low, high: of the values there are.
      thumb: means of the last year over squares, None where none has a value; only of a region.
    """

    wanted: int = 0
    gap: int = 0
    filled: int = 0
    box: Region | None = None
    count: int = 0
    sum: float = 0.0
    low: float | None = None
    high: float | None = None
    thumb: tuple[tuple[float | None, ...], ...] = ()

    @field_serializer("box")
    def _corners(self, box: Region | None) -> tuple[int, ...] | None:
        return None if box is None else (box.row, box.col, box.row + box.rows - 1, box.col + box.cols - 1)

    @field_validator("box", mode="before")
    @classmethod
    def _from_corners(cls, box: Region | list[int] | None) -> Region | None:
        """A region as it is; the numbers of the log as the region they stand for."""
        if box is None or isinstance(box, Region):
            return box
        top, left, bottom, right = box
        return Region(top, left, bottom - top + 1, right - left + 1)

    def __add__(self, other: "Tally") -> "Tally":
        """The counts of both together; pictures are laid together by thumbnail()."""
        return Tally(
            wanted=self.wanted + other.wanted,
            gap=self.gap + other.gap,
            filled=self.filled + other.filled,
            box=_both(self.box, other.box),
            count=self.count + other.count,
            sum=self.sum + other.sum,
            low=_extreme(min, self.low, other.low),
            high=_extreme(max, self.high, other.high),
        )

    def described(self, record: LayerRecord) -> LayerRecord:
        """The record of the layer with what was counted.

        Coverage is the share of the ground with totals that has a value; it is 1 where there is no such ground.
        """
        return record.with_(
            coverage=1.0 - self.gap / self.wanted if self.wanted else 1.0,
            masked_cells=self.gap,
            filled_cells=self.filled,
            low=self.low,
            high=self.high,
            sum=self.sum,
            mean=self.sum / self.count if self.count else None,
        )


def _both(one: Region | None, other: Region | None) -> Region | None:
    """The smallest region that holds both."""
    if one is None or other is None:
        return one or other
    row, col = min(one.row, other.row), min(one.col, other.col)
    bottom = max(one.row + one.rows, other.row + other.rows)
    right = max(one.col + one.cols, other.col + other.cols)
    return Region(row, col, bottom - row, right - col)


def _extreme(choose: Callable[[float, float], float], one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return choose(one, other)


def tally(
    values: NDArray[np.float64],
    wanted: NDArray[np.bool_],
    there: NDArray[np.bool_],
    filled: NDArray[np.bool_],
    region: Region,
    step: int,
) -> Tally:
    """Counts one region of a layer.

    Args:
      values: (years, rows, cols).
      wanted, there, filled: (rows, cols) lies under a known total, has a value in all years, was given it.
      region: in fine cells.
      step: fine cells along a pixel of the layer's thumbnail.
    """
    lacking = wanted & ~there
    good = values.ravel() if there.all() else values[~np.isnan(values)]
    return Tally(
        wanted=int(np.count_nonzero(wanted)),
        gap=int(np.count_nonzero(lacking)),
        filled=int(np.count_nonzero(wanted & filled)),
        box=_box_of(lacking, region),
        count=good.size,
        sum=float(good.sum()),
        low=float(good.min()) if good.size else None,
        high=float(good.max()) if good.size else None,
        thumb=_thumb(average(values[-1], step)),
    )


def _box_of(lacking: NDArray[np.bool_], region: Region) -> Region | None:
    """The smallest region of the map that holds the marked cells of a region; None without any."""
    places = np.argwhere(lacking)
    if not len(places):
        return None
    top, left = places.min(0).tolist()
    bottom, right = places.max(0).tolist()
    return Region(top + region.row, left + region.col, bottom - top + 1, right - left + 1)


def _thumb(means: NDArray[np.float64]) -> tuple[tuple[float | None, ...], ...]:
    """To three digits; None where nothing has a value, as JSON has no NaN."""
    lines: list[tuple[float | None, ...]] = []
    for line in means.tolist():
        lines.append(tuple(map(_short, line)))
    return tuple(lines)


def _short(mean: float) -> float | None:
    return None if np.isnan(mean) else float(f"{mean:.3g}")


def sum_up(regions: Iterable[Tally]) -> Tally:
    """The counts of all regions of a layer, in their order: sums of floats depend on it.

    Returns: a tally without a picture, which thumbnail() lays together.
    """
    return sum(regions, Tally())


def thumb_step(fine: Grid, chunk: int) -> int:
    """Fine cells along a pixel of a thumbnail: a divisor of the chunk, so that regions meet at whole pixels.

    Args: chunk: fine cells along a region.
    Returns: the least such number for which the longer side has about THUMB pixels.
    """
    needed = -(-max(fine.shape) // THUMB)
    return next((step for step in range(needed, chunk) if chunk % step == 0), chunk)


def thumbnail(regions: Mapping[tuple[int, int], Tally]) -> str:
    """The picture of a layer from the means that its regions kept, by (row, col) of the region.

    Returns: a PNG as a data address, as reports show it.
    """
    bands: dict[int, list[NDArray[np.float64]]] = {}
    for place in sorted(regions):
        bands.setdefault(place[0], []).append(np.array(regions[place].thumb, dtype=np.float64))
    return value_picture(np.block(list(bands.values())))


def gaps(plan: list[LayerPlan], counted: Sequence[Tally], fine: Grid) -> list[HectareError]:
    """A fault for every gap that nobody allowed, with its share and its box; bands with one gap share the fault.

    Args: counted: in the order of the plan; fine: the whole fine grid, for the box in CRS units.
    Returns: faults of exit code 3; derived layers have none, since the layers they are made of tell.
    """
    alike: dict[tuple[str, int, Region], list[str]] = {}
    wanted = 0
    for layer, found in zip(plan, counted, strict=True):
        if found.box is None or layer.record.allow_partial or layer.derived is not None:
            continue
        names, wanted = ", ".join(file.source for file in layer.record.files), found.wanted
        alike.setdefault((names, found.gap, found.box), []).append(layer.name)
    return [_gap(names, layers, gap / wanted, box, fine) for (names, gap, box), layers in alike.items()]


def _gap(names: str, layers: list[str], share: float, box: Region, fine: Grid) -> HectareError:
    bounds = fine.window(*box).bounds
    return InputError(
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


def say(plan: list[LayerPlan], counted: Sequence[Tally]) -> None:
    """Tells what was masked and which layer is constant, in one line where it is the same of several.

    Args: counted: what each layer of the plan covers, in its order.
    """
    alike: dict[str, list[str]] = {}
    for layer, found in zip(plan, counted, strict=True):
        if found.gap:
            alike.setdefault(f": {found.gap} cells without a value are masked", []).append(layer.name)
        if found.filled:
            told = f": {found.filled} cells without a value were given {layer.record.fill:g}"
            alike.setdefault(told, []).append(layer.name)
        if found.low is not None and found.low == found.high:
            told = f" is {found.low:g} everywhere; it tells nothing"
            alike.setdefault(told, []).append(layer.name)
    for text, layers in alike.items():
        each = text if len(layers) == 1 else text.replace(" is ", " are ").replace("it tells", "they tell")
        tell(f"layer{'s' if len(layers) > 1 else ''} {_listed(layers)}{each}", warning=True)
