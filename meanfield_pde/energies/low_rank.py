r"""Features at low rank: a few data points stand for all.

The weighted features :math:`A = \sqrt{w} S` (data by cells) of smooth units have low numerical
rank. An interpolative decomposition picks rows J, the skeleton data, with :math:`A \approx X A_J`.
The network's outputs and the potential then cost O(rank (cells + data)) in place of O(data cells).

Only a sketch of A is decomposed, whose columns are signed sums of a few random columns of A. Its
LU factorisation with partial pivoting picks the rows (Dong and Martinsson, "Simpler is better: a
comparative study of randomized pivoting algorithms for CUR and interpolative decompositions",
Adv. Comput. Math. 2023), least squares the matrix, and the error on columns that had no part in
it the rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from meanfield_pde.measures.check import Array

Indices = npt.NDArray[np.int64]

TOLERANCE = 2e-13
"""Error of a skeleton unless another is asked for: rounding."""
SUMMANDS = 8
"""Columns of A in one of the sketch: without sums, a narrow feature is in too few of them."""
UNSEEN = 512
"""Columns on which errors are measured. If all are good, then with 99 % confidence 99 % of A."""
FIRST, LAST = 64, 2048
"""Columns of the smallest and the largest sketch: the last takes some seconds for 10,000 rows."""
MOST_ENTRIES = 2.5e7
"""Entries of the largest sketch (200 MB)."""


@dataclass(frozen=True, eq=False)
class Skeleton:
    r"""Rows J and matrix X with ``A ~ X A_J``.

    ``error`` is the largest remainder among the columns that are looked at, relative to the
    largest column of them (Euclidean norms). On a grid of at most 1024 cells these are all
    columns, else 512 that the decomposition did not see (fewer for more than 48,000 rows). It
    bounds what is left out of the potential there, relative to the largest that residuals of the
    same size can give: for slopes s of the loss at the data the potential at cell K is
    :math:`\sum_i \sqrt{w_i} s_i A_{iK}`, off by at most ``|s| error max_K |A_K|`` with
    :math:`|s|^2 = \sum_i w_i s_i^2`.
    """

    rows: Indices
    matrix: Array
    error: float


def skeleton(
    columns: Callable[[Indices], Array],
    rows: int,
    size: int,
    tolerance: float = TOLERANCE,
    most: float = 0.5,
) -> Skeleton | None:
    """Decompose a matrix (rows, size) that is given by some of its columns.

    Parameters
    ----------
    columns : callable
        Indices (k,) to the columns (rows, k), a new array.
    rows, size : int
    tolerance : float
        Largest error.
    most : float
        Share of the rows above which nothing would be won.

    Returns
    -------
    Skeleton or None
        None where the rank is above that, or too high to be found at a fair cost.
    """
    rng = np.random.default_rng(0)
    order = rng.permutation(size)
    kept = min(UNSEEN, int(MOST_ENTRIES) // rows)
    unseen, pool = (order, order) if size <= 2 * kept else (order[:kept], order[kept:])
    test = columns(unseen)
    largest = min(LAST, rows, size, int(MOST_ENTRIES) // rows)
    count = min(FIRST, largest)
    while count:
        found = _interpolate(_sketch(columns, pool, (rows, count), rng), test, tolerance)
        if found is not None:
            return found if len(found.rows) <= most * rows else None
        count = min(2 * count, largest) if count < largest and count < most * rows else 0
    return None


def _sketch(
    columns: Callable[[Indices], Array],
    pool: Indices,
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> Array:
    """Add columns with random signs, none twice where there are enough of them."""
    few = len(pool) < SUMMANDS * shape[1]
    chosen = rng.choice(pool, (SUMMANDS, shape[1]), replace=few)
    signs = rng.choice([-1.0, 1.0], chosen.shape) / np.sqrt(SUMMANDS)
    total = np.empty(shape)
    for first in range(0, shape[1], FIRST):
        part = slice(first, first + FIRST)
        pairs = zip(chosen[:, part], signs[:, part], strict=True)
        total[:, part] = sum(columns(places) * sign for places, sign in pairs)
    return total


def _interpolate(sketch: Array, test: Array, tolerance: float) -> Skeleton | None:
    """Skeleton of the smallest rank at which the columns to test are within the tolerance."""
    rows, count = sketch.shape
    places, _, _ = scipy.linalg.lu(sketch, p_indices=True, check_finite=False)
    pivots = np.argsort(places)[:count]
    basis, triangle = np.linalg.qr(sketch[pivots].T)
    known = basis.T @ sketch.T
    scale = np.linalg.norm(test, axis=0).max()
    # What the first k rows leave of the sketch (root mean square) is what they leave of A, about.
    squares = np.einsum("ki,ki->k", known, known)
    left = np.sqrt(np.cumsum(squares[::-1])[::-1] / count)
    diagonal = np.abs(np.diag(triangle))
    regular = diagonal > np.finfo(float).eps * diagonal.max()
    most = count if count == rows else int(0.9 * count)  # beyond it errors are those of the sketch
    most = most if regular[:most].all() else int(np.argmin(regular))
    aim, rank = tolerance * scale, 0
    while rank < most:
        rank = min(max(rank + 1, int((left > aim).sum())), most)
        corner, right = triangle[:rank, :rank], known[:rank]
        matrix = scipy.linalg.solve_triangular(corner, right, check_finite=False).T
        remainder = test - matrix @ test[pivots[:rank]]
        error = np.linalg.norm(remainder, axis=0).max()
        if error <= tolerance * scale:
            return Skeleton(pivots[:rank].astype(np.int64), matrix, float(error / scale))
        aim *= min(0.7, tolerance * scale / error)
    return None
