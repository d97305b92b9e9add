r"""Tables of a unit of one variable, for more particles than can be put beside all data.

Where :math:`\sigma_*(x; z)` depends on one number b (z = b), or is that times an amplitude (z = (a,
b)), a table writes it as a polynomial in each of many equal cells of the line of b,
:math:`\sigma_i(b) = \sum_q C_{i c q} s^q`, with s from -1 to 1 in cell c. The outputs are then
:math:`\sum_{cq} C_{icq} m_{cq}` with the moments :math:`m_{cq} = \sum_k w_k a_k s_k^q` of the
particles in a cell, and the sum over the data of residuals is the polynomial with coefficients
:math:`\sum_i r_i C_{icq}`: one pass over the particles each. Both use the same C, so the drift is
the exact gradient of the tabulated risk.

A table depends on the range of b alone, rounded outwards, and not on what was asked before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from meanfield_pde.energies import _kernels
from meanfield_pde.energies.data import Data
from meanfield_pde.energies.low_rank import Indices
from meanfield_pde.energies.unit import Unit
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud

TOLERANCE = 1e-10
"""Largest error of a sum over the data and of its slope, relative to the sum of sizes."""
WORTH_TABULATING = 5000
"""Particles from which a table is made."""
CELLS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Numbers of cells that are tried. More than needed would spoil slopes by rounding."""
MAX_ENTRIES = 8e6
"""Entries of a table (64 MB)."""
MAX_TABLES = 4
"""Tables that a risk keeps."""
FARTHEST = 1e100
"""No table reaches farther: particles are on their way out of the range of numbers."""

Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Table:
    """A unit on a range of its variable, for all data.

    Parameters
    ----------
    scaled : bool
        Whether the first of two parameters is an amplitude.
    lower, width : float
        Where the first cell begins, and how wide each is.
    coefficients : array (n, outputs, cells, powers)
    errors, sizes : array (2, n, outputs)
        Largest error, and size, of the value and of the slope of each datum's unit on the range.
    """

    scaled: bool
    lower: float
    width: float
    coefficients: Array
    errors: Array
    sizes: Array

    def take(self, rows: Indices) -> Table:
        """Return the table of some of the data."""
        chosen = self.coefficients[rows], self.errors[:, rows], self.sizes[:, rows]
        return Table(self.scaled, self.lower, self.width, *chosen)

    def outputs(self, cloud: Cloud) -> Array:
        """Return the outputs of a network at the data, shape (n, outputs)."""
        moments = np.empty(self.coefficients.shape[2:])
        points = np.ascontiguousarray(cloud.points)
        _kernels.gather(points, cloud.weights, self.scaled, self.lower, self.width, moments)
        return np.asarray(np.einsum("iqcp,cp->iq", self.coefficients, moments))

    def pullback(self, points: Array, residual: Array) -> Array:
        """Gradient at each point of the sum of residuals (n, outputs) times the unit."""
        polynomials = np.einsum("iq,iqcp->cp", residual, self.coefficients)
        out = np.empty(points.shape)
        points = np.ascontiguousarray(points)
        _kernels.pull(points, polynomials, self.scaled, self.lower, self.width, out)
        return out

    def potential(self, points: Array, residual: Array) -> Array:
        """Sum of residuals (n, outputs) times the unit at each point, shape (m,)."""
        polynomials = np.einsum("iq,iqcp->cp", residual, self.coefficients)
        out = np.empty(len(points))
        points = np.ascontiguousarray(points)
        _kernels.evaluate(points, polynomials, self.lower, self.width, out)
        return points[:, 0] * out if self.scaled else out

    def holds(self, factors: Array, share: float = 1.0) -> bool:
        """Whether sums with these factors (n, outputs) are right to a share of the tolerance."""
        errors, sizes = ((np.abs(factors) * a).sum(axis=(1, 2)) for a in (self.errors, self.sizes))
        return bool((errors <= share * TOLERANCE * sizes).all())


def tabulate(unit: Unit, data: Data, low: float, high: float) -> Table | None:
    """Table of a unit on a range, with as few cells as will do; None where no table will.

    It must be right to a third of the tolerance for the weights of the data: residuals weigh them
    otherwise.
    """
    for cells in CELLS:
        if data.size * data.outputs * cells * _kernels.POWERS > MAX_ENTRIES:
            return None
        with np.errstate(all="ignore"):
            table = _fit(unit, data, low, (high - low) / cells, cells)
            if table.holds(data.weights[:, None], 1 / 3):
                return table
    return None


def _fit(unit: Unit, data: Data, lower: float, width: float, cells: int) -> Table:
    """Interpolate at the Chebyshev nodes of every cell, and measure the errors.

    Slopes are compared where cells meet: there the error of interpolation is largest, and a kink
    shows even if it is on the border itself. Values are compared in the middle of cells, and at
    some of the data, around which alone a narrow bump can hide between the nodes.
    """
    powers = np.arange(_kernels.POWERS)
    nodes = np.cos(np.pi * (powers + 0.5) / len(powers))
    starts = lower + width * np.arange(cells)
    values = _features(unit, data, (starts[:, None] + 0.5 * width * (1 + nodes)).ravel())
    values = values.reshape(data.size, data.outputs, cells, -1)
    coefficients = values @ np.linalg.inv(np.vander(nodes, increasing=True)).T

    some = data.x[:: max(1, data.size // 32), 0]
    some = np.concatenate([some, -some])  # a group may have turned the unit
    inside = (some >= lower) & (some < lower + width * cells)
    probes = np.concatenate([starts + 0.5 * width, some[inside]])
    cell = np.minimum((probes - lower) / width, cells - 1).astype(int)
    s = 2 * (probes - starts[cell]) / width - 1
    found = np.einsum("iqkp,kp->iqk", coefficients[:, :, cell], s[:, None] ** powers)
    error = np.abs(found - _features(unit, data, probes)).max(axis=2)

    ends = coefficients @ (2 / width * powers)
    begins = coefficients @ (2 / width * powers * (-1.0) ** (powers + 1))
    jump = np.abs(ends[:, :, :-1] - begins[:, :, 1:]).max(axis=2)
    sizes = np.abs(values).max(axis=(2, 3)), np.abs(ends).max(axis=2)
    return Table(
        unit.amplitudes == 1, lower, width, coefficients, np.stack([error, jump]), np.stack(sizes)
    )


def _features(unit: Unit, data: Data, places: Array) -> Array:
    """Evaluate the unit of amplitude 1 at places of its variable, shape (n, outputs, places)."""
    one = np.ones((len(places), unit.amplitudes or 0))
    z = np.concatenate([one, places[:, None]], axis=1)
    return np.moveaxis(unit.features(data.x, z), 1, 2)


def table_for(
    unit: Unit, data: Data, cloud: Cloud, kept: dict[Range, Table | None]
) -> Table | None:
    """Return the table for a cloud, kept or new; None where there is none."""
    if unit.amplitudes is None or cloud.dim != 1 + unit.amplitudes:
        return None
    low, high = float(cloud.points[:, -1].min()), float(cloud.points[:, -1].max())
    if max(-low, high) > FARTHEST:
        return None
    key = rounded(low, high)
    if key not in kept:
        if len(kept) >= MAX_TABLES:
            kept.clear()
        kept[key] = tabulate(unit, data, *key)
    return kept[key]


def rounded(low: float, high: float) -> Range:
    """Range rounded outwards to multiples of a power of two, and a little more.

    The more keeps round numbers, where a unit may have a kink, inside the table.
    """
    size = max(high - low, 0.1 * max(abs(low), abs(high))) or 1.0
    step = math.ldexp(0.5, math.frexp(size)[1])
    return (math.floor(low / step) - 0.0625) * step, (math.ceil(high / step) + 0.0625) * step
