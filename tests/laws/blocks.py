"""Blocks for the laws to be tested on, and every way to the same law."""

from fractions import Fraction
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.conservation import solver as threshold
from model.conservation import solver_torch as device_law
from model.conservation import torch_layer as layer
from model.conservation.laws import project

CELLS = 12
estimates = arrays(np.float64, (3, CELLS), elements=st.floats(0, 1e10))
signed = arrays(np.float64, (3, CELLS), elements=st.floats(-1e10, 1e10))
totals = arrays(np.float64, 3, elements=st.one_of(st.just(0.0), st.floats(1e-9, 1e12)))
masks = arrays(bool, (3, CELLS))
scales = arrays(np.float64, (3, CELLS), elements=st.floats(1e-6, 1e6))


def tensors(parts):
    return (None if part is None else torch.from_numpy(np.array(part)) for part in parts)


def in_torch(raw, total, support=None, *, weights=None):
    """The layer, called with arrays."""
    p, s, v, w = tensors((raw, total, support, weights))
    return layer.project(p, s, v, weights=w).numpy()


def as_on_a_device(raw, total, support=None, *, weights=None):
    """The search that a GPU runs, here on the CPU."""
    return device_law.solve(*tensors((raw, total, support, weights))).numpy()


def compiled(*args, **others):
    """The compiled loops; they need the extra `fast`, which the tests install."""
    from model.conservation.solver_numba import Search

    return project(*args, search=Search, **others)


NUMBA = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
WAYS = {
    "numpy": partial(project, search=threshold.Search),
    "compiled": pytest.param(compiled, marks=NUMBA),
    "torch": in_torch,
    "device": as_on_a_device,
}
EVERY_WAY = pytest.mark.parametrize("project", WAYS.values(), ids=WAYS)


def misses(placed, total):
    """Worst distance of a block from its total as a share of it, summed without any rounding."""
    sums = [sum(map(Fraction, row.tolist())) for row in placed]
    pairs = [(abs(got - Fraction(due)), Fraction(due)) for got, due in zip(sums, total.tolist(), strict=True)]
    assert all(miss == 0 for miss, due in pairs if due == 0)
    return max((float(miss / due) for miss, due in pairs if due), default=0.0)
