"""Judges a file before a value of it is read: is it there, is it what its name says, does it hold what is asked for."""

from pathlib import Path

import rasterio
from rasterio.errors import RasterioError

from model.ground.errors import HectareError, InputError
from stages.formats.netcdf.untrusted import engine_of, foreign, is_gridded
from stages.formats.raster.geotiff import damaged

MAX_CELLS = 4_000_000_000  # declared cells of one band; more is refused before anything is allocated


def inspect(path: str, band: int) -> list[HectareError]:
    """Everything wrong with the file itself, before any value is read; an empty list means it opens.

    Args: band: of a GeoTIFF, from 1; of no meaning for NetCDF and Zarr.
    Returns: faults of exit code 3.
    """
    file = Path(path)
    if is_gridded(path):
        return _inspect_gridded(file)
    if fault := _not_a_readable_file(file):
        return [fault]
    if fault := _looks_like(file):
        return [fault]
    try:
        with rasterio.open(path, driver="GTiff") as data:
            return _inspect_open(file.name, data, band)
    except RasterioError as error:
        return [damaged(file.name, band, str(error))]


def _inspect_gridded(file: Path) -> list[HectareError]:
    """A NetCDF file or Zarr store: known by its first bytes, reading nothing but itself."""
    if not file.is_dir() and (fault := _not_a_readable_file(file, "a NetCDF file or Zarr store")):
        return [fault]
    engine = engine_of(str(file))
    if engine is None:
        looks = "a folder that is no Zarr store" if file.is_dir() else describe(file.read_bytes()[:512])
        fix = "give the file itself; GRIB, HDF4 and CDF-5 must be turned into NetCDF first"
        return [InputError(file.name, looks, "a NetCDF file (HDF5 or classic) or a Zarr store", fix)]
    from stages.formats.netcdf.open import open_store  # xarray takes half a second

    try:
        if faults := foreign(str(file), engine):
            return faults
        with open_store(str(file)) as data:
            cells = {str(name): data[name].size for name in data.data_vars}
    except HectareError as fault:
        return [fault]
    too_large: list[HectareError] = []
    for name, size in cells.items():
        if size > MAX_CELLS:
            too_large.append(
                InputError(
                    f"{file.name}, variable {name}",
                    f"{size:,} values declared",
                    f"at most {MAX_CELLS:,}",
                    "cut the file to the area and the years of the totals",
                )
            )
    return too_large


def _inspect_open(name: str, data: rasterio.DatasetReader, band: int) -> list[HectareError]:
    if not 1 <= band <= data.count:
        return [InputError(name, f"{data.count} band(s)", f"band {band}", "set `band:` to one that exists")]
    if data.dtypes[band - 1].startswith("complex"):  # GDAL knows complex integers, NumPy does not
        return [
            InputError(
                f"{name}, band {band}", "complex numbers", "real numbers", "export the amplitude alone"
            )
        ]
    if data.width * data.height > MAX_CELLS:
        return [
            InputError(
                name,
                f"{data.width} x {data.height} cells declared",
                f"at most {MAX_CELLS:,} cells a band",
                "cut the file to the area of the totals",
            )
        ]
    return []


def _not_a_readable_file(file: Path, wanted: str = "a GeoTIFF file") -> HectareError | None:
    fix = "correct `path:` (it is relative to the configuration file)"
    if file.is_symlink() and not file.exists():
        return InputError(file.name, f"a link to {file.readlink()}, which is not there", wanted, fix)
    if not file.exists():
        return InputError(str(file), "no such file", wanted, fix)
    if not file.is_file():
        return InputError(str(file), "a folder" if file.is_dir() else "no regular file", wanted, fix)
    try:
        with file.open("rb"):
            return None
    except OSError as error:
        return InputError(
            str(file),
            f"cannot be opened ({error.strerror})",
            "a readable file",
            "give yourself permission to read it",
        )


def _looks_like(file: Path) -> HectareError | None:
    """Judges a file by its first bytes: a name ending in .tif proves nothing."""
    with file.open("rb") as stream:
        head = stream.read(512)
    if head[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return None
    fix = "give the GeoTIFF itself; export or unpack it first"
    if head.startswith((b"\x89HDF", b"CDF")):
        fix = "name it .nc if it is one, and it is read as such"
    return InputError(file.name, describe(head), "a GeoTIFF", fix)


def describe(head: bytes) -> str:
    """What the first bytes of a file say it is."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "an empty file"
    if text.startswith(b"<vrtdataset"):
        return "a GDAL virtual dataset (VRT), which can read other files and the network; it is refused"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a saved web page"
    if head.startswith((b"\x89HDF", b"CDF")):
        return "a NetCDF or HDF5 file"
    if head.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")):
        return "a TIFF"
    if head.startswith(b"\x93NUMPY"):
        return "a NumPy array, which has no place and may hold code; it is refused"
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        return "a picture without a place (PNG or JPEG)"
    if head.startswith(b"GRIB"):
        return "a GRIB file"
    if head.startswith(b"PK"):
        return "a zip archive"
    return "a text file" if b"\0" not in head else "no file format we know"
