"""The page beside the maps: true, whole, offline, and deaf to what names try to say."""

import base64
import io
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from markupsafe import escape
from matplotlib.image import imread

from model.ground.errors import ArtifactError
from stages.mosaic import stage as mosaic
from stages.report.figures import heaviest_part
from stages.report.pictures import NODATA_COLOUR, ZERO_COLOUR, average, mass_picture
from stages.report.qgis_style import RAMP, Legend
from stages.report.training_figures import FIGURES, write_figures
from tests.small_world import World, build_world


@pytest.fixture
def small_world(tmp_path: Path) -> Callable[..., World]:
    """A function that writes a world of 4 x 3 blocks, or of the totals given."""
    return partial(build_world, tmp_path)


def pixels(address: str) -> np.ndarray:
    """(rows, cols, 3) of a picture inside the page, 0 to 255, decoded by another library."""
    png = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    return np.round(imread(io.BytesIO(png))[..., :3] * 255).astype(int)


def test_the_page_tells_verdict_totals_layers_licences_and_files(small_world):
    world = small_world()
    maps = world.make_maps()
    page = (maps / "report.html").read_text("utf-8")
    certificate = json.loads((maps / "certificate.json").read_text("utf-8"))
    assert "Every block kept its total" in page
    assert "No uncertainty is given yet" in page
    assert f"row {certificate['worst']['row']}, column {certificate['worst']['col']}" in page
    for entry in certificate["maps"]:
        assert entry["sha256"] in page and entry["blocks_sha256"] in page and entry["file"] in page
    for word in (
        "built.tif",
        "CC BY 4.0",
        "Survey &lt;of&gt; Käse &amp; Söhne",
        "proportional",
        "Homes",
        "Other",
    ):
        assert word in page
    # three maps, five pictures each
    assert page.count("<img ") == 15


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x onerror=1>', "{{7*7}}", "{% raw %}", "layer's 空 ünï"]
)
def test_sec_10_names_are_shown_as_text(small_world, name):
    plain = small_world(layer="plain").make_maps()
    before = (plain / "report.html").read_text("utf-8")
    facts = (
        (plain / "report.json").read_text("utf-8").replace('"plain"', json.dumps(name, ensure_ascii=False))
    )
    (plain / "report.json").write_text(facts, "utf-8")
    page = mosaic.render(plain)
    assert str(escape(name)) in page
    assert escape(name) == name or name not in page
    assert page.count("<img") == before.count("<img") and "<script" not in page and ">49<" not in page
    assert len(re.findall("<[a-z]", page)) == len(re.findall("<[a-z]", before))


def test_sec_11_the_page_loads_nothing(small_world):
    page = (small_world().make_maps() / "report.html").read_text("utf-8")
    addresses = re.findall(r"""(?:src|href|action|data|poster)\s*=\s*["']?([^"'\s>]+)""", page)
    assert addresses and all(address.startswith("data:image/png;base64,") for address in addresses)
    assert "@import" not in page and "url(" not in page and "http://" not in page and "https://" not in page
    assert "default-src 'none'" in page


def test_neither_page_nor_facts_know_where_they_were_made(small_world, tmp_path):
    maps = small_world().make_maps()
    for name in ("report.html", "report.json", "certificate.json", "heat_homes_2012.qml"):
        assert str(tmp_path) not in (maps / name).read_text("utf-8")


def test_the_page_shows_how_it_was_trained_where_the_field_brings_the_figures(small_world):
    world = small_world()
    line = {"name": "<b>loss</b>", "colour": "#390f6e", "places": [[56, 210], [410, 10]]}
    plots = [{"title": "loss", "ups": [[210, "0"]], "steps": [[56, "0"]], "lines": [line, line]}]
    plates = [
        {
            "name": "truth",
            "source": "data:image/png;base64,AA",
            "key": [{"name": "1: 40 %", "colour": "#111111"}],
        }
    ]
    write_figures([{"fold": fold, "plots": plots, "plates": plates} for fold in (0, 3)], world.field)
    page = (world.make_maps() / "report.html").read_text("utf-8")
    assert page.count("<polyline") == 4 and page.count("base64,AA") == 2
    assert "while part 3 is held out" in page and "1: 40 %" in page and "56,210 410,10" in page
    assert "&lt;b&gt;loss" in page and "<b>loss" not in page
    assert mosaic.render(world.maps) == page
    (world.maps / FIGURES).write_text("[", "utf-8")
    with pytest.raises(ArtifactError, match=FIGURES):
        mosaic.render(world.maps)


def test_the_page_can_be_rendered_again_from_the_folder_alone(small_world):
    world = small_world()
    maps = world.make_maps()
    page = (maps / "report.html").read_text("utf-8")
    world.cube.rename(world.cube.with_name("gone"))
    assert mosaic.render(maps) == page
    (maps / "report.json").unlink()
    with pytest.raises(ArtifactError, match=r"report\.json"):
        mosaic.render(maps)


def test_what_fell_back_or_is_unknown_is_said(small_world):
    totals = np.full((1, 1, 2, 2), 9.0)
    totals[0, 0, 0, 0] = np.nan
    valid = np.ones((20, 20), bool)
    valid[10:, 10:] = False
    page = (
        small_world(totals=totals, valid=valid, sectors=("homes",)).make_maps() / "report.html"
    ).read_text("utf-8")
    assert "1 block: no cell is valid, the total was spread over the whole block." in page
    assert "the total is unknown: left without a value, not set to zero" in page


def test_a_map_wider_than_the_page_is_averaged_and_this_is_said(small_world):
    maps = small_world().make_maps(page_width=20)
    page = (maps / "report.html").read_text("utf-8")
    assert "averaged over 2 by 2 cells" in page
    sizes = {pixels(address).shape[:2] for address in re.findall(r'src="([^"]+)"', page)}
    assert (20, 15) in sizes  # 40 x 30 cells


def test_a_geographic_map_has_its_true_proportions(small_world):
    # At 60 degrees north a degree of longitude is half as long as one of latitude: 3 by 4 cells are 1.5 by 4.
    world = small_world(crs="EPSG:4326", corner=(10.0, 62.0), cell=1.0)
    page = (world.make_maps() / "report.html").read_text("utf-8")
    assert "aspect-ratio: 0.375" in page
    assert "EPSG:4326" in page


def test_pictures_show_zero_nodata_and_the_ends_of_the_ramp():
    cells = np.array([[0.0, np.nan], [1.0, 100.0]])
    shown = pixels(mass_picture(cells, Legend((1.0, 10.0, 100.0), 0.0, "t")))
    assert shown[0, 0].tolist() == list(ZERO_COLOUR)
    assert shown[0, 1].tolist() == list(NODATA_COLOUR)
    assert shown[1, 0].tolist() == list(RAMP[0])
    assert shown[1, 1].tolist() == list(RAMP[-1])


def test_the_heaviest_part_is_found():
    mass = np.zeros((30, 40))
    mass[17, 33] = 5.0
    mass[18:20, 34] = 4.0
    mass[0, 0] = 12.0
    row, col, rows, cols = heaviest_part(mass)
    assert (rows, cols) == (12, 12)
    assert mass[row : row + rows, col : col + cols].sum() == 13.0


def test_averages_leave_out_cells_without_a_value():
    cells = np.array([[1.0, 3.0, np.nan], [np.nan, 5.0, np.nan]])
    assert np.array_equal(average(cells, 2), [[3.0, np.nan]], equal_nan=True)


def test_how_the_method_learned_is_told(small_world):
    learned = {
        "asked": "network",
        "score": 0.4321,
        "start_score": 0.61,
        "step": 120,
        "steps": 400,
        "tiles": 20,
    }
    page = (small_world(training=learned).make_maps() / "report.html").read_text("utf-8")
    assert "0.432 on blocks it did not learn from; 0.61 before it learned" in page
    assert "120 of 400 steps on 20 tiles" in page


def test_a_baseline_that_did_as_well_on_held_out_ground_is_told(small_world):
    learned = {
        "asked": "network", "score": 0.4321, "start_score": 0.61, "step": 120, "steps": 400, "tiles": 20,
        "folds": 4, "rivals": {"single_proxy": 0.41, "uniform": 0.7}, "beaten_by": "single_proxy",
    }  # fmt: skip
    page = (small_world(training=learned).make_maps() / "report.html").read_text("utf-8")
    assert "by 4 networks, each with other ground held out" in page
    assert "single proxy: 0.41; uniform: 0.7" in page
    assert "single_proxy, which learns nothing, missed no more of the totals" in page
    assert "0.410 against 0.432 of their mass" in page


def test_a_fallback_to_a_baseline_is_told(small_world):
    fell = {"asked": "network", "fell_back": "smooth_mask", "reason": "the map is too small to split"}
    page = (small_world(training=fell).make_maps() / "report.html").read_text("utf-8")
    assert "Asked for network, but the map is too small to split: smooth_mask, which learns nothing" in page
