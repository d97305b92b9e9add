r"""Payoffs of zero-sum games: ``f(x, y)``, which one player lowers and the other raises.

The expected payoff of two laws is :math:`\int\int f(x, y)\, \mu(dx)\, \nu(dy)`; its first variation
in the first law is :math:`\int f(x, y)\, \nu(dy)`, in the second :math:`\int f(x, y)\, \mu(dx)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np

from meanfield_pde.energies.derivative import Derivative
from meanfield_pde.energies.nodes import few_sources
from meanfield_pde.energies.payoff_matrix import LowRankMatrix, PayoffMatrix, matrix_of
from meanfield_pde.energies.potential import require_periodic
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array, Function
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.grid import Grid

PAIRS = 2_000_000
"""Pairs of points that are evaluated at once."""
TRIED = 32
"""Points of one player on which sources that stand for the other are tried."""

Sources = tuple[Array, Array]


class Payoff(ABC):
    """Function f(x, y) of the parameters of two players; the first lowers it."""

    @abstractmethod
    def discretise(self, first: Grid, second: Grid) -> PayoffMatrix:
        """Prepare the payoff for two grids."""

    def on(self, first: Grid, second: Grid) -> PayoffMatrix:
        """Evaluate the payoff at the cell centres of two grids, kept for the next call.

        Raises
        ------
        ValueError
            If it is not finite there, has the wrong shape, not the period of a torus, or too many
            values for its rank, or a grid has a chart.
        """
        for grid in (first, second):
            if grid.chart is not None:
                raise ValueError(
                    f"grids must have no chart in a game, got {type(grid.chart).__name__}; use "
                    "Grid.box or Grid.torus"
                )
        kept = _matrices.get(self)
        if kept is None or kept[:2] != (first, second):
            kept = (first, second, self.discretise(first, second))
            _matrices[self] = kept
        return kept[2]

    @abstractmethod
    def drifts(self, mu: Cloud, nu: Cloud) -> tuple[Array, Array]:
        """Velocities of both players' points: down, and up, the gradient of their potential."""

    @abstractmethod
    def variations(self, mu: Cloud, nu: Cloud) -> tuple[Array, Array]:
        """First variations at the points of each cloud, in the law of the other."""


_matrices: WeakKeyDictionary[Payoff, tuple[Grid, Grid, PayoffMatrix]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class KernelPayoff(Payoff):
    """Payoff given as a function of both players' parameters.

    Parameters
    ----------
    function : callable
        f: points x (..., d) and y (..., e), which broadcast, to values (...).

    Raises
    ------
    ValueError
        When it meets grids or clouds on which f is not finite or has the wrong shape.

    Examples
    --------
    >>> import numpy as np
    >>> f = KernelPayoff(lambda x, y: np.cos(x - y)[..., 0])
    >>> down, up = f.drifts(Cloud([[0.0]]), Cloud([[np.pi / 2]]))
    >>> down.round(12).tolist(), up.round(12).tolist()
    ([[-1.0]], [[-1.0]])
    """

    function: Function

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ValueError(
                f"function must be callable, got {self.function!r}; "
                "for example lambda x, y: np.cos(x - y)[..., 0]"
            )

    def discretise(self, first: Grid, second: Grid) -> PayoffMatrix:
        """Evaluate the payoff at pairs of cell centres: all, or where its rank is low few."""
        x, y = first.points.reshape(-1, first.dim), second.points.reshape(-1, second.dim)
        here, there = x[:: max(1, len(x) // 8)], y[:: max(1, len(y) // 8)]
        _require_periodic("first", lambda z: self._pairs(z, there), first)
        _require_periodic("second", lambda z: self._pairs(here, z).T, second)
        return matrix_of(first, second, lambda rows, columns: self._pairs(x[rows], y[columns]))

    def drifts(self, mu: Cloud, nu: Cloud) -> tuple[Array, Array]:
        """``-grad_x int f dnu`` and ``+grad_y int f dmu`` at the points of each cloud."""
        self._pairs(mu.points[:1], nu.points[:1])  # derivatives would let another shape pass
        f, d, e = self.function, mu.dim, nu.dim
        in_x = Derivative("payoff", lambda z: f(z[..., e:], z[..., :e]), fixed=e)
        in_y = Derivative("payoff", lambda z: f(z[..., :d], z[..., d:]), fixed=d)
        first, second = self._sources(mu, nu)
        return -_mean_gradient(in_x, mu, *second), _mean_gradient(in_y, nu, *first)

    def variations(self, mu: Cloud, nu: Cloud) -> tuple[Array, Array]:
        """``int f dnu`` and ``int f dmu`` at the points of each cloud."""
        (x, charges), (y, others) = self._sources(mu, nu)
        return (
            self._pairs(mu.points, y) @ others,
            np.ascontiguousarray(self._pairs(x, nu.points).T) @ charges,
        )

    def _sources(self, mu: Cloud, nu: Cloud) -> tuple[Sources, Sources]:
        """Points and weights that act like each cloud on the other: few, where f is smooth."""
        x, y = _some(mu.points), _some(nu.points)
        first = few_sources(mu, lambda z: np.ascontiguousarray(self._pairs(z, y).T))
        return first, few_sources(nu, lambda z: self._pairs(x, z))

    def _pairs(self, x: Array, y: Array) -> Array:
        """Values at all pairs, shape (n, m), in chunks of rows."""
        d, found = x.shape[1], np.empty((len(x), len(y)))
        rows = max(1, PAIRS // len(y))
        for start in range(0, len(x), rows):
            few = x[start : start + rows]
            shape = (len(few), len(y))
            wide = np.concatenate(
                [
                    np.broadcast_to(few[:, None, :], (*shape, d)),
                    np.broadcast_to(y[None, :, :], (*shape, y.shape[1])),
                ],
                axis=-1,
            )
            found[start : start + rows] = check.evaluate(
                "payoff", lambda z: self.function(z[..., :d], z[..., d:]), wide
            )
        return found


@dataclass(frozen=True, eq=False)
class ProductPayoff(Payoff):
    """Payoff ``sum_k a_k(x) b_k(y)``, of a rank that stays low on any grid and cloud.

    Parameters
    ----------
    terms : sequence of pairs of callables
        a_k: points (..., d) to (...), and b_k: points (..., e) to (...).

    Raises
    ------
    ValueError
        If there are no terms, or they are not pairs of functions.

    Examples
    --------
    >>> import numpy as np
    >>> a, b = (lambda x: np.cos(x[..., 0])), (lambda y: np.sin(y[..., 0]))
    >>> f = ProductPayoff([(a, b)])
    >>> f.variations(Cloud([[0.0]]), Cloud([[np.pi / 2]]))
    (array([1.]), array([1.]))
    """

    terms: Sequence[tuple[Function, Function]]
    _factors: tuple[tuple[Derivative, Derivative], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        remedy = "give pairs such as [(lambda x: np.cos(x[..., 0]), lambda y: np.sin(y[..., 0]))]"
        try:
            terms = tuple((a, b) for a, b in self.terms)
        except (TypeError, ValueError):
            terms = ()
        if not terms or not all(callable(a) and callable(b) for a, b in terms):
            raise ValueError(f"terms must be pairs of functions, got {self.terms!r}; {remedy}")
        object.__setattr__(self, "terms", terms)
        factors = tuple(
            (Derivative(f"factor {k} of x", a), Derivative(f"factor {k} of y", b))
            for k, (a, b) in enumerate(self.terms)
        )
        object.__setattr__(self, "_factors", factors)

    def discretise(self, first: Grid, second: Grid) -> PayoffMatrix:
        """Evaluate the factors at the cell centres."""
        x, y = first.points.reshape(-1, first.dim), second.points.reshape(-1, second.dim)
        left, right = self._values(x, y)
        for a, b in self.terms:
            _require_periodic("first", a, first)
            _require_periodic("second", b, second)
        return LowRankMatrix.of(first, second, left.T, right.T)

    def drifts(self, mu: Cloud, nu: Cloud) -> tuple[Array, Array]:
        """``-grad_x int f dnu`` and ``+grad_y int f dmu`` at the points of each cloud."""
        a, b = self._values(mu.points, nu.points)
        means = a @ mu.weights, b @ nu.weights
        down, up = np.zeros_like(mu.points), np.zeros_like(nu.points)
        for k, (in_x, in_y) in enumerate(self._factors):
            down -= means[1][k] * in_x(mu.points)
            up += means[0][k] * in_y(nu.points)
        return down, up

    def variations(self, mu: Cloud, nu: Cloud) -> tuple[Array, Array]:
        """``int f dnu`` and ``int f dmu`` at the points of each cloud."""
        a, b = self._values(mu.points, nu.points)
        return (b @ nu.weights) @ a, (a @ mu.weights) @ b

    def _values(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Factors at points (..., d) and (..., e), each with a first axis over the terms."""
        a = np.stack([check.evaluate(f"factor {k}", f, x) for k, (f, _) in enumerate(self.terms)])
        b = np.stack([check.evaluate(f"factor {k}", f, y) for k, (_, f) in enumerate(self.terms)])
        return a, b


def _require_periodic(which: str, function: Function, grid: Grid) -> None:
    require_periodic(f"payoff in its {which} argument", function, grid)


def _some(points: Array) -> Array:
    """Points on which sources are tried: evenly chosen, and the outermost along each axis."""
    even = np.linspace(0, len(points) - 1, min(TRIED, len(points))).astype(int)
    outer = np.concatenate([points.argmin(axis=0), points.argmax(axis=0)])
    return np.asarray(points[np.concatenate([even, outer])])


def _mean_gradient(derivative: Derivative, moved: Cloud, places: Array, weights: Array) -> Array:
    """Gradient at the points of one cloud, in the mean over sources, in chunks of pairs."""
    found = np.empty_like(moved.points)
    rows = max(1, PAIRS // len(places))
    for start in range(0, moved.size, rows):
        points = moved.points[start : start + rows]
        shape = (len(points), len(places))
        pairs = np.concatenate(
            [
                np.broadcast_to(places[None, :, :], (*shape, places.shape[1])),
                np.broadcast_to(points[:, None, :], (*shape, points.shape[1])),
            ],
            axis=-1,
        )
        found[start : start + rows] = np.einsum("j,ijd->id", weights, derivative(pairs))
    return found
