"""Layers made of what lies around a cell: in metres, alike at every seam, and never zero where nothing is known."""

import numpy as np
import pytest
from affine import Affine
from pydantic import ValidationError
from scipy import ndimage

from model.ground.errors import InputError
from model.ground.grid import Region
from stages.ingest.stage import check

FINE = Affine(100, 0, 4_780_000, 0, -100, 2_822_000)


def config_with(land, derived, **changes):
    base = {**land.facts, **changes}
    return land.config(**{**base, "derived": derived})


def values(made, name):
    index = [layer.name for layer in made.layers].index(name)
    return made.covariates(0, 0, *made.fine.shape)[index, 0]


def test_distance_to_a_layer_is_in_metres_and_ends_at_its_reach(land, cube):
    spots = np.zeros((30, 40), np.float32)
    spots[5, 5] = spots[20, 33] = 2.0
    land.file("spots.tif", spots, FINE)
    layer = land.covariate(path="spots.tif")
    made = cube(
        config_with(land, [{"name": "far", "distance_to": "roads", "reach": 900.0}], covariates=[layer])
    )
    expected = np.minimum(ndimage.distance_transform_edt(spots == 0) * 100.0, 900.0)
    assert values(made, "far") == pytest.approx(expected, rel=1e-6)
    assert made.record.layers[-1].unit == "m" and "at most 900 m" in made.record.layers[-1].resampling


def test_values_do_not_depend_on_the_regions_they_are_made_in(land, cube, monkeypatch):
    from stages.ingest import fill

    spots = (np.random.default_rng(1).random((30, 40)) < 0.02).astype(np.float32)
    land.file("spots.tif", spots, FINE)
    layer = land.covariate(path="spots.tif", kind="total")
    derived = [
        {"name": "far", "distance_to": "roads", "reach": 700.0},
        {"name": "mean", "focal_mean": "roads", "radius": 450.0},
        {"name": "dense", "density": "roads", "sigma": 200.0},
        {"name": "smoother", "focal_mean": "mean", "radius": 300.0},
    ]
    config = config_with(land, derived, covariates=[layer])
    whole = cube(config)
    seams = [
        Region(row, col, min(7, 30 - row), min(11, 40 - col))
        for row in range(0, 30, 7)
        for col in range(0, 40, 11)
    ]
    monkeypatch.setattr(fill, "regions_of", lambda shape, side: seams)
    monkeypatch.setattr(fill, "workers", lambda: 1)  # these regions share chunks: one writer
    parts = cube(config)
    for entry in derived:
        assert values(parts, entry["name"]) == pytest.approx(values(whole, entry["name"]), rel=1e-6, abs=1e-9)


def test_a_gap_is_a_gap_around_it_and_not_zero(land, cube):
    layer = np.zeros((30, 40), np.float32)
    layer[:, 30] = 1.0
    layer[10, 20] = np.nan
    land.file("gap.tif", layer, FINE)
    entry = land.covariate(path="gap.tif", allow_partial=True)
    derived = [
        {"name": "far", "distance_to": "roads", "reach": 2_000.0},
        {"name": "mean", "focal_mean": "roads", "radius": 150.0},
    ]
    made = cube(config_with(land, derived, covariates=[entry]))
    valid = made.valid(0, 0, 30, 40)
    # 400 m east of the gap the column of ones lies 600 m away, the gap 400 m: the nearest is not known.
    assert not valid[10, 24] and valid[10, 26] and valid[29, 39]
    assert values(made, "far")[10, 26] == 400.0
    assert not valid[10, 20] and values(made, "mean")[10, 19] == 0.0  # its known neighbours are all 0


def test_a_density_of_a_share_is_refused_with_the_way_out(land):
    share = land.covariate(kind="share", unit="1")
    with pytest.raises(InputError, match="density of roads, a share layer") as told:
        check(config_with(land, [{"name": "d", "density": "roads", "sigma": 100.0}], covariates=[share]))
    assert "focal_mean" in told.value.fix


def test_a_reach_beyond_memory_is_refused(land):
    with pytest.raises(InputError, match="fine cells"):
        check(config_with(land, [{"name": "d", "distance_to": "roads", "reach": 2e6}]))


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "d"},
        {"name": "d", "sum": ["roads"], "focal_mean": "roads", "radius": 1.0},
        {"name": "d", "focal_mean": "roads"},
        {"name": "d", "distance_to": "roads", "reach": 1.0, "sigma": 2.0},
        {"name": "d", "density": "roads", "sigma": -1.0},
    ],
)
def test_cfg_05_a_derived_layer_is_made_in_one_way_with_its_own_range(land, entry):
    with pytest.raises(ValidationError):
        config_with(land, [entry])
