r"""A payoff at the cells of two grids: all pairs, or factors of low rank.

A matrix C of values f(x_K, y_L) is never needed but in products with densities. Where it has a low
rank, as smooth payoffs have, a few rows J and columns L of it stand for all, :math:`C \approx X
C_{JL} Y^T`, each from an interpolative decomposition (see `low_rank`), of C and of its transpose.
Nothing but these rows and columns, and a sketch, is ever evaluated.

Both products go through one routine, on arrays that are laid out alike. So the exchange of the
players, f(x, y) to -f(y, x), changes no bit of what each of them sees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from meanfield_pde.energies.low_rank import Indices, Skeleton, skeleton
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.order_free import folded_sum

WORTH = 0.5
"""Multiplications with factors, as a part of those with the whole matrix, up to which they pay."""
MOST_ENTRIES = 2**25
"""Entries of the largest matrix that is held (two copies of 256 MB)."""

Entries = Callable[[Indices, Indices], Array]
"""Indices of cells (n,) and (m,) to the values at all pairs, shape (n, m)."""


class PayoffMatrix(ABC):
    """A payoff at the cells of two grids; densities are arrays of the grids' shapes."""

    grid: Grid
    other: Grid

    @abstractmethod
    def first(self, q: Array) -> Array:
        """First variation in the first law, ``int f(x, y) q(y) dy`` at the cells of its grid."""

    @abstractmethod
    def second(self, p: Array) -> Array:
        """First variation in the second law, ``int f(x, y) p(x) dx`` at the cells of its grid."""

    @abstractmethod
    def factors(self) -> tuple[Array, Array]:
        """Arrays (n, r) and (m, r) with the matrix of all pairs ``left @ right.T``."""

    @property
    def remark(self) -> str:
        """How products are computed, in words."""
        return "all pairs of cells are held"

    def value(self, p: Array, q: Array) -> float:
        """Return the expected payoff: the mean of both orders, which are apart by rounding."""
        by_first = folded_sum(p * self.first(q)) * self.grid.volume
        by_second = folded_sum(q * self.second(p)) * self.other.volume
        return 0.5 * (by_first + by_second)


@dataclass(frozen=True, eq=False)
class DenseMatrix(PayoffMatrix):
    """Payoff at all pairs of cells, shape (n, m), and its transpose."""

    grid: Grid
    other: Grid
    matrix: Array
    transpose: Array

    @classmethod
    def of(cls, grid: Grid, other: Grid, matrix: Array) -> DenseMatrix:
        """Lay out a matrix both ways."""
        return cls(grid, other, np.ascontiguousarray(matrix), np.ascontiguousarray(matrix.T))

    def first(self, q: Array) -> Array:
        """``int f(x, y) q(y) dy``."""
        return _product([self.matrix], q, self.other, self.grid)

    def second(self, p: Array) -> Array:
        """``int f(x, y) p(x) dx``."""
        return _product([self.transpose], p, self.grid, self.other)

    def factors(self) -> tuple[Array, Array]:
        """Return the matrix, or its transpose, beside the identity."""
        n, m = self.matrix.shape
        return (np.eye(n), self.transpose) if n < m else (self.matrix, np.eye(m))


@dataclass(frozen=True, eq=False)
class LowRankMatrix(PayoffMatrix):
    """Factors: C = left core right^T; ``up`` and ``down`` are the chains that products run through.

    Make one with `of`, which lays the factors out both ways.
    """

    grid: Grid
    other: Grid
    down: tuple[Array, ...]
    up: tuple[Array, ...]

    @classmethod
    def of(
        cls, grid: Grid, other: Grid, left: Array, right: Array, core: Array | None = None
    ) -> LowRankMatrix:
        """Take factors (n, r), (m, s) and a core (r, s), the identity where it is left out."""
        down = [left, right.T] if core is None else [left, core, right.T]
        up = [right, left.T] if core is None else [right, core.T, left.T]
        chains = [tuple(np.ascontiguousarray(a) for a in chain) for chain in (down, up)]
        return cls(grid, other, *chains)

    @property
    def remark(self) -> str:
        """How products are computed, in words."""
        return f"the payoff has rank {min(len(self.down[-1]), len(self.up[-1]))}"

    def first(self, q: Array) -> Array:
        """``int f(x, y) q(y) dy``."""
        return _product(self.down, q, self.other, self.grid)

    def second(self, p: Array) -> Array:
        """``int f(x, y) p(x) dx``."""
        return _product(self.up, p, self.grid, self.other)

    def factors(self) -> tuple[Array, Array]:
        """Return the factors, the core multiplied to the first."""
        left = self.down[0] if len(self.down) == 2 else self.down[0] @ self.down[1]
        return left, self.up[0]


def matrix_of(grid: Grid, other: Grid, entries: Entries) -> PayoffMatrix:
    """Matrix of a payoff that is given by its entries, of low rank where that pays.

    Raises
    ------
    ValueError
        If it has no low rank and too many entries to be held.
    """
    n, m = grid.size, other.size
    rows, columns = np.arange(n), np.arange(m)
    held = None
    if n * m <= MOST_ENTRIES:  # a sketch takes many columns, more than once
        held = DenseMatrix.of(grid, other, entries(rows, columns))

    def of_second(few: Indices) -> Array:
        return entries(rows, few) if held is None else held.matrix[:, few]

    def of_first(few: Indices) -> Array:
        return np.ascontiguousarray(
            entries(few, columns).T if held is None else held.transpose[:, few]
        )

    across: Skeleton | None = skeleton(of_second, n, m)
    along = None if across is None else skeleton(of_first, m, n)
    if across is not None and along is not None:
        r, s = len(across.rows), len(along.rows)
        if n * r + r * s + s * m <= WORTH * n * m:
            core = entries(across.rows, along.rows)
            return LowRankMatrix.of(grid, other, across.matrix, along.matrix, core)
    if held is None:
        raise ValueError(
            f"payoff must be of low rank on grids of {n} and {m} cells, got one whose {n * m} "
            "values would have to be held; take coarser grids, or mf.ProductPayoff"
        )
    return held


def _product(
    chain: tuple[Array, ...] | list[Array], rho: Array, source: Grid, target: Grid
) -> Array:
    """Product of a chain of matrices with the masses of cells."""
    found = rho.ravel() * source.volume
    for matrix in reversed(chain):
        found = matrix @ found
    return np.asarray(found.reshape(target.shape))
