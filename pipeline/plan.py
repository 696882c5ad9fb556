"""Plans a run: the tasks of its chain, why each is to run, and whether everything it needs will be there."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.ground.errors import ArtifactError, Fix, HectareError, UsageError, raise_together
from pipeline.config.load import RunConfig
from pipeline.source_hashes import Hashes
from pipeline.staleness import FORCED, Kind, Reason, staleness
from pipeline.task import Task
from pipeline.workspace import Shelf
from stages import STAGES, Stage


@dataclass(frozen=True)
class Plan:
    """What one stage is about to do and why; reason None means that it is fresh."""

    task: Task
    reason: Reason | None


def tasks(config: RunConfig, shelf: Shelf, table: Sequence[Stage] = STAGES) -> list[Task]:
    """The chain of one run as the table tells it, without stages whose work a setting makes needless.

    Args:
      shelf: where every stage publishes, and where its needs are looked for.
    Returns: in the table's order.
    """
    needs: dict[str, tuple[str, ...]] = {}
    needless: set[str] = set()
    for stage in table:
        spared = stage.body().spares(config[stage.name])
        needs[stage.name] = tuple(need for need in stage.needs if need not in spared)
        needless.update(spared)
    kept: list[Stage] = []
    for stage in reversed(table):
        if stage.gives not in needless:
            kept.insert(0, stage)
        else:  # nobody else reads it, so what only it reads is needless too
            read: set[str] = set()
            for other in kept:
                read.update(needs[other.name])
            needless |= set(stage.needs) - read - {table[0].gives}
    chain: list[Task] = []
    for stage in kept:
        inputs: dict[str, Path] = dict(
            zip(needs[stage.name], map(shelf.link, needs[stage.name]), strict=True)
        )
        chain.append(Task(stage, config[stage.name], shelf, inputs))
    return chain


def plan(chain: Sequence[Task], hashes: Hashes, force: Collection[str] = ()) -> list[Plan]:
    """Looks at every stage before any runs; a stage behind one that will run waits on it.

    Args:
      force: names of stages to run although they are fresh.
    Returns: one a task, in the chain's order.
    """
    plans: list[Plan] = []
    remade: dict[str, str] = {}  # artifact -> the stage that will make it
    for task in chain:
        waits = [remade[need] for need in task.inputs if need in remade]
        reason = FORCED if task.stage.name in force else staleness(task, hashes)
        if reason is None and waits:
            reason = Reason(Kind.WAITS, ", ".join(waits))
        if reason is not None:
            remade[task.stage.gives] = task.stage.name
        plans.append(Plan(task, reason))
    return plans


def check_names(chain: Sequence[Task], names: Sequence[str], force: Collection[str]) -> None:
    """Refuses stages that are not in the table, and forcing one that is not to run."""
    known = [task.stage.name for task in chain]
    faults: list[HectareError] = []
    for name in (*names, *force):
        if name not in known:
            wanted, found = "one of " + ", ".join(known), f"no stage `{name}`"
            faults.append(UsageError("command line", found, wanted, "check the name"))
        elif names and name not in names:
            fix = Fix((" ".join(("run", name, *names)),), "name it too: {}")
            found = f"--force {name}, which is not to run"
            faults.append(UsageError("command line", found, "a named stage", fix))
    raise_together(faults)


def chosen(plans: Sequence[Plan], names: Collection[str]) -> list[Plan]:
    """Those of the named stages; all where none is named."""
    return [step for step in plans if not names or step.task.stage.name in names]


def unmet(
    plans: Sequence[Plan], names: Collection[str], command: Callable[..., str]
) -> Iterator[ArtifactError]:
    """Needs of named stages that are missing or stale and that no earlier named stage makes.

    Args:
      command: Runner.words, the command that runs named stages.
    """
    maker = _makers(plans)
    for step in chosen(plans, names):
        for need in step.task.inputs:
            made = maker[need]
            if made.reason is None or not names or made.task.stage.name in names:
                continue
            state = "is stale" if made.task.link.exists() else "is missing"
            yield ArtifactError(
                f"stage {step.task.stage.name}",
                f"its input `{need}` {state}: {made.reason.about(need)}",
                f"a fresh {need} ({made.task.link})",
                _remedy(plans, made, command),
            )


def _remedy(plans: Sequence[Plan], made: Plan, command: Callable[..., str]) -> str:
    """The command that runs every stale stage up to the one that makes the need, in the chain's order."""
    wanted: set[str] = set()
    maker = _makers(plans)
    todo = [made]
    while todo:
        step = todo.pop()
        if step.reason is not None:
            wanted.add(step.task.stage.name)
            todo += [maker[need] for need in step.task.inputs]
    names = [step.task.stage.name for step in plans if step.task.stage.name in wanted]
    lost = made.reason is not None and made.reason.kind is Kind.OUTPUT
    return command(*names, option="--force" if lost and len(names) == 1 else "")


def _makers(plans: Sequence[Plan]) -> dict[str, Plan]:
    """By artifact the plan of the stage that makes it."""
    return {step.task.stage.gives: step for step in plans}
