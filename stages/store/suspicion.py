"""Judges a file before a value of it is read: is it there, is it a GeoTIFF, does it hold what is asked for."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from model.fault import Fault, InputFault
from stages.store.rasters import damaged

MAX_CELLS = 4_000_000_000  # declared cells of one band; more is refused before anything is allocated


def inspect(path: str, band: int) -> list[Fault]:
    """Everything wrong with the file itself, before any value is read; an empty list means it opens."""
    file = Path(path)
    if fault := _not_a_readable_file(file):
        return [fault]
    if fault := _looks_like(file):
        return [fault]
    try:
        with rasterio.open(path, driver="GTiff") as data:
            return _inspect_open(file.name, data, band)
    except RasterioError as error:
        return [damaged(file.name, band, str(error))]


def _inspect_open(name: str, data: rasterio.DatasetReader, band: int) -> list[Fault]:
    if not 1 <= band <= data.count:
        return [InputFault(name, f"{data.count} band(s)", f"band {band}", "set `band:` to one that exists")]
    if np.dtype(data.dtypes[band - 1]).kind == "c":
        return [
            InputFault(
                f"{name}, band {band}", "complex numbers", "real numbers", "export the amplitude alone"
            )
        ]
    if data.width * data.height > MAX_CELLS:
        return [
            InputFault(
                name,
                f"{data.width} x {data.height} cells declared",
                f"at most {MAX_CELLS:,} cells a band",
                "cut the file to the area of the totals",
            )
        ]
    return []


def _not_a_readable_file(file: Path) -> Fault | None:
    fix = "correct `path:` (it is relative to the configuration file)"
    if file.is_symlink() and not file.exists():
        return InputFault(
            file.name, f"a link to {file.readlink()}, which is not there", "a GeoTIFF file", fix
        )
    if not file.exists():
        return InputFault(str(file), "no such file", "a GeoTIFF file", fix)
    if not file.is_file():
        return InputFault(
            str(file), "a folder" if file.is_dir() else "no regular file", "a GeoTIFF file", fix
        )
    try:
        with file.open("rb"):
            return None
    except OSError as error:
        return InputFault(
            str(file),
            f"cannot be opened ({error.strerror})",
            "a readable file",
            "give yourself permission to read it",
        )


def _looks_like(file: Path) -> Fault | None:
    """Judges a file by its first bytes: a name ending in .tif proves nothing."""
    with file.open("rb") as stream:
        head = stream.read(512)
    if head[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return None
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        looks = "an empty file"
    elif text.startswith(b"<vrtdataset"):
        looks = "a GDAL virtual dataset (VRT), which can read other files and the network; it is refused"
    elif text.startswith((b"<!doctype html", b"<html")):
        looks = "a saved web page"
    elif head.startswith(b"\x89HDF") or head.startswith(b"CDF"):
        looks = "a NetCDF or HDF5 file"
    elif head.startswith(b"\x89PNG") or head.startswith(b"\xff\xd8\xff"):
        looks = "a picture without a place (PNG or JPEG)"
    elif head.startswith(b"PK"):
        looks = "a zip archive"
    elif b"\0" not in head:
        looks = "a text file"
    else:
        looks = "no file format we know"
    return InputFault(file.name, looks, "a GeoTIFF", "give the GeoTIFF itself; export or unpack it first")
