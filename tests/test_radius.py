"""The radius of the plane: nodes of its cells, and a flux of fourth order up to r = 0."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from reference import order, refuses

import meanfield_pde as mf
from meanfield_pde.eulerian.flux import FLUXES
from meanfield_pde.eulerian.polar import RadialFlux, fluxes_on
from meanfield_pde.eulerian.stepper import STEPPERS, Equation, State

CELLS = (30, 40, 60, 80)
BETA = 0.5


def disc(cells, inner=0.0, dim=2):
    return mf.Grid.box(inner, 5.0, cells, chart=mf.Chart.radius(dim))


def normal(variance, r):
    """Density in the plane of a normal law about 0."""
    return np.exp(-(r**2) / (2 * variance)) / (2 * np.pi * variance)


def ring(variance):
    return lambda z: 2 * np.pi * z[..., 0] * normal(variance, z[..., 0])


# -- nodes


@pytest.mark.parametrize(("power", "expected"), [(0, 4.0), (2, 4.0), (4, 6.0)])
def test_sums_over_nodes_are_of_fourth_order(power, expected):
    """Moments of a normal law: 1, 2 v, 8 v^2; sums over centres are off by h^2 / 24 at r = 0.

    Of the fourth power the next end vanishes, too.
    """
    exact, at_nodes, at_centres = {0: 1.0, 2: 0.6, 4: 8 * 0.3**2}[power], [], []
    for cells in CELLS:
        grid = disc(cells)
        at_nodes.append(abs(mf.Density.from_function(grid, ring(0.3), 1).moment(power) - exact))
        r = grid.axes[0]
        at_centres.append(abs((ring(0.3)(r[:, None]) * r**power).sum() * grid.volume - exact))
    assert order(CELLS, at_nodes) == pytest.approx(expected, abs=0.3)
    if power == 0:
        assert order(CELLS, at_centres) == pytest.approx(2.0, abs=0.1)


def test_one_node_a_cell_is_the_area_of_its_ring_times_the_density_at_the_node():
    grid = disc(10)
    found = mf.Density.from_function(grid, ring(0.3), nodes=1)
    edges = grid.faces[0]
    areas = np.pi * np.diff(edges**2)
    np.testing.assert_allclose(grid.nodes[:, 0], np.sqrt(np.diff(edges**3) / (3 * grid.volume)))
    np.testing.assert_allclose(found.masses, areas * normal(0.3, grid.nodes[:, 0]), rtol=1e-13)


@pytest.mark.parametrize("dim", [3, 4, 40])
def test_in_more_dimensions_nodes_are_centres(dim):
    grid = disc(10, dim=dim)
    np.testing.assert_array_equal(grid.nodes, grid.points)
    assert fluxes_on(grid, None, "auto") is FLUXES


def test_energies_are_taken_at_nodes():
    """Penalty, network and interaction of a density are those of a cloud of rings at the nodes."""
    grid = disc(12)
    rho = mf.Density.gaussian(grid, 0.0, 0.4)
    turns = 2 * np.pi * np.arange(64) / 64
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    places = (grid.nodes[:, :, None] * circle).reshape(-1, 2)
    cloud = mf.Cloud(places, np.repeat(rho.masses / rho.mass, 64) / 64)
    rho = rho.normalised()
    data = mf.Data.gauss_laguerre(4, 8, lambda x: np.exp(-(x**2).sum(-1)))
    risk = mf.Risk(mf.Unit.bump(), data)
    attraction = mf.Interaction(lambda dz: np.exp(-(dz**2).sum(-1)))
    for energy in (mf.Penalty(), risk, attraction):
        assert energy.value(rho) == pytest.approx(energy.value(cloud), rel=1e-11)
    np.testing.assert_allclose(risk.predict(rho), risk.predict(cloud), rtol=1e-11)
    assert rho.moment(2) == pytest.approx(cloud.moment(2), rel=1e-13)


# -- the flux


@pytest.mark.parametrize("inner", [0.0, 1.0])
@pytest.mark.parametrize("name", ["sg", "compact"])
def test_gibbs_states_are_stationary(name, inner):
    grid = disc(20, inner)
    r = grid.axes[0]
    phi = np.random.default_rng(1).standard_normal(20)
    found = fluxes_on(grid, None, "auto")[name].transport(grid, phi - BETA * np.log(r), BETA)
    forward, backward = found.forward[0, :, 0], found.backward[0, :, 0]
    rest = r * np.exp(-phi / BETA)
    np.testing.assert_allclose(forward[:-1] * rest[:-1], backward[:-1] * rest[1:], rtol=1e-11)
    assert forward[-1] == backward[-1] == 0.0


def test_diffusion_of_squares_is_exact():
    """Without a potential r^2 grows by 4 beta dt, in every cell but the last: faces have lengths.

    With p = r_K n_K^2, by the flux of p up to the wall, which lets nothing through.
    """
    grid = disc(20)
    built = fluxes_on(grid, None, "auto")["compact"].transport(
        grid, -BETA * np.log(grid.axes[0]), BETA
    )
    p = grid.axes[0] * grid.nodes[:, 0] ** 2
    change = built.advance(p, p, 1.0) - p
    np.testing.assert_allclose(change[:-1], 4 * BETA * grid.axes[0][:-1], rtol=1e-11)


def test_factors_are_the_laplacian():
    """1 + h^2 (Phi'' + Phi' / r) / (12 beta), of a parabola exactly, from r = 0 on."""
    grid, beta = disc(20), 1e4  # Peclet numbers of 1e-4: no taper
    phi = 0.7 * grid.nodes[:, 0] ** 2 - beta * np.log(grid.axes[0])
    fluxes = fluxes_on(grid, None, "auto")
    plain, found = (fluxes[name].transport(grid, phi, beta) for name in ("sg", "compact"))
    factors = found.forward[0, :-1, 0] / plain.forward[0, :-1, 0]
    np.testing.assert_allclose(factors - 1, grid.volume**2 * 2.8 / (12 * beta), rtol=1e-6)
    assert found.lag[0, :-1, 0] == pytest.approx(grid.volume**2 / (12 * beta), rel=1e-4)


@dataclass(frozen=True, eq=False)
class WithoutSpread(RadialFlux):
    """Planted: the second derivative in the place of the Laplacian."""

    def metric(self, grid):
        return super().metric(grid) * np.array([[1.0], [0.0], [1.0], [1.0]])


def gap(cells, flux):
    """L1 error of the nodes' density after t, with steps of four lags: order 4 if h has it."""
    grid, t, v0 = disc(cells), 0.5, 0.3
    energy = 0.5 * mf.Penalty() + BETA * mf.Entropy()
    equation = Equation(grid, energy.smooth_on(grid), BETA, flux(grid))
    rho = mf.Density.from_function(grid, ring(v0), nodes=1).values
    steps = math.ceil(t * 3 * BETA / grid.volume**2)
    for _ in range(steps):
        rho = STEPPERS["mprk22"].step(State(equation, rho), t / steps, False).rho
    v = BETA + (v0 - BETA) * math.exp(-2 * t)
    exact = mf.Density.from_function(grid, ring(v), nodes=1).values
    return float(np.abs(rho - exact).sum() * grid.volume)


FLUX = {
    "compact": (lambda grid: RadialFlux(grid, lags=True), 4.0),
    "sg": (RadialFlux, 2.0),
    "of the logarithm": (lambda grid: FLUXES["compact"], 2.0),
    "without spread": (lambda grid: WithoutSpread(grid, lags=True), 2.0),
}


@pytest.mark.parametrize("name", list(FLUX))
def test_order_on_the_radius(name):
    """Ornstein-Uhlenbeck: four, and two for the plain flux and where a part of it is left out."""
    flux, expected = FLUX[name]
    errors = [gap(cells, flux) for cells in CELLS]
    assert order(CELLS, errors) == pytest.approx(expected, abs=0.35), errors


def test_one_cell_is_at_rest():
    grid = disc(1)
    problem = mf.Problem(
        mf.GradientFlow(0.5 * mf.Penalty() + BETA * mf.Entropy()), mf.Density.uniform(grid), 1.0
    )
    for stepper in ("auto", "mprk22", "b2"):
        solution = mf.solve(problem, stepper=stepper)
        np.testing.assert_array_equal(solution.densities[-1].values, problem.initial.values)


def test_methods_are_chosen_without_the_logarithm():
    """It alone has a Peclet number of log 3 at the first face; the fluxes do not see it."""
    grid = disc(40)
    problem = mf.Problem(mf.GradientFlow(mf.Entropy()), mf.Density.gaussian(grid, 0.0, 0.3), 0.1)
    solution = mf.solve(problem, stepper="heun")
    assert solution.statistics.flux == "sg"
    assert solution.result.count("0.0% of the mass") == 1
    sphere = mf.Density.gaussian(disc(40, dim=3), 0.0, 0.3)
    with_it = mf.solve(mf.Problem(problem.flow, sphere, 0.1), stepper="heun")
    assert with_it.result.count("0.0% of the mass") == 0


def test_drifts_of_rings_are_those_of_the_density():
    """Differences of the potential in r against the drift of particles all over the rings."""
    data = mf.Data.gauss_laguerre(8, 16, lambda x: np.exp(-(x**2).sum(-1)))
    energy = mf.Risk(mf.Unit.bump(), data) + 0.02 * mf.Penalty() + 0.02 * mf.Entropy()
    problem = mf.Problem(mf.GradientFlow(energy), mf.Density.gaussian(disc(80), 0.0, 0.5), 1.0)
    assert mf.validate(problem, claims=["one-drift"]).passed
    ball = mf.Problem(problem.flow, mf.Density.gaussian(disc(80, dim=3), 0.0, 0.5), 1.0)
    refuses(
        lambda: mf.validate(ball, claims=["one-drift"]), "one-drift", "orbits of few points", "drop"
    )


def test_moments_are_compared_at_nodes():
    grid = disc(24)
    energy = 0.5 * mf.Penalty() + BETA * mf.Entropy()
    problem = mf.Problem(mf.GradientFlow(energy), mf.Density.gaussian(grid, 0.0, 0.3), 0.5)
    solution = mf.solve(problem, save=[0.0, 0.5])
    report = mf.compare(solution, mf.simulate(problem, 100, seed=0, save=[0.0, 0.5]))
    found = [row["density"] for row in report.to_dict()["rows"] if row["quantity"] == "mean |z|^2"]
    exact = [rho.moment(2) / rho.mass for rho in solution.densities]
    np.testing.assert_allclose(found, exact, rtol=1e-12)


@pytest.mark.parametrize("dim", [2, 10])
def test_residuals_fall_on_the_radius(dim):
    """The logarithm is differentiated exactly: its differences know nothing of it near 0."""
    left = []
    for cells in (60, 120):
        grid = mf.Grid.box(0.0, 8.0, cells, chart=mf.Chart.radius(dim))
        energy = 0.5 * mf.Penalty() + BETA * mf.Entropy()
        problem = mf.Problem(mf.GradientFlow(energy), mf.Density.gaussian(grid, 0.0, 0.3), 1.0)
        solution = mf.solve(problem, save=21, tolerance=1e-5)
        left.append(float(mf.residual(solution).relative.max()))
    assert left[1] < 3e-3
    assert left[0] > 3.5 * left[1]


@pytest.mark.parametrize("stepper", ["heun", "mprk22", "b1", "b2"])
def test_every_stepper_finds_the_law(stepper):
    grid = disc(60)
    energy = mf.Potential(lambda z: 0.5 * (z**2).sum(-1)) + BETA * mf.Entropy()
    problem = mf.Problem(mf.GradientFlow(energy), mf.Density.gaussian(grid, 0.0, 0.3), 1.0)
    solution = mf.solve(problem, stepper=stepper, tolerance=1e-4)
    v = BETA - 0.2 * math.exp(-2.0)
    assert solution.densities[-1].moment(2) == pytest.approx(2 * v, rel=6e-3)
    assert solution.statistics.mass_drift < 1e-13
    assert solution.statistics.smallest >= 0
    rest = mf.gibbs(energy, grid)
    assert rest.moment(2) == pytest.approx(2 * BETA, rel=1e-5)
