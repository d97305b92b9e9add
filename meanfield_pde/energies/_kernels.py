"""Compiled loops over particles; plain arrays in, ``out`` last.

Powers of the place in a cell, from -1 to 1, are numbered from 0; there are ``POWERS`` of them. The
loops let other threads run meanwhile.
"""

from __future__ import annotations

from numba import njit

from meanfield_pde.measures.check import Array

POWERS = 8


@njit(cache=True, nogil=True)
def gather(
    points: Array, weights: Array, scaled: bool, lower: float, width: float, out: Array
) -> None:
    """``out[cell, q] = sum_k w_k a_k s_k^q`` over the points of each cell.

    The last coordinate of a point has the place s in a cell; the first, where ``scaled``, is a.
    """
    out[:] = 0.0
    inverse, last = 1.0 / width, len(out) - 1
    for k in range(len(points)):
        t = (points[k, -1] - lower) * inverse
        cell = min(max(int(t), 0), last)
        s = 2.0 * (t - cell) - 1.0
        term = weights[k] * points[k, 0] if scaled else weights[k]
        for q in range(POWERS):
            out[cell, q] += term
            term *= s


@njit(cache=True, nogil=True)
def pull(
    points: Array, polynomials: Array, scaled: bool, lower: float, width: float, out: Array
) -> None:
    """Gradient at each point of ``p(b)``, or of ``a p(b)``, where p is a polynomial in each cell.

    The coefficients of p have the shape (cells, powers).
    """
    inverse, last = 1.0 / width, len(polynomials) - 1
    for k in range(len(points)):
        t = (points[k, -1] - lower) * inverse
        cell = min(max(int(t), 0), last)
        s = 2.0 * (t - cell) - 1.0
        value, slope = polynomials[cell, POWERS - 1], 0.0
        for q in range(POWERS - 2, -1, -1):
            slope = slope * s + value
            value = value * s + polynomials[cell, q]
        slope *= 2.0 * inverse
        if scaled:
            out[k, 0] = value
            out[k, 1] = points[k, 0] * slope
        else:
            out[k, 0] = slope


@njit(cache=True, nogil=True)
def evaluate(points: Array, polynomials: Array, lower: float, width: float, out: Array) -> None:
    """``out[k] = p(b)`` at the last coordinate of each point, p a polynomial in each cell."""
    inverse, last = 1.0 / width, len(polynomials) - 1
    for k in range(len(points)):
        t = (points[k, -1] - lower) * inverse
        cell = min(max(int(t), 0), last)
        s = 2.0 * (t - cell) - 1.0
        value = polynomials[cell, POWERS - 1]
        for q in range(POWERS - 2, -1, -1):
            value = value * s + polynomials[cell, q]
        out[k] = value
