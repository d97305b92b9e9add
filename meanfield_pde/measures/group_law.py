r"""Lazy averaging: means over a probability pi on a group in place of its Haar measure.

.. math:: S_\pi f(x) = \int f(g x) \, d\pi(g), \qquad \mu^\pi = \int M_g \# \mu \, d\pi(g),

so that ``int f dmu^pi = int S_pi f dmu`` (Tonelli-Cueto, "Lazy quotient metrics"). For a pi that is
not invariant S f is not either, but nearly so: by the duality of Kantorovich and Rubinstein

.. math:: |S_\pi f(g x) - S_\pi f(x)| \leq L |x| \, W_1(\pi g, \pi), \qquad
   d(h, k) = \|M_h - M_k\|_2,

for f with Lipschitz constant L, since h -> f(hx) has the constant L |x| in that distance, and
S f(gx) is the mean of f(hx) over the law pi g of h g. For the uniform law of the rotations by
[-delta, delta] and a rotation by epsilon,

.. math:: W_1 = 2 |\sin(\epsilon / 2)| \, \frac{\sin \delta}{\delta}.

Mass that both laws share stays, and the rest is best moved to its mirror image, each piece over the
chord 2 sin of half its angle, whose integral is this number; f = x_1 attains it. (To move the rest
by 2 delta as a block costs epsilon sin(delta) / delta, a little more.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from meanfield_pde.measures import check
from meanfield_pde.measures.chart import Polar
from meanfield_pde.measures.check import Array, Function
from meanfield_pde.measures.cloud import Cloud, Measure
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.group import Group
from meanfield_pde.measures.symmetry import average_of_moved

SUM = 1e-12
"""How far from 1 the weights of a probability may add up, being rounded."""


@dataclass(frozen=True, eq=False)
class GroupLaw:
    """A probability on orthogonal matrices; make one with `GroupLaw.on` or `GroupLaw.arc`.

    Parameters
    ----------
    matrices : array (nodes, d, d)
    weights : array (nodes,)
        Nonnegative, of sum 1.
    group : Group, optional
        Where the matrices are its elements.
    spread : float, optional
        Half the length of an arc of rotations, of which the matrices are the nodes of a rule.

    Raises
    ------
    ValueError
        If the weights are not a probability, one for each matrix.

    Examples
    --------
    >>> law = GroupLaw.arc(spread=1.0)
    >>> mean = law.average(lambda x: x[..., 0])
    >>> float(mean(np.array([1.0, 0.0])).round(12)) == float(np.sin(1.0).round(12))
    True
    """

    matrices: Array
    weights: Array
    group: Group | None = None
    spread: float | None = None

    def __post_init__(self) -> None:
        weights = check.array("weights", self.weights, "give one probability an element")
        if weights.shape != self.matrices.shape[:1]:
            raise ValueError(
                f"weights must have one entry for each of the {len(self.matrices)} elements, got "
                f"shape {weights.shape}; their order is that of group.matrices"
            )
        if weights.min() < 0 or abs(weights.sum() - 1) > SUM:
            raise ValueError(
                f"weights must be nonnegative and sum to 1, got {weights.tolist()}; divide by "
                "the sum"
            )
        object.__setattr__(self, "weights", weights)

    @classmethod
    def on(cls, group: Group, weights: Array | None = None, dim: int | None = None) -> GroupLaw:
        """Law on a finite group; Haar's where the weights are left out.

        Parameters
        ----------
        group : Group
        weights : array (order,), optional
        dim : int, optional
            Dimension of the parameters; that of the group's own matrices where it is left out.
        """
        check.instance("group", group, Group, "make one with the constructors of mf.Group")
        own = group.matrices if group.z is None else group.z
        matrices = group.on_z(own.shape[-1] if dim is None else dim)
        return cls(matrices, group.weights if weights is None else weights, group)

    @classmethod
    def arc(cls, spread: float, nodes: int = 32) -> GroupLaw:
        """Uniform law of the rotations by angles in [-spread, spread], by Gauss's rule.

        Parameters
        ----------
        spread : float
            Up to pi, which gives Haar's measure of SO(2).
        nodes : int
            The rule is exact to rounding for functions with few more than ``nodes / spread``
            oscillations along an orbit.
        """
        delta = check.number("spread", spread, "an angle up to pi", above=0, most=np.pi)
        nodes = check.count("nodes", nodes, "32 is a good number")
        x, w = np.polynomial.legendre.leggauss(nodes)
        cosine, sine = np.cos(delta * x), np.sin(delta * x)
        matrices = np.moveaxis(np.array([[cosine, -sine], [sine, cosine]]), -1, 0)
        return cls(matrices, w / w.sum(), None, delta)

    def average(self, function: Function) -> Callable[[Array], Any]:
        """S_pi f of a function of points (..., d) with values (...) or (..., k)."""
        if not callable(function):
            raise ValueError(f"function must be callable, got {function!r}; give a function of x")

        def mean(x: Array) -> Any:
            points = np.asarray(x, dtype=np.float64)
            pairs = zip(self.weights, self.matrices, strict=True)
            return sum(weight * np.asarray(function(points @ m.T)) for weight, m in pairs)

        return mean

    def defect(self, function: Function, matrix: Array, points: Array) -> float:
        """``max |S f(g x) - S f(x)|`` over points (n, d), for the element g given by its matrix."""
        mean, g = self.average(function), self._element(matrix)
        return float(np.abs(mean(points @ g.T) - mean(points)).max())

    def displacement(self, matrix: Array) -> float:
        """``W_1(pi g, pi)`` for the element g given by its matrix, in the spectral norm.

        Times ``L |x|`` it bounds the defect of a function with Lipschitz constant L.

        Raises
        ------
        ValueError
            If the matrix is not orthogonal, or is no rotation where the law is an arc.
        """
        g = self._element(matrix)
        if self.spread is not None:
            if np.linalg.det(g) < 0:
                raise ValueError(
                    f"matrix must be a rotation for an arc, got {g.tolist()}; its group is SO(2)"
                )
            half = 0.5 * float(np.arctan2(g[1, 0], g[0, 0]))
            return float(2 * abs(np.sin(half)) * np.sin(self.spread) / self.spread)
        import ot  # imported here: it is slow to import

        moved = self.matrices @ g
        cost = np.linalg.norm(moved[:, None] - self.matrices[None], ord=2, axis=(2, 3))
        return float(ot.emd2(self.weights, self.weights, cost))

    @overload
    def symmetrise(self, mu: Density) -> Density: ...
    @overload
    def symmetrise(self, mu: Cloud) -> Cloud: ...
    def symmetrise(self, mu: Measure) -> Measure:
        """Lazily symmetrised measure mu^pi.

        Exact for clouds. Exact for densities where a finite group permutes the cells; cell averages
        on a polar grid are exact, too. Elsewhere as in `meanfield_pde.symmetrise`.

        Raises
        ------
        ValueError
            If the law does not act in the measure's dimension.
        LostMassError
            If the moved density leaves its grid.
        """
        check.instance("mu", mu, (Density, Cloud), "symmetrise a measure")
        if isinstance(mu, Density) and mu.grid.symmetric_chart is not None:
            raise ValueError(
                f"mu must be a measure on all of Z to be averaged, got {mu.grid.chart}; lift it"
            )
        dim = mu.grid.dim if isinstance(mu, Density) else mu.dim
        if self.matrices.shape[-1] != dim:
            raise ValueError(
                f"mu must be a measure in dimension {self.matrices.shape[-1]} for this law, got "
                f"dimension {dim}; make the law with GroupLaw.on(group, weights, dim={dim})"
            )
        if isinstance(mu, Cloud):
            moved = np.concatenate([mu.points @ m.T for m in self.matrices])
            return Cloud(moved, np.multiply.outer(self.weights, mu.weights).ravel())
        if self.spread is not None and isinstance(mu.grid.chart, Polar):
            values = mu.values @ _arc_matrix(mu.grid, self.spread)
            return Density(mu.grid, values, mu.remap_error)
        images = None if self.group is None else self.group.cell_images(mu.grid)
        if images is None:
            return average_of_moved(mu, self.matrices, self.weights)
        total = np.zeros(mu.grid.size)
        for weight, image in zip(self.weights, images, strict=True):
            total[image] += weight * mu.values.ravel()
        return Density(mu.grid, total.reshape(mu.grid.shape), mu.remap_error)

    def _element(self, matrix: Array) -> Array:
        g, d = check.array("matrix", matrix, "give an orthogonal matrix"), self.matrices.shape[-1]
        if g.shape != (d, d) or np.abs(g @ g.T - np.eye(d)).max() > 1e-9:
            raise ValueError(
                f"matrix must be an orthogonal {d} x {d} matrix, got {g.tolist()}; give the matrix "
                "by which the element acts"
            )
        return g


def _arc_matrix(grid: Grid, spread: float) -> Array:
    """Share of each cell of a ring (row) in every other (column) after a random turn.

    A turn by s cells leaves the share ``max(0, 1 - |k - s|)`` in the k-th next; its mean over s is
    a difference of antiderivatives.
    """
    n, reach = grid.cells[1], spread / grid.spacing[1]
    offsets: Array = np.arange(-int(reach) - 2.0, int(reach) + 3.0)

    def below(s: Array) -> Array:
        cut = np.clip(s, -1.0, 1.0)
        return np.asarray(0.5 + cut - 0.5 * cut * np.abs(cut))

    share = (below(offsets + reach) - below(offsets - reach)) / (2 * reach)
    ring = np.bincount(offsets.astype(int) % n, share, minlength=n)
    return np.asarray(ring[(np.arange(n)[None, :] - np.arange(n)[:, None]) % n], dtype=np.float64)
