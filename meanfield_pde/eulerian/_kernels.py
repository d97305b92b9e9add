"""Compiled loops of the density solver; plain arrays in, ``out`` last.

Arrays have shape (nx, ny); in one dimension ny = 1. A face belongs to the cell on its lower
side: ``forward`` is the rate from that cell to its upper neighbour, ``backward`` the rate back.
Where an axis is not ``periodic`` the last face of each line has rate 0, elsewhere it leads to the
first cell; indices wrap in both cases. Sums of four terms are two commutative pairs, so that
reflections and the exchange of axes give the same bits. Rates are computed along lines of cells,
the columns of arrays (blocks, n, m); divisions that do not raise let these loops run on vectors.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from meanfield_pde.measures._kernels import decay
from meanfield_pde.measures.check import Array

SERIES = 0.02
"""Peclet number below which Bernoulli's function is summed as a series."""
NEAR = 0.4
"""The same for the lag of the compact flux, which is a second difference of it."""
STEEPEST = 1e3
"""Peclet number at which no diffusion is left."""
TINY = 1e-150
"""Difference of the potential without a direction, where there is no diffusion to compare with."""


@njit(cache=True, error_model="numpy")
def face_diffusion(size: float, beta: float) -> float:
    """``beta B(q)`` with ``q = size / beta``; 0 at beta = 0.

    Near q = 0 the rounding of ``1 - exp(-q)`` is a relative error of the rates both ways; that of
    their ratio, which the stationary states rest on, stays at rounding.
    """
    q = size / beta if beta > 0.0 else STEEPEST
    near = q < SERIES
    falling = decay(q)
    drop = 1.0 if near else 1.0 - falling
    series = beta * (1.0 - 0.5 * q + q * q * (1.0 / 12.0 - q * q / 720.0))
    return series if near else size * (falling / drop)


@njit(cache=True, error_model="numpy")
def scharfetter_gummel_rates(
    phi: Array,
    beta: float,
    scale: float,
    periodic: bool,
    forward: Array,
    backward: Array,
) -> None:
    """Rates of all faces of lines; forward and backward have the shape of phi.

    scale = 1/h^2: transmissibility over cell volume.
    """
    blocks, n, m = phi.shape
    for b in range(blocks):
        for i in range(n):
            wall = i == n - 1 and (not periodic or n == 1)
            here, there = phi[b, i], phi[b, 0 if i == n - 1 else i + 1]
            down, up = forward[b, i], backward[b, i]
            for j in range(m):
                difference = there[j] - here[j]
                diffusion = face_diffusion(abs(difference), beta)
                down[j] = 0.0 if wall else scale * (diffusion + max(-difference, 0.0))
                up[j] = 0.0 if wall else scale * (diffusion + max(difference, 0.0))


@njit(cache=True, error_model="numpy")
def compact_face(
    middle: float, bend: float, beta: float, inverse: float, scale: float, uphill: float
) -> tuple[float, float]:
    """Factor of the rates of a face with difference ``middle``, and the lag of its flux.

    bend = dPhi at the next face minus dPhi at the one before; inverse = 1 / beta, 0 at beta = 0;
    scale = h^2; uphill = the smaller of the rates.
    """
    size = abs(middle)
    q = size * inverse
    near = q < NEAR if inverse > 0.0 else size < TINY
    # beta (q/2 coth(q/2) - 1), what Scharfetter-Gummel diffuses too much
    excess = uphill * scale + 0.5 * size - beta
    divisor = 1.0 if near else size
    square = q * q
    series = 1.0 / 30240.0 - square * (1.0 / 1209600.0 - square * (1.0 / 47900160.0))
    series = 1.0 / 12.0 - square * (1.0 / 720.0 - square * series)
    lag = inverse * series if near else excess / divisor / divisor  # the square may underflow
    share = lag * beta
    factor = 1.0 + 6.0 * bend * inverse * (share * share)
    return min(max(factor, 0.5), 2.0), scale * lag


@njit(cache=True, error_model="numpy")
def compact_rates(
    phi: Array,
    beta: float,
    scale: float,
    periodic: bool,
    mirror: bool,
    spread: Array,
    forward: Array,
    backward: Array,
    lag: Array,
) -> None:
    """Turn Scharfetter-Gummel rates into those of the compact flux, in place, and fill ``lag``.

    Beside a wall the bend is twice the one-sided one; behind a mirror at the lower end of the lines
    there is the image of what is before it. ``spread`` (n) is what a difference at each face adds
    to the bend: 2 h times the growth of the faces' area, 0 where lines are straight.
    """
    blocks, n, m = phi.shape
    inverse = 1.0 / beta if beta > 0.0 else 0.0
    square = 1.0 / scale
    for b in range(blocks):
        for i in range(n):
            if n < 2 or (i == n - 1 and not periodic):
                lag[b, i] = 0.0
                continue
            up, far, low = (i + 1) % n, (i + 2) % n, 0 if mirror and i == 0 else (i - 1) % n
            ahead, behind = sides(i, n, periodic, mirror)
            for j in range(m):
                middle = phi[b, up, j] - phi[b, i, j]
                rise, fall = phi[b, far, j] - phi[b, up, j], phi[b, i, j] - phi[b, low, j]
                bend = ahead * (rise - middle) + behind * (middle - fall) + spread[i] * middle
                factor, lag[b, i, j] = compact_face(
                    middle, bend, beta, inverse, square, min(forward[b, i, j], backward[b, i, j])
                )
                forward[b, i, j] *= factor
                backward[b, i, j] *= factor


@njit(cache=True)
def sides(place: int, n: int, periodic: bool, mirror: bool) -> tuple[float, float]:
    """Weights of the bend's two halves at a face: a wall leaves one, and it counts twice."""
    if periodic:
        return 1.0, 1.0
    first, last = place == 0 and not mirror, place == n - 2
    ahead = 0.0 if last else (2.0 if first else 1.0)
    behind = 0.0 if first else (2.0 if last else 1.0)
    return ahead, behind


@njit(cache=True)
def lags_of_cells(
    lag: Array, most: float, at_mirror_x: float, at_mirror_y: float, out: Array
) -> None:
    """Mean lag of each cell's faces, none counting more than ``most``; walls count as 0.

    ``at_mirror``: the lag at the lower wall of an axis.
    """
    _, nx, ny = lag.shape
    share = 0.25 if nx > 1 and ny > 1 else 0.5
    for i in range(nx):
        left = nx - 1 if i == 0 else i - 1
        for j in range(ny):
            before = max(lag[0, left, j], at_mirror_x) if i == 0 else lag[0, left, j]
            out[i, j] = share * (min(lag[0, i, j], most) + min(before, most))
        for j in range(ny):
            below = ny - 1 if j == 0 else j - 1
            before = max(lag[1, i, below], at_mirror_y) if j == 0 else lag[1, i, below]
            out[i, j] += share * (min(lag[1, i, j], most) + min(before, most))


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
    """``out = rho + dt A source``: every face's flux leaves one cell and enters another.

    Out must not be source.
    """
    nx, ny = rho.shape
    west, east, north = np.empty(ny), np.empty(ny), np.empty(ny)
    for j in range(ny):
        west[j] = forward[0, nx - 1, j] * source[nx - 1, j] - backward[0, nx - 1, j] * source[0, j]
    for i in range(nx):
        right = 0 if i == nx - 1 else i + 1
        for j in range(ny):
            east[j] = forward[0, i, j] * source[i, j] - backward[0, i, j] * source[right, j]
        for j in range(ny - 1):
            north[j] = forward[1, i, j] * source[i, j] - backward[1, i, j] * source[i, j + 1]
        last = forward[1, i, ny - 1] * source[i, ny - 1] - backward[1, i, ny - 1] * source[i, 0]
        north[ny - 1] = last
        out[i, 0] = rho[i, 0] - dt * ((east[0] - west[0]) + (north[0] - last))
        for j in range(1, ny):
            net = (east[j] - west[j]) + (north[j] - north[j - 1])
            out[i, j] = rho[i, j] - dt * net
        west, east = east, west


@njit(cache=True)
def polynomial(
    rho: Array, forward: Array, backward: Array, dt: float, weights: Array, out: Array
) -> None:
    """``out = sum_k weights[k] (I + dt A)^k rho``."""
    here, there = rho.copy(), np.empty_like(rho)
    for i in range(rho.shape[0]):
        for j in range(rho.shape[1]):
            out[i, j] = weights[0] * rho[i, j]
    for k in range(1, len(weights)):
        flux_form(here, here, forward, backward, dt, there)
        here, there = there, here
        if weights[k] > 0.0:
            for i in range(rho.shape[0]):
                for j in range(rho.shape[1]):
                    out[i, j] += weights[k] * here[i, j]


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
    periodic: tuple[bool, bool],
    flux: Array,
    out: Array,
) -> None:
    """``out = rho - dt div F`` with the ratio-limited flux F of source; ``flux`` is scratch.

    Beyond a wall the neighbour's value is that of the cell at the wall: its slope vanishes.
    """
    nx, ny = rho.shape
    for i in range(nx):
        left = (nx - 1 if periodic[0] else 0) if i == 0 else i - 1
        right = 0 if i == nx - 1 else i + 1
        far = right if right == nx - 1 and not periodic[0] else (right + 1) % nx
        for j in range(ny):
            here, there = source[i, j], source[right, j]
            plain = forward[0, i, j] * here - backward[0, i, j] * there
            flux[0, i, j] = limited_face(
                plain, weight[0, i, j], source[left, j], here, there, source[far, j]
            )
        for j in range(ny):
            below = (ny - 1 if periodic[1] else 0) if j == 0 else j - 1
            above = 0 if j == ny - 1 else j + 1
            top = above if above == ny - 1 and not periodic[1] else (above + 1) % ny
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
