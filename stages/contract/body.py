"""What every stage offers: a section, a version, a run, and hooks that have defaults."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.ground.errors import HectareError, UsageError
from model.ground.grid import Grid
from stages.contract.experiments import AnswersExperiments, SectionType
from stages.contract.section import Clash


@dataclass(frozen=True)
class Preview:
    """What `pipeline check` knows before anything is made; each stage adds its part and hands it on.

    None stands for what is not known: inputs that hold faults do not say where the map lies.

    Attributes:
      fine: the fine grid.
      inputs: a line for each file that is read.
      layers: names of the layers the cube will have.
      tile_side, tile_halo: coarse cells along a tile and read around it.
      disk_bytes: taken by a whole run, at most.
      costs: what training will take, as label and text.
    """

    fine: Grid | None = None
    inputs: tuple[str, ...] = ()
    coarse_cells: int = 0
    fine_cells: int = 0
    factor: int = 1
    sectors: tuple[str, ...] = ()
    years: tuple[int, ...] = ()
    layers: tuple[str, ...] | None = None
    disk_bytes: int = 0
    tile_side: int = 0
    tile_halo: int = 0
    costs: tuple[tuple[str, str], ...] = ()

    def lines(self) -> list[str]:
        """What is shown of it, one fact a line."""
        layers = self.layers or ()
        facts = (
            ("coarse cells", self.coarse_cells),
            ("fine cells", self.fine_cells),
            ("factor", self.factor),
            ("sectors", list(self.sectors)),
            ("years", list(self.years)),
            ("layers", len(layers)),
            ("layer names", list(layers)),
            ("disk bytes, at most", self.disk_bytes),
            ("tile, coarse cells", self.tile_side),
            ("around it", self.tile_halo),
            *self.costs,
        )
        return [*self.inputs, *(f"{label}: {value}" for label, value in facts)]


class StageBody(AnswersExperiments[SectionType]):
    """One stage as the pipeline sees it; a stage overrides the hooks it has something to say in.

    Args:
      config: the class of its section.
      version: raised when the same section and inputs give other bytes.
      run: run(config, *, <needs of its row>, out) makes the artifact in the folder `out`.
    """

    def __init__(self, config: type[SectionType], version: int, run: Callable[..., None]) -> None:
        self.Config = config
        self.VERSION = version
        self.run = run

    def sources(self, config: SectionType) -> list[str]:
        """Files whose content enters the fingerprint, one for each entry."""
        return []

    def spares(self, config: SectionType) -> tuple[str, ...]:
        """Artifacts of its needs that it does without under this section."""
        return ()

    def clashes(self, config: SectionType, factor: int) -> list[Clash]:
        """Settings that cannot work with `factor` fine cells along a coarse one."""
        return []

    def check(self, config: SectionType, preview: Preview) -> Preview:
        """Judges what can be judged before anything is made; returns the preview with what it found.

        Raises: HectareError or HectareErrors.
        """
        return preview

    def check_place(self, config: SectionType, preview: Preview) -> None:
        """Judges what depends on where the map lies, after every stage's check.

        Raises: HectareError or HectareErrors.
        """

    def expect(self, config: SectionType, preview: Preview, free: int) -> Preview:
        """Adds what a run will take; `free` is the memory left on this machine [bytes]."""
        return preview

    keeps_states = False  # whether unfinished work may go back to a saved state

    def states(self, config: SectionType, out: Path) -> Sequence[str]:
        """Names of the states that unfinished work in `out` may go back to."""
        return ()

    def restore(self, config: SectionType, out: Path, name: str) -> str:
        """Makes unfinished work in `out` stand where it stood; returns what was done, in words.

        Raises: UsageError (exit 2) when there is no such state.
        """
        raise UsageError("--from", f"no state {name!r}", "a stage that keeps states", "leave --from out")

    def certify(self, cube: Path, artifact: Path) -> bool:
        """Whether every total still holds on the files as they are."""
        return True

    def contradictions(self, cube: Path, artifact: Path) -> list[HectareError]:
        """Places where the files of the artifact contradict the cube."""
        return []

    def render(self, artifact: Path) -> str:
        """The page of a finished artifact; empty where it has none."""
        return ""


AnyBody = StageBody[Any]
