"""Curves of fields of a mean: quantiles with their bands, spectra, and series at sites."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from model.evaluation.field_scores import LEVELS, quantile_bands, spectrum
from stages.artifacts.cube import Cube
from stages.evaluate.config import Config
from stages.evaluate.intensive_fields import SectorFields

BAND_DRAWS = 200  # of quantile bands: each sorts all values anew
SITES = 4
INSIDE = (0.025, 0.975)  # 95 % bands
Series = NDArray[np.float64]


@dataclass(frozen=True)
class Site:
    """One cell over the dates.

    Attributes:
      place: x, y of its centre; degrees where cells have their own.
      bands: by method, (2, dates) 95 % band of the sorted series when dates are drawn anew.
      series: by method and the truth, (dates,) in the cube's unit.
    """

    place: tuple[float, float]
    row: int
    col: int
    bands: dict[str, Series]
    series: dict[str, Series]

    def to_json(self) -> dict[str, JsonValue]:
        """As JSON values."""
        return {
            "place": [*self.place],
            "row": self.row,
            "col": self.col,
            "bands": _lists(self.bands),
            "series": _lists(self.series),
        }


@dataclass(frozen=True)
class Curves:
    """Curves of one sector, by method and the truth.

    Attributes:
      quantiles: (levels,) of all cells with a value everywhere, at model.evaluation.field_scores.LEVELS.
      bands: (2, levels) 95 % band of them, of a bootstrap over spatial blocks and dates.
      spectra: (rings,) radially averaged power by wavenumber.
    """

    quantiles: dict[str, Series]
    bands: dict[str, Series]
    spectra: dict[str, Series]
    sites: tuple[Site, ...]

    def to_json(self) -> dict[str, JsonValue]:
        """As JSON values, with the levels of the quantiles."""
        return {
            "levels": [*LEVELS],
            "quantiles": _lists(self.quantiles),
            "bands": _lists(self.bands),
            "spectra": _lists(self.spectra),
            "sites": [site.to_json() for site in self.sites],
        }


def _lists(arrays: Mapping[str, Series]) -> dict[str, JsonValue]:
    told = {}
    for name, values in arrays.items():
        told[name] = values.tolist()
    return told


def curves_of(fields: SectorFields, cube: Cube, config: Config) -> Curves:
    """Every curve of the page of one sector.

    Cells count where the truth and every method have a value, so that all curves are of the same cells.

    Args:
      config: how many draws a band takes, their seed, and where sites are.
    """
    rng = np.random.default_rng(config.seed)
    there = np.isfinite(fields.truth)
    for field in fields.found.values():
        there &= np.isfinite(field)
    draws = min(config.bootstrap_draws, BAND_DRAWS)
    quantiles, bands, spectra = {}, {}, {}
    for name, field in fields.every.items():
        quantiles[name] = np.quantile(field[there], LEVELS)
        bands[name] = quantile_bands(fields.units[there], field[there], draws, rng)
        spectra[name] = spectrum(field, there)
    sites = _sites(fields, cube, config, np.asarray(there.all(axis=0)))
    return Curves(quantiles, bands, spectra, tuple(sites))


def _sites(fields: SectorFields, cube: Cube, config: Config, there: NDArray[np.bool_]) -> list[Site]:
    """The cell nearest to each site that is asked for, where the truth has a value on every date."""
    cells = [_nearest(cube, x, y) for x, y in config.sites] if config.sites else _typical(fields, there)
    sites = []
    for row, col in cells:
        series = {name: field[:, row, col] for name, field in fields.every.items()}
        if np.isfinite(series["truth"]).all():
            bands = _site_bands(series, config.seed)
            sites.append(Site(_centre(cube, row, col), row, col, bands, series))
    return sites


def _typical(fields: SectorFields, there: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Four cells from the middle to the top of the order by their mean over the dates."""
    if not there.any():
        return []
    able = np.argwhere(there)
    wetter = np.argsort(fields.truth.mean(axis=0)[there], kind="stable")
    ranks = (np.linspace(0.5, 1.0, SITES) * (len(able) - 1)).round().astype(int)
    return [(int(row), int(col)) for row, col in able[wetter[ranks]]]


def _nearest(cube: Cube, x: float, y: float) -> tuple[int, int]:
    """Row and column of the cell nearest to a place, given in degrees where cells have their own."""
    degrees = cube.degrees()
    if degrees is not None:
        return divmod(int(np.argmin(np.hypot(degrees[0] - x, degrees[1] - y))), cube.fine.cols)
    return int(np.abs(cube.fine.y - y).argmin()), int(np.abs(cube.fine.x - x).argmin())


def _centre(cube: Cube, row: int, col: int) -> tuple[float, float]:
    degrees = cube.degrees()
    if degrees is not None:
        return float(degrees[0][row, col]), float(degrees[1][row, col])
    return float(cube.fine.x[col]), float(cube.fine.y[row])


def _site_bands(series: Mapping[str, Series], seed: int) -> dict[str, Series]:
    """(2, dates) 95 % bands of each sorted series when dates are drawn anew."""
    dates = len(series["truth"])
    drawn = np.random.default_rng(seed).integers(dates, size=(BAND_DRAWS, dates))
    bands = {}
    for name, values in series.items():
        bands[name] = np.quantile(np.sort(values[drawn], axis=1), INSIDE, axis=0)
    return bands
