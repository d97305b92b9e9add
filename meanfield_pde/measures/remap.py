"""Conservative remap: a density moved by an orthogonal matrix, averaged over the cells of its grid.

``(M # rho)_L = (1/|L|) sum_K |M(K) cap L| rho_K`` with exact overlap areas, so mass and sign are
kept. The overlap of a convex polygon with a box is the sum over its edges of the signed integral of
the edge's height, clamped to the box. The remap smears by one cell (first order in h): it is for
output, never for evolution. On a polar grid rotations and reflections move cells along the angle
alone, and each shares its mass with two neighbours.
"""

from __future__ import annotations

import numpy as np
import scipy

from meanfield_pde.measures.chart import Polar
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import LOST, LostMassError
from meanfield_pde.measures.grid import Grid


def remap_matrix(grid: Grid, matrix: Array) -> scipy.sparse.csr_array:
    """Sparse matrix of the shares of each moved cell (column) that lie in each cell (row).

    Columns sum to 1, or less where a moved cell sticks out of the grid.
    """
    spacing = np.array(grid.spacing)
    signs = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    corners = (signs * spacing) @ matrix.T / spacing  # in units of cells, counterclockwise or not
    if np.linalg.det(matrix) < 0:
        corners = corners[::-1]
    first = np.array([axis[0] for axis in grid.axes])
    centre = (grid.points.reshape(-1, 2) @ matrix.T - first) / spacing
    nearest = np.rint(centre).astype(np.int64)
    reach = np.ceil(np.abs(corners).max(axis=0)).astype(int)
    columns = np.arange(grid.size)
    rows, cols, shares = [], [], []
    for i in range(-reach[0], reach[0] + 1):
        for j in range(-reach[1], reach[1] + 1):
            target = nearest + (i, j)
            inside = ((target >= 0) & (target < grid.cells)).all(axis=1)
            share = _overlap(corners, centre[inside] - target[inside])
            rows.append(np.ravel_multi_index(tuple(target[inside].T), grid.cells))
            cols.append(columns[inside])
            shares.append(np.maximum(share, 0.0))
    entries = np.concatenate(shares), (np.concatenate(rows), np.concatenate(cols))
    return scipy.sparse.csr_array(entries, shape=(grid.size, grid.size))


def remap(grid: Grid, values: Array, matrix: Array, lost: float = LOST) -> Array:
    """Cell averages of the density moved by ``matrix``.

    Raises
    ------
    LostMassError
        If more than the part ``lost`` of the mass leaves the grid.
    ValueError
        On a torus or in 1D, where only the identity and reflections are orthogonal.
    """
    if isinstance(grid.chart, Polar):
        return _turned(grid, values, matrix)
    if grid.periodic or grid.dim != 2:
        raise ValueError(
            f"grid must be a 2D box to remap a density, got a {grid.dim}D "
            f"{'torus' if grid.periodic else 'box'}; there use a group that maps cells to cells "
            "(on a grid centred at 0)"
        )
    moved = remap_matrix(grid, matrix) @ values.ravel()
    left, mass = float(values.sum() - moved.sum()), float(values.sum())
    if left > lost * mass:
        raise LostMassError(
            f"{left / mass:.2g} of the mass leaves the grid under the group (allowed: {lost:g}); "
            "enlarge the grid so that the moved density fits"
        )
    return np.asarray(moved.reshape(grid.shape))


def _turned(grid: Grid, values: Array, matrix: Array) -> Array:
    """Averages over a polar grid's cells of what a matrix turned, or reflected and turned."""
    if np.linalg.det(matrix) < 0:  # M = turn @ diag(1, -1), and the reflection takes phi to -phi
        values = values[:, ::-1]
    cells = np.arctan2(matrix[1, 0], matrix[0, 0]) / grid.spacing[1]
    whole = int(np.floor(cells))
    share = cells - whole
    moved = (1.0 - share) * np.roll(values, whole, axis=1)
    return np.asarray(moved + share * np.roll(values, whole + 1, axis=1))


def _overlap(corners: Array, offset: Array) -> Array:
    """Area of the polygon ``corners + offset`` in the unit cell centred at 0, for each offset."""
    area = np.zeros(len(offset))
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        x0, y0 = (offset + start).T
        x1, y1 = (offset + end).T
        area -= _height_integral(x0, y0, x1, y1)
    return area


def _height_integral(x0: Array, y0: Array, x1: Array, y1: Array) -> Array:
    """Signed integral over x in [-1/2, 1/2] of the edge's height above -1/2, clamped to [0, 1]."""
    a, b = np.clip(x0, -0.5, 0.5), np.clip(x1, -0.5, 0.5)
    slope = np.where(x1 == x0, 0.0, (y1 - y0) / np.where(x1 == x0, 1.0, x1 - x0))
    ya, yb = y0 + slope * (a - x0) + 0.5, y0 + slope * (b - x0) + 0.5
    rise = np.where(yb == ya, 1.0, yb - ya)
    low, high = np.clip(ya, 0.0, 1.0), np.clip(yb, 0.0, 1.0)
    above = np.maximum(yb, 1.0) - np.maximum(ya, 1.0)
    # Ratios of differences: they do not cancel, however little the edge rises.
    mean = ((high - low) * 0.5 * (low + high) + above) / rise
    return np.asarray((b - a) * np.where(yb == ya, low, mean))


def shadow(grid: Grid, values: Array, direction: Array, line: Grid, lost: float = LOST) -> Array:
    """Cell averages on a line of the law of ``direction . z`` for z uniform on each cell.

    Exact: the component of a uniform point of a rectangle is a sum of two uniform numbers.

    Raises
    ------
    LostMassError
        If more than the part ``lost`` of the mass falls beside the line's grid.
    """
    wide, narrow = sorted(0.5 * np.abs(direction * grid.spacing), reverse=True)
    (h,), (n,) = line.spacing, line.cells
    masses = (values * grid.volume).ravel()
    place = (grid.points.reshape(-1, 2) @ direction - line.faces[0][0]) / h
    first = np.floor(place - (wide + narrow) / h).astype(np.int64)
    total = np.zeros(n)
    before = np.zeros(len(place))
    for k in range(1, int(np.ceil(2 * (wide + narrow) / h)) + 2):
        after = _sum_of_uniforms((first + k - place) * h, wide, narrow)
        cell = first + k - 1
        inside = (cell >= 0) & (cell < n)
        total += np.bincount(cell[inside], (masses * (after - before))[inside], n)
        before = after
    left, mass = float(masses.sum() - total.sum()), float(masses.sum())
    if left > lost * mass:
        raise LostMassError(
            f"{left / mass:.2g} of the mass falls beside the grid of the line (allowed: {lost:g}); "
            "enlarge the grid"
        )
    return np.asarray(total / h)


def _sum_of_uniforms(x: Array, wide: float, narrow: float) -> Array:
    """Distribution function of the sum of uniform numbers of [-wide, wide], [-narrow, narrow]."""
    if narrow <= 1e-9 * wide:
        return np.asarray(np.clip(0.5 + 0.5 * x / wide, 0.0, 1.0))
    near = np.minimum(np.abs(x), wide + narrow)  # half of an odd function about 1/2
    flat = 0.5 * np.minimum(near, wide - narrow) / wide
    bend = np.maximum(near - (wide - narrow), 0.0)
    tail = bend / (2 * wide) - bend**2 / (8 * wide * narrow)
    return np.asarray(0.5 + np.sign(x) * (flat + tail))
