r"""Functions on a plane's cells at low rank along each axis: a few rows and columns stand for all.

Features of smooth units are, as functions of one coordinate of z, combinations of few of them,
whatever the other coordinate and the data: :math:`F(x_i, y_j) \approx \sum_{ab} P_{ia} Q_{jb}
F(x_a, y_b)` with skeleton rows and columns (an interpolative Tucker decomposition; Minster,
Saibaba and Kilmer, SIAM J. Math. Data Sci. 2020). Means and potentials on N cells then cost
O(N a + a b rank) in place of O(N rank), as products of small matrices, and features are only ever
evaluated where rows and columns cross.
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
UNSEEN = 512
"""Cells, drawn at random, at which the whole is checked."""
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

    def at(self, values: Array, cells: Indices) -> Array:
        """Interpolate values (functions, a * b) to some cells, (functions, cells)."""
        i, j = np.divmod(cells, len(self.second))
        pairs = self.first[i][:, :, None] * self.second[j][:, None, :]
        return np.asarray(values @ pairs.reshape(len(cells), -1).T)

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
        by the size of the interpolation, and functions and lines are sampled: the whole must be
        checked (`Places.at`).

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
        sample = _few(values(np.arange(functions), cells.ravel()), rng)
        sample = sample.reshape(len(sample), *cells.shape)
        table = np.moveaxis(sample, 1, 0).reshape(shape[axis], -1)
        one = skeleton(partial(np.take, table, axis=1), *table.shape, tolerance, MOST)
        if one is None:
            return None
        found.append(one)
    cells = index[np.ix_(found[0].rows, found[1].rows)].ravel()
    places = Places(found[0].matrix, found[1].matrix, cells)
    dense = 1e-9 * PASS * functions * index.size
    return places if places.seconds(functions) < 0.7 * dense else None


def _few(sample: Array, rng: np.random.Generator) -> Array:
    """Functions (functions, cells), or fewer sums of all of them, so that none is missed."""
    if len(sample) <= FUNCTIONS:
        return sample
    signs = rng.choice([-1.0, 1.0], (FUNCTIONS, len(sample)))
    return np.asarray(signs @ sample / np.sqrt(len(sample)))
