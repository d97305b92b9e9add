"""The compact flux: its lag, its factor, and the orders that they are made for."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import FLOWS, excess, half_square
from reference import PROPERTY, integral, order

import meanfield_pde as mf
from meanfield_pde.eulerian.exponential import exponential
from meanfield_pde.eulerian.flux import FLUXES, Generator
from meanfield_pde.eulerian.lines import Lines
from meanfield_pde.eulerian.stepper import STEPPERS, Equation, State

GRIDS = {
    "line": mf.Grid.box(-2, 2, 12),
    "two cells": mf.Grid.box(0, 1, 2),
    "ring": mf.Grid.torus(-2, 2, 12),
    "plane": mf.Grid.box((-1, -2), (1, 2), (5, 6)),
    "torus": mf.Grid.torus((-1, -2), (1, 2), (5, 6)),
}


@pytest.fixture(params=list(GRIDS))
def grid(request):
    return GRIDS[request.param]


def random_potential(grid, seed=0):
    return np.random.default_rng(seed).standard_normal(grid.shape)


def compact(grid, potential, beta):
    return FLUXES["compact"].transport(grid, potential, beta)


# -- the lag

PECLET = [0.0, 1e-300, 1e-9, 1e-3, 0.02, 0.05, 0.1, 0.399, 0.401, 1.0, 3.0, 30.0, 800.0, 1e6]


def lag_error(q, beta, lag):
    """Relative to h^2 / (12 beta), the lag at q = 0."""
    grid = mf.Grid.box(0, 1, 2)
    return abs(lag(grid, np.array([0.0, q * beta]), beta) / (grid.volume**2 / beta) - excess(q))


def lag_of(grid, potential, beta):
    return compact(grid, potential, beta).lag[0, 0, 0]


@pytest.mark.parametrize("q", PECLET)
@pytest.mark.parametrize("beta", [1e-3, 1.0, 50.0])
def test_lags_at_every_peclet_number(q, beta):
    """h^2 / beta ((q/2) coth(q/2) - 1) / q^2, by sixty decimal digits."""
    for sign in (1, -1):
        assert lag_error(sign * q, beta, lag_of) <= 1e-13


def test_the_answer_by_its_series():
    """1/12 - q^2/720 + q^4/30240 - ..., and 1 / (2 |q|) - 1/q^2 far out."""
    assert excess(0.0) == pytest.approx(1 / 12)
    assert excess(1e-2) == pytest.approx(1 / 12 - 1e-4 / 720 + 1e-8 / 30240, rel=1e-14)
    assert excess(-1e3) == pytest.approx(0.5e-3 - 1e-6, rel=1e-14)


def test_a_lag_by_cancellation_is_caught():
    """Planted: the closed form in doubles at every q."""

    def naive(grid, potential, beta):
        half = 0.5 * (potential[1] - potential[0]) / beta
        return grid.volume**2 / beta * (half / np.tanh(half) - 1) / (4 * half * half)

    assert lag_error(1e-3, 1.0, naive) > 1e-12 > lag_error(1e-3, 1.0, lag_of)


def test_lags_without_diffusion():
    """h / (2 |Phi'|); none where nothing moves, and no trouble where hardly anything does."""
    grid = mf.Grid.box(0, 3, 6)
    for slope in (1e-170, 1e-310):
        assert (compact(grid, slope * grid.axes[0], 0.0).lag == 0).all()
    for slope in (2.0, 1e-3, 1e-140, 1e200):
        found = compact(grid, slope * grid.axes[0], 0.0)
        assert np.allclose(found.lag[0, :-1, 0], 0.25 / slope, rtol=1e-12, atol=0)
        assert found.lag[0, -1, 0] == 0  # the wall
    assert (compact(grid, np.zeros(6), 0.0).lag == 0).all()


def test_lags_are_excess_diffusion_over_squared_slopes(grid):
    """What the flux diffuses too much is half the sum of its rates times h^2, less beta."""
    beta, phi = 0.3, random_potential(grid)
    plain, lag = FLUXES["sg"].transport(grid, phi, beta), compact(grid, phi, beta).lag
    for axis, h in enumerate(grid.spacing):
        down, up = plain.forward[axis], plain.backward[axis]
        slope = (down - up) * h
        diffusion = 0.5 * (down + up) * h**2
        inner = down + up > 0
        exact = (diffusion - beta)[inner] / slope[inner] ** 2
        np.testing.assert_allclose(lag[axis][inner], exact, rtol=1e-9)
        assert (lag[axis][~inner] == 0).all()


# -- the factor


@given(st.integers(0, 2**32), st.floats(-5, 3), st.floats(-3, 2), st.sampled_from(list(GRIDS)))
@PROPERTY
def test_factors_are_bounded_and_the_same_both_ways(seed, magnitude, size, name):
    grid, beta = GRIDS[name], 10.0**magnitude
    phi = 10.0**size * random_potential(grid, seed)
    plain, found = FLUXES["sg"].transport(grid, phi, beta), compact(grid, phi, beta)
    down, up = plain.forward > 0, plain.backward > 0
    factors = found.forward[down] / plain.forward[down]
    assert ((factors >= 0.5 * (1 - 1e-12)) & (factors <= 2 * (1 + 1e-12))).all()
    both = down & up
    np.testing.assert_allclose(
        found.forward[both] * plain.backward[both],
        found.backward[both] * plain.forward[both],
        rtol=1e-12,
    )
    assert ((found.forward > 0) == down).all()
    assert ((found.backward > 0) == up).all()


def test_factors_are_second_derivatives():
    """1 + h^2 Phi'' / (12 beta), of a parabola exactly, beside walls as well."""
    grid = mf.Grid.box(-1, 1, 50)
    phi, beta = 0.7 * grid.axes[0] ** 2, 30.0  # Peclet numbers of 2e-3: no taper
    plain, found = FLUXES["sg"].transport(grid, phi, beta), compact(grid, phi, beta)
    factors = found.forward[0, :-1, 0] / plain.forward[0, :-1, 0]
    np.testing.assert_allclose(factors - 1, grid.volume**2 * 1.4 / (12 * beta), rtol=1e-6)
    sloping = [FLUXES[f].transport(grid, grid.axes[0], beta).forward for f in ("compact", "sg")]
    np.testing.assert_allclose(*sloping, rtol=1e-12)


# -- symmetry, to the last bit


@pytest.mark.parametrize("beta", [0.1, 0.0])
def test_reflected_lags(beta):
    for name, faces in (("line", 11), ("ring", 12)):
        grid = GRIDS[name]
        phi = random_potential(grid)
        there, back = (compact(grid, p, beta).lag[0, :, 0] for p in (phi, phi[::-1]))
        mirrored = back[:11][::-1] if faces == 11 else np.roll(back[::-1], -1)
        np.testing.assert_array_equal(there[:faces], mirrored)


@pytest.mark.parametrize("beta", [0.1, 0.0])
@pytest.mark.parametrize("make", [mf.Grid.box, mf.Grid.torus])
def test_lags_of_exchanged_axes(make, beta):
    grid = make((-1, -1), (1, 1), (6, 6))
    phi = random_potential(grid)
    there, here = compact(grid, phi.T, beta).lag, compact(grid, phi, beta).lag
    np.testing.assert_array_equal(there[0], here[1].T)
    np.testing.assert_array_equal(there[1], here[0].T)


# -- steps at Courant number 1


@pytest.mark.parametrize("slope", [-2.0, 0.5])
@pytest.mark.parametrize("steps", [1, 7, 40])
def test_uniform_drift_moves_whole_cells(slope, steps):
    """Without diffusion Euler steps of twice the lag are as long as a cell takes to cross."""
    grid = mf.Grid.box(-4, 4, 128)
    rho = np.zeros(grid.shape)
    rho[50:78] = np.random.default_rng(2).random(28)
    built = compact(grid, slope * grid.axes[0], 0.0)
    t = steps * grid.volume / abs(slope)
    moved = np.roll(rho, -steps if slope > 0 else steps)
    np.testing.assert_allclose(exponential(built, rho, t), moved, rtol=0, atol=1e-12)
    plain = FLUXES["sg"].transport(grid, slope * grid.axes[0], 0.0)
    assert np.abs(exponential(plain, rho, t) - moved).max() > 0.1


# -- order four for point values


class OrnsteinUhlenbeck:
    """V = x^2 / 2, beta = 1/2, from N(1, .25): Gaussian at all times."""

    beta, half = 0.5, 6.0

    @staticmethod
    def potential(x):
        return 0.5 * x**2

    @classmethod
    def law(cls, t, x):
        m, v = np.exp(-t), cls.beta + (0.25 - cls.beta) * np.exp(-2 * t)
        return np.exp(-((x - m) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v)


class Quartic:
    """V = x^2/2 + x^4/4 - (3 beta / 2) log(1 + x^2), with an eigenfunction that is known.

    For phi = x / sqrt(1 + x^2) it is V' = (beta phi'' + phi) / phi', that is beta phi'' - V' phi' =
    -phi: hence exp(-V / beta) (1 + c e^-t phi) solves the equation.
    """

    beta, half = 0.5, 3.0

    @classmethod
    def potential(cls, x):
        return 0.5 * x**2 + 0.25 * x**4 - 1.5 * cls.beta * np.log1p(x**2)

    @classmethod
    def law(cls, t, x):
        rest = np.exp(-cls.potential(x) / cls.beta) / cls.total()
        return rest * (1 + 0.9 * np.exp(-t) * x / np.sqrt(1 + x**2))

    @classmethod
    def total(cls):
        return integral(lambda x: np.exp(-cls.potential(x) / cls.beta), -cls.half, cls.half)


class Attracted:
    """V = x^2 / 2 and W = |z|^2, beta = 1/2, from N(1, .25): the potential moves with the mean."""

    beta, half = 0.5, 6.0

    @classmethod
    def law(cls, t, x):
        rest = cls.beta / 3
        m, v = np.exp(-t), rest + (0.25 - rest) * np.exp(-6 * t)
        return np.exp(-((x - m) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v)

    @classmethod
    def energy(cls):
        return mf.Potential(half_square) + mf.Interaction(lambda dz: (dz**2).sum(-1))


LAWS = {"quadratic": OrnsteinUhlenbeck, "quartic": Quartic}
MOVING = {**LAWS, "attracted": Attracted}
CELLS = {
    "quadratic": (60, 80, 120, 160),
    "quartic": (60, 80, 100, 120),
    "attracted": (80, 120, 160, 200),
}
TIME = 0.48
"""A multiple of twice the lag at q = 0 on all of these grids, so that no count is rounded."""


def by_b2(state, t):
    return STEPPERS["b2"].step(state, t, False).rho


def by_mprk22(state, t):
    """Steps in proportion to h^2, so that their error in time is of fourth order in h too."""
    lag = state.equation.grid.volume**2 / (12 * state.equation.beta)
    steps = round(t / (4 * lag))
    for _ in range(steps):
        state = State(state.equation, STEPPERS["mprk22"].step(state, t / steps, False).rho)
    return state.rho


def energy_of(law):
    if hasattr(law, "energy"):
        return law.energy()
    return mf.Potential(lambda z: law.potential(z[..., 0]))


def point_errors(name, move, flux="compact", t=TIME):
    law, errors = MOVING[name], []
    for n in CELLS[name]:
        grid = mf.Grid.box(-law.half, law.half, n)
        x = grid.axes[0]
        equation = Equation(grid, energy_of(law).on(grid), law.beta, FLUXES[flux])
        rho = move(State(equation, law.law(0.0, x)), t)
        errors.append(float(np.abs(rho - law.law(t, x)).sum() * grid.volume))
    return errors


@pytest.mark.parametrize(
    ("name", "move"), [*((name, by_b2) for name in LAWS), *((name, by_mprk22) for name in MOVING)]
)
def test_fourth_order_for_point_values(name, move):
    errors = point_errors(name, move)
    assert order(CELLS[name], errors) == pytest.approx(4.0, abs=0.3)


def by_lagging_potential(state, t):
    """Planted: MPRK22 with the rates of each stage, so that the potential lags with the flux."""
    equation, grid = state.equation, state.equation.grid
    dt = 4 * grid.volume**2 / (12 * equation.beta)
    rho, steps = state.rho, round(t / dt)
    dt = t / steps
    for _ in range(steps):
        first = Lines.of(equation.generator(equation.energy.potential(rho)), 0)
        stage = first.euler(rho, dt)
        second = Lines.of(equation.generator(equation.energy.potential(stage)), 0)
        share = 0.5 + first.lag / dt
        down = share * first.forward * (rho / stage)[:, None] + (1 - share) * second.forward
        above = np.roll(rho / stage, -1)[:, None]
        up = share * first.backward * above + (1 - share) * second.backward
        rho = replace(first, forward=down, backward=up).euler(rho, dt)
    return rho


def test_a_potential_that_lags_is_caught():
    errors, better = (point_errors("attracted", by) for by in (by_lagging_potential, by_mprk22))
    assert order(CELLS["attracted"], errors) == pytest.approx(2.0, abs=0.3)
    assert better[-1] < 0.1 * errors[-1]


@pytest.mark.parametrize("name", list(LAWS))
def test_the_plain_flux_is_of_second_order_there(name):
    errors, better = point_errors(name, by_b2, "sg"), point_errors(name, by_b2)
    assert order(CELLS[name], errors) == pytest.approx(2.0, abs=0.2)
    assert better[0] < 0.2 * errors[0]


class WithoutLag(type(FLUXES["compact"])):
    """Planted: the factor alone."""

    name = "without lag"

    def transport(self, grid, potential, beta):
        built = super().transport(grid, potential, beta)
        return Generator(grid, built.forward, built.backward)


class WithoutFactor(type(FLUXES["compact"])):
    """Planted: the lag alone."""

    name = "without factor"

    def transport(self, grid, potential, beta):
        plain = FLUXES["sg"].transport(grid, potential, beta)
        lag = super().transport(grid, potential, beta).lag
        return Generator(grid, plain.forward, plain.backward, lag)


@pytest.mark.parametrize("planted", [WithoutLag(), WithoutFactor()])
@pytest.mark.parametrize("name", list(LAWS))
def test_half_of_the_correction_is_caught(monkeypatch, name, planted):
    monkeypatch.setitem(FLUXES, planted.name, planted)
    assert order(CELLS[name], point_errors(name, by_b2, planted.name)) < 2.5


# -- order two for cell averages, with a small constant


@pytest.mark.parametrize(
    ("name", "expected"), [("ornstein-uhlenbeck", 2.0), ("heat-gaussian", 4.0)]
)
def test_order_for_cell_averages(name, expected):
    """They solve the heat equation as point values do; with a drift they do to second order."""
    flow, errors = FLOWS[name], []
    cells = (*flow.cells, 2 * flow.cells[-1])
    for n in cells:
        found = mf.solve(flow.problem(n), flux="compact", stepper="b2").densities[-1]
        errors.append(float(mf.distance.l1(found, flow.end(found.grid))))
    assert order(cells, errors) == pytest.approx(expected, abs=0.2)


def test_accuracy_in_the_plane():
    """Ornstein-Uhlenbeck from N((1.5, -1), 1/4) at beta = 1/2, default arguments."""
    mean, beta = np.array([1.5, -1.0]), 0.5
    energy = mf.Potential(half_square) + beta * mf.Entropy()
    end = mean * np.exp(-1), beta + (0.25 - beta) * np.exp(-2)
    for n, most in ((128, 2.0e-3), (256, 5e-4)):
        grid = mf.Grid.box((-6, -6), (6, 6), (n, n))
        problem = mf.Problem(mf.GradientFlow(energy), mf.Density.gaussian(grid, mean, 0.25), 1.0)
        solution = mf.solve(problem)
        assert solution.statistics.flux == "compact"
        rho = solution.densities[-1]
        assert mf.distance.l1(rho, mf.Density.gaussian(grid, *end)) <= most
        assert rho.values.min() >= 0
        assert rho.mass == pytest.approx(problem.initial.mass, rel=1e-13)
