"""Which scores fields of a mean are told by, as rows, verdicts in words, and JSON, CSV and Markdown."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from model.ground import time_steps as when
from stages.evaluate.intensive_curves import Curves
from stages.evaluate.intensive_fields import MAPPED, PLAIN

COLUMNS = {
    "rmse": "RMSE", "bias": "bias", "wet_frequency": "wet frequency", "r95p": "R95p / truth", "p99": "99th percentile",
    "fss_1": "FSS, 1 cell", "fss_5": "FSS, 5 cells", "fss_11": "FSS, 11 cells", "spectrum": "spectrum, log10 off",
}  # fmt: skip
IN_UNIT = ("rmse", "bias", "p99")  # scores in the unit of the maps; the rest have none
WITH_INTERVAL = ("rmse", "bias")  # in the CSV
COMPARED_BY = (
    "contents compared by"  # what a method says in its report of the network its losses compare with
)


@dataclass(frozen=True)
class FieldRow:
    """All scores of one method over the held-out dates of a sector.

    Attributes:
      dates: how many.
      scores: by name, as model.evaluation.field_scores.scores gives them; NaN where not defined.
      intervals: 95 % intervals of rmse and bias, and `behind`, the RMSE in excess of the judged method's, paired;
        none of the truth.
    """

    method: str
    sector: str
    dates: int
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]

    def to_json(self) -> dict[str, JsonValue]:
        """As JSON values; scores stand beside the method, intervals below a key of their own."""
        intervals: dict[str, JsonValue] = {}
        for name, (low, high) in self.intervals.items():
            intervals[name] = [low, high]
        return {**self._plain(), "intervals": intervals}

    def to_csv(self) -> dict[str, JsonValue]:
        """As one line of a table; the intervals of RMSE and bias in columns of their own."""
        line = self._plain()
        for name in WITH_INTERVAL:
            line[f"{name}_low"], line[f"{name}_high"] = self.intervals.get(name, (None, None))
        return line

    def _plain(self) -> dict[str, JsonValue]:
        return {"method": self.method, "sector": self.sector, "dates": self.dates, **self.scores}


@dataclass(frozen=True)
class SectorScores:
    """What is told of a sector beside its rows.

    Attributes:
      extreme: the 95th percentile of true wet values, in the unit of the maps.
    """

    sector: str
    dates: tuple[int, ...]
    extreme: float
    curves: Curves

    def to_json(self) -> dict[str, JsonValue]:
        """As JSON values; dates as they are spelled."""
        dates: list[JsonValue] = [*map(when.spelled, self.dates)]
        return {"sector": self.sector, "dates": dates, "extreme": self.extreme, **self.curves.to_json()}


@dataclass(frozen=True)
class FieldScores:
    """An evaluation of fields of a mean.

    Attributes:
      wet: depth from which a cell is wet, in `unit`.
      draws: of the bootstrap.
      methods: by name what each says of itself in its report.
      protocol: what methods knew and what they are scored on, in words.
      words: verdicts, a sentence each.
    """

    unit: str
    wet: float
    draws: int
    methods: dict[str, dict[str, JsonValue]]
    protocol: str
    sectors: list[SectorScores] = field(default_factory=list)
    rows: list[FieldRow] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    @property
    def compared_by(self) -> dict[str, str]:
        """By method the network that its losses compare contents with; those that use none are left out."""
        told = {}
        for name, says in self.methods.items():
            if words := says.get(COMPARED_BY):
                told[name] = str(words)
        return told

    def to_json(self) -> dict[str, JsonValue]:
        """As JSON values, NaN among them."""
        return {
            "unit": self.unit,
            "wet": self.wet,
            "draws": self.draws,
            "methods": {**self.methods},
            "protocol": self.protocol,
            "sectors": [sector.to_json() for sector in self.sectors],
            "rows": [row.to_json() for row in self.rows],
            "words": [*self.words],
        }


def cell(row: FieldRow, name: str) -> str:
    """A score as text, as tables show it.

    Returns: three decimals, the 95 % interval in brackets where there is one; a dash where it is not defined.
    """
    if not np.isfinite(row.scores[name]):
        return "-"
    text = f"{row.scores[name]:.3f}"
    span = row.intervals.get(name)
    return text if span is None else f"{text} ({span[0]:.3f} to {span[1]:.3f})"


def verdicts(rows: Sequence[FieldRow], judged: str, unit: str) -> list[str]:
    """The judged method against the best of the others by RMSE, a sentence for each sector.

    Says `beats` only where the paired 95 % interval of the difference lies above 0.
    """
    by_sector: dict[str, dict[str, FieldRow]] = {}
    for row in rows:
        by_sector.setdefault(row.sector, {})[row.method] = row
    words = []
    for here in by_sector.values():
        own = here[judged]
        others = [row for name, row in here.items() if name not in ("truth", judged)]
        if others:
            words.append(_verdict(own, min(others, key=lambda row: row.scores["rmse"]), unit))
    return words


def _verdict(own: FieldRow, best: FieldRow, unit: str) -> str:
    rmse, other = own.scores["rmse"], best.scores["rmse"]
    gain = other - rmse
    low, high = best.intervals["behind"]
    verdict = "beats" if low > 0 else "does not beat"
    return (
        f"{own.sector}: RMSE of {own.method} {rmse:.4g} {unit}; it {verdict} {best.method}, the best other: "
        f"{gain:.3g} lower ({low:.3g} to {high:.3g}, {gain / other:.1%})"
    )


def write_scores(found: FieldScores, out: Path) -> None:
    """Writes the scores three times: for programs, for a spreadsheet, and for a reader.

    Args:
      out: folder of scores.json, in which what is not defined is null, scores.csv and scores.md.
    """
    told = _without_nan(found.to_json())
    (out / "scores.json").write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", "utf-8")
    (out / "scores.csv").write_text(_csv(found.rows), "utf-8", newline="")
    (out / "scores.md").write_text(_markdown(found), "utf-8")


def _csv(rows: Sequence[FieldRow]) -> str:
    text = io.StringIO(newline="")
    lines = [row.to_csv() for row in rows]
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _markdown(found: FieldScores) -> str:
    head = ["method", "sector"]
    for name, title in COLUMNS.items():
        head.append(f"{title} [{found.unit}]" if name in IN_UNIT else title)
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in found.rows:
        cells = [row.method, row.sector, *(cell(row, name) for name in COLUMNS)]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    for note in _notes(found):
        lines.append(f"- {note}")
    return "\n".join(lines) + "\n"


def _notes(found: FieldScores) -> list[str]:
    notes = [
        f"Protocol: {found.protocol}.",
        f"Wet: {found.wet:g} {found.unit} or more; extreme: above the 95th percentile of true wet values.",
        "In brackets: 95 % interval of a bootstrap over spatial blocks and dates.",
        f"{PLAIN} and {MAPPED} keep no mean.",
    ]
    for name, words in found.compared_by.items():
        notes.append(f"{name}: contents compared by {words}.")
    return [*notes, *found.words]


def _without_nan(value: JsonValue) -> JsonValue:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [*map(_without_nan, value)]
    return None if isinstance(value, float) and not np.isfinite(value) else value
