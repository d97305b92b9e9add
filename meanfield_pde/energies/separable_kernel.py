r"""Convolutions of a plane with smooth kernels, as a few products of small matrices.

A kernel on the differences of cells that is a sum of few products,
:math:`W(x, y) \approx \sum_r u_r(x) v_r(y)`, acts as :math:`\sum_r T_r \rho S_r^T` with matrices
:math:`T_{r, ii'} = u_r(x_i - x_{i'})`, which for smooth u share a few rows and columns, too:
:math:`T_r \approx P C_r P'^T`. Then a convolution costs O(N a) in place of several transforms of
4 N numbers. Gaussian kernels have one product, quadratic ones two and a = 3. Kernels with kinks or
singularities have too many, and are left to transforms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import cast

import numpy as np

from meanfield_pde.energies.energy import Functional, QuadraticFunctional
from meanfield_pde.energies.low_rank import Indices
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid

TOLERANCE = 5e-15
"""Size of what products and factors leave out, relative to the largest: above rounding."""
SAMPLED = 96
"""Columns of a table, evenly spread, that show which rows stand for all."""
ACCURACY = 1e-13
"""Error of a potential, relative to the largest, with which transforms are replaced."""
MOST_PRODUCTS, MOST_FACTORS = 16, 0.4
"""Products, and factors relative to the cells, beyond which transforms are as fast."""
WORTH_SEPARATING = 8_000
"""Cells from which it pays to look for products."""
SAME = 1e-14
"""Relative difference up to which matrices count as symmetric, with the same rows and columns."""
PROBES = 4
"""Cells, beside the four corners, at which a potential is compared with the sum over all others.

The corners see every difference of two cells, and a potential that is off anywhere by more than
`ACCURACY` in one entry of the kernel is seen there.
"""


@dataclass(frozen=True, eq=False)
class Factors:
    """Matrices ``T_r = spread @ cores[r] @ condense.T`` of one axis."""

    spread: Array
    cores: Array
    condense: Array


@dataclass(frozen=True, eq=False)
class SeparableFunctional(QuadraticFunctional):
    """``1/2 sum |K| |L| W_KL rho_K rho_L`` by factors of both axes."""

    grid: Grid
    first: Factors
    second: Factors

    @property
    def remark(self) -> str:
        """How many products and factors there are."""
        products, a, _ = self.first.cores.shape
        return f"interaction by {products} products of {a} x {self.second.cores.shape[1]} factors"

    def potential(self, rho: Array) -> Array:
        """``sum_L |L| W_KL rho_L``."""
        few = (self.first.condense.T @ rho) @ self.second.condense
        mixed = (self.first.cores @ few @ self.second.cores.transpose(0, 2, 1)).sum(axis=0)
        return np.asarray(self.first.spread @ (self.grid.volume * mixed) @ self.second.spread.T)


def separable(grid: Grid, kernel: Array, mirrored: tuple[int, ...] = ()) -> Functional | None:
    """Write a convolution on a grid as products, or say that it is none.

    Parameters
    ----------
    grid : Grid
        Two-dimensional.
    kernel : array (2 nx - 1, 2 ny - 1)
        W at all differences of cell centres, from the most negative; of the whole space where
        axes are mirrored (4 nx - 1).
    mirrored : tuple of int
        Axes with a mirror at their lower end, along which the kernel must be even: the density
        there is half of an even one of twice its size.

    Returns
    -------
    SeparableFunctional or None
    """
    scale = float(np.abs(kernel).max())
    if grid.dim != 2 or grid.size < WORTH_SEPARATING or not scale:
        return None
    rows, matrix = _few_rows(kernel)
    if len(rows) > MOST_PRODUCTS:
        return None
    axes = []
    for axis, lines in enumerate((matrix.T, kernel[rows])):
        n = grid.cells[axis]
        factors = _factors(np.stack([_matrix(u, n, axis in mirrored) for u in lines]))
        if max(factors.cores.shape[1:]) > MOST_FACTORS * n:
            return None
        axes.append(factors)
    functional = SeparableFunctional(grid, *axes)
    return functional if _accurate(functional, kernel, mirrored) else None


def _matrix(line: Array, n: int, mirrored: bool) -> Array:
    """``T_ij = u(x_i - x_j)``, or its mean over the image of j."""
    middle, cells = len(line) // 2, np.arange(n)
    matrix = line[middle + cells[:, None] - cells]
    if not mirrored:
        return np.asarray(matrix)
    return np.asarray(0.5 * (matrix + line[middle + cells[:, None] + cells + 1]))


def _factors(matrices: Array) -> Factors:
    """Rows and columns that all matrices (r, n, n) share."""
    _, n, _ = matrices.shape
    turned = matrices.transpose(0, 2, 1)
    left, spread = _few_rows(matrices.transpose(1, 0, 2).reshape(n, -1))
    right, condense = left, spread
    if np.abs(matrices - turned).max() > SAME * np.abs(matrices).max():
        right, condense = _few_rows(turned.transpose(1, 0, 2).reshape(n, -1))
    return Factors(spread, np.ascontiguousarray(matrices[:, left[:, None], right]), condense)


def _few_rows(table: Array) -> tuple[Indices, Array]:
    """Rows J and matrix X with ``table ~ X table_J``, judged by some of the columns."""
    from scipy.linalg.interpolative import interp_decomp, reconstruct_interp_matrix

    stride = max(1, table.shape[1] // SAMPLED)
    found = interp_decomp(table[:, ::stride].T.copy(), TOLERANCE, rand=False)
    rank, order, rest = cast("tuple[int, Indices, Array]", found)
    return order[:rank], reconstruct_interp_matrix(order, rest).T


def _accurate(functional: SeparableFunctional, kernel: Array, mirrored: tuple[int, ...]) -> bool:
    """Compare the potential of a rough density with the sum over all cells, at a few of them."""
    grid, rng = functional.grid, np.random.default_rng(0)
    rho = rng.standard_exponential(grid.shape)
    corners = [0, grid.cells[1] - 1, grid.size - grid.cells[1], grid.size - 1]
    chosen = np.concatenate([corners, rng.permutation(grid.size)[:PROBES]])
    found, exact = functional.potential(rho), np.empty(len(chosen))
    for k, cell in enumerate(chosen):
        total = 0.0
        for seen, reverse in _images(np.unravel_index(cell, grid.shape), grid, kernel, mirrored):
            total += float((np.flip(kernel[seen], reverse) * rho).sum()) * grid.volume
        exact[k] = total / 2 ** len(mirrored)
    return bool(np.abs(found.ravel()[chosen] - exact).max() <= ACCURACY * np.abs(exact).max())


def _images(
    cell: Sequence[int], grid: Grid, kernel: Array, mirrored: tuple[int, ...]
) -> Iterator[tuple[tuple[slice, ...], tuple[int, ...]]]:
    """Parts of the kernel that a cell sees all others by, and their images, and axes to flip."""
    sides: list[list[tuple[slice, bool]]] = []
    for axis, (i, n) in enumerate(zip(cell, grid.cells, strict=True)):
        here = kernel.shape[axis] // 2 + int(i)
        sides.append([(slice(here - n + 1, here + 1), True)])
        if axis in mirrored:
            sides[-1].append((slice(here + 1, here + n + 1), False))
    for one, other in product(*sides):
        flipped = tuple(axis for axis, part in enumerate((one, other)) if part[1])
        yield (one[0], other[0]), flipped
