"""Compiled sums and elementary functions that all layers share; plain arrays in, ``out`` last.

Exponentials, logarithms and tangents have no branch, so that loops over them run on the vectors of
the machine, where numpy's do so only with AVX-512. They rest on
``exp y = 2^k (R + r) / (R - r)`` with ``y = k log 2 + r`` and ``R = r coth(r / 2)``.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from meanfield_pde.measures.check import Array

PIECE = 128
"""Terms that are added one after the other: sums of sums keep their last digits."""
UNDERFLOW = 708.0
"""Exponents from which an exponential counts as 0: numbers below 3e-308 have fewer digits."""


@njit(cache=True, error_model="numpy")
def exponential_parts(y: float) -> tuple[float, float, float]:
    """``R``, ``r`` and ``s = 2^k`` of ``exp y = s (R + r) / (R - r)``, for y from -708 to 0.

    Adding 1.5 * 2^52 rounds to k and leaves it in the lowest bits. Log 2 comes in two parts, the
    first of which times k is exact (as in fdlibm's exp). R is summed as its Taylor series, with
    coefficients ``2 B_2n / (2n)!`` of Bernoulli numbers; the first one left out is below 1e-17.
    """
    rounded = y * 1.4426950408889634 + 6755399441055744.0
    k = rounded - 6755399441055744.0
    r = (y - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10
    q = r * r
    series = 1 / 604800 - q * (1 / 23950080 - q * (691 / 653837184000))
    big = 2.0 + q * (1 / 6 - q * (1 / 360 - q * (1 / 15120 - q * series)))
    bits = (np.float64(rounded).view(np.int64) + 1023) << 52
    return big, r, np.int64(bits).view(np.float64)


@njit(cache=True, error_model="numpy")
def decay(size: float) -> float:
    """``exp(-size)`` for size >= 0, exact to two units in the last place; 0 beyond 708."""
    big, r, s = exponential_parts(-(UNDERFLOW if size > UNDERFLOW else size))
    value = s * ((big + r) / (big - r))
    return 0.0 if size > UNDERFLOW else value


@njit(cache=True, error_model="numpy")
def tangent(u: float) -> float:
    """``tanh u``, odd to the last bit and exact to four units in it.

    ``tanh |u| = (R (1 - s) - r (1 + s)) / (R (1 + s) - r (1 - s))`` with the parts of exp(-2 |u|):
    small u have s = 1 and lose no digit.
    """
    size = abs(u)
    big, r, s = exponential_parts(-2.0 * (20.0 if size > 20.0 else size))
    value = (big * (1.0 - s) - r * (1.0 + s)) / (big * (1.0 + s) - r * (1.0 - s))
    return float(np.copysign(value, u))


@njit(cache=True, error_model="numpy")
def logarithm(x: float) -> float:
    """``log x`` of a positive normal number, exact to three units in the last place.

    ``x = 2^k m`` with m from sqrt(1/2) to sqrt(2), and ``log m = 2 artanh(s)``,
    ``s = (m - 1) / (m + 1)``, by its series; the first term left out is below 1e-17.
    """
    bits = np.float64(x).view(np.int64)
    exponent = (bits - np.int64(0x3FE6A09E667F3BCD)) >> 52
    m = np.int64(bits - (exponent << 52)).view(np.float64)
    k = np.int64(exponent + np.int64(0x4338000000000000)).view(np.float64) - 6755399441055744.0
    s = (m - 1.0) / (m + 1.0)
    q = s * s
    series = 1 / 15 + q * (1 / 17 + q * (1 / 19 + q * (1 / 21)))
    series = 1 / 3 + q * (
        1 / 5 + q * (1 / 7 + q * (1 / 9 + q * (1 / 11 + q * (1 / 13 + q * series))))
    )
    small = k * 1.90821492927058770002e-10 + 2.0 * s * q * series
    return k * 6.93147180369123816490e-01 + small + 2.0 * s


@njit(cache=True, nogil=True, error_model="numpy")
def entropy_terms(rho: Array, least: float, out: Array) -> None:
    """``out = rho log max(rho, least)``, of contiguous arrays: 0 log 0 = 0."""
    flat, terms = rho.reshape(rho.size), out.reshape(out.size)
    for i in range(flat.size):
        value = flat[i]
        terms[i] = value * logarithm(value if value > least else least)


@njit(cache=True, nogil=True, error_model="numpy")
def decays(values: Array) -> None:
    """``values = exp(-values)`` of a contiguous array of numbers that are not negative."""
    flat = values.reshape(values.size)
    for i in range(flat.size):
        flat[i] = decay(flat[i])


@njit(cache=True, nogil=True, error_model="numpy")
def normal_tails(values: Array) -> None:
    """``values = P(Z > values)`` of a contiguous array, Z standard normal, by the C library."""
    flat = values.reshape(values.size)
    for i in range(flat.size):
        flat[i] = 0.5 * math.erfc(flat[i] / math.sqrt(2.0))


@njit(cache=True, nogil=True)
def fold_line(values: Array) -> float:
    """Sum of a line, of which both ends are added first, then the numbers next to them."""
    half, total = len(values) // 2, 0.0
    last = len(values) - 1
    for start in range(0, half, PIECE):
        part = 0.0
        for i in range(start, min(start + PIECE, half)):
            part += values[i] + values[last - i]
        total += part
    if len(values) % 2:
        total += values[half]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def line_sums(rho: Array, least: float) -> tuple[float, float, float]:
    """Sum, minimum, and sum of ``rho log max(rho, least)`` of a line.

    The minimum is NaN where there is one.
    """
    terms, lowest = np.empty_like(rho), np.inf
    entropy_terms(rho, least, terms)
    for value in rho:
        if value < lowest or value != value:
            lowest = value
    return fold_line(rho), lowest, fold_line(terms)


@njit(cache=True, nogil=True)
def fold_plane(values: Array) -> float:
    """Sum of a rectangle: both diagonals' ends first, then mirror images, then transposed ones."""
    rows, columns = values.shape
    high, wide = (rows + 1) // 2, (columns + 1) // 2
    quarter = np.empty((high, wide))
    for i in range(high):
        there = rows - 1 - i
        share = 0.5 if i == there else 1.0  # a middle row lies on itself
        for j in range(wide):
            across = columns - 1 - j
            turned = values[i, j] + values[there, across]
            other = values[i, across] + values[there, j]
            quarter[i, j] = share * (turned + other)
        if columns % 2:
            quarter[i, wide - 1] *= 0.5
    total = 0.0
    for i in range(high):
        part = 0.0
        if rows == columns:
            for j in range(i):
                part += quarter[i, j] + quarter[j, i]
            part += quarter[i, i]
        else:
            for j in range(wide):
                part += quarter[i, j]
        total += part
    return total
