"""The commands that look: at the inputs before a run, at what stands after it."""

from typing import TYPE_CHECKING

import click

from pipeline.cli.request import Request, of_a_run

if TYPE_CHECKING:
    from stages.contract.progress import Note, Step


@click.command()
@of_a_run
def check(request: Request) -> None:
    """Looks at the inputs, the disk and the memory before hours are spent."""
    from pipeline.preview import look_ahead, outlook
    from stages.contract import progress

    config = request.config()
    progress.listen(_tell_note)
    try:
        preview = look_ahead(config)
    finally:
        progress.listen(None)
    found = outlook(preview, request.place().folder)
    for line in found.lines():
        click.echo(line)
    found.refuse_full_disk()


@click.command()
@of_a_run
def verify(request: Request) -> None:
    """Replays the hashes of every artifact and the certificate of the maps."""
    from pipeline.verify import replay

    request.config()
    for line in replay(request.runner()):
        click.echo(line)


@click.command()
@of_a_run
def report(request: Request) -> None:
    """Renders the page of the maps again."""
    from stages import maker_of
    from stages.formats.atomic import replace_file

    request.config()
    maps = request.finished_maps()
    page = request.place().folder / "report.html"
    replace_file(page, maker_of("maps").body().render(maps).encode(), shared=True)
    click.echo(f"report: {page}")


def _tell_note(news: "Step | Note") -> None:
    """Shows what a stage states, not how far it has come."""
    from stages.contract.progress import Note

    if isinstance(news, Note) and news.text:
        click.echo(f"{'warning: ' if news.warning else ''}{news.text}", err=True)
