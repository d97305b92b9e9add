"""Orders of convergence to exact answers, in space and in time, and answers at late times."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import problems
import pytest
from manufactured import MANUFACTURED, RESTING
from problems import FLOWS, STATIONARY, STEEP, TRANSITIONS, Upwind, half_square
from reference import order
from scipy.optimize import brentq
from scipy.special import gamma, ndtr

import meanfield_pde as mf
from meanfield_pde.eulerian.stepper import MPRK22, Heun, Step

TIGHT = {1: 1e-5, 2: 1e-4}
"""Tolerances by dimension, so small that a tenth of them moves no error by a fiftieth."""


@lru_cache
def solved(name, cells, flux="sg"):
    problem = {**FLOWS, **STEEP}[name].problem(cells)
    tolerance = TIGHT[problem.initial.grid.dim]
    flux = Upwind() if flux == "upwind" else flux
    return mf.solve(problem, flux=flux, stepper="heun", tolerance=tolerance)


def distances(flow, flux="sg"):
    ends = [solved(flow.name, n, flux).densities[-1] for n in flow.cells]
    return [float(mf.distance.l1(rho, flow.end(rho.grid))) for rho in ends]


WITH_DENSITY = [name for name, flow in FLOWS.items() if flow.end is not None]


# -- in space


@pytest.mark.parametrize("name", WITH_DENSITY)
def test_second_order_in_space(name):
    flow = FLOWS[name]
    errors = distances(flow)
    assert order(flow.cells, errors) == pytest.approx(2.0, abs=0.2)
    assert errors[-1] <= flow.reached


def test_second_order_at_small_noise():
    """The quadratic network at beta = .02, on grids that resolve it; on coarser ones (|q| > 1 where
    the mass is) the flux is still on its way from order 1."""
    flow, cells, errors = problems.quadratic_network(0.02), (250, 350, 500), []
    for n in cells:
        rho = mf.solve(flow.problem(n), flux="sg", stepper="heun", tolerance=2e-4).densities[-1]
        errors.append(float(mf.distance.l1(rho, flow.end(rho.grid))))
    assert order(cells, errors) == pytest.approx(2.0, abs=0.2)


RESOLVED = {
    0.5: (6.0, -6.0, (100, 150, 200, 300)),
    0.05: (2.5, -2.5, (150, 200, 300, 400)),
    0.005: (1.8, -0.8, (500, 700, 1000, 1400)),
}
"""Diffusion to box and cells, on which |q| < 1 where the mass of N(.7, .04) is and goes."""


@pytest.mark.parametrize("beta", list(RESOLVED))
@pytest.mark.parametrize(
    ("flux", "stepper"), [("sg", "b2"), ("sg", "heun"), ("compact", "b2"), ("rl", "heun")]
)
def test_second_order_at_every_diffusion(flux, stepper, beta):
    upper, lower, cells = RESOLVED[beta]
    end = 0.7 * np.exp(-1.0), beta + (0.04 - beta) * np.exp(-2.0)
    energy, errors = mf.Potential(half_square) + beta * mf.Entropy(), []
    for n in cells:
        start = mf.Density.gaussian(mf.Grid.box(lower, upper, n), 0.7, 0.04)
        problem = mf.Problem(mf.GradientFlow(energy), start, 1.0)
        rho = mf.solve(problem, flux=flux, stepper=stepper, tolerance=1e-5).densities[-1]
        errors.append(float(mf.distance.l1(rho, mf.Density.gaussian(rho.grid, *end))))
    assert order(cells, errors) == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize("name", list(FLOWS))
def test_answers_are_met(name):
    """Errors of moments and energies fall as h^1.8 or faster, but for rounding."""
    flow = FLOWS[name]
    rounding = 1e-12  # of sums over cells and of thousands of steps
    ends = [solved(name, n).densities[-1] for n in flow.cells]
    ratio = (flow.cells[-1] / flow.cells[0]) ** 1.8
    for quantity, (function, exact) in flow.answers.items():
        first, *_, last = (abs(function(rho) - exact) for rho in ends)
        assert last <= first / ratio + rounding, quantity


@pytest.mark.parametrize("name", [name for name in WITH_DENSITY if "quadratic-n" not in name])
def test_limited_flux_converges(name):
    """Limiters cut the tops of bumps: on these grids their order lies between 1.6 and 2."""
    flow = FLOWS[name]
    errors = distances(flow, "rl")
    assert 1.6 < order(flow.cells, errors) < 2.2
    assert errors[-1] <= 2 * distances(flow)[-1]


@pytest.mark.parametrize("name", list(STEEP))
def test_limited_flux_where_drift_dominates(name):
    """What it is for: errors that the plain flux has on four times as many cells, or never."""
    flow = STEEP[name]
    limited, plain = distances(flow, "rl"), distances(flow)
    assert limited[-1] <= flow.reached
    assert order(flow.cells, limited) > 1.4
    assert limited[0] < plain[-1]


def test_limited_flux_without_diffusion():
    """On transport, errors that a prototype had on the first three grids: .156, .043, .0126."""
    flow, cells = STEEP["contraction"], (100, 200, 400, 800)
    errors = []
    for n in cells:
        rho = mf.solve(flow.problem(n), flux="rl", stepper="heun", tolerance=1e-4).densities[-1]
        errors.append(float(mf.distance.l1(rho, flow.end(rho.grid))))
    assert order(cells, errors) >= 1.6
    for error, before in zip(errors, (0.156, 0.0435, 0.0127), strict=False):
        assert error <= before


def attracted_and_repelled(grid, t):
    """Averages of the law of x^2/2 - |x| from N(0, 1/16), by its quantiles.

    The particle at the quantile s moves with X' = -X + 2s - 1, as it attracts and is attracted in
    proportion to distances, and is pushed by the rest on either side.
    """
    decay = np.exp(-t)

    def share(x):
        z = brentq(lambda z: 0.25 * z * decay + (2 * ndtr(z) - 1) * (1 - decay) - x, -40, 40)
        return ndtr(z)

    return mf.Density(grid, np.diff([share(x) for x in grid.faces[0]]) / grid.volume)


def test_aggregation_without_diffusion():
    energy = mf.Interaction(lambda z: 0.5 * z[..., 0] ** 2 - np.abs(z[..., 0]))
    errors = {"rl": [], "sg": []}
    for n in (100, 200):
        start = mf.Density.gaussian(mf.Grid.box(-2, 2, n), 0.0, 0.0625)
        problem = mf.Problem(mf.GradientFlow(energy), start, 1.0)
        exact = attracted_and_repelled(start.grid, 1.0)
        for flux, found in errors.items():
            rho = mf.solve(problem, flux=flux, stepper="heun", tolerance=1e-5).densities[-1]
            found.append(float(mf.distance.l1(rho, exact)))
    assert errors["rl"][0] <= 1.5e-3
    assert errors["rl"][1] <= 4.3e-4
    assert errors["sg"][1] > 10 * errors["rl"][0]  # upwind on a grid twice as fine


def test_a_first_order_flux_is_caught():
    flow = FLOWS["ornstein-uhlenbeck"]
    errors = distances(flow, "upwind")
    assert order(flow.cells, errors) < 1.5
    assert errors[-1] > flow.reached


def wrong_beta(flow):
    return flow.energy.smooth + 1.1 * flow.energy.beta * mf.Entropy()


def wrong_factor(flow):
    """Forget the 2 of a derivative: half of all but the entropy."""
    return 0.5 * flow.energy.smooth + flow.energy.beta * mf.Entropy()


def no_drift(flow):
    return flow.energy.beta * mf.Entropy()


@pytest.mark.parametrize("plant", [wrong_beta, wrong_factor, no_drift])
@pytest.mark.parametrize("name", ["ornstein-uhlenbeck", "linear-regression", "network-on-circle"])
def test_a_wrong_equation_is_caught(name, plant):
    flow = FLOWS[name]
    errors = []
    for n in flow.cells:
        problem = mf.Problem(mf.GradientFlow(plant(flow)), flow.start(flow.grid(n)), flow.t1)
        rho = mf.solve(problem).densities[-1]
        errors.append(float(mf.distance.l1(rho, flow.end(rho.grid))))
    assert order(flow.cells, errors) < 1.0


# -- to manufactured laws, not Gaussian, in potentials that are not quadratic


def manufactured_errors(made, flux, stepper, energy=None, **options):
    flow, errors = mf.GradientFlow(energy or made.energy, made.rate), []
    for level, n in enumerate(made.cells):
        start = made.at(made.grid(n), 0.0)
        if stepper == "b1":  # of order 1 in time: steps as h^2
            options = {"dt": flow.clock(0.0, made.t1) / (40 * 4**level)}
        problem = mf.Problem(flow, start, made.t1)
        rho = mf.solve(problem, flux=flux, stepper=stepper, **options).densities[-1]
        errors.append(float(mf.distance.l1(rho, made.at(rho.grid, made.t1))))
    return errors


@pytest.mark.parametrize("name", list(MANUFACTURED))
@pytest.mark.parametrize(("stepper", "tolerance"), [("heun", 1e-4), ("mprk22", 1e-5)])
def test_second_order_to_manufactured_laws(name, stepper, tolerance):
    made = MANUFACTURED[name]
    errors = manufactured_errors(made, "sg", stepper, tolerance=tolerance)
    assert order(made.cells, errors) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("name", [n for n, made in MANUFACTURED.items() if len(made.lines) == 1])
def test_first_order_steps_to_manufactured_laws(name):
    made = MANUFACTURED[name]
    assert order(made.cells, manufactured_errors(made, "sg", "b1")) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("name", list(MANUFACTURED))
def test_limited_flux_to_manufactured_laws(name):
    """Limiters cut the tops of bumps here as well."""
    made = MANUFACTURED[name]
    errors = manufactured_errors(made, "rl", "heun", tolerance=1e-4)
    assert 1.6 < order(made.cells, errors) < 2.1


@pytest.mark.parametrize("name", list(MANUFACTURED))
def test_wrong_equations_miss_manufactured_laws(name):
    """One twentieth more diffusion, a weaker kernel, a missing rate: the error stays."""
    made = MANUFACTURED[name]
    energies = [made.energy + 0.05 * made.lines[0].beta * mf.Entropy()]
    if made.pull:
        energies.append(made.energy - 0.2 * mf.Interaction(made.kernel))
    for energy in energies:
        errors = manufactured_errors(made, "sg", "mprk22", energy, tolerance=1e-3)
        assert order(made.cells, errors) < 1.0
    if made.rate is not None:
        still = mf.solve(mf.Problem(mf.GradientFlow(made.energy), made.at(made.grid(100), 0), 1.0))
        rho = still.densities[-1]
        assert mf.distance.l1(rho, made.at(rho.grid, 1.0)) > 1e-2


@pytest.mark.parametrize("name", list(MANUFACTURED))
def test_a_first_order_flux_misses_manufactured_laws(name):
    made = MANUFACTURED[name]
    errors = manufactured_errors(made, Upwind(), "heun", tolerance=1e-3)
    assert order(made.cells, errors) < 1.5


@pytest.mark.parametrize("name", list(RESTING))
def test_second_order_of_stationary_laws(name):
    """Newton's law and the law of a long solve, both from elsewhere, against the exact one."""
    law, newton, late = RESTING[name], [], []
    for n in law.cells:
        grid = law.grid(n)
        exact = law.at(grid)
        tilted = exact.values * (1 + 0.3 * np.sin(grid.points[..., 0]))
        start = mf.Density(grid, tilted * (exact.mass / (tilted.sum() * grid.volume)))
        newton.append(float(mf.distance.l1(mf.gibbs(law.energy, grid, start=start), exact)))
        problem = mf.Problem(mf.GradientFlow(law.energy), start, 60.0)
        late.append(float(mf.distance.l1(mf.solve(problem).densities[-1], exact)))
    assert order(law.cells, newton) == pytest.approx(2.0, abs=0.1)
    assert order(law.cells, late) == pytest.approx(2.0, abs=0.1)


# -- in time, against the semi-discrete equation itself

SQUARE = mf.Grid.torus((-np.pi, -np.pi), (np.pi, np.pi), (10, 12))


def phases_in_the_plane():
    """On a torus, with a potential and a kernel, not separable."""
    V = mf.Potential(lambda z: np.cos(z[..., 0]) * np.sin(z[..., 1]))
    W = mf.Interaction(lambda z: -np.cos(z[..., 0] - z[..., 1]))
    start = mf.Density.from_function(
        SQUARE, lambda z: 1 + 0.5 * np.cos(z[..., 0]) + 0.3 * np.sin(z[..., 0] + z[..., 1])
    )
    return mf.Problem(mf.GradientFlow(V + W + 0.3 * mf.Entropy()), start.normalised(), 1.0)


IN_TIME = {
    "ornstein-uhlenbeck": lambda: FLOWS["ornstein-uhlenbeck"].problem(40),
    "quadratic-attraction": lambda: FLOWS["quadratic-attraction"].problem(40),
    "linear-regression": lambda: FLOWS["linear-regression"].problem(40),
    "network-on-circle": lambda: FLOWS["network-on-circle"].problem(24),
    "phases-in-the-plane": phases_in_the_plane,
}
"""Potentials that are fixed, quadratic in rho, and networks'; on lines, a circle and a torus."""
STEPS = np.array([64, 128, 256, 512])
EXACT_IN_TIME = ("ornstein-uhlenbeck", "quadratic-attraction")
"""Potentials that do not move: fixed, or of a mean that stays."""


@lru_cache
def lines(name):
    """Problem over unit time, and its solution without error in time."""
    problem = IN_TIME[name]()
    problem = mf.Problem(problem.flow, problem.initial, 1.0)
    return problem, problems.method_of_lines(problem.flow.energy, problem.initial, 1.0)


def errors_in_time(name, stepper):
    problem, exact = lines(name)
    errors = []
    for steps in STEPS:
        solution = mf.solve(problem, flux="sg", stepper=stepper, dt=1.0 / steps)
        assert solution.statistics.steps == steps
        errors.append(np.abs(solution.densities[-1].values - exact).sum())
    return errors


@pytest.mark.parametrize("name", list(IN_TIME))
@pytest.mark.parametrize(
    ("stepper", "expected", "near"),
    [("heun", 2, 0.1), ("mprk22", 2, 0.2), ("b1", 1, 0.1), ("b2", 2, 0.1)],
)
def test_order_in_time(name, stepper, expected, near):
    errors = errors_in_time(name, stepper)
    if stepper == "b2" and name in EXACT_IN_TIME:
        assert max(errors) <= 1e-11  # what the answer itself is computed to
    else:
        assert order(STEPS, errors) == pytest.approx(expected, abs=near)


@dataclass(frozen=True)
class FrozenHeun(Heun):
    """Planted: the second stage keeps the flux of the first, as if nothing interacted."""

    def step(self, state, dt, estimate):
        flux = state.transport
        stage = flux.advance(state.rho, state.rho, dt)
        return Step(0.5 * (state.rho + flux.advance(stage, stage, dt)), 0.0)


@dataclass(frozen=True)
class FrozenMPRK22(MPRK22):
    """Planted: the same for the implicit method."""

    def step(self, state, dt, estimate):
        return Step(state.lines[0].second_order(state.rho, dt), 0.0)


@pytest.mark.parametrize("planted", [FrozenHeun(), FrozenMPRK22()])
@pytest.mark.parametrize("name", ["network-on-circle", "linear-regression"])
def test_a_frozen_second_stage_is_caught(name, planted):
    assert order(STEPS, errors_in_time(name, planted)) < 1.5


# -- at late times


LATE = {"mean": 1e-4, "variance": 1e-4, "order": 1e-4, "output": 1e-4, "risk": 1e-4}
LATE["free energy"] = 1e-8


@pytest.mark.parametrize("name", list(STATIONARY))
def test_late_laws(name):
    """Every start falls to the law on its side.

    At t = 60 the slowest of these has relaxed to 1e-6, and sums of smooth laws over cells converge
    faster than any power of h; the energy is stationary there, so that its error is a square.
    """
    law = STATIONARY[name]
    for start, answers in zip(law.starts, law.answers, strict=True):
        problem = mf.Problem(mf.GradientFlow(law.energy), start, 60.0)
        rho = mf.solve(problem).densities[-1]
        for quantity, (function, exact) in answers.items():
            assert function(rho) == pytest.approx(exact, abs=LATE[quantity]), quantity


def test_a_wrong_stationary_law_is_caught():
    """One hundredth more diffusion moves every answer by more than ten tolerances."""
    law = STATIONARY["desai-zwanzig-0.2"]
    hotter = law.energy.smooth + 1.01 * law.energy.beta * mf.Entropy()
    rho = mf.gibbs(hotter, law.grid, start=law.starts[0])
    for quantity, (function, exact) in law.answers[0].items():
        assert abs(function(rho) - exact) > 10 * LATE[quantity], quantity


@pytest.mark.parametrize("name", list(TRANSITIONS))
def test_transitions(name):
    """A small tilt of the symmetric law grows just below the critical beta, and dies just above.

    On the circle its rate is 1/2 - beta, here +-1/40; in the double wells about half of that.
    """
    transition = TRANSITIONS[name]
    grid = transition.grid
    for factor in (0.95, 1.05):
        beta = factor * transition.critical
        energy = transition.energy(beta)
        symmetric = mf.gibbs(energy, grid, start=mf.Density.uniform(grid))
        shape = np.cos(grid.points[..., 0]) if grid.periodic else np.tanh(grid.points[..., 0])
        shape = shape - (symmetric.values * shape).sum() / symmetric.values.sum()
        tilted = mf.Density(grid, symmetric.values * (1 + 1e-3 * shape))  # far above rounding
        problem = mf.Problem(mf.GradientFlow(energy), tilted, 40.0)
        solution = mf.solve(problem, save=[20, 40], tolerance=1e-5)  # far below the tilt
        early, late = (transition.order(rho) for rho in solution.densities)
        assert early > 0
        assert (late > 1.1 * early) if factor < 1 else (late < 0.9 * early)


@pytest.mark.parametrize("name", list(TRANSITIONS))
def test_laws_beyond_the_transition(name):
    """Ten per cent below, the stationary law has the order that self-consistency demands."""
    transition = TRANSITIONS[name]
    beta = 0.9 * transition.critical
    exact = transition.branch(beta)
    shape = np.cos if transition.grid.periodic else np.tanh
    start = mf.Density.from_function(
        transition.grid, lambda z: np.exp(-0.5 * z[..., 0] ** 2) * (1 + 0.9 * shape(z[..., 0]))
    ).normalised()
    law = mf.solve(mf.Problem(mf.GradientFlow(transition.energy(beta)), start, 50.0)).densities[-1]
    law = mf.gibbs(transition.energy(beta), transition.grid, start=law)
    assert transition.order(law) == pytest.approx(exact, abs=1e-9)


# -- the answers themselves


def test_answers_by_another_way():
    """Numbers that the table of problems computes have other closed forms or bounds."""
    critical = TRANSITIONS["desai-zwanzig-critical-1"].critical
    # At theta = 1 the symmetric law is exp(-x^4 / 4 beta), with moments by the gamma function.
    assert critical == pytest.approx(4 * (gamma(0.75) / gamma(0.25)) ** 2, rel=1e-12)
    for beta in (0.2, 0.3):  # broken laws lie below the symmetric one
        _, _, log_z = problems.gibbs_rule(problems.desai_zwanzig_law(0.0), beta)
        broken = STATIONARY[f"desai-zwanzig-{beta:g}"].answers[0]["free energy"][1]
        assert broken < -beta * log_z
    for name in ("kuramoto-3", "kuramoto-4"):
        assert STATIONARY[name].answers[0]["free energy"][1] < -np.log(2 * np.pi)
    circle = FLOWS["network-on-circle"]
    rest = STATIONARY["network-on-circle-rest"].answers[0]["risk"][1]
    assert rest < circle.answers["risk"][1] < 0.25 * (0.25 + 0.8) ** 2  # falls, not below its limit
