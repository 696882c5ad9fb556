"""NetCDF files and Zarr stores give the cube that a GeoTIFF of the same numbers gives."""

import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from model.ground.errors import UsageError
from stages.contract.progress import listen
from stages.formats.netcdf.variable import Variable
from stages.ingest.stage import check
from tests.unit.stages.formats.netcdf_files import X, Y, curvilinear, field, save, totals_of, world


@pytest.mark.parametrize("name", ["totals.nc", "totals.zarr"])
def test_a_field_in_netcdf_or_zarr_is_the_field_in_the_geotiff(land, cube, name):
    assert (totals_of(land, cube, field(land.totals), name)[0, 0] == land.totals).all()


def test_a_classic_file_is_read_too(land, cube):
    field(land.totals).to_netcdf(land.folder / "old.nc", engine="scipy", format="NETCDF3_64BIT")
    made = cube(land.config(totals=[land.total(path="old.nc", unit=None)], covariates=[]))
    assert (made.totals()[0, 0] == land.totals).all()


def test_geo_05_latitude_up_or_down_is_the_same_cube(land, cube):
    down = totals_of(land, cube, world(land.totals), "down.nc")
    up = totals_of(land, cube, world(land.totals[::-1], lat=50.85 + 0.1 * np.arange(3)), "up.nc")
    assert (up == down).all() and (down[0, 0] == land.totals).all()


@pytest.mark.parametrize(
    ("dims", "rename"),
    [
        (("lon", "lat"), {}),
        (("lat", "lon"), {"lat": "latitude", "lon": "longitude"}),
        (("lon", "lat"), {"lat": "y", "lon": "x"}),
        (("lat", "lon"), {"lat": "north_thing", "lon": "east_thing"}),  # told by their units alone
    ],
)
def test_geo_06_order_and_names_of_axes_do_not_matter(land, cube, dims, rename):
    values = land.totals if dims[0] == "lat" else land.totals.T
    made = totals_of(land, cube, world(values, dims=dims, rename=rename))
    assert (made[0, 0] == land.totals).all()


def test_geo_06_time_may_come_last(land, cube):
    data = world(land.totals).expand_dims(time=[2020], axis=2)
    assert (totals_of(land, cube, data)[0, 0] == land.totals).all()


def test_geo_07_a_landmark_lands_in_its_own_cell(land, cube):
    # One cell of the globe is lit: 16 E to 17 E, 48 N to 49 N. Vienna (16.4 E, 48.2 N) lies in it.
    values = np.zeros((180, 360))
    values[90 - 49, 180 + 16] = 1.0
    data = world(values, lat=89.5 - np.arange(180.0), lon=-179.5 + np.arange(360.0))
    save(land, data.rename(co2="light"), "light.nc")
    totals = xr.Dataset(
        {"co2": (("lat", "lon"), np.ones((3, 3)), {"units": "t"})},
        {"lat": [49.5, 48.5, 47.5], "lon": [15.5, 16.5, 17.5]},
    )
    layer = land.covariate(path="light.nc", kind="continuous")
    save(land, totals)
    made = cube(land.config(totals=[land.total(path="totals.nc", unit=None)], covariates=[layer]))
    lit = made.covariates(0, 0, 30, 30)[0, 0]
    assert (lit[10:20, 10:20] == 1).all() and lit.sum() == 100


def test_geo_08_longitudes_from_0_to_360_in_a_netcdf_are_the_same_ground(land, cube):
    values = np.random.default_rng(2).random((180, 360))
    lat = 89.5 - np.arange(180.0)
    save(land, world(values, lat=lat, lon=-179.5 + np.arange(360.0)), "signed.nc")
    save(land, world(np.roll(values, -180, axis=1), lat=lat, lon=0.5 + np.arange(360.0)), "turned.nc")
    jump = np.where(np.arange(360) < 180, 0.5 + np.arange(360.0), -359.5 + np.arange(360.0))
    save(land, world(np.roll(values, -180, axis=1), lat=lat, lon=jump), "jump.nc")
    save(land, world(land.totals, lon=-0.15 + 0.1 * np.arange(4)))  # straddles Greenwich
    total = land.total(path="totals.nc", unit=None)
    made = [
        cube(land.config(totals=[total], covariates=[land.covariate(path=path, kind="share", unit="1")]))
        for path in ("signed.nc", "turned.nc", "jump.nc")
    ]
    signed, turned, jumped = (one.covariates(0, 0, 30, 40) for one in made)
    assert (signed == turned).all() and (signed == jumped).all() and np.ptp(signed) > 0


def test_geo_10_coordinates_in_single_precision_are_made_regular_and_this_is_said(land):
    lon = (10.05 + 0.1 * np.arange(4)).astype(np.float32)
    lat = (51.05 - 0.1 * np.arange(3)).astype(np.float32)
    save(land, world(land.totals, lon=lon, lat=lat))
    band = Variable(str(land.folder / "totals.nc"))
    assert band.grid.left == pytest.approx(10.0, abs=1e-12) and band.grid.dx == pytest.approx(0.1, abs=1e-12)


def test_a_slightly_uneven_axis_is_repaired_and_this_is_said(land):
    bent = X + np.array([0.0, 5.0, -5.0, 0.0])  # 0.005 cells
    save(land, field(land.totals, x=("x", bent, {"units": "m"})))
    band = Variable(str(land.folder / "totals.nc"))
    assert band.grid.dx == pytest.approx(1000.0) and any("made regular" in note for note in band.notes)


def test_bounds_tell_when_coordinates_are_corners(land):
    edges = np.stack([X - 500, X + 500], axis=1)
    data = field(land.totals, x=("x", X - 500, {"units": "m", "bounds": "x_bnds"}))
    save(land, data.assign(x_bnds=(("x", "two"), edges)))
    band = Variable(str(land.folder / "totals.nc"))
    assert band.grid.left == 4_780_000 and any("bounds" in note for note in band.notes)


def test_kilometres_become_metres(land):
    km = {"units": "km"}
    save(land, field(land.totals, x=("x", X / 1000, km), y=("y", Y / 1000, km)))
    assert Variable(str(land.folder / "totals.nc")).grid.bounds == (
        4_780_000,
        2_819_000,
        4_784_000,
        2_822_000,
    )


@pytest.mark.parametrize("dtype", ["int16", "uint8"])
def test_val_06_packed_integers_give_physical_values(land, cube, dtype):
    packed = np.arange(12).reshape(3, 4).astype(dtype)
    data = field(packed, attrs={"scale_factor": 0.1, "add_offset": 5.0})
    assert totals_of(land, cube, data)[0, 0] == pytest.approx(packed * 0.1 + 5.0)


def test_val_02_every_way_to_say_no_value_is_understood(land):
    values = land.totals.copy()
    values[0, 0], values[0, 1], values[0, 2], values[1, 1] = -1.0, -2.0, np.nan, 1e7
    data = field(values, attrs={"_FillValue": -1.0, "missing_value": -2.0, "valid_max": 1e6})
    save(land, data)
    read = Variable(str(land.folder / "totals.nc")).read(0, 0, 3, 4)
    assert np.argwhere(np.isnan(read)).tolist() == [[0, 0], [0, 1], [0, 2], [1, 1]]


def test_sectors_may_lie_along_an_axis_or_be_variables(land, cube):
    both = np.stack([land.totals, land.totals * 2])
    data = field(both, dims=("sector", "y", "x"), sector=("sector", ["homes", "traffic"], {}))
    entry = land.total(path=save(land, data), unit=None, sectors=["homes", "traffic"], along="sector")
    made = cube(land.config(totals=[entry], covariates=[]))
    assert made.sectors == ("homes", "traffic") and (made.totals()[:, 0] == both).all()
    two = field(both[0], name="a")
    two["b"] = two["a"].copy(data=both[1])
    entry = land.total(path=save(land, two, "two.nc"), unit=None, sectors={"homes": "a", "traffic": "b"})
    assert (cube(land.config(totals=[entry], covariates=[])).totals()[:, 0] == both).all()


def test_an_axis_nobody_chose_lists_its_values(land, refusal):
    data = field(np.ones((2, 3, 4)), dims=("sector", "y", "x"), sector=("sector", ["homes", "traffic"], {}))
    text = refusal(land, data)
    assert "homes, traffic" in text and "select: {sector: ...}" in text


def test_a_variable_that_is_not_there_lists_those_that_are(land, refusal):
    data = field(land.totals, name="a")
    data["b"] = data["a"] * 2
    assert "a, b" in refusal(land, data) and "a, b" in refusal(land, data, variable="c")


def test_every_file_of_a_store_enters_the_fingerprint(land):
    from stages.ingest.stage import sources

    save(land, field(land.totals), "totals.zarr")
    config = land.config(totals=[land.total(path="totals.zarr", unit=None)], covariates=[])
    files = {Path(name).relative_to(land.folder).as_posix() for name in sources(config)}
    assert "totals.zarr/zarr.json" in files and any(name.startswith("totals.zarr/co2/c/") for name in files)


def test_what_was_repaired_is_said_once_in_a_run_and_kept_in_the_report(land, cube):
    heard = []
    bent = X + np.array([0.0, 5.0, -5.0, 0.0])
    both = np.stack([land.totals, land.totals])
    data = field(both, dims=("s", "y", "x"), x=("x", bent, {"units": "m"}), s=("s", ["a", "b"], {}))
    entry = land.total(path=save(land, data), unit=None, sectors=["a", "b"], along="s")
    listen(heard.append)
    made = cube(land.config(totals=[entry], covariates=[]))
    listen(None)
    assert sum("made regular" in getattr(news, "text", "") for news in heard) == 1
    assert all("made regular" in total.notes[0] for total in made.record.totals)


@pytest.mark.parametrize("library", ["h5py", "cftime", "scipy.spatial"])
def test_without_the_extra_the_message_names_it(land, monkeypatch, library):
    lon, lat = np.meshgrid(16 + 0.01 * np.arange(30), 48 + 0.01 * np.arange(30))
    time = {"units": "days since 2020-01-01"}
    data = (
        curvilinear(np.ones((30, 30)), lon, lat).expand_dims(time=[0]).assign_coords(time=("time", [0], time))
    )
    config = land.config(covariates=[land.covariate(path=save(land, data, "layer.nc"))])
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UsageError) as caught:
        check(config)
    assert library.split(".")[0] in caught.value.found and ".[netcdf]" in caught.value.fix


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy", "zarr"])
def test_threads_that_read_one_file_change_no_byte(land, tmp_path, monkeypatch, engine):
    """HDF5 alone is not made for threads: its readers have to take turns, and nothing may show that they do."""
    from stages.formats import zarr_groups as arrays
    from stages.formats.raster import statistics as scan
    from stages.ingest import fill
    from stages.ingest import stage as ingest

    rng, fine = np.random.default_rng(5), (land.totals.shape[0] * 40, land.totals.shape[1] * 40)
    y, x = 2_822_000 - 25.0 * (np.arange(fine[0]) + 0.5), 4_780_000 + 25.0 * (np.arange(fine[1]) + 0.5)
    data = field(
        rng.random((6, *fine)),
        dims=("band", "y", "x"),
        y=("y", y, {"units": "m"}),
        x=("x", x, {"units": "m"}),
    )
    name = "layers.zarr" if engine == "zarr" else "layers.nc"
    chunks = {"co2": {"chunksizes": (1, 16, 16), "zlib": True}} if engine == "h5netcdf" else None
    if engine == "scipy":
        data.to_netcdf(land.folder / name, engine="scipy")
    else:
        save(land, data, name, chunks)
    layers = [land.covariate(name=f"l{k}", path=name, select={"band": k}, unit="1") for k in range(6)]
    monkeypatch.setattr(arrays, "CHUNK", 10)
    found = []
    for turn, threads in enumerate((1, 8, 8)):
        monkeypatch.setattr(fill, "workers", lambda threads=threads: threads)
        monkeypatch.setattr(scan, "workers", lambda threads=threads: threads)
        out = tmp_path / f"turn{turn}"
        out.mkdir()
        ingest.run(land.config(covariates=layers), out=out)
        files = [file for file in sorted((out / "cube.zarr").rglob("*")) if file.is_file()]
        found.append({str(file.relative_to(out)): file.read_bytes() for file in files})
    assert found[0] == found[1] == found[2] and len(found[0]) > 6 * 12
