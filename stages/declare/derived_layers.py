"""Layers made of other layers: sums cell by cell, and what lies around a cell, with ranges in metres."""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, model_validator

from model.ground.errors import InputError
from model.ground.focal import CUT, density, distance, focal_mean, margin_of
from model.ground.grid import Grid, Region
from stages.artifacts.records import LayerRecord
from stages.contract.section import SafeName, Section
from stages.declare.types import Pair

Floats = NDArray[np.float64]
FARTHEST = 1000  # fine cells a layer may look around itself
RANGES = {"distance_to": "reach", "focal_mean": "radius", "density": "sigma"}


class Derived(Section):
    """One layer made of others, by just one of `sum`, `distance_to`, `focal_mean` and `density`."""

    name: SafeName
    sum: Annotated[tuple[SafeName, ...], Field(strict=False, min_length=1)] | None = None
    distance_to: SafeName | None = None  # metres to the nearest cell where that layer is above `above`
    above: float = 0.0
    reach: PositiveFloat | None = None  # metres; what is farther counts as this far
    focal_mean: SafeName | None = None  # mean of the cells whose middle lies within `radius`
    radius: PositiveFloat | None = None  # metres
    density: SafeName | None = None  # of a length or a count, per km2, smoothed by a Gaussian of `sigma`
    sigma: PositiveFloat | None = None  # metres; cut at three times this
    clip: Pair | None = None
    unit: str | None = None  # of a sum 1, otherwise what follows from its layer
    long_name: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Derived":
        ways = [way for way, layers in self._by_way.items() if layers is not None]
        if len(ways) != 1:
            raise ValueError(f"give one of sum, {', '.join(RANGES)}; there is {' and '.join(ways) or 'none'}")
        ranges = {"distance_to": self.reach, "focal_mean": self.radius, "density": self.sigma}
        for way, name in RANGES.items():
            if (way in ways) != (ranges[way] is not None):
                raise ValueError(f"`{way}` goes with `{name}`, in metres")
        return self

    @property
    def _by_way(self) -> dict[str, tuple[str, ...] | None]:
        """By each way to make it the layers it names; None where it is not made so."""
        single = {"distance_to": self.distance_to, "focal_mean": self.focal_mean, "density": self.density}
        named: dict[str, tuple[str, ...] | None] = {"sum": self.sum}
        for way, layer in single.items():
            named[way] = None if layer is None else (layer,)
        return named

    @property
    def way(self) -> str:
        """How it is made."""
        return next(way for way, layers in self._by_way.items() if layers is not None)

    @property
    def parts(self) -> tuple[str, ...]:
        """The layers it is made of."""
        return self._by_way[self.way] or ()

    @property
    def metres(self) -> float:
        """How far around itself a cell looks."""
        if self.density is not None:
            return CUT * (self.sigma or 0.0)
        return self.reach or self.radius or 0.0


def margins(items: Iterable[Derived], fine: Grid) -> int:
    """Fine cells around the map that layers are asked for, so that those made of them see as far at its edge.

    Raises: InputError (exit 3) when that is farther than memory should hold.
    """
    far: dict[str, int] = {}
    for item in items:
        own = margin_of(fine, item.metres) if item.metres else 0
        if own > FARTHEST:
            wanted = f"at most {FARTHEST:,} fine cells"
            found = f"{item.metres:g} m, which are {own:,} fine cells"
            raise InputError(f"derived layer {item.name}", found, wanted, f"lower `{RANGES[item.way]}:`")
        far[item.name] = own + max((far.get(part, 0) for part in item.parts), default=0)
    return max(far.values(), default=0)


def compute(item: Derived, fine: Grid, region: Region, read: Callable[[str, Region], Floats]) -> Floats:
    """(years or 1, rows, cols) of a derived layer on a region.

    Args: read: gives (years or 1, rows, cols) of a layer by name on a region, which may reach beyond the map.
    """
    if item.way == "sum":
        values = np.sum(np.broadcast_arrays(*(read(part, region) for part in item.parts)), axis=0)
    else:
        margin = margin_of(fine, item.metres)
        row, col, rows, cols = region
        wide = Region(row - margin, col - margin, rows + 2 * margin, cols + 2 * margin)
        part = read(item.parts[0], wide)
        values = np.stack([_around(item, year, fine, wide, margin) for year in part])
    return np.clip(values, *item.clip) if item.clip else values


def _around(item: Derived, values: Floats, fine: Grid, wide: Region, margin: int) -> Floats:
    """One year of it. Beyond the map nothing is known and nothing is missed; a gap within the map is a gap."""
    grid = fine.window(*wide)
    if item.distance_to is not None:
        with np.errstate(invalid="ignore"):
            near = values > item.above
        found = distance(near, np.isnan(values) & _on_map(fine, wide), grid, margin, item.reach or 0.0)
        core = values[margin : values.shape[0] - margin, margin : values.shape[1] - margin]
        return np.where(np.isnan(core), np.nan, found)
    if item.focal_mean is not None:
        return focal_mean(values, grid, margin, item.radius or 0.0)
    return density(values, grid, margin, item.sigma or 0.0)


def _on_map(fine: Grid, region: Region) -> NDArray[np.bool_]:
    row, col, rows, cols = region
    down, across = np.arange(row, row + rows), np.arange(col, col + cols)
    inside = ((down >= 0) & (down < fine.rows))[:, None] & ((across >= 0) & (across < fine.cols))[None, :]
    return np.asarray(inside)


def record_of(item: Derived, parts: Sequence[LayerRecord]) -> LayerRecord:
    """What the cube tells of it.

    Raises: InputError (exit 3) for the density of a layer that is no amount per cell.
    """
    kind, unit = _kind_and_unit(item, parts)
    clip = f", clipped to {item.clip[0]:g}..{item.clip[1]:g}" if item.clip else ""
    return LayerRecord(
        name=item.name,
        long_name=item.long_name or item.name,
        kind=kind,
        declared_kind="derived",
        unit=item.unit or unit,
        static=all(part.static for part in parts),
        blocky=all(part.blocky for part in parts),
        resampling=_made(item) + clip,
        allow_partial=all(part.allow_partial for part in parts),
    )


def _kind_and_unit(item: Derived, parts: Sequence[LayerRecord]) -> tuple[str, str]:
    first = parts[0]
    if item.way == "sum":
        return (first.kind if len({part.kind for part in parts}) == 1 else "continuous"), "1"
    if item.way == "distance_to":
        return "continuous", "m"
    if item.way == "focal_mean":
        return ("share" if first.kind == "share" else "continuous"), first.unit
    if first.kind != "total":
        raise InputError(
            f"derived layer {item.name}", f"the density of {first.name}, a {first.kind} layer",
            "a length or a count per cell (kind length or total)", "use `focal_mean` with `radius:` for a mean",
        )  # fmt: skip
    return "continuous", f"{first.unit} km-2"


def _made(item: Derived) -> str:
    part = item.parts[0]
    if item.way == "sum":
        return "sum of " + ", ".join(item.parts)
    if item.way == "distance_to":
        return f"distance to cells where {part} is above {item.above:g}, at most {item.reach:g} m"
    if item.way == "focal_mean":
        return f"mean of {part} within {item.radius:g} m"
    return f"density of {part} per km2, Gaussian of {item.sigma:g} m"
