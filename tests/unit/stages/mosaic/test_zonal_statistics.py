"""Totals by zone: exact area shares, every unit of mass in one zone or outside all, checked by exactextract."""

import csv
import json

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from exactextract import exact_extract
from exactextract.feature import JSONFeatureSource
from exactextract.raster import NumPyRasterSource
from pyproj import Transformer

from model.ground.errors import InputError
from stages.contract.body import Preview
from stages.mosaic.stage import Config, sources
from tests.small_world import build_world

LEFT, TOP = 4_780_000.0, 2_822_000.0  # the small world: 4 x 3 blocks of 1 km
CONTEXT = {"folder": "/"}


def config_of(**zones):
    return {"zones": Config.model_validate({"zones": zones}, context=CONTEXT).zones}


def write_zones(path, shapes, codes, names, crs="EPSG:3035"):
    columns = [np.array(codes, object), np.array(names, object)]
    pyogrio.raw.write(
        path, np.array([shape.wkb for shape in shapes], object), columns, ["code", "name"],
        geometry_type="Polygon", crs=crs, driver="GPKG",
    )  # fmt: skip
    return str(path)


def rows_of(maps):
    with (maps / "zones.csv").open() as stream:
        return [row for row in csv.DictReader(stream)]


def test_zones_and_what_is_outside_add_up_and_agree_with_exactextract(tmp_path):
    world = build_world(tmp_path)
    circle = shapely.Point(LEFT + 1_333, TOP - 1_777).buffer(911.0)
    wedge = shapely.Polygon(
        [(LEFT + 2_400, TOP + 500), (LEFT + 4_000, TOP - 4_500), (LEFT + 2_400, TOP - 3_100)]
    )
    path = write_zones(tmp_path / "z.gpkg", [circle, wedge], ["a", "b"], ["Käse", "<b>Wein"])
    maps = world.make_maps(**config_of(path=path, key="code", label="name"))
    for sector in ("homes", "other", "all"):
        with rasterio.open(maps / f"heat_{sector}_2012.tif") as data:
            cells = np.nan_to_num(data.read(1).astype(np.float64))
        raster = NumPyRasterSource(cells, LEFT, TOP - 4_000, LEFT + 3_000, TOP)
        rows = {row["name"]: float(row["mass"]) for row in rows_of(maps) if row["sector"] == sector}
        for name, shape in (("Käse", circle), ("<b>Wein", wedge)):
            feature = JSONFeatureSource(
                [{"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)}]
            )
            expected = exact_extract(raster, feature, "sum")[0]["properties"]["sum"]
            assert rows[name] == pytest.approx(expected, rel=1e-6)  # its coverage is in float32
        assert rows["Käse"] + rows["<b>Wein"] + rows["outside any zone"] == pytest.approx(
            rows["whole map"], rel=1e-12
        )
        assert rows["whole map"] == pytest.approx(cells.sum(), rel=1e-12)
    page = (maps / "report.html").read_text()
    assert "By zone, 2012" in page and "Käse" in page and "<b>Wein" not in page


def test_a_border_through_a_cell_gives_each_side_its_share(tmp_path):
    world = build_world(tmp_path, sectors=("homes",))
    west = shapely.box(LEFT, TOP - 4_000, LEFT + 1_025, TOP)
    east = shapely.box(LEFT + 1_025, TOP - 4_000, LEFT + 3_000, TOP)
    path = write_zones(tmp_path / "z.gpkg", [west, east], [1, 2], ["w", "e"])
    maps = world.make_maps(**config_of(path=path, key="code"))
    with rasterio.open(maps / "heat_homes_2012.tif") as data:
        cells = np.nan_to_num(data.read(1).astype(np.float64))
    # A quarter of column 10 lies in the west.
    found = {row["zone"]: float(row["mass"]) for row in rows_of(maps)}
    assert found["1"] == pytest.approx(cells[:, :10].sum() + 0.25 * cells[:, 10].sum(), rel=1e-12)
    assert found["2"] == pytest.approx(0.75 * cells[:, 10].sum() + cells[:, 11:].sum(), rel=1e-12)


def test_a_raster_of_ids_gives_the_same_sums_as_counting_its_cells(tmp_path):
    world = build_world(tmp_path, sectors=("homes",))
    ids = np.random.default_rng(2).integers(1, 6, (8, 6)).astype(np.uint16)  # 500 m cells; 5 is no zone
    place = Affine(500, 0, LEFT, 0, -500, TOP)
    facts = {"driver": "GTiff", "height": 8, "width": 6, "count": 1, "dtype": "uint16", "crs": "EPSG:3035"}
    with rasterio.open(tmp_path / "ids.tif", "w", transform=place, nodata=5, **facts) as data:
        data.write(ids, 1)
    maps = world.make_maps(**config_of(path=str(tmp_path / "ids.tif")))
    with rasterio.open(maps / "heat_homes_2012.tif") as data:
        cells = np.nan_to_num(data.read(1).astype(np.float64))
    fine = np.repeat(np.repeat(ids, 5, axis=0), 5, axis=1)
    found = {row["zone"]: float(row["mass"]) for row in rows_of(maps) if row["zone"]}
    assert found == {str(code): pytest.approx(cells[fine == code].sum(), rel=1e-12) for code in (1, 2, 3, 4)}
    outside = next(float(row["mass"]) for row in rows_of(maps) if row["name"] == "outside any zone")
    assert outside == pytest.approx(cells[fine == 5].sum(), rel=1e-9, abs=1e-9 * cells.sum())


def test_zones_in_degrees_are_cut_where_they_belong(tmp_path):
    world = build_world(tmp_path, sectors=("homes",))
    back = Transformer.from_crs("EPSG:3035", "EPSG:4326", always_xy=True)
    edge = shapely.segmentize(shapely.box(LEFT, TOP - 4_000, LEFT + 1_000, TOP), 10.0)
    there = shapely.transform(
        edge, lambda points: np.column_stack(back.transform(points[:, 0], points[:, 1]))
    )
    path = write_zones(tmp_path / "z.gpkg", [there], ["w"], ["w"], crs="EPSG:4326")
    maps = world.make_maps(**config_of(path=path, key="code"))
    with rasterio.open(maps / "heat_homes_2012.tif") as data:
        cells = np.nan_to_num(data.read(1).astype(np.float64))
    found = next(float(row["mass"]) for row in rows_of(maps) if row["zone"] == "w")
    assert found == pytest.approx(cells[:, :10].sum(), rel=1e-6)


def test_zones_that_overlap_stop(tmp_path):
    world = build_world(tmp_path, sectors=("homes",))
    boxes = [
        shapely.box(LEFT, TOP - 900, LEFT + 900, TOP),
        shapely.box(LEFT + 500, TOP - 900, LEFT + 1_900, TOP),
    ]
    path = write_zones(tmp_path / "z.gpkg", boxes, ["a", "b"], ["a", "b"])
    with pytest.raises(InputError, match="zones that overlap at x 4780500"):
        world.make_maps(**config_of(path=path, key="code"))


def test_geo_14_zones_elsewhere_stop(tmp_path):
    world = build_world(tmp_path, sectors=("homes",))
    path = write_zones(tmp_path / "z.gpkg", [shapely.box(0, 0, 9, 9)], ["a"], ["a"])
    with pytest.raises(InputError, match="no zone reaches into the map"):
        world.make_maps(**config_of(path=path, key="code"))


def test_zones_are_part_of_the_fingerprint_and_the_facts(tmp_path):
    world = build_world(tmp_path, sectors=("homes",))
    path = write_zones(tmp_path / "z.gpkg", [shapely.box(LEFT, TOP - 900, LEFT + 900, TOP)], ["a"], ["a"])
    settings = config_of(path=path, key="code")
    assert sources(Config(**settings)) == [path]
    told = json.loads((world.make_maps(**settings) / "report.json").read_text())["zones"]
    assert told["zones"][0]["fine_cells"] == pytest.approx(81.0)


def test_zones_are_judged_before_a_map_is_made(tmp_path):
    from pyproj import CRS

    from model.ground.grid import Grid
    from stages.formats.zarr_groups import make_grid
    from stages.mosaic import stage as mosaic

    fine: Grid = make_grid(30, 40, LEFT, TOP, 100, 100, CRS.from_epsg(3035))
    far = shapely.box(LEFT + 1e6, TOP, LEFT + 1e6 + 500, TOP + 500)
    near = shapely.box(LEFT + 100, TOP - 900, LEFT + 500, TOP - 500)
    beside = Config(
        zones=config_of(path=write_zones(tmp_path / "far.gpkg", [far], ["a"], ["A"]), key="code")["zones"]
    )
    with pytest.raises(InputError, match="no zone reaches into the map"):
        mosaic.check_place(beside, Preview(fine=fine))
    good = Config(
        zones=config_of(path=write_zones(tmp_path / "near.gpkg", [near], ["a"], ["A"]), key="code")["zones"]
    )
    mosaic.check_place(good, Preview(fine=fine))
    mosaic.check_place(Config(), Preview(fine=fine))
    lost = Config(zones=config_of(path=str(tmp_path / "gone.gpkg"), key="code")["zones"])
    for known in (fine, None):  # without a grid the file is looked at all the same
        with pytest.raises(InputError, match="gone"):
            mosaic.check_place(lost, Preview(fine=known))
