"""The table of scores: rows with intervals, paired differences, words, and the same as JSON, CSV and Markdown."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.evaluation.bootstrap import Interval, draw_blocks, interval
from model.evaluation.scores import Scores

# Name of a score -> (title, digits, better is: -1 lower, 1 higher, 0 neither).
COLUMNS: dict[str, tuple[str, int, int]] = {
    "misallocated_share": ("misallocated share", 3, -1),
    "nonzero_mae": ("Nonzero-MAE", 2, -1),
    "balanced_mae": ("Balanced MAE", 2, -1),
    "top_1_percent_mae": ("Top-1 % MAE", 2, -1),
    "top_5_percent_mae": ("Top-5 % MAE", 2, -1),
    "r2": ("R2", 3, 1),
    "r_log1p": ("r of log1p", 3, 1),
    "zeros_with_mass": ("true zeros with mass", 3, -1),
    "fss_1_cells": ("fractions skill, 1 cell", 3, 1),
    "fss_3_cells": ("fractions skill, 3 cells", 3, 1),
    "fss_10_cells": ("fractions skill, 10 cells", 3, 1),
    "earth_movers_distance": ("earth mover's distance [m]", 1, -1),
    "hot_spot_precision": ("hot-spot precision", 3, 1),
    "hot_spot_recall": ("hot-spot recall", 3, 1),
}
JUDGED_BY = "misallocated_share"
Place = tuple[str, ...]  # what rows are compared within: case, sector, year, ...


@dataclass(frozen=True)
class Entry:
    """One map's labelled sums and where it stands in the table."""

    method: str
    place: Place
    scores: Scores
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Every row and what is said of them.

    Attributes:
      keys: names of the parts of a place, columns of the table.
      rows: place and method, each score, and under `intervals` its 95 % interval.
      differences: of the judged method against the best other one, for every score.
    """

    keys: tuple[str, ...]
    rows: list[dict[str, Any]]
    differences: list[dict[str, Any]]
    words: list[str]


def build(entries: Sequence[Entry], keys: tuple[str, ...], judged: str, draws: int, seed: int) -> Table:
    """Finishes all scores; entries of one place share their draws, so that differences are paired.

    Args:
      judged: the method that is compared with the best of the others.
    """
    rows, differences, words = [], [], []
    for place in dict.fromkeys(entry.place for entry in entries):
        here = [entry for entry in entries if entry.place == place]
        filled = np.any([np.asarray(entry.scores.cells) > 0 for entry in here], axis=0)
        weights = draw_blocks(filled, draws, np.random.default_rng(seed))
        drawn = {entry.method: entry.scores.weighted(weights).finish() for entry in here}
        whole = {entry.method: entry.scores.pooled().finish() for entry in here}
        blocks = int(filled.sum())
        for entry in here:
            rows.append(_row(entry, keys, whole[entry.method], drawn[entry.method], blocks))
        told, word = _compare(place, keys, judged, whole, drawn, blocks)
        differences += told
        words += word
    return Table(keys, rows, differences, words)


def _row(
    entry: Entry,
    keys: tuple[str, ...],
    whole: Mapping[str, float],
    drawn: Mapping[str, NDArray[np.float64]],
    blocks: int,
) -> dict[str, Any]:
    found = {name: interval(whole[name], drawn[name], blocks) for name in COLUMNS}
    return {
        "method": entry.method,
        **dict(zip(keys, entry.place, strict=True)),
        **entry.facts,
        "spatial_blocks": blocks,
        **{name: item.value for name, item in found.items()},
        "intervals": {name: [item.low, item.high] for name, item in found.items()},
    }


def _compare(
    place: Place,
    keys: tuple[str, ...],
    judged: str,
    whole: Mapping[str, Mapping[str, float]],
    drawn: Mapping[str, Mapping[str, NDArray[np.float64]]],
    blocks: int,
) -> tuple[list[dict[str, Any]], list[str]]:
    """The judged method against the best of the others, score by score, and the verdict in words."""
    said = " ".join(place)
    share = {name: scores[JUDGED_BY] for name, scores in whole.items() if np.isfinite(scores[JUDGED_BY])}
    if judged not in share:
        return [], [f"{said}: the truth holds no mass, so there is nothing to compare."]
    others = {name: value for name, value in share.items() if name != judged}
    if not others:
        return [], []
    best = min(others, key=lambda name: others[name])
    told = []
    for name, (_, _, better) in COLUMNS.items():
        gain = better * (whole[judged][name] - whole[best][name])
        found = interval(gain, better * (drawn[judged][name] - drawn[best][name]), blocks)
        told.append(
            {"method": judged, "against": best, **dict(zip(keys, place, strict=True)), "score": name,
             "gain": found.value, "low": found.low, "high": found.high}
        )  # fmt: skip
        if name == JUDGED_BY:
            verdict = _verdict(judged, best, found, others[best])
    return told, [f"{said}: {verdict} on {COLUMNS[JUDGED_BY][0]}."]


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


def write(table: Table, facts: Mapping[str, Any], out: Path, stem: str = "scores") -> None:
    """Writes stem.json, stem.csv and stem.md."""
    told = {**facts, "rows": table.rows, "differences": table.differences, "words": table.words}
    (out / f"{stem}.json").write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", "utf-8")
    (out / f"{stem}.csv").write_text(_csv(table), "utf-8", newline="")
    (out / f"{stem}.md").write_text(markdown(table, facts), "utf-8")


def _csv(table: Table) -> str:
    flat = []
    for row in table.rows:
        plain = {key: value for key, value in row.items() if key != "intervals"}
        for name, (low, high) in row["intervals"].items():
            plain |= {f"{name}_low": low, f"{name}_high": high}
        flat.append(plain)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def markdown(table: Table, facts: Mapping[str, Any]) -> str:
    """Two tables a reader can take in: what is judged with its interval, then every score."""
    unit = facts.get("unit", "")
    titles = [title + (f" [{unit}]" if "MAE" in title else "") for title, _, _ in COLUMNS.values()]
    keys = [key.replace("_", " ") for key in table.keys]
    first = ["method", *keys, *titles[:8]]
    second = ["method", *keys, *titles[8:]]
    names = list(COLUMNS)
    lines = [*_grid(table, first, names[:8]), "", *_grid(table, second, names[8:])]
    notes = [f"Protocol: {facts['protocol']}."]
    notes += ["In brackets: 95 % interval of a bootstrap over spatial blocks."]
    said = [*notes, *table.words]
    return "\n".join([*lines, "", *(f"- {line}" for line in said)]) + "\n"


def _grid(table: Table, head: Sequence[str], names: Sequence[str]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in table.rows:
        cells = [str(row["method"]), *(str(row[key]) for key in table.keys)]
        cells += [_cell(row, name) for name in names]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _cell(row: Mapping[str, Any], name: str) -> str:
    digits = COLUMNS[name][1]
    if row[name] is None:
        return "-"
    text = f"{row[name]:.{digits}f}"
    low, high = row["intervals"][name]
    if name != JUDGED_BY or low is None:
        return text
    return f"{text} ({low:.{digits}f} to {high:.{digits}f})"
