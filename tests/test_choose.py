"""The choice between methods: by Peclet number and cost, and never at the cost of an order."""

import numpy as np
import pytest

import meanfield_pde as mf


def half_square(z):
    return 0.5 * (z**2).sum(-1)


def flow(beta, t1, cells=200, half=6.0):
    grid = mf.Grid.box(-half, half, cells)
    energy = mf.Potential(half_square) + beta * mf.Entropy()
    start = mf.Density.gaussian(grid, 1.0, 0.25)
    return mf.Problem(mf.GradientFlow(energy), start, t1)


@pytest.mark.parametrize(
    ("beta", "t1", "cells", "flux", "stepper"),
    [
        (0.5, 1.0, 100, "sg", "heun"),  # resolved, few explicit steps
        (0.5, 100.0, 400, "sg", "mprk22"),  # resolved, many
        (0.005, 1.0, 100, "rl", "heun"),  # drift dominates
        (0.0, 1.0, 100, "rl", "heun"),
    ],
)
def test_choice(beta, t1, cells, flux, stepper):
    statistics = mf.solve(flow(beta, t1, cells)).statistics
    assert (statistics.flux, statistics.stepper) == (flux, stepper)
    assert "Peclet" in statistics.reason
    assert "explicit steps are bounded" in statistics.reason


def test_accuracy_at_a_time_does_not_depend_on_the_end():
    """A longer problem must not fall back to first order in space: the variance at t = 1 is exact
    to the same error (OU: .25 e^-2 + beta (1 - e^-2))."""
    exact = 0.25 * np.exp(-2) + 0.02 * (1 - np.exp(-2))
    errors = []
    for t1 in (1.0, 12.0, 40.0):
        solution = mf.solve(flow(0.02, t1), save=[1.0, t1] if t1 > 1 else [1.0])
        errors.append(abs(solution.at(1.0).cov()[0, 0] / exact - 1))
    assert max(errors) < 0.02
    lost = mf.solve(flow(0.02, 40.0), save=[1.0], stepper="mprk22")  # the planted fall back
    assert abs(lost.at(1.0).cov()[0, 0] / exact - 1) > 0.04
    assert "first order" in lost.result


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"flux": "upwind"}, ("flux", "upwind", "auto")),
        ({"stepper": "rk4"}, ("stepper", "rk4", "auto")),
        ({"flux": "rl", "stepper": "b1"}, ("flux", "rl", "heun")),
        ({"dt": 2.0, "stepper": "b1"}, ("dt", "2", "smaller")),
        ({"dt": 1.0, "stepper": "heun"}, ("dt", "1", "mprk22")),
    ],
)
def test_refusals(arguments, parts):
    with pytest.raises(ValueError, match=r".+;.+") as caught:
        mf.solve(flow(0.5, 1.0), **arguments)
    for part in parts:
        assert part in str(caught.value)
