"""Protocols that ask a harder question than the run itself: each runs the same chain on an altered world."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from model.ground.errors import UsageFault
from pipeline.config.load import RunConfig
from pipeline.experiments.comparison import SHARED, carry_out, judged, others
from pipeline.runner import Runner, tasks
from pipeline.staleness import Task
from pipeline.workspace import Shelf
from stages import ALTER, ATTRIBUTE, EVALUATE, REFOLD, RESCORE, STAGES, Stage
from stages.contract.section import Section


def scale_shift(runner: Runner, config: RunConfig) -> Task:
    """Merges the totals, has every method downscale them again, and scores it on the totals that were merged.

    Needs no truth. Every method is made anew from the merged totals alone, so that nothing has seen the answer.
    """
    settings: Any = config["evaluate"]
    shelf = runner.workspace.shelf
    everything = tasks(config, shelf, STAGES[:1])
    fields: dict[str, Path] = {}
    for group in dict.fromkeys(settings.groups):
        home = Shelf(shelf.folder / "evaluate" / "scale_shift" / f"by_{group}")
        chain = _without(config, group)
        everything.append(_altered(shelf, home, group=group, match=settings.match))
        everything += tasks(chain, home, [stage for stage in STAGES[1:] if stage.name != "mosaic"])
        fields[f"{group}/{judged(chain)}"] = home.link("field")
        for method, other, aside in others(chain, home, STAGES, EVALUATE):
            everything += tasks(other, aside, _learning())
            fields[f"{group}/{method}"] = aside.link("field")
    section = RESCORE.body().Config(**_shared(settings))
    inputs: dict[str, Any] = {"cube": shelf.link("cube"), "fields": fields}
    return carry_out(runner, [*everything, Task(RESCORE, section, shelf, inputs)])


def folds(runner: Runner, config: RunConfig) -> Task:
    """Hides one fold of the totals after the other from training and scores each method on the fold's truth.

    Folds of whole spatial blocks with a buffer, and folds of single cells at random: the gap between the two tells
    how much of a score is owed to seen neighbours.
    """
    settings: Any = config["evaluate"]
    parts = [
        {"name": name, "hide": {"kind": kind, "fold": fold, "folds": settings.folds, "side": settings.block,
                                "seed": settings.seed}}
        for kind, name in (("blocks", "spatial blocks"), ("random", "random folds"))
        for fold in range(settings.folds)
    ]  # fmt: skip
    return _kept_apart(runner, config, "folds", parts)


def years(runner: Runner, config: RunConfig) -> Task:
    """Hides the last year of the totals from training and scores each method on the truth of that year.

    Raises: UsageFault (exit 2) when the totals are of a single year.
    """
    ingest: Any = config["ingest"]
    if len(ingest.years) < 2:
        found, wanted = f"totals of {ingest.years[0]} alone", "totals of at least two years"
        raise UsageFault(
            "evaluate --protocol years", found, wanted, "add totals of other years, or use folds"
        )
    last = ingest.years[-1]
    return _kept_apart(runner, config, "years", [{"name": f"year {last}", "years": [last]}])


def _kept_apart(runner: Runner, config: RunConfig, name: str, parts: list[dict[str, Any]]) -> Task:
    """Every method trained without each part, applied to the whole map, scored on the part."""
    EVALUATE.body().check(config["evaluate"])
    settings: Any = config["evaluate"]
    shelf = runner.workspace.shelf
    config = config.changed(
        "infer.checkpoint=null", "train.pretrained=null"
    )  # they may have seen what is hidden
    everything = tasks(config, shelf, STAGES[:1])
    fields: dict[str, Path] = {}
    for number, part in enumerate(parts):
        home = Shelf(shelf.folder / "evaluate" / name / f"part_{number}")
        everything.append(_altered(shelf, home, hide=part.get("hide"), hide_years=part.get("years", ())))
        everything += tasks(config, home, [stage for stage in STAGES if stage.name == "tile"])
        for method, changed, place in [
            (judged(config), config, home),
            *others(config, home, STAGES, EVALUATE),
        ]:
            for task in tasks(changed, place, _learning()):
                whole = {"cube": shelf.link("cube")} if task.stage.name == "infer" else {}
                everything.append(replace(task, inputs={**task.inputs, **whole}))
            fields[f"{number}/{method}"] = place.link("field")
    section = REFOLD.body().Config.model_validate(
        {"parts": parts, "truth": [item.model_dump() | {"path": item.path} for item in settings.truth]}
        | {key: getattr(settings, key) for key in ("block", "draws", "seed")}
    )
    inputs: dict[str, Any] = {"cube": shelf.link("cube"), "fields": fields}
    return carry_out(runner, [*everything, Task(replace(REFOLD, gives=name), section, shelf, inputs)])


def proxies(runner: Runner, config: RunConfig) -> Task:
    """Spoils one layer after the other and tells how much of the mass goes elsewhere; needs no truth.

    The method and its checkpoint stay the same: the question is what this map rests on.
    """
    settings: Any = config["evaluate"]
    layers: Any = config["ingest"]
    shelf = runner.workspace.shelf
    everything = tasks(config, shelf, STAGES[:-1])
    changes = [("dropped", "drop", 0)]
    changes += [(f"shifted by {cells}", "shift", cells) for cells in settings.shifts]
    changes += [(f"blurred over {2 * cells + 1}", "blur", cells) for cells in settings.blurs]
    inferring = next(task for task in everything if task.stage.name == "infer")
    fields: dict[str, Path] = {}
    names: tuple[str, ...] = layers.layer_names
    for layer in ("every layer", *names):
        for said, change, cells in changes[: 1 if layer not in names else None]:
            home = Shelf(shelf.folder / "evaluate" / "proxies" / layer / f"{change}_{cells}")
            spoilt = (layer,) if layer in names else names
            everything.append(_altered(shelf, home, layers=spoilt, change=change, cells=cells))
            inputs = {**inferring.inputs, "cube": home.link("cube")}
            everything.append(replace(inferring, shelf=home, inputs=inputs))
            fields[f"{layer}/{said}"] = home.link("field")
    section = ATTRIBUTE.body().Config(**_shared(settings))
    links: dict[str, Any] = {"cube": shelf.link("cube"), "field": shelf.link("field"), "fields": fields}
    return carry_out(runner, [*everything, Task(ATTRIBUTE, section, shelf, links)])


def _shared(settings: Any) -> dict[str, Any]:
    """Settings that the sections of the protocols have in common with `evaluate`."""
    return {name: getattr(settings, name) for name in ("block", "draws", "moves", "seed")}


def _learning() -> list[Stage]:
    """The stages between tiles and maps."""
    return [stage for stage in STAGES if stage.name not in (*SHARED, "mosaic")]


def _altered(shelf: Shelf, home: Shelf, **changes: Any) -> Task:
    """The task that writes the altered cube on a shelf of its own."""
    section: Section = ALTER.body().Config(**changes)
    return Task(ALTER, section, home, {"cube": shelf.link("cube")})


def _without(config: RunConfig, group: int) -> RunConfig:
    """The same recipe where a coarse cell is group times as wide: sizes chosen by hand are chosen anew.

    Spatial blocks keep their ground, as far as whole merged cells can.
    """
    tiling: Any = config["tile"]
    return config.changed(
        "tile.size=null",
        "tile.stride=null",
        f"tile.block={max(1, round(tiling.block / group))}",
        "infer.core=null",
        "infer.halo=null",
        "infer.checkpoint=null",
        "train.pretrained=null",
    )
