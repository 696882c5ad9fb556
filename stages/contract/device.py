"""The device that networks run on: as a configuration asks for it, and as the machine has it."""

from typing import Literal

from model.ground.errors import UsageError

Device = Literal["auto", "cpu", "cuda"]


def device_of(asked: Device, key: str) -> str:
    """cpu or cuda; auto is a CUDA device where there is one.

    Args: key: of the configuration that asks.
    Raises: UsageError (exit 2) when cuda is asked for and there is none.
    """
    import torch

    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise UsageError(
            key, "cuda, but this machine offers no CUDA device", "cpu or auto", f"set {key}: auto"
        )
    return "cuda"
