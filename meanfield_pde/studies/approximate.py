r"""Approximate and wrong symmetry: how far a risk is from invariant, and what bounds it.

For a jointly equivariant unit and an invariant loss, moving the law of the parameters is moving the
data back, :math:`R_\pi(M_g \# \mu) = R_{g^{-1} \# \pi}(\mu)`. Both risks are means of one function
of (x, y), so that by Kantorovich's duality

.. math:: \sup_\mu |R(\mu) - R^G(\mu)| \le C \int W_1(g \# \pi, \pi)\, d\lambda(g), \quad
   R^G(\mu) = \int R(M_g \# \mu)\, d\lambda(g)

(Maass and Fontbona, arXiv 2405.19995, Proposition 44), with C the Lipschitz constant of
:math:`l(\Phi_\mu(x), y)` and the distance :math:`|x - x'|_1 + |y - y'|_1` of data.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.spatial.distance import cdist

from meanfield_pde.energies.data import Data
from meanfield_pde.energies.risk import Risk
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.group import Group

MAX_IMAGES = 2000
"""Distinct images of data up to which all pairs of them are compared."""
STARTS = 4
"""Point masses, and random mixtures, from which laws of large gap are looked for."""
SWEEPS = 60


@dataclass(frozen=True)
class SymmetryGap:
    """How far a risk is from its average over a group.

    Parameters
    ----------
    found : float
        Largest ``|R - R^G|`` among the laws that were tried: the supremum is at least that.
    law : Cloud
        Law at which it was found.
    distance : float
        ``int W_1(g # pi, pi) dlambda(g)``; 0 where the group is one of the data.
    constant : float
        C.
    """

    found: float
    law: Cloud
    distance: float
    constant: float

    @property
    def bound(self) -> float:
        """``C int W_1(g # pi, pi) dlambda(g)``, which no law exceeds."""
        return self.constant * self.distance


def symmetry_gap(
    risk: Risk, group: Group, points: Array, constant: float | None = None
) -> SymmetryGap:
    """How much a risk changes when it is averaged over a group that the data need not have.

    Parameters
    ----------
    risk : Risk
        Its unit must be jointly equivariant and its loss invariant (`assumptions` checks both), or
        the bound is none. The data may lack the symmetry.
    group : Group
    points : array (m, d)
        Parameters that carry the laws that are tried.
    constant : float, optional
        C, of all laws on the points where it is left out: exact for one output or a loss that is a
        sum over outputs.

    Returns
    -------
    SymmetryGap

    Raises
    ------
    ValueError
        If the data have more than 2000 distinct images, or the group does not act on them
        or on the points.

    Examples
    --------
    >>> from meanfield_pde import Data, Unit
    >>> x, w = np.polynomial.legendre.leggauss(20)
    >>> shifted = Data(x + 0.01, np.cos(x + 0.01), w / 2)
    >>> gap = symmetry_gap(Risk(Unit.bump(), shifted), Group.reflection(), np.linspace(-3, 3, 31))
    >>> 0 < gap.found <= gap.bound < 0.05
    True
    """
    check.instance("risk", risk, Risk, "take the plain risk")
    check.instance("group", group, Group, "make one with the constructors of mf.Group")
    points = Cloud(points).points
    risk.unit.check_dimensions(risk.data.dim, points.shape[1])
    group.on_z(points.shape[1])
    images = _images(risk.data, group)
    distinct = _distinct(np.concatenate(images))
    if len(distinct) > MAX_IMAGES:
        raise ValueError(
            f"risk must have at most {MAX_IMAGES} distinct images of its data, got "
            f"{len(distinct)}; use fewer nodes"
        )
    if constant is None:
        constant = _lipschitz(risk, points, distinct)
    else:
        constant = check.number("constant", constant, "a Lipschitz constant", least=0)
    found, law = _largest_gap(risk, group, points)
    distance = float(group.weights @ [_w1(risk.data, image) for image in images])
    return SymmetryGap(found, law, distance, constant)


def _images(data: Data, group: Group) -> list[Array]:
    """Move the data by each element: rows (x, y)."""
    actions = zip(group.on_x(data.dim), group.on_y(data.outputs), strict=True)
    return [np.concatenate([data.x @ a.T, data.y @ b.T], axis=1) for a, b in actions]


def _distinct(rows: Array) -> Array:
    """Drop rows that are others up to rounding."""
    first = np.unique(np.round(rows, 9), axis=0, return_index=True)[1]
    return np.asarray(rows[first])


def _apart(data: Data, first: Array, second: Array) -> Array:
    """Distances of rows (x, y) by the sum of their entries, modulo the period of angles."""
    gaps = np.abs(first[:, None] - second[None])
    if data.period is not None:
        x = gaps[..., : data.dim]
        x[...] = np.abs(x - data.period * np.rint(x / data.period))
    return np.asarray(gaps.sum(-1))


def _w1(data: Data, image: Array) -> float:
    import ot

    here = np.concatenate([data.x, data.y], axis=1)
    ground = _apart(data, here, image)
    weights = data.weights / data.weights.sum()
    cost, log = ot.emd2(weights, weights, ground, numItermax=10_000_000, log=True)
    if log["warning"] is not None:
        raise ValueError(f"the simplex must converge, got: {log['warning']}; use fewer nodes")
    return max(float(cost), 0.0)


def _lipschitz(risk: Risk, points: Array, rows: Array) -> float:
    """Lipschitz constant of l(Phi_mu(x), y) on the data and their images, for mu on the points."""
    data = risk.data
    x, y = (_distinct(part) for part in np.split(rows, [data.dim], axis=1))
    features = risk.unit.features(x, points)
    steep = 0.0
    gaps = _apart(data, x, x)
    gaps[gaps < 1e-8] = np.inf  # one place up to rounding
    for values in np.moveaxis(features, 1, 0):
        steep = max(steep, float((cdist(values, values, "cityblock") / gaps).max()))
    low, high = features.min(axis=(0, 1)), features.max(axis=(0, 1))
    nodes = 9 if len(low) <= 2 else 2
    outputs = np.array(list(product(*np.linspace(low, high, nodes).T)))
    slope = change = 0.0
    between = cdist(y, y, "cityblock")
    between[between < 1e-8] = np.inf
    for prediction in outputs:
        same = np.broadcast_to(prediction, y.shape)
        slope = max(slope, float(np.abs(risk.loss.gradient(same, y)).max()))
        values = risk.loss.value(same, y)
        change = max(change, float((np.abs(values[:, None] - values) / between).max()))
    return max(slope * steep, change)


@dataclass(frozen=True, eq=False)
class _Gap:
    """R - R^G as a function of the masses of points; ``terms`` are factors with features."""

    risk: Risk
    terms: list[tuple[float, Array]]

    def value(self, law: Array) -> float:
        """R - R^G at a law."""
        data, loss = self.risk.data, self.risk.loss
        losses = (f * loss.value(_outputs(s, law), data.y) for f, s in self.terms)
        return float(data.weights @ sum(losses))

    def slope(self, law: Array) -> Array:
        """First variation at each point."""
        data, loss = self.risk.data, self.risk.loss
        total = np.zeros(len(law))
        for factor, features in self.terms:
            gradient = loss.gradient(_outputs(features, law), data.y)
            residual = factor * data.weights[:, None] * gradient
            total += np.tensordot(residual, features, axes=([0, 1], [0, 2]))
        return total


def _outputs(features: Array, law: Array) -> Array:
    return np.asarray(np.tensordot(features, law, axes=(1, 0)))


def _largest_gap(risk: Risk, group: Group, points: Array) -> tuple[float, Cloud]:
    """Climb to laws of large |R - R^G|: steps towards the best point mass, while they gain."""
    x = risk.data.x
    moved = zip(group.weights, group.on_z(points.shape[1]), strict=True)
    terms = [(-float(w), risk.unit.features(x, points @ m.T)) for w, m in moved]
    gap = _Gap(risk, [(1.0, risk.unit.features(x, points)), *terms])
    masses = np.array([gap.value(m) for m in np.eye(len(points))])
    rng = np.random.default_rng(0)
    best, law = 0.0, np.eye(len(points))[0]
    for sign in (1.0, -1.0):
        tops = np.argsort(-sign * masses)[:STARTS]
        starts = [*np.eye(len(points))[tops], *rng.dirichlet(np.full(len(points), 0.1), STARTS)]
        for start in starts:
            value, found = _climb(gap, sign, start)
            if value > best:
                best, law = value, found
    kept = law > 1e-9
    return best, Cloud(points[kept], law[kept] / law[kept].sum())


def _climb(gap: _Gap, sign: float, law: Array) -> tuple[float, Array]:
    value = sign * gap.value(law)
    for _ in range(SWEEPS):
        top = int((sign * gap.slope(law)).argmax())
        towards = np.eye(1, len(law), top)[0] - law
        steps = [law + 2.0**-k * towards for k in range(12)]
        values = [sign * gap.value(step) for step in steps]
        if max(values) <= value + 1e-14 * abs(value):
            break
        value = max(values)
        law = steps[int(np.argmax(values))]
    return value, law
