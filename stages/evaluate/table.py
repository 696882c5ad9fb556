"""The table of scores: rows with intervals, paired differences, words, and the same as JSON, CSV and Markdown."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from model.evaluation.bootstrap import Interval, draw_blocks, interval
from model.evaluation.scores import Scores


class Column(NamedTuple):
    """How a score is told: its title, its decimal places, and whether more is better (1), worse (-1) or neither."""

    title: str
    digits: int
    better: int


COLUMNS: dict[str, Column] = {
    "misallocated_share": Column("misallocated share", 3, -1),
    "nonzero_mae": Column("Nonzero-MAE", 2, -1),
    "balanced_mae": Column("Balanced MAE", 2, -1),
    "top_1_percent_mae": Column("Top-1 % MAE", 2, -1),
    "top_5_percent_mae": Column("Top-5 % MAE", 2, -1),
    "r2": Column("R2", 3, 1),
    "r_log1p": Column("r of log1p", 3, 1),
    "zeros_with_mass": Column("true zeros with mass", 3, -1),
    "fss_1_cells": Column("fractions skill, 1 cell", 3, 1),
    "fss_3_cells": Column("fractions skill, 3 cells", 3, 1),
    "fss_10_cells": Column("fractions skill, 10 cells", 3, 1),
    "earth_movers_distance": Column("earth mover's distance [m]", 1, -1),
    "hot_spot_precision": Column("hot-spot precision", 3, 1),
    "hot_spot_recall": Column("hot-spot recall", 3, 1),
}
JUDGED_BY = "misallocated_share"
FIRST_TABLE = 8  # columns of the first of the two tables a reader sees
Place = tuple[str, ...]  # what rows are compared within: case, sector, year, ...


@dataclass(frozen=True)
class Entry:
    """One map's labelled sums and where it stands in the table.

    Attributes:
      scored_share: of the cells of the map that have a value, those that were scored; None where that is not told.
    """

    method: str
    place: Place
    scores: Scores
    scored_share: float | None = None


@dataclass(frozen=True)
class Row:
    """One map's finished scores.

    Attributes:
      place: one word for each key of the table.
      spatial_blocks: that hold a scored cell, over which the bootstrap draws.
      scores: by name of COLUMNS, with 95 % intervals.
    """

    method: str
    place: Place
    spatial_blocks: int
    scores: dict[str, Interval]
    scored_share: float | None = None

    def to_json(self, keys: tuple[str, ...]) -> dict[str, JsonValue]:
        """As JSON values: each part of the place under its key, each score under its name, intervals by score.

        Args:
          keys: names of the parts of a place.
        Returns: scores that are not defined as null.
        """
        told: dict[str, JsonValue] = {"method": self.method, **dict(zip(keys, self.place, strict=True))}
        if self.scored_share is not None:
            told["scored_share"] = self.scored_share
        told["spatial_blocks"] = self.spatial_blocks
        intervals: dict[str, JsonValue] = {}
        for name, score in self.scores.items():
            told[name] = score.value
            intervals[name] = [score.low, score.high]
        return {**told, "intervals": intervals}


@dataclass(frozen=True)
class Difference:
    """By how much one method is better than another by one score, paired: both are drawn on the same blocks.

    Attributes:
      gain: above 0 where `method` is better, whichever way the score runs.
    """

    method: str
    against: str
    place: Place
    score: str
    gain: Interval

    def to_json(self, keys: tuple[str, ...]) -> dict[str, JsonValue]:
        """As JSON values; each part of the place under its key.

        Returns: the gain and its interval as gain, low and high, null where not defined.
        """
        place = dict(zip(keys, self.place, strict=True))
        told: dict[str, JsonValue] = {"method": self.method, "against": self.against, **place}
        return {
            **told,
            "score": self.score,
            "gain": self.gain.value,
            "low": self.gain.low,
            "high": self.gain.high,
        }


@dataclass(frozen=True)
class Table:
    """Every row and what is said of them.

    Attributes:
      keys: names of the parts of a place, columns of the table.
      differences: of the judged method against the best other one, for every score.
      words: verdicts and warnings, a sentence each.
    """

    keys: tuple[str, ...]
    rows: list[Row]
    differences: list[Difference]
    words: list[str]


@dataclass(frozen=True)
class ReliabilityCurve:
    """Mean truth against mean estimate of one map, in bins of the estimate.

    Attributes:
      points: of each bin that holds cells: cells, estimate and truth, as Reliability.points gives them.
    """

    method: str
    place: Place
    points: list[dict[str, float]]

    def to_json(self) -> dict[str, JsonValue]:
        """As JSON values."""
        points: list[JsonValue] = [{**point} for point in self.points]
        return {"method": self.method, "place": [*self.place], "points": points}


@dataclass(frozen=True)
class LayerSpread:
    """How much a layer varies where the run asks, and where merged totals ask.

    Attributes:
      inside: standard deviation within blocks of the run, over valid cells, in the layer's unit.
      merged: by factor of merging, the same of coarse cells within merged blocks.
    """

    layer: str
    inside: float
    merged: dict[int, float]

    def to_json(self) -> dict[str, JsonValue]:
        """As JSON values."""
        merged: dict[str, JsonValue] = {}
        for group, spread in self.merged.items():
            merged[str(group)] = spread
        return {"layer": self.layer, "inside": self.inside, "merged": merged}


@dataclass(frozen=True)
class Setup:
    """How the scores of a table came about.

    Attributes:
      unit: of the maps, mass per cell.
      protocol: what methods knew and what they are scored on, in words.
      block: coarse cells along the spatial blocks of the bootstrap.
      draws: of the bootstrap.
      statistics: of layers, where totals were merged; None elsewhere.
    """

    unit: str
    protocol: str
    block: int
    draws: int
    reliability: tuple[ReliabilityCurve, ...] = ()
    statistics: tuple[LayerSpread, ...] | None = None

    def to_json(self) -> dict[str, JsonValue]:
        """As JSON values; without statistics the key is left out."""
        told: dict[str, JsonValue] = {
            "unit": self.unit,
            "protocol": self.protocol,
            "block": self.block,
            "draws": self.draws,
            "reliability": [curve.to_json() for curve in self.reliability],
        }
        if self.statistics is not None:
            told["statistics"] = [layer.to_json() for layer in self.statistics]
        return told


@dataclass
class _Drawn:
    """Finished scores of the methods of one place: over everything, and over every draw of the bootstrap."""

    whole: dict[str, Mapping[str, float]] = field(default_factory=dict)
    drawn: dict[str, Mapping[str, NDArray[np.float64]]] = field(default_factory=dict)
    blocks: int = 0


def build(entries: Sequence[Entry], keys: tuple[str, ...], judged: str, draws: int, seed: int) -> Table:
    """Finishes all scores; entries of one place share their draws, so that differences are paired.

    Args:
      keys: names of the parts of a place.
      judged: the method that is compared with the best of the others.
      draws, seed: of the bootstrap over spatial blocks.
    """
    table = Table(keys, [], [], [])
    for place, here in _by_place(entries).items():
        filled = np.zeros(np.shape(here[0].scores.cells), bool)
        for entry in here:
            filled |= np.asarray(entry.scores.cells) > 0
        weights = draw_blocks(filled, draws, np.random.default_rng(seed))
        found = _Drawn(blocks=int(filled.sum()))
        for entry in here:
            found.whole[entry.method] = entry.scores.pooled().finish()
            found.drawn[entry.method] = entry.scores.weighted(weights).finish()
        for entry in here:
            table.rows.append(_row(entry, found))
        differences, words = _compare(place, judged, found)
        table.differences.extend(differences)
        table.words.extend(words)
    return table


def _by_place(entries: Sequence[Entry]) -> dict[Place, list[Entry]]:
    places: dict[Place, list[Entry]] = {}
    for entry in entries:
        places.setdefault(entry.place, []).append(entry)
    return places


def _row(entry: Entry, found: _Drawn) -> Row:
    whole, drawn = found.whole[entry.method], found.drawn[entry.method]
    scores: dict[str, Interval] = {}
    for name in COLUMNS:
        scores[name] = interval(whole[name], drawn[name], found.blocks)
    return Row(entry.method, entry.place, found.blocks, scores, entry.scored_share)


def _compare(place: Place, judged: str, found: _Drawn) -> tuple[list[Difference], list[str]]:
    """The judged method against the best of the others, score by score, and the verdict in words."""
    said = " ".join(place)
    share: dict[str, float] = {}
    for method, scores in found.whole.items():
        if np.isfinite(scores[JUDGED_BY]):
            share[method] = scores[JUDGED_BY]
    if judged not in share:
        return [], [f"{said}: the truth holds no mass, so there is nothing to compare."]
    del share[judged]
    if not share:
        return [], []
    best = min(share, key=share.__getitem__)
    differences: list[Difference] = []
    for name, column in COLUMNS.items():
        gain = column.better * (found.whole[judged][name] - found.whole[best][name])
        drawn = column.better * (found.drawn[judged][name] - found.drawn[best][name])
        differences.append(Difference(judged, best, place, name, interval(gain, drawn, found.blocks)))
    judged_by = next(difference for difference in differences if difference.score == JUDGED_BY)
    verdict = _verdict(judged, best, judged_by.gain, share[best])
    return differences, [f"{said}: {verdict} on {COLUMNS[JUDGED_BY].title}."]


def _verdict(judged: str, best: str, found: Interval, level: float) -> str:
    """Says `beats` only where the interval leaves no room for chance."""
    gain = found.value or 0.0
    if found.low is None or found.high is None:
        lead = f"is ahead of {best} by {gain:.3f}" if gain > 0 else f"does not beat {best} ({gain:.3f})"
        return f"{judged} {lead}, with too few spatial blocks to say how sure that is,"
    span = f"{found.low:.3f} to {found.high:.3f}"
    if found.excludes_zero and gain > 0:
        relative = f", {gain / level:.1%}" if level > 0 else ""
        return f"{judged} beats {best} by {gain:.3f} ({span}{relative})"
    if gain <= 0:
        apart = "it is worse" if found.excludes_zero else "the two are not told apart"
        return f"{judged} does not beat {best}: {apart}, {gain:.3f} ({span}),"
    return f"{judged} is not told apart from {best}: {gain:.3f} ({span})"


def write(table: Table, setup: Setup, out: Path, stem: str = "scores") -> None:
    """Writes the table three times: for programs, for a spreadsheet, and for a reader.

    Args:
      out: folder in which stem.json, stem.csv and stem.md are written.
    """
    rows: list[JsonValue] = []
    differences: list[JsonValue] = []
    for row in table.rows:
        rows.append(row.to_json(table.keys))
    for difference in table.differences:
        differences.append(difference.to_json(table.keys))
    told = {**setup.to_json(), "rows": rows, "differences": differences, "words": table.words}
    (out / f"{stem}.json").write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", "utf-8")
    (out / f"{stem}.csv").write_text(_csv(table), "utf-8", newline="")
    (out / f"{stem}.md").write_text(markdown(table, setup), "utf-8")


def _csv(table: Table) -> str:
    """A line a row; the interval of each score stands in two columns after all scores."""
    flat = []
    for row in table.rows:
        plain = row.to_json(table.keys)
        del plain["intervals"]
        for name, score in row.scores.items():
            plain |= {f"{name}_low": score.low, f"{name}_high": score.high}
        flat.append(plain)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def markdown(table: Table, setup: Setup) -> str:
    """Two tables a reader can take in, what is judged with its interval, then every score; notes follow.

    Returns: Markdown with pipe tables. Absolute errors bear the unit, the rest has none or its own in the title.
    """
    names = list(COLUMNS)
    first, second = names[:FIRST_TABLE], names[FIRST_TABLE:]
    lines = [*_grid(table, first, setup.unit), "", *_grid(table, second, setup.unit), ""]
    notes = [f"Protocol: {setup.protocol}.", "In brackets: 95 % interval of a bootstrap over spatial blocks."]
    for note in [*notes, *table.words]:
        lines.append(f"- {note}")
    return "\n".join(lines) + "\n"


def _grid(table: Table, names: Sequence[str], unit: str) -> list[str]:
    head = ["method", *(key.replace("_", " ") for key in table.keys)]
    for name in names:
        title = COLUMNS[name].title
        head.append(f"{title} [{unit}]" if "MAE" in title else title)
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in table.rows:
        cells = [row.method, *row.place, *(_cell(row, name) for name in names)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _cell(row: Row, name: str) -> str:
    score, digits = row.scores[name], COLUMNS[name].digits
    if score.value is None:
        return "-"
    text = f"{score.value:.{digits}f}"
    if name != JUDGED_BY or score.low is None:
        return text
    return f"{text} ({score.low:.{digits}f} to {score.high:.{digits}f})"
