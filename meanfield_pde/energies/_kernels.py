"""Compiled loops over particles and over values of units; plain arrays in, ``out`` last.

Powers of the place in a cell, from -1 to 1, are numbered from 0; there are ``POWERS`` of them. The
loops let other threads run meanwhile.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from meanfield_pde.measures.check import Array

POWERS = 8
BLOCK = 256
"""Numbers that stay close while a unit is evaluated."""


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


@njit(cache=True)
def tangent(u: float) -> float:
    """``tanh u``, odd to the last bit and exact to three units in it, without a branch.

    With ``-2 |u| = k log 2 + r``, ``s = 2^k`` and ``R = r coth(r / 2)``, of which the Taylor series
    is summed (coefficients ``2 B_2n / (2n)!`` of Bernoulli numbers; the first one left out is below
    1e-17), ``exp r = (R + r) / (R - r)``, so that
    ``tanh |u| = (R (1 - s) - r (1 + s)) / (R (1 + s) - r (1 - s))``:
    small u have k = 0 and lose no digit. Adding 1.5 * 2^52 rounds to k and leaves it in the lowest
    bits; log 2 comes in two parts, the first of which times k is exact (as in fdlibm's exp).
    """
    size = abs(u)
    y = -2.0 * (20.0 if size > 20.0 else size)
    rounded = y * 1.4426950408889634 + 6755399441055744.0
    k = rounded - 6755399441055744.0
    r = (y - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10
    q = r * r
    series = 1 / 604800 - q * (1 / 23950080 - q * (691 / 653837184000))
    big = 2.0 + q * (1 / 6 - q * (1 / 360 - q * (1 / 15120 - q * series)))
    bits = (np.float64(rounded).view(np.int64) + 1023) << 52
    s = np.int64(bits).view(np.float64)
    value = (big * (1.0 - s) - r * (1.0 + s)) / (big * (1.0 + s) - r * (1.0 - s))
    return float(np.copysign(value, u))


@njit(cache=True, nogil=True, error_model="numpy")
def tanh(u: Array, out: Array) -> None:
    """``out = tanh u``, for arrays of one axis; they may be the same."""
    for i in range(len(u)):
        out[i] = tangent(u[i])


@njit(cache=True, nogil=True, error_model="numpy")
def logistic(u: Array, out: Array) -> None:
    """``out = 1 / (1 + exp(-u))``, exact but for the digits of values below 1e-16."""
    for i in range(len(u)):
        out[i] = 0.5 + 0.5 * tangent(0.5 * u[i])


@njit(cache=True, nogil=True, error_model="numpy")
def ridges(x: Array, rows: Array, logistic: bool, out: Array) -> None:
    """``out[i, k] = sigma(sum_a x[i, a] rows[a, k])``, sigma tanh or the logistic function."""
    buffer = np.empty(BLOCK)
    half = 0.5 if logistic else 1.0
    for start in range(0, rows.shape[1], BLOCK):
        part = rows[:, start : start + BLOCK]
        inner = buffer[: part.shape[1]]
        for i in range(len(x)):
            inner[:] = 0.0
            for a in range(len(part)):
                row, factor = part[a], half * x[i, a]
                for k in range(len(inner)):
                    inner[k] += factor * row[k]
            value = out[i, start : start + BLOCK]
            for k in range(len(inner)):
                value[k] = tangent(inner[k])
            if logistic:
                for k in range(len(inner)):
                    value[k] = 0.5 + 0.5 * value[k]


@njit(cache=True, nogil=True, error_model="numpy")
def pull_ridges(values: Array, x: Array, residual: Array, logistic: bool, out: Array) -> None:
    """``out[a, k] = sum_i sigma'(u[i, k]) residual[i] x[i, a]``, where ``sigma(u) = values``.

    The slope of tanh is ``1 - v^2``, that of the logistic function ``v - v^2``.
    """
    buffer = np.empty(BLOCK)
    for start in range(0, values.shape[1], BLOCK):
        part, total = values[:, start : start + BLOCK], out[:, start : start + BLOCK]
        charge = buffer[: part.shape[1]]
        total[:] = 0.0
        for i in range(len(x)):
            value, factor = part[i], residual[i]
            for k in range(len(charge)):
                v = value[k]
                charge[k] = ((v if logistic else 1.0) - v * v) * factor
            for a in range(len(total)):
                row, place = total[a], x[i, a]
                for k in range(len(charge)):
                    row[k] += charge[k] * place
