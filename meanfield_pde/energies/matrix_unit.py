"""Units with a matrix of parameters, for networks with several outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meanfield_pde.energies.activation import ACTIVATIONS, Pull, activation, ridge_network
from meanfield_pde.energies.unit import Unit
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array


@dataclass(frozen=True)
class MatrixRidge(Unit):
    """``sigma(Z x)`` entry by entry, with z the rows of the matrix Z one after the other.

    A group that acts on x by rho_g and on outputs by rhohat_g acts on z by the Kronecker products
    of rhohat_g and rho_g, as ``group.acting(y=..., z=lambda g: np.kron(g, g))`` says where both are
    the group's own matrices (Maass and Fontbona, arXiv 2405.19995, section 4).

    Parameters
    ----------
    name : str
        Activation function, see `Unit.ridge`.
    size : int
        Number of rows of Z, the outputs.

    Raises
    ------
    ValueError
        If there is no such activation, or the size is no positive whole number.

    Examples
    --------
    >>> unit = MatrixRidge("linear", 2)
    >>> unit.features(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0, 3.0, 4.0]])).tolist()
    [[[1.0, 11.0]]]
    """

    name: str
    size: int

    def __post_init__(self) -> None:
        activation(self.name)
        check.count("outputs", self.size, "the number of rows of the matrix")

    @property
    def outputs(self) -> int:
        """Number of rows of Z."""
        return self.size

    @property
    def amplitudes(self) -> int:
        """Always 0."""
        return 0

    def features(self, x: Array, z: Array) -> Array:
        """``sigma(Z_k x_i)``."""
        inner = x @ z.reshape(-1, x.shape[1]).T
        return ACTIVATIONS[self.name][0](inner).reshape(len(x), len(z), self.size)

    def pullback(self, x: Array, z: Array, residual: Array) -> Array:
        """``sum_i (r_i sigma'(Z_k x_i)) x_i^T``, flattened."""
        slope = ACTIVATIONS[self.name][1](x @ z.reshape(-1, x.shape[1]).T)
        weighted = slope.reshape(len(x), len(z), self.size) * residual[:, None, :]
        return np.asarray(np.einsum("ikq,ia->kqa", weighted, x).reshape(len(z), -1))

    def network(self, x: Array, z: Array, weights: Array) -> tuple[Array, Pull]:
        """Evaluate the activation once for both."""
        rows = z.reshape(len(z), self.size, x.shape[1])
        return ridge_network(self.name, x, rows, weights)

    def check_dimensions(self, x_dim: int, z_dim: int) -> None:
        """Require z to be a matrix with as many rows as outputs."""
        if z_dim != self.size * x_dim:
            raise ValueError(
                f"unit matrix_ridge needs z of dimension {self.size} * {x_dim} (outputs times the "
                f"dimension of x), got {z_dim}; change the data, the law of z or the outputs"
            )
