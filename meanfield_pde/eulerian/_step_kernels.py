"""Compiled steps on a line; plain arrays in, ``out`` last.

On some hundred cells the calls of a step take longer than its loops. These are the loops of
`_kernels` and `_line_kernels` as they stand, in two calls. ``metric`` (4, n) is what a coordinate
adds to a straight line: the logarithm of the volume of its cells, and at each upper face its share
of a bend (see `_kernels.compact_rates`) and what the rates down and up are multiplied by.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from meanfield_pde.eulerian._kernels import (
    compact_rates,
    lags_of_cells,
    scharfetter_gummel_rates,
)
from meanfield_pde.eulerian._line_kernels import euler_step, second_stage
from meanfield_pde.measures._kernels import fold_line
from meanfield_pde.measures.check import Array


@njit(cache=True, error_model="numpy")
def line_rates(
    phi: Array,
    beta: float,
    scale: float,
    ends: tuple[bool, bool],
    lags: bool,
    metric: Array,
    rates: Array,
) -> None:
    """Fill the rates down and up the faces of a line and their lags, (3, 1, n, 1).

    phi is the potential of the density per coordinate; ``ends``: whether the line is periodic, and
    whether a mirror is at its lower end; ``lags``: whether the flux is the compact one.
    """
    smooth = phi + beta * metric[0]
    lines = smooth.reshape(1, len(phi), 1)
    periodic, mirror = ends
    forward, backward, lag = rates[0], rates[1], rates[2]
    scharfetter_gummel_rates(lines, beta, scale, periodic, forward, backward)
    lag[:] = 0.0
    if lags:
        compact_rates(lines, beta, scale, periodic, mirror, metric[1], forward, backward, lag)
    for i in range(len(phi)):
        forward[0, i, 0] *= metric[2, i]
        backward[0, i, 0] *= metric[3, i]


@njit(cache=True, error_model="numpy")
def first_step(
    rho: Array,
    phi: Array,
    beta: float,
    scale: float,
    ends: tuple[bool, bool],
    lags: bool,
    metric: Array,
    dt: float,
    rates: Array,
    out: Array,
) -> None:
    """First stage of MPRK22 on a line: implicit Euler in the potential phi."""
    n = len(rho)
    line_rates(phi, beta, scale, ends, lags, metric, rates)
    euler_step(rho.reshape(n, 1), rates[0], rates[1], dt, 0, ends[0], out.reshape(n, 1))


@njit(cache=True, error_model="numpy")
def second_step(
    rho: Array,
    stage: Array,
    phi: Array,
    beta: float,
    scale: float,
    ends: tuple[bool, bool],
    lags: bool,
    metric: Array,
    dt: float,
    most: float,
    at_mirror: float,
    rates: Array,
    out: Array,
) -> tuple[float, float]:
    """Second stage of MPRK22 on a line, in the potential phi.

    Returns the sum of what it differs from the first by, and the lag that the mass sees on average,
    no face counting more than ``most``. ``rates`` (4, 1, n, 1) ends with zeros.
    """
    n = len(rho)
    line_rates(phi, beta, scale, ends, lags, metric, rates)
    start, end = rho.reshape(n, 1), out.reshape(n, 1)
    f, b, lag = rates[0], rates[1], rates[2]
    second_stage(start, stage.reshape(n, 1), f, b, lag, dt, 0, ends[0], end)
    apart = fold_line(np.abs(out - stage))
    if not lags:
        return apart, 0.0
    seen = np.empty((n, 1))
    lags_of_cells(rates[2:, 0], most, at_mirror, 0.0, seen)
    return apart, fold_line(seen.reshape(n) * rho) / fold_line(rho)
