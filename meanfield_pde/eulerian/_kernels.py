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
        elif q < 0.7:  # one of exp and expm1 gives both 1 - e^-q and e^-q without cancellation
            drop = -np.expm1(-q)
            diffusion = size * ((1.0 - drop) / drop)
        else:
            decay = np.exp(-q)
            diffusion = size * (decay / (1.0 - decay))
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
def limited_weights(
    phi: Array, beta: float, scale: Array, forward: Array, backward: Array, out: Array
) -> None:
    """Factors of the upwind cell's slope in the second-order flux, signed by the upwind side.

    ``out[a] = t |dPhi| (coth(|q|/2) - 2/|q|) / 2``, positive where the lower cell is upwind,
    negative where the upper one is; 0 on faces that are walls.
    """
    _, nx, ny = out.shape
    for axis in range(2):
        for i in range(nx):
            for j in range(ny):
                if axis == 0:
                    k, m = (0 if i == nx - 1 else i + 1), j
                else:
                    k, m = i, (0 if j == ny - 1 else j + 1)
                wall = forward[axis, i, j] == 0.0 and backward[axis, i, j] == 0.0
                difference = 0.0 if wall else phi[k, m] - phi[i, j]
                q = abs(difference) / beta if beta > 0.0 else np.inf
                if q < 0.05:
                    weight = q * (1.0 / 6.0 - q * q / 360.0)
                elif q > 40.0:
                    weight = 1.0 - 2.0 / q
                else:  # coth(q/2) - 2/q, from the rates: their sum over their difference is coth
                    sides = forward[axis, i, j] + backward[axis, i, j]
                    weight = sides / (scale[axis] * abs(difference)) - 2.0 / q
                out[axis, i, j] = -0.5 * scale[axis] * difference * weight


@njit(cache=True)
def limited_slope(left: float, here: float, right: float) -> float:
    """Monotonised central slope ``minmod(2 d-, (d- + d+)/2, 2 d+)``, odd under reflection."""
    below, above = here - left, right - here
    if below * above <= 0.0:
        return 0.0
    size = min(min(2.0 * abs(below), 2.0 * abs(above)), 0.5 * abs(below + above))
    return size if below > 0.0 else -size


@njit(cache=True)
def limited_face(
    plain: float, weight: float, before: float, here: float, there: float, after: float
) -> float:
    """Scharfetter-Gummel flux raised or lowered to the limited one, within a factor 2."""
    if weight > 0.0:
        high = plain + weight * limited_slope(before, here, there)
    else:
        high = plain - weight * limited_slope(here, there, after)
    if plain > 0.0:
        return min(max(high, 0.5 * plain), 2.0 * plain)
    return max(min(high, 0.5 * plain), 2.0 * plain)


@njit(cache=True)
def limited_flux_form(
    rho: Array,
    source: Array,
    forward: Array,
    backward: Array,
    weight: Array,
    dt: float,
    periodic: bool,
    flux: Array,
    out: Array,
) -> None:
    """``out = rho - dt div F`` with the ratio-limited flux F of source; ``flux`` is scratch.

    Beyond a wall the neighbour's value is that of the cell at the wall: its slope vanishes.
    """
    nx, ny = rho.shape
    for i in range(nx):
        left = (nx - 1 if periodic else 0) if i == 0 else i - 1
        right = 0 if i == nx - 1 else i + 1
        far = right if right == nx - 1 and not periodic else (right + 1) % nx
        for j in range(ny):
            here, there = source[i, j], source[right, j]
            plain = forward[0, i, j] * here - backward[0, i, j] * there
            flux[0, i, j] = limited_face(
                plain, weight[0, i, j], source[left, j], here, there, source[far, j]
            )
        for j in range(ny):
            below = (ny - 1 if periodic else 0) if j == 0 else j - 1
            above = 0 if j == ny - 1 else j + 1
            top = above if above == ny - 1 and not periodic else (above + 1) % ny
            here, there = source[i, j], source[i, above]
            plain = forward[1, i, j] * here - backward[1, i, j] * there
            flux[1, i, j] = limited_face(
                plain, weight[1, i, j], source[i, below], here, there, source[i, top]
            )
    for i in range(nx):
        left = nx - 1 if i == 0 else i - 1
        for j in range(ny):
            below = ny - 1 if j == 0 else j - 1
            net_x = flux[0, i, j] - flux[0, left, j]
            net_y = flux[1, i, j] - flux[1, i, below]
            out[i, j] = rho[i, j] - dt * (net_x + net_y)


@njit(cache=True)
def largest_limited_outflow(forward: Array, backward: Array) -> float:
    """Largest rate of loss when each convective part may be doubled by the reconstruction."""
    _, nx, ny = forward.shape
    largest = 0.0
    for i in range(nx):
        left = nx - 1 if i == 0 else i - 1
        for j in range(ny):
            below = ny - 1 if j == 0 else j - 1
            e, w = forward[0, i, j], backward[0, left, j]
            n, s = forward[1, i, j], backward[1, i, below]
            e += max(e - backward[0, i, j], 0.0)
            w += max(w - forward[0, left, j], 0.0)
            n += max(n - backward[1, i, j], 0.0)
            s += max(s - forward[1, i, below], 0.0)
            largest = max(largest, (e + w) + (n + s))
    return largest


@njit(cache=True)
def solve_columns(
    rho: Array, forward: Array, backward: Array, dt: float, periodic: bool, out: Array
) -> None:
    """Solve ``(I - dt A) out = rho`` down every column, without a single subtraction.

    Elimination for diagonally dominant M-matrices in the manner of Grassmann, Taksar and Heyman
    (1985): a pivot is the sum of what its cell loses to cells not yet eliminated and of its
    excess (1 at the start), so every entry of the result has a small relative error however
    large dt is: it is positive, and its mass is that of rho. On a ring the last cell is coupled
    to the one in hand by ``to_last`` and ``from_last``. The inner loops run across columns,
    where the machine has vectors; a line of cells is one column.
    """
    n, m = rho.shape
    inverse = np.empty((n, m))
    from_last = np.zeros((n, m)) if periodic else np.zeros((1, m))
    to_last = np.zeros(m)
    excess = np.ones(m)
    last_excess = np.ones(m)
    last_load = np.empty(m)
    for j in range(m):
        out[0, j] = rho[0, j]
        last_load[j] = rho[n - 1, j]
    if periodic:
        for j in range(m):
            to_last[j] = dt * backward[n - 1, j]
            from_last[0, j] = dt * forward[n - 1, j]
    for i in range(n - 2):
        load, load_next, fresh = out[i], out[i + 1], rho[i + 1]
        rate_up, rate_down, pivot = forward[i], backward[i], inverse[i]
        if periodic:
            here, after = from_last[i], from_last[i + 1]
            for j in range(m):
                up = dt * rate_up[j]
                down = dt * rate_down[j]
                inv = 1.0 / (excess[j] + (up + to_last[j]))
                last_load[j] += to_last[j] * inv * load[j]
                last_excess[j] += here[j] * (excess[j] * inv)
                to_last[j] = down * (to_last[j] * inv)
                after[j] = here[j] * (up * inv)
                load_next[j] = fresh[j] + up * inv * load[j]
                excess[j] = 1.0 + down * (excess[j] * inv)
                pivot[j] = inv
        else:
            for j in range(m):
                up = dt * rate_up[j]
                inv = 1.0 / (excess[j] + up)
                load_next[j] = fresh[j] + up * inv * load[j]
                excess[j] = 1.0 + dt * rate_down[j] * (excess[j] * inv)
                pivot[j] = inv
    last = from_last[n - 2] if periodic else from_last[0]
    for j in range(m):
        up = dt * forward[n - 2, j] + to_last[j]
        down = dt * backward[n - 2, j] + last[j]
        inv = 1.0 / (excess[j] + up)
        last_load[j] += up * inv * out[n - 2, j]
        last_excess[j] += down * (excess[j] * inv)
        out[n - 1, j] = last_load[j] / last_excess[j]
        out[n - 2, j] = (out[n - 2, j] + down * out[n - 1, j]) * inv
    for i in range(n - 3, -1, -1):
        value, above, end = out[i], out[i + 1], out[n - 1]
        rate_down, pivot = backward[i], inverse[i]
        if periodic:
            here = from_last[i]
            for j in range(m):
                gained = dt * rate_down[j] * above[j] + here[j] * end[j]
                value[j] = (value[j] + gained) * pivot[j]
        else:
            for j in range(m):
                value[j] = (value[j] + dt * rate_down[j] * above[j]) * pivot[j]


@njit(cache=True)
def patankar_columns(
    rho: Array,
    stage: Array,
    forward: Array,
    backward: Array,
    later_forward: Array,
    later_backward: Array,
    down: Array,
    up: Array,
) -> None:
    """Rates of the second solve of MPRK22: the mean of both ends, the first end weighted.

    A cell whose density underflowed in the stage gives nothing away, whatever its weight.
    """
    n, m = rho.shape
    for i in range(n):
        k = 0 if i == n - 1 else i + 1
        for j in range(m):
            here = rho[i, j] / stage[i, j] if stage[i, j] > 1e-300 else 1.0
            there = rho[k, j] / stage[k, j] if stage[k, j] > 1e-300 else 1.0
            down[i, j] = 0.5 * (forward[i, j] * here + later_forward[i, j])
            up[i, j] = 0.5 * (backward[i, j] * there + later_backward[i, j])
