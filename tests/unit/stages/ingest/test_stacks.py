"""Published stacks become files on a declared grid, and finished maps become stacks again."""

import json

import numpy as np
import pytest
import rasterio

from model.ground.errors import InputError
from pipeline.cli.commands import main
from pipeline.config.load import section_of
from stages.formats.npy_stacks import Arrangement, cut, laid_out, split_of
from stages.ingest.draft import stacks

GRID = """
crs: EPSG:3035
left: 4780000
top: 2820000
pixel: 100
columns: 3
stride: 15
factor: 5
layers: [lights, roads]
variable: co2
unit: t
"""
SIDE, STRIDE, FACTOR = 20, 15, 5  # three windows side by side, two rows: 35 x 50 cells


@pytest.fixture
def published(tmp_path):
    """A field cut into six windows that overlap by five cells; Y is the mean of 5 x 5 cells, repeated."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "stacks"
    folder.mkdir()
    fields = {}
    for year in (2014, 2015):
        layers = rng.random((2, 35, 50)).astype(np.float32)
        totals = rng.lognormal(3, 1, (7, 10)).astype(np.float32)
        fields[year] = layers, totals
        mosaic = np.kron(totals / FACTOR**2, np.ones((FACTOR, FACTOR), np.float32))
        for name, field in (("X", layers), ("Y", mosaic[None])):
            windows = [
                field[:, row : row + SIDE, col : col + SIDE] for row in (0, STRIDE) for col in (0, 15, 30)
            ]
            np.save(folder / f"{name}_{year}.npy", np.stack(windows))
    (folder / "split_config.json").write_text(json.dumps({"train": [0, 1, 2, 3], "val": [4], "test": [5]}))
    (tmp_path / "grid.yaml").write_text(GRID)
    return folder, tmp_path / "grid.yaml", fields


def arrangement(grid, **changed) -> Arrangement:
    return section_of(grid, Arrangement).model_copy(update=changed)


def test_layers_and_totals_lie_where_the_grid_says(published, tmp_path):
    folder, grid, fields = published
    facts = stacks.import_stacks(folder, arrangement(grid), tmp_path / "out")
    assert facts[0] == "2 years, 6 windows each, 35 x 50 fine cells"
    assert "4 train, 1 val, 1 test" in facts[1] and "not used" in facts[1]
    for year, (layers, totals) in fields.items():
        with rasterio.open(tmp_path / "out" / f"roads_{year}.tif") as file:
            np.testing.assert_array_equal(file.read(1).astype(np.float32), layers[1])
            assert file.transform[:6] == (100, 0, 4780000, 0, -100, 2820000)
        with rasterio.open(tmp_path / "out" / f"co2_{year}.tif") as file:
            np.testing.assert_allclose(file.read(1), totals, rtol=1e-6)
            assert file.transform[0] == 500


def test_ground_without_a_window_is_unknown_not_zero(published, tmp_path):
    """Without the sixth window the south-east corner is bare, but for the overlap of its neighbours."""
    folder, grid, _ = published
    stack = np.load(folder / "X_2014.npy")[:5]
    field = laid_out(stack, arrangement(grid), "X")
    assert np.isnan(field[:, 20:, 35:]).all()
    assert np.isfinite(field[:, :20]).all() and np.isfinite(field[:, :, :35]).all()


def test_windows_that_contradict_each_other_show_that_the_arrangement_is_wrong(published):
    folder, grid, _ = published
    stack = np.load(folder / "X_2014.npy")
    with pytest.raises(InputError, match="window 1") as caught:
        laid_out(stack, arrangement(grid, stride=10), "X_2014.npy")
    assert "stride" in caught.value.fix and caught.value.code == 3


def test_finer_detail_of_y_is_counted_and_left_out(published, tmp_path):
    folder, grid, fields = published
    target = np.load(folder / "Y_2014.npy")
    target[0, 0, 0, 0] += 1.0  # in one coarse cell
    np.save(folder / "Y_2014.npy", target)
    facts = stacks.import_stacks(folder, arrangement(grid), tmp_path / "out")
    assert facts[1].startswith("2014: in 1 coarse cells Y is not one value")
    with rasterio.open(tmp_path / "out" / "co2_2014.tif") as file:
        assert file.read(1)[0, 0] == pytest.approx(fields[2014][1][0, 0] + 1.0, rel=1e-5)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((6, 3, 20, 20)), "shape"),
        (np.zeros((6, 2, 20, 21)), "shape"),
        (np.array([{"a": 1}], dtype=object), "not readable"),
        (np.full((6, 2, 20, 20), "x"), "type"),
    ],
)
def test_what_is_no_stack_is_refused_and_a_pickle_never_opened(published, tmp_path, array, words):
    folder, grid, _ = published
    np.save(folder / "X_2014.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=words):
        stacks.import_stacks(folder, arrangement(grid), tmp_path / "out")


@pytest.mark.parametrize("split", ['{"train": [0, 6]}', '{"train": [0], "test": [0]}', "[", '"train"'])
def test_a_split_of_other_stacks_is_refused(published, split):
    folder, _, _ = published
    (folder / "split_config.json").write_text(split)
    with pytest.raises(InputError):
        split_of(folder, 6)


def test_cutting_is_the_inverse_of_laying_out(published):
    folder, grid, _ = published
    stack = np.load(folder / "X_2014.npy")
    field = laid_out(stack, arrangement(grid), "X")
    np.testing.assert_array_equal(cut(field[0], arrangement(grid), 6, SIDE)[:, 0], stack[:, 0])


def test_the_chain_runs_on_stacks_and_gives_them_back(published, tmp_path, capsys):
    """Uniform maps: every fine cell holds its total / 25, so Pred is Y."""
    folder, grid, _ = published
    main(["import-stacks", str(folder), "--grid", str(grid), "-o", str(tmp_path / "out")])
    words = ["-c", str(tmp_path / "out" / "stacks.yaml"), "--workspace", str(tmp_path / "workspace")]
    main(["run", *words, "--set", "train.method=uniform"])
    main([
        "export-stacks", str(folder), "--grid", str(grid), "-o", str(tmp_path / "back"), *words,
        "--set", "train.method=uniform",
    ])  # fmt: skip
    for year in (2014, 2015):
        made = np.load(tmp_path / "back" / f"Pred_{year}.npy")
        np.testing.assert_allclose(made, np.load(folder / f"Y_{year}.npy"), rtol=1e-5)
    picture = (tmp_path / "back" / "result_preview.png").read_bytes()
    assert picture[:4] == b"\x89PNG" and len(picture) > 10_000


def test_the_declaration_names_every_mistake(tmp_path):
    from model.ground.errors import HectareErrors

    (tmp_path / "grid.yaml").write_text(
        GRID.replace("columns: 3", "colums: 3").replace("pixel: 100", "pixel: -1")
    )
    with pytest.raises(HectareErrors) as caught:
        section_of(tmp_path / "grid.yaml", Arrangement)
    told = " ".join(f"{fault.where} {fault.found} {fault.wanted}" for fault in caught.value.faults)
    assert "colums" in told and "columns" in told and "line 5" in told


@pytest.mark.parametrize(("old", "new"), [("unstack", "import-stacks"), ("restack", "export-stacks")])
def test_a_former_name_of_a_command_is_answered_with_the_new_one(old, new, capsys):
    with pytest.raises(SystemExit) as ended:
        main([old, "somewhere"])
    assert ended.value.code == 2 and f"`{old}` was renamed to `{new}`" in capsys.readouterr().err
