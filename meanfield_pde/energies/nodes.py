"""Chebyshev nodes that stand for a cloud: where a function is smooth, few points act like many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.chebyshev import chebvander

from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud

COUNTS = (8, 16, 32, 64)
"""Nodes along each axis that are tried."""
EXACT = 1e-10
"""Largest error of an interpolated function, relative to 1 and its largest value."""


@dataclass(frozen=True, eq=False)
class Nodes:
    """Tensor nodes on the box of a cloud.

    Parameters
    ----------
    places : array (n^d, d)
        The nodes.
    bases : tuple of d arrays (points, n)
        For each axis, the functions that are 1 at one node and 0 at the others, at the points.
    """

    places: Array
    bases: tuple[Array, ...]

    @staticmethod
    def of(points: Array, count: int) -> Nodes:
        """Put ``count`` nodes along each axis of points (n, d) with d at most 2."""
        low, high = points.min(axis=0), points.max(axis=0)
        half, middle = 0.5 * (high - low) + 1e-12, 0.5 * (high + low)
        t = np.cos(np.pi * (np.arange(count) + 0.5) / count)
        mesh = np.stack(np.meshgrid(*(t,) * points.shape[1], indexing="ij"), axis=-1)
        order = np.arange(count)
        at_nodes = np.cos(np.outer(order, np.arccos(t)))
        at_nodes *= (np.where(order == 0, 1.0, 2.0) / count)[:, None]
        scaled = np.clip((points - middle) / half, -1, 1)
        bases = tuple(chebvander(column, count - 1) @ at_nodes for column in scaled.T)
        return Nodes(middle + half * mesh.reshape(-1, points.shape[1]), bases)

    def charges(self, weights: Array) -> Array:
        """Weights of the nodes that stand for those of the points."""
        if len(self.bases) == 1:
            return np.asarray(weights @ self.bases[0])
        return np.asarray(((self.bases[0] * weights[:, None]).T @ self.bases[1]).ravel())

    def interpolated(self, values: Array) -> Array:
        """Values at the points, shape (m, points), of functions (m, nodes) given at the nodes."""
        if len(self.bases) == 1:
            return np.asarray(values @ self.bases[0].T)
        count = self.bases[0].shape[1]
        square = values.reshape(len(values), count, count)
        return np.asarray(np.einsum("mab,pa,pb->mp", square, *self.bases, optimize=True))


def few_sources(cloud: Cloud, functions: Callable[[Array], Array]) -> tuple[Array, Array]:
    """Points and weights that act like a cloud on functions, of points (n, d) to (m, n).

    Nodes, where few of them give every function at every point of the cloud to `EXACT`, else the
    cloud itself.
    """
    if cloud.dim > 2 or cloud.size < 2 * COUNTS[0] ** cloud.dim:
        return cloud.points, cloud.weights
    exact = functions(cloud.points)
    size = 1.0 + float(np.abs(exact).max())
    for count in COUNTS:
        if 2 * count**cloud.dim > cloud.size:
            break
        nodes = Nodes.of(cloud.points, count)
        off = np.abs(nodes.interpolated(functions(nodes.places)) - exact).max()
        if off <= EXACT * size:
            return nodes.places, nodes.charges(cloud.weights)
    return cloud.points, cloud.weights
