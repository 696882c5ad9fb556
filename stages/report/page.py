"""The report: every fact a reader of the maps needs, kept as JSON, and the page that tells it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from model.conservation.fallback import Rung
from model.ground import time_steps as when
from model.ground.errors import ArtifactFault
from model.ground.grid import Grid
from model.ground.quantity import QUANTITIES
from stages.artifacts import maps as store
from stages.artifacts.cube import Cube
from stages.artifacts.field import Field
from stages.artifacts.maps import Sheet
from stages.report.certificate import CERTIFICATE
from stages.report.figures import MapFigures, draw, ground
from stages.report.notes import notes_of
from stages.report.qgis_style import Legend, amount, number
from stages.report.training_figures import environment, read_figures

FACTS, PAGE = "report.json", "report.html"
RUNGS = {
    Rung.NOTHING: ("nothing to place", "the total is zero"),
    Rung.MODEL: ("method", "where the method saw sources"),
    Rung.PROXY: ("proxy", "by a plain proxy, because the method saw nothing in the block"),
    Rung.LAND: ("valid land", "evenly over valid cells, because neither method nor proxy saw anything"),
    Rung.UNIFORM: ("whole block", "evenly over the whole block, because no cell of it is valid"),
    Rung.SINK: ("sink", "a negative total, spread evenly"),
    Rung.POINT: ("point sources", "by point sources alone, which took the whole total"),
    Rung.OUTSIDE: ("outside", "the total is unknown: left without a value, not set to zero"),
}
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_ZONES_SHOWN = 40  # the table beside the maps has every zone
_SHOWN = 8  # maps drawn on the page; more would make it too heavy to open


@dataclass(frozen=True)
class MapSection:
    """One map as the page draws it.

    Attributes:
      map: what the certificate says of it.
    """

    title: str
    year: int
    map: dict[str, Any]
    figures: MapFigures


def gather(
    cube: Cube,
    field: Field,
    legends: Mapping[str, Legend],
    page_width: int,
    zones: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Every fact of the page that is not in the certificate, as JSON values without times."""
    every = store.sheets(cube)
    totals, rungs = cube.totals() / cube.room, field.rungs()
    return {
        "variable": cube.name, "long_name": cube.long_name, "unit": cube.unit, "quantity": cube.quantity.name,
        "sectors": list(cube.sectors), "years": list(cube.years), "factor": cube.factor,
        "coarse": asdict(cube.coarse), "place": _place(cube.coarse, cube.factor),
        "method": field.record.method, "law": field.record.law, "laws": field.record.laws,
        "describe": field.record.describe, "training": field.record.training.to_json(),
        "proxy": field.record.proxy, "not_finite": field.record.not_finite,
        "maps": [asdict(sheet) | {"legend": asdict(legends[sheet.stem])} for sheet in every],
        "rungs": [
            {"sector": sector, "year": year, "counts": _count_rungs(totals[index, time], rungs[index, time])}
            for index, sector in enumerate(cube.sectors) for time, year in enumerate(cube.years)
        ],
        "emission": cube.emission.to_json() if cube.emission else {},
        "points": [file.to_json() for file in cube.record.points],
        "layers": [layer.to_json() for layer in cube.record.layers],
        "totals": [total.to_json() for total in cube.record.totals], "attribution": cube.attribution,
        "notes": notes_of(cube.record, field.record, rungs), "uncertainty": None,
        "page_width": page_width, "zones": zones,
    }  # fmt: skip


def render(maps: Path) -> str:
    """The page of a folder of maps, made from its certificate, its facts and its GeoTIFFs alone.

    Nothing is fetched and no script runs: pictures are inside, every text is escaped.

    Raises: ArtifactFault (exit 4) when a part of the folder is missing or damaged.
    """
    certificate, facts = _load(maps / CERTIFICATE), _load(maps / FACTS)
    page = environment()
    page.filters.update(
        number=number,
        amount=amount,
        tiny=_tiny,
        words=_words,
        label=_label,
        share=_share,
        value=_value,
        date=when.spelled,
    )
    template = page.from_string(files("stages.report").joinpath("page.html.j2").read_text("utf-8"))
    with store.frugal():
        sections = _sections(maps, certificate, facts)
    return template.render(
        facts=facts, certificate=certificate, sections=sections, left_out=len(facts["maps"]) - len(sections),
        zone_tables=_zone_tables(facts.get("zones"), facts["years"][-1]),
        trained=read_figures(maps),
        rung_words={str(int(rung)): words for rung, words in RUNGS.items()}, years=_years(facts["years"]),
    )  # fmt: skip


def _zone_tables(told: Mapping[str, Any] | None, year: int) -> list[dict[str, Any]]:
    """The heaviest zones of one year, a table for each variable and a column for each sector."""
    if told is None:
        return []
    variables = dict.fromkeys(sheet["variable"] for sheet in told["sheets"])
    return [_zone_table(told, variable, year) for variable in variables]


def _zone_table(told: Mapping[str, Any], variable: str, year: int) -> dict[str, Any]:
    sheets = told["sheets"]
    chosen = [
        index for index, sheet in enumerate(sheets) if (sheet["variable"], sheet["year"]) == (variable, year)
    ]

    def row(name: str, masses: list[float]) -> dict[str, Any]:
        return {"name": name, "mass": [masses[index] for index in chosen]}

    order = sorted(told["zones"], key=lambda entry: -entry["mass"][chosen[-1]])
    rows = [row(entry["name"], entry["mass"]) for entry in order[:_ZONES_SHOWN]]
    rows += [row("outside any zone", told["outside"]), row("whole map", told["whole"])]
    return {
        "variable": variable, "unit": sheets[chosen[0]]["unit"], "year": year, "rule": told["rule"],
        "sectors": [sheets[index]["sector"] for index in chosen], "rows": rows,
        "left_out": max(len(order) - _ZONES_SHOWN, 0),
    }  # fmt: skip


def _sections(maps: Path, certificate: dict[str, Any], facts: dict[str, Any]) -> list[MapSection]:
    """One section per map drawn: the last year first, the sum of sectors before its parts."""
    coarse, factor = Grid(**facts["coarse"]), facts["factor"]
    measured = {fact["file"]: fact for fact in certificate["maps"]}
    order = sorted(facts["maps"], key=lambda entry: (-entry["year"], len(entry["members"]) == 1))
    sections = []
    for entry in order[:_SHOWN]:
        sheet = Sheet(**{key: value for key, value in entry.items() if key != "legend"})
        legend = Legend(**entry["legend"])
        shared = QUANTITIES[facts["quantity"]].fine_part(factor)
        figures = draw(sheet, maps, coarse, factor, legend, certificate["limit"], facts["page_width"], shared)
        title = "All sectors together" if sheet.is_sum else _label(sheet.sector)
        title += f", {sheet.long_name}" if sheet.is_emission else ""
        sections.append(MapSection(title, sheet.year, measured[sheet.map_file], figures))
    return sections


def _place(coarse: Grid, factor: int) -> dict[str, Any]:
    """The grids in words: what the coordinates are and how large cells are."""
    crs = CRS.from_wkt(coarse.crs)
    authority = crs.to_authority()
    width, height = ground(coarse)
    return {
        "crs": crs.name, "code": ":".join(authority) if authority else "",
        "axis_unit": crs.axis_info[0].unit_name if crs.axis_info else "",
        "coarse_cell": _length(width / coarse.cols), "fine_cell": _length(width / coarse.cols / factor),
        "extent": f"{_length(width)} by {_length(height)}", "bounds": list(coarse.bounds),
        "coarse_shape": list(coarse.shape), "fine_shape": list(coarse.refine(factor).shape),
    }  # fmt: skip


def _count_rungs(totals: NDArray[np.float64], rungs: NDArray[np.uint8]) -> dict[str, dict[str, float]]:
    """Blocks and mass per rung of the ladder; rungs that placed nothing are left out."""
    return {
        str(int(rung)): {"blocks": int((rungs == rung).sum()), "mass": float(totals[rungs == rung].sum())}
        for rung in Rung
        if (rungs == rung).any()
    }


def _load(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactFault(
            f"maps/{path.name}",
            f"not readable ({error})",
            "the facts beside the maps",
            "pipeline run mosaic --force",
        ) from error


def _length(metres: float) -> str:
    return f"{metres / 1000:.4g} km" if metres >= 1000 else f"{metres:.4g} m"


def _label(name: str) -> str:
    """A short name as words: other_buildings becomes Other buildings."""
    text = str(name).replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def _years(years: Iterable[int]) -> str:
    every = list(years)
    first, last = when.spelled(every[0]), when.spelled(every[-1])
    return first if len(every) == 1 else f"{first} to {last}"


def _tiny(value: float) -> str:
    """A relative residual, as 2.4 x 10^-8 is printed."""
    if value == 0 or not isfinite(value):
        return "0" if value == 0 else "without bound"
    mantissa, exponent = f"{value:.1e}".replace("-", "\N{MINUS SIGN}", value < 0).split("e")
    power = "10" + str(int(exponent)).translate(_RAISED)
    return power if mantissa == "1.0" else f"{mantissa.removesuffix('.0')} \N{MULTIPLICATION SIGN} {power}"


def _value(value: float | None) -> str:
    """Any number of a layer; nothing where there is none."""
    return "" if value is None else number(value)


def _share(part: float, whole: float) -> str:
    return "0 %" if not whole else f"{100.0 * part / whole:.3g} %"


def _words(value: Any) -> str:
    """A plain JSON value as a reader expects it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, Mapping):
        return "; ".join(f"{_label(key).lower()}: {_words(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_words(inner) for inner in value) or "none"
    return "not told" if value is None or value == "" else str(value)
