"""Anderson acceleration of fixed-point iterations (Walker and Ni, SIAM J. Numer. Anal. 2011)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from meanfield_pde.measures.check import Array


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
            slopes = np.stack([changes[-1] - c for c in changes[:-1]], axis=1)
            weights = np.linalg.lstsq(slopes, changes[-1], rcond=1e-14)[0]
            moves = np.stack([points[-1] - p for p in points[:-1]], axis=1)
            x = (points[-1] - moves @ weights).reshape(value.shape)
    return FixedPoint(value, size, iteration, False)
