"""The command that compares methods, and the one that tells what methods there are."""

import click

from pipeline.cli.request import Request, of_a_run, of_no_run


class Protocol(click.ParamType):
    """A name of the table of designs, which is imported only when `evaluate` is asked for."""

    name = "protocol"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Every name, as `--help` shows them."""
        from pipeline.experiments.designs import DESIGNS

        return f"[{'|'.join(DESIGNS)}]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name of a design; a former name is answered with the one it has now.

        Raises: click.BadParameter (exit 2) for any other word.
        """
        from pipeline.experiments.designs import DESIGNS, RENAMED

        name = str(value)
        if name in RENAMED:
            self.fail(f"`{name}` was renamed to `{RENAMED[name]}`", param, ctx)
        if name not in DESIGNS:
            self.fail(f"no protocol `{name}`; one of {', '.join(DESIGNS)}", param, ctx)
        return name


@click.command()
@click.option(
    "--protocol",
    type=Protocol(),
    default="truth",
    show_default=True,
    help="What is asked; scale_shift and sensitivity need no truth.",
)
@of_a_run
def evaluate(request: Request, protocol: str) -> None:
    """Makes maps by every method of evaluate.methods and scores them against the truth, or without any."""
    from model.methods import METHODS
    from pipeline.experiments import comparison
    from pipeline.experiments.designs import DESIGNS

    config = request.config()
    runner = request.runner()
    for name in comparison.left_out(config):
        runner.screen.say(f"{name} is left out: the extra `{METHODS[name].extra}` is not installed")
    with runner.stopper.armed():
        scores = DESIGNS[protocol](runner, config)
    table = scores.link / "scores.md"
    if table.is_file():
        click.echo(table.read_text(encoding="utf-8"))
    click.echo(f"scores: {scores.link}")


@click.command()
@click.argument("name", required=False)
@of_no_run
def methods(name: str | None) -> None:
    """Lists the methods of downscaling, or tells the options, the needs and the source of the one called NAME."""
    from pipeline.cli import methods as pages

    for line in pages.table() if name is None else pages.page(name):
        click.echo(line)
