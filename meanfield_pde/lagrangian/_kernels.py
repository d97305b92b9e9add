"""Compiled loops of the particle solver; plain arrays in, ``out`` last."""

from __future__ import annotations

import numpy as np
from numba import njit

from meanfield_pde.measures.check import Array

FREE, REFLECT, WRAP = 0, 1, 2


@njit(cache=True)
def move(
    points: Array,
    velocity: Array,
    noise: Array,
    time: float,
    amplitude: float,
    lower: Array,
    upper: Array,
    boundary: int,
    out: Array,
) -> None:
    """``out = points + time velocity + amplitude noise``, folded at walls, wrapped on a torus."""
    n, dim = points.shape
    for i in range(n):
        for a in range(dim):
            z = points[i, a] + time * velocity[i, a] + amplitude * noise[i, a]
            if boundary == 1:
                length = upper[a] - lower[a]
                y = (z - lower[a]) % (2.0 * length)
                z = lower[a] + (2.0 * length - y if y > length else y)
            elif boundary == 2:
                length = upper[a] - lower[a]
                z = z - length * np.floor((z - lower[a]) / length)
            out[i, a] = z
