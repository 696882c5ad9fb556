"""The one door to mamba-ssm, whose CUDA kernel runs the same scan on the same weights; it may be absent or broken."""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from torch import Tensor

_broken: list[str] = []  # why the kernel is not used any more


def fused_scan(
    u: Tensor, step: Tensor, decay: Tensor, into: Tensor, out: Tensor, skip: Tensor
) -> Tensor | None:
    """The scan of model/layers/kernels/scan.py by the kernel; None where it cannot serve.

    Why any exception counts as absent: the package installs on machines where it then fails, at import or at
    the first call, in many ways; what it would have computed the plain form computes as well.
    """
    if _broken or not _serves(u) or (kernel := _kernel()) is None:
        return None
    try:
        turned = [value.transpose(1, 2).contiguous() for value in (u, step, into, out)]
        y: Tensor = kernel(turned[0], turned[1], decay, turned[2], turned[3], skip)
        return y.transpose(1, 2)
    except Exception as error:
        _broken.append(f"{type(error).__name__}: {error}")
        return None


def why_not_fused() -> str:
    """For the report: why the plain form is in use; empty where the kernel serves.

    Returns: type and text of the first failure, at import or at a call. After one the kernel is not tried again
      in this process.
    """
    return _broken[0] if _broken else ""


def _serves(values: Tensor) -> bool:
    return values.is_cuda and values.element_size() == 4


@cache
def _kernel() -> Callable[..., Any] | None:
    try:
        found: Callable[..., Any] = import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
    except Exception as error:
        _broken.append(f"{type(error).__name__}: {error}")
        return None
    return found
