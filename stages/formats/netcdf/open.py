"""Opens NetCDF files and Zarr stores by a named engine: nothing decoded, nothing loaded."""

from pathlib import Path
from typing import Any

import xarray as xr

from model.ground.errors import UsageError
from stages.formats.netcdf.untrusted import damaged_store, engine_of


def open_store(path: str) -> xr.Dataset:
    """Opens a file or store by a named engine, nothing decoded, nothing loaded.

    Raises: InputError (exit 3) when it is damaged, UsageError (exit 2) when the extra is not installed.
    """
    engine = engine_of(path)
    try:
        if engine == "zarr":
            return xr.open_dataset(
                path, engine="zarr", decode_cf=False, chunks=None, cache=False, consolidated=False
            )
        # Why sorted: dimensions that a plain HDF5 file does not name then have the names every reader gives them.
        named: dict[str, Any] = {"phony_dims": "sort"} if engine == "h5netcdf" else {}
        return xr.open_dataset(path, engine=engine, decode_cf=False, cache=False, **named)
    except (ImportError, ModuleNotFoundError) as error:
        raise UsageError(
            Path(path).name, f"{engine} is not installed", "the extra `netcdf`", "pip install -e '.[netcdf]'"
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, IndexError, EOFError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise damaged_store(Path(path).name, text) from error
