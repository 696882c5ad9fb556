"""Protocols that ask a harder question than the run itself: each runs the same chain on an altered world."""

from pathlib import Path
from typing import Any

from pipeline.config import RunConfig
from pipeline.freshness import Task
from pipeline.run import Runner, tasks
from pipeline.scoring import SHARED, carry_out, judged, others
from pipeline.workspace import Shelf
from stages import ALTER, EVALUATE, RESCORE, STAGES, Stage
from stages.section import Section


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
        everything.append(_altered(shelf, home, group=group))
        everything += tasks(chain, home, [stage for stage in STAGES[1:] if stage.name != "mosaic"])
        fields[f"{group}/{judged(chain)}"] = home.link("field")
        for method, other, aside in others(chain, home, STAGES, EVALUATE):
            everything += tasks(other, aside, _learning())
            fields[f"{group}/{method}"] = aside.link("field")
    section = RESCORE.body().Config(
        **{name: getattr(settings, name) for name in ("block", "draws", "moves", "seed")}
    )
    inputs: dict[str, Any] = {"cube": shelf.link("cube"), "fields": fields}
    return carry_out(runner, [*everything, Task(RESCORE, section, shelf, inputs)])


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
    )
