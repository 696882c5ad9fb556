"""Inference on a GPU gives the field of the CPU, but for what float32 rounds, and every total."""

import numpy as np
import pytest
import torch

from model.ground.blocks import merge
from stages.artifacts.cube import Cube
from stages.artifacts.field import Field
from stages.infer import stage as infer
from stages.tile import stage as tile
from stages.train import stage as train
from tests.small_world import build_world
from tests.train_settings import section


def made(world, trained, device):
    out = world.folder / device
    out.mkdir()
    infer.run(infer.Config(device=device), cube=world.cube, checkpoint=trained, out=out)
    cube = Cube.open(world.cube)
    return cube, Field.open(out).mass(0, 0, *cube.fine.shape)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_makes_the_field_of_the_cpu(tmp_path):
    world = build_world(tmp_path, totals=np.random.default_rng(1).lognormal(3.0, 1.0, (1, 1, 26, 26)))
    tiles, trained = tmp_path / "tiles", tmp_path / "checkpoint"
    tiles.mkdir()
    trained.mkdir()
    tile.run(tile.Config(spatial_block=6, size=80, halo=20, folds=2), cube=world.cube, out=tiles)
    quick = section(networks=1, epochs=1, steps_per_epoch=2, batch_tiles=1, width=4, device="cpu")
    train.run(quick, cube=world.cube, tiles=tiles, out=trained)
    cube, on_cpu = made(world, trained, "cpu")
    _, on_gpu = made(world, trained, "cuda")
    assert merge(on_gpu[0, 0], cube.factor) == pytest.approx(cube.totals()[0, 0], rel=1e-12)
    assert on_gpu == pytest.approx(on_cpu, rel=1e-3, abs=1e-3 * on_cpu.max())
