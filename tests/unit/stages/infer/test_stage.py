"""The field meets every total, whatever the windows, the seams and the fallback."""

import numpy as np
import pytest

from model.conservation.fallback import FallbackLevel
from stages.artifacts.field import Field
from stages.infer import stage as infer
from stages.infer.stage import Config, clashes, run
from stages.predict.windowed import _mirror


class Steps:
    """A method that estimates what it is told to, as a function of what it sees."""

    def __init__(self, estimate):
        self._estimate = estimate

    def estimate(self, scene):
        return self._estimate(scene).astype(np.float32)


def first_layer(scene):
    """Raw estimate equal to the first layer: what a window sees does not depend on where it was cut."""
    return np.broadcast_to(scene.covariates[0], (*scene.totals.shape[:2], *scene.valid.shape)) + 0.01


@pytest.fixture
def field(land, cube, tmp_path, monkeypatch):
    """Runs infer with a method of our own on a map of 26 x 28 blocks."""
    count = iter(range(100))

    def make(estimate=first_layer, totals=None, layer=None, ingest=None, **settings):
        chance = np.random.default_rng(11)
        totals = chance.gamma(1.0, 100.0, (26, 28)) if totals is None else totals
        layer = chance.gamma(0.5, 2.0, (260, 280)).astype(np.float32) if layer is None else layer
        from affine import Affine

        land.file("totals.tif", totals, Affine(1000, 0, 4_780_000, 0, -1000, 2_822_000))
        land.file("roads.tif", layer)
        opened = cube(land.config(**(ingest or {})))
        facts = {"method": "steps", "years": 1}
        monkeypatch.setattr(infer.checkpoint, "load", lambda folder, cube: (Steps(estimate), facts))
        out = tmp_path / f"field{next(count)}"
        out.mkdir()
        folder = next(
            path for path in sorted(tmp_path.glob("cube*"), key=lambda path: -path.stat().st_mtime_ns)
        )
        run(Config(**settings), cube=folder, checkpoint=out, out=out)
        return opened, Field.open(out), out

    return make


def blocks(mass):
    rows, cols = mass.shape
    return np.nansum(mass.reshape(rows // 10, 10, cols // 10, 10), axis=(1, 3))


@pytest.mark.parametrize("law", ["water_fill", "proportional", "power"])
def test_every_block_meets_its_total(field, law):
    opened, made, _ = field(law=law)
    assert blocks(made.mass(0, 0, 260, 280)[0, 0]) == pytest.approx(opened.totals()[0, 0], rel=1e-12)


def test_the_law_is_chosen_by_merged_totals_where_an_estimate_is_right_but_for_its_scale(field):
    layer = np.random.default_rng(5).gamma(0.3, 2.0, (260, 280)).astype(np.float32)
    exact = layer.astype(np.float64) + 0.01  # first_layer adds as much
    _, made, _ = field(lambda scene: 3 * first_layer(scene), blocks(exact), layer, law="auto")
    # Shared out in proportion the estimate is the answer; taking the same from every cell is not.
    assert made.record.law == "proportional"
    assert made.record.laws["proportional"] < 1e-6 < 0.05 < made.record.laws["water_fill"]
    assert made.mass(0, 0, 260, 280)[0, 0] == pytest.approx(exact, rel=1e-5)


def test_water_filling_stays_where_the_laws_do_equally_well(field):
    layer = np.random.default_rng(5).gamma(0.3, 2.0, (260, 280)).astype(np.float32)
    _, made, _ = field(first_layer, blocks(layer.astype(np.float64) + 0.01), layer, law="auto")
    assert made.record.law == "water_fill" and max(made.record.laws.values()) < 1e-6


def test_water_filling_stays_where_nothing_can_be_compared(field):
    totals = np.zeros((26, 28))
    totals[:, 27] = 5.0  # windows of 12 x 12 end before
    _, made, _ = field(totals=totals, law="auto")
    assert made.record.law == "water_fill" and not made.record.laws


def test_seams_leave_no_trace_where_windows_agree(field):
    opened, made, _ = field(law="proportional")
    raw = opened.covariates(0, 0, 260, 280)[0, 0].astype(np.float64) + 0.01
    expected = raw * np.kron(opened.totals()[0, 0] / blocks(raw), np.ones((10, 10)))
    assert made.mass(0, 0, 260, 280)[0, 0] == pytest.approx(expected, rel=1e-6)


def test_the_result_does_not_depend_on_the_size_of_the_windows(field):
    _, small, _ = field(core=60, halo=10)
    _, large, _ = field(core=240, halo=40)
    assert small.mass(0, 0, 260, 280) == pytest.approx(large.mass(0, 0, 260, 280), rel=1e-6)


def test_a_resumed_field_has_the_same_bytes(field, land):
    from stages.contract.progress import listen

    _, _, whole = field()

    def stop_at_two(step):
        if getattr(step, "label", "") == "estimating" and step.done == 2:
            raise KeyboardInterrupt

    listen(stop_at_two)
    with pytest.raises(KeyboardInterrupt):
        field()
    listen(None)
    broken = whole.parent / "field1"
    cube_folder = max(whole.parent.glob("cube*"), key=lambda path: path.stat().st_mtime_ns)
    run(Config(), cube=cube_folder, checkpoint=broken, out=broken)

    def content(folder):
        return {
            str(file.relative_to(folder)): file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file() and ".progress" not in str(file)
        }

    assert content(whole) == content(broken)


def test_run_02_a_window_that_gives_nan_is_counted_and_its_mass_placed(field):
    def broken(scene):
        return np.full((1, 1, *scene.valid.shape), np.nan)

    opened, made, _ = field(estimate=broken)
    assert made.record.not_finite == 260 * 280
    assert blocks(made.mass(0, 0, 260, 280)[0, 0]) == pytest.approx(opened.totals()[0, 0], rel=1e-12)
    assert (made.fallback_levels() == FallbackLevel.LAND).all()


def test_mas_02_mass_in_a_block_without_a_valid_cell_is_spread_over_the_block_and_told(field):
    layer = np.ones((260, 280), np.float32)
    layer[:10, :10] = np.nan
    covariate = {
        "name": "roads",
        "path": "roads.tif",
        "kind": "continuous",
        "unit": "m",
        "allow_partial": True,
    }
    opened, made, _ = field(layer=layer, ingest={"covariates": [covariate]})
    assert made.fallback_levels()[0, 0, 0, 0] == FallbackLevel.UNIFORM
    assert made.mass(0, 0, 10, 10)[0, 0] == pytest.approx(opened.totals()[0, 0, 0, 0] / 100)
    assert made.record.counts[0].fallback_levels["uniform"] == 1


def test_mas_03_an_estimate_of_nothing_falls_to_the_proxy_and_then_to_the_land(field):
    def nothing(scene):
        return np.zeros((1, 1, *scene.valid.shape))

    opened, by_proxy, _ = field(estimate=nothing, proxy="roads")
    assert (by_proxy.fallback_levels() == FallbackLevel.PROXY).all()
    assert blocks(by_proxy.mass(0, 0, 260, 280)[0, 0]) == pytest.approx(opened.totals()[0, 0], rel=1e-12)
    _, by_land, _ = field(estimate=nothing)
    assert (by_land.fallback_levels() == FallbackLevel.LAND).all()


def test_val_13_zero_and_nodata_stay_different(field):
    layer = np.ones((260, 280), np.float32)
    layer[:5] = np.nan
    totals = np.ones((26, 28))
    totals[0, 1] = 0.0
    covariate = {
        "name": "roads",
        "path": "roads.tif",
        "kind": "continuous",
        "unit": "m",
        "allow_partial": True,
    }
    _, made, _ = field(totals=totals, layer=layer, ingest={"covariates": [covariate]})
    mass = made.mass(0, 0, 10, 20)[0, 0]
    assert np.isnan(mass[:5]).all() and (mass[5:, 10:] == 0).all() and (mass[5:, :10] > 0).all()


def test_val_05_a_sink_keeps_its_total_and_learns_from_no_proxy(field):
    totals = np.ones((26, 28))
    totals[2, 2] = -4.0
    opened, made, _ = field(totals=totals, ingest={"allow_negative": True})
    assert made.mass(20, 20, 10, 10)[0, 0] == pytest.approx(-0.04)
    assert made.fallback_levels()[0, 0, 2, 2] == FallbackLevel.SINK
    assert blocks(made.mass(0, 0, 260, 280)[0, 0]) == pytest.approx(opened.totals()[0, 0], rel=1e-12)


@pytest.mark.parametrize(("start", "length", "size"), [(-3, 8, 5), (2, 9, 5), (-12, 30, 4)])
def test_beyond_the_edge_the_map_is_mirrored(start, length, size):
    padded = np.pad(np.arange(size), 100, mode="symmetric")
    assert _mirror(start, length, size).tolist() == padded[100 + start : 100 + start + length].tolist()


def test_cfg_05_windows_that_cannot_work_are_told():
    assert clashes(Config(core=125), 10) and clashes(Config(halo=80), 10)
    assert all(clashes(Config(), factor) == [] for factor in range(2, 101))


@pytest.fixture
def trained_elsewhere(land, cube, tmp_path):
    """A checkpoint of a method that learns nothing, made on the small map; and that map's cube."""
    from model.methods import method_class
    from stages.artifacts import checkpoint

    opened = cube(land.config())
    method = method_class("uniform")(None)
    folder = tmp_path / "runs" / "far_away" / "checkpoint"
    folder.mkdir(parents=True)
    checkpoint.save("uniform", method, {**checkpoint.cube_facts(opened), "years": 1}, folder)
    return folder


def test_a_checkpoint_from_elsewhere_meets_the_totals_here(trained_elsewhere, land, cube, tmp_path):
    totals = np.random.default_rng(5).gamma(2.0, 900.0, (3, 4))
    here = cube(land.with_total(totals))
    out = tmp_path / "field"
    out.mkdir()
    config = Config.model_validate({"checkpoint": str(trained_elsewhere)})
    run(config, cube=tmp_path / "cube1", out=out)
    made = Field.open(out)
    assert blocks(made.mass(0, 0, 30, 40)[0, 0]) == pytest.approx(here.totals()[0, 0], rel=1e-12)
    assert made.record.training.transferred == "far_away"
    assert infer.spares(config) == ("checkpoint",)
    assert [path.rsplit("/", 1)[1] for path in infer.sources(config)] == [
        "checkpoint.json",
        "weights.safetensors",
    ]


def test_a_checkpoint_of_other_layers_is_refused(trained_elsewhere, land, cube, tmp_path):
    from model.ground.errors import InputError

    cube(land.with_layer(name="lights"))
    config = Config.model_validate({"checkpoint": str(trained_elsewhere)})
    with pytest.raises(InputError, match=r"roads .* only in training; layer lights .* only in") as caught:
        run(config, cube=tmp_path / "cube1", out=tmp_path)
    assert "infer.checkpoint" in caught.value.where and "same layers" in caught.value.fix
