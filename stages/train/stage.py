"""Cube and tile plan in, checkpoint out: the method of choice, trained on totals alone or merely prepared."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from model.ground.errors import InputFault, UsageFault
from model.ground.scene import merge
from model.method import Survey
from model.methods import method_class
from model.training.losses import groups_of
from model.training.validation import evenly
from stages.artifacts import checkpoint
from stages.artifacts.applicability import draw_reference
from stages.artifacts.cube import Cube
from stages.artifacts.tiles import Samples
from stages.contract.body import Preview, StageBody
from stages.contract.progress import tell
from stages.contract.section import SafeName, Section, SourcePath
from stages.train.folds import OWN_BASE, Folds, file_away, go_back, learn, states
from stages.train.paired import learn_pairs
from stages.train.warm_start import FILES, asked, begin_with, open_donor

VERSION = 4
# What the pipeline asks of this stage, whatever file it lies in.
__all__ = ["BODY", "VERSION", "Config", "check", "expect", "go_back", "run", "sources", "states"]
READ = 512  # fine cells along a window of the survey: bounds memory, about a chunk of the cube


class Config(Section):
    """What learns, from what, for how long."""

    method: Literal[
        "dst_carbon_former",
        "dst_carbon_former_v1_7",
        "dst_carbon_former_v3_0",
        "smooth_mask",
        "single_proxy",
        "uniform",
        "bilinear",
        "pycnophylactic",
        "proxy_product",
        "additive_nnls",
        "additive_poisson",
        "exposure",
        "random_forest",
        "gradient_boosting",
        "srresnet",
        "srgan",
    ] = "dst_carbon_former"
    seed: NonNegativeInt = 0  # the same seed gives the same weights, byte for byte, on the same kind of CPU
    years: PositiveInt = 3  # years in a window; fewer when the cube has fewer
    # Totals shown along a window of 12 coarse cells, one drawn for each tile: 6 merges 2 x 2 cells, 1 all.
    scales: Annotated[tuple[Literal[1, 2, 3, 4, 6], ...], Field(min_length=1)] = (6,)
    # The same when validation is scored; None: as in training. A whole window is seldom validation ground alone.
    judge_scales: Annotated[tuple[Literal[1, 2, 3, 4, 6], ...], Field(min_length=1)] | None = None
    # What stops training and chooses its state, over the mean non-zero total; balanced: zeros count as much.
    judge_by: Literal["nonzero_mae", "balanced_mae"] = "nonzero_mae"
    epochs: PositiveInt = 8  # each ends with a validation
    steps_per_epoch: PositiveInt = 25  # fewer on a map with under 600 coarse cells that hold mass
    batch_tiles: PositiveInt = 3  # tiles a step; memory grows with it
    learning_rate: PositiveFloat = 3e-3  # the highest of the cycle
    members: PositiveInt | None = (
        None  # networks, one for each fold held out; 1: the first fold's alone, as published
    )
    patience: PositiveInt = 5  # epochs without a better validation score before it stops
    weight_decay: NonNegativeFloat = 1e-3  # of AdamW
    clip: PositiveFloat = 1.0  # largest norm of the gradient
    average: Annotated[float, Field(ge=0, lt=1)] = (
        0.9  # memory of the averaged weights, which are the ones used
    )
    noise: NonNegativeFloat = 0.1  # added to inputs in training, in standard deviations
    network: Literal["plain", "dual_stream"] = (
        "plain"  # covariates alone, or with the base and a scan for context
    )
    width: Annotated[int, Field(ge=4, le=512)] = 24  # channels of the network
    pool: Annotated[int, Field(ge=1, le=64)] = 8  # fine cells along a place of the scan
    blocky_layers: Literal["drop", "average"] = (
        "drop"  # covariates as coarse as a block: leave out, or show averaged
    )
    # Mass that a fine cell holds at least if any, in the unit of the maps; auto: read off the smallest totals. The
    # default method alone hears this and the next.
    least: Literal["auto", "none"] | PositiveFloat = "auto"
    # Folder of a checkpoint made on other ground of the same inputs: networks begin with its own; `start` goes first.
    pretrained: SourcePath | None = None
    # The next five are heard by the published forms alone.
    without: tuple[
        Literal["scan", "experts", "sft", "frequency", "attention", "law"], ...
    ] = ()  # parts left out
    added: tuple[
        Literal["fusion", "valley", "context", "exact_zero", "years_wave", "coordinates"], ...
    ] = ()  # parts neither published form has
    turns: bool = True  # flips and quarter turns of each batch
    drop_layers: Annotated[float, Field(ge=0, lt=1)] = 0.0  # chance that a covariate is hidden
    sum_loss: Literal["published", "log_sum", "tweedie"] = "published"  # what v3.0 minimises
    accumulate: PositiveInt = 1  # batches whose gradients make one step: more ground without more memory
    schedule: Literal["one_cycle", "cosine", "plateau"] = "one_cycle"  # of the learning rate
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.3  # share of the steps on the way to the highest rate
    not_finite: Literal["stop", "skip"] = "stop"  # when a loss is no number: end there, or leave the step out
    precision: Literal["auto", "float32", "bf16"] = "auto"  # inside networks; auto: bf16 on a GPU alone
    # The next nine are heard by methods that learn from pairs.
    blocks: PositiveInt = 8  # residual blocks
    transform: Literal["log1p", "quantile"] = "log1p"  # of depths, fitted on the training dates
    shift_blocks: bool = (
        True  # blocks are laid anew over the fine field at each draw; False: the run's own alone
    )
    adversarial_epochs: PositiveInt = 8  # srgan, after the others
    adversarial_weight: NonNegativeFloat = (
        1e-3  # srgan: of fooling the discriminator, beside the content loss
    )
    # srgan: where contents are compared; vgg19 needs a file of its weights, which is not shipped
    content: Literal["spectral", "features", "pixel", "vgg19"] = "spectral"
    content_weight: NonNegativeFloat = 0.1  # srgan: of that, beside the pixels
    vgg19: SourcePath | None = (
        None  # weights as published (features.0.weight ...), .pt or .safetensors; never a pickle
    )
    start: SourcePath | None = None  # folder of a finished run's history whose states training begins with
    start_at: SafeName = "best"  # which of them: best, epoch_010, ...
    save_every: PositiveInt = 50  # steps between two saves of the state from which training resumes
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="after")
    def _agree(self) -> "Config":
        if (self.content == "vgg19") != (self.vgg19 is not None):
            raise ValueError("`content: vgg19` and `vgg19:`, a file of its weights, go together")
        return self


def run(config: Config, *, cube: Path, tiles: Path, out: Path) -> None:
    """Prepares the method, trains it if it learns, and writes the checkpoint.

    Raises: UsageFault when cuda is asked for and absent; InputFault when no fine cell is valid;
      NumberFault when the loss is not finite.
    """
    data = Cube.open(cube)
    years = min(config.years, len(data.years))
    if years < config.years:
        tell(f"train: {len(data.years)} year(s) in the cube, so windows hold {years}, not {config.years}")
    samples = Samples(cube, tiles, "all", years)
    survey = survey_of(data, samples)
    if not survey.cells.any():
        dropped = "; ".join(f"{count} windows, {why}" for why, count in samples.dropped.items())
        raise InputFault(
            "cube",
            f"no fine cell is valid ({dropped})",
            "layers with values under the totals",
            "see the gaps in ingest.json",
        )
    # Why: a block's mean times its room is no sum of what cells report.
    heard = config.model_copy(update={"least": "none"}) if data.is_intensive else config
    method: Any = method_class(config.method)(heard)
    method.prepare(survey)
    facts = {**checkpoint.cube_facts(data), "asked": config.method, "years": years, "seed": config.seed}
    history: list[dict[str, Any]] = []
    if getattr(method, "learns_from_pairs", False):
        device = device_of(config.device)
        learned, history = learn_pairs(config, method, survey, data, (cube, tiles), out, device)
        facts |= learned
    elif method.phases():
        from model.training.trainer import CALIBRATION_TILES  # torch loads only when something learns

        method.calibrate([samples[index] for index in evenly(len(samples), CALIBRATION_TILES)])
        _tell_least(method, survey, data.unit)
        folds = Folds(cube, tiles, years, samples.folds, config.members)
        reason = _why_not(method, survey, folds)
        if reason is None:
            if (donor := asked(config)) is not None:
                facts |= begin_with(donor, method, facts)
            device = device_of(config.device)
            learned, history = learn(config, method, survey, folds, device, data.unit, out)
            reason = learned.pop("reason", None)
            facts |= learned
        if reason is not None:
            method.members(())
            facts |= {"fell_back": OWN_BASE, "reason": reason}
            tell(f"train: {reason}; uses {OWN_BASE}, which learns nothing", warning=True)
    facts["describe"] = method.describe()
    if history:
        file_away(config, facts, out)
    facts["reference"] = draw_reference(data, samples.target_map, config.seed)
    checkpoint.write_history(history, out)
    checkpoint.save(config.method, method, facts, out)


def _tell_least(method: Any, survey: Survey, unit: str) -> None:
    """Says what a cell is taken to hold at least.

    Raises: InputFault when no total holds as much.
    """
    least = getattr(method, "least", {})
    for sector, totals in zip(survey.sectors, survey.totals, strict=True):
        if amount := least.get(sector):
            if amount > totals.max():
                wanted = f"at most the largest total, {totals.max():g} {unit}"
                found = f"{amount:g} {unit} for {sector}"
                raise InputFault("train.least", found, wanted, "correct it, or set `train.least: auto`")
            tell(f"train: {sector}: a cell is taken to hold nothing or at least {amount:.4g} {unit}")


def _why_not(method: Any, survey: Survey, folds: Folds) -> str | None:
    """A reason to learn nothing; None when there is none."""
    if (reason := method.refusal(survey)) is not None:
        return str(reason)
    if not folds.pairs:
        return "the map is too small to hold ground apart, so nothing could tell when to stop"
    train, _ = next(iter(folds.pairs.values()))
    if not groups_of((6,), train.side, train.side):
        return "a window is a single coarse cell, so no totals can be merged"
    return None


def sources(config: Config) -> list[str]:
    """Files whose content enters the fingerprint: weights to compare by, networks and states to begin with."""
    weights = [config.vgg19] if config.vgg19 else []
    if (donor := asked(config)) is not None:
        weights += [str(donor / name) for name in FILES]
    if config.start is None:
        return weights
    states = Path(config.start).glob(f"train*/{config.start_at}.safetensors")
    return [*weights, *sorted(str(path) for path in states)]


def check(config: Config) -> None:
    """Refuses a device or pretrained networks that are not there, before anything is made.

    Raises: UsageFault (exit 2), InputFault (exit 3).
    """
    if config.device == "cuda":
        device_of(config.device)
    if (donor := asked(config)) is not None:
        open_donor(donor)


def expect(config: Config, preview: Preview, free: int) -> Preview:
    """What a step will take, by taking a few on made-up ground of the same size; nothing for a baseline.

    Args:
      preview: what the stages before this one tell.
      free: bytes of memory left on this machine.
    """
    method: Any = method_class(config.method)
    if not hasattr(method, "members"):
        return preview
    from stages.train.cost import rehearse

    device = device_of(config.device)
    sizes = {
        "layers": len(preview.layers or ()),
        "sectors": len(preview.sectors),
        "years": len(preview.years),
        "factor": preview.factor,
        "side": preview.tile_side,
        "halo": preview.tile_halo,
    }
    cost = rehearse(config, device, sizes, free)
    if cost is None:
        return preview
    steps = config.epochs * config.steps_per_epoch
    costs = (
        ("a training step", f"{cost.seconds:.3g} s and {cost.memory / 1e6:.0f} MB on {device}"),
        ("tiles a step", f"{config.batch_tiles} set, {cost.fits} would fit"),
        ("training of one network, at most", f"{steps} steps, {steps * cost.seconds / 60:.3g} min"),
    )
    return replace(preview, costs=costs)


def device_of(asked: str) -> str:
    """cpu or cuda.

    Raises: UsageFault when cuda is asked for and there is none.
    """
    import torch

    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise UsageFault(
            "train.device",
            "cuda, but this machine offers no CUDA device",
            "cpu or auto",
            "set train.device: auto",
        )
    return "cuda"


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
        return go_back(config, out, name)


BODY = TrainBody(Config, VERSION, run)
