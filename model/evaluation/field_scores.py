"""How near fields of a depth are to true ones: errors, wet cells, extremes, neighbourhoods, spectra, quantiles."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Fields = NDArray[np.float64]  # (dates, rows, cols), NaN where a cell has no value
WIDTHS = (1, 5, 11)  # cells along the neighbourhoods of the fractions skill score
EXTREME = (
    0.95  # of the true wet values: what lies above makes R95p, and the events of the fractions skill score
)
LEVELS = tuple((np.arange(200) + 0.5) / 200)  # plotting positions (i - 0.5) / n


@dataclass(frozen=True)
class Standard:
    """What a set of true fields says of itself, by which every other is judged.

    Attributes:
      wet: depth from which a cell counts as wet.
      extreme: the 95th percentile of wet values; NaN when nothing is wet.
    """

    wet: float
    extreme: float

    @classmethod
    def of(cls, truth: Fields, wet: float) -> "Standard":
        values = truth[np.isfinite(truth)]
        values = values[values >= wet]
        return cls(wet, float(np.quantile(values, EXTREME)) if values.size else float("nan"))


def scores(found: Fields, truth: Fields, standard: Standard) -> dict[str, float]:
    """Every score of found fields, over cells where both have a value.

    Returns: rmse; bias (mean difference); wet_frequency; r95p, depth from values above the true 95th percentile of wet
      ones, over the true depth from such; p99; fss_<width>; spectrum, the mean absolute difference of log10 power.
    """
    both = np.isfinite(found) & np.isfinite(truth)
    guess, real = found[both], truth[both]
    above = real[real > standard.extreme].sum()
    told = {
        "rmse": float(np.sqrt(((guess - real) ** 2).mean())),
        "bias": float((guess - real).mean()),
        "wet_frequency": float((guess >= standard.wet).mean()),
        "r95p": float(guess[guess > standard.extreme].sum() / above) if above > 0 else float("nan"),
        "p99": float(np.quantile(guess, 0.99)),
    }
    for width in WIDTHS:
        told[f"fss_{width}"] = fractions_skill(found, truth, standard.extreme, width)
    told["spectrum"] = spectrum_distance(spectrum(found, both), spectrum(truth, both))
    return told


def fractions_skill(found: Fields, truth: Fields, threshold: float, width: int) -> float:
    """1 - sum (f - o)^2 / (sum f^2 + sum o^2), shares of a neighbourhood above a threshold (Roberts and Lean 2008).

    Args:
      threshold: exceeded, not reached, by an event.
      width: cells along the neighbourhood, odd; cells without a value do not count in it.
    Returns: 1 is perfect, 0 no overlap; NaN when neither field has an event.
    """
    both = np.isfinite(found) & np.isfinite(truth)
    count = _boxed(both.astype(np.float64), width)
    shares = [
        np.where(both, _boxed((both & (np.nan_to_num(field) > threshold)).astype(np.float64), width), 0.0)
        / np.maximum(count, 1.0)
        for field in (found, truth)
    ]
    worst = float((shares[0] ** 2).sum() + (shares[1] ** 2).sum())
    return 1.0 - float(((shares[0] - shares[1]) ** 2).sum()) / worst if worst > 0 else float("nan")


def _boxed(values: Fields, width: int) -> Fields:
    """Sums over squares of an odd width around each cell; beyond the edge is nothing."""
    reach = width // 2
    padded = np.pad(values, ((0, 0), (reach + 1, reach), (reach + 1, reach))).cumsum(axis=1).cumsum(axis=2)
    return (
        padded[:, width:, width:]
        - padded[:, :-width, width:]
        - padded[:, width:, :-width]
        + padded[:, :-width, :-width]
    )


def spectrum(fields: Fields, where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(rings,) radially averaged power by whole wavenumber of the shorter side, mean over the dates.

    Cells without a value, and those left out, take the mean of the field; a Hann window hides the edges.
    """
    rows, cols = fields.shape[1:]
    count = np.maximum(where.sum(axis=(1, 2), keepdims=True), 1)
    mean = np.where(where, np.nan_to_num(fields), 0.0).sum(axis=(1, 2), keepdims=True) / count
    wave = np.where(where, np.nan_to_num(fields) - mean, 0.0) * np.outer(np.hanning(rows), np.hanning(cols))
    power = (np.abs(np.fft.fft2(wave)) ** 2).mean(axis=0)
    shorter = min(rows, cols)
    down, across = np.fft.fftfreq(rows)[:, None] * shorter, np.fft.fftfreq(cols)[None, :] * shorter
    ring = np.rint(np.hypot(down, across)).astype(np.int64)
    last = shorter // 2
    inside = (ring >= 1) & (ring <= last)
    summed = np.bincount(ring[inside] - 1, power[inside], last)
    return summed / np.maximum(np.bincount(ring[inside] - 1, minlength=last), 1)


def spectrum_distance(found: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Mean over wavenumbers of |log10 power ratio|; wavenumbers the truth has no power in are left out.

    Args: found, truth: (rings,) power, as `spectrum` gives it.
    Returns: 0 when equal; 1 is a factor of ten on average. Where the found power is 0 it counts as 1e-12 of the
      true one.
    """
    there = truth > 0
    ratio = np.maximum(found[there], 1e-12 * truth[there]) / truth[there]
    return float(np.abs(np.log10(ratio)).mean()) if there.any() else float("nan")


def quantile_bands(
    units: NDArray[np.int64], values: NDArray[np.float64], draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(2, levels): the 2.5 % and 97.5 % quantile of each level when whole units are drawn anew.

    Args: units: (n,) the unit of each value, a part of the ground on a date: neighbours do not vary alone.
    """
    order = np.argsort(units, kind="stable")
    values = values[order]
    edges = np.flatnonzero(np.diff(units[order])) + 1
    parts = np.split(values, edges)
    drawn = np.empty((draws, len(LEVELS)))
    for draw in range(draws):
        chosen = rng.integers(len(parts), size=len(parts))
        drawn[draw] = np.quantile(np.concatenate([parts[index] for index in chosen]), LEVELS)
    return np.quantile(drawn, (0.025, 0.975), axis=0)


def mapped(
    values: NDArray[np.float64], given: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Quantile mapping: each value takes the value of the same rank; beyond the highest the last ratio goes on.

    Args: given, wanted: quantiles of training values, before and after.
    """
    knots, kept = np.unique(given, return_index=True)
    targets = wanted[kept]
    out = np.interp(values, knots, targets)
    ratio = targets[-1] / knots[-1] if knots[-1] > 0 else 1.0
    return np.where(values > knots[-1], values * ratio, out)


def intervals(
    found: Mapping[str, Fields], truth: Fields, units: NDArray[np.int64], standard: Standard, draws: int,
    rng: np.random.Generator,
) -> dict[str, dict[str, tuple[float, float]]]:  # fmt: skip
    """95 % intervals of rmse and bias by method; every draw of units is the same for all methods.

    Args: units: (dates, rows, cols).
    Returns: by method `rmse`, `bias`, and `behind`: by how much its rmse exceeds that of the first method, paired.
    """
    both = np.isfinite(truth) & np.all([np.isfinite(field) for field in found.values()], axis=0)
    labels, flat = np.unique(units[both], return_inverse=True)
    cells = np.bincount(flat).astype(np.float64)
    chosen = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=draws)
    weight = chosen @ cells
    told = {}
    first: NDArray[np.float64] | None = None
    for name, field in found.items():
        off = (field - truth)[both]
        squares, sums = np.bincount(flat, off**2), np.bincount(flat, off)
        drawn = {"rmse": np.sqrt(chosen @ squares / weight), "bias": chosen @ sums / weight}
        first = drawn["rmse"] if first is None else first
        drawn["behind"] = drawn["rmse"] - first
        told[name] = {
            key: (float(np.quantile(each, 0.025)), float(np.quantile(each, 0.975)))
            for key, each in drawn.items()
        }
    return told
