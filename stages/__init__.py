"""The chain as a table: what each stage needs and gives. Read this first, then pipeline/runner.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from stages.contract.body import AnyBody


@dataclass(frozen=True)
class Stage:
    """One row: stages/<name>/stage.py offers the body as BODY.

    Attributes:
      needs: artifacts it reads; the names of run's keyword arguments.
      gives: the artifact it makes.
      volatile: published files left out of the stamp: they carry times, or no later stage reads them.
      module: where the body lives, if not there.
      per_method: what it makes depends on the method; methods that are compared share the rest.
    """

    name: str
    needs: tuple[str, ...]
    gives: str
    volatile: tuple[str, ...] = ()
    module: str = ""
    per_method: bool = True

    @property
    def home(self) -> str:
        """Name of the module that holds the body."""
        return self.module or f"stages.{self.name}.stage"

    def body(self) -> AnyBody:
        """Imports the body; nothing of a stage is loaded before it is asked for."""
        body: AnyBody = import_module(self.home).BODY
        return body


STAGES = (
    Stage("ingest", needs=(), gives="cube", per_method=False),
    Stage("tile", needs=("cube",), gives="tiles", per_method=False),
    Stage(
        "train",
        needs=("cube", "tiles"),
        gives="checkpoint",
        volatile=("steps.jsonl", "steps.csv", "training.html"),
    ),
    Stage("infer", needs=("cube", "checkpoint"), gives="field"),
    Stage("mosaic", needs=("cube", "field"), gives="maps", volatile=("report.html",)),
)

# Not a link of the chain: it alone may open the truth, and it reads finished maps.
EVALUATE = Stage("evaluate", needs=("cube", "maps"), gives="scores")

# Rows of experiments that run the chain again on a world made harder (pipeline/experiments/designs.py).
_ROOM = "stages.evaluate.experiments"
PERTURB = Stage("perturb", needs=("cube",), gives="cube", module=f"{_ROOM}.perturb")
SCALE_SHIFT = Stage("scale_shift", ("cube", "fields"), "scale_shift", module=f"{_ROOM}.scale_shift")
CROSS_VALIDATION = Stage(
    "cross_validation",
    ("cube", "fields"),
    "spatial_cross_validation",
    module=f"{_ROOM}.cross_validation",
)
SENSITIVITY = Stage("sensitivity", ("cube", "field", "fields"), "sensitivity", module=f"{_ROOM}.sensitivity")
EXPERIMENTS = (PERTURB, SCALE_SHIFT, CROSS_VALIDATION, SENSITIVITY)


def maker_of(artifact: str, table: Sequence[Stage] = STAGES) -> Stage:
    """The row that gives the artifact."""
    return next(stage for stage in table if stage.gives == artifact)


def chain_to(artifact: str, table: Sequence[Stage] = STAGES) -> tuple[Stage, ...]:
    """The rows that must run, in the table's order, until the artifact is there."""
    wanted = {artifact}
    rows: list[Stage] = []
    for stage in reversed(table):
        if stage.gives in wanted:
            rows.insert(0, stage)
            wanted |= set(stage.needs)
    return tuple(rows)


def per_method(table: Sequence[Stage] = STAGES) -> tuple[Stage, ...]:
    """The rows that every method of a comparison runs for itself."""
    return tuple(stage for stage in table if stage.per_method)


def estimate_of(table: Sequence[Stage] = STAGES) -> str:
    """The artifact that maps are written from: what experiments score instead of maps."""
    made = {stage.gives for stage in table if stage.per_method}
    return next(need for need in maker_of("maps", table).needs if need in made)
