"""Lets networks begin with those of another run's checkpoint, where both see the same inputs."""

from pathlib import Path
from typing import Any

from model.fault import ArtifactFault, InputFault
from stages.progress import tell
from stages.store import checkpoint

FILES = (checkpoint.FACTS, checkpoint.WEIGHTS)
FIX = "name a checkpoint trained on the same layers, sectors and factor, or take `train.pretrained` out"


def begin_with(folder: Path, method: Any, factor: int) -> dict[str, Any]:
    """Hands the networks of a checkpoint to a calibrated method; returns facts for its own checkpoint.

    Where both start from another base nothing is handed on, and that is said: what a network learned is how to bend
    one.

    Args: factor: fine cells along a coarse cell, here.
    Raises: InputFault (exit 3) when it cannot be read, or learned from other inputs.
    """
    try:
        loaded, facts = checkpoint.load(folder)
    except ArtifactFault as fault:
        raise InputFault(f"train.pretrained, {fault.where}", fault.found, fault.wanted, FIX) from fault
    name = folder.parent.name if folder.name == "checkpoint" else folder.name
    donor: Any = loaded
    if type(donor) is not type(method):
        raise InputFault(
            "train.pretrained", f"a checkpoint of {facts['method']}", "one of the same method", FIX
        )
    unlike = method.unlike(donor)
    if facts["factor"] != factor:
        unlike.append(f"factor {facts['factor']} there, {factor} here")
    if unlike:
        raise InputFault("train.pretrained", f"{name}: {'; '.join(unlike)}", "the same in both", FIX)
    if donor.base.kinds != method.base.kinds:
        there, here = (", ".join(side.base.kinds) for side in (donor, method))
        tell(f"train: the networks of {name} bend another base ({there}, here {here}): begins untrained")
        return {}
    method.begin_with(donor)
    tell(f"train: begins with the networks of {name}")
    return {"pretrained": name}
