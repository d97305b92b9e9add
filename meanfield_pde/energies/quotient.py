r"""Interactions on a quotient: ``1/2 int int W`` of the invariant law that a density stands for.

The kernel is averaged over orbits, :math:`\bar W(s, s') = \int W(z - g z') d\lambda(g)`. Behind
mirrors that is the convolution of the even extension, which is diagonal in cosines (the discrete
cosine transform of type 2), at a fourth of the cost of the whole plane; on the radius it is a
matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import fft

from meanfield_pde.energies.charted import gegenbauer
from meanfield_pde.energies.energy import QuadraticFunctional
from meanfield_pde.measures import check
from meanfield_pde.measures.chart import Mirrors, Radius
from meanfield_pde.measures.check import Array, Function
from meanfield_pde.measures.grid import Grid

MOST_ANGLES = 1024
ACCURACY = 1e-11
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
            symbol = np.asarray(fft.fftn(self.kernel).real)
        else:
            symbol = np.asarray(fft.fft(fft.rfft(self.kernel, axis=self._other), axis=mirrored[0]))
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
            change = fft.dct(change, type=2, n=lengths[axis] // 2, axis=axis)
        if len(axes) == self.grid.dim:
            change = change * self._transform
        else:
            other, length = self._other, lengths[self._other]
            waves = fft.rfft(change, length, axis=other) * self._transform
            change = _kept(fft.irfft(waves, length, axis=other), other, cells)
        for axis in axes:
            change = _kept(fft.idct(change, type=2, axis=axis, overwrite_x=True), axis, cells)
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
    """Raise ValueError unless a kernel is even in each axis with a mirror."""
    for axis in axes:
        gap = np.abs(kernel - np.roll(np.flip(kernel, axis), 1, axis)).max()
        if gap > 1e-10 * (1 + np.abs(kernel).max()):
            raise ValueError(
                f"interaction must be even along axis {axis}, where the chart has a mirror, got "
                f"values {gap:.2g} apart; solve in the whole space"
            )


def radial_matrix(function: Function, grid: Grid) -> Array:
    """Means over all angles of W between spheres of any two radii of a grid.

    Raises
    ------
    ValueError
        If W is not a function of the distance, or too rough near 0 for a rule of angles.
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
    radii, count = grid.axes[0], 16
    some = np.unique(np.linspace(0, len(radii) - 1, 24).astype(int))
    means = _angular_means(function, chart.dim, radii[some], count)
    while count < MOST_ANGLES:
        count *= 2
        again = _angular_means(function, chart.dim, radii[some], count)
        if np.abs(again - means).max() <= ACCURACY * (1 + np.abs(again).max()):
            return _angular_means(function, chart.dim, radii, count // 2)
        means = again
    raise ValueError(
        f"interaction must be smooth enough for its mean over angles, got no two alike up to "
        f"{count} angles; kernels that are singular or have a kink at 0 need the whole space"
    )


def _angular_means(function: Function, dim: int, radii: Array, count: int) -> Array:
    cosines, weights = gegenbauer(dim, count)
    matrix = np.empty((len(radii), len(radii)))
    size = max(1, CHUNK // (len(radii) * count))
    for rows in (slice(k, k + size) for k in range(0, len(radii), size)):
        r, s = radii[rows, None, None], radii[None, :, None]
        distance = np.sqrt(np.maximum((r - s) ** 2 + 2 * r * s * (1 - cosines), 0.0))
        places = np.zeros((*distance.shape, dim))
        places[..., 0] = distance
        matrix[rows] = check.evaluate("interaction", function, places) @ weights
    return 0.5 * (matrix + matrix.T)
