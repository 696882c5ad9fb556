"""How fast the law is, as ratios measured side by side; run it by hand: python tests/benchmarks/bench_projection.py.

Every row is a share of the same run's memory yardstick, out = 2 x in into memory at hand, so that a busy or a
slow machine does not change what the table says.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from model.conservation import solver as threshold
from model.conservation import torch_layer as law
from model.conservation.laws import fastest, project

CELLS = 100
SEARCHES = {"plain": threshold.Search} | ({} if fastest() is threshold.Search else {"compiled": fastest()})


KINDS = ("trained", "uniform", "sparse", "wide")


def sample(blocks: int, kind: str = "trained") -> tuple[torch.Tensor, torch.Tensor]:
    """Estimates and totals: like a trained network's output, even, mostly background, or 13 decades wide."""
    chance = torch.Generator().manual_seed(0)
    raw = torch.empty(blocks, CELLS)
    wild = torch.rand(blocks, generator=chance)
    for part in raw.split(10_000):  # in pieces: the peak of memory is measured later
        if kind == "trained":
            part.exponential_(0.1, generator=chance)
        else:
            part.copy_(torch.rand(part.shape, generator=chance))
    if kind == "trained":
        totals = raw.sum(1) * (0.8 + 0.4 * wild)
        for part in raw.split(10_000):
            part += torch.randn(part.shape, generator=chance)
    elif kind == "uniform":
        totals = 50 * wild
    elif kind == "wide":
        raw, totals = 10 ** (raw * 13 - 6), 10 ** (9 * wild - 2)
    else:
        background = torch.randn(blocks, CELLS, generator=chance) * 1e-3
        raw, totals = torch.where(raw < 0.05, raw * 2e4, background), 50 * wild
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
    ready = np.empty_like(y)
    chance = np.random.default_rng(1)
    variants: dict[str, dict[str, np.ndarray]] = {
        "": {},
        ", masked": {"support": chance.random(y.shape) < 0.8},
        ", weighted": {"weights": chance.uniform(0.2, 1.0, y.shape).astype(np.float32)},
    }
    calls: dict[str, Callable[[], object]] = {
        "yardstick: out = 2 x in": lambda: torch.mul(raw, 2.0, out=out),
        "yardstick into fresh memory": lambda: raw * 2.0,
        "torch.sort": lambda: by_sort(raw, totals),
    }
    for way, search in SEARCHES.items():
        for name, others in variants.items():
            calls[way + name] = partial(project, y, s, **others, threads=threads, search=search)
        calls[f"{way}, into memory at hand"] = partial(
            project, y, s, threads=threads, search=search, out=ready
        )
    calls["forward + backward through torch.sort"] = lambda: learn(by_sort, raw, totals, pull)
    calls["forward + backward of the layer"] = lambda: learn(law.project, raw, totals, pull)
    if entmax := sparsemax():
        calls["entmax.sparsemax"] = lambda: entmax(raw / totals[:, None], -1) * totals[:, None]
    best = interleaved(calls, rounds)
    copy, sort = best["yardstick: out = 2 x in"], best["torch.sort"]
    print(f"\n{blocks} blocks of {CELLS} float32 values, {threads} threads, best of {rounds} rounds\n")
    print("| what | share of yardstick | against torch.sort | time / plain |\n| --- | --- | --- | --- |")
    for name, took in best.items():
        way = name.partition(",")[0]
        beside = f"{took / best[way]:.2f}" if way in SEARCHES else ""
        print(f"| {name} | {copy / took:.3f} | {sort / took:.1f} | {beside} |")
    gain = best["forward + backward through torch.sort"] / best["forward + backward of the layer"]
    print(f"\nforward + backward: {gain:.1f} times autograd through torch.sort")


def sparsemax() -> Callable[..., torch.Tensor] | None:
    """A peer, where it is installed."""
    try:
        from entmax import sparsemax as peer
    except ImportError:
        return None
    return peer


def exactness(blocks: int) -> None:
    """How far stored float32 sums, added up in float64, lie from their totals."""
    for kind in KINDS:
        raw, totals = sample(blocks, kind)
        y, s = raw.numpy(), totals.double().numpy()
        stored = {way: project(y, totals.numpy(), search=search) for way, search in SEARCHES.items()}
        misses = {
            way: (np.abs(placed.sum(axis=1, dtype=np.float64) - s) / s).max()
            for way, placed in stored.items()
        }
        print(f"{kind}: " + ", ".join(f"{way} {miss:.1e}" for way, miss in misses.items()))


def growth(threads: int) -> None:
    """Exponent of time over blocks; 1 is linear."""
    sizes = (10_000, 100_000, 1_000_000)
    rows = []
    for size in sizes:
        raw, totals = sample(size)
        calls: dict[str, Callable[[], object]] = {
            way: partial(project, raw.numpy(), totals.numpy(), threads=threads, search=search)
            for way, search in SEARCHES.items()
        }
        rows.append(interleaved(calls, 6))
    for name in rows[0]:
        slope = np.polyfit(np.log(sizes), np.log([row[name] for row in rows]), 1)[0]
        print(f"{name}: growth exponent {slope:.3f} from 1e4 to 1e6 blocks")


def memory(blocks: int, threads: int) -> None:
    """Extra peak memory as a multiple of the input; the result itself is 1."""
    raw, totals = sample(blocks)
    few, due = raw[:5000].clone().numpy(), totals[:5000].numpy()
    for way, search in SEARCHES.items():
        project(few, due, threads=threads, search=search)
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = _kilobytes("VmRSS")
        project(raw.numpy(), totals.numpy(), threads=threads, search=search)
        grown = (_kilobytes("VmHWM") - before) * 1024 / raw.numpy().nbytes
        print(f"{way}: peak grew by {grown:.2f} of the input (the result is 1)")


def _kilobytes(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--blocks", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--growth", action="store_true", help="also 1e4, 1e5 and 1e6 blocks")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    memory(chosen.blocks, chosen.threads)
    exactness(min(chosen.blocks, 200_000))
    table(chosen.blocks, chosen.rounds, chosen.threads)
    if chosen.growth:
        growth(chosen.threads)
