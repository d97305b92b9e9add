"""Quantiles of laws on the line: closed forms, and where transport is stuck."""

import numpy as np
import pytest
from problems import BUMPS_APART, half_square, normal_bump, two_wells
from reference import refuses
from scipy.special import ndtri

import meanfield_pde as mf
from meanfield_pde.flows.quantiles import quantiles

LINE = mf.Grid.box(-6, 6, 400)
WELL = mf.Potential(half_square)
START = mf.Density.gaussian(LINE, 1.0, 0.25)


def test_quantiles_of_a_density():
    levels = np.array([0.01, 0.3, 0.5, 0.77, 0.99])
    exact = 1.0 + 0.5 * ndtri(levels)
    errors = [
        np.abs(
            quantiles(mf.Density.gaussian(mf.Grid.box(-6, 6, n), 1.0, 0.25), levels) - exact
        ).max()
        for n in (200, 400)
    ]
    assert errors[1] < 1e-3
    gap = mf.Density(mf.Grid.box(0, 4, 4), [1.0, 0.0, 0.0, 3.0])  # no mass in the middle
    assert quantiles(gap, np.array([0.125, 0.625])).tolist() == [0.5, 3.5]


def test_a_well_contracts_them():
    problem = mf.Problem(mf.GradientFlow(WELL), START, 2.0)
    found = mf.quantile_flow(problem, 50, save=[0.0, 0.5, 2.0])
    first = found.clouds[0].points
    for t, cloud, energy in zip(found.times, found.clouds, found.energy, strict=True):
        np.testing.assert_allclose(cloud.points, first * np.exp(-t), rtol=1e-8, atol=1e-10)
        assert energy == pytest.approx(half_square(first).mean() * np.exp(-2 * t), rel=1e-8)


def test_repulsion_spreads_them_evenly():
    """Kernel x^2/2 - |x|: X(t, s) = m + (X_0 - m) e^-t + (2 s - 1) (1 - e^-t)."""
    kernel = mf.Interaction(lambda d: half_square(d) - np.abs(d[..., 0]), lambda d: d - np.sign(d))
    flow = mf.GradientFlow(kernel, rate=lambda t: 2.0)
    found = mf.quantile_flow(mf.Problem(flow, START, 0.5), 40, save=[0.0, 0.25, 0.5])
    first, levels = found.clouds[0].points[:, 0], (np.arange(40) + 0.5) / 40
    for t, cloud in zip(found.times, found.clouds, strict=True):
        faded = np.exp(-2 * t)
        exact = first.mean() + (first - first.mean()) * faded + (2 * levels - 1) * (1 - faded)
        np.testing.assert_allclose(cloud.points[:, 0], exact, atol=1e-8)


@pytest.mark.parametrize("save", [[0.0], [0.5], [0.0, 0.3, 0.6, 1.0], [0.0, 0.3, 0.6, 1.0, 2.0]])
def test_a_schedule_may_stand_still(save):
    def rate(t):
        return 0.0 if t < 0.6 else t - 0.6

    found = mf.quantile_flow(mf.Problem(mf.GradientFlow(WELL, rate), START, 2.0), 20, save)
    first = mf.quantile_flow(mf.Problem(mf.GradientFlow(WELL), START, 1.0), 20).clouds[0].points
    for t, cloud in zip(save, found.clouds, strict=True):
        passed = 0.5 * max(0.0, t - 0.6) ** 2
        np.testing.assert_allclose(cloud.points, first * np.exp(-passed), rtol=1e-8, atol=1e-9)


def test_transport_is_stuck_in_its_well():
    """In delta_-2: half of U(0) - U(4), up to the square of how far its least is from -2."""
    grid = mf.Grid.box(-5, 5, 400)
    start = mf.Density.gaussian(grid, -2.0, 0.01)
    found = mf.quantile_flow(mf.Problem(mf.GradientFlow(two_wells()), start, 200.0), 100)
    stuck = 0.5 * float(normal_bump(0.0) - normal_bump(4.0))
    assert 2 * found.energy[-1] + BUMPS_APART == pytest.approx(stuck, abs=1e-6)
    assert stuck == pytest.approx(0.199404, abs=5e-7)
    assert np.ptp(found.clouds[-1].points) < 1e-8
    assert float(found.clouds[-1].mean()[0]) == pytest.approx(-2.0, abs=1e-3)


def leaving():
    return mf.Problem(mf.GradientFlow(-1.0 * WELL), START, 5.0)


@pytest.mark.parametrize(
    ("problem", "argument", "got", "remedy"),
    [
        (lambda: "flow", "problem", "str", "mf.Problem"),
        (
            lambda: mf.Problem(mf.GradientFlow(WELL), mf.Cloud([0.0]), 1.0),
            "initial",
            "Cloud",
            "box",
        ),
        (
            lambda: mf.Problem(mf.GradientFlow(WELL + mf.Entropy()), START, 1.0),
            *("transport alone", "diffusion", "mf.solve"),
        ),
        (
            lambda: mf.Problem(mf.GradientFlow(WELL, reaction=1.0), START, 1.0),
            *("transport alone", "reaction", "mf.solve"),
        ),
        (
            lambda: mf.Problem(
                mf.GradientFlow(mf.Potential(lambda z: np.cos(z[..., 0]))),
                mf.Density.uniform(mf.Grid.torus(-np.pi, np.pi, 8)),
                1.0,
            ),
            *("grid must be a box", "torus", "least quantile"),
        ),
        (leaving, "grid must hold", "in [-6, 6]", "wider"),
    ],
)
def test_refusals(problem, argument, got, remedy):
    refuses(lambda: mf.quantile_flow(problem()), argument, got, remedy)
