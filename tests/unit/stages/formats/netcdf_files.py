"""NetCDF files and Zarr stores as careful people write them, for the tests of their readers."""

import numpy as np
import xarray as xr
from pyproj import CRS

X = 4_780_500 + 1000.0 * np.arange(4)  # centres of the coarse cells of `land`
Y = 2_821_500 - 1000.0 * np.arange(3)
MAPPING = CRS.from_epsg(3035).to_cf()


def field(values, *, dims=("y", "x"), name="co2", attrs=None, mapping=True, **coords):
    """A dataset as careful people write it; `coords` add to or replace the axes."""
    facts = {"units": "t", **({"grid_mapping": "crs"} if mapping else {}), **(attrs or {})}
    axes = {
        "y": ("y", Y, {"units": "m", "standard_name": "projection_y_coordinate"}),
        "x": ("x", X, {"units": "m", "standard_name": "projection_x_coordinate"}),
        **coords,
    }
    data = xr.Dataset({name: (dims, values, facts)}, {key: axis for key, axis in axes.items() if axis})
    return data.assign(crs=((), 0, MAPPING)) if mapping else data


def save(land, data, name="totals.nc", encoding=None) -> str:
    if name.endswith(".zarr"):
        data.to_zarr(land.folder / name, consolidated=False, encoding=encoding or {})
    else:
        data.to_netcdf(land.folder / name, engine="h5netcdf", encoding=encoding or {})
    return name


def totals_of(land, cube, data, name="totals.nc", encoding=None, **changes):
    unit = changes.pop("unit", None)
    total = land.total(path=save(land, data, name, encoding), unit=unit, **changes)
    return cube(land.config(totals=[total], covariates=[])).totals()


def world(values, **changes):
    """The same shape in longitude and latitude, 0.1 degrees."""
    lon = changes.pop("lon", 10.05 + 0.1 * np.arange(4))
    lat = changes.pop("lat", 51.05 - 0.1 * np.arange(3))
    data = xr.Dataset(
        {"co2": (changes.pop("dims", ("lat", "lon")), values, {"units": "t"})},
        {"lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})},
    )
    return data.rename(changes.pop("rename", {}))


MONTHS = {"units": "days since 2020-01-01", "calendar": "standard"}
STARTS = np.cumsum([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30])  # of 2020, a leap year


def monthly(land, values, attrs=None, time=MONTHS):
    return field(values, dims=("time", "y", "x"), attrs=attrs, time=("time", STARTS, time))


def curvilinear(values, lon, lat):
    place = {"units": "degrees_east"}, {"units": "degrees_north"}
    return xr.Dataset(
        {"rain": (("j", "i"), values, {"units": "mm", "coordinates": "lon lat"})},
        {"lon": (("j", "i"), lon, place[0]), "lat": (("j", "i"), lat, place[1])},
    ).rename(j="y", i="x")
