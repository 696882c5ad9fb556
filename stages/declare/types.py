"""Kinds of words several declarations share: names of coordinate systems, pairs of numbers, boxes."""

from typing import Annotated

from pydantic import AfterValidator, Field

Pair = Annotated[tuple[float, float], Field(strict=False)]
Box = Annotated[tuple[float, float, float, float], Field(strict=False)]


def _known_crs(text: str) -> str:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        CRS.from_user_input(text)
    except CRSError as error:
        raise ValueError(
            f"no coordinate reference system is called {text!r}; write e.g. EPSG:3035"
        ) from error
    return text


CrsText = Annotated[str, AfterValidator(_known_crs)]


def _has_ground(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, bottom, right, top = box
    if not (left < right and bottom < top):
        raise ValueError("a box is [left, bottom, right, top], with left < right and bottom < top")
    return box


Bounds = Annotated[Box, AfterValidator(_has_ground)]
"""(left, bottom, right, top) in the coordinates of some CRS."""
