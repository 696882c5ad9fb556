"""The chain as a table: what each stage needs and gives. Read this first, then pipeline/runner.py."""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType


@dataclass(frozen=True)
class Stage:
    """One row: the body lives in stages/<name>/stage.py and offers Config, VERSION and run.

    Attributes:
      needs: artifacts it reads; the names of run's keyword arguments.
      gives: the artifact it makes.
      volatile: published files left out of the stamp: they carry times, or no later stage reads them.
      module: where the body lives, if not there.
    """

    name: str
    needs: tuple[str, ...]
    gives: str
    volatile: tuple[str, ...] = ()
    module: str = ""

    def body(self) -> ModuleType:
        """Imports the body: Config, VERSION, run(config, *, <needs>, out); may offer sources(config).

        What it can judge before anything is made it offers as check(config, ...), and as check_place(config, fine)
        when it needs the grid.
        """
        return import_module(self.module or f"stages.{self.name}.stage")


STAGES = (
    Stage("ingest", needs=(), gives="cube"),
    Stage("tile", needs=("cube",), gives="tiles"),
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

# Rows of protocols that run the chain again on a world made harder (pipeline/experiments/designs.py).
EXPERIMENTS = "stages.evaluate.experiments"
ALTER = Stage("alter", needs=("cube",), gives="cube", module=f"{EXPERIMENTS}.perturb")
RESCORE = Stage("rescore", ("cube", "fields"), "scale_shift", module=f"{EXPERIMENTS}.scale_shift")
REFOLD = Stage("refold", ("cube", "fields"), "folds", module=f"{EXPERIMENTS}.cross_validation")
ATTRIBUTE = Stage(
    "attribute", ("cube", "field", "fields"), "attribution", module=f"{EXPERIMENTS}.sensitivity"
)
