"""The unit that a declared file is in: as declared, as the file says, or a fault when the two do not agree."""

from typing import Any

from model.ground.errors import Fault, InputFault
from model.ground.intensive import ACCEPTED_STATES, State, parse_state
from model.ground.units import ACCEPTED_UNITS, Unit, parse_unit
from stages.declare.inputs import Config, Fine, Total
from stages.formats.raster.band import Band

AnyUnit = Unit | State


def unit_of(item: Total | Fine, raster: Band, config: Config) -> tuple[AnyUnit | None, Fault | None]:
    """What the numbers of a file are: as declared, else as the file says; a fault when the two do not agree."""
    where = f"{raster.name}, sector {item.sector}, {item.year}"
    label = item.year or 0
    declared, _ = _read_unit(item.unit, config, label)
    tagged, _ = _read_unit(raster.unit, config, label)
    unit = declared if item.unit is not None else tagged
    if unit is None:
        text = item.unit if item.unit is not None else raster.unit
        _, why = _read_unit(text, config, label)
        fix = "set `unit:` for this total" if isinstance(item, Total) else "set `unit:` for these fields"
        accepted = ACCEPTED_STATES if config.quantity == "intensive" else ACCEPTED_UNITS
        return None, InputFault(where, f"the unit {text!r}{why}" if text else "no unit", accepted, fix)
    if config.quantity != "auto" and unit.is_density != (config.quantity == "flux"):
        meant = "per area" if config.quantity == "flux" else "per cell"
        fix = "correct `unit:`, or leave `ingest.quantity` out: the unit tells"
        return None, InputFault(
            where, f"the unit {unit.text!r}", f"a unit {meant}: `quantity: {config.quantity}`", fix
        )
    if tagged is None or _same(tagged, unit) or item.ignore_unit_tag:
        return unit, None
    found = f"`unit: {unit.text}`, but the file says {raster.unit!r}"
    fix = "leave `unit:` out to believe the file, or set `ignore_unit_tag: true` to overrule it"
    return None, InputFault(where, found, "one unit", fix)


def _same(one: Any, other: Any) -> bool:
    """Both are of one class, as one configuration asked for both."""
    return bool(one.means_the_same(other))


def _read_unit(text: str | None, config: Config, label: int) -> tuple[AnyUnit | None, str]:
    """The unit a text means in a step of time; None and the reason when there is none or it is not understood."""
    if not (text or "").strip():
        return None, ""
    try:
        if config.quantity == "intensive":
            return parse_state(str(text), label), ""
        return parse_unit(str(text), substance=config.substance, molar_mass=config.molar_mass), ""
    except ValueError as error:
        return None, f" ({error})"
