"""One step of each method: against dense matrices, positive, of the same mass, dissipating."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy
from problems import compact_faces, generator, half_square, kuramoto_energy
from reference import ULP, order
from scipy.linalg import expm

import meanfield_pde as mf
from meanfield_pde.eulerian import stepper as module
from meanfield_pde.eulerian.flux import FLUXES, ScharfetterGummel
from meanfield_pde.eulerian.lines import Lines
from meanfield_pde.eulerian.stepper import (
    B1,
    B2,
    STEPPERS,
    Equation,
    State,
    StepFailedError,
    implicit_euler,
)

BETA = 0.1
LINE = mf.Grid.box(-3, 3, 30)
RING = mf.Grid.torus(-3, 3, 9)
PLANE = mf.Grid.box((-3, -2), (3, 2), (9, 8))
TORUS = mf.Grid.torus((-3, -2), (3, 2), (6, 7))


def network(loss="squared"):
    data = mf.Data.gauss_hermite(1, 5, lambda x: np.sign(np.sin(2 * x[..., 0]) + 1e-3))
    risk = mf.Risk(mf.Unit.ridge("tanh"), data, loss)
    return risk + 0.1 * mf.Penalty() + BETA * mf.Entropy()


WELL = mf.Potential(half_square)
PAIRS = mf.Interaction(half_square)
ENERGIES = {
    "potential": WELL + BETA * mf.Entropy(),
    "attraction": WELL + PAIRS + BETA * mf.Entropy(),
    "repulsion": WELL - 0.5 * PAIRS + BETA * mf.Entropy(),
    "network": network(),
    "logistic": network("logistic"),
    "no diffusion": WELL + PAIRS,
}


def equation_of(energy, grid, flux="sg"):
    return Equation(grid, energy.smooth.on(grid), energy.beta, FLUXES[flux])


def start(grid, seed=0):
    values = np.random.default_rng(seed).exponential(size=grid.shape)
    return values / (values.sum() * grid.volume)


@pytest.fixture(params=list(ENERGIES))
def equation(request):
    return equation_of(ENERGIES[request.param], LINE)


def dense(equation, potential):
    return generator(equation.grid, potential, equation.beta)


def taken(name, equation, rho, dt):
    return STEPPERS[name].step(State(equation, rho), dt, estimate=False).rho


def test_registered():
    assert list(STEPPERS) == ["heun", "b1", "b2", "mprk22"]
    for name, stepper in STEPPERS.items():
        assert stepper.name == name
    assert [stepper.order for stepper in STEPPERS.values()] == [2, 1, 2, 2]
    assert [stepper.explicit for stepper in STEPPERS.values()] == [True, False, False, False]
    fixed, moving = (equation_of(ENERGIES[n], LINE) for n in ("potential", "attraction"))
    assert [stepper.exact(fixed) for stepper in STEPPERS.values()] == [False, False, True, False]
    assert not any(stepper.exact(moving) for stepper in STEPPERS.values())


# -- heun


def heun_by_hand(equation, rho, dt):
    """Half of the start and half of two Euler steps, with dense matrices."""
    stage = rho + dt * dense(equation, equation.energy.potential(rho)) @ rho
    second = dense(equation, equation.energy.potential(stage))
    return 0.5 * (rho + stage + dt * second @ stage)


def test_heun_against_dense(equation):
    heun, rho = STEPPERS["heun"], start(LINE)
    state = State(equation, rho)
    dt = 0.5 * heun.limit(state)
    step = heun.step(state, dt, estimate=True)
    exact = heun_by_hand(equation, rho, dt)
    np.testing.assert_allclose(step.rho, exact, rtol=0, atol=50 * ULP * rho.max())
    euler = rho + dt * (dense(equation, equation.energy.potential(rho)) @ rho)
    assert step.error == pytest.approx(np.abs(exact - euler).sum() * LINE.volume, rel=1e-9)
    assert heun.step(state, dt, estimate=False).error == 0.0


@pytest.mark.parametrize("flux", list(FLUXES))
def test_heun_is_two_steps_of_euler(flux):
    equation, rho = equation_of(ENERGIES["attraction"], LINE, flux), start(LINE)

    def euler(values, dt):
        transport = FLUXES[flux].transport(LINE, equation.energy.potential(values), BETA)
        return transport.advance(values, values, dt)

    dt = 0.3 * STEPPERS["heun"].limit(State(equation, rho))
    by_hand = 0.5 * (rho + euler(euler(rho, dt), dt))
    np.testing.assert_allclose(taken("heun", equation, rho, dt), by_hand, rtol=1e-13)


def test_heun_limit_is_the_largest_positive_step(equation):
    """The inverse of the largest outflow: a density in that cell alone is emptied by it."""
    rho = start(LINE)
    state = State(equation, rho)
    limit = STEPPERS["heun"].limit(state)
    diagonal = -np.diag(dense(equation, equation.energy.potential(rho)))
    assert limit == pytest.approx(1 / diagonal.max(), rel=1e-12)
    alone = np.zeros(LINE.shape)
    alone[diagonal.argmax()] = 1.0
    assert state.transport.advance(alone, alone, limit).min() >= -4 * ULP
    assert state.transport.advance(alone, alone, 1.01 * limit).min() < -1e-3


def test_heun_checks_its_second_stage():
    """A stage that gathers mass has a steeper potential, whose bound is tighter."""
    steep = equation_of(50.0 * mf.Interaction(lambda z: -np.exp(-20 * (z**2).sum(-1))), LINE)
    state = State(steep, mf.Density.gaussian(LINE, 0.0, 0.3).values)
    with pytest.raises(StepFailedError, match="second stage"):
        STEPPERS["heun"].step(state, STEPPERS["heun"].limit(state), estimate=False)


def test_a_fixed_potential_is_evaluated_once():
    fixed = equation_of(ENERGIES["potential"], LINE)
    first, second = State(fixed, start(LINE)), State(fixed, start(LINE, 1))
    assert first.transport is second.transport
    moving = equation_of(ENERGIES["attraction"], LINE)
    assert State(moving, start(LINE)).transport is not State(moving, start(LINE, 1)).transport


def test_nothing_moves_without_forces():
    equation, rho = equation_of(mf.Potential(lambda z: 0.0 * z[..., 0]), LINE), start(LINE)
    state = State(equation, rho)
    assert STEPPERS["heun"].limit(state) == np.inf
    for name in STEPPERS:
        np.testing.assert_allclose(taken(name, equation, rho, 1e6), rho, rtol=1e-15)


# -- b1

DTS = [1e-2, 1.0, 100.0]


def test_implicit_steps_have_no_bound(equation):
    for name in ("b1", "b2", "mprk22"):
        assert STEPPERS[name].limit(State(equation, start(LINE))) == np.inf


@pytest.mark.parametrize("dt", DTS)
def test_b1_solves_its_equation(equation, dt):
    """(I - dt A(secant)) rho' = rho, with the secant of the very rho' that came out."""
    rho = start(LINE)
    try:
        new = taken("b1", equation, rho, dt)
    except StepFailedError:  # without diffusion the potential may not settle at such a step
        assert (equation.beta, dt) == (0.0, 100.0)
        return
    secant = equation.energy.secant(rho, new)
    matrix = np.eye(LINE.size) - dt * dense(equation, secant)
    # The secant has settled to 1e-12 of its size; the matrix amplifies that by its own.
    size = 1e-11 * max(1.0, np.abs(secant).max()) * np.abs(matrix).max()
    np.testing.assert_allclose(matrix @ new, rho, rtol=0, atol=size * new.max())
    assert new.min() >= 0
    assert new.sum() == pytest.approx(rho.sum(), rel=1e-14)


def test_b1_takes_the_secant_that_dissipates():
    """Mid-point for quadratic energies; the end for a convex one that is not."""
    rho, dt = start(LINE), 1.0
    for name, blend in (("attraction", 0.5), ("network", 0.5), ("logistic", 1.0)):
        equation = equation_of(ENERGIES[name], LINE)
        new = taken("b1", equation, rho, dt)
        potential = equation.energy.potential(blend * new + (1 - blend) * rho)
        matrix = np.eye(LINE.size) - dt * dense(equation, potential)
        np.testing.assert_allclose(new, np.linalg.solve(matrix, rho), rtol=1e-8, atol=1e-12)


def test_b1_estimates_by_doubling(equation):
    rho = start(LINE)
    step = STEPPERS["b1"].step(State(equation, rho), 0.5, estimate=True)
    halves = taken("b1", equation, taken("b1", equation, rho, 0.25), 0.25)
    np.testing.assert_array_equal(step.rho, halves)
    full = np.abs(halves - taken("b1", equation, rho, 0.5)).sum() * LINE.volume
    assert step.error == pytest.approx(full, rel=1e-12)


def test_b1_refuses_what_does_not_settle():
    equation = equation_of(ENERGIES["network"], LINE)
    for impatient in (B1(tolerance=1e-15, iterations=2), B2(tolerance=1e-15, iterations=2)):
        with pytest.raises(StepFailedError, match="did not settle in 2 iterations"):
            impatient.step(State(equation, start(LINE)), 1.0, estimate=False)


@pytest.mark.parametrize("name", ["b1", "b2", "mprk22"])
def test_tiny_implicit_steps_are_exponentials(name):
    equation, rho, dt = equation_of(ENERGIES["potential"], LINE), start(LINE), 1e-6
    matrix = dense(equation, equation.energy.potential(rho))
    size = (dt * np.abs(matrix).max()) ** 2 * rho.max()
    # Both are 1 + dt A to first order; the next terms are at most a few times dt^2 A^2.
    gap = np.abs(taken(name, equation, rho, dt) - expm(dt * matrix) @ rho).max()
    assert gap <= 4 * size


# -- b2


@pytest.mark.parametrize("dt", DTS)
def test_b2_solves_its_equation(equation, dt):
    """rho' = exp(dt A(secant)) rho, with the secant of the very rho' that came out."""
    rho = start(LINE)
    try:
        new = taken("b2", equation, rho, dt)
    except StepFailedError:  # without diffusion the potential may not settle at such a step
        assert equation.beta == 0.0
        assert dt >= 1.0
        return
    secant = equation.energy.secant(rho, new)
    exact = expm(dt * dense(equation, secant)) @ rho
    # The secant has settled to 1e-12 of its size, which the exponential amplifies by dt A at most.
    amplified = 1e-12 * max(1.0, np.abs(secant).max()) * dt * np.abs(dense(equation, secant)).max()
    np.testing.assert_allclose(new, exact, rtol=0, atol=(1e-12 + amplified) * new.max())
    assert new.min() >= 0
    assert new.sum() == pytest.approx(rho.sum(), rel=1e-13)


@pytest.mark.parametrize("name", ["attraction", "network"])
def test_b2_is_symmetric_in_time(name):
    """Its inverse is the step with -dt: what makes it of second order."""
    equation, rho, dt = equation_of(ENERGIES[name], LINE), start(LINE), 0.01
    new = taken("b2", equation, rho, dt)
    secant = equation.energy.secant(new, rho)
    np.testing.assert_allclose(expm(-dt * dense(equation, secant)) @ new, rho, rtol=1e-9)


def test_b2_takes_the_secant_that_dissipates():
    """Mid-point for quadratic energies; the end for a convex one that is not."""
    rho, dt = start(LINE), 1.0
    for name, blend in (("attraction", 0.5), ("network", 0.5), ("logistic", 1.0)):
        equation = equation_of(ENERGIES[name], LINE)
        new = taken("b2", equation, rho, dt)
        potential = equation.energy.potential(blend * new + (1 - blend) * rho)
        exact = expm(dt * dense(equation, potential)) @ rho
        np.testing.assert_allclose(new, exact, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("grid", [LINE, RING], ids=["line", "ring"])
def test_b2_takes_euler_steps_of_twice_the_lag(grid):
    """(1 + delta A)^n with delta = t / n near twice the largest lag, and short enough."""
    energy = mf.Potential(lambda z: np.cos(np.pi / 3 * z[..., 0])) + BETA * mf.Entropy()
    equation, rho, beta = equation_of(energy, grid, "compact"), start(grid), BETA
    phi = equation.energy.potential(rho)
    matrix, lag = compact_matrix(grid, phi, beta), compact_faces(grid, phi, beta)[1].max()
    for dt in (1e-3, 0.5, 20.0):
        n = max(1, round(dt / (2 * lag)), int(np.ceil(dt * -np.diag(matrix).min())))
        exact = np.linalg.matrix_power(np.eye(grid.size) + dt / n * matrix, n) @ rho
        np.testing.assert_allclose(taken("b2", equation, rho, dt), exact, rtol=0, atol=1e-12)


def test_b2_estimates_by_the_potential_of_the_start(equation):
    rho, dt = start(LINE), 0.05
    step = STEPPERS["b2"].step(State(equation, rho), dt, estimate=True)
    np.testing.assert_array_equal(step.rho, taken("b2", equation, rho, dt))
    first = expm(dt * dense(equation, equation.energy.potential(rho))) @ rho
    apart = np.abs(step.rho - first).sum() * LINE.volume
    assert step.error == pytest.approx(apart, rel=1e-9, abs=1e-12)
    assert (step.error == 0) == equation.energy.constant


def test_b2_asks_for_a_shorter_step_where_one_is_out_of_reach(monkeypatch):
    """A potential that is not a sum over the axes, on a fine grid, with a long step."""
    grid = mf.Grid.box((-3, -3), (3, 3), (40, 40))
    energy = mf.Potential(lambda z: (z**2).prod(-1)) + BETA * mf.Entropy()
    state = State(equation_of(energy, grid), start(grid))
    monkeypatch.setattr(module, "MOST_SECONDS", 0.01)
    with pytest.raises(StepFailedError, match="would take .*mprk22"):
        STEPPERS["b2"].step(state, 100.0, estimate=False)
    assert STEPPERS["b2"].step(state, 1e-4, estimate=False).rho.min() >= 0


# -- mprk22


def patankar_by_hand(matrix, rho, stage, dt):
    """(I - dt A (diag(rho / y) + 1) / 2) rho' = rho, with dense matrices."""
    mean = 0.5 * matrix * (rho / stage + 1)
    return np.linalg.solve(np.eye(len(rho)) - dt * mean, rho)


@pytest.mark.parametrize("dt", DTS)
@pytest.mark.parametrize("grid", [LINE, RING], ids=["line", "ring"])
def test_mprk22_on_a_line_against_dense(grid, dt):
    energy = mf.Potential(lambda z: np.cos(np.pi / 3 * z[..., 0])) + BETA * mf.Entropy()
    pairs = mf.Interaction(lambda z: -np.cos(np.pi / 3 * z[..., 0]))
    for total in (energy, energy + pairs):
        equation, rho = equation_of(total, grid), start(grid)
        first = dense(equation, equation.energy.potential(rho))
        stage = np.linalg.solve(np.eye(grid.size) - dt * first, rho)
        potentials = [equation.energy.potential(law) for law in (rho, stage)]
        middle = dense(equation, sum(potentials) / 2)
        exact = patankar_by_hand(middle, rho, stage, dt)
        step = STEPPERS["mprk22"].step(State(equation, rho), dt, estimate=True)
        np.testing.assert_allclose(
            step.rho, exact, rtol=1e-9
        )  # dense solves lose digits at dt = 100
        error = np.abs(exact - stage).sum() * grid.volume
        assert step.error == pytest.approx(error, rel=1e-6)


def line_generator(grid, potential, beta, axis):
    """Part of the dense generator that moves mass along one axis."""
    whole = generator(grid, potential, beta)
    index = np.stack(np.unravel_index(np.arange(grid.size), grid.shape))
    across = index[1 - axis]
    part = np.where(across[:, None] == across[None, :], whole, 0.0)
    np.fill_diagonal(part, 0.0)
    return part - np.diag(part.sum(axis=0))


def sweep_by_hand(matrix, rho, dt):
    stage = np.linalg.solve(np.eye(len(rho)) - dt * matrix, rho)
    return patankar_by_hand(matrix, rho, stage, dt)


@pytest.mark.parametrize("grid", [PLANE, TORUS], ids=["plane", "torus"])
@pytest.mark.parametrize("dt", [1e-2, 1.0])
def test_mprk22_in_the_plane_against_dense(grid, dt):
    """Mean of xyx and yxy, each sweep of second order, for a fixed potential."""
    period = np.pi / np.array([3.0, 2.0])
    energy = mf.Potential(lambda z: np.cos(period * z).prod(-1)) + BETA * mf.Entropy()
    equation, rho = equation_of(energy, grid), start(grid)
    phi = equation.energy.potential(rho)
    along = [line_generator(grid, phi, BETA, axis) for axis in (0, 1)]
    ends = []
    for outer, inner in ((0, 1), (1, 0)):
        end = sweep_by_hand(along[outer], rho.ravel(), dt / 2)
        end = sweep_by_hand(along[inner], end, dt)
        ends.append(sweep_by_hand(along[outer], end, dt / 2))
    step = STEPPERS["mprk22"].step(State(equation, rho), dt, estimate=True)
    np.testing.assert_allclose(step.rho.ravel(), 0.5 * (ends[0] + ends[1]), rtol=1e-10)
    assert step.error > 0


def faces_weighted(matrix, weights):
    """A generator of a line or ring, its rates multiplied face by face."""
    n = len(matrix)
    result = np.zeros_like(matrix)
    for i in range(n):
        j = (i + 1) % n
        result[i, j], result[j, i] = weights[i] * matrix[i, j], weights[i] * matrix[j, i]
    return result - np.diag(result.sum(axis=0))


def compact_matrix(grid, phi, beta):
    return faces_weighted(generator(grid, phi, beta), compact_faces(grid, phi, beta)[0][0])


@pytest.mark.parametrize("dt", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("grid", [LINE, RING], ids=["line", "ring"])
def test_mprk22_lets_fluxes_lag(grid, dt):
    """Weights 1/2 + lag / dt and 1/2 - lag / dt of the two ends; negative ones as rates back."""
    beta = 0.5
    well = mf.Potential(lambda z: np.cos(np.pi / 3 * z[..., 0]))
    pairs = mf.Interaction(lambda z: -np.cos(np.pi / 3 * z[..., 0]))
    for energy in (well, well + pairs):
        equation = equation_of(energy + beta * mf.Entropy(), grid, "compact")
        rho = start(grid)
        phi = equation.energy.potential(rho)
        first = compact_matrix(grid, phi, beta)
        stage = np.linalg.solve(np.eye(grid.size) - dt * first, rho)
        middle = 0.5 * (phi + equation.energy.potential(stage))
        later = compact_matrix(grid, middle, beta)
        lag = compact_faces(grid, middle, beta)[1][0]
        share = 0.5 + lag / dt
        mean = faces_weighted(later, share) * (rho / stage)
        mean = mean + faces_weighted(later, np.maximum(1 - share, 0))
        # What the later end takes from a cell, the cell it would fill gives: (A_ij y_j) / y_i.
        surplus = faces_weighted(later, np.maximum(share - 1, 0))
        surplus = surplus * (stage / stage[:, None])
        np.fill_diagonal(surplus, 0)
        mean = mean + surplus.T - np.diag(surplus.sum(axis=1))
        exact = np.linalg.solve(np.eye(grid.size) - dt * mean, rho)
        step = STEPPERS["mprk22"].step(State(equation, rho), dt, estimate=True)
        np.testing.assert_allclose(step.rho, exact, rtol=1e-9)
        plain = taken("mprk22", equation_of(energy + beta * mf.Entropy(), grid), rho, dt)
        assert np.abs(plain - exact).max() > 1e-4


@dataclass(frozen=True)
class Doubled(ScharfetterGummel):
    """A user's flux: twice the rates."""

    def fill(self, phi, spacing, beta, ends, rates):
        super().fill(phi, spacing, beta, ends, rates)
        for values in rates:
            values *= 2


@pytest.mark.parametrize("stepper", ["mprk22", "b1"])
def test_a_flux_of_the_users_own_is_what_moves_a_line(stepper):
    """Twice the rates are twice the time."""
    energy = mf.Potential(lambda z: np.cos(np.pi / 3 * z[..., 0])) + BETA * mf.Entropy()
    rho, plain = start(LINE), equation_of(energy, LINE)
    twice = taken(stepper, plain, rho, 0.2)
    own = taken(stepper, replace(plain, flux=Doubled()), rho, 0.1)
    np.testing.assert_allclose(own, twice, rtol=1e-12)


def test_mprk22_error_estimates_fall_as_those_of_euler():
    """In the plane, with a potential that moves: as dt^2."""
    energy = mf.Potential(lambda z: np.cos(z).sum(-1)) + 0.3 * mf.Entropy()
    pairs = mf.Interaction(lambda z: -np.cos(z).sum(-1))
    grid = mf.Grid.torus((-np.pi, -np.pi), (np.pi, np.pi), (12, 12))
    rho = mf.Density.from_function(grid, lambda z: 1 + 0.5 * np.cos(z[..., 0] + z[..., 1]))
    state = State(equation_of(energy + pairs, grid), rho.normalised().values)
    dts = [0.02, 0.01, 0.005]
    errors = [STEPPERS["mprk22"].step(state, dt, estimate=True).error for dt in dts]
    assert order(1 / np.array(dts), errors) == pytest.approx(2, abs=0.2)


def test_mprk22_with_empty_cells():
    """Also where the density underflows: positive, of the same mass, and a number."""
    equation = equation_of(20.0 * WELL + 1e-2 * mf.Entropy(), LINE)
    rho = np.zeros(LINE.shape)
    rho[15] = 1 / LINE.volume
    for dt in (1e-8, 1e-2, 1e4):
        new = rho
        for _ in range(3):
            new = taken("mprk22", equation, new, dt)
        assert np.isfinite(new).all()
        assert new.min() >= 0
        assert new.sum() == pytest.approx(rho.sum(), rel=1e-13)


# -- the linear solve

GRIDS = [LINE, RING, PLANE, TORUS]


@pytest.mark.parametrize("grid", GRIDS, ids=["line", "ring", "plane", "torus"])
@pytest.mark.parametrize("dt", [1e-4, 1.0, 1e6])
def test_implicit_euler_against_dense(grid, dt):
    phi = np.random.default_rng(3).standard_normal(grid.shape)
    rho = start(grid)
    found = implicit_euler(mf.ScharfetterGummel().transport(grid, phi, BETA), rho, dt)
    matrix = np.eye(grid.size) - dt * generator(grid, phi, BETA)
    exact = np.linalg.solve(matrix, rho.ravel()).reshape(grid.shape)
    np.testing.assert_allclose(found, exact, rtol=10 * ULP * np.linalg.cond(matrix))
    assert found.min() >= 0
    # In the plane one evaluation in flux form rounds by an ulp of dt times the largest rate.
    loose = 1e-13 if grid.dim == 1 else max(1e-13, ULP * dt)
    assert found.sum() == pytest.approx(rho.sum(), rel=loose)


@pytest.mark.parametrize("shape", [(9, 8), (3, 40), (17, 33), (33, 65)])
@pytest.mark.parametrize("make", [mf.Grid.box, mf.Grid.torus])
def test_lines_of_an_axis(make, shape):
    """Each line alone, in either direction; fewer than are solved at once, and more."""
    grid = make((-3, -2), (3, 2), shape)
    phi = np.random.default_rng(3).standard_normal(grid.shape)
    built = mf.ScharfetterGummel().transport(grid, phi, BETA)
    rho = start(grid)
    for axis in (0, 1):
        matrix = np.eye(grid.size) - 0.7 * line_generator(grid, phi, BETA, axis)
        exact = np.linalg.solve(matrix, rho.ravel()).reshape(grid.shape)
        for values in (rho, np.asfortranarray(rho)):
            found = Lines.of(built, axis).euler(values, 0.7)
            np.testing.assert_allclose(found, exact, rtol=1e-12)


def test_rounding_below_zero_is_refused():
    """In the plane, where dt times the rates exceeds what doubles resolve."""
    grid = mf.Grid.box((0, 0), (1, 1), (20, 20))
    phi = 30 * (grid.points**2).sum(-1)
    rho = np.zeros(grid.shape)
    rho[-1, -1] = 1 / grid.volume
    built = mf.ScharfetterGummel().transport(grid, phi, 1.0)
    with pytest.raises(StepFailedError, match="rounding"):
        implicit_euler(built, rho, 1e14)


def test_a_wrong_solve_is_caught(monkeypatch):
    """Planted: a solve that is off by a part in a million."""
    grid, rho = PLANE, start(PLANE)
    built = mf.ScharfetterGummel().transport(grid, np.zeros(grid.shape), BETA)
    right = implicit_euler(built, rho, 1.0)
    assert abs(right.sum() / rho.sum() - 1) < 1e-14
    splu = scipy.sparse.linalg.splu

    class Loose:
        def __init__(self, *arguments, **options):
            self.factors = splu(*arguments, **options)

        def solve(self, values):
            return self.factors.solve(values) * (1 - 1e-6)

    monkeypatch.setattr(scipy.sparse.linalg, "splu", Loose)
    wrong = implicit_euler(built, rho, 1.0)
    # Flux form repairs the mass, not the equation: the residual shows it.
    assert abs(wrong.sum() / rho.sum() - 1) < 1e-14
    matrix = np.eye(grid.size) - generator(grid, np.zeros(grid.shape), BETA)
    assert np.abs(matrix @ right.ravel() - rho.ravel()).max() < 1e-12
    assert np.abs(matrix @ wrong.ravel() - rho.ravel()).max() > 1e-8


# -- states


@pytest.mark.parametrize("flux", list(FLUXES))
def test_free_energy_and_dissipation(flux):
    energy, grid = kuramoto_energy(0.3), mf.Grid.torus(-np.pi, np.pi, 24)
    equation, rho = equation_of(energy, grid, flux), start(grid)
    state, density = State(equation, rho), mf.Density(grid, rho)
    assert state.free_energy == pytest.approx(energy.value(density), rel=1e-14)
    np.testing.assert_allclose(state.potential, energy.smooth.potential(density), atol=1e-14)
    phi = state.potential
    if flux == "sg":
        exact = -float((phi + 0.3 * np.log(rho)) @ generator(grid, phi, 0.3) @ rho) * grid.volume
        assert state.dissipation == pytest.approx(exact, rel=1e-12)
    # It is the rate at which the free energy falls along the flow.
    dt = 1e-7  # the difference is off by (dt / time scale of the emptiest cell)^2
    change = FLUXES[flux].transport(grid, phi, 0.3).advance(rho, rho, 1.0) - rho
    there, back = (State(equation, rho + s * dt * change).free_energy for s in (1, -1))
    assert (back - there) / (2 * dt) == pytest.approx(state.dissipation, rel=1e-6)


def test_empty_cells_have_finite_energy_and_dissipation():
    rho = np.zeros(LINE.shape)
    rho[3] = 1 / LINE.volume
    state = State(equation_of(ENERGIES["potential"], LINE), rho)
    exact = 0.5 * LINE.axes[0][3] ** 2 - BETA * np.log(LINE.volume)
    assert state.free_energy == pytest.approx(exact)
    assert 0 < state.dissipation < np.inf
