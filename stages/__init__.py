"""The chain as a table: what each stage needs and gives. Read this first, then pipeline/run.py."""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType


@dataclass(frozen=True)
class Stage:
    """One row: the body lives in stages/<name>.py and offers Config, VERSION and run.

    Attributes:
      needs: artifacts it reads; the names of run's keyword arguments.
      gives: the artifact it makes.
      volatile: published files left out of the stamp: they carry times, or no later stage reads them.
    """

    name: str
    needs: tuple[str, ...]
    gives: str
    volatile: tuple[str, ...] = ()

    def body(self) -> ModuleType:
        """Imports the body: Config, VERSION, run(config, *, <needs>, out); may offer sources(config).

        What it can judge before anything is made it offers as check(config, ...), and as check_place(config, fine)
        when it needs the grid.
        """
        return import_module(f"stages.{self.name}")


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

# Rows of protocols that run the chain again on a world made harder (pipeline/protocols.py).
ALTER = Stage("alter", needs=("cube",), gives="cube")
RESCORE = Stage("rescore", needs=("cube", "fields"), gives="scale_shift")
REFOLD = Stage("refold", needs=("cube", "fields"), gives="folds")
ATTRIBUTE = Stage("attribute", needs=("cube", "field", "fields"), gives="attribution")
