"""What `pipeline check` asks every stage before hours are spent."""

from collections.abc import Sequence

from model.ground.errors import Fault, Faults, raise_all
from pipeline.config.load import RunConfig
from pipeline.system.resources import available_memory
from stages import STAGES, Stage
from stages.contract.body import Preview


def look_ahead(config: RunConfig, table: Sequence[Stage] = STAGES) -> Preview:
    """What the run will read, make and take.

    Raises: Faults of every stage that can be known beforehand, together.
    """
    faults: list[Fault] = []
    preview = Preview()
    for stage in table:
        try:
            preview = stage.body().check(config[stage.name], preview)
        except Fault as fault:
            faults.append(fault)
        except Faults as several:
            faults += several.faults
    for stage in table:
        try:
            stage.body().check_place(config[stage.name], preview)
        except Fault as fault:
            faults.append(fault)
        except Faults as several:
            faults += several.faults
    raise_all(faults)
    for stage in table:
        preview = stage.body().expect(config[stage.name], preview, available_memory())
    return preview
