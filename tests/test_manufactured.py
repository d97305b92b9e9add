"""The manufactured problems are what they claim to be, by differences of their formulas alone."""

import numpy as np
import pytest
from manufactured import MANUFACTURED, RESTING
from reference import integral

WEIGHTS = {  # central differences of order 8
    1: {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280},
    2: {0: -205 / 72, 1: 8 / 5, 2: -1 / 5, 3: 8 / 315, 4: -1 / 560},
}
STEP = 0.004


def difference(function, z, axis, order):
    """Derivative along an axis at points, to about 1e-10 of what is smooth on a scale of 1/10."""
    shift = np.zeros(z.shape[-1])
    shift[axis] = STEP
    total = WEIGHTS[2][0] * function(z) if order == 2 else 0.0
    for k, weight in WEIGHTS[order].items():
        if k:
            sign = 1 if order == 2 else -1
            total = total + weight * (function(z + k * shift) + sign * function(z - k * shift))
    return total / STEP**order


def equation(made, z, t, beta=None, pull=1.0):
    """d_t rho - s(t) (grad rho . grad U + rho lap U + beta lap rho), U = V + W * rho."""
    beta = made.lines[0].beta if beta is None else beta
    wave = np.array([[t]])
    rate = difference(lambda s: made.law(z, float(s[0, 0])), wave, 0, 1)

    def law(y):
        return made.law(y, t)

    def field(y):  # V + W * rho, with the convolution of the full law, not of its resting part
        total = made.potential(y)
        if made.pull:
            total = total + pull * convolution(made, y, t)
        return total

    change = 0.0
    for axis in range(z.shape[-1]):
        change = change + difference(law, z, axis, 1) * difference(field, z, axis, 1)
        change = change + law(z) * difference(field, z, axis, 2)
        change = change + beta * difference(law, z, axis, 2)
    return rate - made.flow.speed(t) * change


def convolution(made, y, t):
    """W * rho by 64 equispaced nodes a dimension of the torus."""
    grid = made.grid(64)
    nodes = grid.points.reshape(-1, grid.dim)
    weights = made.law(nodes, t) * grid.volume
    return made.kernel(y[..., None, :] - nodes) @ weights


def points(made, n=12):
    """Random points away from the walls, where the formulas can be continued."""
    grid, rng = made.grid(1), np.random.default_rng(5)
    low, high = np.array(grid.lower), np.array(grid.upper)
    inside = 0.9 if made.half == 0 else 0.5
    return 0.5 * (low + high) + inside * 0.5 * (high - low) * (2 * rng.random((n, grid.dim)) - 1)


@pytest.mark.parametrize("name", list(MANUFACTURED))
def test_law_solves_the_equation(name):
    made = MANUFACTURED[name]
    t = 0.4 * made.t1
    z = points(made, 4 if made.pull else 12)
    off = np.abs(equation(made, z, t)).max()
    size = np.abs(made.law(z, t)).max()
    assert off < 1e-8 * size
    # One hundredth more diffusion is no solution.
    wrong = np.abs(equation(made, z, t, beta=1.01 * made.lines[0].beta)).max()
    assert wrong > 1e-4 * size


@pytest.mark.parametrize("name", [n for n, made in MANUFACTURED.items() if made.pull])
def test_the_kernel_matters(name):
    made = MANUFACTURED[name]
    assert np.abs(equation(made, points(made, 4), 0.1, pull=1.1)).max() > 1e-2


@pytest.mark.parametrize("name", list(MANUFACTURED))
def test_law_is_a_probability_that_stays_inside(name):
    made = MANUFACTURED[name]
    for line in made.lines:
        for clock in (0.0, 0.5 * made.t1):
            mass = integral(lambda x, a=line, s=clock: a.law(x, s), line.lower, line.upper, 60, 20)
            assert mass == pytest.approx(1.0, abs=1e-12)
            x, _ = line.rule
            assert line.law(x, clock).min() > 0
        if not line.periodic:  # no flux: beta m phi' = 0, at the very walls in the limit
            for wall in (line.lower, line.upper):
                near = wall + 1e-10 * np.sign(0.5 * (line.lower + line.upper) - wall)
                assert abs(line.rest(near) * line.slope(near)) < 1e-8
    grid = made.grid(40)
    assert made.at(grid, 0.0).mass == pytest.approx(1.0, abs=1e-8)


def test_slopes_are_those_of_the_eigenfunctions():
    for made in MANUFACTURED.values():
        for line in made.lines:
            middle = 0.5 * (line.lower + line.upper)
            z = np.array([[middle + 0.3]])
            slope = difference(lambda y, a=line: a.phi(y[..., 0]), z, 0, 1)
            assert slope == pytest.approx(line.slope(z[..., 0]), rel=1e-9)


@pytest.mark.parametrize("name", list(RESTING))
def test_resting_laws_balance(name):
    """beta log m + V + W * m is constant, the convolution by another rule."""
    law = RESTING[name]
    grid = law.grid(400)
    weights = law.law(grid.points) / law.mass * grid.volume
    z = np.linspace(grid.lower[0], grid.upper[0], 7)[:, None]
    pulled = sum(w * law.kernel(z - y) for y, w in zip(grid.points, weights, strict=True))
    potential = law.beta * np.log(law.law(z)) + law.potential(z) + pulled
    assert np.ptp(potential) < 1e-6
