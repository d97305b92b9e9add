"""The choice between methods: by Peclet number and cost, and never at the cost of an order."""

import numpy as np
import pytest

import meanfield_pde as mf


def half_square(z):
    return 0.5 * (z**2).sum(-1)


def flow(beta, t1, cells=200, half=6.0, pull=0.0):
    """Ornstein-Uhlenbeck; with a pull its potential depends on the mean of the density."""
    grid = mf.Grid.box(-half, half, cells)
    energy = mf.Potential(half_square) + beta * mf.Entropy()
    if pull:
        energy = energy + pull * mf.Interaction(half_square)
    start = mf.Density.gaussian(grid, 1.0, 0.25)
    return mf.Problem(mf.GradientFlow(energy), start, t1)


@pytest.mark.parametrize(
    ("beta", "t1", "cells", "pull", "flux", "stepper"),
    [
        (0.5, 1.0, 100, 0.0, "compact", "b2"),  # a fixed potential, resolved
        (0.5, 100.0, 400, 0.0, "compact", "b2"),
        (0.5, 1e6, 400, 0.0, "compact", "b2"),
        (0.5, 1.0, 100, 0.1, "sg", "heun"),  # a potential that moves: few explicit steps
        (0.5, 100.0, 400, 0.1, "compact", "mprk22"),  # many
        (0.005, 1.0, 100, 0.0, "rl", "heun"),  # drift dominates
        (0.005, 1.0, 100, 0.1, "rl", "heun"),
        (0.1, 1.0, 200, 0.0, "compact", "b2"),  # in between: |q| = .6 x
        (0.1, 1.0, 200, 0.1, "compact", "mprk22"),
        (0.0, 1.0, 100, 0.0, "rl", "heun"),
    ],
)
def test_choice(beta, t1, cells, pull, flux, stepper):
    statistics = mf.solve(flow(beta, t1, cells, pull=pull), save=[t1 / 100]).statistics
    assert (statistics.flux, statistics.stepper) == (flux, stepper)
    assert "Peclet" in statistics.reason
    assert "explicit steps are bounded" in statistics.reason
    assert ("no error in time" in statistics.reason) == (stepper == "b2")


@pytest.mark.parametrize(
    ("peclet", "pull", "flux"),
    [(1.2, 0.0, "compact"), (2.5, 0.0, "compact"), (1.2, 0.05, "compact"), (10.0, 0.0, "rl")],
)
@pytest.mark.parametrize("cells", [200, 400])
def test_the_better_flux_is_taken(cells, peclet, pull, flux):
    """From N(1, .04) with that |q| at 1: the compact flux up to about 5, the limited one beyond.

    A quadratic pull adds to the rate at which the variance falls, and leaves that of the mean.
    """
    grid, k = mf.Grid.box(-3, 3, cells), 1 + pull
    beta = grid.volume / peclet
    energy = mf.Potential(half_square) + beta * mf.Entropy()
    if pull:
        energy = energy + pull * mf.Interaction(half_square)
    problem = mf.Problem(mf.GradientFlow(energy), mf.Density.gaussian(grid, 1.0, 0.04), 1.0)
    variance = beta / k + (0.04 - beta / k) * np.exp(-2 * k)
    exact = mf.Density.gaussian(grid, np.exp(-1), variance)
    errors = {
        "auto": mf.solve(problem, tolerance=1e-4),
        "compact": mf.solve(problem, flux="compact", stepper="mprk22", tolerance=1e-4),
        "rl": mf.solve(problem, flux="rl", stepper="heun", tolerance=1e-4),
    }
    assert errors["auto"].statistics.flux == flux
    errors = {k: float(mf.distance.l1(s.densities[-1], exact)) for k, s in errors.items()}
    other = "rl" if flux == "compact" else "compact"
    assert errors["auto"] < 0.5 * errors[other]


@pytest.mark.parametrize("t1", [1.0, 100.0])
def test_auto_meets_what_each_stepper_finds(t1):
    """The law by `auto` is nearer the exact one than by explicit steps, and takes fewer of them."""
    beta, m, v = 0.5, np.exp(-t1), 0.5 + (0.25 - 0.5) * np.exp(-2 * t1)
    problem = flow(beta, t1, 100)
    exact = mf.Density.gaussian(problem.initial.grid, m, v)
    automatic, explicit = (mf.solve(problem, stepper=s, tolerance=1e-4) for s in ("auto", "heun"))
    errors = [mf.distance.l1(s.densities[-1], exact) for s in (automatic, explicit)]
    assert errors[0] <= 1.1 * errors[1]
    assert automatic.statistics.steps == 1 < explicit.statistics.steps


@pytest.mark.parametrize("beta", [0.1, 0.3])
def test_steep_where_there_is_no_mass(beta):
    """|x|^4 / 4 at the corners of a box asks for explicit steps in thousands; auto takes few."""
    grid = mf.Grid.box((-3, -3), (3, 3), (80, 80))
    well = mf.Potential(lambda z: 0.25 * (z**2).sum(-1) ** 2 - 0.5 * (z**2).sum(-1))
    energy = well + mf.Interaction(half_square) + beta * mf.Entropy()
    start = mf.Density.gaussian(grid, (0.5, -0.5), 0.25)
    solution = mf.solve(mf.Problem(mf.GradientFlow(energy), start, 1.0))
    assert solution.statistics.steps < 100
    explicit = mf.solve(solution.problem, flux="sg", stepper="heun")
    assert explicit.statistics.steps > 10 * solution.statistics.steps
    assert mf.distance.l1(solution.densities[-1], explicit.densities[-1]) < 0.01


def test_accuracy_at_a_time_does_not_depend_on_the_end():
    """A longer problem must not fall back to first order in space: the variance at t = 1 is exact
    to the same error (OU: .25 e^-2 + beta (1 - e^-2))."""
    exact = 0.25 * np.exp(-2) + 0.02 * (1 - np.exp(-2))
    errors = []
    for t1 in (1.0, 12.0, 40.0):
        solution = mf.solve(flow(0.02, t1), save=[1.0, t1] if t1 > 1 else [1.0])
        errors.append(abs(solution.at(1.0).cov()[0, 0] / exact - 1))
    assert max(errors) < 0.02
    planted = {"flux": "sg", "stepper": "mprk22"}
    lost = mf.solve(flow(0.02, 40.0), save=[1.0], **planted)
    assert abs(lost.at(1.0).cov()[0, 0] / exact - 1) > 0.04
    assert "first order" in lost.result


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"flux": "upwind"}, ("flux", "upwind", "auto")),
        ({"stepper": "rk4"}, ("stepper", "rk4", "auto")),
        ({"flux": "rl", "stepper": "b1"}, ("flux", "rl", "heun")),
        ({"flux": "rl", "stepper": "b2"}, ("flux", "rl", "sg, compact")),
        ({"dt": 2.0, "stepper": "b1"}, ("dt", "2", "smaller")),
        ({"dt": 1.0, "stepper": "heun"}, ("dt", "1", "mprk22")),
    ],
)
def test_refusals(arguments, parts):
    with pytest.raises(ValueError, match=r".+;.+") as caught:
        mf.solve(flow(0.5, 1.0), **arguments)
    for part in parts:
        assert part in str(caught.value)


def test_hopeless_exponentials_are_refused():
    """A steep wall in a potential that is no sum over the axes: half an hour of tiny jumps."""

    def walled(z):
        x, y = z[..., 0], z[..., 1]
        return half_square(z) + 0.45 * x * y + 1e8 * (np.abs(x) > 3.5)

    grid = mf.Grid.box((-4, -4), (4, 4), (32, 32))
    energy = mf.Potential(walled) + 0.5 * mf.Entropy()
    problem = mf.Problem(mf.GradientFlow(energy), mf.Density.gaussian(grid, (0, 0), 0.3), 1.0)
    with pytest.raises(ValueError, match=r"b2.*more than 600 s.*mprk22"):
        mf.solve(problem, stepper="b2")
    assert mf.solve(problem).ok
