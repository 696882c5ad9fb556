"""Which law does least harm: merged totals are shared out by each, and scored on the coarse cells that are known.

No truth is needed: it is the scale shift of `pipeline evaluate`, with the layers as fine as they are.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from model.conservation.fallback import place
from model.conservation.laws import LAWS, Law
from model.ground.blocks import from_blocks, merge, spread, to_blocks
from stages.artifacts.cube import Cube
from stages.contract.progress import step
from stages.predict.windowed import Estimates

GROUP = 2  # coarse cells merged along an axis
SIDE = 12  # coarse cells along a window
WINDOWS = 24  # looked at, spread over the map
NEAR = 0.01  # of the best law's misallocated mass: within it, the usual law stays
NOTHING = 1e-6  # of all mass: a difference that is only rounding
USUAL = "water_fill"
CANDIDATES: dict[str, Law] = {
    USUAL: LAWS[USUAL](0.0),
    **{f"power({gamma:g})": LAWS["power"](gamma) for gamma in (0.25, 0.5, 0.75)},
    "proportional": LAWS["proportional"](1.0),
}


def select_law(cube: Cube, estimates: Estimates) -> tuple[str, dict[str, float]]:
    """The law's name, and the misallocated share (0 to 1) of each candidate; water-filling where they are close.

    Without a window in which merged totals are known, water-filling and no shares.
    """
    wrong, whole = dict.fromkeys(CANDIDATES, 0.0), 0.0
    places = list(_windows(cube))
    for done, (row, col, side) in enumerate(places, start=1):
        inputs = estimates.windows.read(row, col, side)
        totals, known = inputs.totals, inputs.known
        raw = estimates.estimate(inputs, GROUP)
        together = merge(known, GROUP) == GROUP * GROUP
        judged = spread(together, GROUP)
        whole += totals[judged].sum()
        for name, law in CANDIDATES.items():
            found = _shared_out(raw, merge(totals, GROUP), together, inputs.valid, cube.factor, law)
            wrong[name] += np.abs(found - totals)[judged].sum() / 2
        step("comparing laws", done, len(places), "windows")
    if not whole > 0:
        return USUAL, {}
    shares = {name: value / whole for name, value in wrong.items()}
    best = min(shares, key=lambda name: shares[name])
    return (USUAL if shares[USUAL] <= (1 + NEAR) * shares[best] + NOTHING else best), shares


def _windows(cube: Cube) -> Iterator[tuple[int, int, int]]:
    """(row, col, side) of squares that do not overlap, evenly taken from all of the map."""
    side = min(SIDE, *(length // GROUP * GROUP for length in cube.coarse.shape))
    if side == 0:
        return
    rows, cols = (length // side for length in cube.coarse.shape)
    picked = np.unique(np.linspace(0, rows * cols - 1, min(WINDOWS, rows * cols)).round().astype(int))
    yield from ((int(index) // cols * side, int(index) % cols * side, side) for index in picked)


def _shared_out(
    raw: NDArray[np.float32],
    merged: NDArray[np.float64],
    known: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    factor: int,
    law: Law,
) -> NDArray[np.float64]:
    """(sectors, years, h, w) what each coarse cell gets of its merged total."""
    wide = factor * GROUP
    support = to_blocks(valid, wide)
    nothing = np.zeros(support.shape)
    out = np.empty((*merged.shape[:2], merged.shape[2] * GROUP, merged.shape[3] * GROUP))
    for sector, year in np.ndindex(*merged.shape[:2]):
        here = (sector, year)
        blocks = to_blocks(raw[here].astype(np.float64), wide)
        placed = place(blocks, merged[here].ravel(), known[here].ravel(), support, nothing, law)
        mass = from_blocks(placed.mass, merged.shape[2], merged.shape[3], wide)
        out[here] = merge(np.nan_to_num(mass, nan=0.0), factor)
    return out
