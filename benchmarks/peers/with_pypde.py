"""py-pde: its conservative operators (central differences), adaptive Runge-Kutta steps."""

import numpy as np

PACKAGES = ("py-pde", "numba")
SETTINGS = {
    "ornstein-uhlenbeck-2d": [{"cells": 128}, {"cells": 144}],
    "ornstein-uhlenbeck-2d-fine": [{"cells": 256}, {"cells": 288}],
    "double-well": [{"cells": 256}],
    "quartic-well-quadratic": [{"cells": 128}],
    "quartic-well-gaussian": [{"cells": 128, "backend": "jax"}],
    "network-drift": [{"cells": 128}, {"cells": 128, "backend": "numpy"}],
}
WALLS = {
    "gradient": {"curvature": 0},
    "divergence": {"normal_value": 0},
    "laplace": {"derivative": 0},
}


def prepare(problem, cells, backend="numba", solver="runge-kutta", tolerance=1e-4):
    import pde

    side = [-problem.half_width, problem.half_width]
    grid = pde.CartesianGrid([side] * problem.dimension, cells)
    beta, phi_of = problem.beta, problem.potential

    class FokkerPlanck(pde.PDEBase):
        def evolution_rate(self, state, t=0):
            phi = pde.ScalarField(grid, phi_of(cells)(state.data))
            drift = state * phi.gradient(bc=WALLS["gradient"])
            return drift.divergence(bc=WALLS["divergence"]) + beta * state.laplace(
                bc=WALLS["laplace"]
            )

        def make_evolution_rate(self, state, backend):
            if backend.name not in ("numba", "jax"):
                raise NotImplementedError
            gradient, divergence, laplace = (
                grid.make_operator(name, bc=walls, backend=backend, dtype=state.dtype)
                for name, walls in WALLS.items()
            )
            if problem.linear:
                slope = np.array(problem.slope(problem.axis(cells)))
                return njit(lambda u, t=0: divergence(u * slope) + beta * laplace(u))
            if backend.name == "numba":
                phi = njit(phi_of(cells))
                return njit(lambda u, t=0: divergence(u * gradient(phi(u))) + beta * laplace(u))
            import jax.numpy as jnp

            phi = phi_of(cells, jnp)
            at = {"t": 0.0}
            return lambda u, t=0: (
                divergence(u * gradient(phi(u), args=at), args=at) + beta * laplace(u, args=at)
            )

    from numba import njit

    equation = FokkerPlanck()
    start = pde.ScalarField(grid, problem.start(cells))
    chosen = pde.solvers.base.SolverBase.from_name(
        solver, equation, backend=backend, adaptive=True, tolerance=tolerance
    )
    step = chosen.make_stepper(start.copy(), 1e-4)

    def solve():
        state = start.copy()
        chosen.info["dt"] = 1e-4
        step(state, 0.0, problem.end)
        return np.array(state.data)

    return solve
