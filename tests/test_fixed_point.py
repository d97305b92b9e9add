"""Anderson's acceleration: what it finds, when it stops, and what it returns then."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY
from scipy.optimize import brentq

from meanfield_pde.eulerian.fixed_point import anderson


def plain(function, start, tolerance, limit):
    """Picard's iteration, to compare with."""
    x = start
    for iteration in range(1, limit + 1):
        value = function(x)
        if np.abs(value - x).max() <= tolerance:
            return value, iteration
        x = value
    return x, limit


def linear(eigenvalues, seed=0):
    """x -> Mx + b with symmetric M, and its fixed point."""
    rng, n = np.random.default_rng(seed), len(eigenvalues)
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
    matrix = basis @ np.diag(eigenvalues) @ basis.T
    b = rng.standard_normal(n)
    return (lambda x: matrix @ x + b), np.linalg.solve(np.eye(n) - matrix, b)


def test_a_number():
    root = brentq(lambda x: np.cos(x) - x, 0, 1, xtol=1e-15)
    found = anderson(np.cos, np.array([0.5]), 1e-13)
    assert found.converged
    assert found.residual <= 1e-13
    # |cos'| < 0.7 at the root: the error is at most residual / (1 - 0.7), times 0.7.
    assert found.point[0] == pytest.approx(root, abs=3e-13)
    assert found.iterations < plain(np.cos, np.array([0.5]), 1e-13, 100)[1] / 3


@given(st.integers(0, 2**32), st.floats(0, 0.9))
@PROPERTY
def test_contractions(seed, radius):
    function, exact = linear(np.linspace(-radius, radius, 6), seed)
    found = anderson(function, np.zeros(6), 1e-12)
    assert found.converged
    np.testing.assert_allclose(found.point, exact, atol=1e-11)  # residual / (1 - radius)


def test_what_plain_iteration_cannot_do():
    """Eigenvalues beyond 1: as many iterates as unknowns find the solution (Walker and Ni)."""
    function, exact = linear([-3.0, -2.0, 0.5, 4.0])
    with np.errstate(over="ignore"):
        diverged, _ = plain(function, np.zeros(4), 1e-10, 60)
    assert np.abs(diverged - exact).max() > 1e10
    found = anderson(function, np.zeros(4), 1e-10)
    assert found.converged
    np.testing.assert_allclose(found.point, exact, atol=1e-9)


def test_shapes_are_kept():
    found = anderson(lambda x: 0.5 * x + 1.0, np.zeros((3, 4)), 1e-13)
    assert found.point.shape == (3, 4)
    np.testing.assert_allclose(found.point, 2.0, atol=1e-12)


def test_a_fixed_point_from_the_start():
    found = anderson(lambda x: x.copy(), np.arange(3.0), 0.0)
    assert (found.iterations, found.residual, found.converged) == (1, 0.0, True)


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_the_point_is_in_the_range(limit):
    """Stopped early or not, the point is a value of the function: here, a positive one."""
    values = []

    def function(x):
        values.append(np.exp(-5 * x))
        return values[-1]

    found = anderson(function, np.array([3.0, -1.0]), 1e-15, limit=limit)
    assert not found.converged
    assert found.iterations == len(values) == limit
    np.testing.assert_array_equal(found.point, values[-1])


def test_not_a_number_stops_it():
    calls = []

    def function(x):
        calls.append(x)
        return np.full_like(x, np.nan)

    found = anderson(function, np.zeros(2), 1e-12)
    assert not found.converged
    assert len(calls) == 1


def test_iterations_are_counted_where_it_stops():
    found = anderson(lambda x: np.full_like(x, np.nan), np.zeros(2), 1e-12)
    assert found.iterations == 1


def test_the_function_is_not_called_with_its_own_arrays():
    """A start that the caller keeps stays as it was."""
    start = np.ones(3)
    anderson(lambda x: 0.1 * x, start, 1e-12)
    np.testing.assert_array_equal(start, 1.0)


def test_a_false_convergence_is_caught():
    """Planted: a tolerance that is never met, and one that is met at once."""
    function, exact = linear(np.linspace(-0.9, 0.9, 6))
    loose = anderson(function, np.zeros(6), 10.0)
    assert loose.converged
    assert np.abs(loose.point - exact).max() > 1e-3
    assert not anderson(function, np.zeros(6), 0.0, limit=8).converged
