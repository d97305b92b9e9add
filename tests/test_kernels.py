"""Compiled loops = the same loops interpreted = dense matrices written from the formulas.

Run it with NUMBA_DISABLE_JIT=1 as well: then the loops are interpreted wherever they are called.
"""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import generator
from reference import PROPERTY, ULP

import meanfield_pde as mf
from meanfield_pde.energies import _kernels as energy_kernels
from meanfield_pde.energies._kernels import POWERS, gather, pull
from meanfield_pde.eulerian import _kernels as density_kernels
from meanfield_pde.eulerian._kernels import (
    flux_form,
    largest_limited_outflow,
    largest_outflow,
    limited_face,
    limited_flux_form,
    limited_slope,
    limited_weights,
    patankar_columns,
    scharfetter_gummel_pair,
    scharfetter_gummel_rates,
    solve_columns,
)
from meanfield_pde.lagrangian import _kernels as particle_kernels
from meanfield_pde.lagrangian._kernels import FREE, REFLECT, WRAP, move

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


def rates(grid, potential, beta, kernel=scharfetter_gummel_rates):
    forward, backward = np.empty((2, 2, *shape_of(grid)))
    phi = potential.reshape(shape_of(grid))
    kernel(phi, beta, *scale_of(grid), grid.periodic, forward, backward)
    return forward, backward


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
    for module in (density_kernels, energy_kernels, particle_kernels):
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
    slow = rates(grid, potential, beta, interpreted(scharfetter_gummel_rates))
    np.testing.assert_array_equal(fast, slow)  # both call the same pair


@given(st.floats(-1e3, 1e3), st.floats(0, 10))
@PROPERTY
def test_pair_interpreted(difference, beta):
    with np.errstate(all="ignore"):
        slow = interpreted(scharfetter_gummel_pair)(difference, beta, 2.0)
    fast = scharfetter_gummel_pair(difference, beta, 2.0)
    # Two libraries may round exp and expm1 differently, in the last place each.
    np.testing.assert_allclose(fast, slow, rtol=8 * ULP, atol=1e-300)


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
    check_interpreted(largest_limited_outflow, forward, backward, outs=0)
    check_interpreted(flux_form, rho, source, forward, backward, 0.1, out, outs=1)
    phi = potential.reshape(shape_of(grid))
    weight = weights(grid, potential, beta)
    slow = weights(grid, potential, beta, interpreted(limited_weights))
    np.testing.assert_allclose(weight, slow, rtol=8 * ULP)  # tanh may be rounded differently
    check_interpreted(
        limited_flux_form,
        *(rho, source, forward, backward, weight, 0.1, grid.periodic, empty, out),
        outs=1,
    )
    assert phi.shape == rho.shape
    for axis in (0, 1):
        f, b, r, y = (
            np.ascontiguousarray(a.T if axis else a)
            for a in (forward[axis], backward[axis], rho, source)
        )
        check_interpreted(solve_columns, r, f, b, 5.0, grid.periodic, np.empty_like(r), outs=1)
        down, up = np.empty((2, *r.shape))
        check_interpreted(patankar_columns, r, y, f, b, 2 * f, 2 * b, down, up, outs=2)


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
    arguments = points, velocity, noise, 0.7, 3.0, lower, upper, boundary, np.empty((50, 2))
    check_interpreted(move, *arguments, outs=1)
    check_interpreted(move, *arguments, outs=0)


@pytest.mark.parametrize("scaled", [False, True])
def test_tables_interpreted(scaled):
    points, weights, cells, polynomials = particles_in_cells(scaled)
    given = scaled, -1.0, 0.3
    check_interpreted(gather, points, weights, *given, np.empty((cells, POWERS)), outs=1)
    check_interpreted(pull, points, polynomials, *given, np.empty_like(points), outs=1)


# -- compiled = dense


@pytest.mark.parametrize("beta", [0.0, 1e-3, 0.3, 50.0])
def test_rates_against_dense(grid, beta):
    potential = np.random.default_rng(5).standard_normal(grid.shape)
    found = matrix_of(grid, *rates(grid, potential, beta))
    exact = generator(grid, potential, beta)
    # q / expm1(q) for q of either sign, against one formula for both: a few roundings each.
    np.testing.assert_allclose(found, exact, rtol=1e-13, atol=1e-13 * np.abs(exact).max())


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
        0 * source, source, forward, backward, weight, 1.0, grid.periodic, 0 * forward, out
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
                *(rho, rho, forward, backward, weight, 1 / outflow, grid.periodic),
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


LINES = [(n, periodic) for n in (1, 2, 3, 4, 30) for periodic in (False, True)]


@pytest.mark.parametrize(("n", "periodic"), LINES)
@pytest.mark.parametrize("dt", [1e-3, 1.0, 1e3])
def test_solves_against_numpy(n, periodic, dt):
    rho, forward, backward = on_lines(n, 3, periodic, n)
    out = np.empty_like(rho)
    solve_columns(rho, forward, backward, dt, periodic, out)
    for j in range(3):
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
    entries, mass = relative_errors(solve_columns, n, periodic, dt)
    assert entries <= 20 * n * ULP
    assert mass <= 20 * n * ULP


def test_subtracting_pivots_are_caught():
    entries, mass = relative_errors(subtracting, 4, False, 1e8)
    assert entries > 1e-10
    assert mass > 1e-10


@given(
    st.integers(1, 60), st.integers(1, 4), st.booleans(), st.floats(-6, 8), st.integers(0, 2**32)
)
@PROPERTY
def test_solves_keep_mass_and_sign(n, m, periodic, magnitude, seed):
    rng = np.random.default_rng(seed)
    rho, forward, backward = on_lines(n, m, periodic, seed)
    rho *= rng.random((n, m)) < 0.7  # empty cells
    rho[rng.integers(n)] = 1e-200
    out = np.empty_like(rho)
    solve_columns(rho, forward, backward, 10.0**magnitude, periodic, out)
    assert (out >= 0).all()
    before, after = rho.sum(axis=0), out.sum(axis=0)
    assert (np.abs(after - before) <= 20 * n * ULP * before).all()


def test_patankar_rates_against_their_formula():
    """(A[rho] rho / y + A[y]) / 2, each rate with the weight of the cell that it leaves."""
    rng = np.random.default_rng(14)
    rho, stage, f, b, f2, b2 = rng.random((6, 5, 3)) + 0.1
    stage[2, 1] = 0.0
    down, up = np.empty((2, 5, 3))
    patankar_columns(rho, stage, f, b, f2, b2, down, up)
    for i, j in np.ndindex(5, 3):
        k = (i + 1) % 5
        leave = [rho[c, j] / stage[c, j] if stage[c, j] else 1.0 for c in (i, k)]
        assert down[i, j] == pytest.approx((f[i, j] * leave[0] + f2[i, j]) / 2, rel=4 * ULP)
        assert up[i, j] == pytest.approx((b[i, j] * leave[1] + b2[i, j]) / 2, rel=4 * ULP)


# -- the Scharfetter-Gummel rates


@given(st.floats(1e-12, 1e-3), st.booleans(), st.floats(0.01, 10))
@PROPERTY
def test_rates_at_small_drift(q, down, beta):
    """B(q) = 1 - q/2 + q^2/12 - q^4/720 + ..., relative to 1."""
    q = -q if down else q
    forward, backward = scharfetter_gummel_pair(q * beta, beta, 1.0)
    series = [1 - s * q / 2 + q**2 / 12 - q**4 / 720 for s in (1, -1)]
    assert forward == pytest.approx(beta * series[0], rel=8 * ULP)
    assert backward == pytest.approx(beta * series[1], rel=8 * ULP)


@given(st.floats(-40, 40).filter(lambda q: abs(q) > 1e-300), st.floats(1e-6, 1e3))
@PROPERTY
def test_rates_are_in_detailed_balance(q, beta):
    """Forward / backward = e^-q: what makes Gibbs states stationary."""
    forward, backward = scharfetter_gummel_pair(q * beta, beta, 1.0)
    # q is divided by beta again, and its rounding is multiplied by q in the exponential.
    assert forward == pytest.approx(backward * np.exp(-q), rel=8 * ULP * (1 + abs(q)))


@given(st.floats(-1e300, 1e300), st.sampled_from([0.0, 5e-324, 1e-300, 1e-9, 0.1, 1.0, 1e9]))
@PROPERTY
def test_rates_are_mirrored_to_the_last_bit(difference, beta):
    with np.errstate(over="ignore"):
        there = scharfetter_gummel_pair(difference, beta, 3.0)
        back = scharfetter_gummel_pair(-difference, beta, 3.0)
    assert there == back[::-1]
    assert min(there) >= 0
    assert np.isfinite(there).all()


def test_rates_without_diffusion():
    """At beta = 0, and as beta -> 0, upwind: mass goes downhill alone."""
    assert scharfetter_gummel_pair(2.0, 0.0, 3.0) == (0.0, 6.0)
    assert scharfetter_gummel_pair(-2.0, 0.0, 3.0) == (6.0, 0.0)
    assert scharfetter_gummel_pair(0.0, 0.0, 3.0) == (0.0, 0.0)
    for beta in (1e-3, 1e-100, 5e-324):
        with np.errstate(over="ignore"):
            forward, backward = scharfetter_gummel_pair(2.0, beta, 3.0)
        # Against a slope the rate is beta B(2 / beta) = 2 / (e^(2 / beta) - 1) < 1e-860.
        assert (forward, backward) == (0.0, 6.0)


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
    assert small_drift_error(scharfetter_gummel_pair) <= 8 * ULP
    assert small_drift_error(naive_pair) > 1e-10
    tilted = lambda d, beta, scale: scharfetter_gummel_pair(d + 1e-9, beta, scale)  # noqa: E731
    assert mirror_defect(scharfetter_gummel_pair) == 0
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


def test_move_returns_the_longest_drift():
    """As a share of the side, whatever the noise and the walls do."""
    rng = np.random.default_rng(12)
    points, velocity, noise = rng.standard_normal((3, 20, 2))
    lower, upper = np.array([-1.0, 0.0]), np.array([1.0, 8.0])
    exact = np.max(0.25 * np.abs(velocity) / [2.0, 8.0])
    for boundary in (REFLECT, WRAP):
        out = np.empty((20, 2))
        found = move(points, velocity, noise, 0.25, 1.5, lower, upper, boundary, out)
        assert found == pytest.approx(exact, rel=4 * ULP)


# -- tables of units


def particles_in_cells(scaled):
    """Points in 7 cells of width 0.3 from -1, also on their borders and at both ends."""
    rng = np.random.default_rng(15)
    points = rng.uniform(-1, 1.1, (40, 1 + scaled))
    points[:8, -1] = -1 + 0.3 * np.arange(8)
    return points, rng.random(40), 7, rng.standard_normal((7, POWERS))


def place(b):
    """Cell of width 0.3 from -1, and place in it; the end belongs to the last cell."""
    cell = min(int((b + 1) / 0.3), 6)
    return cell, (b - (-1 + 0.3 * (cell + 0.5))) / 0.15


@pytest.mark.parametrize("scaled", [False, True])
def test_moments_by_loops(scaled):
    points, weights, cells, _ = particles_in_cells(scaled)
    out = np.full((cells, POWERS), np.nan)
    gather(points, weights, scaled, -1.0, 0.3, out)
    exact = np.zeros((cells, POWERS))
    for z, w in zip(points, weights, strict=True):
        cell, s = place(z[-1])
        for q in range(POWERS):
            exact[cell, q] += w * (z[0] if scaled else 1.0) * s**q
    np.testing.assert_allclose(out, exact, rtol=0, atol=1e-13)


@pytest.mark.parametrize("scaled", [False, True])
def test_gradients_by_numpy(scaled):
    points, _, _, polynomials = particles_in_cells(scaled)
    out = np.empty_like(points)
    pull(points, polynomials, scaled, -1.0, 0.3, out)
    for z, found in zip(points, out, strict=True):
        cell, s = place(z[-1])
        p = np.polynomial.Polynomial(polynomials[cell])
        exact = [p(s), z[0] * p.deriv()(s) / 0.15] if scaled else [p.deriv()(s) / 0.15]
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-11)


def test_pull_is_the_derivative_of_gather():
    """Of the polynomials summed over the particles, by the central difference of one of them."""
    points, weights, cells, polynomials = particles_in_cells(True)
    points[:8, -1] += 0.1  # off the borders

    def total(z):
        out = np.empty((cells, POWERS))
        gather(z, weights, True, -1.0, 0.3, out)
        return (out * polynomials).sum()

    slopes = np.empty_like(points)
    pull(points, polynomials, True, -1.0, 0.3, slopes)
    for k, a in np.ndindex(5, 2):
        there, back = points.copy(), points.copy()
        there[k, a] += 1e-5
        back[k, a] -= 1e-5
        found = (total(there) - total(back)) / 2e-5
        # Step 1e-5: third derivatives up to 7^3 / 0.15^3 times 1e-10, rounding 1e-10.
        assert found == pytest.approx(weights[k] * slopes[k, a], abs=1e-5)
