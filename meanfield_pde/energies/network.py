"""The risk of a network on a grid, by features at cells or at places that stand for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from meanfield_pde.energies import _kernels
from meanfield_pde.energies.data import Data
from meanfield_pde.energies.energy import Functional
from meanfield_pde.energies.loss import Loss, Squared
from meanfield_pde.energies.separable import Places
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid

FEW = 50_000
"""Features on a line up to which a compiled loop is faster than products of matrices."""


@dataclass(frozen=True, eq=False)
class NetworkFunctional(Functional):
    """Risk on a grid.

    Parameters
    ----------
    grid : Grid
    features : array (rows, cells)
        Features of the data (n * outputs rows), or of a skeleton of them, weighted; at all cells,
        or at the ``places`` that stand for them.
    data : Data
        Or fewer, with the same risk up to the offset.
    loss : Loss
    lift : array (n * outputs, rows), optional
        What turns means of a skeleton's features into outputs at the data.
    offset : float
    remark : str
        Rank and error, where a skeleton is used.
    places : Places, optional
    """

    grid: Grid
    features: Array
    data: Data
    loss: Loss
    lift: Array | None = None
    offset: float = 0.0
    remark: str = ""
    places: Places | None = None

    @property
    def constant(self) -> bool:
        """Always false."""
        return False

    @property
    def on_cells(self) -> Array:
        """Features at all cells."""
        if self.places is None:
            return self.features
        return self.places.spread(self.features).reshape(len(self.features), -1)

    def means(self, rho: Array) -> Array:
        """Integrals of the features, shape (rows,)."""
        few = rho.ravel() if self.places is None else self.places.condense(rho)
        return np.asarray(self.features @ few * self.grid.volume)

    def outputs(self, means: Array) -> Array:
        """Return the outputs at the data, shape (n, outputs)."""
        values = means if self.lift is None else self.lift @ means
        return values.reshape(self.data.y.shape)

    def predict(self, rho: Array) -> Array:
        """Return the outputs at the data; from a skeleton, not exact where weights are tiny."""
        return self.outputs(self.means(rho))

    def value(self, rho: Array) -> float:
        """Risk."""
        return self._mean_loss(self.predict(rho))

    def potential(self, rho: Array) -> Array:
        """First variation at the cell centres."""
        if self._squares is not None:
            return self.value_and_potential(rho)[1]
        return self._pull(self.loss.gradient(self.predict(rho), self.data.y))

    def value_and_potential(self, rho: Array) -> tuple[float, Array]:
        """Both from one prediction."""
        if self._squares is not None:
            potential = np.empty(rho.shape)
            risk = _kernels.squares(*self._squares, rho, potential)
            return risk + self.offset, potential
        outputs = self.predict(rho)
        return self._mean_loss(outputs), self._pull(self.loss.gradient(outputs, self.data.y))

    def secant(self, start: Array, end: Array, sign: float = 1.0) -> Array:
        """Mid-point for a quadratic loss; else the end (the start for a negative sign)."""
        if self.loss.quadratic:
            return self.potential(0.5 * (start + end))
        return self.potential(end if sign >= 0 else start)

    def charges(self, gradient: Array) -> Array:
        """Factors of the features in the potential, for loss gradients (n, outputs)."""
        residual = (self.data.weights[:, None] * gradient).ravel()
        return np.asarray(residual if self.lift is None else residual @ self.lift)

    def curvature(self, outputs: Array) -> Array:
        """Differentiate the charges in the means, shape (rows, rows)."""
        blocks = self.data.weights[:, None, None] * self.loss.hessian(outputs, self.data.y)
        n, q, _ = blocks.shape
        if self.lift is None:
            matrix = np.zeros((n, q, n, q))
            matrix[np.arange(n), :, np.arange(n)] = blocks
            return matrix.reshape(n * q, n * q)
        lift = self.lift.reshape(n, q, -1)
        return np.asarray(np.einsum("iqr,ips,iqp->rs", lift, lift, blocks, optimize=True))

    @cached_property
    def _squares(self) -> tuple[Array, Array, Array, tuple[float, float]] | None:
        """What the compiled loop for squares takes, on a line with few features."""
        few = self.grid.dim == 1 and self.features.size <= FEW
        if type(self.loss) is not Squared or not few:
            return None
        features = self.features if self.lift is None else self.lift @ self.features
        weights = np.repeat(self.data.weights, self.data.outputs)
        factors = self.grid.volume, float(self.loss.factor)
        return np.ascontiguousarray(features), self.data.y.ravel(), weights, factors

    def _mean_loss(self, outputs: Array) -> float:
        return float(self.data.weights @ self.loss.value(outputs, self.data.y)) + self.offset

    def _pull(self, gradient: Array) -> Array:
        few = self.charges(gradient) @ self.features
        return few.reshape(self.grid.shape) if self.places is None else self.places.spread(few)
