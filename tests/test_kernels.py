"""Compiled loops = the same loops interpreted = dense matrices written from the formulas.

Run it with NUMBA_DISABLE_JIT=1 as well: then the loops are interpreted wherever they are called.
"""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import compact_faces, generator
from reference import PROPERTY, ULP
from scipy.special import ndtr

import meanfield_pde as mf
from meanfield_pde.energies import _kernels as unit_kernels
from meanfield_pde.energies._kernels import (
    BLOCK,
    POWERS,
    bumps,
    evaluate,
    gather,
    logistic,
    pull,
    pull_ridges,
    ridges,
    squares,
    tanh,
)
from meanfield_pde.eulerian import _kernels as density_kernels
from meanfield_pde.eulerian import _line_kernels as line_kernels
from meanfield_pde.eulerian import _step_kernels as step_kernels
from meanfield_pde.eulerian._kernels import (
    compact_face,
    compact_rates,
    face_diffusion,
    flux_form,
    lags_of_cells,
    largest_limited_outflow,
    largest_outflow,
    limited_face,
    limited_flux_form,
    limited_slope,
    limited_weights,
    polynomial,
    scharfetter_gummel_rates,
    sides,
)
from meanfield_pde.eulerian._line_kernels import (
    WIDTH,
    blocks,
    euler_step,
    is_symmetric,
    pack,
    pack_block,
    second_order_step,
    second_stage,
    solve_block,
    solve_rings,
    symmetric_mean,
    unpack,
    unpack_block,
    weigh_block,
)
from meanfield_pde.eulerian._step_kernels import first_step, line_rates, second_step
from meanfield_pde.eulerian.flux import FLUXES
from meanfield_pde.eulerian.lines import Lines
from meanfield_pde.lagrangian import _kernels as particle_kernels
from meanfield_pde.lagrangian._kernels import FREE, REFLECT, WRAP, move, replace
from meanfield_pde.measures import _kernels as shared_kernels
from meanfield_pde.measures._kernels import (
    UNDERFLOW,
    decay,
    decays,
    entropy_terms,
    exponential_parts,
    fold_line,
    fold_plane,
    line_sums,
    logarithm,
    normal_tails,
    tangent,
)

GRIDS = {
    "one cell": mf.Grid.box(0, 1, 1),
    "two cells": mf.Grid.box(0, 1, 2),
    "line": mf.Grid.box(-1, 2, 7),
    "ring of one": mf.Grid.torus(0, 1, 1),
    "ring of two": mf.Grid.torus(0, 1, 2),
    "ring": mf.Grid.torus(-1, 2, 7),
    "plane": mf.Grid.box((0, 0), (1, 2), (4, 5)),
    "strip": mf.Grid.box((0, 0), (1, 2), (1, 5)),
    "torus": mf.Grid.torus((0, 0), (1, 2), (4, 5)),
    "thin torus": mf.Grid.torus((0, 0), (1, 2), (2, 1)),
}


def interpreted(kernel):
    return getattr(kernel, "py_func", kernel)


def shape_of(grid):
    return grid.cells if grid.dim == 2 else (grid.cells[0], 1)


def wraps(grid):
    return grid.wraps[0], grid.wraps[-1]


def of_lines(grid, potential, count, fill):
    """Arrays (2, nx, ny) that ``fill(phi, scale, *out)`` fills for each axis, lines as columns."""
    phi, scale = potential.reshape(shape_of(grid)), scale_of(grid)
    found = np.zeros((count, 2, *phi.shape))
    for axis in (0, 1) if phi.shape[1] > 1 else (0,):
        lines = np.ascontiguousarray(np.moveaxis(phi, axis, 0))[None]
        out = np.full((count, *lines.shape), np.nan)
        fill(lines, scale[axis], *out)
        found[:, axis] = np.moveaxis(out[:, 0], 1, 1 + axis)
    return found


def rates(grid, potential, beta, kernel=scharfetter_gummel_rates):
    def fill(phi, scale, forward, backward):
        kernel(phi, beta, scale, grid.periodic, forward, backward)

    return of_lines(grid, potential, 2, fill)


def sg_pair(difference, beta, scale):
    """Rates both ways between two cells a distance 1 / sqrt(scale) apart."""
    grid = mf.Grid.box(0, 2 / np.sqrt(scale), 2)
    with np.errstate(over="ignore"):  # where the loops are interpreted
        forward, backward = rates(grid, np.array([0.0, difference]), beta)
    return float(forward[0, 0, 0]), float(backward[0, 0, 0])


def compact(grid, potential, beta, kernel=compact_rates):
    """Rates and lags of the compact flux."""

    def fill(phi, scale, forward, backward, lag):
        scharfetter_gummel_rates(phi, beta, scale, grid.periodic, forward, backward)
        straight = np.zeros(phi.shape[1])
        kernel(phi, beta, scale, grid.periodic, False, straight, forward, backward, lag)

    return of_lines(grid, potential, 3, fill)


def scale_of(grid):
    return np.array([*(1 / h**2 for h in grid.spacing), 0.0])[:2]


def weights(grid, potential, beta, kernel=limited_weights):
    forward, backward = rates(grid, potential, beta)
    out = np.empty_like(forward)
    kernel(potential.reshape(shape_of(grid)), beta, scale_of(grid), forward, backward, out)
    return out


def random_rates(grid, seed):
    """Rates as a flux would give them: those of a wild potential, over many magnitudes."""
    rng = np.random.default_rng(seed)
    return rates(grid, 3 * rng.standard_normal(grid.shape), 0.3)


def matrix_of(grid, forward, backward):
    """Generator by one loop over faces; each face moves mass from one cell to another."""
    index = np.arange(grid.size).reshape(shape_of(grid))
    matrix = np.zeros((grid.size, grid.size))
    for axis in (0, 1):
        for place in np.ndindex(shape_of(grid)):
            lower = index[place]
            upper = np.roll(index, -1, axis=axis)[place]
            for source, target, rate in (
                (lower, upper, forward[axis][place]),
                (upper, lower, backward[axis][place]),
            ):
                matrix[target, source] += rate
                matrix[source, source] -= rate
    return matrix


@pytest.fixture(params=list(GRIDS))
def grid(request):
    return GRIDS[request.param]


def test_every_kernel_is_here():
    """No loop is left out of this file."""
    density = density_kernels, line_kernels, step_kernels
    for module in (*density, particle_kernels, unit_kernels, shared_kernels):
        names = [
            name
            for name, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", "") == module.__name__
        ]
        assert names
        assert set(names) <= set(globals()), module.__name__


# -- compiled = interpreted


@pytest.mark.parametrize("beta", [0.0, 1e-3, 0.3])
def test_rates_interpreted(grid, beta):
    potential = np.random.default_rng(1).standard_normal(grid.shape)
    fast = rates(grid, potential, beta)
    with np.errstate(all="ignore"):
        slow = rates(
            *(grid, potential, beta),
            interpreted(scharfetter_gummel_rates),
        )
    np.testing.assert_array_equal(fast, slow)
    fast = compact(grid, potential, beta)
    slow = compact(grid, potential, beta, interpreted(compact_rates))
    np.testing.assert_array_equal(fast, slow)


@given(st.floats(0, 1e3), st.floats(0, 10), st.floats(0, 1e9))
@PROPERTY
def test_faces_interpreted(size, beta, uphill):
    with np.errstate(all="ignore"):
        assert face_diffusion(size, beta) == interpreted(face_diffusion)(size, beta)
        inverse = 1 / beta if beta > 1e-300 else 0.0
        check_interpreted(compact_face, size, 0.3 * size, beta, inverse, 0.5, uphill, outs=0)


@pytest.mark.parametrize("n", [2, 3, 4, 7])
@pytest.mark.parametrize("periodic", [False, True])
def test_sides(n, periodic):
    """Both halves of a second difference count alike, but where a wall leaves one of them."""
    for place in range(n - 1):
        for mirror in (False, True):
            there = sides(place, n, periodic, mirror)
            assert there == interpreted(sides)(place, n, periodic, mirror)
            inner = [periodic or place + 1 < n - 1, periodic or place > 0 or mirror]
            assert there == tuple(2.0 * x / max(sum(inner), 1) for x in inner)
        there = sides(place, n, periodic, False)
        assert there == sides(n - 2 - place, n, periodic, False)[::-1]


def check_interpreted(kernel, *arguments, outs):
    """Both versions on copies of the arguments, the last ``outs`` of which are filled."""
    results = []
    for version in (kernel, interpreted(kernel)):
        given = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
        returned = version(*given)
        results.append(given[len(given) - outs :] if outs else [returned])
    for fast, slow in zip(*results, strict=True):
        np.testing.assert_array_equal(fast, slow)


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_loops_interpreted(grid, beta):
    rng = np.random.default_rng(2)
    potential = 3 * rng.standard_normal(grid.shape)
    forward, backward = rates(grid, potential, beta)
    rho, source, out = rng.random((3, *shape_of(grid)))
    empty = np.empty_like(forward)
    check_interpreted(largest_outflow, forward, backward, outs=0)
    check_interpreted(lags_of_cells, forward, 0.5, 0.0, 0.3, out, outs=1)
    check_interpreted(largest_limited_outflow, forward, backward, outs=0)
    check_interpreted(flux_form, rho, source, forward, backward, 0.1, out, outs=1)
    phi = potential.reshape(shape_of(grid))
    weight = weights(grid, potential, beta)
    slow = weights(grid, potential, beta, interpreted(limited_weights))
    np.testing.assert_allclose(weight, slow, rtol=8 * ULP)  # tanh may be rounded differently
    check_interpreted(
        limited_flux_form,
        *(rho, source, forward, backward, weight, 0.1, wraps(grid), empty, out),
        outs=1,
    )
    assert phi.shape == rho.shape
    weight = np.array([0.3, 0.0, 0.5, 0.2])
    check_interpreted(polynomial, rho, forward, backward, 0.1, weight, out, outs=1)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, WIDTH), (3, 16), (5, WIDTH + 5)])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("periodic", [False, True])
def test_line_kernels_interpreted(n, m, axis, periodic):
    rng = np.random.default_rng(3)
    lines = on_lines(n, m, periodic, 3)
    stage, lag, out = rng.random((3, n, m))
    stage[n // 2, 0] = 0.0
    f, b, lags = (laid_out(x) for x in (*lines[1:], lag))
    rho, stage, out = (along(x, axis) for x in (lines[0], stage, out))
    how = (5.0, axis, periodic, out)
    check_interpreted(euler_step, rho, f, b, *how, outs=1)
    check_interpreted(second_order_step, rho, f, b, lags, *how, outs=1)
    check_interpreted(second_stage, rho, stage, f, b, lags, *how, outs=1)
    check_interpreted(pack, rho, axis, np.empty_like(f), outs=1)
    block = np.empty(f.shape[1:])
    check_interpreted(pack_block, rho, axis, len(f) - 1, block, outs=1)
    check_interpreted(unpack_block, block, axis, len(f) - 1, out, outs=1)
    check_interpreted(unpack, f, axis, out, outs=1)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("periodic", [False, True])
def test_block_kernels_interpreted(n, periodic):
    rho, f, b = on_lines(n, WIDTH, periodic, 3)
    stage, lag = np.random.default_rng(4).random((2, n, WIDTH))
    stage[n // 2, 1] = 0.0
    inverse, out = np.zeros((2, n, WIDTH))
    for rate in (0.2, 5.0):  # lags below and beyond half a step
        how = (rho, stage, f, b, lag, rate, inverse, out)
        check_interpreted(weigh_block, *how, outs=2)
    check_interpreted(solve_block, rho, f, b, 5.0, periodic, inverse, out, outs=1)
    if periodic and n > 2:
        check_interpreted(solve_rings, rho, f, b, 5.0, inverse, out, outs=1)


@given(*[st.floats(-3, 3)] * 6)
@PROPERTY
def test_limiters_interpreted(a, b, c, d, plain, weight):
    check_interpreted(limited_slope, a, b, c, outs=0)
    check_interpreted(limited_face, plain, weight, a, b, c, d, outs=0)


@pytest.mark.parametrize("boundary", [FREE, REFLECT, WRAP])
def test_move_interpreted(boundary):
    rng = np.random.default_rng(4)
    points, velocity, noise = rng.standard_normal((3, 50, 2))
    lower, upper = np.array([-1.0, -2.0]), np.array([0.5, 2.0])
    fast, slow = np.empty((2, 50, 2))
    move(points, velocity, noise, 0.7, 3.0, lower, upper, boundary, fast)
    interpreted(move)(points, velocity, noise, 0.7, 3.0, lower, upper, boundary, slow)
    np.testing.assert_array_equal(fast, slow)


@pytest.mark.parametrize("born", [0, 30])
def test_replace_interpreted(born):
    rng = np.random.default_rng(5)
    points, fresh = rng.standard_normal((50, 2)), rng.standard_normal((born, 2))
    ringing, others = rng.permutation(50)[:40], rng.integers(50, size=40)
    dies, replaced = np.arange(40) % 2 == 0, np.zeros(50, dtype=bool)
    check_interpreted(replace, ringing, dies, others, fresh, replaced, points, outs=2)


# -- compiled = dense


@pytest.mark.parametrize("beta", [0.0, 1e-3, 0.3, 50.0])
def test_rates_against_dense(grid, beta):
    potential = np.random.default_rng(5).standard_normal(grid.shape)
    found = matrix_of(grid, *rates(grid, potential, beta))
    exact = generator(grid, potential, beta)
    # q / expm1(q) for q of either sign, against one formula for both: a few roundings each.
    np.testing.assert_allclose(found, exact, rtol=1e-13, atol=1e-13 * np.abs(exact).max())


@pytest.mark.parametrize("beta", [0.0, 1e-3, 0.3, 50.0])
@pytest.mark.parametrize("rough", [1e-3, 1.0])
def test_compact_rates_against_dense(grid, beta, rough):
    potential = rough * np.random.default_rng(5).standard_normal(grid.shape)
    forward, backward, lag = compact(grid, potential, beta)
    plain = rates(grid, potential, beta)
    factor, exact = (x.reshape(lag.shape) for x in compact_faces(grid, potential, beta))
    for found, before in zip((forward, backward), plain, strict=True):
        np.testing.assert_allclose(found, before * factor, rtol=1e-12)
    np.testing.assert_allclose(lag, exact, rtol=1e-12, atol=1e-15 * np.abs(exact).max())


def test_polynomials_against_dense(grid):
    rng = np.random.default_rng(15)
    forward, backward = random_rates(grid, 7)
    rho, weight = rng.random(shape_of(grid)), rng.random(6)
    weight[2] = 0.0
    dt = 1 / max(largest_outflow(forward, backward), 1.0)
    matrix = np.eye(grid.size) + dt * matrix_of(grid, forward, backward)
    for count in (1, 6):
        out = np.empty_like(rho)
        polynomial(rho, forward, backward, dt, weight[:count], out)
        exact = sum(
            w * np.linalg.matrix_power(matrix, k) @ rho.ravel()
            for k, w in enumerate(weight[:count])
        )
        np.testing.assert_allclose(out.ravel(), exact, rtol=1e-13, atol=1e-13)


def test_flux_form_against_dense(grid):
    rng = np.random.default_rng(6)
    forward, backward = random_rates(grid, 7)
    matrix = matrix_of(grid, forward, backward)
    rho, source = rng.random((2, *shape_of(grid)))
    out = np.empty(rho.shape)
    flux_form(rho, source, forward, backward, 0.01, out)
    exact = rho.ravel() + 0.01 * matrix @ source.ravel()
    size = 0.01 * np.abs(matrix).max() + 1
    np.testing.assert_allclose(out.ravel(), exact, rtol=0, atol=20 * ULP * size)


def test_outflow_against_dense(grid):
    forward, backward = random_rates(grid, 8)
    exact = -np.diag(matrix_of(grid, forward, backward)).min()
    assert largest_outflow(forward, backward) == pytest.approx(exact, rel=4 * ULP)


# -- the limited flux against its definition


def monotonised_central(left, here, right):
    """minmod(2 d-, (d- + d+) / 2, 2 d+)."""
    candidates = [2 * (here - left), 0.5 * (right - left), 2 * (right - here)]
    if min(candidates) > 0:
        return min(candidates)
    return max(candidates) if max(candidates) < 0 else 0.0


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3))
@PROPERTY
def test_slopes(left, here, right):
    found = limited_slope(left, here, right)
    assert found == pytest.approx(monotonised_central(left, here, right), abs=16 * ULP)
    assert found == -limited_slope(right, here, left)  # odd under reflection, to the last bit
    assert found == -limited_slope(-left, -here, -right)


@pytest.mark.parametrize("q", [1e-9, 1e-3, 0.049, 0.051, 0.5, 1.0, 3.0, 30.0, 699.0, 701.0, 1e5])
def test_weights_against_their_series(q):
    """coth(q/2) - 2/q, the factor that turns the diffusion of the scheme into beta."""
    grid = mf.Grid.box(0, 2, 2)
    potential, beta = np.array([0.0, q]), 1.0
    if q < 0.5:
        factor = q / 6 - q**3 / 360 + q**5 / 15120 - q**7 / 604800
    else:
        factor = (1 + np.exp(-q)) / -np.expm1(-q) - 2 / q
    # Two terms of the series up to 0.05, the third being 0.05^4 / 2520 of the first.
    for sign in (1, -1):
        found = weights(grid, sign * potential, beta)[0, :, 0]
        assert found[0] == pytest.approx(-sign * 0.5 * q * factor, rel=3e-9)
        assert found[1] == 0  # the wall


def test_weights_without_diffusion(grid):
    """At beta = 0 the factor is 1: half of the upwind rate."""
    potential = np.random.default_rng(9).standard_normal(grid.shape)
    forward, backward = rates(grid, potential, 0.0)
    np.testing.assert_array_equal(weights(grid, potential, 0.0), 0.5 * (forward - backward))


def limited_divergence(grid, potential, beta, rho):
    """Net loss of each cell, face by face from the definition; a slope at a wall is 0."""
    matrix = generator(grid, potential, beta)
    loss = np.zeros(grid.shape)

    def cell(index, axis, step):
        place = index[axis] + step
        if grid.periodic:
            place %= grid.cells[axis]
        if not 0 <= place < grid.cells[axis]:
            return None
        return (*index[:axis], place, *index[axis + 1 :])

    def slope(index, axis):
        sides = [cell(index, axis, step) for step in (-1, 1)]
        if None in sides:
            return 0.0
        return monotonised_central(rho[sides[0]], rho[index], rho[sides[1]])

    for here in np.ndindex(grid.shape):
        for axis, h in enumerate(grid.spacing):
            there = cell(here, axis, 1)
            if there is None or grid.cells[axis] == 1:
                continue
            k, m = (np.ravel_multi_index(i, grid.shape) for i in (here, there))
            double = 2 if grid.periodic and grid.cells[axis] == 2 else 1  # both faces in one entry
            down, up = matrix[m, k] / double, matrix[k, m] / double
            plain = down * rho[here] - up * rho[there]
            q = (potential[there] - potential[here]) / beta if beta else np.inf
            factor = 1.0
            if np.isfinite(q) and q:
                factor = (1 + np.exp(-abs(q))) / -np.expm1(-abs(q)) - 2 / abs(q)
            fall = potential[here] - potential[there]
            upwind = max(fall, 0) * slope(here, axis) + max(-fall, 0) * slope(there, axis)
            high = plain + factor / 2 / h**2 * upwind
            flux = np.sign(plain) * min(max(np.sign(plain) * high, abs(plain) / 2), 2 * abs(plain))
            loss[here] += flux
            loss[there] -= flux
    return loss


@pytest.mark.parametrize("beta", [0.0, 0.01, 0.3, 3.0])
@pytest.mark.parametrize("rough", [0.1, 3.0])
def test_limited_flux_against_its_definition(grid, beta, rough):
    """On smooth densities, where slopes are central, and on rough ones, where they are cut."""
    rng = np.random.default_rng(12)
    potential = rng.standard_normal(grid.shape)
    z = (grid.points - grid.lower) / np.subtract(grid.upper, grid.lower)
    rho = np.exp(np.sin(2 * np.pi * z).sum(-1) + rough * rng.random(grid.shape))
    forward, backward = rates(grid, potential, beta)
    weight = weights(grid, potential, beta)
    source, out = rho.reshape(shape_of(grid)), np.empty(shape_of(grid))
    limited_flux_form(
        0 * source, source, forward, backward, weight, 1.0, wraps(grid), 0 * forward, out
    )
    exact = -limited_divergence(grid, potential, beta, rho)
    size = max(forward.max(), backward.max(), 1.0) * rho.max()
    # The third term of the factor's series is left out below q = 0.05.
    np.testing.assert_allclose(out.reshape(grid.shape), exact, rtol=0, atol=1e-9 * size)


def test_limited_outflow_bounds_every_loss(grid):
    """An explicit step up to its inverse keeps any density nonnegative; also the worst found."""
    rng = np.random.default_rng(13)
    for beta in (0.0, 0.1):
        potential = 3 * rng.standard_normal(grid.shape)
        forward, backward = rates(grid, potential, beta)
        weight = weights(grid, potential, beta)
        outflow = largest_limited_outflow(forward, backward)
        convective = np.abs(forward - backward)
        exact = np.zeros(shape_of(grid))
        for axis in (0, 1):  # convective parts doubled, each way
            excess = forward[axis] - backward[axis]
            exact += forward[axis] + np.maximum(excess, 0)
            exact += np.roll(backward[axis] + np.maximum(-excess, 0), 1, axis=axis)
        assert outflow == pytest.approx(exact.max(), rel=8 * ULP)
        assert largest_outflow(forward, backward) <= outflow
        assert outflow <= largest_outflow(forward, backward) + 4 * convective.max() + 1e-12
        if outflow == 0:
            continue
        for _ in range(20):
            rho = rng.exponential(size=shape_of(grid)) * (rng.random(shape_of(grid)) < 0.5)
            out = np.empty_like(rho)
            limited_flux_form(
                *(rho, rho, forward, backward, weight, 1 / outflow, wraps(grid)),
                *(np.empty_like(forward), out),
            )
            assert out.min() >= -4 * ULP * max(1.0, rho.max())


# -- implicit solves


def on_lines(n, m, periodic, seed):
    """Right sides and rates of m lines of n cells, over four orders of magnitude."""
    rng = np.random.default_rng(seed)
    forward, backward = np.exp(3 * rng.standard_normal((2, n, m)))
    if not periodic or n == 1:
        forward[-1] = backward[-1] = 0.0
    return rng.random((n, m)), forward, backward


def line_matrix(forward, backward):
    """Generator of one line or ring from its rates."""
    n = len(forward)
    matrix = np.zeros((n, n))
    for i in range(n):
        j = (i + 1) % n
        for source, target, rate in ((i, j, forward[i]), (j, i, backward[i])):
            matrix[target, source] += rate
            matrix[source, source] -= rate
    return matrix


def along(columns, axis):
    """A plane whose lines along the axis are the columns of an array (n, m)."""
    return np.ascontiguousarray(columns.T if axis else columns)


def laid_out(columns):
    """Blocks of lines, the last one filled up with empty ones."""
    n, m = columns.shape
    width = min(m, WIDTH)
    filled = np.pad(columns, ((0, 0), (0, -m % width)))
    return np.ascontiguousarray(filled.reshape(n, -1, width).swapaxes(0, 1))


def solve(rho, forward, backward, dt, periodic, out):
    """Implicit Euler steps down any number of columns."""
    euler_step(rho, laid_out(forward), laid_out(backward), dt, 0, periodic, out)


LINES = [(n, periodic) for n in (1, 2, 3, 4, 30) for periodic in (False, True)]


@pytest.mark.parametrize(("n", "periodic"), LINES)
@pytest.mark.parametrize("dt", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("m", [1, 3, 16, 37])
def test_solves_against_numpy(n, periodic, dt, m):
    rho, forward, backward = on_lines(n, m, periodic, n)
    out = np.empty_like(rho)
    solve(rho, forward, backward, dt, periodic, out)
    for j in range(m):
        matrix = np.eye(n) - dt * line_matrix(forward[:, j], backward[:, j])
        exact = np.linalg.solve(matrix, rho[:, j])
        # The dense solver's own error: its condition number in ulps.
        np.testing.assert_allclose(out[:, j], exact, rtol=ULP * np.linalg.cond(matrix) * n)


def exact_solution(rho, forward, backward, dt):
    """Gaussian elimination in rational numbers."""
    n, step = len(rho), Fraction(dt)
    matrix = [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]
    for i in range(n):
        j = (i + 1) % n
        for source, target, rate in ((i, j, forward[i]), (j, i, backward[i])):
            matrix[target][source] -= step * Fraction(float(rate))
            matrix[source][source] += step * Fraction(float(rate))
    right = [Fraction(float(r)) for r in rho]
    for k in range(n):
        for i in range(k + 1, n):
            factor = matrix[i][k] / matrix[k][k]
            right[i] -= factor * right[k]
            matrix[i] = [a - factor * b for a, b in zip(matrix[i], matrix[k], strict=True)]
    for k in reversed(range(n)):
        done = sum(matrix[k][j] * right[j] for j in range(k + 1, n))
        right[k] = (right[k] - done) / matrix[k][k]
    return np.array([float(r) for r in right])


def subtracting(rho, forward, backward, dt, periodic, out):
    """Planted: elimination with pivots by subtraction, as in any textbook."""
    matrix = np.eye(len(rho)) - dt * line_matrix(forward[:, 0], backward[:, 0])
    out[:, 0] = np.linalg.solve(matrix, rho[:, 0])


def relative_errors(solver, n, periodic, dt):
    """Of every entry, and of the mass."""
    rho, forward, backward = on_lines(n, 1, periodic, 10 + n)
    out = np.empty((n, 1))
    solver(rho, forward, backward, dt, periodic, out)
    exact = exact_solution(rho[:, 0], forward[:, 0], backward[:, 0], dt)
    return np.abs(out[:, 0] / exact - 1).max(), abs(out.sum() / rho.sum() - 1)


@pytest.mark.parametrize(("n", "periodic"), [line for line in LINES if line[0] < 10])
@pytest.mark.parametrize("dt", [1e-4, 1.0, 1e4, 1e8])
def test_solves_to_the_last_digits(n, periodic, dt):
    """Every entry has a small relative error at any dt: some ten operations a cell, an ulp each."""
    entries, mass = relative_errors(solve, n, periodic, dt)
    assert entries <= 20 * n * ULP
    assert mass <= 20 * n * ULP


def test_subtracting_pivots_are_caught():
    entries, mass = relative_errors(subtracting, 4, False, 1e8)
    assert entries > 1e-10
    assert mass > 1e-10


@given(
    st.integers(1, 60), st.integers(1, 40), st.booleans(), st.floats(-6, 8), st.integers(0, 2**32)
)
@PROPERTY
def test_solves_keep_mass_and_sign(n, m, periodic, magnitude, seed):
    rng = np.random.default_rng(seed)
    rho, forward, backward = on_lines(n, m, periodic, seed)
    rho *= rng.random((n, m)) < 0.7  # empty cells
    rho[rng.integers(n)] = 1e-200
    out = np.empty_like(rho)
    solve(rho, forward, backward, 10.0**magnitude, periodic, out)
    assert (out >= 0).all()
    before, after = rho.sum(axis=0), out.sum(axis=0)
    assert (np.abs(after - before) <= 20 * n * ULP * before).all()


def weighed(rho, stage, f, b, lag, dt):
    """The first end's part of each rate, 1/2 + lag / dt, weighted for the cell that it leaves.

    What it has more than all is taken from the later end, by a rate the other way: the flux of
    the stage through the face, ``(first - 1) (b y_above - f y_below)``, is what they give.
    """
    down, up = np.empty((2, *rho.shape))
    for i, j in np.ndindex(rho.shape):
        k = (i + 1) % len(rho)
        leave = [rho[c, j] / stage[c, j] if stage[c, j] else 1.0 for c in (i, k)]
        first = 0.5 + lag[i, j] / dt
        later, surplus = max(1 - first, 0.0), max(first - 1, 0.0)
        y = stage[i, j], stage[k, j]
        down[i, j] = first * f[i, j] * leave[0] + later * f[i, j]
        up[i, j] = first * b[i, j] * leave[1] + later * b[i, j]
        down[i, j] += surplus * b[i, j] * y[1] / y[0] if y[0] else 0.0
        up[i, j] += surplus * f[i, j] * y[0] / y[1] if y[1] else 0.0
    return down, up


@pytest.mark.parametrize("lagging", [0.0, 1.0, 30.0])
def test_patankar_rates_against_their_formula(lagging):
    """A (rho / y + 1) / 2 without lags, for lags below and beyond half a step."""
    rng = np.random.default_rng(14)
    rho, stage, f, b, lag = rng.random((5, 5, WIDTH)) + 0.1
    stage[2, 1] = 0.0
    down, up = np.empty((2, 5, WIDTH))
    weigh_block(rho, stage, f, b, lagging * lag, 1 / 2.0, down, up)
    exact = weighed(rho, stage, f, b, lagging * lag, 2.0)  # exact quotients
    np.testing.assert_allclose((down, up), exact, rtol=8 * ULP)


def test_a_lagging_flux_is_the_sum_of_both_ends():
    """Weighted rates move ``first F[rho] + (1 - first) F[y]`` when the result is the stage."""
    rng = np.random.default_rng(15)
    rho, stage, f, b, lag = rng.random((5, 5, WIDTH)) + 0.1
    down, up = np.empty((2, 5, WIDTH))
    weigh_block(rho, stage, f, b, lag, 2.0, down, up)
    first = 0.5 + 2.0 * lag
    assert (first > 1).any()
    assert (first < 1).any()
    above, later_above = np.roll(rho, -1, axis=0), np.roll(stage, -1, axis=0)
    flux = first * (f * rho - b * above) + (1 - first) * (f * stage - b * later_above)
    np.testing.assert_allclose(down * stage - up * later_above, flux, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("n", "periodic"), LINES)
@pytest.mark.parametrize("m", [1, WIDTH + 5])
@pytest.mark.parametrize("axis", [0, 1])
def test_both_stages_against_dense(n, periodic, m, axis):
    """Each line by dense solves; after a stage with the same rates, or with others."""
    rho, f, b = on_lines(n, m, periodic, n)
    _, f2, b2 = on_lines(n, m, periodic, n + 1)
    lag, dt = 0.3 * np.random.default_rng(n).random((n, m)), 0.7

    def stepped(forward, backward, right):
        return np.stack(
            [
                np.linalg.solve(np.eye(n) - dt * line_matrix(x, y), r)
                for x, y, r in zip(forward.T, backward.T, right.T, strict=True)
            ],
            axis=1,
        )

    stage = stepped(f, b, rho)
    plane, same, other = along(rho, axis), *np.empty((2, *along(rho, axis).shape))
    rates = [laid_out(x) for x in (f, b, f2, b2, lag)]
    second_order_step(plane, *rates[:2], rates[4], dt, axis, periodic, same)
    second_stage(plane, along(stage, axis), *rates[2:], dt, axis, periodic, other)
    for found, both in ((same, (f, b)), (other, (f2, b2))):
        exact = stepped(*weighed(rho, stage, *both, lag, dt), rho)
        np.testing.assert_allclose(found, along(exact, axis), rtol=1e-10)
    second_order_step(plane, *rates[:2], rates[4], dt, axis, periodic, plane)  # in place
    np.testing.assert_array_equal(plane, same)


# -- steps on a line


def on_a_line(n, periodic, lags=True):
    """Grid, a density and two potentials, and what the compiled steps take besides."""
    grid = (mf.Grid.torus if periodic else mf.Grid.box)(-1.0, 1.0, n)
    rng = np.random.default_rng(17)
    rho, phi, later = rng.random(n) + 0.1, *rng.standard_normal((2, n))
    metric = np.stack([np.zeros(n), np.zeros(n), np.ones(n), np.ones(n)])
    return grid, (rho, phi, later), (0.3, 1 / grid.volume**2, (periodic, False), lags, metric)


@pytest.mark.parametrize("n", [1, 2, 3, 40])
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("lags", [False, True])
def test_steps_on_a_line_interpreted(n, periodic, lags):
    _, (rho, phi, _), how = on_a_line(n, periodic, lags=lags)
    given, out = np.zeros((4, 1, n, 1)), np.empty(n)
    with np.errstate(all="ignore"):
        check_interpreted(line_rates, phi, *how, given, outs=1)
        check_interpreted(first_step, rho, phi, *how, 0.7, given, out, outs=2)
        last = 0.7, 0.05, 0.01, given, out
        check_interpreted(second_step, rho, 0.9 * rho, phi, *how, *last, outs=2)
        check_interpreted(second_step, rho, 0.9 * rho, phi, *how, *last, outs=0)


@pytest.mark.parametrize("n", [1, 2, 3, 40])
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("name", ["sg", "compact"])
def test_steps_on_a_line_are_those_along_lines(n, periodic, name):
    """To the last bit: rates, both stages, the distance between them and the mean lag."""
    grid, (rho, phi, later), how = on_a_line(n, periodic, lags=name == "compact")
    built = FLUXES[name].transport(grid, phi, 0.3)
    given, stage, end = np.zeros((4, 1, n, 1)), *np.empty((2, n))
    first_step(rho, phi, *how, 0.7, given, stage)
    exact = built.lag if name == "compact" else np.zeros_like(built.forward)
    for found, expected in zip(given, (built.forward, built.backward, exact), strict=False):
        np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(stage, Lines.of(built, 0).euler(rho, 0.7))
    apart, lag = second_step(rho, stage, later, *how, 0.7, 0.05, 0.0, given, end)
    built = FLUXES[name].transport(grid, later, 0.3)
    np.testing.assert_array_equal(end, Lines.of(built, 0).second_stage(rho, stage, 0.7))
    assert apart == pytest.approx(np.abs(end - stage).sum(), rel=1e-13)
    assert lag == pytest.approx(built.mean_lag(rho, 0.05), rel=1e-13)


def test_rates_on_a_curved_line():
    """Those of the potential without the volume, scaled, with the volume's growth in the bend."""
    grid, (_, phi, _), how = on_a_line(40, False)
    metric = np.random.default_rng(18).random((4, 40)) + 0.5
    given = np.zeros((3, 1, 40, 1))
    line_rates(phi, *how[:-1], metric, given)
    smooth = phi + 0.3 * metric[0]
    plain = FLUXES["compact"].transport(grid, smooth, 0.3)
    np.testing.assert_array_equal(given[2, 0], plain.lag[0])
    bent = compact_faces(grid, smooth, 0.3, metric[1])[0].reshape(plain.lag.shape)[0, :, 0]
    bare = FLUXES["sg"].transport(grid, smooth, 0.3)
    for found, rate, scale in (
        (given[0], bare.forward, metric[2]),
        (given[1], bare.backward, metric[3]),
    ):
        expected = rate[0, :, 0] * scale * bent
        np.testing.assert_allclose(found[0, :-1, 0], expected[:-1], rtol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (WIDTH, WIDTH), (5, 40), (33, 17)])
@pytest.mark.parametrize("axis", [0, 1])
def test_blocks_hold_the_lines(shape, axis):
    values = np.random.default_rng(16).random(shape)
    expected = laid_out(along(values, axis))
    assert expected.shape == blocks(shape, axis)
    found, back = np.empty_like(expected), np.empty(shape)
    pack(values, axis, found)
    np.testing.assert_array_equal(found, expected)
    for block, of_block in enumerate(found):
        unpack_block(of_block, axis, block, back)
    np.testing.assert_array_equal(back, values)
    back = np.empty((shape[0], shape[1] + 3))[:, :-3]  # rows with room between them
    unpack(found, axis, back)
    np.testing.assert_array_equal(back, values)


def test_normal_tails_are_accurate_on_both_sides():
    """An argument that is off by an ulp moves the tail by z^2 of them."""
    values = np.linspace(-37, 37, 401)
    check_interpreted(normal_tails, values.copy(), outs=1)
    found = values.copy()
    normal_tails(found)
    assert (np.abs(found / ndtr(-values) - 1) <= (4 + 2 * values**2) * ULP).all()
    ends = np.array([0.0, -np.inf, np.inf])
    normal_tails(ends)
    assert ends.tolist() == [0.5, 1.0, 0.0]


@pytest.mark.parametrize("n", [1, WIDTH, WIDTH + 1, 3 * WIDTH - 5])
def test_squares_and_their_transposes(n):
    plane = np.random.default_rng(18).random((n, n + 7))[:, :n]  # rows with room between them
    out = np.empty((n, n))
    check_interpreted(symmetric_mean, plane, out, outs=1)
    symmetric_mean(plane, out)
    np.testing.assert_array_equal(out, 0.5 * (plane + plane.T))
    assert is_symmetric(out)
    for i, j in ((0, n - 1), (n - 1, 0), (n // 2, n // 3)):
        off = out.copy()
        off[i, j] = np.nextafter(off[i, j], 2)
        assert is_symmetric(off) == interpreted(is_symmetric)(off) == (i == j)
    assert not is_symmetric(np.full((n, n), np.nan))


def test_lags_of_cells_by_hand():
    """The mean over the faces of a cell, capped: two of them on a line, four in the plane."""
    lag = np.random.default_rng(17).random((2, 4, 5))
    out = np.empty((4, 5))
    lags_of_cells(lag, 0.6, 0.0, 0.0, out)
    capped = np.minimum(lag, 0.6)
    faces = [np.roll(capped[a], k, axis=a) for a in (0, 1) for k in (0, 1)]
    np.testing.assert_allclose(out, np.mean(faces, axis=0), rtol=4 * ULP)
    line = np.zeros((2, 5, 1))
    line[0] = lag[0, 0][:, None]
    out = np.empty((5, 1))
    lags_of_cells(line, 0.6, 0.0, 0.0, out)
    expected = 0.5 * (capped[0, 0] + np.roll(capped[0, 0], 1))
    np.testing.assert_allclose(out[:, 0], expected, rtol=4 * ULP)


# -- the Scharfetter-Gummel rates


@given(st.floats(1e-12, 1e-3), st.booleans(), st.floats(0.01, 10))
@PROPERTY
def test_rates_at_small_drift(q, down, beta):
    """B(q) = 1 - q/2 + q^2/12 - q^4/720 + ..., relative to 1."""
    q = -q if down else q
    forward, backward = sg_pair(q * beta, beta, 1.0)
    series = [1 - s * q / 2 + q**2 / 12 - q**4 / 720 for s in (1, -1)]
    assert forward == pytest.approx(beta * series[0], rel=8 * ULP)
    assert backward == pytest.approx(beta * series[1], rel=8 * ULP)


@given(st.floats(-40, 40).filter(lambda q: abs(q) > 1e-300), st.floats(1e-6, 1e3))
@PROPERTY
def test_rates_are_in_detailed_balance(q, beta):
    """Forward / backward = e^-q: what makes Gibbs states stationary."""
    forward, backward = sg_pair(q * beta, beta, 1.0)
    # q is divided by beta again, and its rounding is multiplied by q in the exponential.
    assert forward == pytest.approx(backward * np.exp(-q), rel=8 * ULP * (1 + abs(q)))


@given(st.floats(-1e300, 1e300), st.sampled_from([0.0, 5e-324, 1e-300, 1e-9, 0.1, 1.0, 1e9]))
@PROPERTY
def test_rates_are_mirrored_to_the_last_bit(difference, beta):
    there, back = (sg_pair(d, beta, 4.0) for d in (difference, -difference))
    assert there == back[::-1]
    assert min(there) >= 0
    assert np.isfinite(there).all()


def test_rates_without_diffusion():
    """At beta = 0, and as beta -> 0, upwind: mass goes downhill alone."""
    assert sg_pair(2.0, 0.0, 4.0) == (0.0, 8.0)
    assert sg_pair(-2.0, 0.0, 4.0) == (8.0, 0.0)
    assert sg_pair(0.0, 0.0, 4.0) == (0.0, 0.0)
    for beta in (1e-3, 1e-100, 5e-324):
        forward, backward = sg_pair(2.0, beta, 4.0)
        # Against a slope the rate is beta B(2 / beta) = 2 / (e^(2 / beta) - 1) < 1e-860.
        assert (forward, backward) == (0.0, 8.0)


def naive_pair(difference, beta, scale):
    """Planted: B(q) and B(-q) by their formula."""
    q = np.float64(difference / beta)
    with np.errstate(over="ignore", invalid="ignore"):
        forward, backward = (beta * s * q / (np.exp(s * q) - 1) for s in (1, -1))
    return scale * forward, scale * backward


def small_drift_error(pair):
    forward, _ = pair(1e-8, 1.0, 1.0)
    return abs(forward / (1 - 0.5e-8) - 1)


def mirror_defect(pair, difference=0.3):
    return abs(np.subtract(pair(difference, 0.7, 1.0), pair(-difference, 0.7, 1.0)[::-1])).max()


def test_naive_rates_are_caught():
    assert small_drift_error(sg_pair) <= 8 * ULP
    assert small_drift_error(naive_pair) > 1e-10
    tilted = lambda d, beta, scale: sg_pair(d + 1e-9, beta, scale)  # noqa: E731
    assert mirror_defect(sg_pair) == 0
    assert mirror_defect(tilted) > 1e-10


# -- moving particles


def folded(z, lower, upper):
    """Reflect at one wall after the other until inside."""
    while not lower <= z <= upper:
        z = 2 * lower - z if z < lower else 2 * upper - z
    return z


def wrapped(z, lower, upper):
    while z < lower:
        z += upper - lower
    while z > upper:
        z -= upper - lower
    return z


def moved(z, boundary):
    out = np.empty((1, 1))
    zero = np.zeros((1, 1))
    move(np.array([[z]]), zero, zero, 0.0, 0.0, np.array([-1.0]), np.array([0.5]), boundary, out)
    return float(out[0, 0])


@given(st.floats(-50, 50))
@PROPERTY
def test_walls_against_mirrors(z):
    # Both add or subtract 1.5 up to 40 times.
    assert moved(z, REFLECT) == pytest.approx(folded(z, -1.0, 0.5), abs=100 * ULP * 50)
    assert -1.0 <= moved(z, REFLECT) <= 0.5


@given(st.floats(-50, 50))
@PROPERTY
def test_wrapping_against_turns(z):
    gap = moved(z, WRAP) - wrapped(z, -1.0, 0.5)
    assert min(abs(gap), abs(abs(gap) - 1.5)) <= 100 * ULP * 50  # the two ends are one place
    assert -1.0 <= moved(z, WRAP) <= 0.5 + 4 * ULP


def test_move_is_the_euler_maruyama_step():
    rng = np.random.default_rng(11)
    points, velocity, noise = rng.standard_normal((3, 20, 3))
    out = np.empty((20, 3))
    move(points, velocity, noise, 0.25, 1.5, np.zeros(3), np.ones(3), FREE, out)
    np.testing.assert_allclose(
        out, points + 0.25 * velocity + 1.5 * noise, rtol=0, atol=8 * ULP * 5
    )


def test_clipping_at_walls_is_caught():
    """Planted: particles stopped at the wall instead of turned back."""
    assert moved(0.6, REFLECT) == pytest.approx(folded(0.6, -1.0, 0.5), abs=4 * ULP)
    assert np.clip(0.6, -1.0, 0.5) != pytest.approx(folded(0.6, -1.0, 0.5), abs=1e-3)


# -- births and deaths


def replaced_slowly(points, events, born):
    """Births and deaths on a list of pairs (place, has a clock)."""
    alive = [(place, True) for place in points]
    born = iter(born)
    for i, dies, j in events:
        place, rings = alive[i]
        successor = next(born, None) if dies else None
        if not rings:
            continue
        if dies and successor is not None:
            alive[i] = successor, False
        elif dies and i != j:
            alive[i] = alive[j][0], False
        elif i != j:
            alive[j] = place, False
    return [place for place, _ in alive]


@given(st.integers(0, 2**32), st.booleans())
@PROPERTY
def test_replace_against_a_list(seed, reservoir):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 9))
    ringing = rng.permutation(n)[: int(rng.integers(n + 1))]
    dies, others = rng.random(len(ringing)) < 0.5, rng.integers(n, size=len(ringing))
    born = 10.0 + np.arange(int(dies.sum())) if reservoir else np.empty(0)
    points = np.arange(float(n))
    slow = replaced_slowly(
        points.tolist(), list(zip(ringing, dies, others, strict=True)), born.tolist()
    )
    found = points[:, None].copy()
    replace(ringing, dies, others, born[:, None], np.zeros(n, dtype=bool), found)
    assert found.ravel().tolist() == slow


# -- axes that differ


@pytest.mark.parametrize("mixed", [(True, False), (False, True)])
@pytest.mark.parametrize("cells", [(5, 4), (2, 3), (3, 1), (1, 4)])
def test_one_periodic_axis(mixed, cells):
    """On a cylinder each axis has the limited fluxes of a torus or a box."""
    rng = np.random.default_rng(21)
    phi, rho = rng.standard_normal((2, *cells))
    scale, out = np.array([2.0, 3.0]), np.empty(cells)
    kinds = {True: mf.Grid.torus, False: mf.Grid.box}
    grids = {wrap: make((0, 0), cells, cells) for wrap, make in kinds.items()}
    found = {wrap: np.stack(rates(grid, phi, 0.5)) for wrap, grid in grids.items()}
    fluxes = {}
    for wrap in (mixed, (True, True), (False, False)):
        forward, backward = (np.stack([found[wrap[a]][way, a] for a in (0, 1)]) for way in (0, 1))
        weight, fluxes[wrap] = np.zeros((2, 2, *cells))
        limited_weights(phi, 0.5, scale, forward, backward, weight)
        limited_flux_form(rho, rho, forward, backward, weight, 0.1, wrap, fluxes[wrap], out)
    for axis in (0, 1):
        same = fluxes[mixed[axis], mixed[axis]]
        np.testing.assert_array_equal(fluxes[mixed][axis], same[axis])


# -- polynomials in cells


@pytest.mark.parametrize("scaled", [False, True])
def test_particles_in_cells_against_numpy(scaled):
    """Moments of cells, and values and slopes of piecewise polynomials, from the definitions."""
    rng = np.random.default_rng(8)
    cells, lower, width = 5, -1.5, 0.7
    points = rng.uniform(lower, lower + cells * width, (40, 1 + scaled))
    weights, amplitudes = rng.random(40), points[:, 0] if scaled else np.ones(40)
    cell = np.floor((points[:, -1] - lower) / width).astype(int)
    place = 2 * (points[:, -1] - lower - cell * width) / width - 1
    moments = np.empty((cells, POWERS))
    gather(points, weights, scaled, lower, width, moments)
    powers = place[:, None] ** np.arange(POWERS)
    exact = np.zeros_like(moments)
    np.add.at(exact, cell, (weights * amplitudes)[:, None] * powers)
    np.testing.assert_allclose(moments, exact, rtol=1e-11, atol=1e-13)

    coefficients = rng.standard_normal((cells, POWERS))
    made = [np.polynomial.Polynomial(c) for c in coefficients]
    values = np.array([made[c](s) for c, s in zip(cell, place, strict=True)])
    slopes = np.array([made[c].deriv()(s) for c, s in zip(cell, place, strict=True)]) * 2 / width
    found, gradient = np.empty(40), np.empty_like(points)
    evaluate(points, coefficients, lower, width, found)
    pull(points, coefficients, scaled, lower, width, gradient)
    np.testing.assert_allclose(found, values, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(gradient[:, -1], amplitudes * slopes, rtol=1e-10, atol=1e-10)
    if scaled:
        np.testing.assert_allclose(gradient[:, 0], values, rtol=1e-10, atol=1e-12)


# -- elementary functions

PLACES = np.concatenate(
    [[0.0, 1e-320, 1e-8, 0.17, 0.18, 19.9, 20.1, 1e300], np.geomspace(1e-12, 25.0, 301)]
)


def exact_decay(u):
    """By decimal arithmetic, with 350 digits."""
    with localcontext() as context:
        context.prec = 350
        return float((-Decimal(float(min(u, 1e4)))).exp())


def exact_tanh(u):
    with localcontext() as context:
        context.prec = 350
        power = (-2 * Decimal(float(min(u, 50.0)))).exp()
        return float((1 - power) / (1 + power))


def test_exponentials_to_the_last_digits():
    """Two units in the last place, down to where numbers have fewer digits."""
    places = np.append(PLACES, [300.0, 707.9, 708.1, np.inf])
    found = np.array([decay(u) for u in places])
    exact = np.array([0.0 if u > UNDERFLOW else exact_decay(u) for u in places])
    assert (np.abs(found - exact) <= 2 * np.spacing(exact)).all()
    compiled = places.copy()
    decays(compiled)
    np.testing.assert_array_equal(compiled, found)
    assert np.isnan(decay(np.nan))


def exact_log(x):
    with localcontext() as context:
        context.prec = 50
        return float(Decimal(float(x)).ln())


@pytest.mark.parametrize("near", [1e-300, 1e-8, 0.7, 1.0, 1.5, 1e9, 1e300])
def test_logarithms_to_the_last_digits(near):
    """Two units in the last place, near 1 too, where they vanish."""
    factors = 1 + np.concatenate([[0.0], np.geomspace(1e-15, 0.4, 60)])
    places = near * np.concatenate([factors, 1 / factors])
    found = np.array([logarithm(x) for x in places])
    exact = np.array([exact_log(x) for x in places])
    assert (np.abs(found - exact) <= 2 * np.spacing(np.abs(exact))).all()


def test_terms_of_the_entropy():
    rho = np.array([[0.0, 1e-310, 1e-5], [0.3, 1.0, 7.0]])
    found = np.empty_like(rho)
    entropy_terms(rho, 1e-300, found)
    expected = rho * np.log(np.maximum(rho, 1e-300))
    np.testing.assert_allclose(found, expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("n", [1, 2, 300])
def test_sums_of_a_line(n):
    rho = np.random.default_rng(n).random(n)
    rho[n // 2] = 0.0
    check_interpreted(line_sums, rho, 1e-300, outs=0)
    total, lowest, entropy = line_sums(rho, 1e-300)
    assert total == pytest.approx(math.fsum(rho), rel=1e-15)
    assert lowest == 0.0
    exact = math.fsum(x * math.log(x) for x in rho if x)
    assert entropy == pytest.approx(exact, rel=1e-13)
    for place in range(min(n, 3)):
        rho[place] = np.nan
        assert np.isnan(line_sums(rho, 1e-300)[1])


@given(st.floats(-708.0, 0.0))
@PROPERTY
def test_parts_of_exponentials(y):
    """``y = k log 2 + r`` with |r| <= log(2) / 2 and ``R = r coth(r / 2)``."""
    big, r, power = exponential_parts(y)
    assert abs(r) <= 0.5 * np.log(2.0) * (1 + 1e-9)
    assert np.log2(power) == round(np.log2(power))
    assert np.log2(power) * np.log(2.0) + r == pytest.approx(y, abs=4 * ULP * (1 + abs(y)))
    exact = r / np.tanh(0.5 * r) if abs(r) > 1e-8 else 2.0
    assert big == pytest.approx(exact, rel=4 * ULP)


def test_tanh_to_the_last_digits():
    """Four units in the last place at most, over all magnitudes; odd to the last bit."""
    found, mirrored, compiled = np.empty((3, len(PLACES)))
    for i, u in enumerate(PLACES):
        found[i], mirrored[i] = tangent(u), tangent(-u)
    tanh(PLACES, compiled)
    exact = np.array([exact_tanh(u) for u in PLACES])
    assert (np.abs(found - exact) <= 4 * np.spacing(exact)).all()
    np.testing.assert_array_equal(mirrored, -found)
    np.testing.assert_array_equal(compiled, found)


def test_logistic_against_its_definition():
    u = np.concatenate([-PLACES[::-1], PLACES])
    found = np.empty_like(u)
    logistic(u, found)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.clip(u, -700, 700))), atol=3e-16)
    np.testing.assert_allclose(found + found[::-1], 1.0, atol=2e-16)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_no_number_stays_none():
    u = np.array([np.nan, np.inf, -np.inf])
    for kernel, low in ((tanh, -1.0), (logistic, 0.0)):
        found = np.empty(3)
        kernel(u, found)
        np.testing.assert_array_equal(found, [np.nan, 1.0, low])


def test_a_series_cut_off_is_caught():
    """Without its last two terms the series misses the check on digits."""

    def cut(u):
        y = -2.0 * min(abs(u), 20.0)
        k = np.rint(y / np.log(2.0))
        r = y - k * np.log(2.0)
        big, s = 2.0 + r * r / 6 - r**4 / 360 + r**6 / 15120, 2.0**k
        return float(np.copysign((big * (1 - s) - r * (1 + s)) / (big * (1 + s) - r * (1 - s)), u))

    exact = np.array([exact_tanh(u) for u in PLACES])
    off = np.abs([cut(u) for u in PLACES] - exact)
    assert (off > 4 * np.spacing(exact)).any()


# -- units


def test_bumps_against_numpy():
    rng = np.random.default_rng(5)
    x, sides = rng.standard_normal((5, 2)), rng.standard_normal((2, 7))
    found = np.empty((5, 7))
    bumps(x, sides, 0.7, found)
    exact = np.exp(-0.7 * ((x[:, :, None] - sides) ** 2).sum(axis=1))
    np.testing.assert_allclose(found, exact, rtol=1e-15 * 8)


@pytest.mark.parametrize("is_logistic", [False, True])
@pytest.mark.parametrize("neurons", [1, BLOCK, BLOCK + 3])
def test_ridges_against_numpy(neurons, is_logistic):
    rng = np.random.default_rng(4)
    x, rows = rng.standard_normal((5, 3)), rng.standard_normal((3, neurons))
    residual = rng.standard_normal(5)
    function = (lambda u: 1 / (1 + np.exp(-u))) if is_logistic else np.tanh
    exact = function(x @ rows)
    slope = exact * (1 - exact) if is_logistic else 1 - exact**2
    values, gradient = np.empty_like(exact), np.empty_like(rows)
    ridges(x, rows, is_logistic, values)
    pull_ridges(values, x, residual, is_logistic, gradient)
    np.testing.assert_allclose(values, exact, atol=1e-15)
    np.testing.assert_allclose(gradient, x.T @ (slope * residual[:, None]), atol=1e-14)


@pytest.mark.parametrize(("rows", "cells"), [(1, 1), (3, 5), (12, 300)])
def test_squares_against_numpy(rows, cells):
    rng = np.random.default_rng(9)
    features, rho = rng.standard_normal((rows, cells)), rng.random(cells)
    targets, weights = rng.standard_normal((2, rows))
    gap = 0.1 * features @ rho - targets
    for version in (squares, interpreted(squares)):
        potential = np.full(cells, np.nan)
        risk = version(features, targets, weights, (0.1, 0.5), rho, potential)
        assert risk == pytest.approx(0.5 * weights @ gap**2, rel=1e-12)
        np.testing.assert_allclose(potential, weights * gap @ features, rtol=0, atol=1e-13 * rows)


# -- folded sums


@pytest.mark.parametrize("n", [1, 2, 3, 255, 256, 257, 600])
def test_folds_of_lines(n):
    values = np.random.default_rng(n).standard_normal(n)
    assert fold_line(values) == fold_line(values[::-1].copy())
    assert fold_line(values) == pytest.approx(math.fsum(values), abs=1e-14 * np.abs(values).sum())


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (7, 7), (8, 8), (7, 4), (6, 9)])
def test_folds_of_planes(shape):
    values = np.random.default_rng(6).standard_normal(shape)
    images = [values, values[::-1], values[:, ::-1], values[::-1, ::-1]]
    images += [image.T for image in images] if shape[0] == shape[1] else []
    assert len({fold_plane(np.ascontiguousarray(image)) for image in images}) == 1
    exact = math.fsum(values.ravel())
    assert fold_plane(values) == pytest.approx(exact, abs=1e-14 * np.abs(values).sum())
