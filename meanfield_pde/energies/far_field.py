r"""Sums over all pairs of points of the line, :math:`\sum_j w_j W(z_i - z_j)`, for many points.

The line is cut into equal cells. Between two cells, W is interpolated at Chebyshev nodes in both
points, so that the points of a cell act through as many charges as there are nodes, and what they
feel is a polynomial in each cell. Cells are equal: what nodes of one do to those of another depends
on how many cells they are apart, and the sum over cells is a convolution. One pass over the points
gathers, another evaluates.

A kernel with a kink, or with features narrower than the smallest cells, is not interpolated:
`far_field` measures the error at all distances in cells and finds none. What it finds depends on
the range and the number of the points alone, both rounded, and not on what was asked before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from meanfield_pde.energies import _kernels
from meanfield_pde.energies.tabulated import FARTHEST, rounded
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud

TOLERANCE = 1e-12
"""Largest error of the kernel and of its slope, relative to their largest values on the range."""
CELLS = tuple(2**k for k in range(2, 13))
"""Numbers of cells that are tried; more than needed would spoil slopes by rounding."""
LEAST, SHARE = 256, 8
"""Up to so many cells are tried for any cloud, and one for so many points of a large one."""
MAX_KEPT = 4
"""Ranges that an interaction keeps."""

_NODES = np.cos(np.pi * (np.arange(_kernels.POWERS) + 0.5) / _kernels.POWERS)
_LAGRANGE = np.linalg.inv(np.vander(_NODES, increasing=True))
"""Coefficients (powers, nodes) of the polynomials that are 1 at one node and 0 at the others."""

Key = tuple[float, float, int]
"""Range of points, and the most cells that are worth while for so many of them."""
Kernel = Callable[[Array], Array]
"""From differences (...) to values (...)."""


@dataclass(frozen=True, eq=False)
class FarField:
    """A kernel and its slope on a range of the line.

    Parameters
    ----------
    lower, width : float
        Where the first cell begins, and how wide each is.
    cells : int
    transforms : array (2, frequencies, nodes, nodes)
        Of the kernel, and of its slope, between nodes of cells so many cells apart.
    """

    lower: float
    width: float
    cells: int
    transforms: npt.NDArray[np.complex128]

    def potential(self, targets: Array, cloud: Cloud) -> Array:
        """``sum_j w_j W(z_i - z_j)`` at targets (n, 1), shape (n,)."""
        return self._sum(0, targets, cloud)

    def slope(self, targets: Array, cloud: Cloud) -> Array:
        """``sum_j w_j W'(z_i - z_j)`` at targets (n, 1), shape (n,)."""
        return self._sum(1, targets, cloud)

    def _sum(self, which: int, targets: Array, cloud: Cloud) -> Array:
        moments = np.empty((self.cells, _kernels.POWERS))
        points, targets = np.ascontiguousarray(cloud.points), np.ascontiguousarray(targets)
        _kernels.gather(points, cloud.weights, False, self.lower, self.width, moments)
        length = 2 * self.cells
        charges = scipy.fft.rfft(moments @ _LAGRANGE, length, axis=0)
        felt = np.einsum("fij,fj->fi", self.transforms[which], charges)
        polynomials = scipy.fft.irfft(felt, length, axis=0)[: self.cells] @ _LAGRANGE.T
        out = np.empty(len(targets))
        _kernels.evaluate(targets, np.ascontiguousarray(polynomials), self.lower, self.width, out)
        return out


def far_field(kernel: Kernel, slope: Kernel, low: float, high: float, most: int) -> FarField | None:
    """Interpolate a kernel on a range with as few cells as will do; None where ``most`` do not.

    None, too, where the kernel or its slope is refused: sums over pairs then say why.
    """
    for cells in (number for number in CELLS if number <= most):
        width = (high - low) / cells
        try:
            with np.errstate(all="ignore"):
                value, force = _blocks(kernel, width, cells), _blocks(slope, width, cells)
        except ValueError:
            return None
        if value is not None and force is not None:
            spectra = scipy.fft.rfft(np.stack([value, force]), axis=1)
            return FarField(low, width, cells, spectra)
    return None


def _blocks(kernel: Kernel, width: float, cells: int) -> Array | None:
    """Kernel between the nodes of cells 0, 1, ... and, from the end, -1, -2, ... cells apart.

    None where it is not interpolated well enough at one of the `_probes`. The entry half way, which
    no cell reads, is 0.
    """
    apart = np.rint(scipy.fft.fftfreq(2 * cells, 0.5 / cells))
    half = 0.5 * width
    values = kernel(width * apart[:, None, None] + half * (_NODES[:, None] - _NODES))
    ends = _probes(apart)
    rows, columns = (_basis(end) for end in ends)
    found = np.einsum("cpi,cij,cpj->cp", rows, values, columns, optimize=True)
    exact = kernel(width * apart[:, None] + half * (ends[0] - ends[1]))
    values[cells] = 0.0
    error, size = np.abs(np.delete(found - exact, cells, axis=0)).max(), np.abs(values).max()
    return values if error <= TOLERANCE * size else None


def _probes(apart: Array) -> tuple[Array, Array]:
    """Places in two cells so many cells apart: corners, middles, some at random, some very near.

    Within a cell and between neighbours, where a kernel may have features at all scales, distances
    go down to those of points next to each other.
    """
    rng = np.random.default_rng(0)
    shape = len(apart), 12
    first, second = rng.uniform(-1, 1, shape), rng.uniform(-1, 1, shape)
    first[:, :6], second[:, :6] = [-1, -1, 1, 1, 0, 0.5], [-1, 1, -1, 1, 0, 0.5]
    scales = 0.5 ** np.arange(1, 31)
    near = np.concatenate([np.zeros(30), np.zeros(30)]), np.concatenate([scales, -scales])
    more = [np.zeros((len(apart), 60)), np.zeros((len(apart), 60))]
    for end, places in zip(more, near, strict=True):
        end[apart == 0] = places
    for sign in (-1, 1):
        more[0][apart == sign] = -sign * (1 - near[1] ** 2)
        more[1][apart == sign] = sign
    return np.concatenate([first, more[0]], axis=1), np.concatenate([second, more[1]], axis=1)


def _basis(places: Array) -> Array:
    """Lagrange polynomials of the nodes at places (..., p), shape (..., p, nodes)."""
    return np.asarray(places[..., None] ** np.arange(_kernels.POWERS) @ _LAGRANGE)


def far_field_for(
    kernel: Kernel, slope: Kernel, cloud: Cloud, kept: dict[Key, FarField | None]
) -> FarField | None:
    """Return the interpolation for a cloud, kept or new; None where there is none."""
    low, high = float(cloud.points.min()), float(cloud.points.max())
    if max(-low, high) > FARTHEST:
        return None
    most = max(LEAST, 2 ** int(np.log2(cloud.size / SHARE)))
    key = (*rounded(low, high), most)
    if key not in kept:
        if len(kept) >= MAX_KEPT:
            kept.clear()
        kept[key] = far_field(kernel, slope, *key)
    return kept[key]
