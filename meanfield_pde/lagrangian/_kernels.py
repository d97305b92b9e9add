"""Compiled loops of the particle solver; plain arrays in, ``out`` last."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from meanfield_pde.measures.check import Array

Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

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


@njit(cache=True, nogil=True)
def replace(
    ringing: Indices, dies: Flags, others: Indices, born: Array, replaced: Flags, out: Array
) -> None:
    """Births and deaths, in the order of ``ringing``, among the points ``out``.

    Who dies takes the place of the next of ``born``, or of ``others`` where ``born`` is empty; who
    does not is copied over ``others``. Who is ``replaced`` (all false at first) rings no more.
    """
    deaths = 0
    for k in range(len(ringing)):
        i, j = ringing[k], others[k]
        if dies[k] and len(born) > 0:
            deaths += 1
            if not replaced[i]:
                out[i] = born[deaths - 1]
                replaced[i] = True
        elif not replaced[i] and i != j:
            if dies[k]:
                out[i] = out[j]
                replaced[i] = True
            else:
                out[j] = out[i]
                replaced[j] = True
