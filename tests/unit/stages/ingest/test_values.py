"""Values and units that could spoil a total are named, and the setting that a message names helps."""

import numpy as np
import pytest
import rasterio
from affine import Affine

COARSE = Affine(1000, 0, 4_780_000, 0, -1000, 2_822_000)


def test_val_01_an_undeclared_sentinel_is_counted(land, told):
    spoiled = land.layer.copy()
    spoiled[0, :6] = -9999
    text = told(land.with_layer(spoiled))
    assert "layer.tif, band 1" in text and "6 cells (0.5%)" in text and "nodata: -9999" in text


def test_val_01_the_setting_it_names_helps(land, cube):
    spoiled = land.layer.copy()
    spoiled[0, :6] = -9999
    made = cube(land.with_layer(spoiled, nodata=-9999, allow_partial=True))
    assert made.record.layers[0].masked_cells == 6 and made.covariates(0, 0, 1, 6).sum() == 0


def test_val_03_totals_without_a_value_stop_unless_declared(land, cube, told):
    holed = land.totals.copy()
    holed[0, 0] = np.nan
    assert "1 of 12" in told(land.with_total(holed)) and "missing: zero" in told(land.with_total(holed))
    zero, unknown = (
        cube(land.with_total(holed, missing="zero")),
        cube(land.with_total(holed, missing="unknown")),
    )
    assert zero.known().all() and zero.totals()[0, 0, 0, 0] == 0
    assert not unknown.known()[0, 0, 0, 0] and unknown.totals().sum() == pytest.approx(np.nansum(holed))


def test_val_03_zeros_tagged_as_nodata_are_not_believed_blindly(land, cube, told):
    zeroed = land.totals.copy()
    zeroed[1, 1] = 0
    assert "nodata: none" in told(land.with_total(zeroed, nodata_tag=0.0))
    land.file("other.tif", zeroed, COARSE, nodata=0.0)
    assert cube(land.config(totals=[land.total(path="other.tif", nodata="none")])).totals()[0, 0, 1, 1] == 0


def test_val_04_infinite_values_are_placed(land, told):
    endless = land.layer.copy()
    endless[2, 5], endless[9, 9] = np.inf, -np.inf
    text = told(land.with_layer(endless))
    assert "2 infinite" in text and "row 2, column 5" in text


def test_val_05_negative_totals_stop_unless_they_are_sinks(land, cube, told):
    negative = land.totals.copy()
    negative[0, :3] = -5.0
    assert "3 negative" in told(land.with_total(negative)) and "allow_negative" in told(
        land.with_total(negative)
    )
    made = cube(land.config(totals=[land.total(path="other.tif")], allow_negative=True))
    assert made.totals()[0, 0, 0, 0] == -5.0


@pytest.mark.parametrize("unit", [None, "tons?"])
def test_val_08_a_missing_or_unknown_unit_lists_what_is_accepted(land, unit, told):
    text = told(land.with_total(unit=unit))
    assert "other.tif" in text and "MWh" in text and "persons" in text and "unit:" in text
    assert unit is None or "tons?" in text


def test_val_12_a_band_of_nothing_but_nodata_is_named(land, told):
    bands = np.stack([land.layer, land.layer, np.full_like(land.layer, -1)])
    text = told(land.with_layer(bands, profile={"nodata": -1.0}, band=3))
    assert "layer.tif, band 3" in text and "every cell is nodata" in text


@pytest.mark.parametrize("nodata", ["none", 255.0])
def test_val_01_declaring_one_nodata_value_does_not_excuse_another(land, nodata, told):
    spoiled = land.layer.copy()
    spoiled[3, :4] = -9999
    assert "4 cells" in told(land.with_layer(spoiled, nodata=nodata))


def test_val_01_a_sentinel_is_looked_for_among_the_numbers_as_stored(land, told):

    packed = np.full((30, 40), 100, np.int16)
    packed[0, :2] = -9999
    config = land.with_layer(packed)
    with rasterio.open(land.folder / "layer.tif", "r+") as data:
        data.scales = (0.1,)
    assert "2 cells" in told(config) and "-9999" in told(config)


def test_val_01_a_tag_declared_to_be_a_real_value_is_none(land, cube):
    real = land.layer.copy()
    real[0, 0] = -9999
    made = cube(land.with_layer(real, profile={"nodata": -9999.0}, nodata="none"))
    assert made.record.layers[0].low == -9999


def test_a_share_below_zero_is_no_share(land, told):
    assert "shares down to -1" in told(land.with_layer(land.layer - land.layer.min() - 1, kind="share"))


def test_sectors_in_units_of_different_kinds_are_not_added_up(land, told):
    given = [land.total(sector="a"), land.total(sector="b", unit="MWh")]
    assert "same kind" in told(land.config(totals=given))


def test_a_unit_that_contradicts_the_file_is_refused_until_it_is_meant(land, cube, told):
    land.with_total()
    with rasterio.open(land.folder / "other.tif", "r+") as data:
        data.units = ("Gg/yr",)
    given = land.total(path="other.tif", unit="t")
    assert "Gg/yr" in told(land.config(totals=[given])) and "ignore_unit_tag" in told(
        land.config(totals=[given])
    )
    meant = cube(land.config(totals=[{**given, "ignore_unit_tag": True}]))
    assert meant.totals()[0, 0] == pytest.approx(land.totals)
    assert (
        cube(land.config(totals=[land.total(path="other.tif", unit="kt")])).totals().sum() > land.totals.sum()
    )


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("Mg", 1e3), ("t", 1e3), ("tonne", 1e3), ("kt", 1.0), ("Gg a-1", 1.0), ("t/yr", 1e3), ("kg", 1e6),
        ("t CO2 ha-1 yr-1", 10.0), ("kg m-2 s-1", 1e6 / 1e6 / 365 / 86400),
    ],
)  # fmt: skip
def test_val_09_spellings_of_a_unit_give_one_cube(land, cube, unit, value):
    # A thousand tonnes on every cell of 1 km2.
    made = cube(land.with_total(np.full((3, 4), value), unit=unit))
    assert made.totals() == pytest.approx(1e3, rel=1e-9)


def test_val_10_a_flux_and_totals_per_cell_agree_on_longitudes_and_latitudes(land, cube):
    from pyproj import Geod

    place = Affine(0.5, 0, 10, 0, -0.5, 60)
    flux = np.random.default_rng(1).random((3, 4)) * 1e-9
    geod, mass = Geod(ellps="WGS84"), np.empty((3, 4))
    for row, col in np.ndindex(3, 4):
        west, north = 10 + 0.5 * col, 60 - 0.5 * row
        # Parallels as many short geodesics: an independent area, good to 1e-9.
        east = np.linspace(west, west + 0.5, 20_001)
        ring = np.concatenate([east, east[::-1]]), np.repeat([north - 0.5, north], 20_001)
        area = abs(geod.polygon_area_perimeter(*ring)[0])
        mass[row, col] = flux[row, col] * area * 365 * 86400 / 1000
    fluxes = cube(
        land.with_total(flux, place, unit="kg m-2 s-1", crs="EPSG:4326").model_copy(update={"covariates": ()})
    )
    totals = cube(
        land.with_total(mass, place, unit="t", crs="EPSG:4326").model_copy(update={"covariates": ()})
    )
    assert fluxes.totals() == pytest.approx(totals.totals(), rel=1e-8)


def test_val_11_a_constant_layer_is_named_and_makes_no_nan(land, cube):
    from model.training.network_inputs import Inputs
    from stages.contract.progress import listen

    heard = []
    config = land.with_layer(np.full((30, 40), 7.0))
    listen(heard.append)
    made = cube(config)
    listen(None)
    assert any("roads is 7 everywhere" in getattr(note, "text", "") for note in heard)
    assert made.covariates(0, 0, 30, 40).min() == 7.0
    inputs = Inputs((0,), (7.0,), (0.7, 0.5), (1.0, 1.0), (1.0,))  # a deviation of 0 is kept as 1
    assert np.isfinite(inputs._channels(_scene(made), np.ones((1, 30, 40), bool))).all()


def _scene(made):
    from model.ground.scene import Scene

    window = (0, 0, *made.fine.shape)
    values = made.covariates(*window), made.valid(*window), made.totals(), made.known()
    return Scene(*values, made.factor, made.layers)


def test_cells_without_a_value_may_be_filled_and_are_counted(land, cube):
    clipped = land.layer.copy()
    clipped[:, 28:] = np.nan
    made = cube(land.with_layer(clipped, fill=-1.0))
    assert made.valid(0, 0, 30, 40).all() and (made.covariates(0, 28, 30, 12) == -1).all()
    assert made.record.layers[0].filled_cells == 360 and made.record.layers[0].masked_cells == 0
