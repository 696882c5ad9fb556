"""What torch hands to the two passes of a function with a gradient of its own."""

from typing import Protocol

from torch import Tensor


class AutogradContext(Protocol):
    """The `ctx` of torch.autograd.Function, as far as our functions use it.

    Attributes:
      saved_tensors: what the forward pass kept.
      needs_input_grad: for each argument of the forward pass, whether its gradient is asked for.
    """

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keeps tensors until the backward pass; what is kept otherwise is not freed with the graph."""
