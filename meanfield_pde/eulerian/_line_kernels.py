"""Compiled solves along the lines of a grid; plain arrays in, ``out`` last.

Lines are the columns of arrays (n, m). They are solved ``WIDTH`` at a time: inner loops of a length
known to the compiler run on the vectors of the machine, and what they need stays in its cache. A
block of lines is given by an array and its first column. Where m is no multiple of the width, some
lines are solved twice, with the same result; fewer lines than the width must be padded.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from meanfield_pde.measures.check import Array

WIDTH = 16


@njit(cache=True)
def euler_step(
    rho: Array, forward: Array, backward: Array, dt: float, periodic: bool, out: Array
) -> None:
    """Implicit Euler step down every column of rho; all arrays have shape (n, m)."""
    n, m = rho.shape
    inverse = np.empty((n, WIDTH))
    for block in range(0, m, WIDTH):
        at = min(block, m - WIDTH)
        solve_block(rho, at, forward, backward, at, dt, periodic, inverse, out, at)


@njit(cache=True)
def second_order_step(
    rho: Array, forward: Array, backward: Array, lag: Array, dt: float, periodic: bool, out: Array
) -> None:
    """Both stages of MPRK22 down every column, with the same rates in both; all arrays (n, m)."""
    n, m = rho.shape
    inverse, stage = np.empty((n, WIDTH)), np.empty((n, WIDTH))
    down, up = np.empty((n, WIDTH)), np.empty((n, WIDTH))
    for block in range(0, m, WIDTH):
        at = min(block, m - WIDTH)
        solve_block(rho, at, forward, backward, at, dt, periodic, inverse, stage, 0)
        weigh_block(
            rho, at, stage, 0, forward, backward, forward, backward, lag, at, 1.0 / dt, down, up
        )
        solve_block(rho, at, down, up, 0, dt, periodic, inverse, out, at)


@njit(cache=True)
def second_stage(
    rho: Array,
    stage: Array,
    forward: Array,
    backward: Array,
    later_forward: Array,
    later_backward: Array,
    lag: Array,
    dt: float,
    periodic: bool,
    out: Array,
) -> None:
    """Second stage of MPRK22 down every column, with the stage's own rates; all arrays (n, m)."""
    n, m = rho.shape
    inverse, down, up = np.empty((n, WIDTH)), np.empty((n, WIDTH)), np.empty((n, WIDTH))
    for block in range(0, m, WIDTH):
        at = min(block, m - WIDTH)
        weigh_block(
            rho,
            at,
            stage,
            at,
            forward,
            backward,
            later_forward,
            later_backward,
            lag,
            at,
            1.0 / dt,
            down,
            up,
        )
        solve_block(rho, at, down, up, 0, dt, periodic, inverse, out, at)


@njit(cache=True)
def weigh_block(
    rho: Array,
    rho_at: int,
    stage: Array,
    stage_at: int,
    forward: Array,
    backward: Array,
    later_forward: Array,
    later_backward: Array,
    lag: Array,
    at: int,
    rate: float,
    down: Array,
    up: Array,
) -> None:
    """Rates of the second solve of MPRK22: a mean of both ends, the first end weighted.

    Each end has half of the flux, and the first one ``lag / dt`` more; rate = 1 / dt. Where the
    first end has more than all of it, the later rates count negative: as rates the other way,
    carried by the cell that they fill. A cell whose density underflowed in the stage gives
    nothing away, whatever its weight.
    """
    n = rho.shape[0]
    share = np.ones((2, WIDTH))  # rho / stage, of the cells below and above a face
    for i in range(-1, n):
        below, above = i % 2, (i + 1) % 2
        k = 0 if i == n - 1 else i + 1
        for j in range(WIDTH):
            there = stage[k, stage_at + j]
            full = there > 1e-300
            share[above, j] = rho[k, rho_at + j] / (there if full else 1.0) if full else 1.0
        if i < 0:
            continue
        beyond = 0.0
        for j in range(WIDTH):
            first = 0.5 + lag[i, at + j] * rate
            later = max(1.0 - first, 0.0)
            beyond = max(beyond, first)
            fixed = later * later_forward[i, at + j]
            down[i, j] = first * forward[i, at + j] * share[below, j] + fixed
            fixed = later * later_backward[i, at + j]
            up[i, j] = first * backward[i, at + j] * share[above, j] + fixed
        if beyond <= 1.0:
            continue
        for j in range(WIDTH):
            surplus = max(lag[i, at + j] * rate - 0.5, 0.0)
            here, there = stage[i, stage_at + j], stage[k, stage_at + j]
            if here > 1e-300:
                down[i, j] += surplus * later_backward[i, at + j] * (there / here)
            if there > 1e-300:
                up[i, j] += surplus * later_forward[i, at + j] * (here / there)


@njit(cache=True)
def solve_block(
    rho: Array,
    rho_at: int,
    forward: Array,
    backward: Array,
    at: int,
    dt: float,
    periodic: bool,
    inverse: Array,
    out: Array,
    out_at: int,
) -> None:
    """Solve ``(I - dt A) out = rho`` down a block of columns, without a single subtraction.

    Elimination for diagonally dominant M-matrices in the manner of Grassmann, Taksar and Heyman
    (1985): a pivot is the sum of what its cell loses to cells not yet eliminated and of its
    excess (1 at the start), so every entry of the result has a small relative error however
    large dt is: it is positive, and its mass is that of rho.
    """
    n = rho.shape[0]
    if periodic and n > 2:
        solve_rings(rho, rho_at, forward, backward, at, dt, inverse, out, out_at)
        return
    excess = np.ones(WIDTH)
    for j in range(WIDTH):
        out[0, out_at + j] = rho[0, rho_at + j]
    for i in range(n - 1):
        for j in range(WIDTH):
            up = dt * forward[i, at + j]
            down = dt * backward[i, at + j]
            if periodic:  # a ring of two has two faces between its cells
                up += dt * backward[1, at + j]
                down += dt * forward[1, at + j]
            pivot = 1.0 / (excess[j] + up)
            out[i + 1, out_at + j] = rho[i + 1, rho_at + j] + up * pivot * out[i, out_at + j]
            excess[j] = 1.0 + down * (excess[j] * pivot)
            inverse[i, j] = pivot
    for j in range(WIDTH):
        out[n - 1, out_at + j] /= excess[j]
    for i in range(n - 2, -1, -1):
        for j in range(WIDTH):
            down = dt * backward[i, at + j]
            if periodic:
                down += dt * forward[1, at + j]
            gained = down * out[i + 1, out_at + j]
            out[i, out_at + j] = (out[i, out_at + j] + gained) * inverse[i, j]


@njit(cache=True)
def solve_rings(
    rho: Array,
    rho_at: int,
    forward: Array,
    backward: Array,
    at: int,
    dt: float,
    inverse: Array,
    out: Array,
    out_at: int,
) -> None:
    """`solve_block` for rings of at least three cells.

    The last cell is coupled to the one in hand by ``to_last`` and ``from_last``.
    """
    n = rho.shape[0]
    from_last = np.empty((n, WIDTH))
    to_last, excess, last_excess = np.empty(WIDTH), np.ones(WIDTH), np.ones(WIDTH)
    last_load = np.empty(WIDTH)
    for j in range(WIDTH):
        out[0, out_at + j] = rho[0, rho_at + j]
        last_load[j] = rho[n - 1, rho_at + j]
        to_last[j] = dt * backward[n - 1, at + j]
        from_last[0, j] = dt * forward[n - 1, at + j]
    for i in range(n - 2):
        for j in range(WIDTH):
            up = dt * forward[i, at + j]
            down = dt * backward[i, at + j]
            pivot = 1.0 / (excess[j] + (up + to_last[j]))
            load = out[i, out_at + j]
            last_load[j] += to_last[j] * pivot * load
            last_excess[j] += from_last[i, j] * (excess[j] * pivot)
            to_last[j] = down * (to_last[j] * pivot)
            from_last[i + 1, j] = from_last[i, j] * (up * pivot)
            out[i + 1, out_at + j] = rho[i + 1, rho_at + j] + up * pivot * load
            excess[j] = 1.0 + down * (excess[j] * pivot)
            inverse[i, j] = pivot
    for j in range(WIDTH):
        up = dt * forward[n - 2, at + j] + to_last[j]
        down = dt * backward[n - 2, at + j] + from_last[n - 2, j]
        pivot = 1.0 / (excess[j] + up)
        load = out[n - 2, out_at + j]
        last_load[j] += up * pivot * load
        last_excess[j] += down * (excess[j] * pivot)
        out[n - 1, out_at + j] = last_load[j] / last_excess[j]
        out[n - 2, out_at + j] = (load + down * out[n - 1, out_at + j]) * pivot
    for i in range(n - 3, -1, -1):
        for j in range(WIDTH):
            gained = dt * backward[i, at + j] * out[i + 1, out_at + j]
            gained += from_last[i, j] * out[n - 1, out_at + j]
            out[i, out_at + j] = (out[i, out_at + j] + gained) * inverse[i, j]


@njit(cache=True)
def transpose(source: Array, out: Array) -> None:
    """``out = source^T`` in tiles that stay in the cache."""
    n, m = source.shape
    for i0 in range(0, n, WIDTH):
        for j0 in range(0, m, WIDTH):
            for i in range(i0, min(i0 + WIDTH, n)):
                for j in range(j0, min(j0 + WIDTH, m)):
                    out[j, i] = source[i, j]
