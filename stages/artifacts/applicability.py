"""The map of applicability: how unlike each cell is to the ground a method learned from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from model.evaluation.applicability import Reference, ReferenceRecord
from model.evaluation.bootstrap import spatial_blocks
from stages.artifacts import maps as store
from stages.artifacts.cube import Cube

POINTS = 500  # of the training ground; more hardly move the index and cost time in every map
SIDE = 10  # coarse cells along the spatial blocks that keep near points from judging each other
NAME = "applicability"


def draw_reference(cube: Cube, target: NDArray[np.bool_], seed: int) -> ReferenceRecord | None:
    """A sample of valid fine cells of the training ground that hold mass around them, as JSON values.

    Args:
      target: (h, w) True = coarse cell of the training split.
    Why only blocks with mass: bare ground teaches nothing, and would make every town look unlike it.
    """
    mass = np.maximum(cube.totals(), 0.0).sum(axis=(0, 1))
    able = np.flatnonzero(target & (mass > 0))
    if not able.size or not cube.layers:
        return None
    rng = np.random.default_rng(seed)
    factor, cols = cube.factor, cube.coarse.cols
    blocks = np.sort(rng.choice(able, size=min(POINTS, able.size), replace=False))
    labels = spatial_blocks(*cube.coarse.shape, SIDE)[0].ravel()
    each = -(-POINTS // blocks.size)
    values, folds = [], []
    for block in blocks:
        window = (int(block) // cols * factor, int(block) % cols * factor, factor, factor)
        valid = np.flatnonzero(cube.valid(*window))
        if not valid.size:
            continue
        cells = rng.choice(valid, size=min(each, valid.size), replace=False)
        year = int(rng.integers(len(cube.years)))
        values.append(cube.covariates(*window)[:, year].reshape(len(cube.layers), -1)[:, cells].T)
        folds += [int(labels[block])] * len(cells)
    if not values:
        return None
    names = tuple(layer.name for layer in cube.layers)
    found = Reference.of(np.concatenate(values).astype(np.float64), names, np.array(folds))
    return found.plain() if found is not None else None


def write_applicability(
    cube: Cube, plain: Mapping[str, Any], out: Path, working: Path, tags: Mapping[str, str]
) -> str:
    """Writes <name>_applicability.tif, the largest index over all years; returns a sentence for the report.

    Cells above the threshold, which the file's tags carry, lie outside what was learned.
    """
    reference = Reference.from_json(cast(ReferenceRecord, plain))
    names = [layer.name for layer in cube.layers]
    columns = [names.index(name) for name in reference.layers]
    path = out / f"{cube.name}_{NAME}.tif"
    facts = {**tags, "threshold": repr(reference.threshold), "layers": ", ".join(reference.layers)}
    beyond = counted = 0
    with store.writing(path):
        draft = working / path.name
        with store.start_draft(draft, cube.fine, facts, "dissimilarity to the training ground", "1") as data:
            for row, count in store.bands(cube.coarse, cube.factor):
                first, rows = row * cube.factor, count * cube.factor
                valid = cube.valid(first, 0, rows, cube.fine.cols)
                layers = cube.covariates(first, 0, rows, cube.fine.cols)[columns][:, :, valid]
                unlike = np.max([reference.dissimilarity(year.T) for year in layers.swapaxes(0, 1)], axis=0)
                cells = np.full(valid.shape, np.nan, np.float32)
                cells[valid] = unlike
                beyond, counted = beyond + int((unlike > reference.threshold).sum()), counted + unlike.size
                store.write_band(data, first, cells)
        store.publish(draft, path, overviews=True, resampling="AVERAGE")
    share = beyond / counted if counted else 0.0
    return (
        f"{share:.1%} of the valid cells are unlike the ground that was learned from ({path.name} above "
        f"{reference.threshold:.3g}): there the map rests on no example."
    )
