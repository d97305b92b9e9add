"""Clouds: weighted points in any dimension, the particles' view of a measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array, Function
from meanfield_pde.measures.density import Density, monomial


@dataclass(frozen=True, eq=False)
class Cloud:
    """A measure ``sum_i w_i delta_{z_i}``.

    Parameters
    ----------
    points : array (n, d)
        A flat array of n numbers is read as n points of the line.
    weights : array (n,), optional
        Nonnegative masses; 1/n each if left out.

    Raises
    ------
    ValueError
        If the arrays do not fit, are empty or not finite, or a weight is negative.

    Examples
    --------
    >>> cloud = Cloud([[0.0, 1.0], [2.0, 3.0]])
    >>> cloud.mean().tolist(), cloud.mass
    ([1.0, 2.0], 1.0)
    """

    points: Array
    weights: Array = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        points = check.array("points", self.points, "give an array of shape (n, d)")
        points = points[:, None] if points.ndim == 1 else points
        if points.ndim != 2 or points.size == 0:
            raise ValueError(
                f"points must have shape (n, d) with n, d >= 1, got {points.shape}; "
                "give one row a point"
            )
        n = len(points)
        given = np.full(n, 1.0 / n) if self.weights is None else self.weights
        weights = check.array("weights", given, "give one mass a point")
        if weights.shape != (n,):
            raise ValueError(
                f"weights must have shape ({n},), got {weights.shape}; give one mass a point"
            )
        if weights.min() < 0:
            raise ValueError(
                f"weights must be nonnegative, got {weights.min():g}; drop such points"
            )
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "weights", weights)

    @classmethod
    def unchecked(cls, points: Array, weights: Array) -> Cloud:
        """Cloud of float arrays (n, d) and (n,) that are known to be fine, in no time."""
        cloud = object.__new__(cls)
        object.__setattr__(cloud, "points", points)
        object.__setattr__(cloud, "weights", weights)
        return cloud

    @property
    def dim(self) -> int:
        """Dimension of the space the points live in."""
        return int(self.points.shape[1])

    @property
    def size(self) -> int:
        """Number of points."""
        return len(self.points)

    @property
    def mass(self) -> float:
        """Total mass."""
        return float(self.weights.sum())

    def expect(self, function: Function) -> Any:
        """Integral of ``function`` (of points (..., d), with values (...) or (..., k))."""
        values = np.asarray(function(self.points), dtype=np.float64)
        result = np.tensordot(self.weights, values, axes=1)
        return float(result) if result.ndim == 0 else result

    def mean(self) -> Array:
        """Centre of mass, shape (d,)."""
        return np.asarray(self.weights @ self.points) / self.mass

    def cov(self) -> Array:
        """Covariance matrix, shape (d, d)."""
        centred = self.points - self.mean()
        return (centred.T * self.weights) @ centred / self.mass

    def moment(self, order: int | Sequence[int]) -> float:
        """Raw moment, as `Density.moment`."""
        return float(self.expect(lambda z: monomial(z, order)))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n points with replacement, shape (n, d)."""
        n = check.count("n", n, "ask for at least one point")
        return self.points[rng.choice(self.size, size=n, p=self.weights / self.mass)]


Measure = Density | Cloud
"""Either of the two: what every distance, energy and symmetry takes."""
