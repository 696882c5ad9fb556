"""Files are data: what would read another file, call the network or run code is refused before a value is read."""

import json
import pickle
import socketserver
import threading

import h5py
import numpy as np
import pytest
import xarray as xr
import zarr

CANARY = b"the canary sings "


@pytest.fixture
def server():
    """A loopback server that counts who calls."""
    calls = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            calls.append(self.request.recv(1024))

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield listening.server_address[1], calls
        listening.shutdown()


def test_sec_02_a_virtual_dataset_in_disguise_calls_nobody(land, told, server):
    port, calls = server
    (land.folder / "layer.tif").write_text(
        '<VRTDataset rasterXSize="40" rasterYSize="30"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>/vsicurl/http://127.0.0.1:{port}/x.tif</SourceFilename></SimpleSource></VRTRasterBand>"
        "</VRTDataset>"
    )
    assert "virtual dataset" in told(land.config(covariates=[land.covariate(path="layer.tif")]))
    assert calls == []


@pytest.mark.parametrize(
    "path", ["http://127.0.0.1:{}/x.nc", "s3://bucket/x.zarr", "/vsicurl/http://127.0.0.1:{}/x.nc"]
)
def test_sec_04_a_remote_store_is_no_path(land, server, path):
    port, calls = server
    with pytest.raises(ValueError, match="only files on this machine"):
        land.config(totals=[land.total(path=path.format(port))])
    assert calls == []


def axes_of(file):
    """The axes that make a dataset of 3 x 4 cells readable."""
    for name, values in (("lat", [51.0, 50.9, 50.8]), ("lon", [10.0, 10.1, 10.2, 10.3])):
        file[name] = values
        file[name].make_scale(name)


def lean(file, values):
    for index, name in enumerate(("lat", "lon")):
        values.dims[index].attach_scale(file[name])


def external_storage(land):
    secret = land.folder / "secret.bin"
    secret.write_bytes((CANARY * 6)[:96])
    with h5py.File(land.folder / "totals.nc", "w") as file:
        axes_of(file)
        made = file.create_dataset("co2", (3, 4), "f8", external=[(str(secret), 0, 96)])
        lean(file, made)


def external_link(land):
    with h5py.File(land.folder / "other.h5", "w") as file:
        file["secret"] = np.frombuffer((CANARY * 6)[:96], "f8").reshape(3, 4)
    with h5py.File(land.folder / "totals.nc", "w") as file:
        axes_of(file)
        file.create_group("deep")["co2"] = h5py.ExternalLink("other.h5", "/secret")


def virtual_dataset(land):
    with h5py.File(land.folder / "other.h5", "w") as file:
        file["secret"] = np.frombuffer((CANARY * 6)[:96], "f8").reshape(3, 4)
    layout = h5py.VirtualLayout((3, 4), "f8")
    layout[:] = h5py.VirtualSource(str(land.folder / "other.h5"), "secret", (3, 4))
    with h5py.File(land.folder / "totals.nc", "w") as file:
        axes_of(file)
        lean(file, file.create_virtual_dataset("co2", layout))


@pytest.mark.parametrize(
    "make", [external_storage, external_link, virtual_dataset], ids=lambda make: make.__name__
)
def test_sec_03_a_file_that_hands_over_another_is_refused(land, told, make):
    make(land)
    text = told(land.config(totals=[land.total(path="totals.nc")], covariates=[]))
    assert "totals.nc, /" in text and "co2" in text and "reads another file" in text
    assert "canary" not in text


def test_sec_03_groups_that_hold_each_other_do_not_catch_us(land, told):
    with h5py.File(land.folder / "totals.nc", "w") as file:
        inner = file.create_group("a").create_group("b")
        inner["up"] = file["a"]
        inner["out"] = h5py.ExternalLink("other.h5", "/secret")
    assert "external link" in told(land.config(totals=[land.total(path="totals.nc")], covariates=[]))


class Touch:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_sec_07_a_pickled_array_is_never_loaded(land, told):
    marker = land.folder / "marker"
    np.save(land.folder / "layer.npy", np.array([Touch(marker)], dtype=object), allow_pickle=True)
    (land.folder / "layer.npy").rename(land.folder / "layer.tif")
    assert "NumPy array" in told(land.config(covariates=[land.covariate(path="layer.tif")]))
    assert not marker.exists()


def test_sec_07_a_pickle_codec_in_a_zarr_store_is_never_run(land, told):
    marker = land.folder / "marker"
    store = land.folder / "totals.zarr"
    group = zarr.open_group(str(store), mode="w", zarr_format=2)
    group.create_array("co2", shape=(3, 4), dtype="f8", attributes={"_ARRAY_DIMENSIONS": ["y", "x"]})
    facts = json.loads((store / "co2" / ".zarray").read_text())
    facts.update(dtype="|O", filters=[{"id": "pickle", "protocol": 5}], fill_value=None, compressor=None)
    (store / "co2" / ".zarray").write_text(json.dumps(facts))
    (store / "co2" / "0.0").write_bytes(pickle.dumps(Touch(marker)))
    text = told(land.config(totals=[land.total(path="totals.zarr")], covariates=[]))
    assert "totals.zarr" in text and "'pickle'" in text
    assert not marker.exists()


def test_sec_07_a_link_out_of_a_store_is_refused(land, told):
    (land.folder / "secret").write_bytes(CANARY)
    xr.Dataset({"co2": (("y", "x"), land.totals)}).to_zarr(land.folder / "totals.zarr", consolidated=False)
    chunk = land.folder / "totals.zarr" / "co2" / "c" / "0" / "0"
    chunk.unlink()
    chunk.symlink_to(land.folder / "secret")
    text = told(land.config(totals=[land.total(path="totals.zarr")], covariates=[]))
    assert "co2/c/0/0" in text and "reads another file" in text


def test_sec_05_a_giant_declared_variable_is_refused_before_it_is_read(land, told):
    with h5py.File(land.folder / "giant.nc", "w") as file:
        file.create_dataset("co2", (1_000_000, 1_000_000), "f4", chunks=(1000, 1000))
    text = told(land.config(totals=[land.total(path="giant.nc")], covariates=[]))
    assert "1,000,000,000,000 values declared" in text and "at most" in text


@pytest.mark.parametrize("share", [0.5, 0.1, 0.9])
def test_dmg_03_a_netcdf_cut_short_is_told_as_such(land, told, share):
    noise = np.random.default_rng(0).random((300, 400))
    data = xr.Dataset({"co2": (("y", "x"), noise)}, {"y": -np.arange(300.0), "x": np.arange(400.0)})
    data.to_netcdf(land.folder / "totals.nc", engine="h5netcdf", encoding={"co2": {"zlib": True}})
    file = land.folder / "totals.nc"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    text = told(land.config(totals=[land.total(path="totals.nc", crs="EPSG:3035")], covariates=[]))
    assert "totals.nc" in text and "truncated or damaged" in text


def test_dmg_03_a_classic_file_cut_short_is_told_as_such(land, told):
    noise = np.random.default_rng(0).random((300, 400))
    data = xr.Dataset({"co2": (("y", "x"), noise)}, {"y": -np.arange(300.0), "x": np.arange(400.0)})
    data.to_netcdf(land.folder / "totals.nc", engine="scipy", format="NETCDF3_64BIT")
    file = land.folder / "totals.nc"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    text = told(land.config(totals=[land.total(path="totals.nc", crs="EPSG:3035")], covariates=[]))
    assert "totals.nc" in text and "truncated or damaged" in text


@pytest.mark.parametrize(
    ("content", "looks"), [(b"", "an empty file"), (b"hello", "a text file"), (b"GRIB\0\1", "GRIB")]
)
def test_dmg_04_a_name_ending_in_nc_proves_nothing(land, told, content, looks):
    (land.folder / "totals.nc").write_bytes(content)
    assert looks in told(land.config(totals=[land.total(path="totals.nc")], covariates=[]))


def test_dmg_05_a_missing_store_and_a_folder_that_is_none(land, told):
    (land.folder / "empty.zarr").mkdir()
    layers = [land.covariate(name="a", path="absent.zarr"), land.covariate(name="b", path="empty.zarr")]
    text = told(land.config(covariates=layers))
    assert "no such file" in text and "a folder that is no Zarr store" in text
