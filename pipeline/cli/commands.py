"""The command `pipeline`: its group of commands, and the end of every one in words and an exit code."""

import sys
import traceback
from typing import NoReturn

import click

from pipeline.cli import messages
from pipeline.cli.check import check, report, verify
from pipeline.cli.convert import export_stacks, import_stacks, init, schema
from pipeline.cli.evaluate import evaluate, methods
from pipeline.cli.request import Session
from pipeline.cli.run import run, status

RENAMED_COMMANDS = {"unstack": "import-stacks", "restack": "export-stacks"}


class Commands(click.Group):
    """The commands; a former name is answered with the one it has now."""

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of a name; None when there is none.

        Raises: click.UsageError (exit 2) for a former name, with the present one.
        """
        if name in RENAMED_COMMANDS:
            raise click.UsageError(f"`{name}` was renamed to `{RENAMED_COMMANDS[name]}`")
        return super().get_command(context, name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def pipeline() -> None:
    """Downscales coarse gridded totals to a fine grid and proves that nothing was lost."""


for _command in (
    run, status, check, evaluate, methods, verify, report, init, import_stacks, export_stacks, schema,
):  # fmt: skip
    pipeline.add_command(_command)


def main(arguments: list[str] | None = None) -> None:
    """The `pipeline` command: never shows a traceback unless --debug is given.

    Args:
      arguments: the words after `pipeline`; None takes those of the process.
    Raises: SystemExit with the code of the outcome: 0 done, 130 or 143 stopped, else that of the first fault.
    """
    session = Session()
    words = sys.argv[1:] if arguments is None else arguments
    try:
        pipeline.main(words, prog_name="pipeline", standalone_mode=False, obj=session)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        _end(error.exit_code)
    except click.ClickException as error:
        _end(messages.show_usage(error))
    except (KeyboardInterrupt, click.Abort):
        _end(messages.show_stop(words, 130))
    except SystemExit:
        raise
    except BaseException as error:
        if session.debug:
            traceback.print_exc()
        request = session.request
        place, options = (request.workspace, request.words) if request else (None, "")
        _end(messages.show(error, place, options, words))


def _end(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.exit(code)
