r"""Units that take sets: symmetric functions of points of the line, of any number.

A shallow network of sets, after Zweig and Bruna, "A functional perspective on learning symmetric
functions with neural networks" (arXiv 2008.06952), sees a set through the means of test functions
over its points:

.. math:: \sigma_*(\{u_1, \dots, u_k\}; a, b) =
   \sigma\Big(\frac1k \sum_{i=1}^k a\,\rho(u_i - b)\Big).

The place b is of the first layer, the slope a of the second. That the order of the points makes
no difference is built in. The spaces of that paper are laws of the parameters z = (a, b), by what
is trained: both coordinates (S1), or the second layer on top of a first one that stays as it was
drawn (S2), a flow with ``frozen=(1,)``. With the activation ``linear`` the latter is a linear
model, the kernel regime (S3).

A set is a row ``(u_1 ... u_n, w_1 ... w_n)`` of points and weights, n the size of the largest set.
Weights are 1/k, and 0 where a smaller set has no point: a mean is then a sum that no padding
enters, whatever its value, sets of all sizes fit one array, and permutations of the points
are orthogonal matrices, the same on both halves. `Data.sets` makes such rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meanfield_pde.energies.activation import ACTIVATIONS, activation
from meanfield_pde.energies.unit import Unit, require
from meanfield_pde.measures.check import Array


@dataclass(frozen=True)
class SetUnit(Unit):
    """``sigma(sum_i w_i a rho(u_i - b))`` with z = (a, b), for rows (u, w) of points and weights.

    Parameters
    ----------
    activation : str
        sigma: tanh, logistic, relu, erf, softplus, cos or linear.
    test_function : str
        rho, among the same.
    """

    activation: str
    test_function: str

    def __post_init__(self) -> None:
        activation(self.activation)
        activation(self.test_function)

    @property
    def outputs(self) -> int:
        """Always 1."""
        return 1

    def features(self, x: Array, z: Array) -> Array:
        """``sigma(a_k mean)`` with the mean of rho(. - b_k) over each set."""
        mean = self._mean(0, x, z[:, 1])
        return ACTIVATIONS[self.activation][0](z[:, 0] * mean)[..., None]

    def pullback(self, x: Array, z: Array, residual: Array) -> Array:
        """Join the derivatives in a and in b."""
        mean = self._mean(0, x, z[:, 1])
        slope = ACTIVATIONS[self.activation][1](z[:, 0] * mean) * residual
        in_a = (slope * mean).sum(axis=0)
        in_b = -z[:, 0] * (slope * self._mean(1, x, z[:, 1])).sum(axis=0)
        return np.stack([in_a, in_b], axis=1)

    def check_dimensions(self, x_dim: int, z_dim: int) -> None:
        """Require rows of points and weights, and z = (a, b)."""
        holds = x_dim % 2 == 0 and z_dim == 2
        require(
            holds, "on_sets", x_dim, z_dim, "x of points and weights in equal number, z = (a, b)"
        )

    def _mean(self, derivative: int, x: Array, place: Array) -> Array:
        """Mean of the test function, or of its derivative, over each set: (n, m)."""
        function = ACTIVATIONS[self.test_function][derivative]
        points, weights = np.split(x.T[..., None], 2)
        mean = np.zeros((len(x), len(place)))
        for u, w in zip(points, weights, strict=True):
            mean += w * function(u - place)
        return mean
