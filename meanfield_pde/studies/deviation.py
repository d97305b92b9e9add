r"""How far a first variation may be, within a cell, from its linear approximation at the centre.

For the units that the package brings, bounds are proved from second derivatives of the activation
functions near the cell; for functions of a user's own they are measured at the cell centres.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.spatial import cKDTree
from scipy.special import expit

from meanfield_pde.energies.moved_unit import AveragedUnit, MovedUnit, ProjectedUnit
from meanfield_pde.energies.potential import Penalty
from meanfield_pde.energies.risk import CHUNK
from meanfield_pde.energies.unit import Bump, Harmonic, Ridge, ScaledRidge, SeparateRidge, Unit
from meanfield_pde.measures.check import Array
from meanfield_pde.studies.objective import Objective

Deviation = Callable[[Array, Array], Array]
"""From centres (m, k) and half widths (k,) of cells to a bound for each cell, (m,)."""


@dataclass(frozen=True)
class Bend:
    """An activation function: how steep it is, how it bends, and how it behaves under u -> -u.

    The second derivative is one of |u|; its size rises up to ``peak`` and falls beyond.
    """

    slope: float
    second: Callable[[Array], Array]
    peak: float
    parity: int = 0

    def over(self, u: Array, reach: Array) -> Array:
        """Largest second derivative within a distance of u."""
        size = np.abs(u)
        return np.abs(self.second(np.clip(self.peak, np.maximum(size - reach, 0.0), size + reach)))


BENDS: dict[str, Bend] = {
    "tanh": Bend(
        1.0,
        lambda u: 8 * np.tanh(u) * expit(2 * u) * expit(-2 * u),
        float(np.arctanh(3**-0.5)),
        -1,
    ),
    "logistic": Bend(
        0.25,
        lambda u: expit(u) * expit(-u) * np.tanh(0.5 * u),
        2 * float(np.arctanh(3**-0.5)),
    ),
    "erf": Bend(2 * np.pi**-0.5, lambda u: 4 * np.pi**-0.5 * u * np.exp(-u * u), 0.5**0.5, -1),
    "softplus": Bend(1.0, lambda u: expit(u) * expit(-u), 0.0),
    "cos": Bend(1.0, np.ones_like, 0.0, 1),
    "linear": Bend(1.0, np.zeros_like, 0.0, -1),
}
"""Activation functions with two derivatives; relu has a kink and is treated apart."""
SAME = 1e-12
"""Distance of nodes, relative to their size, that is rounding."""
MARGIN = 2.0
"""How much larger second derivatives may be than those measured at the cell centres."""

FEWEST = 8
"""Cells a side below which nothing is measured, and nothing is known."""

Term = tuple[Unit, Array, Array]
"""``sum_i charge_i . sigma(x_i; z)``: unit, nodes (n, dim) and charges (n, outputs)."""


@dataclass(frozen=True, eq=False)
class Box:
    """Equal cells that fill a box.

    Parameters
    ----------
    lower, upper : array (k,)
    shape : tuple of int
    centres : array (cells, k)
    """

    lower: Array
    upper: Array
    shape: tuple[int, ...]
    centres: Array

    @property
    def half(self) -> Array:
        """Half the widths of a cell."""
        return np.asarray((self.upper - self.lower) / (2 * np.array(self.shape)))


def proved(objective: Objective, charges: list[Array]) -> Deviation | None:
    """Bound by what is known of the units; None where nothing is known of one of the terms."""
    known = all(isinstance(leaf, Penalty) for _, leaf in objective.fields)
    terms = _merged(objective, charges) if known else []
    if not known or any(type(_innermost(unit)) not in BOUNDS for unit, _, _ in terms):
        return None
    square = sum(abs(factor) for factor, _ in objective.fields)

    def deviation(centres: Array, half: Array) -> Array:
        z, reach = centres @ objective.embedding, half @ np.abs(objective.embedding)
        total = np.full(len(z), square * float(half @ half))
        for term in terms:
            size = max(1, CHUNK // len(term[1]))
            for part in (slice(k, k + size) for k in range(0, len(z), size)):
                total[part] += _of_term(*term, z[part], reach)
        return total

    return deviation


def measured(objective: Objective, charges: list[Array], box: Box) -> Deviation:
    """Bound by differences of the gradient between neighbouring cell centres, times a margin."""
    k = len(box.shape)
    gradient = objective.gradient(box.centres, charges).reshape(*box.shape, k)
    second = np.zeros((*box.shape, k, k))
    for axis in range(k):
        change = np.abs(np.diff(gradient, axis=axis)) / (2 * box.half[axis])
        ends = [(0, 0)] * (k + 1)
        ends[axis] = (1, 1)
        padded = np.pad(change, ends)
        ahead = np.take(padded, range(1, padded.shape[axis]), axis)
        behind = np.take(padded, range(padded.shape[axis] - 1), axis)
        second[..., axis, :] = np.maximum(ahead, behind)
    second = np.maximum(second, np.swapaxes(second, -1, -2))
    second = MARGIN * maximum_filter(second, size=(3,) * k + (1, 1), mode="nearest")
    if min(box.shape) < FEWEST:
        second[:] = np.inf
    flat = second.reshape(-1, k, k)

    def deviation(centres: Array, half: Array) -> Array:
        cell = ((centres - box.lower) / (2 * box.half)).astype(np.int64)
        index = np.ravel_multi_index(tuple(cell.T), box.shape, mode="clip")
        return np.asarray(0.5 * (flat[index] @ half) @ half)

    return deviation


def has_kinks(objective: Objective) -> bool:
    """Whether a unit is known to have kinks, of which differences say nothing."""
    terms = _merged(objective, [np.zeros(risk.data.y.shape) for _, risk in objective.risks])
    units = [_innermost(unit) for unit, _, _ in terms]
    return any(isinstance(u, Ridge | ScaledRidge) and u.activation == "relu" for u in units)


def _of_term(unit: Unit, x: Array, charge: Array, z: Array, half: Array) -> Array:
    if isinstance(unit, MovedUnit | AveragedUnit | ProjectedUnit):
        parts = (
            share * _of_term(unit.unit, x, charge, z @ matrix.T, np.abs(matrix) @ half)
            for share, matrix in _moves(unit, z.shape[1])
        )
        return np.asarray(sum(parts))
    return BOUNDS[type(unit)](unit, x, np.abs(charge).sum(axis=1), z, half)


def _ridge(unit: Ridge, x: Array, charge: Array, z: Array, half: Array) -> Array:
    reach = np.abs(x) @ half
    return np.asarray(_activation(unit.activation, z @ x.T, reach) @ charge)


def _activation(name: str, u: Array, reach: Array) -> Array:
    """How far an activation function may be from its tangent at u within a distance."""
    if name == "relu":
        return np.where(np.abs(u) < reach, reach, 0.0)
    return 0.5 * BENDS[name].over(u, reach) * reach**2


def _scaled_ridge(unit: ScaledRidge, x: Array, charge: Array, z: Array, half: Array) -> Array:
    reach = np.abs(x) @ half[1:]
    slope = 1.0 if unit.activation == "relu" else BENDS[unit.activation].slope
    mixed = float(half[0] * slope * (reach @ charge))
    bent = _activation(unit.activation, z[:, 1:] @ x.T, reach) @ charge
    return np.asarray(mixed + np.abs(z[:, 0]) * bent)


def _bump(unit: Bump, x: Array, charge: Array, z: Array, half: Array) -> Array:
    """Bound by the largest eigenvalue of the Hessian at a distance s: max(1, s^2 - 1) e^(-s^2/2).

    It falls but for a rise to 2 e^(-3/2) at s^2 = 3.
    """
    square = sum((z[:, None, a] - x[None, :, a]) ** 2 for a in range(x.shape[1]))
    reach = float(np.sqrt(half @ half)) / unit.width
    near = np.maximum(np.sqrt(np.asarray(square)) / unit.width - reach, 0.0) ** 2
    largest = np.maximum(1.0, near - 1.0) * np.exp(-0.5 * near)
    largest = np.where(near < 3.0, np.maximum(largest, 2 * np.exp(-1.5)), largest)
    return np.asarray(0.5 * reach**2 * (largest @ charge))


def _harmonic(unit: Harmonic, x: Array, charge: Array, z: Array, half: Array) -> Array:
    return np.full(len(z), 0.5 * (unit.order * half[0]) ** 2 * charge.sum())


BOUNDS: dict[type[Unit], Callable[..., Array]] = {
    Ridge: _ridge,
    ScaledRidge: _scaled_ridge,
    Bump: _bump,
    Harmonic: _harmonic,
}
"""Units of which something is known; others are made of these."""


def _merged(objective: Objective, charges: list[Array]) -> list[Term]:
    """Terms of a first variation, one for each plain unit, charges at equal nodes added up.

    In averages over a group most charges cancel.
    """
    found: dict[Unit, list[tuple[Array, Array]]] = {}
    for (_, risk), charge in zip(objective.risks, charges, strict=True):
        for unit, x, part in _plain(risk.unit, risk.data.x, charge):
            found.setdefault(unit, []).append(_one_sign(unit, x, part))
    terms = []
    for unit, parts in found.items():
        x, charge = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        same: Any = cKDTree(x).query_ball_point(x, SAME * (1 + np.abs(x).max()))
        first, node = np.unique([min(near) for near in same], return_inverse=True)
        total = np.zeros((len(first), charge.shape[1]))
        np.add.at(total, node, charge)
        terms.append((unit, x[first], total))
    return terms


def _plain(unit: Unit, x: Array, charge: Array) -> list[Term]:
    """Terms of which a unit's are made, with moves of z turned into moves of x."""
    if isinstance(unit, SeparateRidge):
        nodes = x[:, :, None] * np.eye(x.shape[1])
        return [(Ridge(unit.activation), nodes.reshape(-1, x.shape[1]), charge.reshape(-1, 1))]
    if not isinstance(unit, MovedUnit | AveragedUnit | ProjectedUnit):
        return [(unit, x, charge)]
    turning = (Ridge,) if isinstance(unit, ProjectedUnit) else (Ridge, Bump, Harmonic)
    terms: list[Term] = []
    for base, at, part in _plain(unit.unit, x, charge):
        if isinstance(base, turning):
            moves = _moves(unit, at.shape[1])
            terms += [(base, at @ matrix, share * part) for share, matrix in moves]
        else:
            terms.append((replace(unit, unit=base), at, part))
    return terms


def _moves(unit: MovedUnit | AveragedUnit | ProjectedUnit, d: int) -> Sequence[tuple[float, Array]]:
    """Matrices by which z is moved, with their shares."""
    if isinstance(unit, MovedUnit):
        return [(1.0, unit.matrix)]
    if isinstance(unit, ProjectedUnit):
        return [(1.0, unit.group.projection())]
    return list(zip(unit.group.weights.tolist(), unit.group.on_z(d), strict=True))


def _innermost(unit: Unit) -> Unit:
    if isinstance(unit, MovedUnit | AveragedUnit | ProjectedUnit):
        return _innermost(unit.unit)
    return unit


def _one_sign(unit: Unit, x: Array, charge: Array) -> tuple[Array, Array]:
    """Turn nodes x to one side of 0 where the unit is an odd or even function of them."""
    if not isinstance(unit, Ridge | ScaledRidge) or unit.activation == "relu":
        return x, charge
    parity = BENDS[unit.activation].parity
    if not parity:
        return x, charge
    leading = x[np.arange(len(x)), (np.abs(x) > SAME).argmax(axis=1)]
    sign = np.where(leading < 0, -1.0, 1.0)[:, None]
    return x * sign, np.where(sign < 0, parity * charge, charge)
