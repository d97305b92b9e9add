"""Rates in N: slopes of distances against the number of particles, beside independent samples.

A slope alone says little: W2 between a law and N samples falls as N^-1/2, N^-1/4 or slower, by its
dimension and tails. What chaos propagates is that particles are as good as independent samples up
to a factor. So each distance is judged by its ratio to that of samples, which must not grow as N
does: the slope of the ratio is at most `GROWTH`, by its 95 % interval.

Intervals are bootstrap percentiles (`scipy.stats.bootstrap`), of seeds drawn anew at each N apart
from the others: no two runs share random numbers, so that every N adds to what is known of the
scatter. Means of drawn seeds scatter less than means of new ones, by sqrt(1 - 1/seeds), which is
put back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import bootstrap, t

from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.studies.axes import PARTICLES
from meanfield_pde.studies.compare import FEW, MAX_SPREAD
from meanfield_pde.studies.report import Report

if TYPE_CHECKING:
    from xarray import DataArray, Dataset

GROWTH = 0.1
"""Power of N by which the ratio to independent samples may grow."""
SIZES = 3
"""Numbers of particles that a slope takes."""
SURE = 3.0
"""Standard errors beyond which a ratio surely grows."""
RESAMPLES = 2000
COLUMNS = ("distance", "slope", "its 95 %", "floor", "floor's 95 %", "ratio", "ratio's 95 %")
MOMENTS = ("energy", "mean_x", "mean_y", "mean_square", "cos_x", "sin_x", "cos_y", "sin_y")
"""What a sweep measures besides distances, where it has it."""


def log_slope(sizes: Array, values: Array, weights: Array | None = None) -> Array:
    """Slope of log values (..., n) in log sizes (n,), by least squares.

    Examples
    --------
    >>> float(log_slope(np.array([10, 100, 1000]), np.array([1.0, 0.1, 0.01])).round(12))
    -1.0
    """
    x = np.log(sizes)
    given = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    x = x - np.average(x, weights=given)
    return np.asarray(np.log(values) @ (given * x) / (given @ x**2))


def rates(data: Dataset, time: float | None = None, seed: int = 0) -> Report:
    """Fit how the distances of a sweep fall with the number of particles.

    Parameters
    ----------
    data : xarray.Dataset
        Of `sweep`, with ``particles`` among its axes, three or more, and four seeds or more.
    time : float, optional
        One of the saved times; the last where it is left out.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    Report
        A row a distance, and a setting of the other axes: the slope in log N of the mean over the
        seeds, the same for independent samples, and the mean ratio of the two (geometric, over N),
        each with a 95 % interval. It holds where the ratio does not grow, fails where it surely
        does or is above ten, and is left open where seeds are too few to tell. Exact transport is
        fitted only up to the size to which it cuts clouds (``most_particles``).

    Raises
    ------
    ValueError
        If sizes or seeds are too few, the time was not saved, or runs share random numbers.

    Examples
    --------
    >>> import meanfield_pde as mf
    >>> case = mf.load_case("kuramoto").with_settings(["grid.cells=32", "t1=0.1", "save=2"])
    >>> report = rates(mf.sweep(case, {"particles": "8:64:log2"}, seeds=8))
    >>> [row["distance"] for row in report.rows]
    ['w1', 'w2', 'mmd']
    """
    seed = check.count("seed", seed, "any whole number from 0 will do", least=0)
    _require(data)
    index = _index(data, time)
    at = data.isel(time=index)
    others = [str(key) for key in at.dims if key not in (PARTICLES, "seed")]
    rows: list[dict[str, Any]] = []
    verdicts: list[bool | None] = []
    skipped: list[str] = []
    for name in str(data.attrs["distances"]).split():
        most = at[name].attrs.get("most_particles", np.inf)
        chosen = at.isel({PARTICLES: np.flatnonzero(at[PARTICLES].values <= most)})
        if chosen.sizes[PARTICLES] < SIZES:
            skipped.append(f"{name} uses {most} particles at most, and is not fitted.")
            continue
        for place in np.ndindex(*(at.sizes[key] for key in others)):
            one = chosen.isel(dict(zip(others, place, strict=True)))
            named = {key: one[key].item() for key in others}
            pair = (_by_size(one[name]), _by_size(one[f"{name}_floor"]))
            if min(values.min() for values in pair) <= 0:
                skipped.append(f"{name} has a distance of 0, and is not fitted.")
                continue
            row = _row(one[PARTICLES].values.astype(np.float64), *pair, seed)
            row["resolved"] = float(one[f"{name}_grid"])
            rows.append({**named, "distance": name, **row})
            verdicts.append(_verdict(row))
    notes = (
        f"Slopes in log N of means over {data.sizes['seed']} seeds; floor: of independent samples "
        "of the density; ratio: runs over samples. 95 %: bootstrap over the seeds.",
        f"Holds where the ratio grows no faster than N^{GROWTH:g}, by the 95 % interval; fails "
        f"where it does, or is above {MAX_SPREAD:g}, by {SURE:g} standard errors; else it is "
        "open, and more seeds would tell.",
        *dict.fromkeys(skipped),
    )
    when = float(data["time"].values[index])
    title = f"Rates in N: {data.attrs.get('case_name', 'sweep')} at t = {when:g}"
    return Report(title, (*others, *COLUMNS), tuple(rows), tuple(verdicts), notes, {"time": when})


def can_fit(data: Dataset) -> bool:
    """Whether a sweep has sizes and seeds enough for `rates`."""
    return data.sizes.get(PARTICLES, 0) >= SIZES and data.sizes.get("seed", 0) >= FEW


def final_values(data: Dataset) -> Report:
    """Moments and energy of a sweep at its last time, beside those of the density.

    Parameters
    ----------
    data : xarray.Dataset
        Of `sweep`.

    Returns
    -------
    Report
        A row a point of the sweep, without verdicts.
    """
    at = data.isel(time=-1)
    keys = [str(key) for key in at["energy"].dims if key != "seed"]
    names = [name for name in MOMENTS if name in at]
    rows = []
    for place in np.ndindex(*(at.sizes[key] for key in keys)):
        one = at.isel(dict(zip(keys, place, strict=True)))
        row: dict[str, Any] = {key: one[key].item() for key in keys}
        for name in names:
            values = one[name].values
            row[name] = float(values.mean())
            row[f"{name} +-"] = float(half_width(values))
            row[f"{name} density"] = float(one[f"{name}_density"])
        rows.append(row)
    notes = (
        f"Means over {data.sizes['seed']} seeds; +-: 95 %, by Student's t; density: its own value.",
    )
    when = float(data["time"].values[-1])
    title = f"Sweep: {data.attrs.get('case_name', '')} at t = {when:g}"
    return Report(title, tuple(rows[0]), tuple(rows), (None,) * len(rows), notes, {"time": when})


def half_width(values: Array) -> Array:
    """Half the 95 % interval of a mean over the last axis, by Student's t; 0 for a single value."""
    count = values.shape[-1]
    if count == 1:
        return np.zeros(values.shape[:-1])
    return np.asarray(t.ppf(0.975, count - 1) * values.std(axis=-1, ddof=1) / np.sqrt(count))


def _require(data: Dataset) -> None:
    sizes = getattr(data, "sizes", {})
    for key, least in ((PARTICLES, SIZES), ("seed", FEW), ("time", 1)):
        if sizes.get(key, 0) < least:
            raise ValueError(
                f"data must have at least {least} of {key}, got {sizes.get(key, 0)}; sweep with "
                "over={'particles': '32:4096:log2'} and seeds=16"
            )
    for name in ("run_seed", "floor_seed"):
        used = data[name].values if name in data else np.arange(1)
        if len(np.unique(used)) < used.size:
            raise ValueError(
                f"data must have runs of their own random numbers, got {name} repeated; intervals "
                "would be wrong, so sweep anew"
            )


def _index(data: Dataset, time: float | None) -> int:
    times = data["time"].values
    if time is None:
        return len(times) - 1
    index = int(np.abs(times - check.number("time", time, "give one that was saved")).argmin())
    if abs(times[index] - time) > 1e-12 * max(1.0, abs(time)):
        raise ValueError(f"time must be one of {times.tolist()}, got {time:g}; pick one")
    return index


def _by_size(values: DataArray) -> Array:
    """Values of shape (sizes, seeds)."""
    return np.asarray(values.transpose(PARTICLES, "seed").values, dtype=np.float64)


def _row(sizes: Array, run: Array, floor: Array, seed: int) -> dict[str, Any]:
    """Slopes and ratio with their intervals, and the numbers that a figure shows."""
    count = len(sizes)

    def statistics(*samples: Array, axis: int = -1) -> Array:
        means = np.stack([values.mean(axis=axis) for values in samples], axis=-1)
        runs, floors = means[..., :count], means[..., count:]
        slopes = [log_slope(sizes, found) for found in (runs, floors)]
        ratio = np.exp(np.log(runs / floors).mean(axis=-1))
        return np.stack([*slopes, ratio, slopes[0] - slopes[1]])

    both = (*run, *floor)
    found = statistics(*both)
    seeds = run.shape[1]
    wider = np.sqrt(seeds / (seeds - 1))
    drawn: Any = bootstrap(
        both,
        statistics,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = (
        found + wider * (np.asarray(end) - found)
        for end in (drawn.confidence_interval.low, drawn.confidence_interval.high)
    )
    row: dict[str, Any] = {}
    for k, (name, text) in enumerate(
        (
            ("slope", "its 95 %"),
            ("floor", "floor's 95 %"),
            ("ratio", "ratio's 95 %"),
            ("growth", ""),
        )
    ):
        row[name] = float(found[k])
        row[f"{name}_interval"] = [float(low[k]), float(high[k])]
        row[f"{name}_error"] = float(wider * drawn.standard_error[k])
        if text:
            row[text] = f"{low[k]:.3f} to {high[k]:.3f}"
    row["particles"] = [int(n) for n in sizes]
    for name, values in (("runs", run), ("floors", floor)):
        row[name] = values.mean(axis=1).tolist()
        row[f"{name}_errors"] = (values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])).tolist()
    return row


def _verdict(row: dict[str, Any]) -> bool | None:
    for name, most in (("growth", GROWTH), ("ratio", MAX_SPREAD)):
        if row[name] - SURE * row[f"{name}_error"] > most:
            return False
    return True if row["growth_interval"][1] <= GROWTH else None
