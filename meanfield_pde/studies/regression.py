r"""What averaging over a group gains in linear regression, in closed form.

Data :math:`y = \Theta x + \xi` with x ~ N(0, scale^2 I) in d dimensions and noise of variance
noise^2 in each of k outputs; :math:`\hat\Theta` fits n samples by least squares, of least norm
where there are many. Averaging keeps the equivariant part :math:`Q \Theta = \int \hat\rho_g^{-1}
\Theta \rho_g d\lambda(g)`; the rest, :math:`\Theta_\perp`, has p = d k - tr Q dimensions. Since
:math:`R(\Theta) = scale^2 |\Theta - \Theta_*|^2 + k\, noise^2`, the risk gap of Villar ("Exact and
approximate symmetries in machine learning models") is

.. math:: E[R(\hat\Theta) - R(Q \hat\Theta)] = scale^2 (E |\hat\Theta_\perp|^2
   - 2 \langle \Theta_\perp, E \hat\Theta_\perp \rangle)

and :math:`\hat\Theta = \Theta \Pi + noise`, with :math:`\Pi` the projection on the span of the
samples. For n >= d it is the identity, and inverse Wishart matrices have the mean
:math:`E (X^T X)^{-1} = I / (scale^2 (n - d - 1))`, which leaves :math:`noise^2 p / (n - d - 1) -
scale^2 |\Theta_\perp|^2`: averaging gains from the noise that it drops and loses what the truth
lacks in symmetry. For n < d, where :math:`E (X^T X)^+ = I\, n / (scale^2 d (d - n - 1))`, the
moments of a random projection are needed, :math:`E \Pi = (n / d) I` and :math:`E \Pi_{ab} \Pi_{ce}
= \alpha \delta_{ab} \delta_{ce} + \beta (\delta_{ac} \delta_{be} + \delta_{ae} \delta_{bc})`, by
the traces of :math:`\Pi \otimes \Pi` and :math:`\Pi^2 = \Pi`. For an equivariant truth see
Elesedy and Zaidi (2021, arXiv 2102.10333).
"""

from __future__ import annotations

import math

import numpy as np

from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.group import Group


def linear_regression_gap(
    theta: Array, group: Group, samples: int, noise: float, scale: float = 1.0
) -> float:
    """Mean of R(f) - R(Q_G f) for least squares f; positive where averaging helps.

    Parameters
    ----------
    theta : array (k, d)
        The truth, from x to y; it need not be equivariant.
    group : Group
        Acts on x in d dimensions and on y in k, by `Group.acting` where not trivially.
    samples : int
        Number n of samples.
    noise, scale : float
        Standard deviations of each entry of the noise and of x.

    Returns
    -------
    float
        Infinite for d - 1, d or d + 1 samples with noise, where least squares has no mean risk.

    Raises
    ------
    ValueError
        If theta is no matrix that the group acts on, or a number is out of range.

    Examples
    --------
    >>> swap = Group.swap()
    >>> both = swap.acting(y=swap.matrices)
    >>> theta = [[1.0, 0.3], [-0.2, 0.8]]
    >>> [round(linear_regression_gap(theta, both, n, noise=0.5), 5) for n in (6, 10, 30)]
    [0.02167, -0.07357, -0.12648]
    """
    theta = check.array("theta", theta, "give a matrix of shape (outputs, dim)")
    if theta.ndim != 2 or theta.size == 0:
        raise ValueError(f"theta must have shape (outputs, dim), got {theta.shape}; give a matrix")
    check.instance("group", group, Group, "make one with the constructors of mf.Group")
    n = check.count("samples", samples, "the number of samples")
    noise = check.number("noise", noise, "a standard deviation", least=0)
    scale = check.number("scale", scale, "the standard deviation of x", above=0)
    dropped = _dropped(group, *theta.shape)
    lost, size = float(np.trace(dropped)), _square(dropped, theta)
    d = theta.shape[1]
    if n >= d:
        bias, spread = -size, n - d - 1.0
    else:
        bias, spread = _underdetermined(dropped, theta, n), d * (d - n - 1) / n
    if noise == 0 or lost < 0.5:
        return scale**2 * bias
    return scale**2 * bias + (noise**2 * lost / spread if spread > 0 else math.inf)


def _dropped(group: Group, outputs: int, dim: int) -> Array:
    """Matrix of Theta to Theta_perp, (outputs dim, outputs dim), Theta read row by row."""
    actions = zip(group.weights, group.on_y(outputs), group.on_x(dim), strict=True)
    kept = sum(w * np.kron(on_y.T, on_x.T) for w, on_y, on_x in actions)
    return np.asarray(np.eye(outputs * dim) - kept)


def _square(dropped: Array, theta: Array) -> float:
    """``|Theta_perp|^2``."""
    return float(theta.ravel() @ dropped @ theta.ravel())


def _underdetermined(dropped: Array, theta: Array, n: int) -> float:
    """``E |(Theta Pi)_perp|^2 - 2 <Theta_perp, E (Theta Pi)_perp>`` for n < d samples."""
    outputs, d = theta.shape
    beta = n * (d - n) / (d * (d - 1) * (d + 2))
    alpha = n / d - beta * (d + 1)
    tensor = dropped.reshape(outputs, d, outputs, d)
    traces = float(np.einsum("iaja,ij->", tensor, theta @ theta.T))
    crossed = float(np.einsum("iajb,ib,ja->", tensor, theta, theta))
    size = _square(dropped, theta)
    return float(alpha * size + beta * (traces + crossed) - 2 * n / d * size)
