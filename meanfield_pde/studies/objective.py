r"""An energy at weighted points: risks and what is linear in the measure, convex in the weights.

For points t_j with weights w_j the outputs at all data are ``features @ w``, and the energy is
:math:`\sum_i l_i(\text{outputs}_i) + \sum_j w_j V(t_j)`. Its derivative in the weight of a point is
the first variation there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from meanfield_pde.energies.energy import Energy, Entropy
from meanfield_pde.energies.loss import CustomLoss
from meanfield_pde.energies.potential import Penalty, Potential
from meanfield_pde.energies.risk import CHUNK, Risk
from meanfield_pde.energies.variants import DataAugmented
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud

Mask = npt.NDArray[np.bool_]
Leaves = tuple[tuple[float, Energy], ...]


def convex_leaves(energy: Energy) -> Leaves:
    """Risks and external potentials of an energy, with their factors; augmented risks as sums.

    Raises
    ------
    ValueError
        If the energy has another term, or a risk with a negative factor.
    """
    leaves: list[tuple[float, Energy]] = []
    for factor, leaf in energy.terms:
        if isinstance(leaf, DataAugmented):
            leaves += [(factor * share, risk) for share, risk in leaf.orbit]
        else:
            leaves.append((factor, leaf))
    for factor, leaf in leaves:
        if isinstance(leaf, Entropy):
            raise ValueError(
                f"energy must have no entropy, got {factor:g} times it; take energy.smooth, or "
                "mf.gibbs(energy, grid) for the minimiser with entropy"
            )
        if not isinstance(leaf, Risk | Potential | Penalty):
            raise ValueError(
                f"energy must be made of risks, potentials and penalties, got "
                f"{type(leaf).__name__}; no lower bound is known for others, which need not be "
                "convex"
            )
        if isinstance(leaf, Risk) and factor < 0:
            raise ValueError(
                f"energy must be convex, got {factor:g} times a risk; give risks positive factors"
            )
    return tuple((factor, leaf) for factor, leaf in leaves if factor)


@dataclass(frozen=True, eq=False)
class Objective:
    """Energy of weighted points t, which stand for parameters ``z = t @ embedding``.

    Parameters
    ----------
    leaves : tuple of (float, Energy)
        From `convex_leaves`.
    embedding : array (k, d)
    """

    leaves: Leaves
    embedding: Array
    risks: tuple[tuple[float, Risk], ...] = field(init=False)
    fields: tuple[tuple[float, Potential | Penalty], ...] = field(init=False)

    def __post_init__(self) -> None:
        risks = tuple((f, leaf) for f, leaf in self.leaves if isinstance(leaf, Risk))
        rest = ((f, leaf) for f, leaf in self.leaves if isinstance(leaf, Potential | Penalty))
        object.__setattr__(self, "risks", risks)
        object.__setattr__(self, "fields", tuple(rest))

    @property
    def quadratic(self) -> bool:
        """Whether every loss is quadratic."""
        return all(risk.loss.quadratic for _, risk in self.risks)

    @property
    def floor(self) -> float:
        """Lower bound that needs no search: 0, or none, as the terms may be negative."""
        losses = all(not isinstance(risk.loss, CustomLoss) for _, risk in self.risks)
        fields = all(isinstance(leaf, Penalty) and factor > 0 for factor, leaf in self.fields)
        return 0.0 if losses and fields else -np.inf

    def features(self, points: Array) -> Array:
        """Return the outputs of a unit at each point, at the data of all risks: (rows, m)."""
        z = points @ self.embedding
        parts = [np.moveaxis(r.unit.features(r.data.x, z), 1, 2) for _, r in self.risks]
        stacked = [part.reshape(-1, len(z)) for part in parts]
        return np.concatenate(stacked) if stacked else np.zeros((0, len(z)))

    def linear(self, points: Array) -> Array:
        """External potential at each point, shape (m,)."""
        z, total = points @ self.embedding, np.zeros(len(points))
        for factor, leaf in self.fields:
            if isinstance(leaf, Penalty):
                total += factor * (z**2).sum(-1)
            else:
                total += factor * check.evaluate("potential", leaf.function, z)
        return total

    def loss(self, outputs: Array) -> float:
        """Sum of the risks, for outputs (rows,)."""
        total = 0.0
        for (factor, risk), part in zip(self.risks, self._split(outputs), strict=True):
            total += factor * float(risk.data.weights @ risk.loss.value(part, risk.data.y))
        return total

    def charges(self, outputs: Array) -> list[Array]:
        """Differentiate the loss in the outputs, one array (n, outputs) a risk."""
        split = zip(self.risks, self._split(outputs), strict=True)
        return [
            factor * risk.data.weights[:, None] * risk.loss.gradient(part, risk.data.y)
            for (factor, risk), part in split
        ]

    def bent(self, outputs: Array, features: Array) -> Array:
        """Features times a root of the loss's second derivative: their squares are its Hessian."""
        rows = []
        start = 0
        for (factor, risk), part in zip(self.risks, self._split(outputs), strict=True):
            here = features[start : start + part.size].reshape(*part.shape, -1)
            values, vectors = np.linalg.eigh(risk.loss.hessian(part, risk.data.y))
            roots = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
            roots *= np.sqrt(factor * risk.data.weights)[:, None, None]
            rows.append(np.einsum("iqp,iqm->ipm", roots, here).reshape(part.size, -1))
            start += part.size
        return np.concatenate(rows) if rows else np.zeros((0, features.shape[1]))

    def value(self, points: Array, weights: Array) -> float:
        """Energy."""
        return self.loss(self.features(points) @ weights) + float(self.linear(points) @ weights)

    def variation(self, points: Array, charges: list[Array]) -> Array:
        """First variation at points (m, k), for the charges of some measure."""
        total = self.linear(points)
        for (_, risk), charge in zip(self.risks, charges, strict=True):
            size = max(1, CHUNK // charge.size)
            for part in (slice(k, k + size) for k in range(0, len(points), size)):
                features = risk.unit.features(risk.data.x, points[part] @ self.embedding)
                total[part] += np.einsum("iq,imq->m", charge, features, optimize=True)
        return total

    def slopes(self, points: Array, charges: list[Array]) -> list[Array]:
        """Gradients of the first variation at points, term by term: each of shape (m, k)."""
        z = points @ self.embedding
        back = self.embedding.T
        parts = [
            risk.unit.pullback(risk.data.x, z, charge) @ back
            for (_, risk), charge in zip(self.risks, charges, strict=True)
        ]
        parts += [-factor * leaf.drift(Cloud(z)) @ back for factor, leaf in self.fields]
        return parts

    def gradient(self, points: Array, charges: list[Array]) -> Array:
        """Gradient of the first variation at points, shape (m, k)."""
        return np.asarray(sum(self.slopes(points, charges), np.zeros_like(points)))

    def _split(self, outputs: Array) -> list[Array]:
        ends = np.cumsum([risk.data.y.size for _, risk in self.risks])[:-1]
        parts = np.split(outputs, ends) if self.risks else []
        return [p.reshape(r.data.y.shape) for p, (_, r) in zip(parts, self.risks, strict=True)]


def best_weights(objective: Objective, points: Array, weights: Array) -> Array:
    """Minimise the energy over the weights of given points, nonnegative and of sum 1.

    An active set method (Lawson and Hanson 1974, chapter 23) around Newton's method: points
    without mass enter one at a time, the one with the lowest first variation first, and leave where
    a step would make their weight negative.

    Parameters
    ----------
    objective : Objective
    points : array (m, k)
    weights : array (m,)
        Where to start.

    Returns
    -------
    array (m,)
    """
    features, linear = objective.features(points), objective.linear(points)
    w, refused = weights.copy(), np.zeros(len(weights), dtype=bool)
    active = w > 0
    for _ in range(4 * len(w) + 20):
        w, active = _settle(objective, features, linear, w, active)
        variation = _variation(objective, features, linear, w)
        below = np.where(active | refused, np.inf, variation - w @ variation)
        enter = int(below.argmin())
        if not below[enter] < -ENTERS * np.ptp(variation):
            break
        refused[enter] = active[enter] = True
    return w


NEWTON_STEPS = 200
HALVINGS = 40
RELATIVE = 1e-10
"""Singular values, relative to the largest, that are rounding."""
ENTERS = 1e-12
"""How far below the mean a first variation must be, relative to its range, for mass to go there."""


def _variation(objective: Objective, features: Array, linear: Array, w: Array) -> Array:
    charges = objective.charges(features @ w)
    flat = np.concatenate([c.ravel() for c in charges]) if charges else np.zeros(0)
    return np.asarray(flat @ features + linear)


def _settle(
    objective: Objective, features: Array, linear: Array, w: Array, active: Mask
) -> tuple[Array, Mask]:
    """Newton's method over the weights that are active; those that reach 0 leave."""
    w, active, last = w.copy(), active.copy(), np.inf
    for _ in range(NEWTON_STEPS):
        index = np.flatnonzero(active)
        if len(index) == 1:
            break
        columns, slope, here = features[:, index], linear[index], w[index]
        variation = _variation(objective, columns, slope, here)
        step = _newton_step(objective.bent(columns @ here, columns), variation, here)
        drop = -float(step @ variation)
        falls = step < 0
        reach = np.full(len(index), np.inf)
        reach[falls] = here[falls] / -step[falls]
        most = min(1.0, float(reach.min()))
        length = _length(objective, columns, slope, here, step, most, drop)
        moved, left = here + length * step, reach <= length
        moved[left] = 0.0
        moved[moved.argmax()] += 1.0 - moved.sum()
        w[index], active[index] = moved, ~left
        if not left.any() and (length == 0 or drop >= 0.9 * last or drop <= 0):
            break
        last = np.inf if left.any() else drop
    return w, active


def _newton_step(bent: Array, variation: Array, w: Array) -> Array:
    """Step of sum 0 to the minimum of the quadratic model."""
    heavy = int(w.argmax())
    others = np.delete(np.arange(len(w)), heavy)
    # Rows of zeros, so that directions without curvature are among the singular vectors.
    lacking = max(0, len(others) - len(bent))
    edges = np.pad(bent[:, others] - bent[:, [heavy]], ((0, lacking), (0, 0)))
    _, s, v = np.linalg.svd(edges, full_matrices=False)
    force = v @ (variation[others] - variation[heavy])
    step = np.zeros(len(w))
    step[others] = -(force / (s**2 + (RELATIVE * (s.max() or 1.0)) ** 2)) @ v
    step[heavy] = -step.sum()
    return step


def _length(
    objective: Objective,
    columns: Array,
    linear: Array,
    w: Array,
    step: Array,
    most: float,
    drop: float,
) -> float:
    """Length of a step: all of it for a quadratic energy, else by backtracking."""
    if objective.quadratic:
        return most

    def value(length: float) -> float:
        moved = w + length * step
        return objective.loss(columns @ moved) + float(linear @ moved)

    here = value(0.0)
    for length in most * 0.5 ** np.arange(HALVINGS):
        if value(length) <= here - 1e-4 * length * drop + 1e-15 * abs(here):
            return float(length)
    return 0.0
