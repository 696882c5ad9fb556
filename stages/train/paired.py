"""Training of methods that learn from pairs: handed over when a method asks for fine fields."""

from pathlib import Path
from typing import Any

from model.ground.errors import InputError, UsageError
from model.ground.survey import Survey
from model.method import ContentComparing, PairTrainable
from model.methods import method_class
from model.training.sampler import PairData
from model.training.validation import PairValidation, evenly, rmse_of
from stages.artifacts.checkpoint import network_weights, write_lines
from stages.artifacts.cube import Cube
from stages.artifacts.pairs import PairSamples
from stages.artifacts.training_states import States
from stages.contract.progress import tell
from stages.train.config import Config
from stages.train.folds import STEPS, STEPS_TABLE, begun_from
from stages.train.monitor import Live, read_steps

RIVAL = "bilinear"  # learns nothing; keeps the totals too
SCORED = 24  # fields scored after each epoch, evenly spaced
FITTED = 200  # fields the transform is fitted to, evenly spaced


def learn_pairs(
    config: Config,
    method: PairTrainable,
    survey: Survey,
    data: Cube,
    folders: tuple[Path, Path],
    out: Path,
    device: str,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Trains the method in place; returns facts for the checkpoint and the history.

    Args: folders: of the cube and the tiles.
    Raises: UsageError (exit 2) when the run declares no pairs.
    """
    from model.training.trainer import Trainer

    if not data.record.pairs:
        raise UsageError(
            "train.method", f"{config.method}, which learns from fine fields", "fine fields of some dates",
            "declare them under `ingest.pairs`, or choose a method that learns from totals alone",
        )  # fmt: skip
    cube, tiles = folders
    train = PairSamples(cube, tiles, "train", shift=method.shifts_blocks)
    valid = PairSamples(cube, tiles, "valid")
    if not len(train) or not len(valid):
        raise UsageError(
            "ingest.pairs", f"{len(train)} fine fields to learn from, {len(valid)} to validate on", "at least one each",
            "declare more dates under `ingest.pairs`, or change `tile.valid_dates`",
        )  # fmt: skip
    for words in compare_contents(config, method):
        tell(f"train: contents are compared by {words}")
    method.place(device)
    method.fit([train.whole(index) for index in evenly(len(train), FITTED)])
    scored = [valid.whole(index) for index in evenly(len(valid), SCORED)]
    live = Live(out, 0, "train")
    trainer = Trainer(
        method,
        PairData(train, config.seed),
        PairValidation(method.estimate, scored),
        States(out, 0, config.digest()),
        config.save_every,
        live.hear,
        lambda text: tell(text, warning=True),
        config.policy,
        begun_from(config, 0),
    )
    progress = trainer.run()
    live.close()
    if progress is None:
        raise UsageError(
            "ingest.pairs",
            "no fine value on the dates that validate",
            "fine fields with values where totals are known",
            "declare other dates under `ingest.pairs`, or change `tile.valid_dates`",
        )
    write_lines(read_steps(live.path), out / STEPS, out / STEPS_TABLE)
    rival: Any = method_class(RIVAL)(None)
    rival.prepare(survey)
    score, free = rmse_of(method.estimate, scored), rmse_of(rival.estimate, scored)
    tell(f"train: {progress.total} steps; on held-out dates RMSE {score:.4g} {data.unit}, {RIVAL} {free:.4g}")
    if made := sum(pair.interpolated for pair in data.record.pairs):
        progress.notes.append(
            f"{made} of {len(data.record.pairs)} fine fields were interpolated from coarse ones: what was learned is "
            "interpolation, and no score tells of skill"
        )
    if progress.skipped:
        progress.notes.append(f"{progress.skipped} steps were left out, not finite")
    for note in progress.notes:
        tell(f"train: {note}", warning=True)
    facts = {
        "steps": progress.total, "pairs": len(train), "valid_pairs": len(valid), "held_out_rmse": score,
        "rival_rmse": {RIVAL: free}, "notes": progress.notes,
    }  # fmt: skip
    return facts, progress.history


def compare_contents(config: Config, method: PairTrainable) -> list[str]:
    """Hands the weights that a user brings to a method that compares contents by them.

    Returns: what each file is, in words.
    Raises: InputError (exit 3) when a file is missing, damaged, or holds the weights of another network.
    """
    told = []
    for file in config.method.options.weight_files():
        weights, sha256 = network_weights(file)
        words = f"VGG19 features, {Path(file).name}, SHA-256 {sha256}"
        assert isinstance(method, ContentComparing)
        try:
            method.compare_by(weights, words)
        except (KeyError, RuntimeError) as error:
            raise InputError(
                Path(file).name, f"weights of another network ({str(error)[:120]})", "those of VGG19",
                "give the file of vgg19 with the names features.0.weight and so on",
            ) from error  # fmt: skip
        told.append(words)
    return told
