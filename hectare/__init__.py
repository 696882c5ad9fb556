"""The public door for notebooks; nothing of ours imports it, faults are exceptions, the process never ends."""

from hectare import laws
from hectare.runs import Run, open_run, run
from model.ground.errors import HectareError, HectareErrors
from model.ground.grid import Grid
from stages.artifacts.cube import Cube

__all__ = ["Cube", "Grid", "HectareError", "HectareErrors", "Run", "laws", "open_run", "run"]
