"""What can go wrong in a step of training: memory that ends, and numbers that are none."""

import torch

from model.ground.errors import NumberError
from model.training.sampler import Draw

MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


def is_memory(error: BaseException) -> bool:
    """Whether the error says that memory ran out, on whatever device."""
    told = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        word in told for word in MEMORY_WORDS
    )


def unusable(found: str, step: int, draw: Draw, explained: str) -> NumberError:
    """Names the step, the items and the range of what is in them."""
    return NumberError(
        f"train: step {step}, {', '.join(draw.names)}",
        f"{found}; {explained}",
        "finite numbers",
        "look at what is named, lower train.learning_rate, or set train.not_finite: skip; the last good state is kept",
    )
