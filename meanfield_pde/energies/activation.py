"""Activation functions, and networks whose units are rows of them: one evaluation does for both."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy

from meanfield_pde.energies import _kernels
from meanfield_pde.measures.check import Array

Pull = Callable[[Array], Array]
"""From residuals (n, outputs) to their contraction with the gradients at the points (m, d)."""


def _elementwise(kernel: Callable[[Array, Array], None]) -> Callable[[Array], Array]:
    """Return a compiled loop over numbers as a function of arrays."""

    def function(u: Array) -> Array:
        flat = np.ascontiguousarray(u, dtype=np.float64).ravel()
        out = np.empty_like(flat)
        kernel(flat, out)
        return out.reshape(np.shape(u))

    return function


tanh, logistic = _elementwise(_kernels.tanh), _elementwise(_kernels.logistic)

ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "tanh": (tanh, lambda u: 1.0 - tanh(u) ** 2),
    "logistic": (logistic, lambda u: 0.25 - 0.25 * tanh(0.5 * u) ** 2),
    "relu": (lambda u: np.maximum(u, 0.0), lambda u: (u > 0).astype(np.float64)),
    "erf": (lambda u: scipy.special.erf(u), lambda u: 2 / np.sqrt(np.pi) * np.exp(-u * u)),
    "softplus": (lambda u: np.logaddexp(0.0, u), lambda u: scipy.special.expit(u)),
    "cos": (np.cos, lambda u: -np.sin(u)),
    "linear": (lambda u: u, np.ones_like),
}
"""Activation functions with their derivatives."""

COMPILED = {"tanh": False, "logistic": True}
"""Functions of compiled networks, and whether they are the logistic one."""


def activation(name: str) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """Return an activation function and its derivative, or raise ValueError."""
    if name not in ACTIVATIONS:
        raise ValueError(
            f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}; "
            "or write the unit with Unit.custom"
        )
    return ACTIVATIONS[name]


def ridge_network(name: str, x: Array, rows: Array, weights: Array) -> tuple[Array, Pull]:
    """Network of units ``sigma(Z_k x)``: outputs (n, q), and the pull-back to ``rows`` flattened.

    Parameters
    ----------
    name : str
    x : array (n, dim)
    rows : array (m, q, dim)
        The matrices Z_k.
    weights : array (m,)
    """
    if name in COMPILED:
        return _compiled_network(COMPILED[name], x, rows, weights)
    (n, dim), (m, q, _) = x.shape, rows.shape
    inner = rows.reshape(m * q, dim) @ x.T
    outputs = (weights @ ACTIVATIONS[name][0](inner).reshape(m, q * n)).reshape(q, n).T

    def pull(residual: Array) -> Array:
        weighted = ACTIVATIONS[name][1](inner).reshape(m, q, n) * residual.T
        return np.asarray(weighted.reshape(m * q, n) @ x).reshape(m, q * dim)

    return outputs, pull


def _compiled_network(logistic: bool, x: Array, rows: Array, weights: Array) -> tuple[Array, Pull]:
    """Values output by output, neurons side by side."""
    (n, dim), (m, q, _) = x.shape, rows.shape
    x, sides = np.ascontiguousarray(x), np.ascontiguousarray(rows.transpose(1, 2, 0))
    values = np.empty((q, n, m))
    for row, out in zip(sides, values, strict=True):
        _kernels.ridges(x, row, logistic, out)

    def pull(residual: Array) -> Array:
        result = np.empty((q, dim, m))
        for value, charge, out in zip(values, residual.T.copy(), result, strict=True):
            _kernels.pull_ridges(value, x, charge, logistic, out)
        return result.transpose(2, 0, 1).reshape(m, q * dim)

    return (values @ weights).T, pull
