"""How much of the ground with totals each layer covers; gaps are refused or told, never filled."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ground.errors import Fault, InputFault
from model.ground.grid import Grid
from stages.artifacts.records import LayerRecord
from stages.contract.progress import tell
from stages.ingest.layer_plan import LayerPlan
from stages.report.pictures import average, value_picture

Box = tuple[int, int, int, int]  # top, left, bottom, right, in fine cells

SHOWN = 4  # layers named of several that have the same fault
THUMB = 120  # pixels along the longer side of a thumbnail, about


@dataclass(frozen=True)
class Tally:
    """What was counted of one layer, on a region or on the map.

    Attributes:
      wanted: fine cells under a known total; gap: those of them without a value; filled: those given one.
      box: top, left, bottom, right of the gap, in fine cells; None without one.
      count, sum, low, high: of the values there are.
      thumb: means of the last year over squares, None where none has a value; only of a region.
    """

    wanted: int = 0
    gap: int = 0
    filled: int = 0
    box: tuple[int, int, int, int] | None = None
    count: int = 0
    sum: float = 0.0
    low: float | None = None
    high: float | None = None
    thumb: tuple[tuple[float | None, ...], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON values, for the log of what is done."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Tally":
        """The inverse of to_json."""
        box, thumb = plain["box"], tuple(tuple(line) for line in plain["thumb"])
        return cls(**{**plain, "box": None if box is None else tuple(box), "thumb": thumb})

    def __add__(self, other: "Tally") -> "Tally":
        """The counts of both together; pictures are laid together by thumbnail()."""
        return Tally(
            self.wanted + other.wanted,
            self.gap + other.gap,
            self.filled + other.filled,
            _both(self.box, other.box),
            self.count + other.count,
            self.sum + other.sum,
            _extreme(min, self.low, other.low),
            _extreme(max, self.high, other.high),
        )

    def described(self, record: LayerRecord) -> LayerRecord:
        """The record of the layer with what was counted."""
        return record.with_(
            coverage=1.0 - self.gap / self.wanted if self.wanted else 1.0,
            masked_cells=self.gap,
            filled_cells=self.filled,
            low=self.low,
            high=self.high,
            sum=self.sum,
            mean=self.sum / self.count if self.count else None,
        )


def _both(one: Box | None, other: Box | None) -> Box | None:
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _extreme(choose: Callable[[float, float], float], one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return choose(one, other)


def tally(
    values: NDArray[np.float64],
    wanted: NDArray[np.bool_],
    there: NDArray[np.bool_],
    filled: NDArray[np.bool_],
    row: int,
    col: int,
    step: int,
) -> Tally:
    """Counts one region of a layer.

    Args:
      values: (years, rows, cols).
      wanted, there, filled: (rows, cols) lies under a known total, has a value in all years, was given it.
      row, col: of the region, in fine cells.
      step: fine cells along a pixel of the layer's thumbnail.
    """
    lacking = wanted & ~there
    good = values.ravel() if there.all() else values[~np.isnan(values)]
    return Tally(
        wanted=int(np.count_nonzero(wanted)),
        gap=int(np.count_nonzero(lacking)),
        filled=int(np.count_nonzero(wanted & filled)),
        box=_box_of(lacking, row, col),
        count=good.size,
        sum=float(good.sum()),
        low=float(good.min()) if good.size else None,
        high=float(good.max()) if good.size else None,
        thumb=_thumb(average(values[-1], step)),
    )


def _box_of(lacking: NDArray[np.bool_], row: int, col: int) -> Box | None:
    """Top, left, bottom, right of the cells, from the map's corner."""
    places = np.argwhere(lacking)
    if not len(places):
        return None
    top, left = (int(index) for index in places.min(0))
    bottom, right = (int(index) for index in places.max(0))
    return top + row, left + col, bottom + row, right + col


def _thumb(means: NDArray[np.float64]) -> tuple[tuple[float | None, ...], ...]:
    """To three digits; None where nothing has a value, as JSON has no NaN."""
    return tuple(
        tuple(None if np.isnan(mean) else float(f"{mean:.3g}") for mean in line) for line in means.tolist()
    )


def sum_up(regions: Iterable[Tally]) -> Tally:
    """The counts of all regions of a layer, in their order: sums of floats depend on it."""
    return sum(regions, Tally())


def thumb_step(fine: Grid, chunk: int) -> int:
    """Fine cells along a pixel of a thumbnail: a divisor of the chunk, so that regions meet at whole pixels."""
    needed = -(-max(fine.shape) // THUMB)
    return next((step for step in range(needed, chunk) if chunk % step == 0), chunk)


def thumbnail(regions: Mapping[tuple[int, int], Tally]) -> str:
    """The picture of a layer from the means that its regions kept, by (row, col) of the region."""
    rows = sorted({row for row, _ in regions})
    lines = [[regions[place].thumb for place in sorted(regions) if place[0] == row] for row in rows]
    return value_picture(np.block([[np.array(part, dtype=np.float64) for part in line] for line in lines]))


def gaps(plan: list[LayerPlan], counted: Sequence[Tally], fine: Grid) -> list[Fault]:
    """A fault for every gap that nobody allowed, with its share and its box; bands with one gap share the fault."""
    alike: dict[tuple[str, int, Box], list[str]] = {}
    wanted = 0
    for layer, found in zip(plan, counted, strict=True):
        if found.box is None or layer.record.allow_partial or layer.derived is not None:
            continue
        names, wanted = ", ".join(file.source for file in layer.record.files), found.wanted
        alike.setdefault((names, found.gap, found.box), []).append(layer.name)
    return [_gap(names, layers, gap / wanted, box, fine) for (names, gap, box), layers in alike.items()]


def _gap(names: str, layers: list[str], share: float, box: Box, fine: Grid) -> Fault:
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


def say(plan: list[LayerPlan], counted: Sequence[Tally]) -> None:
    """Tells what was masked and which layer is constant, in one line where it is the same of several."""
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
