"""The shipped runs on observed rain, shortened: files in, maps and NetCDF out, read by xarray alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.cli.commands import main

ROOT = Path(__file__).resolve().parents[2]
SHORT = (
    "train.epochs=1",
    "train.steps_per_epoch=1",
    "train.method.width=4",
    "train.method.residual_blocks=1",
)


@pytest.mark.parametrize(
    ("name", "dates", "factor"), [("precipitation_monthly", 12, 3), ("precipitation_hourly", 23, 5)]
)
def test_observed_rain_keeps_the_means_of_its_coarse_file(name, dates, factor, tmp_path):
    words = [word for setting in SHORT for word in ("--set", setting)]
    main(["run", "-c", str(ROOT / "configs" / f"{name}.yaml"), "--workspace", str(tmp_path), *words])
    maps = tmp_path / "runs" / name / "maps"
    with xr.open_dataset(maps / "precipitation_rain.nc", engine="h5netcdf") as data:
        found, given = data["sr"].values.astype(np.float64), data["lr"].values
        weight = data["cell_area"].values
        hours = [str(moment) for moment in data["time"].values]
        units = data["sr"].attrs["units"]
    assert units == "mm" and len(hours) == dates and sorted(hours) == hours
    split = (dates, given.shape[1], factor, given.shape[2], factor)
    counted = np.where(np.isfinite(found), weight, 0.0).reshape(split)
    whole = counted.sum(axis=(2, 4))
    summed = (np.nan_to_num(found).reshape(split) * counted).sum(axis=(2, 4))
    known = np.isfinite(given)
    assert known.any() and (whole[known] > 0).all()
    off = np.abs(summed[known] / whole[known] - given[known])
    assert (off <= 1e-6 * np.maximum(given[known], 1e-3)).all()
    assert np.nanmin(found) >= 0.0
    assert json.loads((maps / "certificate.json").read_text("utf-8"))["passed"]
