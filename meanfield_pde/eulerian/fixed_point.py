"""Anderson acceleration of fixed-point iterations (Walker and Ni, SIAM J. Numer. Anal. 2011).

Iterates are combined with weights that solve a least-squares problem. It is solved here by modified
Gram-Schmidt with order-free dot products, and vectors are only ever combined entry by entry: a
permutation of the entries of the problem permutes those of the answer, and changes no bit of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from meanfield_pde.measures.check import Array
from meanfield_pde.measures.order_free import order_free_sum, order_free_sums

DEPENDENT = 1e-8
"""Part of a difference that later ones must leave over for it to be used, relative to its size.

Where few modes are alive (one in the Kuramoto model) the others are rounding; weights for them are
noise. On Desai-Zwanzig's and Kuramoto's models 1e-8 takes half the iterations of 1e-14; networks
take the same for both.
"""


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """Result: the point, the last change (maximum norm), iterations, and whether it settled."""

    point: Array
    residual: float
    iterations: int
    converged: bool


def anderson(
    function: Callable[[Array], Array],
    start: Array,
    tolerance: float,
    depth: int = 5,
    limit: int = 50,
) -> FixedPoint:
    """Find x with ``|function(x) - x|_inf <= tolerance``.

    Parameters
    ----------
    function : callable
        Array to array of the same shape.
    start : array
    tolerance : float
        Absolute, in the maximum norm.
    depth : int
        Number of earlier iterates that are combined.
    limit : int
        Evaluations after which it stops unconverged.

    Returns
    -------
    FixedPoint
        Its point is the last value of ``function``, so that it lies in the function's range.
    """
    x = start
    points: list[Array] = []
    changes: list[Array] = []
    value, size, iteration = start, np.inf, 0
    for iteration in range(1, limit + 1):
        value = function(x)
        change = value - x
        size = float(np.abs(change).max())
        if size <= tolerance:
            return FixedPoint(value, size, iteration, True)
        if not np.isfinite(size):
            break
        points.append(value.ravel())
        changes.append(change.ravel())
        points, changes = points[-depth - 1 :], changes[-depth - 1 :]
        x = value
        if len(changes) > 1:
            earlier = range(len(changes) - 2, -1, -1)  # the latest first: they matter most
            slopes = np.stack([changes[-1] - changes[k] for k in earlier])
            combined = points[-1]
            for k, weight in zip(earlier, least_squares(slopes, changes[-1]), strict=True):
                combined = combined - weight * (points[-1] - points[k])
            x = combined.reshape(value.shape)
    return FixedPoint(value, size, iteration, False)


def least_squares(rows: Array, target: Array) -> Array:
    """Weights w that minimise ``|w @ rows - target|``, by modified Gram-Schmidt.

    A row that is all but a combination of those before it gets weight 0.
    """
    count = len(rows)
    rest = np.concatenate([rows, target[None]])  # the target last: what is left of it is stable
    triangle = np.zeros((count, count + 1))
    sizes = np.sqrt(order_free_sums(rows * rows))
    for k in range(count):
        size = np.sqrt(order_free_sum(rest[k] * rest[k]))
        if not size > DEPENDENT * sizes[k]:
            continue
        direction = rest[k] / size
        triangle[k, k] = size
        triangle[k, k + 1 :] = order_free_sums(rest[k + 1 :] * direction)
        rest[k + 1 :] -= triangle[k, k + 1 :, None] * direction
    weights = np.zeros(count)
    for k in range(count - 1, -1, -1):
        if triangle[k, k] > 0:
            known = sum(triangle[k, j] * weights[j] for j in range(k + 1, count))
            weights[k] = (triangle[k, count] - known) / triangle[k, k]
    return weights
