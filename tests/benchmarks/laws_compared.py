"""What each law does to an estimate that errs: run it by hand, python tests/benchmarks/laws_compared.py.

Blocks of 100 cells, 40 % of them sources, log-normal (mean 3, sigma 1.5). The estimate is the truth times a
log-normal error (sigma 0.7) times a bias; in the harder cases 20 % of the sources are missed and every cell gets
a leak of up to 0.1 of the median source; "plants" gives 2 % of the blocks one source of 1e6.
"""

import numpy as np

from model.conservation.laws import Doubles, Law, power, proportional, water_fill

BLOCKS, CELLS = 20_000, 100
CASES = {
    "exact support, bias 0.5": (0.5, False, False),
    "exact support, bias 1": (1.0, False, False),
    "exact support, bias 2": (2.0, False, False),
    "20 % missed + leak, bias 1": (1.0, True, False),
    "same, with plants": (1.0, True, True),
}


def softmax(raw: Doubles, totals: Doubles, support: np.ndarray) -> Doubles:
    """q = S exp(p) / sum exp(p), never 0 in exact numbers and no projection."""
    inside = np.where(support, raw, -np.inf)
    top = inside.max(axis=1, keepdims=True, initial=-np.inf)
    grown = np.exp(inside - np.where(np.isfinite(top), top, 0.0))
    sums = grown.sum(axis=1, keepdims=True)
    return grown / np.where(sums > 0, sums, 1.0) * totals[:, None]


def uniform(raw: Doubles, totals: Doubles, support: np.ndarray) -> Doubles:
    return proportional(np.ones_like(raw), totals, support)


def gated(raw: Doubles, totals: Doubles, support: np.ndarray) -> Doubles:
    """Cells below a tenth of their block's mean estimate leave first, then the rest is scaled."""
    return proportional(np.where(raw < 0.1 * raw.mean(axis=1, keepdims=True), 0.0, raw), totals, support)


LAWS: dict[str, Law] = {
    "water_fill": water_fill,
    "power(0.5)": power(0.5),
    "proportional": proportional,
    "gate, then proportional": gated,
    "softmax": softmax,
    "uniform": uniform,
}


def case(bias: float, leaky: bool, plants: bool) -> tuple[Doubles, Doubles]:
    """(blocks, cells) truth and estimate."""
    chance = np.random.default_rng(0)
    active = chance.random((BLOCKS, CELLS)) < 0.4
    active[:, 0] |= ~active.any(axis=1)
    truth = np.where(active, chance.lognormal(3.0, 1.5, active.shape), 0.0)
    if plants:
        truth[chance.random(BLOCKS) < 0.02, 0] = 1e6
    raw = truth * chance.lognormal(0.0, 0.7, truth.shape) * bias
    if leaky:
        raw = np.where(chance.random(truth.shape) < 0.2, 0.0, raw)
        raw += chance.uniform(0.0, 0.1, truth.shape) * np.median(truth[truth > 0])
    return truth, raw


def scores(placed: Doubles, truth: Doubles) -> str:
    """Error by mass (twice the misallocated share) / share of true zeros with mass / share of sources erased."""
    source, wrong = truth > 0, np.abs(placed - truth)
    kept = placed > 1e-9 * truth.mean()
    return f"{wrong.sum() / truth.sum():.3f} / {kept[~source].mean():.2f} / {(~kept)[source].mean():.2f}"


if __name__ == "__main__":
    print("nMAE / share of true zeros that got mass / share of sources set to zero\n")
    print("| case | " + " | ".join(LAWS) + " |\n|" + " --- |" * (len(LAWS) + 1))
    for name, settings in CASES.items():
        truth, raw = case(*settings)
        everywhere = np.ones(raw.shape, bool)
        cells = [scores(law(raw, truth.sum(axis=1), everywhere), truth) for law in LAWS.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")
