"""The public door for notebooks: run a configuration, open what it left, apply a law to arrays.

Nothing of pipeline, stages and model imports it. Faults are exceptions; the process is never ended.
"""

from hectare import laws
from hectare.runs import Run, open_run, run
from model.ground.errors import Fault, Faults
from model.ground.grid import Grid
from stages.artifacts.cube import Cube

__all__ = ["Cube", "Fault", "Faults", "Grid", "Run", "laws", "open_run", "run"]
