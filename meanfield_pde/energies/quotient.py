r"""Interactions on a quotient: ``1/2 int int W`` of the invariant law that a density stands for.

The kernel is averaged over orbits, :math:`\bar W(s, s') = \int W(z - g z') d\lambda(g)`. Behind
mirrors that is the convolution of the even extension, which is diagonal in cosines (the discrete
cosine transform of type 2), at a fourth of the cost of the whole plane; on the radius it is a
matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy

from meanfield_pde.energies.charted import gegenbauer
from meanfield_pde.energies.energy import QuadraticFunctional
from meanfield_pde.measures import check
from meanfield_pde.measures.chart import Mirrors, Radius
from meanfield_pde.measures.check import Array, Function
from meanfield_pde.measures.grid import Grid

MOST_ANGLES = 1024
ACCURACY = 1e-11
NODES = (10, 14)
"""Nodes of an interval of angles in a graded rule, and in the one that it is checked by."""
DEEP = 120
"""Times that the interval of angles is halved where both radii are equal."""
CHUNK = 2_000_000
"""Pairs of radii and angles handled at once."""


@dataclass(frozen=True, eq=False)
class MirroredFunctional(QuadraticFunctional):
    """Convolution behind mirrors.

    Parameters
    ----------
    grid : Grid
        With a chart of `Mirrors`.
    kernel : array
        W at all differences of cell centres of the whole space: 0 at index 0, negative ones from
        the end; an axis with a mirror has four times the cells of the grid.
    """

    grid: Grid
    kernel: Array
    _transform: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mirrored = list(self._axes)
        if len(mirrored) == self.grid.dim:
            symbol = np.asarray(scipy.fft.fftn(self.kernel).real)
        else:
            waves = scipy.fft.rfft(self.kernel, axis=self._other)
            symbol = np.asarray(scipy.fft.fft(waves, axis=mirrored[0]))
        half = tuple(
            slice(self.kernel.shape[a] // 2) if a in mirrored else slice(None)
            for a in range(self.grid.dim)
        )
        share = self.grid.volume / 2 ** len(mirrored)
        object.__setattr__(self, "_transform", np.ascontiguousarray(symbol[half] * share))

    @property
    def _axes(self) -> tuple[int, ...]:
        chart = self.grid.chart
        assert isinstance(chart, Mirrors)
        return chart.axes

    @property
    def _other(self) -> int:
        return 1 - self._axes[0]

    def potential(self, rho: Array) -> Array:
        """Mean over the orbit of ``W * rho``."""
        axes, cells, lengths = self._axes, self.grid.cells, self.kernel.shape
        change = rho
        # Axis by axis, so that rows of padding are neither transformed nor brought back.
        for axis in reversed(axes):
            change = scipy.fft.dct(change, type=2, n=lengths[axis] // 2, axis=axis)
        if len(axes) == self.grid.dim:
            change = change * self._transform
        else:
            other, length = self._other, lengths[self._other]
            waves = scipy.fft.rfft(change, length, axis=other) * self._transform
            change = _kept(scipy.fft.irfft(waves, length, axis=other), other, cells)
        for axis in axes:
            change = _kept(scipy.fft.idct(change, type=2, axis=axis, overwrite_x=True), axis, cells)
        return np.ascontiguousarray(change)


def _kept(values: Array, axis: int, cells: tuple[int, ...]) -> Array:
    """Leave the padding of an axis out."""
    return values[: cells[0]] if axis == 0 else values[:, : cells[1]]


@dataclass(frozen=True, eq=False)
class MatrixFunctional(QuadraticFunctional):
    """``1/2 sum |K| |L| W_KL rho_K rho_L`` on a line, with a symmetric matrix."""

    grid: Grid
    matrix: Array

    def potential(self, rho: Array) -> Array:
        """``sum_L |L| W_KL rho_L``."""
        return np.asarray(self.matrix @ rho) * self.grid.volume


def require_even(kernel: Array, axes: tuple[int, ...]) -> None:
    """Raise ValueError unless a kernel at all differences is even in each axis with a mirror."""
    for axis in axes:
        gap = np.abs(kernel - np.flip(kernel, axis)).max()
        if gap > 1e-10 * (1 + np.abs(kernel).max()):
            raise ValueError(
                f"interaction must be even along axis {axis}, where the chart has a mirror, got "
                f"values {gap:.2g} apart; solve in the whole space"
            )


def radial_matrix(function: Function, grid: Grid) -> Array:
    """Means over all angles of W between spheres of any two radii of a grid.

    Gauss's rule for the angle where it settles; for kernels with a kink or a singularity at 0 rules
    on intervals of the angle that halve towards 0. For ``log |z|`` in the plane the mean is
    ``log max(r, s)`` (Newton).

    Raises
    ------
    ValueError
        If W is not a function of the distance, or not integrable over spheres.
    """
    chart = grid.chart
    assert isinstance(chart, Radius)
    probe = np.random.default_rng(0).standard_normal((16, chart.dim))
    flat = chart.place(chart.reduce(probe))
    here, there = (check.evaluate("interaction", function, z) for z in (probe, flat))
    if np.abs(here - there).max() > 1e-10 * (1 + np.abs(here).max()):
        raise ValueError(
            f"interaction must depend on |z - z'| alone on the radius, got values "
            f"{np.abs(here - there).max():.2g} apart; solve in the whole space"
        )
    radii = grid.nodes[:, 0]
    some = radii[np.unique(np.linspace(0, len(radii) - 1, 24).astype(int))]
    if (count := _settled_count(function, chart.dim, some)) is not None:
        return _means(function, chart.dim, radii, _angles(chart.dim, count))
    few, many = (_graded_means(function, chart.dim, some, nodes) for nodes in NODES)
    if not _alike(few, many):
        raise ValueError(
            "interaction must be integrable over spheres, got means over angles that do not "
            f"settle (apart by {np.abs(few - many).max():.2g}); solve in the whole space, or take "
            "a kernel that is less singular at 0"
        )
    return _graded_means(function, chart.dim, radii, NODES[0])


def _settled_count(function: Function, dim: int, radii: Array) -> int | None:
    """Angles by Gauss's rule that give the means between some radii; None for rough kernels."""
    with np.errstate(all="ignore"):
        if not np.isfinite(np.asarray(function(np.zeros((1, dim))))).all():
            return None
    count = 16
    means = _means(function, dim, radii, _angles(dim, count))
    while count < MOST_ANGLES:
        again = _means(function, dim, radii, _angles(dim, 2 * count))
        if _alike(means, again):
            return count
        means, count = again, 2 * count
    return None


def _alike(means: Array, again: Array) -> bool:
    return bool(np.abs(again - means).max() <= ACCURACY * (1 + np.abs(again).max()))


def _angles(dim: int, count: int) -> tuple[Array, Array]:
    """Gauss's rule of the angle a between two directions: 1 - cos a, and weights."""
    cosines, weights = gegenbauer(dim, count)
    return 1.0 - cosines, weights


def _graded_angles(dim: int, nodes: int, levels: int) -> tuple[Array, Array]:
    """Rules on intervals that halve towards 0: 1 - cos a, and weights."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    ends = np.pi * np.append(0.0, 0.5 ** np.arange(levels, -1.0, -1.0))
    half = 0.5 * np.diff(ends)[:, None]
    angles = (ends[:-1, None] + half * (1.0 + x)).ravel()
    weights = (half * w).ravel() * np.sin(angles) ** (dim - 2)
    return 2.0 * np.sin(0.5 * angles) ** 2, weights / weights.sum()


def _graded_means(function: Function, dim: int, radii: Array, nodes: int) -> Array:
    """Means that are singular at angle 0 where both radii are equal, and nearly so beside."""
    apart = np.abs(radii[:, None] - radii + np.diag(np.full(len(radii), np.inf))).min()
    levels = int(np.ceil(np.log2(radii.max() / apart))) + 4
    matrix = _means(function, dim, radii, _graded_angles(dim, nodes, levels))
    gaps, weights = _graded_angles(dim, nodes, DEEP)
    places = np.zeros((len(radii), len(gaps), dim))
    places[..., 0] = radii[:, None] * np.sqrt(2 * gaps)
    np.fill_diagonal(matrix, check.evaluate("interaction", function, places) @ weights)
    return matrix


def _means(function: Function, dim: int, radii: Array, rule: tuple[Array, Array]) -> Array:
    gaps, weights = rule
    matrix = np.empty((len(radii), len(radii)))
    size = max(1, CHUNK // (len(radii) * len(gaps)))
    for rows in (slice(k, k + size) for k in range(0, len(radii), size)):
        r, s = radii[rows, None, None], radii[None, :, None]
        distance = np.sqrt((r - s) ** 2 + 2 * r * s * gaps)
        places = np.zeros((*distance.shape, dim))
        places[..., 0] = distance
        matrix[rows] = check.evaluate("interaction", function, places) @ weights
    return 0.5 * (matrix + matrix.T)
