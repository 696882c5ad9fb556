"""How fast the selective scan is beside others: run by hand, python tests/benchmarks/bench_scan.py.

Forward and backward, batch 4, 96 channels, state 16, float32, one length in each run (--length). Rounds are
interleaved; what counts is the ratio. --anchor names a file that offers `make_native()`, a scan in C++, and
`make_compiled_steps(32)`, a compiled block of 32 steps; mambapy takes part where it is installed. On a machine that
others use, --cpu counts processor time, with one thread.
"""

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from model.layers.kernels.scan import fastest, plain_scan

Scan = Callable[..., Tensor]


def mambapy_scan(u: Tensor, step: Tensor, decay: Tensor, into: Tensor, out: Tensor, skip: Tensor) -> Tensor:
    from mambapy.pscan import pscan

    states = pscan(torch.exp(step[..., None] * decay), (step * u)[..., None] * into[:, :, None, :])
    return (states @ out[..., None])[..., 0] + u * skip


def rivals(anchor: Path | None, compiled: bool) -> dict[str, Scan]:
    found: dict[str, Scan] = {"ours": fastest()}
    if fastest() is not plain_scan:
        found["ours, without numba"] = plain_scan
    if importlib.util.find_spec("mambapy"):
        found["mambapy"] = mambapy_scan
    if anchor is not None:
        sys.path.insert(0, str(anchor.parent))
        spec = importlib.util.spec_from_file_location(anchor.stem, anchor)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found["native"] = module.make_native()
        if compiled:
            found["compiled 32 steps"] = module.make_compiled_steps(32)
    return found


def given(length: int, batch: int = 4, width: int = 96, state: int = 16) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    step = functional.softplus(draw(batch, length, width) - 4)
    decay = -torch.arange(1, state + 1, dtype=torch.float32).repeat(width, 1)
    into, out = draw(batch, length, state), draw(batch, length, state)
    return [draw(batch, length, width), step, decay, into, out, torch.ones(width)]


def once(scan: Scan, values: list[Tensor]) -> None:
    fresh = [value.detach().requires_grad_(True) for value in values]
    scan(*fresh).square().sum().backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=900)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--anchor", type=Path)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    clock = time.process_time if asked.cpu else time.perf_counter
    values, scans = given(asked.length), rivals(asked.anchor, asked.compiled)
    times: dict[str, list[float]] = {name: [] for name in scans}
    for turn in range(asked.rounds + 1):
        for name, scan in scans.items():
            start = clock()
            once(scan, values)
            if turn:  # the first is for warming up
                times[name].append(clock() - start)
    yardstick = "native" if "native" in times else "ours"
    print(
        f"L = {asked.length}, {asked.threads} thread(s)\n\n"
        f"| scan | median ms | times {yardstick} |\n| --- | --- | --- |"
    )
    for name, taken in times.items():
        ratio = statistics.median(a / b for a, b in zip(taken, times[yardstick], strict=True))
        print(f"| {name} | {1e3 * statistics.median(taken):.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
