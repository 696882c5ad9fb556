"""The commands that run the chain, or tell what a run would do."""

import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import click

from pipeline.cli.request import Request, of_a_run

if TYPE_CHECKING:
    from pipeline.plan import Plan
    from pipeline.runner import Runner
    from pipeline.task import Task
    from pipeline.workspace import Workspace

EVERY, ASK = "*", "?"


@click.command()
@click.argument("names", nargs=-1, metavar="[STAGES]...")
@click.option(
    "--force", multiple=True, is_flag=False, flag_value=EVERY, metavar="[STAGE]", help="Run although fresh."
)
@click.option("--dry-run", is_flag=True, help="List what would run and why; change nothing.")
@click.option("--fresh", is_flag=True, help="Begin anew what an earlier attempt left unfinished.")
@click.option(
    "--from", "back", is_flag=False, flag_value=ASK, metavar="[STATE]",
    help="Go back to a saved state of unfinished training, e.g. epoch_010; without a name, choose one.",
)  # fmt: skip
@of_a_run
def run(
    request: Request,
    names: tuple[str, ...],
    force: tuple[str, ...],
    dry_run: bool,
    fresh: bool,
    back: str | None,
) -> None:
    """Runs stages of the chain: ingest tile train infer mosaic. Without names, whatever is needed."""
    from pipeline import runner as loop
    from pipeline.plan import check_names, plan, tasks

    config = request.config()
    runner = request.runner()
    chain = tasks(config, runner.workspace.shelf)
    named = names or [task.stage.name for task in chain]
    forced = {*force, *named} - {EVERY} if EVERY in force else set(force)
    if dry_run:
        check_names(chain, names, forced)
        _tell_plans(plan(chain, runner.hashes, forced), names)
        return
    click.echo(f"run {config.name} ({request.file})")
    runner.fresh, runner.back = fresh, chosen_state(back, runner, chain)
    with runner.stopper.armed():
        loop.run(runner, chain, names, forced)
    _tell_results(runner.workspace)


@click.command()
@of_a_run
def status(request: Request) -> None:
    """Tells which artifacts are fresh, which are stale and why."""
    from pipeline.plan import plan, tasks

    config = request.config()
    runner = request.runner()
    click.echo(f"run {config.name} in {runner.workspace.folder}")
    _tell_plans(plan(tasks(config, runner.workspace.shelf), runner.hashes))


def chosen_state(asked: str | None, runner: "Runner", chain: "Sequence[Task]") -> str | None:
    """The state of unfinished work to go back to.

    Args:
      asked: a state's name, ASK to choose one on the terminal, None to go on from the latest.
    Raises: UsageError (exit 2) when a choice is asked for and there is no terminal to make it on.
    """
    if asked != ASK:
        return asked
    from model.ground.errors import UsageError
    from pipeline import runner as loop

    names = loop.states(runner, chain)
    if not sys.stdin.isatty():
        raise UsageError("--from", "no name", f"one of {', '.join(names)}", "name it: --from STATE")
    return str(click.prompt("go back to", type=click.Choice(names), default=names[-1]))


def _tell_plans(plans: "Sequence[Plan]", names: Collection[str] = ()) -> None:
    for step in plans:
        if not names or step.task.stage.name in names:
            click.echo(f"{step.task.stage.name:8} {step.reason or 'up to date'}")


def _tell_results(workspace: "Workspace") -> None:
    maps, training = workspace.shelf.link("maps"), workspace.shelf.link("checkpoint") / "training.html"
    if training.is_file():
        click.echo(f"training: {training}")
    if maps.is_dir():
        click.echo(f"maps:   {maps}")
        click.echo(f"report: {maps / 'report.html'}")
