"""The commands that turn a user's files into a configuration, stacks into maps and back."""

import json
from pathlib import Path

import click

from pipeline.cli.request import Request, of_a_run, of_no_run


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write; never overwritten.")
@of_no_run
def init(folder: Path, output: Path | None) -> None:
    """Drafts a configuration from a FOLDER of GeoTIFFs, NetCDF files and Zarr stores; says what they do not tell."""
    from pipeline.config.drafting import write_draft

    drafted = write_draft(folder, output or Path(f"{folder.absolute().name}.yaml"))
    for fault in drafted.left_out:
        click.echo(f"left out: {fault}", err=True)
    click.echo(
        f"{drafted.file}: {drafted.questions} questions to answer, then: pipeline check -c {drafted.file}"
    )


@click.command("import-stacks")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--grid", required=True, type=click.Path(path_type=Path), help="YAML: where the windows lie.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write to.")
@of_no_run
def import_stacks(folder: Path, grid: Path, output: Path) -> None:
    """Turns published stacks X_{year}.npy, Y_{year}.npy of a FOLDER into GeoTIFFs and a configuration."""
    from pipeline.config.load import section_of
    from stages.formats.npy_stacks import Arrangement
    from stages.ingest.draft import stacks

    for fact in stacks.import_stacks(folder, section_of(grid, Arrangement), output):
        click.echo(fact)
    click.echo(f"next: pipeline check -c {output / stacks.CONFIG}")


@click.command("export-stacks")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--grid", required=True, type=click.Path(path_type=Path), help="YAML: where the windows lie.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write to.")
@of_a_run
def export_stacks(request: Request, folder: Path, grid: Path, output: Path) -> None:
    """Writes finished maps as Pred_{year}.npy, as the windows of the stacks in FOLDER lie, and result_preview.png."""
    from pipeline.config.load import section_of
    from stages.artifacts.cube import Cube
    from stages.formats.npy_stacks import Arrangement
    from stages.ingest.draft import stacks

    request.config()
    maps = request.finished_maps()
    cube = Cube.open(request.place().shelf.link("cube"))
    for path in stacks.export_stacks(section_of(grid, Arrangement), folder, cube, maps, output):
        click.echo(path)


@click.command()
@of_no_run
def schema() -> None:
    """Prints the JSON schema of configurations, by which editors complete and check them."""
    from pipeline.config.editor_schema import editor_schema

    click.echo(json.dumps(editor_schema(), indent=1))
