"""Units times an output weight: networks that train their output layer, too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meanfield_pde.energies.activation import Pull
from meanfield_pde.energies.unit import Unit
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array


@dataclass(frozen=True)
class ScaledUnit(Unit):
    """``c sigma(x; b)`` with z = (c, b), for another unit sigma.

    Parameters
    ----------
    unit : Unit
        The unit that is weighted.

    Raises
    ------
    ValueError
        If it is no unit.

    Examples
    --------
    >>> unit = ScaledUnit(Unit.bump())
    >>> unit.features(np.array([[1.0]]), np.array([[-2.0, 1.0]])).tolist()
    [[[-2.0]]]
    """

    unit: Unit

    def __post_init__(self) -> None:
        check.instance("unit", self.unit, Unit, "for example Unit.scaled(Unit.bump())")

    @property
    def outputs(self) -> int:
        """Outputs of the unit that is weighted."""
        return self.unit.outputs

    @property
    def amplitudes(self) -> int | None:
        """One where the unit has none of its own."""
        return 1 if self.unit.amplitudes == 0 else None

    def features(self, x: Array, z: Array) -> Array:
        """``c_k sigma(x_i; b_k)``."""
        return z[:, :1] * self.unit.features(x, z[:, 1:])

    def pullback(self, x: Array, z: Array, residual: Array) -> Array:
        """Join the derivatives in c and in b."""
        return self._joined(x, z, self.unit.features(x, z[:, 1:]), residual)

    def network(self, x: Array, z: Array, weights: Array) -> tuple[Array, Pull]:
        """Evaluate the unit once for the outputs and the derivatives in c."""
        features = self.unit.features(x, z[:, 1:])
        outputs = np.tensordot(features, weights * z[:, 0], axes=(1, 0))
        return outputs, lambda residual: self._joined(x, z, features, residual)

    def _joined(self, x: Array, z: Array, features: Array, residual: Array) -> Array:
        in_c = np.einsum("iq,ikq->k", residual, features)
        in_b = z[:, :1] * self.unit.pullback(x, z[:, 1:], residual)
        return np.concatenate([in_c[:, None], in_b], axis=1)

    def check_dimensions(self, x_dim: int, z_dim: int) -> None:
        """Require one parameter more than the unit takes."""
        if z_dim < 2:
            raise ValueError(
                f"unit scaled needs z = (c, b) of dimension 2 or more, got {z_dim}; add a "
                "coordinate for the weight c"
            )
        self.unit.check_dimensions(x_dim, z_dim - 1)
