"""Proves again that every artifact is as it was published."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from model.ground.errors import ArtifactError, HectareError, NumberError, raise_together
from pipeline import manifest as manifests
from pipeline.runner import Runner, remedy
from stages import EVALUATE, STAGES, Stage, maker_of


def replay(runner: Runner, table: Sequence[Stage] = STAGES, last: Stage = EVALUATE) -> Iterator[str]:
    """Replays the hashes of every artifact, then the certificate of the maps; yields lines to show.

    Raises: ArtifactError (exit 4) for missing maps or damage, NumberError (exit 7) when the proof fails.
    """
    folder = runner.workspace.folder
    links = [folder / stage.gives for stage in (*table, last)]
    links = sorted({link for link in links if link.is_symlink()} | set(_links(folder / "evaluate")))
    faults: list[HectareError] = []
    for link in links:
        name = link.relative_to(folder).as_posix()
        found = manifests.damage(link, name, remedy(runner, link))
        faults += found
        if not found:
            record = manifests.read(link)
            yield f"{name}: {len(record.files) if record else 0} files as published"
    cube, maps = runner.workspace.shelf.link("cube"), runner.workspace.shelf.link("maps")
    body = maker_of("maps", table).body()
    if faults and cube.is_dir() and maps.is_dir():
        faults += body.contradictions(cube, maps)  # a hash names the file; this names the place
    raise_together(faults)
    if not (cube.is_dir() and maps.is_dir()):
        raise ArtifactError(str(maps), "no maps to certify", "cube and maps", runner.words())
    made_from = manifests.read(maps)
    now = manifests.read(cube)
    if made_from and now and made_from.needs.get("cube") != now.stamp:
        other = "made from another cube than the one that is there"
        raise ArtifactError(str(maps), other, "maps of this cube", runner.words())
    if not body.certify(cube, maps):
        failure = "the certificate does not hold on the files as they are"
        stated = NumberError(str(maps), failure, "every block keeps its total", remedy(runner, maps))
        raise_together([stated, *body.contradictions(cube, maps)])
    yield "certificate: passed"


def _links(folder: Path) -> Iterator[Path]:
    """Every artifact on the shelves of methods, cases and protocols."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_symlink():
            yield path
        elif path.is_dir() and not path.name.startswith("."):
            yield from _links(path)
