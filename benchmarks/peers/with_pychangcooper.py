"""pychangcooper: implicit Euler steps of a Chang-Cooper scheme, on a line."""

import numpy as np

PACKAGES = ("pychangcooper", "numba")
# Its target is the stationary law, which a single long step reaches too; this step follows the way.
SETTINGS = {"double-well": [{"cells": 256, "dt": 0.05}]}


def prepare(problem, cells, dt):
    from pychangcooper.chang_cooper import ChangCooper

    h, axis = problem.width(cells), problem.axis(cells)
    phi, start = problem.potential(cells)(None), problem.start(cells)

    class Line(ChangCooper):
        """A uniform grid in place of the package's logarithmic one."""

        def _build_grid(self):
            self._grid, self._half_grid, self._step = axis, axis[:-1] + h / 2, 1.0
            self._delta_grid, self._delta_grid_bar = np.full(cells + 1, h), np.full(cells, h)

        def _define_terms(self):
            slope = np.diff(phi) / h
            # The wall's row reads the last entry: a copy of its neighbour keeps the mass.
            self._heating_term = np.append(slope, slope[-1])
            self._dispersion_term = np.full(cells, problem.beta)

    def solve():
        scheme = Line(n_grid_points=cells, delta_t=dt, initial_distribution=start)
        for _ in range(round(problem.end / dt)):
            scheme.solve_time_step()
        return scheme.n

    return solve
