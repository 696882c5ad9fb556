"""How fast the law is, as ratios measured side by side; run it by hand: python tests/benchmarks/bench_projection.py.

Every row is a share of the same run's memory yardstick, out = 2 x in into memory at hand, so that a busy or a
slow machine does not change what the table says.
"""

import argparse
import math
import resource
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from model.layers import law
from model.projection import project

CELLS = 100


def sample(blocks: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Like the output of a trained network: near a field that meets the totals, plus noise."""
    chance = torch.Generator().manual_seed(0)
    raw = torch.empty(blocks, CELLS).exponential_(0.1, generator=chance)
    totals = raw.sum(1) * (0.8 + 0.4 * torch.rand(blocks, generator=chance))
    for part in raw.split(10_000):  # in pieces: the peak of memory is measured later
        part += torch.randn(part.shape, generator=chance)
    return raw, totals


def by_sort(raw: torch.Tensor, totals: torch.Tensor) -> torch.Tensor:
    """Held, Wolfe, Crowder 1974, as usually written."""
    high = raw.sort(dim=1, descending=True).values
    over = high.cumsum(1) - totals[:, None]
    count = torch.arange(1, raw.shape[1] + 1, dtype=raw.dtype)
    last = ((high * count) > over).sum(1, keepdim=True).clamp_min(1)
    return (raw - over.gather(1, last - 1) / last).clamp_min(0)


def learn(
    law_of: Callable[..., torch.Tensor], raw: torch.Tensor, totals: torch.Tensor, pull: torch.Tensor
) -> None:
    law_of(raw.detach().requires_grad_(), totals.detach().requires_grad_()).backward(pull)


def interleaved(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The best time of each, one after the other in every round [s]."""
    best = dict.fromkeys(calls, math.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def table(blocks: int, rounds: int, threads: int) -> None:
    raw, totals = sample(blocks)
    y, s, pull, out = raw.numpy(), totals.numpy(), torch.randn_like(raw), torch.empty_like(raw)
    chance = np.random.default_rng(1)
    mask = chance.random(y.shape) < 0.8
    weights = chance.uniform(0.2, 1.0, y.shape).astype(np.float32)
    upper = (np.maximum(y, 1.0) * chance.uniform(1.0, 3.0, y.shape)).astype(np.float32)
    upper[:, 0] = np.inf
    calls: dict[str, Callable[[], object]] = {
        "yardstick: out = 2 x in": lambda: torch.mul(raw, 2.0, out=out),
        "torch.sort": lambda: by_sort(raw, totals),
        "ours, numpy": lambda: project(y, s, threads=threads),
        "ours, numpy, masked": lambda: project(y, s, mask, threads=threads),
        "ours, numpy, weighted": lambda: project(y, s, weights=weights, threads=threads),
        "ours, numpy, bounded": lambda: project(y, s, upper=upper, threads=threads),
        "ours, torch": lambda: law.project(raw, totals),
        "ours, torch, masked": lambda: law.project(raw, totals, torch.from_numpy(mask)),
        "ours, torch, weighted": lambda: law.project(raw, totals, weights=torch.from_numpy(weights)),
        "ours, torch, bounded": lambda: law.project(raw, totals, upper=torch.from_numpy(upper)),
        "forward + backward through torch.sort": lambda: learn(by_sort, raw, totals, pull),
        "forward + backward, ours": lambda: learn(law.project, raw, totals, pull),
    }
    best = interleaved(calls, rounds)
    copy, sort = best["yardstick: out = 2 x in"], best["torch.sort"]
    print(f"\n{blocks} blocks of {CELLS} float32 values, {threads} threads, best of {rounds} rounds\n")
    print("| what | share of yardstick | against torch.sort | time / plain |\n| --- | --- | --- | --- |")
    for name, took in best.items():
        plain = best[name.rsplit(",", 1)[0]] if name.count(",") == 2 else math.nan
        print(f"| {name} | {copy / took:.3f} | {sort / took:.1f} | {took / plain:.2f} |")
    gain = best["forward + backward through torch.sort"] / best["forward + backward, ours"]
    print(f"\nforward + backward: {gain:.1f} times autograd through torch.sort")
    stored = {"numpy": project(y, s), "torch": law.project(raw, totals).numpy()}
    for name, placed in stored.items():
        miss = np.abs(placed.sum(axis=1, dtype=np.float64) - s) / s
        print(f"{name}: stored sums within {miss.max():.1e} of their totals")


def growth(threads: int) -> None:
    """Exponent of time over blocks; 1 is linear."""
    sizes = (10_000, 100_000, 1_000_000)
    rows = []
    for size in sizes:
        raw, totals = sample(size)
        calls: dict[str, Callable[[], object]] = {
            "numpy": partial(project, raw.numpy(), totals.numpy(), threads=threads),
            "torch": partial(law.project, raw, totals),
        }
        rows.append(interleaved(calls, 4))
    for name in rows[0]:
        slope = np.polyfit(np.log(sizes), np.log([row[name] for row in rows]), 1)[0]
        print(f"{name}: growth exponent {slope:.3f} from 1e4 to 1e6 blocks")


def memory(blocks: int, threads: int) -> None:
    """Extra peak memory as a multiple of the input; the result itself is 1."""
    raw, totals = sample(blocks)
    project(raw.numpy()[:5000], totals.numpy()[:5000])
    law.project(raw[:5000], totals[:5000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    project(raw.numpy(), totals.numpy(), threads=threads)
    between = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"numpy: peak grew by {(between - before) * 1024 / raw.nbytes:.2f} of the input (the result is 1)")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--blocks", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--growth", action="store_true", help="also 1e4, 1e5 and 1e6 blocks")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    memory(chosen.blocks, chosen.threads)
    table(chosen.blocks, chosen.rounds, chosen.threads)
    if chosen.growth:
        growth(chosen.threads)
