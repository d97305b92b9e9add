"""Compiled loops of the density solver; plain arrays in, ``out`` last.

Arrays have shape (nx, ny); in one dimension ny = 1. A face belongs to the cell on its lower
side: ``forward`` is the rate from that cell to its upper neighbour, ``backward`` the rate back.
On a box the last face of each line has rate 0, on a torus it leads to the first cell; indices
wrap in both cases. Sums of four terms are two commutative pairs, so that reflections and the
exchange of axes give the same bits.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from meanfield_pde.measures.check import Array


@njit(cache=True)
def scharfetter_gummel_pair(difference: float, beta: float, scale: float) -> tuple[float, float]:
    """Rates down and up one face with potential difference ``Phi_L - Phi_K``."""
    size = abs(difference)
    if beta == 0.0:
        diffusion = 0.0
    else:
        q = size / beta
        if q < 1e-8:
            diffusion = beta * (1.0 - 0.5 * q)
        elif q > 700.0:
            diffusion = 0.0
        else:
            decay = np.exp(-q)
            diffusion = beta * (q * decay / (-np.expm1(-q)))
    forward = scale * (diffusion + max(-difference, 0.0))
    backward = scale * (diffusion + max(difference, 0.0))
    return forward, backward


@njit(cache=True)
def scharfetter_gummel_rates(
    phi: Array,
    beta: float,
    scale_x: float,
    scale_y: float,
    periodic: bool,
    forward: Array,
    backward: Array,
) -> None:
    """Rates of all faces; forward and backward have shape (2, nx, ny), one layer an axis.

    scale = 1/h^2 for each axis: transmissibility over cell volume.
    """
    nx, ny = phi.shape
    for i in range(nx):
        wall_x = i == nx - 1 and (not periodic or nx == 1)
        right = 0 if i == nx - 1 else i + 1
        for j in range(ny):
            if wall_x:
                forward[0, i, j] = 0.0
                backward[0, i, j] = 0.0
            else:
                f, b = scharfetter_gummel_pair(phi[right, j] - phi[i, j], beta, scale_x)
                forward[0, i, j] = f
                backward[0, i, j] = b
            if j == ny - 1 and (not periodic or ny == 1):
                forward[1, i, j] = 0.0
                backward[1, i, j] = 0.0
            else:
                above = 0 if j == ny - 1 else j + 1
                f, b = scharfetter_gummel_pair(phi[i, above] - phi[i, j], beta, scale_y)
                forward[1, i, j] = f
                backward[1, i, j] = b


@njit(cache=True)
def largest_outflow(forward: Array, backward: Array) -> float:
    """Largest total rate at which a cell loses mass."""
    _, nx, ny = forward.shape
    largest = 0.0
    for i in range(nx):
        left = nx - 1 if i == 0 else i - 1
        for j in range(ny):
            below = ny - 1 if j == 0 else j - 1
            rate = (forward[0, i, j] + backward[0, left, j]) + (
                forward[1, i, j] + backward[1, i, below]
            )
            largest = max(largest, rate)
    return largest


@njit(cache=True)
def flux_form(
    rho: Array, source: Array, forward: Array, backward: Array, dt: float, out: Array
) -> None:
    """``out = rho + dt A source``: every face's flux leaves one cell and enters another."""
    nx, ny = rho.shape
    for i in range(nx):
        left = nx - 1 if i == 0 else i - 1
        right = 0 if i == nx - 1 else i + 1
        for j in range(ny):
            below = ny - 1 if j == 0 else j - 1
            above = 0 if j == ny - 1 else j + 1
            here = source[i, j]
            east = forward[0, i, j] * here - backward[0, i, j] * source[right, j]
            west = forward[0, left, j] * source[left, j] - backward[0, left, j] * here
            north = forward[1, i, j] * here - backward[1, i, j] * source[i, above]
            south = forward[1, i, below] * source[i, below] - backward[1, i, below] * here
            out[i, j] = rho[i, j] - dt * ((east - west) + (north - south))


@njit(cache=True)
def solve_line(
    rho: Array, forward: Array, backward: Array, dt: float, periodic: bool, out: Array
) -> None:
    """Solve ``(I - dt A) out = rho`` on a line or a ring without a single subtraction.

    Elimination for diagonally dominant M-matrices in the manner of Grassmann, Taksar and Heyman
    (1985): pivots are sums of what the column loses to cells not yet eliminated and of its
    excess (here 1 at the start), so every entry of the result has a small relative error
    however large dt is: it is positive, and its mass is that of rho. ``last_*`` couple the
    ring's last cell to the current one.
    """
    n = rho.size
    up = np.empty(n)
    down = np.empty(n)
    to_last = np.zeros(n)
    from_last = np.zeros(n)
    pivot = np.empty(n)
    for i in range(n - 1):
        up[i] = dt * forward[i]
        down[i] = dt * backward[i]
    if periodic and n > 2:
        to_last[0] = dt * backward[n - 1]
        from_last[0] = dt * forward[n - 1]
    excess = 1.0
    last_excess = 1.0
    load = rho[0]
    last_load = rho[n - 1]
    for i in range(n - 1):
        pivot[i] = excess + (up[i] + to_last[i])
        out[i] = load
        next_is_last = i + 1 == n - 1
        if next_is_last:
            gain = (up[i] + to_last[i]) / pivot[i]
            last_load += gain * load
            last_excess += (down[i] + from_last[i]) * (excess / pivot[i])
        else:
            load_next = rho[i + 1] + up[i] / pivot[i] * load
            last_load += to_last[i] / pivot[i] * load
            last_excess += from_last[i] * (excess / pivot[i])
            to_last[i + 1] += down[i] * (to_last[i] / pivot[i])
            from_last[i + 1] += from_last[i] * (up[i] / pivot[i])
            excess = 1.0 + down[i] * (excess / pivot[i])
            load = load_next
    out[n - 1] = last_load / last_excess if n > 1 else rho[0]
    for i in range(n - 2, -1, -1):
        if i + 1 == n - 1:
            out[i] = (out[i] + (down[i] + from_last[i]) * out[n - 1]) / pivot[i]
        else:
            out[i] = (out[i] + down[i] * out[i + 1] + from_last[i] * out[n - 1]) / pivot[i]
