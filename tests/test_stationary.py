"""Densities that have come to rest are kept; those that only seem to rest are not."""

import numpy as np
import pytest
from problems import circle, desai_zwanzig_energy, half_square, harmonic, kuramoto_order

import meanfield_pde as mf
from meanfield_pde.eulerian import march
from meanfield_pde.eulerian.march import March
from meanfield_pde.eulerian.stepper import Equation, Heun

ALLOWED = 1e-12
"""What keeping a density may change."""


def ornstein_uhlenbeck(rate=None, t1=60.0):
    energy = mf.Potential(half_square) + 0.5 * mf.Entropy()
    start = mf.Density.gaussian(mf.Grid.box(-5, 5, 40), 1.0, 0.1)
    return mf.Problem(mf.GradientFlow(energy, rate), start, t1)


def interacting(t1=120.0):
    """The potential's transforms jitter for ever: no two steps are equal."""
    start = mf.Density.gaussian(mf.Grid.box(-3, 3, 32), 0.6, 0.2)
    return mf.Problem(mf.GradientFlow(desai_zwanzig_energy(0.3)), start, t1)


def synchronising(seed, t1=60.0):
    """The uniform law of phases, unstable at rate 1, with a seed of the law that it leaves for."""
    energy = 4 * mf.Interaction(lambda dz: -np.cos(dz[..., 0])) + 1.0 * mf.Entropy()
    grid = circle(24)
    values = (1 + seed * np.cos(grid.axes[0])) / (2 * np.pi)
    return mf.Problem(mf.GradientFlow(energy), mf.Density(grid, values), t1)


def tunnelling(t1):
    """A double well with a barrier of eight times the diffusion, from the left."""
    energy = mf.Potential(lambda z: (z[..., 0] ** 2 - 1) ** 2) + 0.125 * mf.Entropy()
    start = mf.Density.gaussian(mf.Grid.box(-2, 2, 24), -1.0, 0.02)
    return mf.Problem(mf.GradientFlow(energy), start, t1)


def both(monkeypatch, problem, **options):
    """Solutions with densities kept at rest, and with every step taken."""
    options = {"save": 7, "stepper": "heun", "flux": "sg", **options}
    kept = mf.solve(problem, **options)
    with monkeypatch.context() as never:
        never.setattr(march, "LOOK", 10**9)
        stepped = mf.solve(problem, **options)
    return kept, stepped


def apart(first, second):
    pairs = zip(first.densities, second.densities, strict=True)
    return max(float(mf.distance.l1(a, b)) for a, b in pairs)


@pytest.mark.parametrize("problem", [ornstein_uhlenbeck(), interacting()], ids=["linear", "mean"])
def test_rest_saves_steps_and_changes_nothing(monkeypatch, problem):
    kept, stepped = both(monkeypatch, problem)
    assert kept.statistics.steps < 0.75 * stepped.statistics.steps
    assert apart(kept, stepped) <= ALLOWED
    np.testing.assert_allclose(kept.energy, stepped.energy, rtol=0, atol=1e-13)
    assert stepped.statistics.stationary is None
    since = kept.statistics.stationary
    assert 10 < since < problem.t1
    assert f"stationary since t = {since:.4g}" in kept.result
    late = [rho.values for t, rho in zip(kept.times, kept.densities, strict=True) if t > since]
    assert len(late) >= 2
    np.testing.assert_allclose(late[0], late[-1], rtol=0, atol=1e-13)


def test_the_time_is_that_of_the_schedule(monkeypatch):
    """A clock of its own: rate 2 halves the time, a falling rate stretches it."""
    plain = mf.solve(ornstein_uhlenbeck(), save=4, stepper="heun").statistics.stationary
    double = mf.solve(ornstein_uhlenbeck(2.0, 30.0), save=4, stepper="heun").statistics.stationary
    assert double == pytest.approx(plain / 2, rel=0.01)
    schedule = ornstein_uhlenbeck(lambda t: 60 / (1 + t), np.e - 1)
    slowing = mf.solve(schedule, save=4, stepper="heun").statistics.stationary
    assert slowing == pytest.approx(np.exp(plain / 60) - 1, rel=0.05)


@pytest.mark.parametrize("stepper", ["heun", "mprk22", "b1"])
@pytest.mark.parametrize("seed", [1e-8, 1e-11])
def test_an_unstable_state_is_left(monkeypatch, seed, stepper):
    """What a seed of 1e-11 moves in a step is no more than rounding, and it is the whole answer."""
    kept, stepped = both(monkeypatch, synchronising(seed), stepper=stepper)
    assert apart(kept, stepped) <= ALLOWED
    if stepper == "heun":  # long implicit steps hold a seed back that their tolerance does not see
        assert harmonic(kept.densities[-1]) == pytest.approx(kuramoto_order(4.0), abs=0.01)


def test_a_slow_exit_is_waited_for(monkeypatch):
    """Rates of 1e-4 on a state that looks at rest, for a time in which they add up."""
    kept, stepped = both(monkeypatch, tunnelling(120.0))
    assert kept.statistics.steps == stepped.statistics.steps
    assert apart(kept, stepped) == 0.0
    right = [float(rho.masses[12:].sum()) for rho in kept.densities]
    assert right[1] > 1e-5
    assert right[-1] > 4 * right[1]


def test_hasty_rules_are_caught(monkeypatch):
    """Planted: more change allowed than rounding."""
    monkeypatch.setattr(march, "CHANGE", 1e-3)
    monkeypatch.setattr(march, "STILL", 1e-9)
    kept, stepped = both(monkeypatch, ornstein_uhlenbeck())
    assert apart(kept, stepped) > ALLOWED
    monkeypatch.setattr(march, "STILL", 1e-6)
    kept, stepped = both(monkeypatch, synchronising(1e-8))
    assert apart(kept, stepped) > 1


def test_a_fixed_step_is_taken_to_the_end():
    problem = ornstein_uhlenbeck()
    solution = mf.solve(problem, stepper="b1", dt=0.5)
    assert solution.statistics.steps == 120
    assert solution.statistics.stationary is None


def test_the_record_is_stored(tmp_path):
    problem = ornstein_uhlenbeck()
    symmetric = mf.symmetrise(problem.initial, mf.Group.reflection())
    long = mf.Problem(problem.flow, symmetric, 60.0)
    kept = mf.solve(long, symmetry=mf.Group.reflection(), stepper="heun")
    assert kept.statistics.stationary is not None
    mf.save_solution(kept, tmp_path / "kept.nc")
    assert mf.load_solution(tmp_path / "kept.nc").statistics == kept.statistics


def test_progress_goes_on_to_the_end():
    problem = ornstein_uhlenbeck()
    grid, energy = problem.initial.grid, problem.flow.energy
    equation = Equation(grid, energy.smooth.on(grid), 0.5, mf.ScharfetterGummel())
    passed = []
    moving = March(equation, Heun(), problem.initial.values, 60.0, 1e-3)
    for target in (20.0, 50.0, 60.0):
        moving.advance(target, passed.append)
        assert moving.clock == target
    assert moving.stationary is not None
    assert sum(passed) == pytest.approx(60.0, rel=1e-12)
    assert len(passed) < moving.steps + 4


def test_a_fixed_point_of_the_stepper_is_no_rest():
    """Both stages of Heun's method can cancel where the flow goes on: a stiff nonlocal network."""
    x = np.random.default_rng(1).normal(size=(20, 1))
    unit = mf.Unit.custom(lambda x, z: 10 * np.tanh(z[..., 0] * x[..., 0]))
    risk = mf.Risk(unit, mf.Data.samples(x, np.tanh(x[:, 0])))
    energy = risk + 0.02 * mf.Penalty() + 0.02 * mf.Entropy()
    grid = mf.Grid.box(-8, 8, 128)
    problem = mf.Problem(mf.GradientFlow(energy), mf.Density.gaussian(grid, 0.3, 0.3), 600.0)
    solution = mf.solve(problem, flux="rl", stepper="heun")
    assert solution.ok
    assert mf.distance.l1(solution.densities[-1], mf.gibbs(energy, grid)) < 1e-4


@pytest.mark.parametrize("mass", [1e-4, 1e5])
def test_steps_do_not_depend_on_the_unit_of_mass(mass):
    grid = mf.Grid.box(-8, 8, 64)
    start = mf.Density.gaussian(grid, 0.3, 0.3)
    laws = []
    for m in (1.0, mass):
        pull = mf.Interaction(lambda z: -np.exp(-(z**2).sum(-1) / 2)) / m
        energy = pull + 0.02 * mf.Penalty() + 0.05 * mf.Entropy()
        heavy = mf.Density(grid, m * start.values)
        laws.append(mf.solve(mf.Problem(mf.GradientFlow(energy), heavy, 5.0)))
    assert laws[0].statistics.steps == laws[1].statistics.steps
    np.testing.assert_allclose(laws[1].densities[-1].values / mass, laws[0].densities[-1].values)
