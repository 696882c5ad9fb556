"""What can go wrong in a step of training: memory that ends, and numbers that are none."""

import numpy as np
import torch

from model.ground.errors import NumberFault
from model.training.sampler import Draw

MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


def is_memory(error: BaseException) -> bool:
    """Whether the error says that memory ran out, on whatever device."""
    told = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        word in told for word in MEMORY_WORDS
    )


def unusable(found: str, step: int, draw: Draw) -> NumberFault:
    """Names the step, the tiles and the range of every layer in them."""
    ranges = []
    for index, layer in enumerate(draw.tiles[0].layers):
        values = np.stack([tile.covariates[index] for tile in draw.tiles])
        ranges.append(f"{layer.name} {values.min():.6g} to {values.max():.6g}")
    return NumberFault(
        f"train: step {step}, tiles {', '.join(str(index) for index in draw.numbers)}",
        f"{found}; layers there: {'; '.join(ranges)}",
        "finite numbers",
        "look at the named layers in those tiles, lower train.learning_rate, or set train.not_finite: skip; "
        "the last good state is kept",
    )
