"""The page of a training: curves, a sample of truth beside estimate and error, and who worked where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import merge
from model.ground.scene import Tile
from model.method import ExpertNetwork, ScoredLearner
from stages.report.pictures import class_picture, mass_picture, signed_picture
from stages.report.qgis_style import legend_of, number
from stages.report.training_figures import Curve, KeyEntry, NetworkFigures, Picture, Plot, environment

PAGE = "training.html"
COLOURS = ("#390f6e", "#d8456c", "#1d7a4c", "#2166ac", "#b8860b", "#6d6675", "#88277f", "#00808a")
LEFT, RIGHT, TOP, BOTTOM = 56.0, 410.0, 10.0, 210.0  # of a plot, CSS pixels
NOT_TERMS = ("fold", "step", "loss", "rate", "best", "skipped")
PLACES = 250  # of a curve, at most

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """One window of held-out ground, first sector and first year, when totals were merged for the network.

    Attributes:
      truth, estimate: (h, w) mass per coarse cell; fine: (H, W) mass per fine cell.
      group: coarse cells merged along each axis.
      experts: (H, W) the first choice at each place; None for networks without experts.
      usage: share of places each expert takes part in.
    """

    truth: NDArray[np.float64]
    estimate: NDArray[np.float64]
    fine: NDArray[np.float64]
    group: int
    experts: NDArray[np.int64] | None
    usage: tuple[float, ...] = ()


def sampled(member: ScoredLearner, tiles: Sequence[Tile], group: int, choice: str) -> Sample:
    """What the network says of the heaviest window of its held-out ground."""
    part = max(tiles, key=lambda tile: float((tile.totals * tile.target).sum())).fitted(group)
    scene = part.scene(group)
    estimate = member.candidates(scene)[choice][0, 0].astype(np.float64)
    rim, usage = part.halo * part.factor, tuple(member.usage) if isinstance(member, ExpertNetwork) else ()
    fine = _inside(estimate, rim)
    where = _inside(member.where(scene)[0], rim) if isinstance(member, ExpertNetwork) and usage else None
    return Sample(_inside(part.totals[0, 0], part.halo), merge(fine, part.factor), fine, group, where, usage)


def _inside(values: NDArray[Any], rim: int) -> NDArray[Any]:
    """Without what only informs."""
    return values[rim : values.shape[0] - rim, rim : values.shape[1] - rim]


@dataclass(frozen=True)
class TrainedNetwork:
    """What is shown of one network.

    Attributes:
      fold: the ground it was held out from.
      words: how its training went; they tell times.
      steps, history: lines of steps.jsonl and of history.jsonl.
      chosen: (h, w) experts on the whole map, as stages/train/expert_map.py gives them; None without experts.
    """

    fold: int
    words: str
    steps: Sequence[Line]
    history: Sequence[Line]
    sample: Sample
    chosen: NDArray[np.int64] | None

    def figures(self, unit: str) -> NetworkFigures:
        """Curves and pictures as JSON values without times. Args: unit: of the masses."""
        return {
            "fold": self.fold,
            "plots": _plots(self.steps, self.history),
            "plates": _plates(self.sample, self.chosen, unit),
        }


def render(facts: Mapping[str, object], networks: Sequence[NetworkFigures]) -> str:
    """The page as text, in one file that loads nothing; every name is escaped.

    Args:
      facts: of the checkpoint.
      networks: with `words` on how the training went.
    """
    source = files("stages.train").joinpath("page.html.j2").read_text("utf-8")
    return environment().from_string(source).render(facts=facts, networks=networks)


def _plates(sample: Sample, chosen: NDArray[np.int64] | None, unit: str) -> list[Picture]:
    legend = legend_of(sample.truth, unit)
    near = legend_of(sample.fine, unit)
    error = sample.estimate - sample.truth
    worst = float(np.abs(error).max())
    pictures = {
        f"truth in coarse cells [{unit}]": mass_picture(sample.truth, legend),
        f"estimate, shown totals of {sample.group} x {sample.group} cells": mass_picture(sample.estimate, legend),
        f"error, from -{number(worst)} (blue) to {number(worst)} (red) {unit}": signed_picture(error, worst),
        "estimate in fine cells": mass_picture(sample.fine, near),
    }  # fmt: skip
    plates: list[Picture] = []
    for name, source in pictures.items():
        plates.append({"name": name, "source": source, "key": []})
    for name, where in (("window", sample.experts), ("whole map, most cells of each coarse one", chosen)):
        if where is not None:
            plates.append(_experts(f"expert chosen first, {name}", where, len(sample.usage)))
    return plates


def _experts(name: str, where: NDArray[np.int64], count: int) -> Picture:
    """Who worked where, in as many colours as there are experts; grey where nobody did."""
    shares = [float((where == expert).sum()) / max(1, int((where >= 0).sum())) for expert in range(count)]
    colours = [COLOURS[expert % len(COLOURS)] for expert in range(count)]
    key: list[KeyEntry] = []
    for expert, (share, colour) in enumerate(zip(shares, colours, strict=True)):
        key.append({"name": f"{expert + 1}: {100 * share:.1f} %", "colour": colour})
    return {"name": name, "source": class_picture(where, colours), "key": key}


def _plots(steps: Sequence[Line], history: Sequence[Line]) -> list[Plot]:
    steps = [*steps[:: max(1, len(steps) // PLACES)], *steps[-1:]]
    names = [name for name in steps[-1] if name not in NOT_TERMS] if steps else []
    weights = [name for name in names if name.startswith("weight ")]
    terms = [name for name in names if name not in weights]
    plots = [
        _plot("missed share on held-out ground", history, list(history[0]["scores"]), "scores"),
        _plot("loss", steps, ["loss"]),
        _plot("learning rate", steps, ["rate"]),
    ]
    plots += [_plot("terms of the loss", steps, terms)] if terms else []
    return plots + ([_plot("weights of the terms", steps, weights)] if weights else [])


def _plot(title: str, lines: Sequence[Line], names: Sequence[str], inner: str | None = None) -> Plot:
    """Curves as places of an SVG."""
    table = np.array([[float((line[inner] if inner else line)[name]) for name in names] for line in lines])
    table = table.reshape(len(lines), len(names))
    steps = np.array([line["step"] for line in lines], dtype=float)
    low, high = (float(table.min()), float(table.max())) if table.size else (0.0, 1.0)
    high = high if high > low else low + 1.0
    last = max(float(steps.max()), 1.0) if steps.size else 1.0
    across = LEFT + (RIGHT - LEFT) * steps / last
    up = BOTTOM - (BOTTOM - TOP) * (table - low) / (high - low)
    curves: list[Curve] = []
    for index, name in enumerate(names):
        places = [(round(float(x), 1), round(float(y), 1)) for x, y in zip(across, up[:, index], strict=True)]
        curves.append({"name": name, "colour": COLOURS[index % len(COLOURS)], "places": places})
    return {
        "title": title,
        "ups": [(round(BOTTOM - (BOTTOM - TOP) * part, 1), f"{low + part * (high - low):.4g}") for part in (0, 0.5, 1)],
        "steps": [(round(LEFT + (RIGHT - LEFT) * part, 1), f"{part * last:.0f}") for part in (0, 0.5, 1)],
        "lines": curves,
    }  # fmt: skip
