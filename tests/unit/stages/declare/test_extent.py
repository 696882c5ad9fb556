"""A run about a part of the totals: whole coarse cells, values and places unchanged."""

import numpy as np
import pyogrio
import pytest
import shapely
from pydantic import ValidationError
from pyproj import Transformer

from model.ground.errors import InputError
from stages.ingest.stage import check, sources

LEFT, TOP = 4_780_000, 2_822_000  # 3 x 4 cells of 1 km


def test_a_box_keeps_every_cell_it_reaches_into(land, cube):
    made = cube(land.config(area={"bounds": [LEFT + 1_500, TOP - 1_999, LEFT + 3_000, TOP - 1_000]}))
    assert made.coarse.bounds == (LEFT + 1_000, TOP - 2_000, LEFT + 3_000, TOP - 1_000)
    assert made.totals()[0, 0] == pytest.approx(land.totals[1:2, 1:3])
    assert made.covariates(0, 0, 10, 20)[0, 0] == pytest.approx(land.layer[10:20, 10:30])
    assert made.record.area.coarse_cells == 2 and made.record.area.of == 12


def test_a_box_along_the_lines_of_the_cells_keeps_just_them(land, cube):
    made = cube(land.config(area={"bounds": [LEFT + 1_000, TOP - 3_000, LEFT + 2_000, TOP - 1_000]}))
    assert made.totals()[0, 0] == pytest.approx(land.totals[1:3, 1:2])


def test_a_box_in_degrees_finds_the_same_cells(land, cube):
    back = Transformer.from_crs("EPSG:3035", "EPSG:4326", always_xy=True)
    lon, lat = back.transform(LEFT + 2_500, TOP - 1_500)
    made = cube(
        land.config(area={"bounds": [lon - 1e-4, lat - 1e-4, lon + 1e-4, lat + 1e-4], "crs": "EPSG:4326"})
    )
    assert made.totals()[0, 0] == pytest.approx(land.totals[1:2, 2:3])


def test_an_outline_leaves_cells_it_does_not_reach_without_a_total(land, cube):
    corner = shapely.Polygon([(LEFT + 100, TOP - 100), (LEFT + 1_900, TOP - 100), (LEFT + 100, TOP - 1_500)])
    pyogrio.raw.write(
        land.folder / "part.gpkg", np.array([corner.wkb], object), [], [], geometry_type="Polygon",
        crs="EPSG:3035", driver="GPKG",
    )  # fmt: skip
    config = land.config(area={"outline": {"path": "part.gpkg"}})
    made = cube(config)
    assert made.coarse.shape == (2, 2)
    # The slanting side passes x = LEFT + 1,000 at y = TOP - 800: the cell in the south-east is not reached.
    assert made.known()[0, 0].tolist() == [[True, True], [True, False]]
    assert made.totals()[0, 0][0] == pytest.approx(land.totals[0, :2])
    assert [name.rsplit("/", 1)[-1] for name in sources(config)][-1] == "part.gpkg"


def test_geo_14_an_area_beside_the_totals_tells_both(land):
    with pytest.raises(InputError, match="x 0 to 10") as told:
        check(land.config(area={"bounds": [0, 0, 10, 10]}))
    assert "x 4780000 to 4784000" in told.value.wanted


def test_an_area_is_a_box_or_an_outline(land):
    for wrong in ({}, {"bounds": [0, 0, 1, 1], "outline": {"path": "a.gpkg"}}, {"bounds": [1, 0, 0, 1]}):
        with pytest.raises(ValidationError):
            land.config(area=wrong)
