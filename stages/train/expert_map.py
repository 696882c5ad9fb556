"""Where on the map each expert of a network works."""

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import merge
from model.method import ExpertNetwork, ScoredLearner
from stages.artifacts.cube import Cube
from stages.predict.windowed import Windows

CORE, HALO = 120, 20  # fine cells along a window, and around it


def chosen_experts(member: ScoredLearner, cube: Cube, years: int) -> NDArray[np.int64] | None:
    """(h, w) the expert that most valid fine cells of a coarse cell choose first, in the last years; -1: no valid cell.

    Args: member: a trained network. Returns: None where it has no experts.
    """
    if not isinstance(member, ExpertNetwork) or not (count := len(member.usage)):
        return None
    core, halo = (max(1, round(cells / cube.factor)) for cells in (CORE, HALO))
    windows = Windows(cube, years)
    side, first = core + 2 * halo, len(cube.years) - min(years, len(cube.years))
    found = np.full(cube.coarse.shape, -1, np.int64)
    for row in range(0, cube.coarse.rows, core):
        for col in range(0, cube.coarse.cols, core):
            scene = windows.scene(windows.read(row - halo, col - halo, side), first)
            where = np.where(scene.valid, member.where(scene), -1)
            votes = np.stack([merge(where == expert, cube.factor).sum(0) for expert in range(count)])
            most = np.where(votes.sum(0) > 0, votes.argmax(0), -1)[halo : halo + core, halo : halo + core]
            part = found[row : row + core, col : col + core]
            part[...] = most[: part.shape[0], : part.shape[1]]
    return found
