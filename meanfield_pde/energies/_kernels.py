"""Compiled loops over particles and over values of units; plain arrays in, ``out`` last.

Powers of the place in a cell, from -1 to 1, are numbered from 0; there are ``POWERS`` of them. The
loops let other threads run meanwhile.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from meanfield_pde.measures._kernels import decay, tangent
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


@njit(cache=True, nogil=True, error_model="numpy")
def bumps(x: Array, sides: Array, factor: float, out: Array) -> None:
    """``out[i, k] = exp(-factor sum_a (x[i, a] - sides[a, k])^2)``."""
    for i in range(len(x)):
        row = out[i]
        row[:] = 0.0
        for a in range(len(sides)):
            side, place = sides[a], x[i, a]
            for k in range(len(row)):
                row[k] += (place - side[k]) ** 2
        for k in range(len(row)):
            row[k] = decay(factor * row[k])


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc"})
def squares(
    features: Array,
    targets: Array,
    weights: Array,
    factors: tuple[float, float],
    rho: Array,
    out: Array,
) -> float:
    """Risk ``factor sum_i w_i (m_i - y_i)^2``, ``m_i = volume sum_K S_iK rho_K``, on a line.

    ``factors`` are volume and factor; ``out`` is the potential. Products of matrices take longer to
    call than these loops where there are some thousand features.
    """
    volume, factor = factors
    out[:] = 0.0
    risk = 0.0
    for i in range(len(features)):
        row, total = features[i], 0.0
        for k in range(len(rho)):
            total += row[k] * rho[k]
        gap = volume * total - targets[i]
        charge = 2.0 * factor * weights[i] * gap
        risk += weights[i] * gap * gap
        for k in range(len(rho)):
            out[k] += charge * row[k]
    return factor * risk
