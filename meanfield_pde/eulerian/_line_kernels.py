"""Compiled solves along the lines of a grid; plain arrays in, ``out`` last.

Lines are laid out in blocks of ``WIDTH``, or of one where there are fewer: arrays (blocks, n,
width), in which a line is a column. Inner loops run on the vectors of the machine: for that their
length is unknown to the compiler, which would unroll them, and divisions do not raise. The last
block is filled up with empty lines.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from meanfield_pde.measures.check import Array

WIDTH = 32
TILE = 8
"""Numbers in a line of the cache."""


def blocks(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """Shape of the blocks that hold the lines along an axis of a plane."""
    width = min(WIDTH, shape[1 - axis])
    return -(-shape[1 - axis] // width), shape[axis], width


@njit(cache=True, error_model="numpy")
def pack_block(plane: Array, axis: int, block: int, out: Array) -> None:
    """Copy a block of the lines along an axis of a plane (nx, ny)."""
    n, lines = plane.shape[axis], plane.shape[1 - axis]
    first = block * out.shape[1]
    width = min(out.shape[1], lines - first)
    if width < out.shape[1]:
        out[:] = 0.0
    if axis == 0:
        for i in range(n):
            for j in range(width):
                out[i, j] = plane[i, first + j]
    else:
        for i0 in range(0, n, TILE):
            for j in range(width):
                for i in range(i0, min(i0 + TILE, n)):
                    out[i, j] = plane[first + j, i]


@njit(cache=True, error_model="numpy")
def symmetric_mean(plane: Array, out: Array) -> None:
    """``out = (plane + plane^T) / 2`` of a square, by tiles that both fit the cache."""
    n = len(plane)
    for i0 in range(0, n, WIDTH):
        for j0 in range(0, i0 + 1, WIDTH):
            for i in range(i0, min(i0 + WIDTH, n)):
                for j in range(j0, min(j0 + WIDTH, n)):
                    out[i, j] = 0.5 * (plane[i, j] + plane[j, i])
                    out[j, i] = out[i, j]


@njit(cache=True, error_model="numpy")
def is_symmetric(plane: Array) -> bool:
    """Whether a square equals its transpose to the last bit."""
    n, same = len(plane), True
    for i0 in range(0, n, WIDTH):
        for j0 in range(0, i0 + 1, WIDTH):
            for i in range(i0, min(i0 + WIDTH, n)):
                for j in range(j0, min(j0 + WIDTH, n)):
                    same &= plane[i, j] == plane[j, i]
        if not same:
            return False
    return same


@njit(cache=True, error_model="numpy")
def unpack_block(values: Array, axis: int, block: int, out: Array) -> None:
    """Copy a block back into a plane."""
    n, lines = out.shape[axis], out.shape[1 - axis]
    first = block * values.shape[1]
    width = min(values.shape[1], lines - first)
    if axis == 0:
        for i in range(n):
            for j in range(width):
                out[i, first + j] = values[i, j]
    else:
        for i0 in range(0, n, TILE):
            for j in range(width):
                for i in range(i0, min(i0 + TILE, n)):
                    out[first + j, i] = values[i, j]


@njit(cache=True, error_model="numpy")
def pack(plane: Array, axis: int, out: Array) -> None:
    """Lay out all lines along an axis of a plane."""
    n, lines = plane.shape[axis], plane.shape[1 - axis]
    if axis == 1:
        for b in range(len(out)):
            pack_block(plane, axis, b, out[b])
        return
    width = out.shape[2]
    if lines < width * len(out):
        out[len(out) - 1] = 0.0
    for i0 in range(0, n, TILE):  # a few rows at once, as the memory lies
        for b in range(len(out)):
            first = b * width
            for i in range(i0, min(i0 + TILE, n)):
                for j in range(min(width, lines - first)):
                    out[b, i, j] = plane[i, first + j]


@njit(cache=True, error_model="numpy")
def unpack(values: Array, axis: int, out: Array) -> None:
    """Copy all blocks back into a plane."""
    for b in range(len(values)):
        unpack_block(values[b], axis, b, out)


@njit(cache=True, error_model="numpy")
def euler_step(
    rho: Array,
    forward: Array,
    backward: Array,
    dt: float,
    axis: int,
    periodic: bool,
    out: Array,
) -> None:
    """Implicit Euler step along every line of a plane; rates in blocks, out may be rho."""
    shape = forward.shape[1:]
    start, end, inverse = np.empty(shape), np.empty(shape), np.empty(shape)
    for b in range(len(forward)):
        pack_block(rho, axis, b, start)
        solve_block(start, forward[b], backward[b], dt, periodic, inverse, end)
        unpack_block(end, axis, b, out)


@njit(cache=True, error_model="numpy")
def second_order_step(
    rho: Array,
    forward: Array,
    backward: Array,
    lag: Array,
    dt: float,
    axis: int,
    periodic: bool,
    out: Array,
) -> None:
    """Both stages of MPRK22 along every line of a plane, with the same rates; out may be rho."""
    shape = forward.shape[1:]
    start, stage, inverse = np.empty(shape), np.empty(shape), np.empty(shape)
    down, up = np.empty(shape), np.empty(shape)
    for b in range(len(forward)):
        f, g = forward[b], backward[b]
        pack_block(rho, axis, b, start)
        solve_block(start, f, g, dt, periodic, inverse, stage)
        weigh_block(start, stage, f, g, lag[b], 1.0 / dt, down, up)
        solve_block(start, down, up, dt, periodic, inverse, stage)
        unpack_block(stage, axis, b, out)


@njit(cache=True, error_model="numpy")
def second_stage(
    rho: Array,
    stage: Array,
    forward: Array,
    backward: Array,
    lag: Array,
    dt: float,
    axis: int,
    periodic: bool,
    out: Array,
) -> None:
    """Second stage of MPRK22 along every line of a plane."""
    shape = forward.shape[1:]
    start, end, inverse = np.empty(shape), np.empty(shape), np.empty(shape)
    down, up = np.empty(shape), np.empty(shape)
    for b in range(len(forward)):
        pack_block(rho, axis, b, start)
        pack_block(stage, axis, b, end)
        weigh_block(start, end, forward[b], backward[b], lag[b], 1.0 / dt, down, up)
        solve_block(start, down, up, dt, periodic, inverse, end)
        unpack_block(end, axis, b, out)


@njit(cache=True, error_model="numpy")
def weigh_block(
    rho: Array,
    stage: Array,
    forward: Array,
    backward: Array,
    lag: Array,
    rate: float,
    down: Array,
    up: Array,
) -> None:
    """Rates of the second solve of MPRK22: a mean of both ends, the first end weighted.

    Each end has half of the flux, and the first one ``lag / dt`` more; rate = 1 / dt. Where the
    first end has more than all of it, the later one counts negative: as rates the other way,
    carried by the cell that they fill. A cell whose density underflowed in the stage gives
    nothing away, whatever its weight.
    """
    n, m = rho.shape
    share = np.ones((2, m))  # rho / stage, of the cells below and above a face
    for i in range(-1, n):
        below, above = i % 2, (i + 1) % 2
        k = 0 if i == n - 1 else i + 1
        for j in range(m):
            there = stage[k, j]
            full = there > 1e-300
            share[above, j] = rho[k, j] / (there if full else 1.0) if full else 1.0
        if i < 0:
            continue
        beyond = 0.0
        for j in range(m):
            first = 0.5 + lag[i, j] * rate
            later = max(1.0 - first, 0.0)
            beyond = max(beyond, first)
            down[i, j] = (first * share[below, j] + later) * forward[i, j]
            up[i, j] = (first * share[above, j] + later) * backward[i, j]
        if beyond <= 1.0:
            continue
        for j in range(m):
            surplus = max(lag[i, j] * rate - 0.5, 0.0)
            here, there = stage[i, j], stage[k, j]
            if here > 1e-300:
                down[i, j] += surplus * backward[i, j] * (there / here)
            if there > 1e-300:
                up[i, j] += surplus * forward[i, j] * (here / there)


@njit(cache=True, error_model="numpy")
def solve_block(
    rho: Array,
    forward: Array,
    backward: Array,
    dt: float,
    periodic: bool,
    inverse: Array,
    out: Array,
) -> None:
    """Solve ``(I - dt A) out = rho`` along a block of lines, without a single subtraction.

    Elimination for diagonally dominant M-matrices in the manner of Grassmann, Taksar and Heyman
    (1985): a pivot is the sum of what its cell loses to cells not yet eliminated and of its
    excess (1 at the start), so every entry of the result has a small relative error however
    large dt is: it is positive, and its mass is that of rho.
    """
    n, m = rho.shape
    if periodic and n > 2:
        solve_rings(rho, forward, backward, dt, inverse, out)
        return
    excess, load = np.ones(m), np.empty(m)
    for j in range(m):
        load[j] = rho[0, j]
        out[0, j] = load[j]
    for i in range(n - 1):
        # Rows by name: with too many indices the compiler leaves the vectors unused.
        f, g, right, row, pivots = forward[i], backward[i], rho[i + 1], out[i + 1], inverse[i]
        for j in range(m):
            up, down = dt * f[j], dt * g[j]
            if periodic:  # a ring of two has two faces between its cells
                up += dt * backward[1, j]
                down += dt * forward[1, j]
            pivot = 1.0 / (excess[j] + up)
            load[j] = right[j] + up * pivot * load[j]
            excess[j] = 1.0 + down * (excess[j] * pivot)
            row[j] = load[j]
            pivots[j] = pivot
    for j in range(m):
        load[j] /= excess[j]
        out[n - 1, j] = load[j]
    for i in range(n - 2, -1, -1):
        g, row, pivots = backward[i], out[i], inverse[i]
        for j in range(m):
            down = dt * g[j]
            if periodic:
                down += dt * forward[1, j]
            load[j] = (row[j] + down * load[j]) * pivots[j]
            row[j] = load[j]


@njit(cache=True, error_model="numpy")
def solve_rings(
    rho: Array,
    forward: Array,
    backward: Array,
    dt: float,
    inverse: Array,
    out: Array,
) -> None:
    """`solve_block` for rings of at least three cells.

    The last cell is coupled to the one in hand by ``to_last`` and ``from_last``.
    """
    n, m = rho.shape
    from_last = np.empty((n, m))
    to_last, excess, last_excess = np.empty(m), np.ones(m), np.ones(m)
    last_load = np.empty(m)
    for j in range(m):
        out[0, j] = rho[0, j]
        last_load[j] = rho[n - 1, j]
        to_last[j] = dt * backward[n - 1, j]
        from_last[0, j] = dt * forward[n - 1, j]
    for i in range(n - 2):
        for j in range(m):
            up = dt * forward[i, j]
            down = dt * backward[i, j]
            pivot = 1.0 / (excess[j] + (up + to_last[j]))
            load = out[i, j]
            last_load[j] += to_last[j] * pivot * load
            last_excess[j] += from_last[i, j] * (excess[j] * pivot)
            to_last[j] = down * (to_last[j] * pivot)
            from_last[i + 1, j] = from_last[i, j] * (up * pivot)
            out[i + 1, j] = rho[i + 1, j] + up * pivot * load
            excess[j] = 1.0 + down * (excess[j] * pivot)
            inverse[i, j] = pivot
    for j in range(m):
        up = dt * forward[n - 2, j] + to_last[j]
        down = dt * backward[n - 2, j] + from_last[n - 2, j]
        pivot = 1.0 / (excess[j] + up)
        load = out[n - 2, j]
        last_load[j] += up * pivot * load
        last_excess[j] += down * (excess[j] * pivot)
        out[n - 1, j] = last_load[j] / last_excess[j]
        out[n - 2, j] = (load + down * out[n - 1, j]) * pivot
    for i in range(n - 3, -1, -1):
        for j in range(m):
            gained = dt * backward[i, j] * out[i + 1, j]
            gained += from_last[i, j] * out[n - 1, j]
            out[i, j] = (out[i, j] + gained) * inverse[i, j]
