"""Refuses NetCDF, HDF5 and Zarr data that read another file or run code, before a value of them is read."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from model.ground.errors import HectareError, InputError
from stages.formats.netcdf.time_axis import missing_extra

if TYPE_CHECKING:
    import h5py

SUFFIXES = (".nc", ".nc4", ".cdf", ".netcdf", ".zarr")
HDF5, CLASSIC = b"\x89HDF\r\n\x1a\n", (b"CDF\x01", b"CDF\x02")
# Codecs that only rearrange or compress numbers; anything else (pickle, user classes) is refused.
CODECS = frozenset(
    (
        *("bytes", "blosc", "zstd", "zlib", "gzip", "lz4", "bz2", "lzma", "shuffle", "delta", "bitround"),
        *("crc32", "crc32c", "adler32", "fletcher32", "fixedscaleoffset", "packbits", "quantize", "astype"),
        *("transpose", "sharding_indexed", "vlen-utf8"),
        *("numcodecs.shuffle", "numcodecs.delta", "numcodecs.zlib"),
    )
)
_FIX = "write the values themselves into one file"


def is_gridded(path: str) -> bool:
    """True for a path named like a NetCDF file or a Zarr store."""
    return path.lower().rstrip("/").endswith(SUFFIXES)


def engine_of(path: str) -> str | None:
    """The named reader of a file, by its first bytes; None when it is none we read.

    A folder is a Zarr store when it holds its metadata. Returns: an engine of xarray: h5netcdf, scipy or zarr.
    """
    if Path(path).is_dir():
        markers = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
        return "zarr" if any((Path(path) / name).is_file() for name in markers) else None
    with open(path, "rb") as stream:
        head = stream.read(8)
    return "h5netcdf" if head == HDF5 else "scipy" if head[:4] in CLASSIC else None


def foreign(path: str, engine: str) -> list[HectareError]:
    """Everything in a file or store that would read another file or run code.

    Args: engine: the named reader, as engine_of() tells it.
    Returns: faults of exit code 3; classic NetCDF can do neither, so it has none.
    """
    name = Path(path).name
    if engine == "h5netcdf":
        return list(_hdf5_faults(path, name))
    return list(_zarr_faults(Path(path), name)) if engine == "zarr" else []


def _hdf5_faults(path: str, name: str) -> Iterator[HectareError]:
    try:
        import h5py
    except ImportError as error:
        raise missing_extra("h5py") from error
    try:
        with h5py.File(path, "r") as file:
            yield from _group_faults(file, name, set())
    except (OSError, RuntimeError, KeyError) as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield damaged_store(name, detail)


def _group_faults(group: "h5py.Group", name: str, seen: set[int]) -> Iterator[HectareError]:
    """Links are listed and not followed; a link to another place of the same file is met there."""
    import h5py

    for key in group:
        link = group.get(key, getlink=True)
        where = f"{name}, {group.name.rstrip('/')}/{key}"
        if isinstance(link, h5py.ExternalLink):
            yield _reads_another(where, "an external link")
        elif isinstance(link, h5py.HardLink):
            item = group[key]
            if isinstance(item, h5py.Group):
                if (address := h5py.h5o.get_info(item.id).addr) not in seen:  # groups may hold each other
                    seen.add(address)
                    yield from _group_faults(item, name, seen)
            elif isinstance(item, h5py.Dataset) and item.external:
                yield _reads_another(where, "external storage")
            elif isinstance(item, h5py.Dataset) and item.is_virtual:
                yield _reads_another(where, "a virtual dataset")


def _reads_another(where: str, what: str) -> HectareError:
    return InputError(where, f"{what}: it reads another file, which is refused", "a file of its own", _FIX)


def _zarr_faults(store: Path, name: str) -> Iterator[HectareError]:
    for path in sorted(store.rglob("*")):
        inside = path.relative_to(store).as_posix()
        if path.is_symlink():
            yield _reads_another(f"{name}, {inside}", f"a link to {path.readlink()}")
        elif path.name in ("zarr.json", ".zarray", ".zmetadata"):
            try:
                facts = json.loads(path.read_text("utf-8"))
            except (OSError, ValueError) as error:
                yield damaged_store(name, f"{inside}: {error}")
                continue
            for codec in sorted(set(_codecs(facts)) - CODECS):
                found = f"the codec {codec!r}, which we do not run"
                yield InputError(f"{name}, {inside}", found, "codecs that compress numbers", _FIX)


def _codecs(facts: object) -> Iterator[str]:
    """Names of all codecs and filters anywhere in Zarr metadata, version 2 or 3."""
    if isinstance(facts, list):
        for entry in facts:
            yield from _codecs(entry)
    if not isinstance(facts, dict):
        return
    for key in ("filters", "compressor", "codecs", "index_codecs"):
        entries = facts.get(key)
        for entry in entries if isinstance(entries, list) else [entries]:
            if isinstance(entry, dict):
                yield str(entry.get("id") or entry.get("name") or "").lower()
    if facts.get("dtype") == "|O" and not facts.get("filters"):
        yield "object without a codec"
    for key, value in facts.items():
        if key not in ("attributes", "filters", "compressor"):
            yield from _codecs(value)


def damaged_store(name: str, detail: str) -> HectareError:
    """A file that opens but cannot be read to its end, or does not open."""
    return InputError(
        name,
        f"truncated or damaged ({detail})",
        "a whole NetCDF file or Zarr store",
        "fetch or export it again",
    )
