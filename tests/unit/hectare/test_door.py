"""What a notebook sees of Hectare: runs as xarray objects, laws on arrays, faults as exceptions."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hectare
from model.ground.errors import ArtifactError, UsageError
from tests.small_world import build_world

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    world = build_world(tmp_path_factory.mktemp("run"))
    world.make_maps()
    return hectare.open_run(world.folder)


def test_blocks_of_the_field_meet_the_totals_of_the_cube(opened):
    blocks = opened.field["mass"].coarsen(y=10, x=10).sum()
    np.testing.assert_allclose(blocks.values, opened.cube["heat"].values, rtol=1e-6)


def test_cube_field_and_maps_carry_the_reference_system(opened):
    pytest.importorskip("rioxarray")
    for found in (opened.cube["built"], opened.field["mass"], *opened.maps.values()):
        assert found.rio.crs.to_epsg() == 3035
        assert found.rio.transform()[:6] == (100, 0, 4_780_000, 0, -100, 2_822_000)


def test_a_map_holds_what_the_field_holds_and_a_window_of_it_is_the_same(opened):
    found = opened.maps["heat_homes_2012.tif"]
    assert found.attrs["units"] == "MWh"
    expected = opened.field["mass"].sel(sector="homes").isel(time=0)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6)
    np.testing.assert_array_equal(found[7:31:3, -5:].values, found.values[7:31:3, -5:])
    assert float(found[12, 3]) == found.values[12, 3]
    assert found[5:5].shape == (0, 30)


def test_the_certificate_is_a_record_of_what_was_measured(opened):
    assert opened.certificate.passed
    assert {entry.file for entry in opened.certificate.maps} == set(opened.maps)


def test_what_is_not_there_yet_is_a_fault_with_a_fix(opened):
    with pytest.raises(ArtifactError) as caught:
        _ = opened.scores
    assert caught.value.fix == "pipeline evaluate"
    with pytest.raises(ArtifactError, match="no folder"):
        hectare.open_run("nowhere")


def test_a_faulty_configuration_raises_and_does_not_end_the_process(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\n")
    with pytest.raises((hectare.HectareError, hectare.HectareErrors)):
        hectare.run(file)
    with pytest.raises((hectare.HectareError, hectare.HectareErrors), match="epochs"):
        hectare.run(ROOT / "configs/default.yaml", train={"epochs": -1})
    with pytest.raises(UsageError):
        hectare.run(tmp_path / "absent.yaml")


def test_a_run_makes_what_is_needed_and_a_section_may_be_overridden(tmp_path, capsys):
    settings = {"stages": ["ingest"], "workspace": tmp_path}
    made = hectare.run(ROOT / "configs/default.yaml", **settings, train={"seed": 3})
    assert made.cube.sizes["y"] == 10 * made.cube.sizes["y_coarse"]
    assert "ingest: done" in capsys.readouterr().out
    hectare.run(ROOT / "configs/default.yaml", **settings, train={"seed": 4})
    assert "up to date" in capsys.readouterr().out


RAW = np.array([[3.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])


def test_water_fill_takes_the_same_depth_from_every_cell_that_stays_above_0():
    placed = hectare.laws.water_fill(RAW, [[2.0, 8.0]], factor=2)  # 3 + 1 fall to 2: one each
    np.testing.assert_allclose(placed, [[2.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0]])


def test_proportional_keeps_shares_and_power_lies_between():
    placed = hectare.laws.proportional(RAW, [[2.0, 8.0]], factor=2)
    np.testing.assert_allclose(placed[0, :2], [1.5, 0.5])
    between = hectare.laws.power(RAW, [[2.0, 8.0]], factor=2, gamma=0.5)
    assert 1.5 < between[0, 0] < 2.0


def test_cells_that_are_not_valid_hold_nothing_and_leading_axes_are_kept():
    valid = np.array([[False, True, True, True], [True, True, True, True]])
    placed = hectare.laws.water_fill(np.stack([RAW, RAW]), np.full((2, 1, 2), 6.0), factor=2, valid=valid)
    assert placed.shape == (2, 2, 4)
    assert (placed[:, 0, 0] == 0).all()
    np.testing.assert_allclose(placed.reshape(2, 2, 2, 2).sum(axis=(1, 3)), 6.0)


def test_a_law_refuses_shapes_that_do_not_fit_and_totals_without_a_place():
    with pytest.raises(ValueError, match="blocks of 3 x 3"):
        hectare.laws.water_fill(RAW, [[2.0, 8.0]], factor=3)
    with pytest.raises(ValueError):
        hectare.laws.water_fill(RAW, [[2.0, 8.0]], factor=2, valid=np.zeros((2, 4), bool))


def test_importing_it_loads_no_torch():
    code = "import sys, hectare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_nothing_of_ours_imports_it():
    for package in ("pipeline", "stages", "model"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not any(name.split(".")[0] == "hectare" for name in names), path


def test_it_stays_thin():
    assert sum(len(path.read_text("utf-8").splitlines()) for path in (ROOT / "hectare").glob("*.py")) < 150
