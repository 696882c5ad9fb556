"""Zones that totals are told by: how they are declared and opened."""

from pydantic import PositiveInt, model_validator

from model.ground.errors import InputError, raise_together
from model.ground.grid import Grid
from stages.declare.vector_layers import VectorFile, open_declared
from stages.formats.preflight import inspect
from stages.formats.raster.geotiff import Raster
from stages.formats.raster.statistics import scan
from stages.formats.vector.detect import files_of
from stages.regrid.zones import Zones

RASTERS = (".tif", ".tiff")


class ZoneFile(VectorFile):
    """Polygons told apart by an attribute, or a GeoTIFF of whole numbers."""

    key: str | None = None  # vector: the attribute that tells zones apart
    label: str | None = None  # vector: the attribute that names them
    band: PositiveInt = 1  # raster
    nodata: float | str = "auto"  # raster: auto, none, or the number that is no zone

    @model_validator(mode="after")
    def _agree(self) -> "ZoneFile":
        if not self.is_raster and self.key is None:
            raise ValueError("polygons need `key`, the attribute that tells zones apart")
        if isinstance(self.nodata, str) and self.nodata not in ("auto", "none"):
            raise ValueError("`nodata` is auto, none or a number")
        return self

    @property
    def is_raster(self) -> bool:
        return self.path.lower().endswith(RASTERS)


def zone_files(zones: ZoneFile | None) -> list[str]:
    """The files that zones are read from."""
    return [] if zones is None else files_of(zones.path)


def open_zones(declared: ZoneFile, fine: Grid, where: str = "mosaic.zones") -> Zones:
    """Reads the zones onto the fine grid; where: the setting that names them, for faults.

    Raises: HectareError or HectareErrors (exit 3).
    """
    zones = Zones(fine, where)
    if declared.is_raster:
        zones.add_raster(_open_raster(declared))
    else:
        table = open_declared(declared)
        assert declared.key is not None
        zones.add_table(table, declared.where, declared.key, declared.label)
    if not any(shapes.bins for shapes in zones.shapes.values()):
        raise InputError(
            where, "no zone reaches into the map", "zones that overlap the map",
            "check the CRS, the axis order (x, y), `where:` and whether this is the right file",
        )  # fmt: skip
    return zones


def check_zones(declared: ZoneFile | None, fine: Grid | None, where: str) -> None:
    """Opens the zones as a run would; without a grid only their file is looked at.

    Raises: HectareError or HectareErrors (exit 3).
    """
    if declared is None:
        return
    if fine is not None:
        open_zones(declared, fine, where)
    elif declared.is_raster:
        _open_raster(declared).close()
    else:
        open_declared(declared)


def _open_raster(declared: ZoneFile) -> Raster:
    raise_together(inspect(declared.path, declared.band))
    raster = Raster(declared.path, declared.band, declared.nodata, declared.crs)
    where = f"{raster.name}, band {declared.band}"
    if raster.crs is None or not raster.has_transform:
        wanted = "a CRS and an origin in the file"
        raise InputError(where, "no place on the ground", wanted, "set `crs:`, or export it with its place")
    counted = scan(raster, tag_is_real=declared.nodata == "none")
    if not (counted.low >= -(2**31) and counted.high < 2**31) or _has_fractions(raster):
        raise InputError(
            where, "values that are no whole numbers", "ids of zones", "give a raster of zone ids"
        )
    return raster


def _has_fractions(raster: Raster) -> bool:
    return any(bool((values % 1 != 0)[values == values].any()) for _, _, values in raster.strips())
