"""What a user reads when a command ends early: four labelled lines for each fault, or how to go on."""

import shlex
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from model.ground.errors import HectareError
    from pipeline.system.run_log import RunLog
    from pipeline.workspace import Workspace


def show_usage(error: click.ClickException) -> int:
    """Tells what is wrong with the words of the command line; returns the exit code."""
    from model.ground.errors import UsageError

    wanted = "words as `pipeline --help` lists them"
    fault = UsageError("command line", error.format_message(), wanted, "pipeline --help")
    click.echo(block([fault]), err=True)
    return fault.code


def show_stop(words: Sequence[str], code: int) -> int:
    """Tells that the run was stopped and how to go on.

    Args:
      words: the whole call, after `pipeline`.
      code: to end with: 128 and the number of the signal.
    Returns: the same code.
    """
    click.echo(f"stopped; resume with: {shlex.join(['pipeline', *words])}", err=True)
    return code


def show(error: BaseException, workspace: "Workspace | None", options: str, words: Sequence[str]) -> int:
    """Tells one error on the screen and in the log.

    Args:
      workspace: of the run, None before it is known.
      options: of this call, for the commands that a fix names.
      words: the whole call.
    Returns: the exit code.
    """
    from model.ground.errors import BusyError, HectareError, HectareErrors
    from pipeline.system import resources
    from pipeline.system.run_log import RunLog
    from pipeline.system.signals import Stopped

    journal = RunLog(workspace.log) if workspace and workspace.folder.is_dir() else None
    if isinstance(error, Stopped):
        if journal:
            journal.event("stopped", signal=str(error), code=error.code)
        return show_stop(words, error.code)
    folder = workspace.folder if workspace else Path.cwd()
    faults: list[HectareError] = []
    if isinstance(error, HectareErrors):
        faults = error.faults
    elif isinstance(error, HectareError):
        faults = [error]
    elif (fault := resources.as_fault(error, "pipeline", folder)) is not None:
        faults = [fault]
    if not faults:
        faults = [_defect(error, journal)]
    complete: list[HectareError] = []
    for fault in faults:
        complete.append(fault.of_run(options))
        if journal and not isinstance(fault, BusyError):  # the log belongs to the run that holds the lock
            journal.fault(complete[-1])
    click.echo(block(complete), err=True)
    return faults[0].code


def _defect(error: BaseException, journal: "RunLog | None") -> "HectareError":
    """The fault of the program itself; the log keeps the traceback."""
    from model.ground.errors import HectareError
    from pipeline.system import resources

    found = f"{type(error).__name__}: {resources.first_line(error)}"
    log = ""
    if journal:
        log = f"; the whole story is in {journal.path}"
        journal.event("error", text=found, traceback="".join(traceback.format_exception(error)))
    fix = f"run again with --debug and report it{log}"
    return HectareError("pipeline", found, "no unexpected error: this is a defect", fix)


def block(faults: "Sequence[HectareError]") -> str:
    """The faults as a user reads them: four labelled lines each, an empty line between two.

    What comes from a file is shown without control characters.
    """
    told: list[str] = []
    for fault in faults:
        parts = (("where", fault.where), ("found", fault.found), ("wanted", fault.wanted), ("fix", fault.fix))
        told.append("\n".join(f"{label + ':':8}{_one_line(text)}" for label, text in parts))
    return "\n\n".join(told)


def _one_line(text: str) -> str:
    """Control characters in a file's text must neither break the block nor steer the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(str(text).split()))
