"""Has every method of a comparison make finished maps by the same freshness rules, then scores them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from model.ground.errors import UsageError
from model.methods import installed
from model.methods.choice import MethodChoice
from pipeline.config.load import RunConfig
from pipeline.plan import tasks
from pipeline.runner import Runner, advance
from pipeline.staleness import staleness
from pipeline.task import Task
from pipeline.workspace import Shelf
from stages import EVALUATE, STAGES, Stage, per_method
from stages.contract.body import AnyBody, Preview
from stages.contract.run_key import RunKey
from stages.contract.section import Section

if TYPE_CHECKING:  # it opens files, which a configuration that is only read does not need
    from stages.evaluate.config import Config as EvaluateConfig

Asked = Callable[[AnyBody, Section], Sequence[str]]

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
    """Runs whatever is not fresh, in order, under the lock of the workspace.

    Returns: the last task, whose artifact now is fresh.
    Raises: BusyError when another process holds the run; whatever a stage raises.
    """
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
    """Every task of an evaluation, the scoring at the end.

    Args:
      table: rows of the chain; those with `per_method` are run by each method on a shelf of its own.
      last: row of the evaluation, which needs the maps of all methods and the cube.
    """
    everything: list[Task] = []
    maps: dict[RunKey, Path] = {}
    shelf = runner.workspace.shelf
    cubes: list[Path] = []
    for case, changed, home in cases(config, shelf, last, table):
        chain = tasks(changed, home, table)
        made = {task.stage for task in chain}
        everything += chain
        # A checkpoint from elsewhere needs no tiles; the methods beside it do.
        everything += tasks(changed, home, [row for row in table if not row.per_method and row not in made])
        cubes.append(home.link("cube"))
        maps[RunKey(judged(changed, table), case)] = home.link("maps")
        for method, other, aside in others(changed, home, table, last):
            everything += tasks(other, aside, per_method(table))
            maps[RunKey(method, case)] = aside.link("maps")
    inputs: dict[str, Path | Mapping[RunKey, Path]] = {}
    for need in last.needs:
        inputs[need] = maps if need == "maps" else cubes[0]
    return [*everything, Task(last, config[last.name], shelf, inputs)]


def words_of(config: RunConfig, table: Sequence[Stage], ask: Asked) -> list[str]:
    """What stages answer to a question of an experiment, as words of `--set`.

    Args:
      ask: called with each stage's body and section; gives words without the stage's name.
    """
    words = []
    for stage in table:
        for word in ask(stage.body(), config[stage.name]):
            words.append(f"{stage.name}.{word}")
    return words


def on_its_own(body: AnyBody, section: Section) -> tuple[str, ...]:
    """The question under which settings a stage uses nothing that another run has learned."""
    return body.on_its_own()


def with_every_layer(body: AnyBody, section: Section) -> tuple[str, ...]:
    """The question under which settings a stage leaves out no layer."""
    return body.with_every_layer()


def with_method(choice: str) -> Asked:
    """The question how a stage is told to take a method."""

    def ask(body: AnyBody, section: Section) -> tuple[str, ...]:
        return body.with_method(choice)

    return ask


def without(layers: Sequence[str]) -> Asked:
    """The question how a stage is told to leave out these layers and no other."""

    def ask(body: AnyBody, section: Section) -> tuple[str, ...]:
        return body.without(section, layers)

    return ask


def others(
    config: RunConfig, home: Shelf, table: Sequence[Stage], last: Stage
) -> Iterator[tuple[str, RunConfig, Shelf]]:
    """Every method beside the run's own: its name, its configuration, and its shelf, which shares cube and tiles.

    Args:
      home: shelf of the run's own method.
      last: row of the evaluation, whose section names the methods.
    """
    settings = settings_of(config, last)
    shared = [stage.gives for stage in table if not stage.per_method]
    own = judged(config, table)
    named: dict[str, MethodChoice] = {}
    for choice in (*settings.methods, *settings.methods_if_installed):
        if choice in settings.methods or installed(str(choice)):
            named.setdefault(str(choice), choice)
    named.pop(own, None)
    for name, choice in named.items():
        overrides = words_of(config, table, with_method(_given(choice)))
        if own == TRANSFERRED:
            overrides += words_of(
                config, [stage for stage in table if _applies_another(config, stage)], on_its_own
            )
        yield name, config.changed(*overrides), home.beside(name, shared)


def settings_of(config: RunConfig, last: Stage) -> "EvaluateConfig":
    """The section of the evaluation, with the type it has.

    Args:
      last: row of the evaluation.
    """
    return cast("EvaluateConfig", config[last.name])


def _given(choice: MethodChoice | str) -> str:
    """A method and the options it was given, as a word of `--set` states them."""
    return json.dumps(choice.given()) if isinstance(choice, MethodChoice) else str(choice)


def left_out(config: RunConfig, last: Stage = EVALUATE) -> list[str]:
    """Methods that are compared where their extra is installed, and it is not.

    Returns: their short names, in the order of `methods_if_installed`.
    """
    every = map(str, settings_of(config, last).methods_if_installed)
    return [name for name in every if not installed(name)]


def _applies_another(config: RunConfig, stage: Stage) -> bool:
    """Whether the stage applies what another run has learned."""
    return stage.body().is_transferred(config[stage.name])


def judged(config: RunConfig, table: Sequence[Stage] = STAGES) -> str:
    """The run's own method, which the others are compared with.

    Returns: its short name, from the last stage that names one; `transferred` where a stage applies what another run
      has learned.
    """
    name = ""
    for stage in table:
        if _applies_another(config, stage):
            return TRANSFERRED
        name = stage.body().method(config[stage.name]) or name
    return name


def layers_of(config: RunConfig, table: Sequence[Stage]) -> tuple[str, ...]:
    """Names of the layers that the cube will have.

    Returns: those that any stage of the table says it brings, in its order.
    """
    names: list[str] = []
    for stage in table:
        names += stage.body().layers(config[stage.name])
    return tuple(names)


def cases(
    config: RunConfig, shelf: Shelf, last: Stage, table: Sequence[Stage] = STAGES
) -> Iterator[tuple[str, RunConfig, Shelf]]:
    """Each named subset of the layers: name, configuration and shelf; without any, the run itself.

    The case that uses the run's own layers shares the run's artifacts.

    Raises: UsageError (exit 2) for a layer that the configuration does not declare.
    """
    named = settings_of(config, last).cases
    if not named:
        yield "", config, shelf
        return
    whole = config.changed(*words_of(config, table, with_every_layer))
    known = layers_of(whole, table)
    for case, layers in named.items():
        if unknown := sorted(set(layers) - set(known)):
            raise UsageError(
                f"{last.name}.cases.{case}",
                f"no layer {', '.join(unknown)}",
                f"layers that are declared: {', '.join(known)}",
                "correct the names",
            )
        left = [name for name in known if name not in layers]
        changes = words_of(config, table, without(left))
        if changes:
            yield case, config.changed(*changes), Shelf(shelf.folder / "evaluate" / "cases" / case)
        else:
            yield case, config, shelf
