"""FiPy: implicit Euler steps, its exponential scheme, drifts that lag one step behind."""

import numpy as np

PACKAGES = ("fipy", "scipy")
# Threads only slow down products of vectors as short as these.
ENVIRONMENT = {"FIPY_SOLVERS": "scipy", "OPENBLAS_NUM_THREADS": "1"}
SETTINGS = {
    "ornstein-uhlenbeck-2d": [{"cells": 128, "dt": 0.01}],
    "ornstein-uhlenbeck-2d-fine": [{"cells": 256, "dt": 0.02}],
    "double-well": [{"cells": 256, "dt": 0.05}],
    "quartic-well-quadratic": [{"cells": 128, "dt": 0.01}],
    "quartic-well-gaussian": [{"cells": 128, "dt": 0.01}],
    "network-drift": [{"cells": 128, "dt": 0.02}],
}


def prepare(problem, cells, dt):
    import fipy

    h, d = problem.width(cells), problem.dimension
    potential = problem.potential(cells)

    def solve():
        if d == 1:
            mesh = fipy.Grid1D(nx=cells, dx=h) - [[problem.half_width]]
            solver = fipy.LinearLUSolver()
        else:
            mesh = fipy.Grid2D(nx=cells, ny=cells, dx=h, dy=h) - [[problem.half_width]] * 2
            solver = fipy.LinearBicgstabSolver(tolerance=1e-10, iterations=2000)
        # FiPy counts cells along x first: its arrays are the transposes of ours.
        u = fipy.CellVariable(mesh=mesh, value=problem.start(cells).T.ravel())
        phi = fipy.CellVariable(mesh=mesh)
        velocity = fipy.FaceVariable(mesh=mesh, rank=1, value=0.0)
        drift = fipy.ExponentialConvectionTerm(coeff=velocity)
        equation = fipy.TransientTerm() + drift == fipy.DiffusionTerm(coeff=problem.beta)
        walls = mesh.exteriorFaces.value
        for step in range(round(problem.end / dt)):
            if step == 0 or not problem.linear:
                phi.setValue(potential(u.value.reshape((cells,) * d).T).T.ravel())
                down = -np.asarray(phi.faceGrad.value)
                down[:, walls] = 0.0
                velocity.setValue(down)
            equation.solve(var=u, dt=dt, solver=solver)
        return np.array(u.value).reshape((cells,) * d).T

    return solve
