"""Compiled loops of the density solver; plain arrays in, ``out`` last.

Arrays have shape (nx, ny); in one dimension ny = 1. A face belongs to the cell on its lower
side: ``forward`` is the rate from that cell to its upper neighbour, ``backward`` the rate back.
On a box the last face of each line has rate 0, on a torus it leads to the first cell; indices
wrap in both cases. Sums of four terms are two commutative pairs, so that reflections and the
exchange of axes give the same bits.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

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
                    k, l = (0 if i == nx - 1 else i + 1), j
                else:
                    k, l = i, (0 if j == ny - 1 else j + 1)
                wall = forward[axis, i, j] == 0.0 and backward[axis, i, j] == 0.0
                difference = 0.0 if wall else phi[k, l] - phi[i, j]
                q = abs(difference) / beta if beta > 0.0 else np.inf
                if q < 0.05:
                    weight = q * (1.0 / 6.0 - q * q / 360.0)
                elif q > 700.0:
                    weight = 1.0 - 2.0 / q
                else:
                    weight = 1.0 / np.tanh(0.5 * q) - 2.0 / q
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
def limited_line(
    source: Array, forward: Array, backward: Array, weight: Array, periodic: bool, flux: Array
) -> None:
    """Ratio-limited flux through the faces of one line."""
    n = source.size
    for i in range(n):
        right = 0 if i == n - 1 else i + 1
        here, there = source[i], source[right]
        plain = forward[i] * here - backward[i] * there
        w = weight[i]
        high = plain
        if w > 0.0:
            if i > 0 or periodic:
                high = plain + w * limited_slope(source[i - 1], here, there)
        elif w < 0.0 and (right < n - 1 or periodic):
            further = source[0 if right == n - 1 else right + 1]
            high = plain - w * limited_slope(here, there, further)
        if plain > 0.0:
            flux[i] = min(max(high, 0.5 * plain), 2.0 * plain)
        else:
            flux[i] = max(min(high, 0.5 * plain), 2.0 * plain)


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
    """``out = rho - dt div F`` with the ratio-limited flux F of source; ``flux`` is scratch."""
    nx, ny = rho.shape
    for j in range(ny):
        limited_line(
            source[:, j],
            forward[0, :, j],
            backward[0, :, j],
            weight[0, :, j],
            periodic,
            flux[0, :, j],
        )
    for i in range(nx):
        limited_line(source[i], forward[1, i], backward[1, i], weight[1, i], periodic, flux[1, i])
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


@njit(cache=True, parallel=True)
def solve_lines(
    rho: Array,
    forward: Array,
    backward: Array,
    dt: float,
    periodic: bool,
    patankar: bool,
    out: Array,
) -> None:
    """Implicit step along every row: of Euler, or with ``patankar`` of the second-order method."""
    lines, n = rho.shape
    for k in prange(lines):
        solve_line(rho[k], forward[k], backward[k], dt, periodic, out[k])
        if patankar:
            f = np.empty(n)
            b = np.empty(n)
            for i in range(n):
                right = 0 if i == n - 1 else i + 1
                down = rho[k, i] / out[k, i] if out[k, i] > 1e-300 else 1.0
                up = rho[k, right] / out[k, right] if out[k, right] > 1e-300 else 1.0
                f[i] = 0.5 * forward[k, i] * (1.0 + down)
                b[i] = 0.5 * backward[k, i] * (1.0 + up)
            solve_line(rho[k], f, b, dt, periodic, out[k])
