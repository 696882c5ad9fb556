"""Cube and tile plan in, checkpoint out: the method of choice, trained on totals alone or merely prepared."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model.ground.blocks import merge
from model.ground.errors import InputError
from model.ground.survey import Survey
from model.method import Method, PairTrainable, ThresholdAware, Trainable
from model.methods.choice import MethodChoice
from model.training.losses import groups_of
from model.training.validation import evenly
from stages.artifacts import checkpoint
from stages.artifacts.applicability import draw_reference
from stages.artifacts.cube import Cube
from stages.artifacts.tiles import Samples
from stages.contract.body import Preview, StageBody
from stages.contract.device import device_of
from stages.contract.progress import tell
from stages.train.config import DEFAULT_METHOD, Config
from stages.train.folds import OWN_BASE, Folds, archive, learn, restore, states
from stages.train.paired import learn_pairs
from stages.train.warm_start import FILES, asked, open_donor, warm_start

VERSION = 5
# What the pipeline asks of this stage, whatever file it lies in.
__all__ = [
    "BODY",
    "DEFAULT_METHOD",
    "VERSION",
    "Config",
    "check",
    "expect",
    "restore",
    "run",
    "sources",
    "states",
]
READ = 512  # fine cells along a window of the survey: bounds memory, about a chunk of the cube


def run(config: Config, *, cube: Path, tiles: Path, out: Path) -> None:
    """Prepares the method, trains it if it learns, and writes the checkpoint.

    Raises: UsageError when cuda is asked for and absent; InputError when no fine cell is valid;
      NumberError when the loss is not finite.
    """
    data = Cube.open(cube)
    years = min(config.years, len(data.years))
    if years < config.years:
        tell(f"train: {len(data.years)} year(s) in the cube, so windows hold {years}, not {config.years}")
    samples = Samples(cube, tiles, "all", years)
    survey = survey_of(data, samples)
    if not survey.cells.any():
        dropped = "; ".join(f"{count} windows, {why}" for why, count in samples.dropped.items())
        raise InputError(
            "cube",
            f"no fine cell is valid ({dropped})",
            "layers with values under the totals",
            "see the gaps in ingest.json",
        )
    _tell_unheard(config)
    choice = config.method
    if not data.quantity.adds_up:
        choice = MethodChoice(choice.name, choice.options.for_means())
    method = choice.make(config)
    method.prepare(survey)
    facts = {**checkpoint.cube_facts(data), "asked": choice.name, "years": years, "seed": config.seed}
    history: list[dict[str, Any]] = []
    if isinstance(method, PairTrainable):
        device = device_of(config.device, "train.device")
        learned, history = learn_pairs(config, method, survey, data, (cube, tiles), out, device)
        facts |= learned
    elif isinstance(method, Trainable) and method.phases():
        from model.training.trainer import CALIBRATION_TILES  # torch loads only when something learns

        method.calibrate([samples[index] for index in evenly(len(samples), CALIBRATION_TILES)])
        _tell_least(method, survey, data.unit)
        folds = Folds(cube, tiles, years, samples.folds, config.networks)
        reason = _why_not(method, survey, folds)
        if reason is None:
            if (donor := asked(config)) is not None:
                facts |= warm_start(donor, method, facts)
            device = device_of(config.device, "train.device")
            learned, history = learn(config, method, survey, folds, device, data.unit, out)
            reason = learned.pop("reason", None)
            facts |= learned
        if reason is not None:
            method.members(())
            facts |= {"fell_back": OWN_BASE, "reason": reason}
            tell(f"train: {reason}; uses {OWN_BASE}, which learns nothing", warning=True)
    facts["describe"] = method.describe()
    if history:
        archive(config, facts, out)
    facts["reference"] = draw_reference(data, samples.target_map, config.seed)
    checkpoint.write_history(history, out)
    checkpoint.save(choice.name, method, facts, out)


def _tell_unheard(config: Config) -> None:
    """Says which settings were changed and mean nothing to the method."""
    fields = type(config).model_fields
    changed = [
        name
        for name in config.unheard
        if name in config.model_fields_set and getattr(config, name) != fields[name].default
    ]
    if changed:
        keys = ", ".join(f"`train.{name}`" for name in changed)
        tell(f"train: {config.method} does not hear {keys}")


def _tell_least(method: Method, survey: Survey, unit: str) -> None:
    """Says what a cell is taken to hold at least.

    Raises: InputError when no total holds as much.
    """
    least = method.least if isinstance(method, ThresholdAware) else {}
    for sector, totals in zip(survey.sectors, survey.totals, strict=True):
        if amount := least.get(sector):
            if amount > totals.max():
                wanted = f"at most the largest total, {totals.max():g} {unit}"
                found = f"{amount:g} {unit} for {sector}"
                key = "train.method.reporting_threshold"
                raise InputError(key, found, wanted, f"correct it, or set `{key}: auto`")
            tell(f"train: {sector}: a cell is taken to hold nothing or at least {amount:.4g} {unit}")


def _why_not(method: Trainable, survey: Survey, folds: Folds) -> str | None:
    """A reason to learn nothing; None when there is none."""
    if (reason := method.refusal(survey)) is not None:
        return reason
    if not folds.pairs:
        return "the map is too small to hold ground apart, so nothing could tell when to stop"
    train, _ = next(iter(folds.pairs.values()))
    if not groups_of((2,), train.side, train.side):
        return "a window is a single coarse cell, so no totals can be merged"
    return None


def sources(config: Config) -> list[str]:
    """Files whose content enters the fingerprint: weights to compare by, networks and states to begin with."""
    weights = list(config.method.options.weight_files())
    if (donor := asked(config)) is not None:
        weights += [str(donor / name) for name in FILES]
    if config.start is None:
        return weights
    states = Path(config.start).glob(f"train*/{config.start_at}.safetensors")
    return [*weights, *sorted(str(path) for path in states)]


def check(config: Config) -> None:
    """Refuses a device or pretrained networks that are not there, before anything is made.

    Raises: UsageError (exit 2), InputError (exit 3).
    """
    if config.device == "cuda":
        device_of(config.device, "train.device")
    if (donor := asked(config)) is not None:
        open_donor(donor)


def expect(config: Config, preview: Preview, free: int) -> Preview:
    """What a step will take, by taking a few on made-up ground of the same size; nothing for a baseline.

    Args:
      preview: what the stages before this one tell.
      free: bytes of memory left on this machine.
    """
    if config.method.row.trained_on is None:
        return preview
    from stages.train.cost import Sizes, rehearse

    device = device_of(config.device, "train.device")
    sizes = Sizes(
        layers=len(preview.layers or ()),
        sectors=len(preview.sectors),
        years=len(preview.years),
        factor=preview.factor,
        side=preview.tile_side,
        halo=preview.tile_halo,
    )
    cost = rehearse(config, device, sizes, free)
    if cost is None:
        return preview
    costs = (
        ("a training step", f"{cost.seconds:.3g} s and {cost.memory / 1e6:.0f} MB on {device}"),
        ("tiles a step", f"{config.batch_tiles} set, {cost.fits} would fit"),
        ("training of one network, at most", f"{cost.steps} steps, {cost.total_seconds / 60:.3g} min"),
    )
    return replace(preview, costs=costs)


def survey_of(data: Cube, samples: Samples) -> Survey:
    """The map at the inventory's own scale, read window by window."""
    factor, (rows, cols) = data.factor, data.coarse.shape
    sums, positive = np.zeros((2, len(data.layers), len(data.years), rows, cols))
    cells = np.zeros((rows, cols), dtype=np.int64)
    stride = max(1, READ // factor)
    for row in range(0, rows, stride):
        for col in range(0, cols, stride):
            part = slice(row, min(row + stride, rows)), slice(col, min(col + stride, cols))
            size = (part[0].stop - row) * factor, (part[1].stop - col) * factor
            valid = data.valid(row * factor, col * factor, *size)
            layers = data.covariates(row * factor, col * factor, *size).astype(np.float64)
            sums[(..., *part)] = merge(np.where(valid, layers, 0.0), factor)
            positive[(..., *part)] = merge(np.where(valid, np.maximum(layers, 0.0), 0.0), factor)
            cells[part] = merge(valid, factor)
    names = ("zero_share", "positive_median")
    totals = data.totals()
    statistics = {name: np.asarray(samples.statistics[name], dtype=np.float64) for name in names}
    return Survey(
        data.layers,
        data.sectors,
        factor,
        np.maximum(totals, 0.0),
        data.known() & (totals >= 0),  # a sink says nothing of where sources are
        sums,
        cells,
        samples.target_map,
        **statistics,
        positive_sums=None if np.array_equal(sums, positive) else positive,
    )


class TrainBody(StageBody[Config]):
    """Learns; its unfinished work may go back to a saved state."""

    keeps_states = True

    def sources(self, config: Config) -> list[str]:
        return sources(config)

    def check(self, config: Config, preview: Preview) -> Preview:
        check(config)
        return preview

    def expect(self, config: Config, preview: Preview, free: int) -> Preview:
        return expect(config, preview, free)

    def states(self, config: Config, out: Path) -> Sequence[str]:
        return states(config, out)

    def restore(self, config: Config, out: Path, name: str) -> str:
        return restore(config, out, name)

    def method(self, config: Config) -> str:
        return config.method.name

    def with_method(self, choice: str) -> tuple[str, ...]:
        return (f"method={choice}",)

    def on_its_own(self) -> tuple[str, ...]:
        return ("pretrained=null",)


BODY = TrainBody(Config, VERSION, run)
