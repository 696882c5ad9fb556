"""Cells with places of their own: layers are read cell by cell, amounts are refused with the way out."""

import numpy as np
import xarray as xr
from pyproj import CRS, Transformer

from tests.unit.stages.formats.netcdf_files import curvilinear, save


def test_a_curvilinear_layer_is_read_cell_by_cell_and_a_curvilinear_total_is_refused(land, cube, refusal):

    to_degrees = Transformer.from_crs(3035, 4326, always_xy=True)
    # Cells of 250 m in EPSG:3035, told by longitudes and latitudes alone; values rise by 1 a cell eastwards.
    east, north = np.meshgrid(4_779_000 + 250.0 * np.arange(26), 2_823_000 - 250.0 * np.arange(22))
    lon, lat = to_degrees.transform(east, north)
    data = curvilinear(np.broadcast_to(np.arange(26.0), east.shape).copy(), lon, lat)
    save(land, data, "rain.nc")
    made = cube(land.config(covariates=[land.covariate(path="rain.nc", unit="mm")]))
    found = made.covariates(0, 0, 30, 40)[0, 0]
    expected = (made.fine.x - 4_779_000) / 250.0
    assert np.abs(found - expected).max() < 1.0 and np.abs(found - expected).mean() < 0.3
    assert "curvilinear" in str(made.record.layers[0].files[0].notes)
    assert "curvilinear" in refusal(land, data, unit="t")


def test_a_rotated_pole_is_turned_back_for_a_layer_and_refused_for_totals(land, cube, refusal):

    pole = {
        "grid_mapping_name": "rotated_latitude_longitude",
        "grid_north_pole_latitude": 39.25,
        "grid_north_pole_longitude": -162.0,
    }
    rotated = CRS.from_cf(pole)
    turn = Transformer.from_crs(3035, rotated, always_xy=True)
    x0, y0 = turn.transform(4_782_000, 2_820_500)
    rlon, rlat = x0 + 0.005 * np.arange(-16, 17), y0 + 0.005 * np.arange(-16, 17)
    values = np.broadcast_to(
        np.arange(33.0)[:, None], (33, 33)
    ).copy()  # rises northwards, 1 every 0.005 degrees
    data = xr.Dataset(
        {
            "t2m": (("rlat", "rlon"), values, {"units": "K", "grid_mapping": "rotated_pole"}),
            "rotated_pole": ((), 0, pole),
        },
        {
            "rlat": ("rlat", rlat, {"units": "degrees", "standard_name": "grid_latitude"}),
            "rlon": ("rlon", rlon, {"units": "degrees", "standard_name": "grid_longitude"}),
        },
    )
    save(land, data, "model.nc")
    made = cube(land.config(covariates=[land.covariate(path="model.nc", variable="t2m", unit="K")]))
    found = made.covariates(0, 0, 30, 40)[0, 0]
    expected = (np.asarray(turn.transform(*np.meshgrid(made.fine.x, made.fine.y))[1]) - rlat[0]) / 0.005
    assert np.abs(found - expected).max() < 1.0
    assert "rotated pole" in refusal(land, data, variable="t2m", unit="t")


def test_counts_on_a_curvilinear_grid_are_refused(land, layer_refusal):
    lon, lat = np.meshgrid(16 + 0.01 * np.arange(30) ** 1.1, 48 + 0.01 * np.arange(30))
    text = layer_refusal(land, curvilinear(np.ones((30, 30)), lon, lat), kind="total", unit="persons")
    assert "counts" in text and "remapcon" in text and "gridarea" in text and "kind: continuous" in text
