"""Learns fold by fold: one network for each part of the ground that is held out, judged on that part."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ground.errors import UsageError
from model.ground.scene import Scene, Tile
from model.ground.survey import Survey
from model.method import Method, Trainable, WarmStartable
from model.methods import method_class
from model.training.losses import groups_of
from model.training.protocol import State
from model.training.sampler import TileData
from model.training.validation import TotalsValidation, candidate_scores, evenly
from stages.artifacts.checkpoint import write_lines
from stages.artifacts.cube import Cube
from stages.artifacts.tiles import Samples
from stages.artifacts.training_states import FOLDER, States
from stages.contract.progress import tell
from stages.contract.section import dump
from stages.formats.atomic import replace_file
from stages.report.training_figures import NetworkFigures, write_figures
from stages.train.config import Config
from stages.train.expert_map import chosen_experts
from stages.train.monitor import HISTORY, Live, read_steps
from stages.train.page import PAGE, TrainedNetwork, render, sampled

OWN_BASE = "its base"  # what a method that learns is before it does
RIVALS = ("uniform", "single_proxy", "smooth_mask")  # learn nothing; the report says when one of them wins

STEPS, STEPS_TABLE = "steps.jsonl", "steps.csv"  # a line for each step, or for every so many of them


class Folds:
    """Tiles to train and to validate on, while each fold is held out in turn; those without any are left out."""

    def __init__(self, cube: Path, tiles: Path, years: int, count: int, most: int | None = None) -> None:
        """Args: count: of folds; most: of them to hold out, the first ones; None for all."""
        self.cube, self.years = Cube.open(cube), years
        pairs = {
            fold: tuple(Samples(cube, tiles, split, years, fold) for split in ("train", "valid"))
            for fold in range(count)
        }
        useful = [fold for fold, pair in pairs.items() if all(len(part) for part in pair)]
        self.pairs = {fold: pairs[fold] for fold in useful[:most]}


def learn(
    config: Config, method: Trainable, survey: Survey, folds: Folds, device: str, unit: str, out: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Trains one network for each fold in place; returns facts for the checkpoint and the history.

    Args:
      unit: of the totals, for the page.
    """
    from model.training.trainer import VALIDATION_TILES, Trainer

    numbers = list(folds.pairs)
    members = method.members(numbers)
    method.place(device)
    results: dict[int, dict[str, Any]] = {}
    history: list[dict[str, Any]] = []
    shown: list[TrainedNetwork] = []
    for number, member in zip(numbers, members, strict=True):
        train, valid = folds.pairs.pop(number)  # its tiles make room for those of the next
        groups = groups_of(config.validation_coarsen or config.coarsen, train.side, train.side)
        validation = [valid[index] for index in evenly(len(valid), VALIDATION_TILES)]
        live = Live(out, number, f"train, network {numbers.index(number) + 1} of {len(numbers)}")
        trainer = Trainer(
            member,
            TileData(train, config.seed + 1000 * number),
            TotalsValidation(member, validation, groups, config.validation_score),
            States(out, number, config.digest()),
            config.save_every,
            live.hear,
            lambda text: tell(text, warning=True),
            config.policy,
            begun_from(config, number),
        )
        progress = trainer.run()
        live.close()
        if progress is None:
            continue
        best = progress.kept[0]
        tell(f"train: fold {number}: step {best.step} of {progress.total}, held-out score {best.score:.4f}")
        if progress.skipped:
            tell(f"train: fold {number}: {progress.skipped} steps left out, not finite", warning=True)
        history += [{"fold": number, **line} for line in progress.history]
        shown.append(
            TrainedNetwork(
                number,
                live.told(),
                read_steps(live.path),
                progress.history,
                sampled(member, validation, groups[0], best.choice),
                chosen_experts(member, folds.cube, folds.years),
            )
        )
        results[number] = {
            "step": best.step,
            "steps": progress.total,
            "tiles": len(train),
            "score": best.score,
            "rivals": {OWN_BASE: _base_score(method, progress.first_score, validation, groups, config)}
            | _free_scores(survey, validation, groups, config.validation_score),
        }
    if not results:
        return {"reason": "no group of validation cells holds mass, so nothing could tell when to stop"}, []
    method.keep(tuple(results))
    steps = [{"fold": network.fold, **line} for network in shown for line in network.steps]
    write_lines(steps, out / STEPS, out / STEPS_TABLE)
    facts = _summed_up(list(results.values()))
    figures = [network.figures(unit) for network in shown]
    write_figures(figures, out)
    told: list[NetworkFigures] = []
    for plain, network in zip(figures, shown, strict=True):
        told.append({**plain, "words": network.words})
    page = render({**facts, "asked": config.method.name, "describe": method.describe()}, told)
    replace_file(out / PAGE, page.encode())
    return facts, history


def archive(config: Config, facts: dict[str, Any], out: Path) -> None:
    """Leaves for the run's history: what was asked, what came of it, and the states worth going back to."""
    folder = out / HISTORY
    kept: dict[str, str] = {}
    for network in sorted((out / FOLDER).glob("train*")):
        for path in States(out, _fold(network)).lasting():
            kept[f"{network.name}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
            (folder / network.name).mkdir(parents=True, exist_ok=True)
            replace_file(folder / network.name / path.name, path.read_bytes())
    names = ("asked", "score", "step", "steps", "start_score", "rivals", "beaten_by", "fell_back")
    record = {name: facts[name] for name in names if name in facts}
    record |= {"config": dump(config), "config_hash": config.digest(), "states": kept}
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "summary.json", (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())


def states(config: Config, out: Path) -> list[str]:
    """`fold/state` of everything unfinished training may go back to, in the order of the folds."""
    folders = sorted((out / FOLDER).glob("train*"), key=_fold)
    return [
        f"{_fold(folder)}/{name}"
        for folder in folders
        for name in States(out, _fold(folder), config.digest()).names()
    ]


def restore(config: Config, out: Path, name: str) -> str:
    """Makes the named state the latest of its network; without a fold, of the network that was under way.

    Raises: UsageError when there is none of that name.
    """
    known = states(config, out)
    full = name if "/" in name or not known else f"{known[-1].partition('/')[0]}/{name}"
    if full not in known:
        wanted = f"one of {', '.join(known)}" if known else "a state, and none was saved yet"
        raise UsageError("--from", f"no state {name!r}", wanted, "check the name")
    fold, _, state = full.partition("/")
    step = States(out, int(fold), config.digest()).restore(state)
    return f"train: network {fold} goes back to {state}, step {step}"


def _fold(folder: Path) -> int:
    """Of the network whose states lie there."""
    return int(folder.name.removeprefix("train"))


def begun_from(config: Config, fold: int) -> State | None:
    """The state training begins with; None for untrained networks.

    Raises: UsageError when the folder holds none for any network.
    """
    if config.start is None:
        return None
    path = Path(config.start) / f"train{fold}" / f"{config.start_at}.safetensors"
    if path.is_file():
        return States.of(path)
    if not list(Path(config.start).glob(f"train*/{config.start_at}.safetensors")):
        wanted = f"train{fold}/{config.start_at}.safetensors in it, as a run's history keeps them"
        raise UsageError("train.start", f"no such state in {config.start}", wanted, "correct train.start")
    tell(f"train: fold {fold}: nothing learned was best there, so its network begins untrained")
    return None


def _summed_up(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Facts of all networks together; warns when what learns nothing does as well on held-out ground."""
    score = float(np.mean([result["score"] for result in results]))
    rivals = {
        name: float(np.mean([result["rivals"][name] for result in results])) for name in results[0]["rivals"]
    }
    facts = {
        "folds": len(results),
        "step": sum(result["step"] for result in results),
        "steps": sum(result["steps"] for result in results),
        "tiles": sum(result["tiles"] for result in results),
        "score": score,
        "start_score": rivals[OWN_BASE],
        "rivals": rivals,
    }
    best = min(rivals, key=lambda name: rivals[name])
    if rivals[best] <= score:
        facts["beaten_by"] = best
        told = f"on held-out ground {best}, which learns nothing, is as good or better"
        tell(f"train: {told}: {rivals[best]:.4f} against {score:.4f}", warning=True)
    return facts


def _free_scores(
    survey: Survey, tiles: Sequence[Tile], groups: tuple[int, ...], by: str = "nonzero_mae"
) -> dict[str, float]:
    """What baselines that learn nothing miss on the same held-out ground."""
    out = {}
    for name in RIVALS:
        rival = _prepared(name, survey)
        out[name] = candidate_scores(_Rival(rival.estimate), tiles, groups, by)["as it is"]
    return out


def _base_score(
    method: Trainable, first: float, tiles: Sequence[Tile], groups: tuple[int, ...], config: Config
) -> float:
    """What the base alone misses: the first score, but where pretrained networks already bend it there."""
    if not (isinstance(method, WarmStartable) and method.begun):
        return first
    return candidate_scores(_Rival(method.before_learning), tiles, groups, config.validation_score)[
        "as it is"
    ]


class _Rival:
    """What learns nothing, as validation asks for estimates."""

    def __init__(self, estimate: Callable[[Scene], NDArray[np.float32]]) -> None:
        self._estimate = estimate

    def candidates(self, scene: Scene) -> dict[str, NDArray[np.float32]]:
        return {"as it is": self._estimate(scene)}


def _prepared(name: str, survey: Survey) -> Method:
    method: Method = method_class(name)(None)
    method.prepare(survey)
    return method
