r"""Units of shallow networks: the function :math:`\sigma_*(x; z)` that a measure averages over z.

A unit is vectorised over data and parameters: ``features(x, z)`` has shape (n_data, n_z, outputs).
Its only derivative that is ever needed is the pull-back of residuals r to parameters,
:math:`\sum_i r_i \cdot \nabla_z \sigma_*(x_i; z)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from meanfield_pde.energies import _kernels
from meanfield_pde.energies.activation import ACTIVATIONS, Pull, activation, ridge_network
from meanfield_pde.energies.derivative import Derivative
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array, Function


class Unit(ABC):
    """One neuron; make one with `ridge`, `bump`, `custom` or another of the methods below.

    Examples
    --------
    >>> Unit.ridge("tanh").features(np.ones((3, 2)), np.zeros((5, 2))).shape
    (3, 5, 1)
    """

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Dimension of the unit's value."""

    @abstractmethod
    def features(self, x: Array, z: Array) -> Array:
        """``sigma_*(x_i; z_k)``: x (n, dim), z (m, d) to (n, m, outputs)."""

    @abstractmethod
    def pullback(self, x: Array, z: Array, residual: Array) -> Array:
        """``sum_i residual_i . grad_z sigma_*(x_i; z_k)``: residual (n, outputs) to (m, d)."""

    def network(self, x: Array, z: Array, weights: Array) -> tuple[Array, Pull]:
        """Evaluate ``sum_k weights_k sigma_*(x_i; z_k)``, (n, outputs), and give its pull-back.

        Units that can share the work do it once for both: a drift needs both.
        """
        return evaluated_twice(self, x, z, weights)

    @abstractmethod
    def check_dimensions(self, x_dim: int, z_dim: int) -> None:
        """Raise ValueError if the unit does not take x and z of these dimensions."""

    @property
    def amplitudes(self) -> int | None:
        """How many parameters, the first 0 or 1, are factors of a function of the others.

        None for units that may hide anything between the points where they are looked at: nothing
        of them is tabulated.
        """
        return None

    @staticmethod
    def ridge(activation: str) -> Unit:
        """``sigma(z . x)``; activation: tanh, logistic, relu, erf, softplus, cos or linear."""
        return Ridge(activation)

    @staticmethod
    def scaled_ridge(activation: str) -> Unit:
        """Return the unit ``a sigma(b . x)`` with z = (a, b)."""
        return ScaledRidge(activation)

    @staticmethod
    def matrix_ridge(activation: str, outputs: int) -> Unit:
        """``sigma(Z x)`` with z the rows of the matrix Z; see `MatrixRidge`."""
        from meanfield_pde.energies.matrix_unit import MatrixRidge  # which imports this module

        return MatrixRidge(activation, outputs)

    @staticmethod
    def separate_ridge(activation: str, outputs: int = 2) -> Unit:
        """Return the unit with an output ``sigma(z_a x_a)`` for each coordinate."""
        return SeparateRidge(activation, outputs)

    @staticmethod
    def on_sets(activation: str, test_function: str) -> Unit:
        """``sigma(mean_i a rho(u_i - b))`` of sets {u_i}, z = (a, b); see `Data.sets`."""
        from meanfield_pde.energies.set_unit import SetUnit  # imported here: it is made of this

        return SetUnit(activation, test_function)

    @staticmethod
    def ramp(start: float, end: float, low: float, high: float) -> Unit:
        """``sigma(z . x)``, sigma rising linearly from low at start to high at end."""
        from meanfield_pde.energies.radial_unit import RampUnit  # imported here: it is made of this

        return RampUnit(start, end, low, high)

    @staticmethod
    def radial(unit: Unit, dim: int) -> Unit:
        """Return a ridge or ramp averaged over the sphere of R^dim, for radii x and z."""
        from meanfield_pde.energies.radial_unit import RadialUnit  # as above

        return RadialUnit(unit, dim)

    @staticmethod
    def scaled(unit: Unit) -> Unit:
        """Return ``c sigma(x; b)`` with z = (c, b): a unit times an output weight of any sign."""
        from meanfield_pde.energies.scaled_unit import ScaledUnit  # as above

        return ScaledUnit(unit)

    @staticmethod
    def bump(width: float = 1.0) -> Unit:
        """``exp(-|x - z|^2 / (2 width^2))``."""
        return Bump(width)

    @staticmethod
    def harmonic(order: int = 1) -> Unit:
        """``cos(order (x - z))`` for angles x and z."""
        return Harmonic(order)

    @staticmethod
    def custom(function: Function, outputs: int = 1, gradient: Function | None = None) -> Unit:
        """Make a unit of the user's own function; see `CustomUnit`."""
        return CustomUnit(function, outputs, gradient)


def evaluated_twice(unit: Unit, x: Array, z: Array, weights: Array) -> tuple[Array, Pull]:
    """Return outputs at x of parameters z with weights, and the pullback, each from features."""
    outputs = np.tensordot(unit.features(x, z), weights, axes=(1, 0))
    return outputs, lambda residual: unit.pullback(x, z, residual)


def require(holds: bool, unit: str, x_dim: int, z_dim: int, rule: str) -> None:
    """Raise ValueError with the rule for dimensions that a unit does not keep."""
    if not holds:
        raise ValueError(
            f"unit {unit} needs {rule}, got x of dimension {x_dim} and z of dimension {z_dim}; "
            "change the data, the grid or the unit"
        )


@dataclass(frozen=True)
class Ridge(Unit):
    """``sigma(z . x)``."""

    activation: str

    def __post_init__(self) -> None:
        activation(self.activation)

    @property
    def outputs(self) -> int:
        """Always 1."""
        return 1

    @property
    def amplitudes(self) -> int:
        """Always 0."""
        return 0

    def features(self, x: Array, z: Array) -> Array:
        """``sigma(z_k . x_i)``."""
        return ACTIVATIONS[self.activation][0](x @ z.T)[..., None]

    def pullback(self, x: Array, z: Array, residual: Array) -> Array:
        """``sum_i r_i sigma'(z_k . x_i) x_i``."""
        slope = ACTIVATIONS[self.activation][1](x @ z.T)
        return np.asarray((slope * residual).T @ x)

    def network(self, x: Array, z: Array, weights: Array) -> tuple[Array, Pull]:
        """Evaluate the activation once for both."""
        return ridge_network(self.activation, x, z[:, None, :], weights)

    def check_dimensions(self, x_dim: int, z_dim: int) -> None:
        """Require x and z of one dimension."""
        require(x_dim == z_dim, "ridge", x_dim, z_dim, "x and z of one dimension")


@dataclass(frozen=True)
class ScaledRidge(Unit):
    """``a sigma(b . x)`` with z = (a, b)."""

    activation: str

    def __post_init__(self) -> None:
        activation(self.activation)

    @property
    def outputs(self) -> int:
        """Always 1."""
        return 1

    @property
    def amplitudes(self) -> int:
        """Always 1."""
        return 1

    def features(self, x: Array, z: Array) -> Array:
        """``a_k sigma(b_k . x_i)``."""
        return (z[:, 0] * ACTIVATIONS[self.activation][0](x @ z[:, 1:].T))[..., None]

    def pullback(self, x: Array, z: Array, residual: Array) -> Array:
        """Join the derivatives in a and in b."""
        value, slope = ACTIVATIONS[self.activation]
        inner = x @ z[:, 1:].T
        in_a = (value(inner) * residual).sum(axis=0)
        in_b = z[:, :1] * ((slope(inner) * residual).T @ x)
        return np.concatenate([in_a[:, None], in_b], axis=1)

    def check_dimensions(self, x_dim: int, z_dim: int) -> None:
        """Require z with one entry more than x."""
        require(z_dim == x_dim + 1, "scaled_ridge", x_dim, z_dim, "z = (a, b) with b as long as x")


@dataclass(frozen=True)
class SeparateRidge(Unit):
    """``(sigma(z_1 x_1), sigma(z_2 x_2), ...)``, one output a coordinate."""

    activation: str
    size: int = 2

    def __post_init__(self) -> None:
        activation(self.activation)
        check.count("outputs", self.size, "the number of coordinates of x and z")

    @property
    def outputs(self) -> int:
        """Number of coordinates."""
        return self.size

    def features(self, x: Array, z: Array) -> Array:
        """``sigma(z_ka x_ia)``."""
        return ACTIVATIONS[self.activation][0](x[:, None, :] * z)

    def pullback(self, x: Array, z: Array, residual: Array) -> Array:
        """``sum_i r_ia sigma'(z_ka x_ia) x_ia``."""
        slope = ACTIVATIONS[self.activation][1](x[:, None, :] * z)
        return np.asarray(np.einsum("ia,ika->ka", residual * x, slope))

    def check_dimensions(self, x_dim: int, z_dim: int) -> None:
        """Require x and z with one entry an output."""
        rule = f"x and z of dimension {self.size}, that of its outputs"
        require(x_dim == z_dim == self.size, "separate_ridge", x_dim, z_dim, rule)


@dataclass(frozen=True)
class Bump(Unit):
    """``exp(-|x - z|^2 / (2 width^2))``."""

    width: float = 1.0

    def __post_init__(self) -> None:
        check.number("width", self.width, "it is a standard deviation", above=0)

    @property
    def outputs(self) -> int:
        """Always 1."""
        return 1

    @property
    def amplitudes(self) -> int:
        """Always 0."""
        return 0

    def features(self, x: Array, z: Array) -> Array:
        """Evaluate the bump at every pair."""
        values = np.empty((len(x), len(z)))
        sides = np.ascontiguousarray(z.T, dtype=np.float64)
        _kernels.bumps(np.ascontiguousarray(x), sides, 0.5 / self.width**2, values)
        return values[..., None]

    def pullback(self, x: Array, z: Array, residual: Array) -> Array:
        """``sum_i r_i sigma (x_i - z_k) / width^2``."""
        weighted = self.features(x, z)[..., 0] * residual
        total = weighted.sum(axis=0)[:, None]
        return np.asarray((weighted.T @ x - total * z) / self.width**2)

    def check_dimensions(self, x_dim: int, z_dim: int) -> None:
        """Require x and z of one dimension."""
        require(x_dim == z_dim, "bump", x_dim, z_dim, "x and z of one dimension")


@dataclass(frozen=True)
class Harmonic(Unit):
    """``cos(order (x - z))`` for angles."""

    order: int = 1

    def __post_init__(self) -> None:
        check.count("order", self.order, "it is a whole angular frequency")

    @property
    def outputs(self) -> int:
        """Always 1."""
        return 1

    @property
    def amplitudes(self) -> int:
        """Always 0."""
        return 0

    def features(self, x: Array, z: Array) -> Array:
        """``cos(order (x_i - z_k))``."""
        return np.cos(self.order * (x - z.T))[..., None]

    def pullback(self, x: Array, z: Array, residual: Array) -> Array:
        """``sum_i r_i order sin(order (x_i - z_k))``."""
        slope = self.order * np.sin(self.order * (x - z.T))
        return np.asarray((slope * residual).sum(axis=0)[:, None])

    def check_dimensions(self, x_dim: int, z_dim: int) -> None:
        """Require angles: x and z of dimension 1."""
        require(x_dim == z_dim == 1, "harmonic", x_dim, z_dim, "angles, x and z of dimension 1")


@dataclass(frozen=True, eq=False)
class CustomUnit(Unit):
    """A unit that the user wrote with numpy.

    Parameters
    ----------
    function : callable
        ``(x, z)`` with x (..., dim), z (..., d) that broadcast against each other, to (...), or to
        (..., outputs) where ``outputs`` > 1.
    size : int
        Number of outputs.
    gradient : callable, optional
        ``(x, z)`` to (..., d), or (..., outputs, d). Where it is left out it is found by complex
        step or differences; where it is given it is compared with differences.

    Raises
    ------
    ValueError
        When the function returns the wrong shape, is not finite, or has a wrong gradient.
    """

    function: Function
    size: int = 1
    gradient: Function | None = None
    _kept: dict[int, Derivative] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ValueError(
                f"function must be callable, got {self.function!r}; for example "
                "lambda x, z: np.tanh((x * z).sum(-1))"
            )
        check.count("outputs", self.size, "the number of outputs of the unit")

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return self.size

    def features(self, x: Array, z: Array) -> Array:
        """Call the user's function on every pair."""
        result = np.asarray(self.function(x[:, None, :], z[None, :, :]), dtype=np.float64)
        pairs = (len(x), len(z))
        expected = pairs if self.size == 1 else (*pairs, self.size)
        if result.shape not in (expected, (*pairs, self.size)):
            raise ValueError(
                f"unit must map x (..., {x.shape[1]}) and z (..., {z.shape[1]}) to "
                f"{'(...)' if self.size == 1 else f'(..., {self.size})'}, got shape {result.shape} "
                f"for {pairs} pairs; sum over the last axis, and give outputs= for vector values"
            )
        if not np.isfinite(result).all():
            raise ValueError(
                f"unit must be finite, got {result[~np.isfinite(result)][0]} at one of the "
                f"{pairs} pairs of x and z; change the unit or the grid"
            )
        return result.reshape(*pairs, self.size)

    def pullback(self, x: Array, z: Array, residual: Array) -> Array:
        """Contract the residual with the gradient."""
        n, m, d = len(x), len(z), z.shape[1]
        at = np.broadcast_to(x[:, None, :], (n, m, x.shape[1]))
        pairs = np.concatenate([at, np.broadcast_to(z[None, :, :], (n, m, d))], axis=-1)
        gradient = self._derivative(x.shape[1])(pairs).reshape(n, m, self.size, d)
        return np.asarray(np.einsum("iq,ikqd->kd", residual, gradient))

    def _derivative(self, x_dim: int) -> Derivative:
        """Return the derivative in z of the function of the pair (x, z)."""
        if x_dim not in self._kept:
            function, gradient = (
                None if f is None else lambda p, f=f: f(p[..., :x_dim], p[..., x_dim:])
                for f in (self.function, self.gradient)
            )
            assert function is not None
            self._kept[x_dim] = Derivative("unit", function, gradient, fixed=x_dim)
        return self._kept[x_dim]

    def check_dimensions(self, x_dim: int, z_dim: int) -> None:
        """Any dimensions will do, as far as can be known."""
