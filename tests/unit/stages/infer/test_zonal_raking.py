"""Totals of zones are met beside those of blocks, whatever the grid of the zones; contradictions are named."""

import csv

import numpy as np
import pytest
import rasterio
from affine import Affine

from model.ground.errors import HectareError, HectareErrors, InputError
from stages.artifacts.field import Field
from stages.contract.progress import listen
from stages.infer import stage as infer
from stages.infer.stage import Config, run, sources

LEFT, TOP = 4_780_000.0, 2_822_000.0
BLOCKS, SIDE = (12, 13), 2500.0  # coarse cells of 1 km; zones of 2.5 km, which do not nest


class Even:
    """Estimates the same everywhere."""

    def estimate(self, scene):
        return np.ones((*scene.totals.shape[:2], *scene.valid.shape), np.float32)


class World:
    """A true field, its block totals, and zones laid over it with an offset."""

    def __init__(self, land, cube, folder, offset=0.0, sectors=("all",)):
        self.folder, self.chance = folder, np.random.default_rng(3)
        shape = (len(sectors), BLOCKS[0] * 10, BLOCKS[1] * 10)
        self.truth = self.chance.gamma(0.5, 2.0, shape)
        place = Affine(1000, 0, LEFT, 0, -1000, TOP)
        land.file("roads.tif", np.ones(shape[1:], np.float32), place @ Affine.scale(0.1))
        totals = []
        for sector, field in zip(sectors, self.truth, strict=True):
            land.file(f"{sector}.tif", per_block(field), place)
            totals.append(land.total(path=f"{sector}.tif", sector=sector))
        self.cube = cube(land.config(totals=totals))
        rows, cols = int(np.ceil(BLOCKS[0] * 1000 / SIDE)) + 1, int(np.ceil(BLOCKS[1] * 1000 / SIDE)) + 1
        self.ids = np.arange(1, rows * cols + 1, dtype=np.int32).reshape(rows, cols)
        self.corner = (LEFT - offset, TOP + offset)
        with rasterio.open(
            folder / "zones.tif", "w", driver="GTiff", height=rows, width=cols, count=1, dtype="int32",
            crs="EPSG:3035", transform=Affine(SIDE, 0, self.corner[0], 0, -SIDE, self.corner[1]),
        ) as data:  # fmt: skip
            data.write(self.ids, 1)

    def shares(self, zone):
        """(rows, cols) share of each fine cell in a zone, from the overlap of intervals."""
        row, col = np.argwhere(self.ids == zone)[0]

        def covered(count, start, low):
            edges = start + 100.0 * np.arange(count + 1)
            return np.clip(np.minimum(edges[1:], low + SIDE) - np.maximum(edges[:-1], low), 0, None) / 100.0

        down = covered(self.truth.shape[1], 0.0, TOP - self.corner[1] + SIDE * row)
        across = covered(self.truth.shape[2], LEFT, self.corner[0] + SIDE * col)
        return down[:, None] * across[None, :]

    def rows(self, sectors=("all",)):
        """The true totals of every zone that reaches into the map."""
        out = []
        for zone in self.ids.ravel():
            share = self.shares(zone)
            for index, sector in enumerate(sectors):
                field = self.truth.sum(axis=0) if sector == "all" else self.truth[index]
                if share.any():
                    out.append([zone, sector, 2020, repr(float((share * field).sum()))])
        return out

    def config(self, rows, **settings):
        with (self.folder / "zones.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([["zone", "sector", "year", "total"], *rows])
        also = {"path": str(self.folder / "zones.tif"), "totals": str(self.folder / "zones.csv"), "unit": "t"}
        return Config.model_validate({"zone_totals": also | settings}, context={"folder": "/"})

    def field(self, rows, monkeypatch, name="field", **settings):
        monkeypatch.setattr(
            infer.checkpoint, "load", lambda folder, cube: (Even(), {"method": "even", "years": 1})
        )
        out = self.folder / name
        out.mkdir(exist_ok=True)
        folder = max(self.folder.glob("cube*"), key=lambda path: path.stat().st_mtime_ns)
        run(self.config(rows, **settings), cube=folder, checkpoint=out, out=out)
        return Field.open(out)


def per_block(cells):
    rows, cols = cells.shape
    return cells.reshape(rows // 10, 10, cols // 10, 10).sum(axis=(1, 3))


def mass_of(field, world):
    return field.mass(0, 0, *world.truth.shape[1:])


@pytest.mark.parametrize("offset", [0.0, 50.0, 37.0], ids=["on cells", "through cells", "odd"])
def test_blocks_and_zones_that_do_not_nest_are_met_together(land, cube, tmp_path, monkeypatch, offset):
    world = World(land, cube, tmp_path, offset)
    field = world.field(world.rows(), monkeypatch)
    mass = mass_of(field, world)[0, 0]
    assert per_block(mass) == pytest.approx(per_block(world.truth[0]), rel=1e-12)
    for zone, _, _, total in world.rows():
        assert (world.shares(zone) * mass).sum() == pytest.approx(float(total), rel=1e-8)
    assert all(zone.met for zone in field.record.zones)
    # Even estimates alone would not: the zones moved mass.
    assert np.abs(mass - np.repeat(np.repeat(per_block(world.truth[0]), 10, 0), 10, 1) / 100).max() > 0.01


def test_totals_over_all_sectors_tie_the_sectors_together(land, cube, tmp_path, monkeypatch):
    world = World(land, cube, tmp_path, sectors=("homes", "plants"))
    mass = mass_of(world.field(world.rows(), monkeypatch), world)[:, 0]
    for sector in (0, 1):
        assert per_block(mass[sector]) == pytest.approx(per_block(world.truth[sector]), rel=1e-12)
    for zone, _, _, total in world.rows():
        assert (world.shares(zone) * mass.sum(axis=0)).sum() == pytest.approx(float(total), rel=1e-8)


def test_a_contradiction_is_named_and_the_blocks_hold(land, cube, tmp_path, monkeypatch):
    world = World(land, cube, tmp_path)
    rows = world.rows()
    wrong = next(row for row in rows if row[0] == world.ids[1, 1])
    wrong[3] = repr(float(wrong[3]) * 10)  # far more than the blocks that touch the zone hold
    field = world.field([wrong], monkeypatch)
    mass = mass_of(field, world)[0, 0]
    assert per_block(mass) == pytest.approx(per_block(world.truth[0]), rel=1e-12)
    (fact,) = (zone.to_json() for zone in field.record.zones)
    assert not fact["met"] and fact["zone"] == str(wrong[0])
    assert fact["residual"] == pytest.approx(
        (world.shares(wrong[0]) * mass).sum() - float(wrong[3]), rel=1e-6
    )


def test_a_raked_field_does_not_depend_on_an_interruption(land, cube, tmp_path, monkeypatch):
    world = World(land, cube, tmp_path, 37.0)
    whole = mass_of(world.field(world.rows(), monkeypatch, "whole"), world)

    def stop(step):
        if getattr(step, "label", "") == "meeting zones":
            raise KeyboardInterrupt

    listen(stop)
    with pytest.raises(KeyboardInterrupt):
        world.field(world.rows(), monkeypatch, "torn")
    listen(None)
    assert np.array_equal(mass_of(world.field(world.rows(), monkeypatch, "torn"), world), whole)


@pytest.mark.parametrize(
    "row, fact",
    [
        (["99999", "all", 2020, "1"], "zone '99999'"),
        (["1", "cows", 2020, "1"], "sector 'cows'"),
        (["1", "all", 1999, "1"], "year '1999'"),
        (["1", "all", 2020, "-1"], "negative"),
        (["1", "all", 2020, "nan"], "not finite"),
        (["1", "all", 2020, "much"], "not a number"),
    ],
)
def test_a_row_that_fits_nothing_is_named_by_its_line(land, cube, tmp_path, monkeypatch, row, fact):
    world = World(land, cube, tmp_path)
    with pytest.raises((HectareError, HectareErrors), match=r"zones.csv, line 2"):
        world.field([row], monkeypatch)
    try:
        world.field([row], monkeypatch)
    except InputError as fault:
        assert fact in fault.found


def test_zones_and_their_totals_are_part_of_the_fingerprint(land, cube, tmp_path):
    world = World(land, cube, tmp_path)
    assert [path.rsplit("/", 1)[1] for path in sources(world.config(world.rows()))] == [
        "zones.tif",
        "zones.csv",
    ]


def test_a_unit_of_another_kind_is_refused(land, cube, tmp_path, monkeypatch):
    world = World(land, cube, tmp_path)
    with pytest.raises(InputError, match="MWh"):
        world.field(world.rows(), monkeypatch, unit="MWh")
