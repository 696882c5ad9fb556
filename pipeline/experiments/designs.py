"""Protocols that ask a harder question than the run itself: each runs the same chain on an altered world."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from model.evaluation.perturbations import Fold
from model.ground.errors import UsageError
from pipeline.config.load import RunConfig
from pipeline.experiments.comparison import (
    Asked,
    carry_out,
    evaluate_all,
    judged,
    layers_of,
    on_its_own,
    others,
    settings_of,
    words_of,
)
from pipeline.plan import tasks
from pipeline.runner import Runner
from pipeline.task import Task
from pipeline.workspace import Shelf
from stages import (
    CROSS_VALIDATION,
    EVALUATE,
    PERTURB,
    SCALE_SHIFT,
    SENSITIVITY,
    STAGES,
    Stage,
    chain_to,
    estimate_of,
    per_method,
)
from stages.contract.body import AnyBody, Preview
from stages.contract.run_key import RunKey
from stages.contract.section import Section

if TYPE_CHECKING:
    from stages.evaluate.config import Config as EvaluateConfig

Table = Sequence[Stage]
Inputs = Path | Mapping[RunKey, Path]
RIM = 1  # coarse cells around a fold of blocks that are hidden with it


@dataclass(frozen=True)
class Withheld:
    """What a field is kept from: a fold of the ground, or years.

    Attributes:
      name: scores of parts of one name are pooled.
    """

    name: str
    fold: Fold | None = None
    years: tuple[int, ...] = ()

    @property
    def hidden(self) -> dict[str, JsonValue] | None:
        """The fold as the section that hides it states it."""
        return None if self.fold is None else asdict(self.fold)

    def to_json(self) -> dict[str, JsonValue]:
        """As the section that scores the field states it."""
        return {"name": self.name, "hide": self.hidden, "years": [*self.years]}


def scale_shift(runner: Runner, config: RunConfig, table: Table = STAGES, last: Stage = EVALUATE) -> Task:
    """Merges the totals, has every method downscale them again, and scores it on the totals that were merged.

    Needs no truth. Every method is made anew from the merged totals alone, so that nothing has seen the answer.
    """
    settings = settings_of(config, last)
    shelf = runner.workspace.shelf
    estimate = estimate_of(table)
    cube = chain_to("cube", table)
    rest = [stage for stage in chain_to(estimate, table) if stage not in cube]
    everything = tasks(config, shelf, cube)
    fields: dict[RunKey, Path] = {}
    for group in dict.fromkeys(settings.coarsenings):
        home = Shelf(shelf.folder / "evaluate" / "scale_shift" / f"by_{group}")
        chain = config.changed(
            *words_of(config, table, merged_by(group)),
            *words_of(config, table, on_its_own),
        )
        everything.append(_altered(shelf, home, group=group, match=settings.match))
        everything += tasks(chain, home, rest)
        fields[RunKey(judged(chain, table), part=group)] = home.link(estimate)
        for method, other, aside in others(chain, home, table, last):
            everything += tasks(other, aside, per_method(rest))
            fields[RunKey(method, part=group)] = aside.link(estimate)
    section = SCALE_SHIFT.body().Config(**_shared(settings))
    inputs: dict[str, Inputs] = {"cube": shelf.link("cube"), "fields": fields}
    return carry_out(runner, [*everything, Task(SCALE_SHIFT, section, shelf, inputs)])


def spatial_cross_validation(
    runner: Runner, config: RunConfig, table: Table = STAGES, last: Stage = EVALUATE
) -> Task:
    """Hides one fold of the totals after the other from training and scores each method on the fold's truth.

    Folds of whole spatial blocks with a buffer, and folds of single cells at random: the gap between the two tells
    how much of a score is owed to seen neighbours.
    """
    settings = settings_of(config, last)
    parts: list[Withheld] = []
    for kind, name in (("blocks", "spatial blocks"), ("random", "random folds")):
        for number in range(settings.folds):
            fold = Fold(kind, number, settings.folds, settings.spatial_block, RIM, settings.seed)
            parts.append(Withheld(name, fold))
    return _kept_apart(runner, config, CROSS_VALIDATION, parts, table, last)


def years(runner: Runner, config: RunConfig, table: Table = STAGES, last: Stage = EVALUATE) -> Task:
    """Hides the last year of the totals from training and scores each method on the truth of that year.

    Raises: UsageError (exit 2) when the totals are of a single year.
    """
    given: list[int] = []
    for stage in table:
        given += stage.body().years(config[stage.name])
    if len(given) < 2:
        found, wanted = f"totals of {given[0]} alone", "totals of at least two years"
        fix = "add totals of other years, or use spatial_cross_validation"
        raise UsageError("evaluate --protocol years", found, wanted, fix)
    year = given[-1]
    row = replace(CROSS_VALIDATION, gives="years")
    return _kept_apart(runner, config, row, [Withheld(f"year {year}", years=(year,))], table, last)


def _kept_apart(
    runner: Runner, config: RunConfig, row: Stage, parts: Sequence[Withheld], table: Table, last: Stage
) -> Task:
    """Every method trained without each part, applied to the whole map, scored on the part."""
    settings = settings_of(config, last)
    last.body().check(settings, Preview())
    shelf = runner.workspace.shelf
    # What was trained elsewhere may have seen what is hidden.
    config = config.changed(*words_of(config, table, on_its_own))
    estimate = estimate_of(table)
    cube = chain_to("cube", table)
    rest = [stage for stage in chain_to(estimate, table) if stage not in cube]
    learning = chain_to("checkpoint", table)
    everything = tasks(config, shelf, cube)
    fields: dict[RunKey, Path] = {}
    for number, part in enumerate(parts):
        home = Shelf(shelf.folder / "evaluate" / row.gives / f"part_{number}")
        everything.append(_altered(shelf, home, hide=part.hidden, hide_years=part.years))
        everything += tasks(config, home, [stage for stage in rest if not stage.per_method])
        own = (judged(config, table), config, home)
        for method, changed, place in [own, *others(config, home, table, last)]:
            for task in tasks(changed, place, per_method(rest)):
                everything.append(task if task.stage in learning else _on_cube(task, shelf))
            fields[RunKey(method, part=number)] = place.link(estimate)
    section = row.body().Config(
        parts=[part.to_json() for part in parts],
        truth=[item.model_dump() | {"path": item.path} for item in settings.truth],
        spatial_block=settings.spatial_block,
        bootstrap_draws=settings.bootstrap_draws,
        seed=settings.seed,
    )
    inputs: dict[str, Inputs] = {"cube": shelf.link("cube"), "fields": fields}
    return carry_out(runner, [*everything, Task(row, section, shelf, inputs)])


def sensitivity(runner: Runner, config: RunConfig, table: Table = STAGES, last: Stage = EVALUATE) -> Task:
    """Spoils one layer after the other and tells how much of the mass goes elsewhere; needs no truth.

    The method and its checkpoint stay the same: the question is what this map rests on.
    """
    settings = settings_of(config, last)
    shelf = runner.workspace.shelf
    estimate = estimate_of(table)
    everything = tasks(config, shelf, chain_to(estimate, table))
    learning = chain_to("checkpoint", table)
    applying = [task for task in everything if task.stage not in learning]
    changes = [("dropped", "drop", 0)]
    changes += [(f"shifted by {cells}", "shift", cells) for cells in settings.shifts]
    changes += [(f"blurred over {2 * cells + 1}", "blur", cells) for cells in settings.blurs]
    fields: dict[RunKey, Path] = {}
    names = layers_of(config, table)
    for layer in ("every layer", *names):
        for said, change, cells in changes[: 1 if layer not in names else None]:
            home = Shelf(shelf.folder / "evaluate" / "sensitivity" / layer / f"{change}_{cells}")
            spoilt = (layer,) if layer in names else names
            everything.append(_altered(shelf, home, layers=spoilt, change=change, cells=cells))
            everything += _moved(applying, home)
            fields[RunKey(part=layer, change=said)] = home.link(estimate)
    section = SENSITIVITY.body().Config(**_shared(settings))
    links: dict[str, Inputs] = {"cube": shelf.link("cube"), "field": shelf.link(estimate), "fields": fields}
    return carry_out(runner, [*everything, Task(SENSITIVITY, section, shelf, links)])


def merged_by(group: int) -> Asked:
    """The question under which settings a stage does alike where a coarse cell is `group` times as wide."""

    def ask(body: AnyBody, section: Section) -> tuple[str, ...]:
        return body.merged(section, group)

    return ask


def _on_cube(task: Task, shelf: Shelf) -> Task:
    """The same task, reading the cube of another shelf."""
    if "cube" not in task.inputs:
        return task
    return replace(task, inputs={**task.inputs, "cube": shelf.link("cube")})


def _moved(chain: Iterable[Task], home: Shelf) -> Iterator[Task]:
    """The same work on another shelf, from its cube and from what is made there; the rest is read as before."""
    made = {"cube"}
    for task in chain:
        here = {need: home.link(need) for need in task.inputs if need in made}
        made.add(task.stage.gives)
        yield replace(task, shelf=home, inputs={**task.inputs, **here})


def _shared(settings: "EvaluateConfig") -> dict[str, int]:
    """Settings that the sections of the protocols have in common with `evaluate`."""
    return {
        "spatial_block": settings.spatial_block,
        "bootstrap_draws": settings.bootstrap_draws,
        "emd_blocks": settings.emd_blocks,
        "seed": settings.seed,
    }


def _altered(shelf: Shelf, home: Shelf, **changes: object) -> Task:
    """The task that writes the altered cube on a shelf of its own."""
    section: Section = PERTURB.body().Config(**changes)
    return Task(PERTURB, section, home, {"cube": shelf.link("cube")})


# Protocols of `pipeline evaluate`: each makes what is not fresh and returns the scoring task.
DESIGNS: dict[str, Callable[[Runner, RunConfig], Task]] = {
    "truth": evaluate_all,
    "scale_shift": scale_shift,
    "spatial_cross_validation": spatial_cross_validation,
    "years": years,
    "sensitivity": sensitivity,
}
RENAMED = {"folds": "spatial_cross_validation", "proxies": "sensitivity"}
