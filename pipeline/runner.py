"""The one loop: skip a stage that is fresh, else run and publish it. Read this after stages/__init__.py."""

import contextlib
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.ground.errors import HectareError, HectareErrors, InputError, UsageError, raise_together
from pipeline import manifest as manifests
from pipeline.cli.console import Screen, duration, size
from pipeline.plan import check_names, chosen, plan, unmet
from pipeline.source_hashes import Hashes
from pipeline.staleness import FORCED, staleness
from pipeline.system import resources
from pipeline.system.run_log import RunLog
from pipeline.system.signals import Stopped, Stopper
from pipeline.task import Task, fingerprint
from pipeline.workspace import Workspace
from stages import STAGES, Stage
from stages.contract import progress
from stages.contract.progress import Note, Step

FORCED_MARK = ".forced"  # in a partial folder: it was begun from nothing by --force


@dataclass
class Runner:
    """What all stages of one run share.

    Attributes:
      command: how a user names this run on the command line, e.g. "-c configs/vienna.yaml".
      table: the chain, for naming the stage that makes an artifact.
      checked: stamps whose bytes this process has written or checked in full.
      fresh: what an earlier attempt left unfinished is not gone on with.
      back: a state of unfinished work to go back to; None goes on from the latest.
    """

    workspace: Workspace
    screen: Screen
    stopper: Stopper
    command: str = ""
    table: Sequence[Stage] = STAGES
    checked: set[tuple[str, str]] = field(default_factory=set)
    fresh: bool = False
    back: str | None = None

    def __post_init__(self) -> None:
        self.hashes = Hashes(self.workspace.hashes)
        self.journal = RunLog(self.workspace.log)

    def words(self, *names: str, verb: str = "run", option: str = "") -> str:
        """The command that does something with this run."""
        return " ".join(word for word in ("pipeline", verb, *names, option, self.command) if word)


def run(
    runner: Runner, chain: Sequence[Task], names: Sequence[str] = (), force: Collection[str] = ()
) -> list[str]:
    """Runs what is needed: the named stages in the chain's order, or all.

    Args:
      force: stages to run although they are fresh.
    Returns: the stages that ran.
    Raises: ArtifactError before anything runs when a named stage lacks a need that no named stage makes;
      BusyError when another process holds the run.
    """
    check_names(chain, names, force)
    idle = all(step.reason is None for step in chosen(plan(chain, runner.hashes, force), names))
    if idle and runner.back is None:
        runner.screen.say("up to date")  # nothing is touched: neither lock nor log
        return []
    with runner.workspace.locked():
        plans = plan(chain, runner.hashes, force)
        raise_together(list(unmet(plans, names, runner.words)))
        runner.hashes.save()
        if runner.back is not None:
            restore(runner, chain, runner.back)
        ran = [step.task.stage.name for step in chosen(plans, names) if advance(runner, step.task, force)]
        runner.hashes.save()
    return ran


def restore(runner: Runner, chain: Sequence[Task], name: str) -> None:
    """Makes a stage's unfinished work stand where it once stood.

    Raises: UsageError when nothing is unfinished, or never stood there.
    """
    task, partial = _unfinished(runner, chain)
    runner.screen.say(task.stage.body().restore(task.config, partial, name))


def states(runner: Runner, chain: Sequence[Task]) -> list[str]:
    """Names of the states that unfinished work may go back to.

    Raises: UsageError when nothing is unfinished.
    """
    task, partial = _unfinished(runner, chain)
    return list(task.stage.body().states(task.config, partial))


def _unfinished(runner: Runner, chain: Sequence[Task]) -> tuple[Task, Path]:
    """The stage whose work has states to go back to, and where it lies."""
    for task in chain:
        if task.stage.body().keeps_states:
            mark = fingerprint(task.stage, task.provenance(runner.hashes))
            partial = task.shelf.partial(task.stage, mark)
            if partial.is_dir() and not task.shelf.is_written(task.stage, mark):
                return task, partial
    found, wanted = "nothing is unfinished under these settings", "training that was stopped or killed"
    raise UsageError("--from", found, wanted, "leave --from out; states of finished runs lie under history/")


def advance(runner: Runner, task: Task, force: Collection[str] = ()) -> bool:
    """One turn of the loop: runs and publishes the stage unless it is fresh, and logs what happened.

    Args:
      force: names of stages to run although they are fresh.
    Returns: True when the stage ran.
    Raises: HectareError or HectareErrors of the stage, or of damaged needs (exit 4); Stopped when
      somebody asked for it.
    """
    name, forced = task.stage.name, task.stage.name in force
    reason = FORCED if forced else staleness(task, runner.hashes)
    if reason is None:
        runner.screen.say(f"{name}: up to date")
        runner.journal.event("skipped", stage=name)
        return False
    runner.screen.say(f"{name}: {reason}")
    runner.journal.event("started", stage=name, reason=str(reason))
    began = time.monotonic()
    resources.restart_peak()
    try:
        with _understood(runner, task):
            _check_needs(runner, task)
            record = _make(runner, task, anew=forced)
    except BaseException:
        runner.journal.event("failed", stage=name, seconds=round(time.monotonic() - began, 3))
        raise
    finally:
        runner.screen.rest()
    seconds, peak = time.monotonic() - began, resources.peak_memory()
    facts = {"seconds": round(seconds, 3), "peak_bytes": peak, "stamp": record.stamp}
    runner.journal.event("finished", stage=name, **facts)
    told = "unknown" if peak is None else size(peak)
    runner.screen.say(f"{name}: done in {duration(seconds)}, peak memory {told}")
    return True


@contextlib.contextmanager
def _understood(runner: Runner, task: Task) -> Iterator[None]:
    """Turns errors of libraries into faults where their cause can be told."""
    try:
        yield
    except (HectareError, HectareErrors):
        raise
    except Exception as error:
        if runner.stopper.requested is not None:  # a worker that got the same signal failed first
            raise Stopped(runner.stopper.requested) from error
        if (fault := resources.as_fault(error, f"stage {task.stage.name}", task.shelf.folder)) is None:
            raise
        raise fault from error


def _make(runner: Runner, task: Task, *, anew: bool) -> manifests.Manifest:
    """Runs the body in its partial folder, unless only the publishing was cut off, and publishes.

    Args:
      anew: start from nothing; an attempt that already did so is continued, so that a forced run resumes too.
    """
    made_from = task.provenance(runner.hashes)
    mark = fingerprint(task.stage, made_from)
    partial = task.shelf.partial(task.stage, mark)
    if runner.fresh:
        task.shelf.discard(partial)
    spoilt = manifests.read(partial) is not None and not task.shelf.is_written(task.stage, mark)
    if spoilt or (anew and not (partial / FORCED_MARK).exists()):
        task.shelf.discard(partial)
    if not task.shelf.is_written(task.stage, mark):
        partial.mkdir(parents=True, exist_ok=True)
        if anew:
            (partial / FORCED_MARK).touch()
        _run_body(runner, task, partial)
        if fingerprint(task.stage, task.provenance(runner.hashes)) != mark:
            task.shelf.discard(partial)  # it mixes two states of the source
            where, found = f"stage {task.stage.name}", "a source changed while it was read"
            raise InputError(where, found, "files that keep still", "run again")
    record = task.shelf.publish(task.stage, mark, made_from)
    runner.checked.add((str(task.link), record.stamp))
    return record


def _run_body(runner: Runner, task: Task, out: Path) -> None:
    def hear(news: Step | Note) -> None:
        runner.screen.hear(news)
        if isinstance(news, Note):
            runner.journal.event("note", stage=task.stage.name, text=news.text, warning=news.warning)
        else:
            runner.stopper.at_step()

    runner.stopper.at_step()
    progress.listen(hear)
    try:
        task.stage.body().run(task.config, **task.inputs, out=out)
    finally:
        progress.listen(None)


def _check_needs(runner: Runner, task: Task) -> None:
    """Hashes every artifact the stage is about to read, once in a process."""
    faults: list[HectareError] = []
    for name, path in task.artifacts():
        record = manifests.read(path)
        seen = (str(path), record.stamp if record else "")
        if seen not in runner.checked:
            found = manifests.damage(path, name, remedy(runner, path))
            faults += found
            if not found:
                runner.checked.add(seen)
    raise_together(faults)


def remedy(runner: Runner, link: Path) -> str:
    """The command that makes a damaged artifact anew.

    Args:
      link: of the artifact, on the run's own shelf or on that of a compared method.
    """
    if link.parent != runner.workspace.folder:
        return f"remove {link.parent} and run `{runner.words(verb='evaluate')}`"
    maker = next((stage.name for stage in runner.table if stage.gives == link.name), "")
    return runner.words(maker, option="--force")
