"""Has every method of a comparison make finished maps by the same freshness rules, then scores them."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from model.ground.errors import UsageFault
from model.methods import installed
from model.methods.choice import MethodChoice
from pipeline.config.load import RunConfig
from pipeline.runner import Runner, advance, tasks
from pipeline.staleness import Task, staleness
from pipeline.workspace import Shelf
from stages import EVALUATE, STAGES, Stage, per_method
from stages.contract.body import Preview
from stages.contract.run_key import RunKey

TRANSFERRED = "transferred"  # what a checkpoint trained elsewhere is called in a table


def evaluate_all(
    runner: Runner, config: RunConfig, table: Sequence[Stage] = STAGES, last: Stage = EVALUATE
) -> Task:
    """Makes finished maps by the run's own method and every one in evaluate.methods, then scores them.

    The run's own method comes first, from the main chain. Each other one trains, infers and writes maps on a
    shelf of its own that shares the cube and the tiles.

    Returns: the scoring task, whose artifact now is fresh.
    """
    last.body().check(config[last.name], Preview())
    return carry_out(runner, comparison(runner, config, table, last))


def carry_out(runner: Runner, everything: Sequence[Task]) -> Task:
    """Runs whatever is not fresh, in order; returns the last task."""
    shelf = runner.workspace.shelf
    if all(staleness(task, runner.hashes) is None for task in everything):
        runner.screen.say("up to date")
        return everything[-1]
    with runner.workspace.locked():
        for before, task in zip([None, *everything], everything, strict=False):
            if task.shelf != shelf and (before is None or before.shelf != task.shelf):
                runner.screen.say(f"for {task.shelf.folder.relative_to(shelf.folder / 'evaluate')}")
            advance(runner, task)
        runner.hashes.save()
    return everything[-1]


def comparison(runner: Runner, config: RunConfig, table: Sequence[Stage], last: Stage) -> list[Task]:
    """Every task of an evaluation, the scoring at the end."""
    everything: list[Task] = []
    maps: dict[RunKey, Path] = {}
    shelf = runner.workspace.shelf
    cube = None
    for case, changed, home in cases(config, shelf, last):
        chain = tasks(changed, home, table)
        made = {task.stage for task in chain}
        everything += chain
        # A checkpoint from elsewhere needs no tiles; the methods beside it do.
        everything += tasks(changed, home, [row for row in table if not row.per_method and row not in made])
        cube = cube or home.link("cube")
        maps[RunKey(judged(changed), case)] = home.link("maps")
        for method, other, aside in others(changed, home, table, last):
            everything += tasks(other, aside, per_method(table))
            maps[RunKey(method, case)] = aside.link("maps")
    inputs: dict[str, Any] = {need: maps if need == "maps" else cube for need in last.needs}
    return [*everything, Task(last, config[last.name], shelf, inputs)]


def others(
    config: RunConfig, home: Shelf, table: Sequence[Stage], last: Stage
) -> Iterator[tuple[str, RunConfig, Shelf]]:
    """Every method beside the run's own: its name, its configuration, and its shelf, which shares cube and tiles."""
    settings: Any = config[last.name]
    shared = [stage.gives for stage in table if not stage.per_method]
    optional = getattr(settings, "methods_if_installed", ())
    named: dict[str, Any] = {}
    for method in [*settings.methods, *(choice for choice in optional if installed(str(choice)))]:
        named.setdefault(str(method), method)
    for name, method in named.items():
        if name != judged(config):
            overrides = [f"train.method={_given(method)}"]
            overrides += ["infer.checkpoint=null"] if judged(config) == TRANSFERRED else []
            yield name, config.changed(*overrides), home.beside(name, shared)


def _given(method: Any) -> str:
    """A method and the options it was given, as a word of `--set` states them."""
    return json.dumps(method.given()) if isinstance(method, MethodChoice) else str(method)


def left_out(config: RunConfig, last: Stage = EVALUATE) -> list[str]:
    """Methods that are compared where their extra is installed, and it is not."""
    optional = getattr(config[last.name], "methods_if_installed", ())
    return [str(choice) for choice in optional if not installed(str(choice))]


def judged(config: RunConfig) -> str:
    """The run's own method, which the others are compared with."""
    training: Any = config["train"]
    if getattr(config["infer"], "checkpoint", None) is not None:
        return TRANSFERRED
    return str(training.method)


def cases(config: RunConfig, shelf: Shelf, last: Stage) -> Iterator[tuple[str, RunConfig, Shelf]]:
    """Each named subset of the layers: name, configuration and shelf; without any, the run itself.

    The case that uses the run's own layers shares the run's artifacts.
    Raises: UsageFault (exit 2) for a layer that the configuration does not declare.
    """
    named = getattr(config[last.name], "cases", {})
    if not named:
        yield "", config, shelf
        return
    everything: Any = config.changed("ingest.leave_out=[]")["ingest"]
    own: Any = config["ingest"]
    for case, layers in named.items():
        if unknown := sorted(set(layers) - set(everything.layer_names)):
            raise UsageFault(
                f"evaluate.cases.{case}",
                f"no layer {', '.join(unknown)}",
                f"layers of the section ingest: {', '.join(everything.layer_names)}",
                "correct the names",
            )
        left = [name for name in everything.layer_names if name not in layers]
        if set(own.leave_out) == set(left):
            yield case, config, shelf
        else:
            changed = config.changed(f"ingest.leave_out={json.dumps(left)}")
            yield case, changed, Shelf(shelf.folder / "evaluate" / "cases" / case)
