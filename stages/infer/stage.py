"""Cube + checkpoint -> the fine field that meets every block total."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Setting
from pydantic import NonNegativeInt, PositiveInt

from model.conservation.fallback import FallbackLevel
from model.conservation.laws import LAWS, Law, additive
from model.ground.errors import ArtifactError, HectareError, InputError, UsageError, raise_together
from model.ground.grid import Region, regions_of
from model.method import Method, Placeable, ThresholdAware
from model.options import SourcePath
from stages.artifacts import checkpoint, field
from stages.artifacts.cube import Cube
from stages.artifacts.records import FallbackRecord, FieldRecord, TrainingRecord, ZoneRecord
from stages.artifacts.resume_log import FOLDER, ResumeLog
from stages.contract.body import Preview, StageBody
from stages.contract.device import Device, device_of
from stages.contract.progress import step, tell
from stages.contract.section import Clash, Renamed, Section
from stages.declare.zone_totals import ZoneTotals, read_totals
from stages.declare.zones import check_zones, open_zones, zone_files
from stages.formats import zarr_groups as arrays
from stages.infer.placement import Placement
from stages.infer.select_law import CANDIDATES, select_law
from stages.infer.zonal_raking import Raking
from stages.predict.windowed import Estimates
from stages.regrid.zones import Zones
from stages.report.training_figures import carry_figures

VERSION = 6
NEAR = 120  # fine cells along the core of a window
HALO = 20  # fine cells around it
CORE_CHUNK = 240  # fine cells along a region that is projected and written at once


class Config(Section):
    """How the checkpoint is applied."""

    RENAMED: ClassVar[Mapping[str, Renamed]] = {"also": Renamed("zone_totals")}

    # auto: the one that does best on merged totals; water_fill where it comes within 1 %.
    # additive: for signed fields, the same amount to every cell of a block; nothing is kept from below 0.
    law: Literal["water_fill", "proportional", "power", "auto", "additive"] = "water_fill"
    gamma: Annotated[float, Setting(ge=0, le=2)] = 0.5  # for power: 0 is water_fill, 1 is proportional
    core: PositiveInt | None = None  # fine cells along the kept part of a window; default: near 120
    halo: NonNegativeInt | None = None  # fine cells read around it and feathered; default: near 20
    proxy: str | None = None  # layer that places a block's total where the estimate is 0 everywhere
    # Folder of a checkpoint trained elsewhere; then nothing is trained here.
    checkpoint: SourcePath | None = None
    device: Device = "auto"  # that networks run on; auto: a GPU where there is one
    zone_totals: ZoneTotals | None = None  # totals of zones, to be met beside those of the blocks


def sources(config: Config) -> list[str]:
    """Files whose content enters the fingerprint: a checkpoint from elsewhere, zones and their totals."""
    folder = () if config.checkpoint is None else (checkpoint.FACTS, checkpoint.WEIGHTS)
    given = [] if config.zone_totals is None else [*zone_files(config.zone_totals), config.zone_totals.totals]
    return [*(str(Path(str(config.checkpoint)) / name) for name in folder), *given]


def spares(config: Config) -> tuple[str, ...]:
    """Artifacts of the run that it does without."""
    return () if config.checkpoint is None else ("checkpoint",)


def clashes(config: Config, factor: int) -> list[Clash]:
    """Settings that cannot work with the factor of the cube."""
    out = []
    if config.core is not None and config.core % factor:
        out.append(Clash("core", f"{config.core} fine cells", f"a multiple of the factor, {factor}"))
    core, halo = core_blocks(config, factor), halo_blocks(config, factor)
    if 2 * halo > core:
        found = f"{config.halo} fine cells, {halo} blocks"
        out.append(Clash("halo", found, f"at most half the core of {core} blocks"))
    return out


def core_blocks(config: Config, factor: int) -> int:
    """Coarse cells along the kept part of a window."""
    return max(2, round(NEAR / factor)) if config.core is None else config.core // factor


def halo_blocks(config: Config, factor: int) -> int:
    """Coarse cells read around the core; at most half of it unless set by hand."""
    if config.halo is None:
        return min(max(1, round(HALO / factor)), core_blocks(config, factor) // 2)
    return -(-config.halo // factor)


def check_place(config: Config, preview: Preview) -> None:
    """Judges the zones whose totals are to be met.

    Raises: HectareError or HectareErrors (exit 3).
    """
    check_zones(config.zone_totals, preview.fine, "infer.zone_totals")


def run(config: Config, *, cube: Path, checkpoint: Path | None = None, out: Path) -> None:
    """Estimates every fine cell and makes each block meet its total; goes on where an earlier attempt stopped.

    Args:
      checkpoint: of this run; not read when the configuration names one from elsewhere.
    """
    opened = Cube.open(cube)
    method, facts = _load(config, checkpoint, opened)
    if isinstance(method, Placeable):
        method.place(device_of(config.device, "infer.device"))
    _check(config, opened)
    chunk = max(1, round(CORE_CHUNK / opened.factor)) * opened.factor
    if config.zone_totals is not None and not opened.quantity.adds_up:
        found, wanted = f"set, but {opened.name} is a mean over the cell", "amounts, which add up over zones"
        raise UsageError("infer.zone_totals", found, wanted, "leave `infer.zone_totals` out")
    zones = (
        None
        if config.zone_totals is None
        else open_zones(config.zone_totals, opened.fine, "infer.zone_totals")
    )
    journal = ResumeLog(out, "infer")
    store = (out if zones is None else out / FOLDER) / field.STORE
    if "laid out" not in journal.done:
        shutil.rmtree(store, ignore_errors=True)
        field.lay_out(store, opened, chunk)
        journal.add("laid out")
    arrays.sweep(store)
    group = arrays.open_group(store, "infer", mode="r+")
    core, halo = core_blocks(config, opened.factor), halo_blocks(config, opened.factor)
    estimates = Estimates(opened, method, int(facts.get("years", 1)), core, halo)
    name, law, shares = _law(config, opened, estimates)
    _fill(group, estimates, Placement(opened, law, config.proxy), chunk // opened.factor, journal)
    also = _meet_zones(config, opened, zones, group, out, chunk, journal) if zones else ()
    arrays.seal(out / field.STORE)
    regions = [value for value in journal.done.values() if value]
    record = _summary(config, opened, facts, regions).with_(law=name, laws=shares, zones=also)
    if config.checkpoint is None and checkpoint is not None:
        carry_figures(checkpoint, out)
    (out / field.FACTS).write_text(json.dumps(record.to_json(), indent=1, sort_keys=True) + "\n", "utf-8")
    journal.close()
    _say(record)


def _meet_zones(
    config: Config, cube: Cube, zones: Zones, placed: arrays.Group, out: Path, chunk: int, journal: ResumeLog
) -> tuple[ZoneRecord, ...]:
    """Fills the field from one that meets its blocks alone, raked to the zones' totals; returns what came of each."""
    assert config.zone_totals is not None
    wanted = read_totals(config.zone_totals, list(zones.shapes), cube.sectors, cube.years, cube.unit)
    regions = regions_of(cube.fine.shape, chunk)

    def read(region: Region) -> NDArray[np.float64]:
        window = (slice(None), slice(None), *region.slices)
        return arrays.read_region(arrays.array_of(placed, "mass"), window, "infer")

    raking = Raking(cube, zones, wanted, regions, read)
    if "raked" not in journal.done:
        shutil.rmtree(out / field.STORE, ignore_errors=True)
        field.lay_out(out / field.STORE, cube, chunk)
        journal.add("raked")
    arrays.sweep(out / field.STORE)
    group = arrays.open_group(out / field.STORE, "infer", mode="r+")
    arrays.array_of(group, "fallback_level")[...] = arrays.array_of(placed, "fallback_level")[...]
    for done, region in enumerate(regions, start=1):
        arrays.array_of(group, "mass")[:, :, *region.slices] = raking.region(region)
        step("meeting zones", done, len(regions), "regions")
    raking.say(cube.unit)
    return tuple(raking.records)


def _law(config: Config, cube: Cube, estimates: Estimates) -> tuple[str, Law, dict[str, float]]:
    """The law's name, the law, and how the candidates did where the run was to choose."""
    if config.law == "additive":
        return config.law, additive, {}
    if config.law != "auto":
        name = f"power({config.gamma:g})" if config.law == "power" else config.law
        return name, LAWS[config.law](config.gamma), {}
    name, shares = select_law(cube, estimates)
    told = ", ".join(f"{candidate} {share:.4f}" for candidate, share in shares.items())
    tell(f"infer: law {name}; misallocated share of merged totals: {told or 'none is known'}")
    return name, CANDIDATES[name], shares


def _load(config: Config, folder: Path | None, cube: Cube) -> tuple[Method, dict[str, Any]]:
    """The method of this run, or the one trained elsewhere.

    Raises: InputError (exit 3) when the latter does not fit the cube; ArtifactError (exit 4) when a file is damaged.
    """
    if config.checkpoint is None:
        assert folder is not None
        return checkpoint.load(folder, cube)
    try:
        method, facts = checkpoint.load(Path(config.checkpoint), cube)
    except ArtifactError as fault:
        fix = "name the checkpoint folder of a run with the same layers, sectors, factor and unit, or train here"
        raise InputError(f"infer.checkpoint, {fault.where}", fault.found, fault.wanted, fix) from fault
    if isinstance(method, ThresholdAware):
        method.forget_threshold()
    return method, {**facts, "transferred": Path(config.checkpoint).absolute().parent.name}


def _check(config: Config, cube: Cube) -> None:
    """Raises UsageError (exit 2) for settings that the cube does not allow."""
    faults: list[HectareError] = [clash.fault("infer") for clash in clashes(config, cube.factor)]
    raise_together([*faults, *_unknown_proxy(config, [layer.name for layer in cube.layers])])


def check(config: Config, preview: Preview) -> None:
    """Refuses what cannot work, before anything is made.

    Raises: UsageError (exit 2) for a proxy that is no layer, where the layers are known.
    """
    if config.device == "cuda":
        device_of(config.device, "infer.device")
    raise_together(_unknown_proxy(config, preview.layers) if preview.layers is not None else [])


def _unknown_proxy(config: Config, names: Sequence[str]) -> list[HectareError]:
    if config.proxy is None or config.proxy in names:
        return []
    wanted, fix = "a layer of the cube: " + ", ".join(names), "correct `infer.proxy`, or leave it out"
    return [UsageError("infer.proxy", f"no layer {config.proxy!r}", wanted, fix)]


def _fill(
    group: arrays.Group, estimates: Estimates, placement: Placement, side: int, journal: ResumeLog
) -> None:
    """Fills what an earlier attempt left. Args: side: coarse cells along a region, one chunk of the field."""
    cube = placement.cube
    regions = regions_of(cube.coarse.shape, side)
    todo = []
    for region in regions:
        if _key(region) not in journal.done:
            todo.append(region)
    before = len(regions) - len(todo)
    step("estimating", before, len(regions), "regions", before=before)
    for done, region in enumerate(todo, start=before + 1):
        placed = placement.place(estimates.region(*region), region)
        arrays.array_of(group, "mass")[:, :, *region.refined(cube.factor).slices] = placed.mass
        arrays.array_of(group, "fallback_level")[:, :, *region.slices] = placed.fallback_levels
        journal.add(
            _key(region), {"fallback_levels": _count(placed.fallback_levels), "not_finite": placed.not_finite}
        )
        step("estimating", done, len(regions), "regions", before=before)


def _key(region: Region) -> str:
    """Of a region in the journal."""
    return f"{region.row},{region.col}"


def _count(fallback_levels: NDArray[np.uint8]) -> list[list[dict[str, int]]]:
    """Per sector and year, how many blocks each level placed."""
    return [
        [
            {FallbackLevel(code).name.lower(): int((year == code).sum()) for code in np.unique(year)}
            for year in sector
        ]
        for sector in fallback_levels
    ]


def _summary(config: Config, cube: Cube, facts: dict[str, Any], regions: list[dict[str, Any]]) -> FieldRecord:
    counts = []
    for index, sector in enumerate(cube.sectors):
        for when, year in enumerate(cube.years):
            summed: Counter[str] = Counter()
            for region in regions:
                summed.update(region["fallback_levels"][index][when])
            counts.append(
                FallbackRecord(sector=sector, year=year, fallback_levels=dict(sorted(summed.items())))
            )
    return FieldRecord(
        method=facts["method"],
        describe=facts.get("describe", {}),
        training=TrainingRecord.from_json(facts),
        proxy=config.proxy,
        reference=facts.get("reference"),
        counts=tuple(counts),
        not_finite=sum(region["not_finite"] for region in regions),
    )


def _say(record: FieldRecord) -> None:
    alike: dict[tuple[str, str], list[int]] = {}
    for entry in record.counts:
        fell = [
            f"{count} by {name}"
            for name, count in entry.fallback_levels.items()
            if name not in ("model", "nothing", "point")
        ]
        if fell:
            alike.setdefault((entry.sector, ", ".join(fell)), []).append(entry.year)
    for (sector, words), years in alike.items():
        span = str(years[0]) if len(years) == 1 else f"{years[0]} to {years[-1]} ({len(years)} of them)"
        tell(f"infer: {sector} {span}: blocks not placed by the estimate: {words}", warning=True)
    if record.not_finite:
        tell(
            f"infer: {record.not_finite} estimates were not finite; the fallback took over there",
            warning=True,
        )


class InferBody(StageBody[Config]):
    """Applies the checkpoint, of this run or from elsewhere."""

    def sources(self, config: Config) -> list[str]:
        return sources(config)

    def spares(self, config: Config) -> tuple[str, ...]:
        return spares(config)

    def clashes(self, config: Config, factor: int) -> list[Clash]:
        return clashes(config, factor)

    def check(self, config: Config, preview: Preview) -> Preview:
        check(config, preview)
        return preview

    def check_place(self, config: Config, preview: Preview) -> None:
        check_place(config, preview)

    def is_transferred(self, config: Config) -> bool:
        return config.checkpoint is not None

    def on_its_own(self) -> tuple[str, ...]:
        return ("checkpoint=null",)

    def merged(self, config: Config, group: int) -> tuple[str, ...]:
        return "core=null", "halo=null"


BODY = InferBody(Config, VERSION, run)
