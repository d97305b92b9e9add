r"""Units on charts: what a neuron does whose parameters are known by their orbit alone.

For a law on a quotient Z/G the network is :math:`\Phi(x) = \int \bar\sigma(x; s) p(ds)` with the
unit averaged over the orbit of s. On the radius of R^D a unit that is invariant under rotations
of x and z together, :math:`\sigma_*(Qx; Qz) = \sigma_*(x; z)`, has a mean that depends on |x| and
|z| only: an integral over the angle between the two, with the weight :math:`\sin^{D-2}` (Gauss's
rule for Gegenbauer polynomials), in any dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from meanfield_pde.energies.data import Data
from meanfield_pde.energies.unit import Unit
from meanfield_pde.measures.chart import Chart, Radius
from meanfield_pde.measures.check import Array

MOST_ANGLES = 1024
"""Nodes of the rule for the angle beyond which a unit is too rough."""
CHUNK = 1_000_000
"""Values of a unit that are held at once."""
FEW = 64
"""Data of which none are looked for that have the length of others."""
ACCURACY = 1e-11
"""Change of a mean over the angle, by twice the nodes, that is taken for rounding."""


@dataclass(frozen=True, eq=False)
class OrbitUnit(Unit):
    """Mean of a unit over the points of Z that a chart has for its coordinates."""

    unit: Unit
    chart: Chart

    @property
    def outputs(self) -> int:
        """Outputs of the unit."""
        return self.unit.outputs

    def features(self, x: Array, z: Array) -> Array:
        """Mean of the features over the orbit of each row of coordinates z."""
        places, weights = self.chart.orbit(z)
        pairs = zip(weights, places, strict=True)
        return np.asarray(sum(w * self.unit.features(x, place) for w, place in pairs))

    def pullback(self, x: Array, z: Array, residual: Array) -> Array:
        """Mean over the orbit, each part pulled back to the coordinates."""
        total = np.zeros_like(z)
        # Orbits are linear in s here: the images of unit vectors are the columns of the map.
        columns, weights = self.chart.orbit(np.eye(z.shape[1]))
        for weight, place, images in zip(weights, self.chart.orbit(z)[0], columns, strict=True):
            total += weight * self.unit.pullback(x, place, residual) @ images.T
        return total

    def check_dimensions(self, x_dim: int, z_dim: int) -> None:
        """Require z as the chart has it, and a unit that takes points of Z."""
        self.unit.check_dimensions(x_dim, self.chart.dim)


@dataclass(frozen=True, eq=False)
class ZonalUnit(Unit):
    """Mean of a unit over the sphere of each radius; made by `zonal`."""

    unit: Unit
    dim: int
    cosines: Array
    weights: Array

    @property
    def outputs(self) -> int:
        """Outputs of the unit."""
        return self.unit.outputs

    def features(self, x: Array, z: Array) -> Array:
        """Mean over the angle between x and z of the features; z (m, 1) holds radii."""
        few, copies = _first_axis(x), None
        if len(x) > FEW:
            _, first, copies = np.unique(
                few[:, 0].round(12), return_index=True, return_inverse=True
            )
            few = few[first]
        size = max(1, CHUNK // (len(few) * len(z) * self.outputs))
        mean = np.zeros((len(few), len(z), self.outputs))
        for part in (slice(k, k + size) for k in range(0, len(self.weights), size)):
            directions, weights = self._directions[part], self.weights[part]
            places = (directions[:, None] * z).reshape(-1, self.dim)
            values = self.unit.features(few, places).reshape(len(few), len(weights), -1)
            mean += (weights @ values).reshape(mean.shape)
        return mean if copies is None else mean[copies]

    def pullback(self, x: Array, z: Array, residual: Array) -> Array:
        """Differentiate the mean in the radius."""
        x, total = _first_axis(x), np.zeros_like(z)
        for weight, u in zip(self.weights, self._directions, strict=True):
            total += weight * (self.unit.pullback(x, z * u, residual) @ u)[:, None]
        return total

    def check_dimensions(self, x_dim: int, z_dim: int) -> None:
        """Require data of the dimension of Z, in which both are turned."""
        self.unit.check_dimensions(x_dim, self.dim)
        if x_dim != self.dim:
            raise ValueError(
                f"data must have the dimension {self.dim} of Z on its radius, got {x_dim}; "
                "rotations act on both"
            )

    @property
    def _directions(self) -> Array:
        directions = np.zeros((len(self.cosines), self.dim))
        directions[:, 0] = self.cosines
        directions[:, 1] = np.sqrt(1.0 - self.cosines**2)
        return directions


def charted(unit: Unit, chart: Chart, x: Array, reach: float) -> Unit:
    """Return the unit as a function of a chart's coordinates.

    Parameters
    ----------
    unit : Unit
    chart : Chart
    x : array (n, dim)
        Data, at which accuracy is judged.
    reach : float
        Largest coordinate.

    Raises
    ------
    ValueError
        For the radius, if the unit is not invariant under rotations of x and z, or too rough to be
        averaged over angles.
    """
    if not isinstance(chart, Radius):
        return OrbitUnit(unit, chart)
    return zonal(unit, chart.dim, x, reach)


def zonal(unit: Unit, dim: int, x: Array, reach: float) -> Unit:
    """Average a unit over rotations, with as many angles as it takes."""
    unit.check_dimensions(x.shape[1], dim)
    few = x[:: max(1, len(x) // 16)]
    few = np.concatenate([few, x[(x * x).sum(axis=1).argmax()][None]])
    _require_rotations(unit, few, reach)
    radii = np.linspace(0.0, reach, 17)[1:, None]
    count, rule = 16, _rule(unit, dim, 16)
    means = rule.features(few, radii)
    while count < MOST_ANGLES:
        count *= 2
        finer = _rule(unit, dim, count)
        again = finer.features(few, radii)
        if np.abs(again - means).max() <= ACCURACY * (1 + np.abs(again).max()):
            return rule
        rule, means = finer, again
    raise ValueError(
        f"unit must be smooth enough for its mean over angles, got a change of "
        f"{np.abs(again - means).max():.1e} between {count // 2} and {count} angles; "
        "smooth its kinks, or write the mean itself as a unit of |x| and |z|"
    )


def merged_by_length(data: Data) -> Data:
    """Return the data with one node for all of one length and target, up to rounding.

    On the radius nothing tells such nodes apart.
    """
    lengths = np.sqrt((data.x * data.x).sum(axis=1, keepdims=True))
    keys = np.concatenate([lengths, data.y], axis=1).round(12)
    order = np.lexsort(keys.T[::-1])
    starts = np.append(True, (np.diff(keys[order], axis=0) != 0).any(axis=1))
    first, weights = order[starts], np.add.reduceat(data.weights[order], np.flatnonzero(starts))
    return Data(data.x[first], data.y[first], weights, data.period)


def gegenbauer(dim: int, count: int) -> tuple[Array, Array]:
    """Cosines and weights of the angle between a fixed and a uniform direction in R^dim."""
    if dim == 2:  # equal angles
        return np.cos(np.pi * (np.arange(count) + 0.5) / count), np.full(count, 1.0 / count)
    cosines, weights = scipy.special.roots_jacobi(count, 0.5 * (dim - 3), 0.5 * (dim - 3))
    return cosines, weights / weights.sum()


def _rule(unit: Unit, dim: int, count: int) -> ZonalUnit:
    return ZonalUnit(unit, dim, *gegenbauer(dim, count))


def _first_axis(x: Array) -> Array:
    turned = np.zeros_like(x)
    turned[:, 0] = np.sqrt((x * x).sum(axis=1))
    return turned


def _require_rotations(unit: Unit, x: Array, reach: float) -> None:
    rng = np.random.default_rng(0)
    dim = x.shape[1]
    z = reach / np.sqrt(dim) * rng.standard_normal((16, dim))
    normal = rng.standard_normal((dim, 1))
    turn = np.eye(dim) - 2 * normal @ normal.T / (normal**2).sum()  # reflections generate O(D)
    here, there = unit.features(x, z), unit.features(x @ turn, z @ turn)
    gap = float(np.abs(here - there).max())
    if gap > 1e-10 * (1 + float(np.abs(here).max())):
        raise ValueError(
            f"unit must not change when x and z are turned together, to be reduced to the radius, "
            f"got a change of {gap:.2g}; take a unit of z . x, |x| and |z|"
        )
