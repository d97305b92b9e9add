"""Data laws: finite weighted sets of inputs x with targets y.

A continuous law enters by a Gauss rule, so that every expectation is a finite sum, and particles
trained on mini-batches draw from the very nodes by which the density's drift is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from meanfield_pde.energies.sets import rows_of_sets
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.group import Group

Target = Callable[..., Any]
Sampler = Callable[[int, np.random.Generator], tuple[Array, Array]]


@dataclass(frozen=True, eq=False)
class Data:
    """Weighted nodes of a data law.

    Parameters
    ----------
    x : array (n, dim)
    y : array (n, outputs)
    weights : array (n,)
        Probabilities of the nodes.
    period : float, optional
        Where x is an angle: its period, so that symmetries are checked modulo it.

    Raises
    ------
    ValueError
        If shapes do not fit, a number is not finite, or the weights are not a probability.

    Examples
    --------
    >>> data = Data.gauss_hermite(dim=2, nodes=8, target=lambda x: np.tanh(x).sum(-1))
    >>> data.x.shape, data.y.shape, round(float(data.weights.sum()), 12)
    ((64, 2), (64, 1), 1.0)
    """

    x: Array
    y: Array
    weights: Array
    period: float | None = None

    def __post_init__(self) -> None:
        x = check.array("x", self.x, "give inputs of shape (n, dim)")
        x = x[:, None] if x.ndim == 1 else x
        if x.ndim != 2 or x.size == 0:
            raise ValueError(f"x must have shape (n, dim), got {x.shape}; give one row a sample")
        y = check.array("y", self.y, "give targets of shape (n,) or (n, outputs)")
        y = y[:, None] if y.ndim == 1 else y
        if y.ndim != 2 or len(y) != len(x) or y.size == 0:
            raise ValueError(
                f"y must have shape ({len(x)},) or ({len(x)}, outputs), got {y.shape}; "
                "give one target a sample"
            )
        weights = check.array("weights", self.weights, "give one probability a sample")
        if weights.shape != (len(x),) or weights.min() < 0 or abs(weights.sum() - 1) > 1e-9:
            raise ValueError(
                f"weights must be {len(x)} nonnegative numbers that sum to 1, got shape "
                f"{weights.shape} with sum {weights.sum():g}; divide them by their sum"
            )
        for name, value in (("x", x), ("y", y), ("weights", weights)):
            object.__setattr__(self, name, value)

    @classmethod
    def samples(cls, x: Any, y: Any, weights: Any = None) -> Data:
        """Take data given as arrays; equal weights where none are given."""
        n = max(1, len(np.atleast_1d(x)))
        return cls(x, y, np.full(n, 1.0 / n) if weights is None else weights)

    @classmethod
    def sets(cls, sets: Sequence[Any], target: Any, weights: Any = None) -> Data:
        """Take sets of points, of any sizes, for `Unit.on_sets`; x holds points and weights.

        ``target`` is a function of one set, as an array (k,), or an array with a value a set.

        >>> Data.sets([[3.0], [1.0, 2.0]], target=np.max).y.ravel().tolist()
        [3.0, 2.0]
        """
        rows = rows_of_sets(sets)
        found = [target(np.asarray(u, np.float64)) for u in sets] if callable(target) else target
        return cls.samples(rows, found, weights)

    @classmethod
    def sampled(cls, n: int, sampler: Sampler, seed: int) -> Data:
        """Draw n samples of a continuous law once, by ``sampler(n, rng)`` to x and y.

        Particles are then trained on a law that differs from the continuous one as n samples do.
        """
        n = check.count("n", n, "100000 is a good number in high dimension")
        seed = check.count("seed", seed, "any whole number from 0 will do", least=0)
        return cls.samples(*sampler(n, np.random.default_rng(seed)))

    @classmethod
    def gauss_hermite(cls, dim: int, nodes: int, target: Target, scale: float = 1.0) -> Data:
        """X ~ N(0, scale^2 I) by a tensor Gauss-Hermite rule with ``nodes`` a dimension."""
        dim = check.count("dim", dim, "the dimension of x")
        nodes = check.count("nodes", nodes, "8 a dimension is a good number")
        if nodes**dim > 1_000_000:
            raise ValueError(
                f"nodes**dim must be at most 1e6, got {nodes}**{dim}; use fewer, or Data.samples"
            )
        scale = check.number("scale", scale, "the standard deviation of x", above=0)
        with np.errstate(all="ignore"):
            points, weights = np.polynomial.hermite_e.hermegauss(nodes)
        if not np.isfinite(weights).all():
            raise ValueError(
                f"nodes must be few enough for weights in double precision, got {nodes}; 200 a "
                "dimension is always fine"
            )
        return _tensor([scale * points] * dim, [weights] * dim, target)

    @classmethod
    def gauss_legendre(cls, nodes: int, lower: Any, upper: Any, target: Target) -> Data:
        """X uniform on [lower, upper] (scalars, or one number a dimension) by a Gauss rule."""
        nodes = check.count("nodes", nodes, "40 is a good number in one dimension")
        low = np.atleast_1d(check.array("lower", lower, "the lower corner of the law of x"))
        high = np.atleast_1d(check.array("upper", upper, "the upper corner of the law of x"))
        if low.shape != high.shape or not (low < high).all():
            raise ValueError(
                f"lower must be below upper in each dimension, got {low.tolist()} and "
                f"{high.tolist()}; swap them"
            )
        points, weights = np.polynomial.legendre.leggauss(nodes)
        axes = [0.5 * (a + b) + 0.5 * (b - a) * points for a, b in zip(low, high, strict=True)]
        return _tensor(axes, [weights] * len(axes), target)

    @classmethod
    def circle(cls, nodes: int, target: Target) -> Data:
        """Uniform angle on [-pi, pi) by equispaced nodes, symmetric about 0; x has shape (n, 1)."""
        nodes = check.count("nodes", nodes, "32 is a good number")
        angles = (np.arange(float(nodes)) - 0.5 * (nodes - 1)) * (2 * np.pi / nodes)
        x = angles[:, None]
        return cls(x, _targets(target, x), np.full(nodes, 1.0 / nodes), period=2 * np.pi)

    @classmethod
    def gauss_laguerre(cls, radii: int, angles: int, target: Target, scale: float = 1.0) -> Data:
        """X ~ N(0, scale^2 I) in the plane, by Gauss-Laguerre radii and equispaced angles.

        The nodes are invariant under rotations by 2 pi / angles.
        """
        radii = check.count("radii", radii, "12 are a good number")
        angles = check.count("angles", angles, "32 are a good number")
        scale = check.number("scale", scale, "the standard deviation of x", above=0)
        if radii > 180:
            raise ValueError(
                f"radii must be few enough for weights in double precision, got {radii}; 100 "
                "are always fine"
            )
        squares, weights = np.polynomial.laguerre.laggauss(radii)
        turns = 2 * np.pi * np.arange(angles) / angles
        circle = np.stack([np.cos(turns), np.sin(turns)], axis=-1)
        x = (scale * np.sqrt(2 * squares))[:, None, None] * circle
        w = np.repeat(weights / weights.sum() / angles, angles)
        return cls(x.reshape(-1, 2), _targets(target, x.reshape(-1, 2)), w)

    @property
    def dim(self) -> int:
        """Dimension of x."""
        return int(self.x.shape[1])

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.x)

    @property
    def outputs(self) -> int:
        """Dimension of y."""
        return int(self.y.shape[1])

    def draw(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw n nodes by their weights: the indices that ``rng.choice`` would give, faster."""
        return self._cumulative.searchsorted(rng.random(n), side="right")

    @cached_property
    def _cumulative(self) -> Array:
        total = self.weights.cumsum()
        return np.asarray(total / total[-1])

    def invariance_defect(self, group: Group) -> tuple[float, float]:
        """How far the law of (x, y) is from invariant: in places and weights, and in y.

        Largest of `orbit_defects`: 0 up to rounding when (rho_g X, rhohat_g Y) has the law of
        (X, Y).
        """
        _, places, values = self.orbit_defects(group)
        return float(places.max()), float(values.max())

    def orbit_defects(self, group: Group) -> tuple[Array, Array, Array]:
        """Distinct places x (m, dim), and defects of places and values there, each (order, m).

        Each place is moved by each element and compared with the place nearest to it: how far away
        that is or the difference of the weights (times the number of nodes), and that of the mean
        of y there.
        """
        from scipy.spatial import cKDTree

        embedded = self.embedded(self.x)
        same: Any = cKDTree(embedded).query_ball_point(embedded, 1e-9)  # nodes may be repeated
        first, node = np.unique([min(found) for found in same], return_inverse=True)
        weights = np.bincount(node, self.weights)
        x = self.x[first]
        sums = np.stack([np.bincount(node, self.weights * y) for y in self.y.T], axis=1)
        y = np.divide(sums, weights[:, None], out=self.y[first].copy(), where=weights[:, None] > 0)
        tree = cKDTree(self.embedded(x))
        places, values = [], []
        for on_x, on_y in zip(group.on_x(self.dim), group.on_y(self.outputs), strict=True):
            gap, index = tree.query(self.embedded(x @ on_x.T))
            places.append(np.maximum(gap, np.abs(weights[index] - weights) * self.size))
            values.append(np.abs(y[index] - y @ on_y.T).max(axis=1))
        return x, np.array(places), np.array(values)

    def embedded(self, x: Array) -> Array:
        """Return points as far apart as x, or as x modulo the period up to a factor."""
        if self.period is None:
            return x
        turn = 2 * np.pi / self.period * x
        return np.concatenate([np.cos(turn), np.sin(turn)], axis=1)


def _tensor(axes: list[Array], weights: list[Array], target: Target) -> Data:
    x = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    w = reduce(np.multiply.outer, weights).ravel()
    return Data(x, _targets(target, x), w / w.sum())


def _targets(target: Target, x: Array) -> Array:
    """Evaluate a target function, (..., dim) to (...) or (..., outputs), on nodes (n, dim)."""
    if not callable(target):
        raise ValueError(
            f"target must be a function of x, got {target!r}; for arrays use Data.samples(x, y)"
        )
    y = np.asarray(target(x), dtype=np.float64)
    if y.ndim not in (1, 2) or len(y) != len(x):
        raise ValueError(
            f"target must map x of shape ({len(x)}, {x.shape[1]}) to ({len(x)},) or "
            f"({len(x)}, outputs), got {y.shape}; use x[..., 0] for the first coordinate"
        )
    if not np.isfinite(y).all():
        raise ValueError(
            f"target must be finite, got {y[~np.isfinite(y)][0]} among its values; "
            "check it at every node of x"
        )
    return y
