"""What a user reads when a command ends early: four labelled lines for each fault, or how to go on."""

import re
import shlex
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipeline.workspace import Workspace


def show_usage(error: click.ClickException) -> int:
    from model.ground.errors import UsageFault

    wanted = "words as `pipeline --help` lists them"
    fault = UsageFault("command line", error.format_message(), wanted, "pipeline --help")
    click.echo(block([fault]), err=True)
    return fault.code


def show_stop(words: list[str], code: int) -> int:
    click.echo(f"stopped; resume with: {shlex.join(['pipeline', *words])}", err=True)
    return code


def _complete(fix: str, words: str) -> str:
    """Adds the options of this call to a command that a stage named without knowing them."""
    if not words or words in fix:
        return fix
    command = r"pipeline run(?: [a-z]+)*(?: --force)?(?= *$|[`;,.])"
    return re.sub(command, lambda found: f"{found[0]} {words}", fix)


def show(error: BaseException, workspace: "Workspace | None", options: str, words: list[str]) -> int:
    """Tells one error on the screen and in the log.

    Args:
      workspace: of the run, None before it is known.
      options: of this call, for the commands that a fix names.
      words: the whole call.
    Returns: the exit code.
    """
    from model.ground.errors import Fault, Faults
    from pipeline.system import resources
    from pipeline.system.run_log import Journal
    from pipeline.system.signals import Stopped

    journal = Journal(workspace.log) if workspace and workspace.folder.is_dir() else None
    if isinstance(error, Stopped):
        if journal:
            journal.event("stopped", signal=str(error), code=error.code)
        return show_stop(words, error.code)
    faults = error.faults if isinstance(error, Faults) else [error] if isinstance(error, Fault) else []
    folder = workspace.folder if workspace else Path.cwd()
    if not faults and (fault := resources.as_fault(error, "pipeline", folder)):
        faults = [fault]
    if not faults:
        found = f"{type(error).__name__}: {resources.first_line(error)}"
        log = f"; the whole story is in {workspace.log}" if journal and workspace else ""
        fix = f"run again with --debug and report it{log}"
        faults = [Fault("pipeline", found, "no unexpected error: this is a defect", fix)]
        if journal:
            journal.event("error", text=found, traceback="".join(traceback.format_exception(error)))
    for fault in faults:
        fault.fix = _complete(fault.fix, options)
        if journal and not _is_busy(fault):
            journal.fault(fault)
    click.echo(block(faults), err=True)
    return faults[0].code


def _is_busy(fault: Any) -> bool:
    """The log belongs to the run that holds the lock."""
    return fault.code == 5


def block(faults: Any) -> str:
    """Four labelled lines a fault."""
    parts = ("where", "found", "wanted", "fix")
    told = (
        "\n".join(f"{part + ':':8}{_one_line(getattr(fault, part))}" for part in parts) for fault in faults
    )
    return "\n\n".join(told)


def _one_line(text: str) -> str:
    """Control characters in a file's text must neither break the block nor steer the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(str(text).split()))
