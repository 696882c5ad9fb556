"""Which law does least harm to estimates that do not meet their totals yet; run by hand on a finished run.

    PYTHONPATH=. python tests/benchmarks/laws_on_raw.py CUBE --checkpoint DIR [DIR ...] --truth TIF [TIF ...]

Methods scale what they hand over to the totals, so that laws hardly differ. Here that last step is taken away; each
sector is scaled once for the whole map, and each law meets the totals alone: on the whole map, against the truth, and
where 2 x 2 totals are merged, without it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

import model.methods
from model.conservation.fallback import place
from model.conservation.laws import Law
from model.ground.blocks import from_blocks, to_blocks
from model.ground.scene import Scene
from model.method import Method
from stages.artifacts import checkpoint
from stages.artifacts.cube import Cube
from stages.infer.select_law import CANDIDATES, choose
from stages.predict.windowed import Estimates

CORE, HALO = 12, 2  # coarse cells


def as_it_is(estimate: NDArray, scene: Scene) -> NDArray[np.float32]:
    """In place of rescale_to_totals."""
    return np.where(scene.valid, estimate, 0.0).astype(np.float32)


class Scaled:
    """A method whose estimates of a sector are all multiplied by one number."""

    def __init__(self, method: Method, by: NDArray[np.float64]) -> None:
        self.method, self.by = method, by

    def estimate(self, scene: Scene) -> NDArray[np.float32]:
        return (self.method.estimate(scene) * self.by[:, None, None, None]).astype(np.float32)


def shared_out(raw: NDArray, cube: Cube, law: Law) -> NDArray[np.float64]:
    """(sectors, rows, cols) of the first year, every block at its total."""
    factor, (rows, cols) = cube.factor, cube.fine.shape
    support = to_blocks(cube.valid(0, 0, rows, cols), factor)
    totals, known = cube.totals(), cube.known()
    out = np.empty_like(raw)
    for sector in range(len(raw)):
        blocks = to_blocks(raw[sector], factor)
        nowhere = np.zeros(support.shape)
        placed = place(blocks, totals[sector, 0].ravel(), known[sector, 0].ravel(), support, nowhere, law)
        out[sector] = from_blocks(np.nan_to_num(placed.mass), *cube.coarse.shape, factor)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cube", type=Path)
    parser.add_argument("--checkpoint", type=Path, nargs="+", required=True)
    parser.add_argument(
        "--truth", type=Path, nargs="+", required=True, help="a file a sector, on the fine grid"
    )
    asked = parser.parse_args()
    cube = Cube.open(asked.cube)
    truth = np.stack([rasterio.open(path).read(1).astype(np.float64) for path in asked.truth])
    print("| method | scored by |", " | ".join(CANDIDATES), "|")
    print("| --- " * (2 + len(CANDIDATES)) + "|")
    for folder in asked.checkpoint:
        method, facts = checkpoint.load(folder, cube)
        for name, module in list(
            sys.modules.items()
        ):  # those of methods are imported when they are asked for
            if name.startswith(model.methods.__name__) and hasattr(module, "rescale_to_totals"):
                module.rescale_to_totals = as_it_is
        raw = Estimates(cube, method, 1, CORE, HALO).region(0, 0, *cube.coarse.shape)[:, 0]
        by = cube.totals()[:, 0].sum(axis=(1, 2)) / np.nansum(raw, axis=(1, 2))
        raw *= by[:, None, None]
        lost = [
            0.5 * np.abs(shared_out(raw, cube, law) - truth).sum(axis=(1, 2)) / truth.sum(axis=(1, 2))
            for law in CANDIDATES.values()
        ]
        told = " | ".join(" / ".join(f"{share:.3f}" for share in shares) for shares in lost)
        print(f"| {facts['method']} | truth | {told} |")
        _, shares = choose(cube, Estimates(cube, Scaled(method, by), 1, CORE, HALO))
        print(f"| | merged totals | {' | '.join(f'{share:.3f}' for share in shares.values())} |")


if __name__ == "__main__":
    main()
