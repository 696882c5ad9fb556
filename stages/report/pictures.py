"""Pictures of maps for the page: arrays to indexed PNG inside the text, one array element a pixel."""

import base64
import io
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import nested
from stages.report.qgis_style import RAMP, RESIDUAL, SIGNED, SINK, Colour, Legend, colour_at

_STEPS = 240  # colours of the ramp; the rest of a palette of 256 is for zero, nodata and sinks
_ZERO, _NODATA, _SINK = 253, 254, 255
ZERO_COLOUR: Colour = (250, 249, 246)
NODATA_COLOUR: Colour = (205, 203, 198)
FLOOR = 1e-9  # relative residuals below this share a colour


def mass_picture(cells: NDArray, legend: Legend) -> str:
    """Mass per cell in the colours of the legend; zero pale, sinks blue, cells without a value grey.

    Args:
      cells: (rows, cols) in the unit of the legend, NaN where there is no value.
    Returns: an indexed PNG, one pixel a cell, as a data address.
    """
    values = cells.astype(np.float64)
    index = np.full(values.shape, _ZERO, np.uint8)
    positive = values > 0
    index[positive] = np.round(legend.positions(values[positive]) * (_STEPS - 1))
    index[values < 0] = _SINK
    index[np.isnan(values)] = _NODATA
    return _address(_png(index, RAMP))


def value_picture(values: NDArray[np.float64]) -> str:
    """Any layer between its 2nd and 98th percentile, or from end to end where those are one; grey without a value.

    Args:
      values: (rows, cols) in any unit, NaN where there is no value.
    Returns: an indexed PNG, one pixel a cell, as a data address.
    """
    good = values[np.isfinite(values)]
    low, high = np.percentile(good, (2, 98)) if good.size else (0.0, 0.0)
    if low == high and good.size:
        low, high = float(good.min()), float(good.max())
    position = (
        np.clip((np.nan_to_num(values) - low) / (high - low), 0.0, 1.0)
        if high > low
        else np.zeros(values.shape)
    )
    index = np.round(position * (_STEPS - 1)).astype(np.uint8)
    index[np.isnan(values)] = _NODATA
    return _address(_png(index, RAMP))


def signed_picture(values: NDArray[np.float64], largest: float) -> str:
    """Values from -largest (blue) over zero (pale) to +largest (red); grey where there is none.

    Args:
      values: (rows, cols), NaN where there is no value; what is beyond takes the colour of the end.
    Returns: an indexed PNG, one pixel a cell, as a data address.
    """
    position = np.clip(0.5 + 0.5 * np.nan_to_num(values) / max(largest, 1e-300), 0.0, 1.0)
    index = np.round(position * (_STEPS - 1)).astype(np.uint8)
    index[np.isnan(values)] = _NODATA
    return _address(_png(index, SIGNED))


def class_picture(classes: NDArray[np.int64], colours: Sequence[str]) -> str:
    """Which class each element is of, in the colours given; grey where it is of none.

    Args:
      classes: (rows, cols) from 0 up, below 0 for none.
      colours: of each class, as #rrggbb; at most 255.
    Returns: an indexed PNG as a data address.
    """
    from PIL import Image

    picture = Image.fromarray(np.where(classes < 0, len(colours), classes).astype(np.uint8))
    bands = [list(bytes.fromhex(colour[1:])) for colour in colours] + [list(NODATA_COLOUR)]
    picture.putpalette([band for colour in bands for band in colour])
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return _address(stream.getvalue())


def residual_picture(relative: NDArray, limit: float) -> str:
    """Size of the relative residual on a logarithmic scale from FLOOR to the limit; pale where it is 0.

    Args:
      relative: (h, w) of blocks, dimensionless; NaN, shown grey, where a block placed nothing.
      limit: the residual that a certificate does not let pass, the red end.
    Returns: an indexed PNG, one pixel a block, as a data address.
    """
    size = np.abs(relative.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        position = np.clip(np.log(size / FLOOR) / np.log(max(limit / FLOOR, 10.0)), 0.0, 1.0)
        index = np.where(np.isnan(size), _NODATA, np.round(position * (_STEPS - 1))).astype(np.uint8)
    index[size == 0] = _ZERO
    return _address(_png(index, RESIDUAL))


def average(cells: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Means over step x step cells with a value; edges hold fewer. Keeps a picture within bounds.

    Returns: (ceil(rows / step), ceil(cols / step)); NaN where no cell has a value.
    """
    if step == 1:
        return cells
    rows, cols = (-(-size // step) * step for size in cells.shape)
    with np.errstate(invalid="ignore"):
        is_plain = (rows, cols) == cells.shape and np.isfinite(cells.sum())
    if is_plain:
        return np.asarray(nested(cells, step).mean(axis=(1, 3)))
    padded = np.full((rows, cols), np.nan)
    padded[: cells.shape[0], : cells.shape[1]] = cells
    stacked = nested(padded, step)
    count = np.isfinite(stacked).sum(axis=(1, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, np.nansum(stacked, axis=(1, 3)) / count, np.nan)


def css_ramp(ramp: Iterable[Colour]) -> str:
    """The colours of a ramp as stops of a CSS gradient."""
    return ", ".join(css(colour) for colour in ramp)


def css(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _png(index: NDArray[np.uint8], ramp: tuple[Colour, ...]) -> bytes:
    """An indexed PNG: a byte a pixel, so that a large map stays a small page."""
    from PIL import Image

    palette = [colour_at(step / (_STEPS - 1), ramp) for step in range(_STEPS)]
    palette += [ZERO_COLOUR] * (_ZERO + 1 - _STEPS) + [NODATA_COLOUR, SINK]
    picture = Image.fromarray(index)
    picture.putpalette([band for colour in palette for band in colour])
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _address(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
