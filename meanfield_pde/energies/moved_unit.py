"""Units seen through a group: moved by one element, averaged over all, projected on E^G."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meanfield_pde.energies.activation import Pull
from meanfield_pde.energies.unit import Unit, evaluated_twice
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.group import Group

AT_ONCE = 2_000_000
"""Features of an orbit that are held at once (16 MB)."""


@dataclass(frozen=True, eq=False)
class MovedUnit(Unit):
    """``sigma_*(x; M z)``: a unit with its parameters moved by an orthogonal matrix."""

    unit: Unit
    matrix: Array

    @property
    def outputs(self) -> int:
        """Outputs of the unit that is moved."""
        return self.unit.outputs

    @property
    def amplitudes(self) -> int | None:
        """None where matrices might mix an amplitude with the rest."""
        return 0 if self.unit.amplitudes == 0 else None

    def features(self, x: Array, z: Array) -> Array:
        """``sigma_*(x_i; M z_k)``."""
        return self.unit.features(x, z @ self.matrix.T)

    def pullback(self, x: Array, z: Array, residual: Array) -> Array:
        """Pull back at M z, then by the transpose of M."""
        return self.unit.pullback(x, z @ self.matrix.T, residual) @ self.matrix

    def network(self, x: Array, z: Array, weights: Array) -> tuple[Array, Pull]:
        """Network at M z, pulled back by the transpose of M."""
        outputs, pull = self.unit.network(x, z @ self.matrix.T, weights)
        return outputs, lambda residual: pull(residual) @ self.matrix

    def check_dimensions(self, x_dim: int, z_dim: int) -> None:
        """As the unit that is moved."""
        self.unit.check_dimensions(x_dim, z_dim)


@dataclass(frozen=True, eq=False)
class AveragedUnit(Unit):
    """``int sigma_*(x; M_g z) dlambda_G(g)``: a unit averaged over the orbit of its parameters."""

    unit: Unit
    group: Group

    @property
    def outputs(self) -> int:
        """Outputs of the unit that is averaged."""
        return self.unit.outputs

    @property
    def amplitudes(self) -> int | None:
        """None where matrices might mix an amplitude with the rest."""
        return 0 if self.unit.amplitudes == 0 else None

    def features(self, x: Array, z: Array) -> Array:
        """Mean of the features over the orbit of each z."""
        moved = zip(self.group.weights, self.group.on_z(z.shape[1]), strict=True)
        return np.asarray(sum(w * self.unit.features(x, z @ m.T) for w, m in moved))

    def pullback(self, x: Array, z: Array, residual: Array) -> Array:
        """Mean over the orbit, each part turned back."""
        moved = zip(self.group.weights, self.group.on_z(z.shape[1]), strict=True)
        return np.asarray(sum(w * self.unit.pullback(x, z @ m.T, residual) @ m for w, m in moved))

    def network(self, x: Array, z: Array, weights: Array) -> tuple[Array, Pull]:
        """Network of the whole orbit of the cloud at once, each part turned back."""
        matrices, shares = self.group.on_z(z.shape[1]), self.group.weights
        if len(matrices) * len(z) * len(x) * self.outputs > AT_ONCE:
            return evaluated_twice(self, x, z, weights)
        orbit = np.concatenate([z @ m.T for m in matrices])
        outputs, pull = self.unit.network(x, orbit, np.outer(shares, weights).ravel())

        def turned(residual: Array) -> Array:
            parts = pull(residual).reshape(len(matrices), *z.shape) @ matrices
            return np.asarray((shares @ parts.reshape(len(matrices), -1)).reshape(z.shape))

        return outputs, turned

    def check_dimensions(self, x_dim: int, z_dim: int) -> None:
        """As the unit, and the group must act on z."""
        self.unit.check_dimensions(x_dim, z_dim)
        self.group.on_z(z_dim)


@dataclass(frozen=True, eq=False)
class ProjectedUnit(Unit):
    """``sigma_*(x; P z)`` with P the projection on E^G: what a unit shows on E^G."""

    unit: Unit
    group: Group

    @property
    def outputs(self) -> int:
        """Outputs of the unit that is projected."""
        return self.unit.outputs

    @property
    def amplitudes(self) -> int | None:
        """None where the projection might mix an amplitude with the rest."""
        return 0 if self.unit.amplitudes == 0 else None

    def features(self, x: Array, z: Array) -> Array:
        """``sigma_*(x_i; P z_k)``."""
        return self.unit.features(x, z @ self._projection(z))

    def pullback(self, x: Array, z: Array, residual: Array) -> Array:
        """Pull back at P z, then project."""
        projection = self._projection(z)
        return self.unit.pullback(x, z @ projection, residual) @ projection

    def network(self, x: Array, z: Array, weights: Array) -> tuple[Array, Pull]:
        """Network at P z, with the pull-back projected."""
        projection = self._projection(z)
        outputs, pull = self.unit.network(x, z @ projection, weights)
        return outputs, lambda residual: pull(residual) @ projection

    def check_dimensions(self, x_dim: int, z_dim: int) -> None:
        """As the unit, and the group must act on z."""
        self.unit.check_dimensions(x_dim, z_dim)
        self.group.on_z(z_dim)

    def _projection(self, z: Array) -> Array:
        self.group.on_z(z.shape[1])
        return self.group.projection()
