"""Sets of points of the line as rows of an array, for units that take sets (`SetUnit`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.group import Group


def rows_of_sets(sets: Iterable[Any]) -> Array:
    """Return sets as rows (u_1 ... u_n, w_1 ... w_n): points, and weights 1/k or 0.

    Parameters
    ----------
    sets : iterable of array (k,)
        Points of each set; k may differ from set to set. Points may be repeated.

    Returns
    -------
    array (sets, 2 n)
        With n the size of the largest set; the points that others lack are 0, of weight 0.

    Raises
    ------
    ValueError
        If there is no set, or one is empty, not a list of numbers, or not finite.

    Examples
    --------
    >>> rows_of_sets([[3.0], [1.0, 2.0]]).tolist()
    [[3.0, 0.0, 1.0, 0.0], [1.0, 2.0, 0.5, 0.5]]
    """
    remedy = "give a list of points for each set"
    found = [check.array(f"sets[{k}]", points, remedy) for k, points in enumerate(sets)]
    for k, points in enumerate(found):
        if points.ndim != 1 or not points.size:
            raise ValueError(
                f"sets[{k}] must be points of the line, at least one, got shape {points.shape}; "
                f"{remedy}"
            )
    if not found:
        raise ValueError(f"sets must hold at least one set, got none; {remedy}")
    most = max(points.size for points in found)
    rows = np.zeros((len(found), 2 * most))
    for row, points in zip(rows, found, strict=True):
        row[: points.size] = points
        row[most : most + points.size] = 1.0 / points.size
    return rows


def point_permutations(n: int, dim: int = 2) -> Group:
    """All permutations of the n points of a row of `rows_of_sets`; parameters stay where they are.

    Parameters
    ----------
    n : int
        Size of the largest set, at most 6.
    dim : int
        Dimension of the parameters.

    Examples
    --------
    >>> G = point_permutations(3)
    >>> G.order, G.on_x(6).shape, bool((G.on_z(2) == np.eye(2)).all())
    (6, (6, 6, 6), True)
    """
    dim = check.count("dim", dim, "the dimension of the parameters")
    group = Group.permutation(n)
    return group.acting(x=lambda p: np.kron(np.eye(2), p), z=lambda p: np.eye(dim))
