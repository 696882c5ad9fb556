"""Runs a configuration from Python, and opens what a run left as xarray objects and records."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import xarray as xr

from model.ground.errors import ArtifactError
from stages.artifacts.cube import Cube
from stages.artifacts.map_array import open_map
from stages.report.certificate_record import Certificate


@dataclass(frozen=True)
class Run:
    """What a run left in its folder.

    cube and field are read when asked for values, in the store's chunks where dask is installed.
    Raises: ArtifactError (exit code 4) by a property whose stage has not run yet.
    """

    folder: Path

    @property
    def cube(self) -> xr.Dataset:
        """Totals (y_coarse, x_coarse), layers and validity (y, x), with CRS."""
        return _store(self._found("cube/cube.zarr"))

    @property
    def field(self) -> xr.Dataset:
        """`mass` (sector, time, y, x) in float64 as inference left it, with CRS; maps are written from it."""
        return _store(self._found("field/field.zarr"))

    @property
    def maps(self) -> dict[str, xr.DataArray]:
        """Finished maps (y, x) by file name, each read when asked for values, with CRS and unit."""
        grid, folder = Cube.open(self._found("cube")).fine, self._found("maps")
        return {one.file: open_map(folder / one.file, grid, one.unit) for one in self.certificate.maps}

    @property
    def certificate(self) -> Certificate:
        """Every map against its totals, measured on the files as written: maps/certificate.json."""
        return Certificate.from_json(json.loads(self._found("maps/certificate.json").read_text("utf-8")))

    @property
    def scores(self) -> dict[str, Any]:
        """scores.json of `pipeline evaluate`, which needs fine truth and is not part of a run."""
        return dict(json.loads(self._found("scores/scores.json").read_text("utf-8")))

    def _found(self, name: str) -> Path:
        if (path := self.folder / name).exists():
            return path
        fix = f"pipeline {'evaluate' if name.startswith('scores') else 'run'}"
        raise ArtifactError(str(path), "not there", "what a finished run leaves", fix)


def open_run(name: str | Path, *, workspace: str | Path = "workspace") -> Run:
    """The run of this name in workspace/runs/, or in this folder; ArtifactError when neither is there."""
    named = Path(workspace) / "runs" / name
    for folder in (named, Path(name)):
        if folder.is_dir():
            return Run(folder.absolute())
    raise ArtifactError(str(name), f"no folder {named}", "a run", "run it, or name its workspace")


def run(
    config: str | Path, *, stages: Sequence[str] = (), workspace: Path | None = None, **overrides: Mapping[str, Any]
) -> Run:  # fmt: skip
    """Runs what is needed of a configuration, or the named stages, and opens the result.

    Args: overrides: a section each, e.g. train={"epochs": 5}.
    Raises: HectareError or HectareErrors, which say where, what was found, what was wanted, and the fix.
    """
    from pipeline import runner as loop
    from pipeline.cli.request import Request
    from pipeline.plan import tasks

    words = [f"{top}.{key}={json.dumps(one)}" for top, part in overrides.items() for key, one in part.items()]
    request = Request(Path(config), tuple(words), workspace and Path(workspace))
    settings, runner = request.config(), request.runner()
    loop.run(runner, tasks(settings, runner.workspace.shelf), tuple(stages))
    return Run(runner.workspace.folder)


def _store(path: Path) -> xr.Dataset:
    return xr.open_zarr(path, chunks={} if find_spec("dask") else None, consolidated=False)
