"""Compiled loops of the particle solver; plain arrays in, ``out`` last."""

from __future__ import annotations

import numpy as np
from numba import njit

from meanfield_pde.measures.check import Array

FREE, REFLECT, WRAP = 0, 1, 2


@njit(cache=True, nogil=True)
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
) -> float:
    """``out = points + time velocity + amplitude noise``, folded at walls, wrapped on a torus.

    Returns the largest share of a side that the drift alone carries a particle.
    """
    n, dim = points.shape
    largest = 0.0
    for i in range(n):
        for a in range(dim):
            drift = time * velocity[i, a]
            z = points[i, a] + drift + amplitude * noise[i, a]
            length = upper[a] - lower[a]
            share = abs(drift) / length
            if share > largest:
                largest = share
            if boundary != FREE and not lower[a] <= z < upper[a]:
                if boundary == REFLECT:
                    y = (z - lower[a]) % (2.0 * length)
                    z = lower[a] + (2.0 * length - y if y > length else y)
                else:
                    z = z - length * np.floor((z - lower[a]) / length)
            out[i, a] = z
    return largest
