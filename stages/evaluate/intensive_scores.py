"""Which scores fields of a mean are told by, and how one is written in a table."""

from collections.abc import Mapping
from typing import Any

import numpy as np

PLAIN, MAPPED = "interpolated", "quantile_mapping"  # made here; neither keeps a mean
COLUMNS = {
    "rmse": "RMSE", "bias": "bias", "wet_frequency": "wet frequency", "r95p": "R95p / truth", "p99": "99th percentile",
    "fss_1": "FSS, 1 cell", "fss_5": "FSS, 5 cells", "fss_11": "FSS, 11 cells", "spectrum": "spectrum, log10 off",
}  # fmt: skip


def cell(row: Mapping[str, Any], key: str) -> str:
    """A score as text, with its interval where there is one."""
    if not np.isfinite(row[key]):
        return "-"
    text = f"{row[key]:.3f}"
    span = row["intervals"].get(key)
    return text if span is None else f"{text} ({span[0]:.3f} to {span[1]:.3f})"
