r"""Functions on a plane's cells at low rank along each axis: a few rows and columns stand for all.

Features of smooth units are, as functions of one coordinate of z, combinations of few of them,
whatever the other coordinate and the data: :math:`F(x_i, y_j) \approx \sum_{ab} P_{ia} Q_{jb}
F(x_a, y_b)` with skeleton rows and columns (an interpolative Tucker decomposition; Minster,
Saibaba and Kilmer, SIAM J. Math. Data Sci. 2020). Means and potentials on N cells then cost
O(N a + a b rank) in place of O(N rank), as products of small matrices, and features are only kept
where rows and columns cross.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from meanfield_pde.energies.low_rank import Indices, skeleton
from meanfield_pde.measures.check import Array

Values = Callable[[Indices, Indices], Array]
"""From indices of functions and flat ones of cells to values, shape (functions, cells)."""

FUNCTIONS, LINES = 96, 32
"""Sums of functions, with random signs, and random lines that show the skeleton of an axis."""
MOST = 0.75
"""Share of an axis that its skeleton may have."""
AT_ONCE = 250_000
"""Values held at once (2 MB): they stay in the cache."""
PRODUCT, PASS = 0.1, 0.5
"""Nanoseconds, about, of a multiplication in products of matrices, and of matrix and vector."""


@dataclass(frozen=True, eq=False)
class Places:
    """Cells where a few rows and columns cross, and how values there spread to all cells.

    Parameters
    ----------
    first, second : array (nx, a), (ny, b)
        Interpolation along each axis.
    cells : array (a * b,)
        Flat indices of the cells.
    """

    first: Array
    second: Array
    cells: Indices

    def condense(self, rho: Array) -> Array:
        """Transpose of `spread`: (nx, ny) to (a * b,)."""
        if self._first_axis_first:
            return ((self.first.T @ rho) @ self.second).ravel()
        return np.asarray(self.first.T @ (rho @ self.second)).ravel()

    def spread(self, values: Array) -> Array:
        """Interpolate values (..., a * b) at the places to all cells, (..., nx, ny)."""
        few = values.reshape(*values.shape[:-1], self.first.shape[1], self.second.shape[1])
        if self._first_axis_first:
            return np.asarray(self.first @ (few @ self.second.T))
        return np.asarray((self.first @ few) @ self.second.T)

    def rows(self, values: Array, rows: slice) -> Array:
        """Interpolate values (functions, a * b) to some rows of cells, (functions, cells)."""
        few = values.reshape(len(values), self.first.shape[1], -1)
        return np.asarray(self.first[rows] @ few @ self.second.T).reshape(len(values), -1)

    def seconds(self, functions: int) -> float:
        """Time, about, to condense or spread and to multiply with the functions' values."""
        products = min(self._costs)
        return 1e-9 * (PRODUCT * products + PASS * functions * len(self.cells))

    @property
    def _costs(self) -> tuple[int, int]:
        """Multiplications with the first axis first, and with the second one first."""
        (nx, a), (ny, b) = self.first.shape, self.second.shape
        return a * ny * (nx + b), b * nx * (ny + a)

    @property
    def _first_axis_first(self) -> bool:
        first, second = self._costs
        return first <= second


def places_of(
    values: Values, functions: int, shape: tuple[int, ...], tolerance: float
) -> Places | None:
    """Find rows and columns of a plane that stand for all.

    Parameters
    ----------
    values : callable
        Some functions at some cells.
    functions : int
        How many there are.
    shape : tuple
        Cells a side.
    tolerance : float
        Largest error of an axis, relative to its largest line. Errors of both axes add up and grow
        by the size of the interpolation, and lines are sampled: the whole must be checked
        (`remainder`).

    Returns
    -------
    Places or None
        None where nothing would be won over products with all cells.
    """
    rng = np.random.default_rng(1)
    index = np.arange(np.prod(shape)).reshape(shape)
    found = []
    for axis in (0, 1):
        lines = rng.permutation(shape[1 - axis])[:LINES]
        cells = np.moveaxis(np.take(index, lines, axis=1 - axis), axis, 0)
        sample = _few(values, functions, cells.ravel(), rng).reshape(-1, *cells.shape)
        table = np.moveaxis(sample, 1, 0).reshape(shape[axis], -1)
        one = skeleton(partial(np.take, table, axis=1), *table.shape, tolerance, MOST)
        if one is None:
            return None
        found.append(one)
    cells = index[np.ix_(found[0].rows, found[1].rows)].ravel()
    places = Places(found[0].matrix, found[1].matrix, cells)
    dense = 1e-9 * PASS * functions * index.size
    return places if places.seconds(functions) < 0.7 * dense else None


def remainder(
    values: Values, functions: int, shape: tuple[int, ...], places: Places
) -> tuple[Array, Array]:
    """Euclidean norms over the functions, and of what places leave of them, at every cell."""
    every, index = np.arange(functions), np.arange(np.prod(shape)).reshape(shape)
    few, norms = values(every, places.cells), np.empty((2, *shape))
    piece = max(1, AT_ONCE // (functions * shape[1]))
    for rows in (slice(k, k + piece) for k in range(0, shape[0], piece)):
        exact = values(every, index[rows].ravel())
        for out, part in zip(norms, (exact, places.rows(few, rows) - exact), strict=True):
            out[rows] = np.sqrt(np.einsum("kc,kc->c", part, part)).reshape(-1, shape[1])
    return norms[0].ravel(), norms[1].ravel()


def _few(values: Values, functions: int, cells: Indices, rng: np.random.Generator) -> Array:
    """Functions at some cells, or fewer sums of all of them, so that none is missed."""
    every, piece = np.arange(functions), max(1, AT_ONCE // len(cells))
    if functions <= FUNCTIONS:
        return values(every, cells)
    signs = rng.choice([-1.0, 1.0], (FUNCTIONS, functions)) / np.sqrt(functions)
    total = np.zeros((FUNCTIONS, len(cells)))
    for part in (every[k : k + piece] for k in range(0, functions, piece)):
        total += signs[:, part] @ values(part, cells)
    return total
