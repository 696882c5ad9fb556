"""Judges a vector file by its content before a driver sees it: which of four formats it is, and whether it is safe."""

import re
import sqlite3
import zlib
from pathlib import Path
from urllib.parse import quote

from model.ground.errors import InputError

MAX_WHOLE = 2 << 30  # bytes of a file that its driver reads from the start each time (GeoJSON, OSM), unpacked
SIDECARS = (".shx", ".dbf", ".prj", ".cpg")


def files_of(path: str) -> list[str]:
    """The file, and for a Shapefile what lies beside it and is read with it.

    Returns: the path, and those of the parts of a Shapefile (.shx, .dbf, .prj, .cpg) that are there.
    """
    if not path.lower().endswith(".shp"):
        return [path]
    beside = (str(Path(path).with_suffix(suffix)) for suffix in SIDECARS)
    return [path, *(name for name in beside if Path(name).is_file())]


def form_of(file: Path) -> str:
    """The format, by content: what a name ends in proves nothing.

    Raises: InputError (exit 3).
    """
    fix = "give a GeoPackage, Shapefile, GeoJSON or OSM extract; correct `path:` (relative to the configuration)"
    if not file.is_file():
        found = "a folder" if file.is_dir() else "no such file"
        raise InputError(str(file), found, "a vector file", fix)
    try:
        with file.open("rb") as stream:
            head = stream.read(4096)
    except OSError as error:
        raise InputError(str(file), f"cannot be opened ({error.strerror})", "a readable file", fix) from error
    if head[:2] == b"\x1f\x8b":
        head = _unpacked_head(file)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if head[:4] == b"\x00\x00\x27\x0a":
        return _shapefile(file)
    if head[:16] == b"SQLite format 3\0" and head[68:71] in (b"GPK", b"GP1"):
        return _geopackage(file)
    if b"OSMHeader" in head[:64] or re.match(rb"(<\?xml[^>]*\?>\s*)?(<!--.*?-->\s*)*<osm[\s>]", text, re.S):
        return _small_enough(file, "OSM")
    if text[:1] == b"{" and b'"type"' in text:
        return _small_enough(file, "GeoJSON")
    raise InputError(file.name, _looks_like(head, text), "a vector file", fix)


def _looks_like(head: bytes, text: bytes) -> str:
    if not head:
        return "an empty file"
    if b"<ogrvrt" in head.lower():
        return "a virtual dataset (VRT), which can read other files and the network; it is refused"
    if head.startswith(b"PK"):
        return "a zip archive"
    if head.startswith(b"SQLite"):
        return "a database that is no GeoPackage"
    if text[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "a saved web page"
    return "a text file" if b"\0" not in head else "no vector format we know"


def _shapefile(file: Path) -> str:
    if lacking := [suffix for suffix in (".shx", ".dbf") if not file.with_suffix(suffix).is_file()]:
        found = f"a Shapefile without {' and '.join(file.stem + suffix for suffix in lacking)}"
        raise InputError(file.name, found, "the .shp with its .shx, .dbf and .prj", "put them beside it")
    if file.suffix.lower() != ".shp":
        raise InputError(
            file.name, "a Shapefile of another name", "a name in .shp", "rename it and its parts"
        )
    return "ESRI Shapefile"


def _geopackage(file: Path) -> str:
    """Refuses a GeoPackage with virtual tables of its own: they can read other files."""
    address = f"file:{quote(str(file))}?mode=ro&immutable=1"
    try:
        base = sqlite3.connect(address, uri=True)
        try:
            rows = base.execute(
                "SELECT name, sql FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'"
            ).fetchall()
        finally:
            base.close()
    except sqlite3.Error as error:
        raise damaged(file.name, str(error)) from error
    for name, sql in rows:
        if not re.search(r"\bUSING\s+(rtree|fts[345])\b", sql, re.IGNORECASE):
            raise InputError(
                file.name, f"a virtual table, {name!r}, which can read other files; it is refused",
                "a GeoPackage of plain tables", "export the layer again (ogr2ogr -f GPKG)",
            )  # fmt: skip
    return "GPKG"


def _small_enough(file: Path, form: str) -> str:
    size = _unpacked_size(file) if _is_packed(file) else file.stat().st_size
    if size > MAX_WHOLE:
        raise InputError(
            file.name, f"{size:,} bytes or more, unpacked", f"at most {MAX_WHOLE:,} of {form}",
            "cut it to the area of the totals (osmium extract, ogr2ogr -clipsrc), or convert it to GeoPackage",
        )  # fmt: skip
    return form


def _is_packed(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _unpacked_head(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return zlib.decompressobj(31).decompress(stream.read(1 << 16), 4096)
    except zlib.error as error:
        raise damaged(file.name, str(error)) from error


def _unpacked_size(file: Path) -> int:
    """Bytes a gzip file unpacks to; stops counting beyond the limit, so a bomb costs little."""
    size, unpack = 0, zlib.decompressobj(31)
    try:
        with file.open("rb") as stream:
            while (piece := stream.read(1 << 20)) and size <= MAX_WHOLE:
                while piece and size <= MAX_WHOLE:
                    size += len(unpack.decompress(piece, 1 << 24))
                    piece = unpack.unconsumed_tail
                    if unpack.eof and unpack.unused_data:
                        piece, unpack = unpack.unused_data, zlib.decompressobj(31)
    except zlib.error as error:
        raise damaged(file.name, str(error)) from error
    if size <= MAX_WHOLE and not unpack.eof:
        raise damaged(file.name, "the compressed data end too early")
    return size


def damaged(name: str, detail: str) -> InputError:
    return InputError(
        name, f"truncated or damaged ({detail})", "a whole vector file", "fetch or export it again"
    )


def address_of(path: str) -> str:
    """What the library is asked to open; never text a user could turn into a driver's prefix."""
    full = str(Path(path).absolute())
    return f"/vsigzip/{full}" if _is_packed(Path(path)) else full
