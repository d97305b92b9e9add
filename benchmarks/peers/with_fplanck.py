"""fplanck: a sparse generator and its exponential, for potentials without a nonlocal part."""

import numpy as np

PACKAGES = ("fplanck", "scipy")
SETTINGS = {
    "ornstein-uhlenbeck-2d": [{"cells": 128}],
    "ornstein-uhlenbeck-2d-fine": [{"cells": 256}],
    "double-well": [{"cells": 256}],
}


def prepare(problem, cells):
    if not hasattr(np, "product"):
        np.product = np.prod  # noqa: NPY003, NPY201 - fplanck 0.2 calls what numpy 2 removed
    import fplanck
    from scipy.constants import k

    cell = problem.width(cells) ** problem.dimension
    start, phi = problem.start(cells) * cell, problem.potential(cells)(None)

    def solve():
        generator = fplanck.fokker_planck(
            temperature=problem.beta / k,
            drag=1.0,
            extent=[2 * problem.half_width] * problem.dimension,
            resolution=problem.width(cells),
            potential=lambda *z: phi,
            boundary=fplanck.boundary.reflecting,
        )
        return generator.propagate(lambda *z: start, problem.end, normalize=False) / cell

    return solve
