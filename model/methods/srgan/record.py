"""What SRResNet and SRGAN write into a checkpoint and tell in a report."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from model.layers.depth_scale import DepthScaleRecord


class SRResNetRecord(TypedDict):
    """All choices as a checkpoint keeps them beside the weights of the generator.

    `deviation` is that of fine values over the training dates, in mass per fine cell.
    """

    options: Mapping[str, Any]
    factor: int
    scale: DepthScaleRecord
    deviation: float
    learned: bool
    compared: NotRequired[str]  # of SRGAN alone


# By calls: two of their keys are no Python names.
SRResNetFacts = TypedDict(
    "SRResNetFacts",
    {
        "summary": str,
        "learns": bool,
        "parameters": int,
        "sub-pixel steps": list[int],
        "transform": str,
        "contents compared by": NotRequired[str],  # of SRGAN alone
    },
)
