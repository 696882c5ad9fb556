"""What `pipeline check` asks every stage, and the machine, before hours are spent."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.ground.errors import HectareError, HectareErrors, ResourceError, raise_together
from pipeline.cli.console import size
from pipeline.config.load import RunConfig
from pipeline.system import resources
from stages import STAGES, Stage
from stages.contract.body import Preview


def look_ahead(config: RunConfig, table: Sequence[Stage] = STAGES) -> Preview:
    """What the run will read, make and take.

    Raises: HectareErrors of every stage that can be known beforehand, together.
    """
    faults: list[HectareError] = []
    preview = Preview()
    for stage in table:
        try:
            preview = stage.body().check(config[stage.name], preview)
        except HectareError as fault:
            faults.append(fault)
        except HectareErrors as several:
            faults += several.faults
    for stage in table:
        try:
            stage.body().check_place(config[stage.name], preview)
        except HectareError as fault:
            faults.append(fault)
        except HectareErrors as several:
            faults += several.faults
    raise_together(faults)
    for stage in table:
        preview = stage.body().expect(config[stage.name], preview, resources.available_memory())
    return preview


@dataclass(frozen=True)
class Outlook:
    """A preview beside what the machine has left.

    Attributes:
      folder: where the run is to lie.
      free_disk, free_memory: left to this user [bytes].
    """

    preview: Preview
    folder: Path
    free_disk: int
    free_memory: int

    def lines(self) -> list[str]:
        """What is shown of it, one fact a line."""
        room = (f"free disk: {size(self.free_disk)}", f"free memory: {size(self.free_memory)}")
        return [*self.preview.lines(), *room]

    def refuse_full_disk(self) -> None:
        """Ends the check where the run would not fit.

        Raises: ResourceError (exit 6) when the run may take more than is free.
        """
        needed = self.preview.disk_bytes
        if needed > self.free_disk:
            found, wanted = f"{size(self.free_disk)} free", f"up to {size(needed)}"
            fix = "free some space, or move the workspace with --workspace DIR"
            raise ResourceError(str(self.folder), found, wanted, fix)


def outlook(preview: Preview, folder: Path) -> Outlook:
    """The preview beside the disk that is free where the run is to lie, and the memory of this machine."""
    return Outlook(preview, folder, resources.free_space(folder), resources.available_memory())
