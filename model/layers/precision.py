"""Half precision is for what happens inside a network; what measures its answer is computed in float32."""

import torch
from torch import Tensor


def measuring(values: Tensor) -> torch.autocast:
    """A stretch of code in full precision, whatever the training loop has set around it.

    Args:
      values: any tensor on the device in question.
    """
    return torch.autocast(values.device.type, enabled=False)
