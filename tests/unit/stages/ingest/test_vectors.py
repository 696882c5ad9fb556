"""Vector files are data: four formats, told by content; what could reach further is refused in a clear block."""

import gzip
import json
import sqlite3
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pyogrio
import pytest
import shapely
from pydantic import ValidationError

from model.ground.errors import HectareError, HectareErrors, InputError, ResourceError
from stages.formats.vector import detect as vector_files
from stages.formats.vector import read as vectors
from stages.ingest.stage import check, run, sources
from stages.regrid import spill as bins_module
from stages.regrid.polygons import Shapes
from stages.regrid.spill import Bins

SECRET = "canary-7f3a"


@pytest.fixture
def roads(land):
    """Two roads of the tiny map: a main one of 4 km along y 2,821,050 and a lane of 500 m."""

    def write(
        name="roads.gpkg", driver="GPKG", crs="EPSG:3035", lines=None, kinds=("main", "lane"), **options
    ):
        lines = lines or [
            shapely.LineString([(4_780_000, 2_821_050), (4_784_000, 2_821_050)]),
            shapely.LineString([(4_780_250, 2_820_000), (4_780_250, 2_820_500)]),
        ]
        pyogrio.raw.write(
            land.folder / name, np.array([line.wkb for line in lines], object), [np.array(kinds, object)],
            ["highway"], geometry_type="LineString", crs=crs, driver=driver, **options,
        )  # fmt: skip
        return name

    return write


def vrt_of(layer, source):
    inner = f'<OGRVRTLayer name="{layer}"><SrcDataSource>{source}</SrcDataSource></OGRVRTLayer>'
    return f"<OGRVRTDataSource>{inner}</OGRVRTDataSource>"


def with_vectors(land, path, **changes):
    facts = {"name": "lanes", "path": path, "kind": "length", **changes}
    return land.config(vectors=[facts])


def layer(cube, name="lanes"):
    index = [entry.name for entry in cube.layers].index(name)
    return cube.covariates(0, 0, *cube.fine.shape)[index, 0]


@pytest.mark.parametrize(
    ("name", "driver"), [("r.gpkg", "GPKG"), ("r.shp", "ESRI Shapefile"), ("r.geojson", "GeoJSON")]
)
def test_each_format_gives_the_same_lengths(land, roads, cube, name, driver):
    crs = "EPSG:4326" if driver == "GeoJSON" else "EPSG:3035"
    lines = None
    if driver == "GeoJSON":
        from pyproj import Transformer

        back = Transformer.from_crs("EPSG:3035", "EPSG:4326", always_xy=True)
        ends = [
            [(4_780_000, 2_821_050), (4_784_000, 2_821_050)],
            [(4_780_250, 2_820_000), (4_780_250, 2_820_500)],
        ]
        lines = [shapely.LineString([back.transform(*end) for end in line]) for line in ends]
        lines = [shapely.segmentize(line, 1e-3) for line in lines]
    made = layer(
        cube(
            with_vectors(
                land,
                roads(
                    name,
                    driver,
                    crs,
                    lines,
                    **({"COORDINATE_PRECISION": "12"} if driver == "GeoJSON" else {}),
                ),
            )
        )
    )
    expected = np.zeros((30, 40))
    expected[9, :] = 100.0  # y 2,821,050 lies in the tenth row from 2,822,000 down
    expected[15:20, 2] = 100.0  # x 4,780,250 in the third column, y from 2,820,500 to 2,820,000
    assert made == pytest.approx(expected, abs=0.05 if driver == "GeoJSON" else 1e-9)


def test_an_attribute_chooses_the_features(land, roads, cube):
    made = cube(with_vectors(land, roads(), where={"highway": ["lane"]}))
    assert layer(made).sum() == pytest.approx(500.0)
    assert made.record.layers[-1].files[0].features == 1 and made.record.layers[-1].unit == "m"


def test_an_osm_extract_is_read_with_the_tags_that_have_no_column(land, cube):
    from pyproj import Transformer

    back = Transformer.from_crs("EPSG:3035", "EPSG:4326", always_xy=True)
    places = [back.transform(x, 2_820_555.0) for x in np.linspace(4_780_100, 4_783_900, 39)]
    nodes = "".join(f'<node id="{n}" lat="{y:.9f}" lon="{x:.9f}"/>' for n, (x, y) in enumerate(places, 1))
    refs = "".join(f'<nd ref="{n}"/>' for n in range(1, len(places) + 1))
    way = f'<way id="1">{refs}<tag k="highway" v="primary"/><tag k="surface" v="asphalt"/></way>'
    (land.folder / "a.osm.gz").write_bytes(gzip.compress(f'<osm version="0.6">{nodes}{way}</osm>'.encode()))
    made = layer(cube(with_vectors(land, "a.osm.gz", layer="lines", where={"surface": ["asphalt"]})))
    assert made.sum() == pytest.approx(3800.0, rel=1e-4)
    assert (np.flatnonzero(made.sum(axis=1)) == [14]).all()
    with pytest.raises(InputError, match="no feature with surface: mud"):
        check(with_vectors(land, "a.osm.gz", layer="lines", where={"surface": ["mud"]}))


def outlines(land, shapes, name="o.gpkg"):
    pyogrio.raw.write(
        land.folder / name, np.array([shape.wkb for shape in shapes], object), [], [],
        geometry_type="Unknown", crs="EPSG:3035", driver="GPKG",
    )  # fmt: skip
    return name


def test_ground_under_two_outlines_counts_once(land, cube):
    lake = shapely.box(4_780_000, 2_821_950, 4_780_150, 2_822_000)
    made = layer(cube(with_vectors(land, outlines(land, [lake, lake]), kind="area")))
    assert made[0, :3].tolist() == [0.5, 0.25, 0.0] and made.sum() == 0.75


def test_an_outline_that_crosses_itself_is_mended_and_said(land, cube):
    bow = shapely.Polygon(
        [(4_780_000, 2_822_000), (4_780_100, 2_821_900), (4_780_100, 2_822_000), (4_780_000, 2_821_900)]
    )
    made = cube(with_vectors(land, outlines(land, [bow]), kind="area"))
    # Two triangles between the corners and the middle: a quarter of the cell each.
    assert layer(made)[0, 0] == pytest.approx(0.5)
    assert made.record.layers[-1].files[0].outlines_mended == 1


def test_lines_are_no_outlines(land, roads):
    with pytest.raises(InputError, match="none of them polygons"):
        check(with_vectors(land, roads(), kind="area"))


def test_beyond_what_a_layer_covers_nothing_is_known(land, roads, cube):
    half = [4_780_000, 2_819_000, 4_782_000, 2_822_000]
    with pytest.raises(InputError, match=r"50\.0% of the area"):
        run(with_vectors(land, roads(), covers=half), out=land.folder)
    made = cube(with_vectors(land, roads("again.gpkg"), covers=half, allow_partial=True))
    assert made.valid(0, 0, 30, 40)[:, :20].all() and not made.valid(0, 0, 30, 40)[:, 20:].any()


def test_geo_01_a_shapefile_without_a_crs_stops(land, roads):
    roads("plain.shp", "ESRI Shapefile")
    (land.folder / "plain.prj").unlink()
    with pytest.raises(InputError, match="no coordinate system") as told:
        check(with_vectors(land, "plain.shp"))
    assert "set `crs:`" in told.value.fix
    check(with_vectors(land, "plain.shp", crs="EPSG:3035"))


def test_geo_14_a_layer_elsewhere_tells_both_boxes(land, roads):
    far = [shapely.LineString([(5_280_000, 2_821_050), (5_284_000, 2_821_050)])]
    with pytest.raises(InputError) as told:
        check(with_vectors(land, roads("far.gpkg", lines=far, kinds=("main",))))
    assert "x 5280000 to 5284000" in told.value.found and "overlap with the totals" in told.value.wanted


def test_dmg_04_what_is_no_vector_file_is_called_what_it_looks_like(land):
    seen = {"": "an empty file", "hello": "a text file", "<!DOCTYPE html><p>": "a saved web page"}
    for index, (text, words) in enumerate(seen.items()):
        (land.folder / f"{index}.gpkg").write_text(text)
        with pytest.raises(InputError, match=words):
            check(with_vectors(land, f"{index}.gpkg"))


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
@pytest.mark.parametrize("name", ["roads.gpkg", "r.geojson", "r.shp", "r.osm.gz"])
def test_dmg_01_a_vector_file_cut_short_stops_without_a_traceback(land, roads, name, share):
    many = [shapely.LineString([(4_780_000 + i, 2_820_000), (4_780_900 + i, 2_821_000)]) for i in range(2000)]
    if name.endswith("osm.gz"):
        nodes = "".join(f'<node id="{n}" lat="48.{n:04d}" lon="15.6"/>' for n in range(1, 3000))
        (land.folder / name).write_bytes(gzip.compress(f"<osm>{nodes}</osm>".encode()))
    else:
        driver = {"gpkg": "GPKG", "json": "GeoJSON", ".shp": "ESRI Shapefile"}[name[-4:]]
        roads(name, driver, lines=many, kinds=["main"] * 2000)
    whole = (land.folder / name).read_bytes()
    (land.folder / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises((HectareError, HectareErrors)) as told:
        check(with_vectors(land, name, layer="lines" if "osm" in name else None))
    assert told.value.code == 3


def test_dmg_05_every_vector_file_that_is_missing_is_named_at_once(land, roads):
    items = [{"name": f"l{n}", "path": f"no{n}.gpkg", "kind": "length"} for n in range(2)]
    with pytest.raises(HectareErrors) as told:
        check(land.config(vectors=items))
    assert [fault.found for fault in told.value.faults] == ["no such file"] * 2


def test_the_parts_of_a_shapefile_are_part_of_the_fingerprint(land, roads):
    roads("r.shp", "ESRI Shapefile")
    names = [name.rsplit("/", 1)[-1] for name in sources(with_vectors(land, "r.shp"))]
    assert names[-5:] == ["r.shp", "r.shx", "r.dbf", "r.prj", "r.cpg"]


@pytest.mark.parametrize("name", ["roads.gpkg", "roads.geojson", "roads.shp", "roads.osm", "roads.vrt"])
def test_sec_01_a_vrt_under_any_name_is_refused_and_its_target_never_read(land, roads, name, idle_proof):
    roads("secret.gpkg", kinds=(SECRET, SECRET))
    vrt = vrt_of("secret", f"{land.folder}/secret.gpkg")
    (land.folder / name).write_text(vrt)
    with pytest.raises((HectareError, HectareErrors)) as told:
        check(with_vectors(land, name, layer="secret", where={"highway": [SECRET]}))
    assert told.value.code == 3 and "virtual dataset" in str(told.value)


def test_sec_01_a_json_that_names_a_vrt_is_read_as_json_or_refused(land, roads):
    roads("secret.gpkg", kinds=(SECRET, SECRET))
    inner = vrt_of("secret", f"{land.folder}/secret.gpkg")
    (land.folder / "two.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "note": inner, "features": []})
    )
    with pytest.raises((HectareError, HectareErrors)) as told:
        check(with_vectors(land, "two.geojson"))
    assert told.value.code == 3 and SECRET not in str(told.value)


def test_sec_01_only_the_four_formats_are_registered():
    program = (
        "from stages.formats.vector import read as vectors; print(sorted(vectors._library().list_drivers()))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "['ESRI Shapefile', 'GPKG', 'GeoJSON', 'MEM', 'OSM']"
    assert told.stderr == ""


def test_sec_02_no_vector_file_calls_the_network(land):
    calls = []

    class Ear(BaseHTTPRequestHandler):
        def do_GET(self):
            calls.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Ear)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    texts = {
        "v.gpkg": vrt_of("a", f"/vsicurl/{address}/a.gpkg"),
        "w.geojson": f"<OGRWFSDataSource><URL>{address}/wfs</URL></OGRWFSDataSource>",
        "g.geojson": json.dumps(
            {"type": "gdal_streamed_alg", "command_line": f"gdal vector read {address}/a.json"}
        ),
    }
    for name, text in texts.items():
        (land.folder / name).write_text(text)
        with pytest.raises((HectareError, HectareErrors)):
            check(with_vectors(land, name))
    server.shutdown()
    assert calls == []


@pytest.mark.parametrize(
    "path",
    ["http://a.b/r.gpkg", "/vsicurl/http://a.b/r.gpkg", "/vsizip/r.zip/r.shp", "GPKG:r.gpkg:roads", "a\0b"],
)
def test_sec_04_a_remote_vector_path_is_refused_in_the_configuration(land, path):
    with pytest.raises(ValidationError, match=r"only files on this machine|NUL"):
        with_vectors(land, path)


def test_sec_05_giant_counts_are_refused_before_they_are_read(land, roads, monkeypatch):
    roads()
    monkeypatch.setattr(vectors, "MAX_FEATURES", 1)
    with pytest.raises(InputError, match="2 features declared"):
        check(with_vectors(land, "roads.gpkg"))
    monkeypatch.undo()
    monkeypatch.setattr(vectors, "MAX_VERTICES", 1)
    with pytest.raises(InputError, match="a feature of 2 vertices"):
        check(with_vectors(land, "roads.gpkg"))


def test_sec_05_a_gzip_bomb_is_not_unpacked(land, monkeypatch):
    head = b'<osm version="0.6"><node id="1" lat="48" lon="15"/>'
    (land.folder / "bomb.osm.gz").write_bytes(gzip.compress(head + b" " * (64 << 20)))
    assert (land.folder / "bomb.osm.gz").stat().st_size < 100_000
    monkeypatch.setattr(vector_files, "MAX_WHOLE", 32 << 20)
    with pytest.raises(InputError, match="bytes or more, unpacked"):
        check(with_vectors(land, "bomb.osm.gz", layer="lines"))


def test_sec_05_a_bin_too_full_is_refused(land, roads, monkeypatch):
    from stages.regrid import polygons as shapes

    monkeypatch.setattr(shapes, "MAX_BIN", 10)
    with pytest.raises(InputError, match="bytes of shapes within"):
        check(with_vectors(land, roads()))


def test_sec_07_a_geopackage_with_a_virtual_table_is_refused(land, roads):
    roads()
    base = sqlite3.connect(land.folder / "roads.gpkg")
    base.execute("PRAGMA writable_schema=ON")
    spy = "CREATE VIRTUAL TABLE spy USING VirtualOGR(''/etc/x'')"
    base.execute(f"INSERT INTO sqlite_master VALUES ('table', 'spy', 'spy', 0, '{spy}')")
    base.commit()
    base.close()
    with pytest.raises(InputError, match="a virtual table, 'spy'"):
        check(with_vectors(land, "roads.gpkg"))


def test_sec_09_an_attribute_or_a_value_is_never_read_as_a_command(land, roads):
    roads()
    for where in (
        {"highway": ["x' OR '1'='1"]},
        {"highway": ["x'); ATTACH DATABASE 'y' AS z; --"]},
    ):
        with pytest.raises(InputError, match="no feature with"):
            check(with_vectors(land, "roads.gpkg", where=where))
    with pytest.raises(InputError, match="no attribute"):
        check(with_vectors(land, "roads.gpkg", where={'highway" IS NOT NULL OR "highway': "any"}))


def test_sec_12_odd_names_work_and_nothing_is_written_beside_the_inputs(land, roads, idle_proof):
    name = roads("ünï 空 layer's.gpkg")
    before = idle_proof(land.folder)
    check(with_vectors(land, name))
    assert idle_proof(land.folder) == before


def test_without_the_extra_the_fault_names_it(land, roads, monkeypatch):
    roads()
    monkeypatch.setitem(sys.modules, "pyogrio", None)
    with pytest.raises(ResourceError, match="not installed") as told:
        check(with_vectors(land, "roads.gpkg"))
    assert "vectors" in told.value.fix


def test_shapes_that_do_not_fit_in_memory_give_the_same_values(land, monkeypatch, tmp_path):
    lines = np.array([
        shapely.LineString([(4_780_000 + 7 * i, 2_819_000), (4_784_000, 2_822_000 - 11 * i)]) for i in range(200)
    ], object)  # fmt: skip
    from pyproj import CRS

    from stages.formats.zarr_groups import make_grid

    grid = make_grid(300, 400, 4_780_000, 2_822_000, 10, 10, CRS.from_user_input("EPSG:3035"))
    values = []
    for held in (bins_module.HELD, 1000):
        monkeypatch.setattr(bins_module, "HELD", held)
        made = Shapes(grid, CRS.from_user_input("EPSG:3035"), "length", folder=tmp_path)
        for start in range(0, 200, 50):
            made.add(lines[start : start + 50].copy())
        values.append(made.read(0, 0, 300, 400))
    assert (values[0] == values[1]).all() and values[0].sum() > 0


def test_bins_come_back_in_the_order_they_came(monkeypatch):
    monkeypatch.setattr(bins_module, "HELD", 4)
    bins = Bins()
    for text in (b"aa", b"bbb", b"c", b"dd"):
        bins.add((0, 0), [text])
    assert bins.get((0, 0)) == [b"aa", b"bbb", b"c", b"dd"] and bins.sizes == {(0, 0): 8}


def plants(land, points, amounts, name="plants.gpkg"):
    pyogrio.raw.write(
        land.folder / name, np.array([point.wkb for point in points], object), [np.array(amounts)], ["mass"],
        geometry_type="Unknown", crs="EPSG:3035", driver="GPKG",
    )  # fmt: skip
    return {"path": name, "year": 2020, "value": "mass", "unit": "t"}


@pytest.mark.parametrize("amount", [np.nan, np.inf, -1.0])
def test_val_04_a_plant_without_a_usable_amount_stops(land, amount):
    facts = plants(land, [shapely.Point(4_780_050, 2_821_950)], [amount])
    with pytest.raises(InputError, match="is no amount"):
        check(land.config(points=[facts]))


def test_val_07_plants_in_another_kind_of_unit_stop(land):
    facts = plants(land, [shapely.Point(4_780_050, 2_821_950)], [1.0])
    with pytest.raises(InputError, match="the unit 'MWh'"):
        check(land.config(points=[facts | {"unit": "MWh"}]))


def test_plants_of_a_year_without_totals_stop(land):
    facts = plants(land, [shapely.Point(4_780_050, 2_821_950)], [1.0])
    with pytest.raises(InputError, match="points of sector all, 1999"):
        check(land.config(points=[facts | {"year": 1999}]))


def test_outlines_are_no_plants(land):
    facts = plants(land, [shapely.box(4_780_050, 2_821_000, 4_780_150, 2_821_950)], [1.0])
    with pytest.raises(InputError, match="no single points"):
        check(land.config(points=[facts]))
