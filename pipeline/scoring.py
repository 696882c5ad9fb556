"""Has every method of a comparison make finished maps by the same freshness rules, then scores them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.config import RunConfig
from pipeline.freshness import Task, staleness
from pipeline.run import Runner, advance, tasks
from stages import EVALUATE, STAGES, Stage

SHARED = ("ingest", "tile")  # do not depend on the method


def evaluate_all(
    runner: Runner, config: RunConfig, table: Sequence[Stage] = STAGES, last: Stage = EVALUATE
) -> Task:
    """Makes finished maps by the run's own method and every one in evaluate.methods, then scores them.

    The run's own method comes first, from the main chain. Each other one trains, infers and writes maps on a
    shelf of its own that shares the cube and the tiles.

    Returns: the scoring task, whose artifact now is fresh.
    """
    if (judge := getattr(last.body(), "check", None)) is not None:
        judge(config[last.name])
    everything = comparison(runner, config, table, last)
    shelf = runner.workspace.shelf
    if all(staleness(task, runner.hashes) is None for task in everything):
        runner.screen.say("up to date")
        return everything[-1]
    with runner.workspace.locked():
        for before, task in zip([None, *everything], everything, strict=False):
            if task.shelf != shelf and (before is None or before.shelf != task.shelf):
                runner.screen.say(f"method {task.shelf.folder.name}")
            advance(runner, task)
        runner.hashes.save()
    return everything[-1]


def comparison(runner: Runner, config: RunConfig, table: Sequence[Stage], last: Stage) -> list[Task]:
    """Every task of an evaluation, the scoring at the end."""
    training: Any = config["train"]
    settings: Any = config[last.name]
    shelf = runner.workspace.shelf
    everything = tasks(config, shelf, table)
    maps: dict[str, Path] = {training.method: shelf.link("maps")}
    for method in dict.fromkeys(settings.methods):
        if method == training.method:
            continue
        other = config.changed(f"train.method={method}")
        aside = shelf.beside(method, [stage.gives for stage in table if stage.name in SHARED])
        everything += tasks(other, aside, [stage for stage in table if stage.name not in SHARED])
        maps[method] = aside.link("maps")
    inputs: dict[str, Any] = {need: maps if need == "maps" else shelf.link(need) for need in last.needs}
    return [*everything, Task(last, config[last.name], shelf, inputs)]
