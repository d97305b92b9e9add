"""meanfield_pde by its public names; SETTINGS is the one place where its tolerances stand."""

import numpy as np

from . import problems

PACKAGES = ()
SETTINGS = {
    "ornstein-uhlenbeck-2d": [{"cells": 128, "tolerance": 1e-3}],
    "ornstein-uhlenbeck-2d-fine": [{"cells": 256, "tolerance": 1e-3}],
    "double-well": [{"cells": 256, "tolerance": 1e-3}],
    "quartic-well-quadratic": [{"cells": 128, "tolerance": 2e-2}],
    "quartic-well-gaussian": [{"cells": 128, "tolerance": 2e-2}],
    "network-drift": [{"cells": 128, "tolerance": 6e-2}],
    "network-particles": [{"dt": 0.01}],
}


def half_square(z):
    return 0.5 * (z**2).sum(-1)


def quartic(z):
    return half_square(z) ** 2 - half_square(z)


def energy_of(name):
    import meanfield_pde as mf

    if name.startswith("ornstein"):
        return mf.Potential(half_square)
    if name.startswith("network"):
        data = mf.Data.gauss_hermite(dim=1, nodes=64, target=lambda x: problems.teacher(x[..., 0]))
        risk = mf.Risk(mf.Unit.scaled_ridge("tanh"), data, loss="half_squared")
        return risk + 0.5 * problems.NETWORK_PENALTY * mf.Penalty()
    well = mf.Potential(quartic)
    if name == "quartic-well-quadratic":
        return well + mf.Interaction(half_square)
    if name == "quartic-well-gaussian":
        return well + mf.Interaction(lambda z: -np.exp(-(z**2).sum(-1) / 0.5))
    return well


def prepare(problem, cells=None, tolerance=None, dt=None):
    import meanfield_pde as mf

    d = problem.dimension
    sides = ([-problem.half_width] * d, [problem.half_width] * d)

    def stated():
        """Return the problem, stated anew for every solve: nothing computed once is kept."""
        n = cells or problem.cells
        grid = mf.Grid.box(*sides, [n] * d)
        energy = energy_of(problem.name) + problem.beta * mf.Entropy()
        start = mf.Density(grid, problem.start(n))
        return mf.Problem(mf.GradientFlow(energy), start, t1=problem.end)

    def solve():
        if problem.particles:
            run = mf.simulate(stated(), particles=problem.particles, dt=dt, save=[problem.end])
            return run.points[-1, 0]
        return mf.solve(stated(), tolerance=tolerance).densities[-1].values

    return solve
