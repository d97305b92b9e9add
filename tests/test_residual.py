"""The residual of the continuous equation: of order 2 for its solutions, and not for others."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from manufactured import MANUFACTURED
from problems import FLOWS, Upwind
from reference import order, refuses

import meanfield_pde as mf

SAVE = 41
SMOOTH = [name for name in MANUFACTURED if name != "singular"]
"""At the walls of the singular potential no polynomial is near."""
NONLINEAR = ["quadratic-attraction", "network-on-circle"]


@lru_cache
def solved(name, cells, stepper="heun"):
    made = {**MANUFACTURED, **FLOWS}[name]
    tolerance = 1e-4 if stepper == "heun" else 1e-6
    options = {"flux": "sg", "stepper": stepper, "tolerance": tolerance}
    save = SAVE if name in MANUFACTURED else 161  # Gaussians that start narrow
    return mf.solve(made.problem(cells), save=save, **options)


def relatives(name, problem=None, stepper="heun"):
    made = {**MANUFACTURED, **FLOWS}[name]
    found = []
    for n in made.cells:
        own = made.problem(n)
        other = own if problem is None else mf.Problem(problem(made), own.initial, own.t1)
        found.append(mf.residual(solved(name, n, stepper), other).relative.max())
    return found


def exact(made, cells, times):
    """A solution that holds the exact cell averages."""
    grid = made.grid(cells)
    solution = mf.solve(made.on(grid), save=[0.0])
    densities = tuple(made.at(grid, float(t)) for t in times)
    return replace(solution, times=np.asarray(times), densities=densities)


# -- what solves the equation


@pytest.mark.parametrize("name", SMOOTH)
def test_exact_laws_leave_nothing(name):
    """What differences leave of an exact law falls with their own order, 6."""
    made = MANUFACTURED[name]
    cells = made.cells[1:]
    times = np.linspace(0.0, made.t1, SAVE if len(made.lines) == 1 else 17)
    left = [mf.residual(exact(made, n, times)) for n in cells]
    assert order(cells, [r.relative.max() for r in left]) > 5.0
    for r in left:  # and the floor says so
        assert (r.relative < r.floor).all()


@pytest.mark.parametrize("name", [*SMOOTH, *NONLINEAR])
def test_second_order_for_solutions(name):
    made = {**MANUFACTURED, **FLOWS}[name]
    sizes = relatives(name)
    assert order(made.cells[1:], sizes[1:]) == pytest.approx(2.0, abs=0.2)
    assert sizes[-1] < 3e-3


@pytest.mark.parametrize("name", ["waves-between-walls", "slanted", "waves-on-a-torus"])
def test_steps_do_not_matter(name):
    explicit, implicit = relatives(name), relatives(name, stepper="mprk22")
    np.testing.assert_allclose(implicit, explicit, rtol=1e-3)


# -- what does not


def warmer(made):
    return mf.GradientFlow(made.energy + 0.05 * made.energy.beta * mf.Entropy(), made.rate)


def uphill(made):
    return mf.GradientFlow(-made.energy.smooth + made.energy.beta * mf.Entropy(), made.rate)


def doubled(made):
    return mf.GradientFlow(2.0 * made.energy.smooth + made.energy.beta * mf.Entropy(), made.rate)


@pytest.mark.parametrize("plant", [warmer, uphill, doubled])
@pytest.mark.parametrize("name", [*SMOOTH, *NONLINEAR])
def test_another_equation_is_caught(name, plant):
    """The residual stays as the grid is refined, far above that of the right equation."""
    made = {**MANUFACTURED, **FLOWS}[name]
    wrong = relatives(name, plant)
    assert wrong[-1] > 5 * relatives(name)[-1]
    assert order(made.cells[1:], wrong[1:]) < 0.3


def test_a_missing_rate_is_caught():
    wrong = relatives("slanted", lambda made: mf.GradientFlow(made.energy))
    assert min(wrong) > 0.03


def test_a_missing_convolution_is_caught():
    wrong = relatives("quadratic-attraction", lambda f: mf.GradientFlow(0.5 * mf.Entropy()))
    assert min(wrong) > 0.2


def test_its_size_is_what_was_planted():
    """A diffusion off by a twentieth leaves a twentieth of the diffusion, cell by cell."""
    made = MANUFACTURED["hopping"]
    solution = exact(made, 400, np.linspace(0.0, 1.0, SAVE))
    problem = mf.Problem(warmer(made), solution.densities[0], 1.0)
    h = 1e-3
    found = mf.residual(solution, problem)
    for t, values in zip(found.times[::9], found.values[::9], strict=True):
        z = solution.densities[0].grid.points
        second = (made.law(z + h, t) - 2 * made.law(z, t) + made.law(z - h, t)) / h**2
        planted = -0.05 * made.lines[0].beta * second
        assert np.abs(values - planted).max() < 1e-3 * np.abs(planted).max()


def test_a_first_order_flux_is_caught():
    made, sizes = MANUFACTURED["hopping"], []
    for n in made.cells:
        solution = mf.solve(made.problem(n), flux=Upwind(), tolerance=1e-4, save=SAVE)
        sizes.append(mf.residual(solution).relative.max())
    assert order(made.cells, sizes) < 1.3
    assert sizes[-1] > 20 * relatives("hopping")[-1]


def test_a_density_that_was_moved_is_caught():
    """One cell's shift at one saved time shows there, and at its neighbours in time alone."""
    made = MANUFACTURED["waves-on-a-circle"]
    solution = exact(made, 160, np.linspace(0.0, made.t1, SAVE))
    rho = solution.densities[20]
    moved = mf.Density(rho.grid, np.roll(rho.values, 1))
    densities = (*solution.densities[:20], moved, *solution.densities[21:])
    found = mf.residual(replace(solution, densities=densities))
    places = set(np.flatnonzero(found.relative > 1e-2) + 2)
    assert 19 in places
    assert places <= set(range(17, 24))


# -- times and floors


def test_times_need_not_be_equispaced():
    made = MANUFACTURED["waves-on-a-circle"]
    rng = np.random.default_rng(3)
    times = np.linspace(0.0, made.t1, SAVE)
    times[1:-1] += 0.3 * times[1] * (2 * rng.random(SAVE - 2) - 1)
    assert mf.residual(exact(made, 160, times)).relative.max() < 1e-5


@pytest.mark.parametrize("count", [5, 6, 7, 8])
def test_few_times(count):
    """Fewer than seven times lower the order; the floor tells how much that is."""
    made = MANUFACTURED["waves-on-a-circle"]
    found = mf.residual(exact(made, 160, np.linspace(0.0, made.t1, count)))
    assert len(found.times) == len(found.values) == count - 4
    assert (found.relative < found.floor).all()
    assert found.relative.max() < 1e-2


def test_at_rest_nothing_is_left():
    grid = mf.Grid.torus(0, 1, 32)
    problem = mf.Problem(mf.GradientFlow(mf.Entropy()), mf.Density.uniform(grid), 1.0)
    found = mf.residual(mf.solve(problem, save=7))
    assert (found.relative == 0).all()
    # Terms that cancel are compared with each other, not with the rate, which vanishes.
    made = MANUFACTURED["hopping"]
    rest = mf.gibbs(made.energy, made.grid(400))
    still = mf.solve(mf.Problem(made.flow, rest, 1.0), save=7)
    assert mf.residual(still).relative.max() < 1e-3


def test_result_names_the_worst():
    solution = solved("slanted", 80)
    found = mf.residual(solution)
    worst = found.relative.argmax()
    assert f"holds to {found.relative[worst]:.1e}" in found.result
    assert f"t = {found.times[worst]:g}, the worst of {SAVE - 4} times" in found.result


def test_refusals(tmp_path):
    made = MANUFACTURED["slanted"]
    solution = solved("slanted", 80)
    refuses(lambda: mf.residual(mf.solve(made.problem(20), save=4)), "densities", "4", "save=21")
    refuses(lambda: mf.residual(mf.solve(made.problem(12), save=5)), "cells", "12", "refine")
    refuses(lambda: mf.residual(made.problem(20)), "solution", "Problem", "mf.solve")
    refuses(lambda: mf.residual(solution, made.flow), "problem", "GradientFlow", "mf.Problem")
    mf.save_solution(solution, tmp_path / "solution.nc")
    loaded = mf.load_solution(tmp_path / "solution.nc")
    refuses(lambda: mf.residual(loaded), "problem", "None", "no equation")
    again = mf.residual(loaded, made.problem(80))
    assert (again.relative == mf.residual(solution).relative).all()
