r"""Units of a radius: a ridge averaged over all directions of its parameter.

Where the data do not change under rotations of R^D, a law of parameters that starts rotation
invariant stays so, and what it predicts is a mean over directions: a function of :math:`s = |x| r`
with r = \|z\| alone,

.. math:: \bar\sigma(s) = E\,\sigma(s\,u_1), \quad u \text{ uniform on the unit sphere of } R^D,
   \quad u_1^2 \sim \text{Beta}(\tfrac12, \tfrac{D-1}{2}).

So a network of D parameters a neuron is one of one parameter, with data on the half line (Mei,
Montanari and Nguyen, "A mean field view of the landscape of two-layer neural networks", PNAS
2018, arXiv 1804.06561; :math:`D = 40` there). The density of :math:`u_1` is :math:`c_D (1 -
u^2)^{(D-3)/2}`. For a ramp, a piecewise linear function, both :math:`\bar\sigma` and its slope
are closed: with c = t / s in [-1, 1] and

.. math:: M_0(c) = P(u_1 > c), \quad
   M_1(c) = E\,u_1 1_{u_1 > c} = \frac{c_D}{D-1} (1 - c^2)^{(D-1)/2},

:math:`E (s u_1 - t)^+ = s (M_1 - c M_0)`, whose derivative in s is :math:`M_1`. Other activations
take a Gauss-Gegenbauer rule, exact for polynomials.

Particles move in R^D and radii need not: noise drifts a radius outwards by (D - 1) / r, which is a
potential :math:`-\beta \log r^{D-1}` to be added on the half line; without noise there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy
from numpy.polynomial.polynomial import polyval

from meanfield_pde.energies.activation import ACTIVATIONS
from meanfield_pde.energies.unit import Ridge, Unit, require
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array

NODES = 128
"""Nodes of the rule for activations that are no ramps."""


@dataclass(frozen=True)
class RampUnit(Unit):
    """``sigma(z . x)`` with sigma rising linearly from ``low`` at ``start`` to ``high`` at ``end``.

    It is constant on either side. Mei, Montanari and Nguyen take .5, 1.5, -2.5 and 7.5.

    Examples
    --------
    >>> RampUnit(0.5, 1.5, -2.5, 7.5).features(np.array([[0.0], [1.0], [2.0]]), np.eye(1)).ravel()
    array([-2.5,  2.5,  7.5])
    """

    start: float
    end: float
    low: float
    high: float

    def __post_init__(self) -> None:
        for name in ("start", "end", "low", "high"):
            check.number(name, getattr(self, name), "a ramp has four finite numbers")
        if not self.start < self.end:
            raise ValueError(
                f"start must be below end, got {self.start:g} and {self.end:g}; swap them"
            )

    @property
    def outputs(self) -> int:
        """Always 1."""
        return 1

    @property
    def amplitudes(self) -> int:
        """Always 0."""
        return 0

    @property
    def steepness(self) -> float:
        """Slope between the two ends."""
        return (self.high - self.low) / (self.end - self.start)

    def features(self, x: Array, z: Array) -> Array:
        """``sigma(z_k . x_i)``."""
        inner = np.clip(x @ z.T, self.start, self.end)
        return (self.low + self.steepness * (inner - self.start))[..., None]

    def pullback(self, x: Array, z: Array, residual: Array) -> Array:
        """``sum_i r_i sigma'(z_k . x_i) x_i``."""
        inner = x @ z.T
        slope = self.steepness * ((inner > self.start) & (inner < self.end))
        return np.asarray((slope * residual).T @ x)

    def check_dimensions(self, x_dim: int, z_dim: int) -> None:
        """Require x and z of one dimension."""
        require(x_dim == z_dim, "ramp", x_dim, z_dim, "x and z of one dimension")


@dataclass(frozen=True)
class RadialUnit(Unit):
    """``E sigma(x z u_1)``: a ridge averaged over the sphere of R^dim, as a function of two radii.

    Parameters
    ----------
    unit : Ridge or RampUnit
        ``Unit.ridge(...)`` or ``Unit.ramp(...)``.
    dim : int
        Dimension D of the space whose rotations are averaged over, at least 2.

    Raises
    ------
    ValueError
        If the unit is no ridge, or the dimension is below 2.

    Examples
    --------
    >>> unit = Unit.radial(Unit.ridge("cos"), dim=3)  # sin(s) / s
    >>> unit.features(np.array([[np.pi], [np.pi / 2]]), np.array([[1.0]])).ravel().round(12) + 0.0
    array([0.        , 0.63661977])
    """

    unit: Unit
    dim: int

    def __post_init__(self) -> None:
        check.instance("unit", self.unit, (Ridge, RampUnit), "only ridges can be averaged so")
        check.count("dim", self.dim, "the dimension of the space that is rotated", least=2)

    @property
    def outputs(self) -> int:
        """Always 1."""
        return 1

    @property
    def amplitudes(self) -> int:
        """Always 0."""
        return 0

    def features(self, x: Array, z: Array) -> Array:
        """Mean over the sphere at ``s = |x_i z_k|``."""
        return self._mean(0, x @ z.T)[..., None]

    def pullback(self, x: Array, z: Array, residual: Array) -> Array:
        """``sum_i r_i x_i`` times the slope of the mean, which is odd in z."""
        slope = self._mean(1, x @ z.T)
        return np.asarray((slope * residual).T @ x)

    def check_dimensions(self, x_dim: int, z_dim: int) -> None:
        """Require radii."""
        require(x_dim == z_dim == 1, "radial", x_dim, z_dim, "radii, x and z of dimension 1")

    def _mean(self, derivative: int, s: Array) -> Array:
        """Mean of the activation, or its derivative in s."""
        if isinstance(self.unit, RampUnit):
            mean = _ramp_slope if derivative else _ramp_mean
            return mean(self.unit, s, self.dim)
        assert isinstance(self.unit, Ridge)
        nodes, weights = _sphere_rule(self.dim)
        function = ACTIVATIONS[self.unit.activation][derivative]
        total = np.zeros_like(s)
        for u, w in zip(nodes, weights * nodes if derivative else weights, strict=True):
            total += w * function(s * u)
        return total


def _ramp_mean(ramp: RampUnit, s: Array, dim: int) -> Array:
    rise = _excess(ramp.start, np.abs(s), dim) - _excess(ramp.end, np.abs(s), dim)
    return np.asarray(ramp.low + ramp.steepness * rise)


def _ramp_slope(ramp: RampUnit, s: Array, dim: int) -> Array:
    rise = _partial_mean(ramp.start, np.abs(s), dim) - _partial_mean(ramp.end, np.abs(s), dim)
    return np.asarray(np.sign(s) * ramp.steepness * rise)


def _excess(t: float, s: Array, dim: int) -> Array:
    """``E (s u_1 - t)^+``."""
    c = _cut(t, s)
    inside = s * _partial_mean(t, s, dim) - t * _above(c, dim)
    return np.where(np.abs(c) < 1, inside, max(-t, 0.0))


def _above(c: Array, dim: int) -> Array:
    """``P(u_1 > c)``, the share of the sphere within an angle of a pole, in closed form."""
    whole, angle, powers = _cap(dim)
    square = 1.0 - c * c
    first = np.arccos(c) if dim % 2 == 0 else 1.0 - c
    lower = np.sqrt(square) if dim % 2 == 0 else square
    return np.asarray((angle * first - c * lower * polyval(square, powers)) / whole)


@lru_cache(maxsize=8)
def _cap(dim: int) -> tuple[float, float, Array]:
    r"""Whole sphere, and coefficients of ``int_0^v sin^m = A J - cos v sin^s v p(sin^2 v)``.

    With m = D - 2, by the reduction :math:`J_m = \frac{m-1}{m} J_{m-2} - \frac1m \cos v
    \sin^{m-1} v` from :math:`J_0 = v` (s = 1) or :math:`J_1 = 1 - \cos v` (s = 2).
    """
    angle, powers = 1.0, np.zeros(max(1, (dim - 2) // 2))
    for k, m in enumerate(range(2 + dim % 2, dim - 1, 2)):
        angle, powers = angle * (m - 1) / m, powers * ((m - 1) / m)
        powers[k] = 1.0 / m
    return angle * (np.pi if dim % 2 == 0 else 2.0), angle, powers


def _partial_mean(t: float, s: Array, dim: int) -> Array:
    """``E u_1`` where ``s u_1 > t``."""
    c = _cut(t, s)
    gammaln = scipy.special.gammaln
    constant = gammaln(0.5 * dim) - gammaln(0.5 * (dim - 1)) - 0.5 * np.log(np.pi)
    return np.asarray(np.exp(constant) / (dim - 1) * (1.0 - c * c) ** (0.5 * (dim - 1)))


def _cut(t: float, s: Array) -> Array:
    """``t / s`` where it is between -1 and 1, else one of these."""
    inside = s > abs(t)
    return np.where(inside, t / np.where(inside, s, 1.0), 1.0 if t >= 0 else -1.0)


@lru_cache(maxsize=8)
def _sphere_rule(dim: int) -> tuple[Array, Array]:
    """Gauss rule for the law of one coordinate on the unit sphere of R^dim."""
    if dim == 2:  # the arcsine law; Gegenbauer polynomials of index 0 vanish
        nodes = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
        return nodes, np.full(NODES, 1.0 / NODES)
    nodes, weights = scipy.special.roots_gegenbauer(NODES, 0.5 * dim - 1.0)
    return nodes, weights / weights.sum()
