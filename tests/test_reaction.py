"""Birth and death: the exact substep, Strang's splitting, and what the density solver keeps."""

from dataclasses import replace

import numpy as np
import pytest
from problems import generator, grow, half_square
from reference import order
from scipy.linalg import expm

import meanfield_pde as mf
from meanfield_pde.eulerian import splitting
from meanfield_pde.eulerian.flux import FLUXES
from meanfield_pde.eulerian.reaction import Reaction
from meanfield_pde.eulerian.splitting import Reacting
from meanfield_pde.eulerian.stepper import STEPPERS, Equation, State, StepFailedError

BETA, ALPHA = 0.3, 1.5
LINE = mf.Grid.box(-3, 3, 30)
WELL = mf.Potential(half_square)
PAIRS = mf.Interaction(lambda d: np.cos(d[..., 0]))
LAWS = {"plain": (0.0, False), "diffusion": (BETA, False), "entropic": (BETA, True)}
"""Diffusion, and whether it reacts."""


def rough(grid, seed=0, mass=1.0):
    values = np.random.default_rng(seed).exponential(size=grid.shape)
    return values * (mass / (values.sum() * grid.volume))


def flow_of(energy, law, **options):
    beta, entropic = LAWS[law]
    energy = energy + beta * mf.Entropy() if beta else energy
    return mf.GradientFlow(energy, reaction=ALPHA, entropic=entropic, **options)


def equation_of(energy, law, grid=LINE, transport=True):
    flow = flow_of(energy, law)
    frozen = () if transport else tuple(range(grid.dim))
    return Equation(
        grid,
        flow.energy.smooth_on(grid),
        flow.energy.beta,
        FLUXES["sg"],
        frozen,
        reaction=Reaction.of(flow, grid),
    )


def births(rho, v):
    """The right-hand side, cell by cell from its formula."""
    return -ALPHA * (v - (v * rho).sum() / rho.sum()) * rho


def by_lines(equation, rho, t):
    """Cell averages at t without error in time to speak of, and without any of the solver."""
    entropy, shape = equation.reaction.beta, equation.grid.shape

    def rhs(y):
        y = np.maximum(y, 1e-300).reshape(shape)
        phi = equation.energy.potential(y)
        rate = births(y, phi + entropy * np.log(y))
        if equation.moving:
            rate = rate + (generator(equation.grid, phi, equation.beta) @ y.ravel()).reshape(shape)
        return rate.ravel()

    return grow(rhs, rho.ravel(), t).reshape(shape)


# -- the substep


@pytest.mark.parametrize("law", list(LAWS))
def test_substep_is_exact(law):
    equation, rho = equation_of(WELL, law, transport=False), rough(LINE, mass=2.5)
    phi = equation.energy.potential(rho)
    advance = equation.reaction.advance
    np.testing.assert_allclose(advance(rho, phi, 0.7), by_lines(equation, rho, 0.7), rtol=1e-9)
    twice = advance(advance(rho, phi, 0.3), phi, 0.4)
    np.testing.assert_allclose(advance(rho, phi, 0.7), twice, rtol=1e-13)
    back = advance(advance(rho, phi, 0.3), phi, -0.3)
    np.testing.assert_allclose(back, rho, rtol=1e-12)


@pytest.mark.parametrize("t", [0.0, 1e-12, 1.0, 1e3, 1e9])
@pytest.mark.parametrize("law", list(LAWS))
def test_substep_is_positive_and_keeps_mass_and_emptiness(law, t):
    reaction, phi = equation_of(WELL, law).reaction, 40 * half_square(LINE.points)
    rho = rough(LINE)
    rho[11:18] = 0.0  # where the potential is lowest
    rho[18] = 1e-300
    found = reaction.advance(rho, phi, t)
    assert (found >= 0).all()
    assert not found[rho == 0].any()
    assert found.sum() == pytest.approx(rho.sum(), rel=1e-14)
    if t == 1e9 and law != "entropic":
        assert found[18] == pytest.approx(rho.sum())  # all of it, where V is lowest
    if t == 1e9 and law == "entropic":
        gibbs = np.where(rho > 0, np.exp(-(phi - phi[18]) / BETA), 0.0)
        np.testing.assert_allclose(found, gibbs * rho.sum() / gibbs.sum(), rtol=1e-12)


def test_many_substeps_keep_the_mass_to_the_last_bits():
    """Rounding that is the same in each step would add up; a leak is not put back."""
    rho = np.zeros(LINE.shape)
    rho[3:7] = 0.3, 0.123456789, 0.7, 0.345
    total, phi = rho.sum(), np.ones(LINE.shape)
    reaction = replace(equation_of(WELL, "plain").reaction, mass=total)
    kept = rho
    for _ in range(2000):
        kept = reaction.advance(kept, phi, 0.1)
    assert abs(kept.sum() - total) <= 4e-16 * total
    leaking = reaction.advance((1 - 1e-12) * rho, phi, 0.1)
    assert leaking.sum() / total - 1 == pytest.approx(-1e-12, rel=1e-3)


# -- the composite


def run(equation, stepper, rho, t, steps):
    for _ in range(steps):
        rho = stepper.step(State(equation, rho), t / steps, estimate=False).rho
    return rho


FINER = {"heun": 8, "mprk22": 8}
"""How many times more steps: for explicit ones to be positive, Patankar's weights to be even."""


def orders(equation, stepper, t=0.5, steps=(16, 32, 64)):
    rho = mf.Density.gaussian(LINE, 0.5, 0.2, lost=1e-3).values
    exact = by_lines(equation, rho, t)
    if equation.moving:
        steps = [FINER.get(stepper.name, 1) * n for n in steps]
    errors = [np.abs(run(equation, stepper, rho, t, n) - exact).sum() for n in steps]
    return order(steps, errors)


ENERGIES = {"fixed": WELL, "moving": WELL + 2.0 * PAIRS}


@pytest.mark.parametrize("name", ["heun", "mprk22", "b2"])
@pytest.mark.parametrize("energy", list(ENERGIES))
@pytest.mark.parametrize("law", list(LAWS))
def test_strang_is_of_order_two(law, energy, name):
    equation = equation_of(ENERGIES[energy], law)
    assert orders(equation, Reacting(STEPPERS[name])) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("law", list(LAWS))
def test_without_transport(law):
    """Order 2 for a potential that moves, no error for one that does not."""
    for name in STEPPERS:
        fixed, moving = (equation_of(e, law, transport=False) for e in ENERGIES.values())
        assert orders(moving, Reacting(STEPPERS[name])) == pytest.approx(2.0, abs=0.1)
        rho = rough(LINE)
        whole, parts = (run(fixed, Reacting(STEPPERS[name]), rho, 1.0, n) for n in (1, 7))
        np.testing.assert_allclose(whole, parts, rtol=1e-12)
        assert Reacting(STEPPERS[name]).exact(fixed)
        assert not Reacting(STEPPERS[name]).exact(moving)


def test_b1_is_of_order_one():
    equation = equation_of(ENERGIES["moving"], "diffusion")
    assert orders(equation, Reacting(STEPPERS["b1"])) == pytest.approx(1.0, abs=0.1)


def one_sided(equation, rho, potential, t):
    """A planted fault: the reaction of order 1, with the potential of its start."""
    return equation.reaction.advance(rho, potential, t)


def unhalved(equation, rho, potential, t):
    """A planted fault: both reactions over the whole step."""
    return equation.reaction.advance(rho, equation.energy.potential(rho), 2 * t)


def test_planted_faults_are_seen(monkeypatch):
    equation = equation_of(ENERGIES["moving"], "entropic", transport=False)
    monkeypatch.setattr(splitting, "_react", one_sided)
    assert orders(equation, Reacting(STEPPERS["heun"])) < 1.2
    monkeypatch.setattr(splitting, "_react", unhalved)
    assert orders(equation, Reacting(STEPPERS["heun"])) < 0.2

    class Lie(Reacting):
        """A planted fault: a whole step of each, one after the other."""

        def step(self, state, dt, estimate):
            half = state.equation.reaction.advance(state.rho, state.potential, dt)
            return self.transport.step(State(state.equation, half), dt, False)

    equation = equation_of(WELL, "diffusion")
    assert orders(equation, Lie(STEPPERS["b2"])) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("law", ["plain", "entropic"])
def test_b2_is_symmetric_in_time(law):
    """Its inverse is the step with -dt: half a reaction, exponential, half a reaction backwards."""
    equation, rho, dt = equation_of(ENERGIES["moving"], law), rough(LINE), 0.01
    new = run(equation, Reacting(STEPPERS["b2"]), rho, dt, 1)
    phi = equation.energy.secant(new, rho)
    back = equation.reaction.advance(new, phi, -0.5 * dt)
    back = expm(-dt * generator(LINE, phi, equation.beta)) @ back
    back = equation.reaction.advance(back, phi, -0.5 * dt)
    np.testing.assert_allclose(back, rho, rtol=1e-8)


@pytest.mark.parametrize("name", list(STEPPERS))
@pytest.mark.parametrize("law", list(LAWS))
def test_estimates_are_above_errors(law, name):
    """By far, being those of a method of order 1; and they fall as dt^2."""
    equation, rho = equation_of(ENERGIES["moving"], law), rough(LINE)
    stepper, estimates = Reacting(STEPPERS[name]), []
    for dt in (0.01, 0.005):
        step = stepper.step(State(equation, rho), dt, estimate=True)
        error = np.abs(step.rho - by_lines(equation, rho, dt)).sum() * LINE.volume
        assert error < (1.5 if name == "b1" else 1.0) * step.error  # b1 compares with half steps
        estimates.append(step.error)
    assert np.log2(estimates[0] / estimates[1]) == pytest.approx(2.0, abs=0.35)


# -- what the free energy does


def network():
    data = mf.Data.gauss_hermite(1, 5, lambda x: np.sign(np.sin(2 * x[..., 0]) + 1e-3))
    return mf.Risk(mf.Unit.ridge("tanh"), data) + 0.1 * mf.Penalty()


DISSIPATED = {
    "attraction": WELL + 2.0 * PAIRS,
    "repulsion": WELL - 3.0 * PAIRS,
    "network": network(),
}


@pytest.mark.parametrize("dt", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("transport", [True, False])
@pytest.mark.parametrize("energy", list(DISSIPATED))
@pytest.mark.parametrize("law", ["plain", "entropic"])
def test_free_energy_falls_for_every_step(law, energy, transport, dt):
    equation = equation_of(DISSIPATED[energy], law, transport=transport)
    for name in ("b1", "b2"):
        state, fallen = State(equation, rough(LINE)), False
        for _ in range(3):
            try:
                rho = Reacting(STEPPERS[name]).step(state, dt, False).rho
            except StepFailedError:  # without diffusion the potential may not settle
                assert (law, dt) == ("plain", 100.0)
                break
            new = State(equation, rho)
            assert rho.min() >= 0
            assert rho.sum() == pytest.approx(state.rho.sum(), rel=1e-13)
            change = new.free_energy - state.free_energy
            assert change <= 1e-12 * max(1, abs(state.free_energy))
            fallen, state = fallen or change < -1e-4, new
        assert fallen or dt > 0.5


def test_a_potential_of_the_start_raises_the_free_energy():
    """The planted fault that the secant is for."""
    equation = equation_of(WELL + 10.0 * PAIRS, "entropic")
    state = State(equation, mf.Density.gaussian(LINE, 1.0, 0.2, lost=1e-3).values)
    worst = -np.inf
    for _ in range(10):
        rho = splitting._parts(STEPPERS["b2"], state, 10.0)[-1]
        new = State(equation, rho)
        worst, state = max(worst, new.free_energy - state.free_energy), new
    assert worst > 1e-2


@pytest.mark.parametrize("transport", [True, False])
@pytest.mark.parametrize("law", list(LAWS))
def test_dissipation_is_the_rate_of_the_free_energy(law, transport):
    equation, rho, dt = (
        equation_of(ENERGIES["moving"], law, transport=transport),
        0.2 + rough(LINE),
        1e-5,
    )
    after, before = (by_lines(equation, rho, t) for t in (2 * dt, 0.0))
    middle = State(equation, by_lines(equation, rho, dt))
    change = State(equation, after).free_energy - State(equation, before).free_energy
    assert middle.dissipation == pytest.approx(-change / (2 * dt), rel=1e-4)
    alone = equation.reaction.dissipation(
        middle.rho,
        middle.potential,
        middle.potential + equation.beta * np.log(middle.rho),
    )
    if law != "diffusion":
        assert alone > 0
