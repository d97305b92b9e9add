"""Time of whole solves, with their L1 errors: ``python -m pytest benchmarks --benchmark-only``.

Errors are against cell averages in closed form, or against the stationary law. A time means
something only beside its error, and beside other times of the same minute.
"""

from __future__ import annotations

import numpy as np
import pytest

import meanfield_pde as mf


def half_square(z):
    return 0.5 * (z**2).sum(-1)


def quartic(z):
    r2 = (z**2).sum(-1)
    return 0.25 * r2**2 - 0.5 * r2


def ornstein_uhlenbeck(cells: int):
    grid = mf.Grid.box((-6, -6), (6, 6), (cells, cells))
    energy = mf.Potential(half_square) + 0.5 * mf.Entropy()
    start = mf.Density.gaussian(grid, (1.5, -1.0), 0.25)
    decay = np.exp(-1.0)
    variance = 0.25 * decay**2 + 0.5 * (1 - decay**2)
    exact = mf.Density.gaussian(grid, (1.5 * decay, -decay), variance)
    return mf.Problem(mf.GradientFlow(energy), start, t1=1.0), exact


def double_well(cells: int):
    grid = mf.Grid.box(-3, 3, cells)
    energy = mf.Potential(quartic) + 0.1 * mf.Entropy()
    start = mf.Density.gaussian(grid, 0.0, 0.25)
    exact = mf.gibbs(energy, grid)
    exact = mf.Density(grid, exact.values * start.mass)
    return mf.Problem(mf.GradientFlow(energy), start, t1=50.0), exact


def nonlocal_well(cells: int):
    grid = mf.Grid.box((-3, -3), (3, 3), (cells, cells))
    energy = mf.Potential(quartic) + mf.Interaction(half_square) + 0.1 * mf.Entropy()
    start = mf.Density.gaussian(grid, (0.5, 0.25), 0.25)
    return mf.Problem(mf.GradientFlow(energy), start, t1=1.0), None


def network(cells: int):
    grid = mf.Grid.box((-4, -4), (4, 4), (cells, cells))
    data = mf.Data.gauss_hermite(
        dim=1,
        nodes=64,
        target=lambda x: 0.5 * np.tanh(2 * x[..., 0]) + 0.75 * np.tanh(x[..., 0] / 2),
    )
    risk = mf.Risk(mf.Unit.scaled_ridge("tanh"), data, loss="half_squared")
    energy = risk + 0.005 * mf.Penalty() + 0.01 * mf.Entropy()
    start = mf.Density.gaussian(grid, (0.0, 0.0), 0.5)
    return mf.Problem(mf.GradientFlow(energy), start, t1=5.0), None


@pytest.mark.parametrize(
    ("problem", "cells"),
    [
        (ornstein_uhlenbeck, 64),
        (ornstein_uhlenbeck, 128),
        (ornstein_uhlenbeck, 256),
        (double_well, 256),
        (nonlocal_well, 128),
        (network, 128),
    ],
)
def test_solve(benchmark, problem, cells):
    stated, exact = problem(cells)
    solution = benchmark.pedantic(mf.solve, args=(stated,), rounds=3, warmup_rounds=1)
    benchmark.extra_info["result"] = solution.result
    if exact is not None:
        error = float(mf.distance.l1(solution.densities[-1], exact))
        benchmark.extra_info["L1"] = error
        assert error < 2e-2


@pytest.mark.parametrize(
    ("dynamics", "particles", "dt"),
    [("langevin", 2000, 0.05), ("sgd", 2000, 0.05), ("langevin", 100_000, 0.01)],
)
def test_simulate(benchmark, dynamics, particles, dt):
    stated, _ = network(32)
    run = benchmark.pedantic(
        mf.simulate,
        args=(stated,),
        kwargs={"particles": particles, "dynamics": dynamics, "dt": dt},
        rounds=2,
        warmup_rounds=1,
    )
    assert np.isfinite(run.points).all()
