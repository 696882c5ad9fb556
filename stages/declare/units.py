"""The unit that a declared file is in: as declared, as the file says, or a fault when the two do not agree."""

from model.ground.errors import HectareError, InputError
from model.ground.quantity import FLUX
from model.ground.units import Unit
from stages.declare.inputs import Config, Fine, Total
from stages.formats.raster.band import Band


def unit_of(item: Total | Fine, raster: Band, config: Config) -> tuple[Unit | None, HectareError | None]:
    """What the numbers of a file are: as declared, else as the file says; a fault when the two do not agree.

    Args: raster: the file, opened, for its own unit tag.
    Returns: the unit and no fault (exit 3), or no unit and the fault.
    """
    where = f"{raster.name}, sector {item.sector}, {item.year}"
    label = item.year or 0
    declared, _ = _read_unit(item.unit, config, label)
    tagged, _ = _read_unit(raster.unit, config, label)
    unit = declared if item.unit is not None else tagged
    if unit is None:
        text = item.unit if item.unit is not None else raster.unit
        _, why = _read_unit(text, config, label)
        fix = "set `unit:` for this total" if isinstance(item, Total) else "set `unit:` for these fields"
        found = f"the unit {text!r}{why}" if text else "no unit"
        return None, InputError(where, found, config.kind.accepted_units, fix)
    if config.quantity != "auto" and config.kind.shown_by(unit) != config.kind:
        meant = "per area" if config.kind == FLUX else "per cell"
        fix = "correct `unit:`, or leave `ingest.quantity` out: the unit tells"
        return None, InputError(
            where, f"the unit {unit.text!r}", f"a unit {meant}: `quantity: {config.quantity}`", fix
        )
    if tagged is None or tagged.means_the_same(unit) or item.ignore_unit_tag:
        return unit, None
    found = f"`unit: {unit.text}`, but the file says {raster.unit!r}"
    fix = "leave `unit:` out to believe the file, or set `ignore_unit_tag: true` to overrule it"
    return None, InputError(where, found, "one unit", fix)


def _read_unit(text: str | None, config: Config, label: int) -> tuple[Unit | None, str]:
    """The unit a text means in a step of time; None and the reason when there is none or it is not understood."""
    if not (text or "").strip():
        return None, ""
    try:
        return config.kind.parse(str(text), label, config.substance, config.molar_mass), ""
    except ValueError as error:
        return None, f" ({error})"
