"""The law against a general solver for quadratic programmes."""

from importlib.util import find_spec

import numpy as np
import pytest
from scipy.optimize import minimize

from tests.laws.blocks import WAYS, compiled


def test_a_quadratic_programme_finds_nothing_closer():
    ways = [WAYS["numpy"], WAYS["torch"], WAYS["device"]]
    ways += [compiled] if find_spec("numba") else []
    rng = np.random.default_rng(11)
    for _ in range(300):
        raw, weights = rng.exponential(5, 5), rng.uniform(0.1, 10, 5)
        total = rng.uniform(2, 80)

        def distance(q, raw=raw, weights=weights):
            return float((((q - raw) ** 2) / (2 * weights)).sum())

        oracle = minimize(
            distance,
            np.full(5, total / 5),
            jac=lambda q, raw=raw, weights=weights: (q - raw) / weights,
            bounds=[(0, None)] * 5,
            method="SLSQP",
            constraints={"type": "eq", "fun": lambda q, total=total: q.sum() - total, "jac": np.ones_like},
            options={"ftol": 1e-13, "maxiter": 500},
        )
        for law in ways:
            placed = law(raw[None], np.array([total]), weights=weights[None])[0]
            assert distance(placed) <= oracle.fun + 1e-7 * (1 + oracle.fun)
            assert placed == pytest.approx(oracle.x, abs=1e-3 * total)
