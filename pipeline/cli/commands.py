"""Translates words into one call, and what comes back into words on the screen and an exit code."""

import functools
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli import messages as errors

# Why imports inside functions: `pipeline --help` answers in 0.3 s.
if TYPE_CHECKING:
    from pipeline.config.load import RunConfig
    from pipeline.runner import Runner
    from pipeline.workspace import Workspace

EVERY, ASK = "*", "?"


@dataclass
class Request:
    """What the words common to all commands ask for."""

    file: Path
    overrides: tuple[str, ...]
    root: Path | None
    workspace: "Workspace | None" = None

    def config(self) -> "RunConfig":
        """The checked configuration; the workspace is known from then on."""
        from pipeline.config.load import load
        from pipeline.workspace import Workspace

        config = load(self.file, self.overrides)
        self.workspace = Workspace((self.root or default_root(config.file)).absolute(), config.name)
        return config

    @property
    def words(self) -> str:
        """The same request on a command line, for messages."""
        import shlex

        words = ["-c", str(self.file)]
        for override in self.overrides:
            words += ["--set", override]
        if self.root is not None:
            words += ["--workspace", str(self.root)]
        return shlex.join(words)

    def runner(self) -> "Runner":
        """Everything the loop needs beside the chain."""
        from pipeline.cli.console import Screen
        from pipeline.runner import Runner
        from pipeline.system.signals import Stopper

        return Runner(self.place(), Screen(), Stopper(), self.words)

    def place(self) -> "Workspace":
        """The workspace; only after config()."""
        if self.workspace is None:
            raise RuntimeError("the configuration was not read yet")
        return self.workspace


def default_config() -> Path:
    """configs/default.yaml of the current folder, else the one beside the installed source tree."""
    here = Path("configs") / "default.yaml"
    shipped = Path(__file__).absolute().parents[2] / here
    return shipped if not here.is_file() and shipped.is_file() else here


def default_root(file: Path) -> Path:
    """`workspace` beside the configs folder, else in the current folder."""
    return file.parent.parent / "workspace" if file.parent.name == "configs" else Path("workspace")


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options every command has; hands them over as one Request."""
    options = (
        click.option("-c", "--config", "file", type=click.Path(path_type=Path), help="Configuration file."),
        click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one setting."),
        click.option("--workspace", "root", type=click.Path(path_type=Path), help="Folder that holds runs/."),
        click.option("--debug", is_flag=True, help="Show tracebacks."),
    )

    @click.pass_context
    @functools.wraps(command)
    def wrapped(context: click.Context, /, **words: Any) -> Any:
        file = words.pop("file") or default_config()
        request = Request(file, words.pop("overrides"), words.pop("root"))
        state = context.find_root().ensure_object(dict)
        state.update(request=request, debug=words.pop("debug"))
        return context.invoke(command, request, **words)

    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


class Protocol(click.ParamType):
    """A name of the table of designs, which is imported only when `evaluate` is asked for."""

    name = "protocol"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        from pipeline.experiments.designs import DESIGNS

        return f"[{'|'.join(DESIGNS)}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from pipeline.experiments.designs import DESIGNS, RENAMED

        if value in RENAMED:
            self.fail(f"`{value}` was renamed to `{RENAMED[value]}`", param, ctx)
        if value not in DESIGNS:
            self.fail(f"no protocol `{value}`; one of {', '.join(DESIGNS)}", param, ctx)
        return str(value)


RENAMED_COMMANDS = {"unstack": "import-stacks", "restack": "export-stacks"}


class Commands(click.Group):
    """The commands; a former name is answered with the one it has now."""

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Raises: click.UsageError for a former name."""
        if name in RENAMED_COMMANDS:
            raise click.UsageError(f"`{name}` was renamed to `{RENAMED_COMMANDS[name]}`")
        return super().get_command(context, name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def pipeline() -> None:
    """Downscales coarse gridded totals to a fine grid and proves that nothing was lost."""


@pipeline.command()
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
@common
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

    config = request.config()
    runner = request.runner()
    chain = loop.tasks(config, runner.workspace.shelf)
    named = names or [task.stage.name for task in chain]
    forced = {*force, *named} - {EVERY} if EVERY in force else set(force)
    if dry_run:
        loop.check_names(chain, names, forced)
        _tell_plans(loop.plan(chain, runner.hashes, forced), names)
        return
    click.echo(f"run {config.name} ({request.file})")
    runner.fresh, runner.back = fresh, _chosen_state(back, runner, chain)
    with runner.stopper.armed():
        loop.run(runner, chain, names, forced)
    _tell_results(runner.workspace)


def _chosen_state(asked: str | None, runner: "Runner", chain: list[Any]) -> str | None:
    """The state to go back to: as named, or asked for on a terminal."""
    if asked != ASK:
        return asked
    from model.ground.errors import UsageFault
    from pipeline import runner as loop

    names = loop.states(runner, chain)
    if not sys.stdin.isatty():
        raise UsageFault("--from", "no name", f"one of {', '.join(names)}", "name it: --from STATE")
    return str(click.prompt("go back to", type=click.Choice(names), default=names[-1]))


@pipeline.command()
@common
def status(request: Request) -> None:
    """Tells which artifacts are fresh, which are stale and why."""
    from pipeline import runner as loop

    config = request.config()
    runner = request.runner()
    click.echo(f"run {config.name} in {runner.workspace.folder}")
    _tell_plans(loop.plan(loop.tasks(config, runner.workspace.shelf), runner.hashes), ())


@pipeline.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write; never overwritten.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def init(context: click.Context, folder: Path, output: Path | None, debug: bool) -> None:
    """Drafts a configuration from a FOLDER of GeoTIFFs, NetCDF files and Zarr stores; says what they do not tell."""
    context.find_root().ensure_object(dict).update(debug=debug)
    from model.ground.errors import UsageFault
    from pipeline.manifest import write_whole
    from stages.ingest.draft.config import draft

    file = output or Path(f"{folder.absolute().name}.yaml")
    if not file.absolute().parent.is_dir():
        raise UsageFault(str(file), "no such folder", "a folder that is there", "make it first")
    if file.exists():
        raise UsageFault(str(file), "a file of this name", "a new file", "name another one with -o")
    text, left_out = draft(folder, file.absolute().parent)
    write_whole(file, text)
    for fault in left_out:
        click.echo(f"left out: {fault}", err=True)
    click.echo(f"{file}: {text.count('?') - 1} questions to answer, then: pipeline check -c {file}")


@pipeline.command("import-stacks")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--grid", required=True, type=click.Path(path_type=Path), help="YAML: where the windows lie.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write to.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def import_stacks(context: click.Context, folder: Path, grid: Path, output: Path, debug: bool) -> None:
    """Turns published stacks X_{year}.npy, Y_{year}.npy of a FOLDER into GeoTIFFs and a configuration."""
    context.find_root().ensure_object(dict).update(debug=debug)
    from stages.ingest.draft import stacks

    for fact in stacks.import_stacks(folder, _arrangement(grid), output):
        click.echo(fact)
    click.echo(f"next: pipeline check -c {output / stacks.CONFIG}")


@pipeline.command("export-stacks")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--grid", required=True, type=click.Path(path_type=Path), help="YAML: where the windows lie.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write to.")
@common
def export_stacks(request: Request, folder: Path, grid: Path, output: Path) -> None:
    """Writes finished maps as Pred_{year}.npy, as the windows of the stacks in FOLDER lie, and result_preview.png."""
    from model.ground.errors import ArtifactFault
    from stages.artifacts.cube import Cube
    from stages.ingest.draft import stacks

    request.config()
    shelf = request.place().shelf
    maps = shelf.link("maps")
    if not maps.exists():
        raise ArtifactFault(str(maps), "no maps yet", "finished maps", f"pipeline run {request.words}")
    for path in stacks.export_stacks(_arrangement(grid), folder, Cube.open(shelf.link("cube")), maps, output):
        click.echo(path)


def _arrangement(file: Path) -> Any:
    """Where windows lie, as a YAML file declares it."""
    from pipeline.config.load import section_of
    from stages.formats.npy_stacks import Arrangement

    return section_of(file, Arrangement)


@pipeline.command()
@common
def check(request: Request) -> None:
    """Looks at the inputs, the disk and the memory before hours are spent."""
    from model.ground.errors import ResourceFault
    from pipeline.cli.console import size
    from pipeline.preview import look_ahead
    from pipeline.system import resources
    from stages.contract import progress

    config = request.config()
    progress.listen(_tell_note)
    try:
        preview = look_ahead(config)
    finally:
        progress.listen(None)
    for line in preview.lines():
        click.echo(line)
    free, needed = resources.free_space(request.place().folder), preview.disk_bytes
    click.echo(f"free disk: {size(free)}")
    click.echo(f"free memory: {size(resources.available_memory())}")
    if needed > free:
        where, fix = (
            str(request.place().folder),
            "free some space, or move the workspace with --workspace DIR",
        )
        raise ResourceFault(where, f"{size(free)} free", f"up to {size(needed)}", fix)


@pipeline.command()
@click.option(
    "--protocol",
    type=Protocol(),
    default="truth",
    show_default=True,
    help="What is asked; scale_shift and sensitivity need no truth.",
)
@common
def evaluate(request: Request, protocol: str) -> None:
    """Makes maps by every method of evaluate.methods and scores them against the truth, or without any."""
    from pipeline.experiments import comparison as scoring
    from pipeline.experiments.designs import DESIGNS

    config = request.config()
    runner = request.runner()
    for name in scoring.left_out(config):
        runner.screen.say(f"{name} is left out: the extra `trees` is not installed")
    with runner.stopper.armed():
        scores = DESIGNS[protocol](runner, config)
    table = scores.link / "scores.md"
    if table.is_file():
        click.echo(table.read_text(encoding="utf-8"))
    click.echo(f"scores: {scores.link}")


@pipeline.command()
@click.argument("name", required=False)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def methods(context: click.Context, name: str | None, debug: bool) -> None:
    """Lists the methods of downscaling, or tells the options, the needs and the source of the one called NAME."""
    context.find_root().ensure_object(dict).update(debug=debug)
    from pipeline.cli import methods as told

    for line in told.table() if name is None else told.page(name):
        click.echo(line)


@pipeline.command()
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def schema(context: click.Context, debug: bool) -> None:
    """Prints the JSON schema of configurations, by which editors complete and check them."""
    context.find_root().ensure_object(dict).update(debug=debug)
    import json

    from pipeline.config.editor_schema import editor_schema

    click.echo(json.dumps(editor_schema(), indent=1))


@pipeline.command()
@common
def verify(request: Request) -> None:
    """Replays the hashes of every artifact and the certificate of the maps."""
    from pipeline.verify import replay

    request.config()
    for line in replay(request.runner()):
        click.echo(line)


@pipeline.command()
@common
def report(request: Request) -> None:
    """Renders the page of the maps again."""
    from model.ground.errors import ArtifactFault
    from pipeline.manifest import write_whole
    from stages import maker_of

    request.config()
    workspace = request.place()
    maps = workspace.shelf.link("maps")
    if not maps.exists():
        raise ArtifactFault(str(maps), "no maps yet", "finished maps", f"pipeline run {request.words}")
    page = workspace.folder / "report.html"
    write_whole(page, maker_of("maps").body().render(maps))
    click.echo(f"report: {page}")


def _tell_note(news: Any) -> None:
    """Shows what a stage states, not how far it has come."""
    if text := getattr(news, "text", ""):
        click.echo(f"{'warning: ' if news.warning else ''}{text}", err=True)


def _tell_plans(plans: list[Any], names: tuple[str, ...]) -> None:
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


def main(arguments: list[str] | None = None) -> None:
    """The `pipeline` command: never shows a traceback unless --debug is given."""
    state: dict[str, Any] = {}
    words = sys.argv[1:] if arguments is None else arguments
    try:
        pipeline.main(words, prog_name="pipeline", standalone_mode=False, obj=state)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        _end(error.exit_code)
    except click.ClickException as error:
        _end(errors.show_usage(error))
    except (KeyboardInterrupt, click.Abort):
        _end(errors.show_stop(words, 130))
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        if state.get("debug"):
            traceback.print_exc()
        request: Request | None = state.get("request")
        place, options = (request.workspace, request.words) if request else (None, "")
        _end(errors.show(error, place, options, words))


def _end(code: int) -> None:
    sys.stdout.flush()
    sys.exit(code)
