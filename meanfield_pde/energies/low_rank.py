r"""Features at low rank: a few data points stand for all.

The weighted features :math:`A = \sqrt{w} S` (data by cells) of smooth units have low numerical
rank. An interpolative decomposition picks rows J, the skeleton data, with :math:`A \approx X A_J`.
The network's outputs and the potential then cost O(rank (cells + data)) in place of O(data cells).
It is found from a sample of the columns (pivoted QR), its error measured on columns it did not see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import qr, solve_triangular

from meanfield_pde.measures.check import Array

Indices = npt.NDArray[np.int64]

TOLERANCE = 1e-15
"""Diagonal of the triangular factor, relative to its largest entry, at which rows are left out."""
ACCURACY = 1e-13
"""Error up to which a skeleton is taken."""
MOST_WORK = 4e9
"""Rows times squared columns of the largest pivoted QR: some seconds, once for each grid."""
SAMPLES = (128, 512, 2048)
"""Numbers of columns that are looked at in turn, until the rank is below half of them."""


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Rows J and matrix X with ``A ~ X A_J``.

    ``error`` is the largest remainder among columns that the decomposition did not see, relative to
    the largest column of A (Euclidean norms): what is left out of the potential, relative to the
    largest that residuals of the same size can give.
    """

    rows: Indices
    matrix: Array
    error: float


def skeleton(columns: Callable[[Indices], Array], rows: int, size: int) -> Skeleton | None:
    """Decompose a matrix (rows, size) that is given by some of its columns.

    Parameters
    ----------
    columns : callable
        Indices (k,) to the columns (rows, k).
    rows, size : int

    Returns
    -------
    Skeleton or None
        None where the rank is not below half of the rows, and nothing would be won.
    """
    order = np.random.default_rng(0).permutation(size)
    for count in SAMPLES:
        if 2 * count > size or count * count * rows > MOST_WORK:
            return None
        seen, unseen = columns(np.sort(order[:count])), columns(np.sort(order[count : 2 * count]))
        triangle, pivots = qr(seen.T, mode="r", pivoting=True)
        diagonal = np.abs(np.diag(triangle))
        rank = int((diagonal > TOLERANCE * diagonal[0]).sum())
        if rank == 0 or 2 * rank > rows:
            return None
        if 2 * rank > count:
            continue
        matrix = np.empty((rows, rank))
        matrix[pivots[:rank]] = np.eye(rank)
        rest = solve_triangular(triangle[:rank, :rank], triangle[:rank, rank:])
        matrix[pivots[rank:]] = rest.T
        remainder = np.linalg.norm(unseen - matrix @ unseen[pivots[:rank]], axis=0).max()
        scale = np.linalg.norm(unseen, axis=0).max()
        found = Skeleton(pivots[:rank].astype(np.int64), matrix, float(remainder / scale))
        if found.error <= ACCURACY:
            return found
    return None
