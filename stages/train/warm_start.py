"""Lets networks begin with those of another run's checkpoint, where both see the same inputs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.ground.errors import ArtifactError, InputError
from model.method import Method, WarmStartable
from stages.artifacts import checkpoint
from stages.contract.progress import tell
from stages.train.config import Config

FILES = (checkpoint.FACTS, checkpoint.WEIGHTS)
FIX = "name a run's checkpoint folder (from the configuration's own folder), or set `train.pretrained: null`"


def asked(config: Config) -> Path | None:
    """The folder, where the method can begin with one and nothing else says what training begins with."""
    if config.pretrained is None or config.start is not None or not config.method.row.pretrained:
        return None
    return Path(config.pretrained)


def open_donor(folder: Path) -> tuple[Method, dict[str, Any]]:
    """The method of a checkpoint made elsewhere, and its facts.

    Raises: InputError (exit 3) when it is not there, or cannot be read.
    """
    try:
        return checkpoint.load(folder)
    except ArtifactError as fault:
        found = f"{folder}: {fault.where} {fault.found}"
        raise InputError("train.pretrained", found, fault.wanted, FIX) from fault
    except NotADirectoryError as error:
        raise InputError("train.pretrained", f"{folder} is a file", "a folder", FIX) from error


def warm_start(folder: Path, method: Method, here: Mapping[str, Any]) -> dict[str, Any]:
    """Hands the networks of a checkpoint to a calibrated method; returns facts for its own checkpoint.

    Where they do not fit, training begins with none of them, and that is said: what a network learned is how certain
    layers bend a certain base.

    Args: here: what checkpoint.cube_facts() tells.
    """
    donor, there = open_donor(folder)
    name = folder.parent.name if folder.name == "checkpoint" else folder.name
    unlike = _unlike(donor, method, there, here)
    if unlike:
        told = f"the networks of {name} do not fit: {'; '.join(unlike)}"
        tell(f"train: {told}; begins untrained", warning=True)
        return {"pretrained_left": told}
    assert isinstance(method, WarmStartable)
    method.warm_start(donor)
    tell(f"train: begins with the networks of {name}; held-out ground may be ground they have seen")
    return {"pretrained": name}


def _unlike(donor: Method, method: Method, there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    if type(donor) is not type(method) or not isinstance(method, WarmStartable):
        return [f"they are of {there['method']}"]
    found = method.incompatibilities(donor)
    if there["factor"] != here["factor"]:
        found.append(f"factor {there['factor']} there, {here['factor']} here")
    kinds = [{layer["name"]: checkpoint.title(layer) for layer in side["layers"]} for side in (there, here)]
    for name in kinds[0].keys() & kinds[1].keys():
        if kinds[0][name] != kinds[1][name]:
            found.append(f"layer {kinds[0][name]} there, {kinds[1][name]} here")
    return sorted(found)
