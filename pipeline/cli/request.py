"""What the options common to all commands ask for: the configuration, its overrides and the workspace."""

import functools
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec

import click

# Why imports inside functions: `pipeline --help` answers in 0.3 s.
if TYPE_CHECKING:
    from pipeline.config.load import RunConfig
    from pipeline.runner import Runner
    from pipeline.workspace import Workspace

Own = ParamSpec("Own")


@dataclass
class Request:
    """What the words common to all commands ask for.

    Attributes:
      file: the configuration.
      overrides: words of `--set`, such as train.epochs=5.
      root: the folder that holds runs/; None takes the one beside the configuration.
      workspace: known once the configuration was read.
    """

    file: Path
    overrides: tuple[str, ...]
    root: Path | None
    workspace: "Workspace | None" = None

    def config(self) -> "RunConfig":
        """The checked configuration; the workspace is known from then on.

        Raises: UsageError or HectareErrors (exit 2) naming everything that is wrong.
        """
        from pipeline.config.load import load
        from pipeline.workspace import Workspace

        config = load(self.file, self.overrides)
        self.workspace = Workspace((self.root or default_root(config.file)).absolute(), config.name)
        return config

    @property
    def words(self) -> str:
        """The same request on a command line, for messages."""
        words = ["-c", str(self.file)]
        for override in self.overrides:
            words += ["--set", override]
        if self.root is not None:
            words += ["--workspace", str(self.root)]
        return shlex.join(words)

    def runner(self) -> "Runner":
        """Everything the loop needs beside the chain; only after config()."""
        from pipeline.cli.console import Screen
        from pipeline.runner import Runner
        from pipeline.system.signals import Stopper

        return Runner(self.place(), Screen(), Stopper(), self.words)

    def place(self) -> "Workspace":
        """The workspace; only after config().

        Raises: RuntimeError before, which is a defect of the caller.
        """
        if self.workspace is None:
            raise RuntimeError("the configuration was not read yet")
        return self.workspace

    def finished_maps(self) -> Path:
        """The published maps of the run; only after config().

        Raises: ArtifactError (exit 4) when there are none yet, naming the command that makes them.
        """
        from model.ground.errors import ArtifactError

        maps = self.place().shelf.link("maps")
        if not maps.exists():
            raise ArtifactError(str(maps), "no maps yet", "finished maps", f"pipeline run {self.words}")
        return maps


@dataclass
class Session:
    """What the end of a command needs to know of its beginning, to tell an error well.

    Attributes:
      debug: tracebacks are shown.
      request: of the run; None for a command that is about no run.
    """

    debug: bool = False
    request: Request | None = None


def default_config() -> Path:
    """configs/default.yaml of the current folder, else the one beside the installed source tree."""
    here = Path("configs") / "default.yaml"
    shipped = Path(__file__).absolute().parents[2] / here
    return shipped if not here.is_file() and shipped.is_file() else here


def default_root(file: Path) -> Path:
    """`workspace` beside the configs folder, else in the current folder."""
    return file.parent.parent / "workspace" if file.parent.name == "configs" else Path("workspace")


def of_a_run(command: Callable[Concatenate[Request, Own], None]) -> Callable[..., None]:
    """Gives a command the options that name a run, and hands them over as one Request.

    Args:
      command: takes the Request first, then its own arguments and options.
    Returns: what click calls, with --config, --set, --workspace and --debug beside the command's own options.
    """

    @click.option("-c", "--config", "file", type=click.Path(path_type=Path), help="Configuration file.")
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one setting.")
    @click.option("--workspace", "root", type=click.Path(path_type=Path), help="Folder that holds runs/.")
    @click.option("--debug", is_flag=True, help="Show tracebacks.")
    @click.pass_context
    @functools.wraps(command)
    def wrapped(
        context: click.Context,
        /,
        *,
        file: Path | None,
        overrides: tuple[str, ...],
        root: Path | None,
        debug: bool,
        **own: object,
    ) -> None:
        request = Request(file or default_config(), overrides, root)
        session = context.find_root().ensure_object(Session)
        session.debug, session.request = debug, request
        context.invoke(command, request, **own)

    return wrapped


def of_no_run(command: Callable[Own, None]) -> Callable[..., None]:
    """Gives a command that is about no run the one option all commands have, --debug."""

    @click.option("--debug", is_flag=True, help="Show tracebacks.")
    @click.pass_context
    @functools.wraps(command)
    def wrapped(context: click.Context, /, *, debug: bool, **own: object) -> None:
        context.find_root().ensure_object(Session).debug = debug
        context.invoke(command, **own)

    return wrapped
