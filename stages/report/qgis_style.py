"""Colours of a map: the class limits its legend needs, and the QGIS style file that carries them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor, log10
from xml.etree import ElementTree as Xml

import numpy as np
from numpy.typing import NDArray

from stages.report.certificate import Reading

Colour = tuple[int, int, int]

# matplotlib's magma (CC0, Smith and van der Walt 2015) from 0.97 down to 0.1 in ten steps: even in
# lightness, and so readable in grey and with colour-blind eyes.
RAMP: tuple[Colour, ...] = (
    (252, 240, 178), (254, 194, 135), (253, 148, 103), (244, 103, 92), (216, 69, 108),
    (176, 53, 123), (136, 39, 129), (98, 25, 128), (57, 15, 110), (20, 14, 54),
)  # fmt: skip
SINK: Colour = (33, 102, 172)
# Cynthia Brewer's RdBu (Apache-2.0), turned round: blue below zero, red above.
SIGNED: tuple[Colour, ...] = (
    (33, 102, 172),
    (146, 197, 222),
    (247, 247, 247),
    (244, 165, 130),
    (178, 24, 43),
)
RESIDUAL: tuple[Colour, ...] = ((247, 247, 243), (187, 215, 188), (240, 205, 120), (200, 60, 40))

# More classes at the heavy end: few cells hold most of the mass.
_SHARES = (0.02, 0.15, 0.30, 0.50, 0.70, 0.85, 0.95, 0.995)


@dataclass(frozen=True)
class Legend:
    """Class limits and their unit.

    Attributes:
      stops: increasing values > 0 where the ramp has its even steps; empty when no cell is above zero.
      lowest: the most negative cell of the map, 0 when none is negative.
    """

    stops: tuple[float, ...]
    lowest: float
    unit: str

    def positions(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where positive values fall on the ramp, 0 to 1; even in the logarithm between two stops."""
        if len(self.stops) < 2:
            return np.ones(values.shape)
        return np.interp(np.log(values), np.log(self.stops), np.linspace(0.0, 1.0, len(self.stops)))


def legend(reading: Reading, unit: str) -> Legend:
    """Limits at quantiles of the cells above zero, rounded so that they can be read.

    Args:
      reading: of the whole map; its histogram gives the quantiles to 1.2 %.
    """
    found = [reading.quantile(share) for share in _SHARES] if reading.histogram.any() else []
    lowest = float(np.nanmin(reading.lowest)) if reading.cells.any() else 0.0
    return Legend(_stops(found), min(lowest, 0.0), unit)


def legend_of(cells: NDArray, unit: str) -> Legend:
    """Limits as `legend` sets them, for cells at hand: a part of a map.

    Args:
      cells: (rows, cols); quantiles are exact, and sinks have no place in this legend.
    """
    positive = cells[cells > 0].astype(np.float64)
    return Legend(_stops(np.quantile(positive, _SHARES) if positive.size else []), 0.0, unit)


def colour_at(position: float, ramp: Sequence[Colour] = RAMP) -> Colour:
    """The colour at a place of the ramp, 0 to 1, linear between its steps."""
    steps = np.linspace(0.0, 1.0, len(ramp))
    red, green, blue = (round(float(np.interp(position, steps, band))) for band in zip(*ramp, strict=True))
    return red, green, blue


def number(value: float) -> str:
    """A value with at most three digits that count, without an exponent where a reader does not need one.

    Returns: plain digits from 0.001 up to 10 million, such as 1,230 or 0.0456; beyond, 1.23e9.
    """
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e7:
        digits = max(0, 2 - floor(log10(abs(value))))
        text = f"{value:,.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.2e}".replace("e-0", "e-").replace("e+0", "e")


def amount(value: float) -> str:
    """A total in full, with six digits that count at least.

    Returns: digits in groups of three, no zeros after the last decimal that counts, at most twelve decimals.
    """
    digits = max(0, 5 - floor(log10(abs(value)))) if value else 0
    text = f"{value:,.{min(digits, 12)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def map_style(legend: Legend) -> str:
    """QML of a map: zero is clear, colours run from the first to the last limit of the legend.

    Returns: the text of a style file of QGIS 3, which takes it up by itself beside a map of the same name.
    """
    items = [
        (stop, colour_at(share), 255, f"{number(stop)} {legend.unit}")
        for stop, share in _spread(legend.stops)
    ]
    items.insert(0, (0.0, items[0][1] if items else RAMP[0], 0, f"0 {legend.unit}"))
    if legend.lowest < 0:
        items.insert(0, (legend.lowest, SINK, 255, f"{number(legend.lowest)} {legend.unit}"))
    return _qml(1, items)


def block_style(limit: float) -> str:
    """QML of the third band of a block file: the relative residual against the limit of the certificate.

    Args:
      limit: relative residual at which the colours end; those between are 1, 10 and 100 % of it, on both sides of 0.
    """
    parts = (-1.0, -0.1, -0.01, 0.0, 0.01, 0.1, 1.0)
    items = [
        (
            part * limit,
            colour_at(log10(max(abs(part), 1e-3) / 1e-3) / 3, RESIDUAL),
            255,
            f"{part * limit:.0e}",
        )
        for part in parts
    ]
    return _qml(3, items)


def _spread(stops: Sequence[float]) -> list[tuple[float, float]]:
    """Each stop with its even place on the ramp; a single one takes the dark end."""
    if len(stops) == 1:
        return [(stops[0], 1.0)]
    return [(stop, index / (len(stops) - 1)) for index, stop in enumerate(stops)]


def _stops(values: Iterable[float]) -> tuple[float, ...]:
    """Two digits that count are enough for a legend; equal limits fall together."""
    return tuple(sorted({float(f"{value:.1e}") for value in values}))


def _qml(band: int, items: list[tuple[float, Colour, int, str]]) -> str:
    low, high = repr(items[0][0]), repr(items[-1][0])
    root = Xml.Element("qgis", version="3.22.0", styleCategories="Symbology", hasScaleBasedVisibilityFlag="0")
    pipe = Xml.SubElement(root, "pipe")
    renderer = Xml.SubElement(
        pipe, "rasterrenderer", type="singlebandpseudocolor", band=str(band), opacity="1", alphaBand="-1",
        nodataColor="", classificationMin=low, classificationMax=high,
    )  # fmt: skip
    Xml.SubElement(renderer, "rasterTransparency")
    shader = Xml.SubElement(Xml.SubElement(renderer, "rastershader"), "colorrampshader")
    shader.attrib.update(
        colorRampType="INTERPOLATED", classificationMode="1", clip="0", labelPrecision="6",
        minimumValue=low, maximumValue=high,
    )  # fmt: skip
    for value, (red, green, blue), alpha, label in items:
        Xml.SubElement(
            shader,
            "item",
            value=repr(value),
            color=f"#{red:02x}{green:02x}{blue:02x}",
            alpha=str(alpha),
            label=label,
        )
    # QGIS draws few stops as one continuous bar; a list with labels says more.
    Xml.SubElement(shader, "rampLegendSettings", useContinuousLegend="0", prefix="", suffix="", direction="0")
    Xml.indent(root)
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        + Xml.tostring(root, encoding="unicode")
        + "\n"
    )
