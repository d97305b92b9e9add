"""Distances between measures: transport, kernel mean, and the outputs of a network.

On a line and on a circle the transport is exact for the piecewise constant measure that a density
is. Elsewhere densities become atoms, and `Distance.floor` bounds what that changes. Masses are
divided out, except by `l1`. Arguments that do not fit, or cannot be compared, raise ValueError.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud, Measure
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Coordinates, Grid

LOST = 1e-6  # share of a density's mass that may be dropped before it becomes atoms
PAIRS = 50_000_000  # of atoms in an exact transport: 0.4 GB a matrix, of which it takes several
ITERATIONS = 100_000_000
SNAP = 16 * float(np.finfo(float).eps)  # breaks of quantiles that close are one
CHUNK, MODES = 1_000_000, 4_000_000
REACH = 9.0  # exp(-REACH^2 / 2) is below roundoff

Corners = tuple[Coordinates, Coordinates]


class Distance(float):
    """A number that knows its resolution.

    ``floor`` bounds what replacing densities by atoms changed, 0 where none was replaced. ``lost``
    is the share of mass dropped before that, both sides added: at the very worst it changes W2 by
    ``sqrt(lost)`` times the diameter, and W1 by ``lost`` times the diameter.
    """

    floor: float
    lost: float

    def __new__(cls, value: float, floor: float = 0.0, lost: float = 0.0) -> Distance:
        """Attach the resolution to the number."""
        self = float.__new__(cls, value)
        self.floor, self.lost = float(floor), float(lost)
        return self

    def __repr__(self) -> str:
        return f"Distance({float(self)!r}, floor={self.floor:.3g}, lost={self.lost:.3g})"


@dataclass(frozen=True, eq=False)
class Atoms(Cloud):
    """A cloud for a density on ``grid``: within ``floor`` in W2, dropped cells (``lost``) apart."""

    floor: float = 0.0
    lost: float = 0.0
    grid: Grid | None = None


def l1(mu: Density, nu: Density) -> Distance:
    """``sum_K |K| |rho_K - sigma_K|`` of densities on one grid (else ValueError), of any masses."""
    grids = [one.grid if isinstance(one, Density) else type(one).__name__ for one in (mu, nu)]
    if grids[0] != grids[1] or not isinstance(mu, Density):
        raise ValueError(f"mu and nu must be densities on one grid, got {grids}; use w1 or mmd")
    return Distance(float(np.abs(mu.values - nu.values).sum()) * mu.grid.volume)


def w1(mu: Measure, nu: Measure, *, lost: float = LOST, period: Corners | None = None) -> Distance:
    """Wasserstein distance of order 1; everything as in `w2`."""
    return _transport(1, mu, nu, lost, period)


def w2(mu: Measure, nu: Measure, *, lost: float = LOST, period: Corners | None = None) -> Distance:
    """Wasserstein distance of order 2.

    On a line by quantile functions, in O(n log n). On a circle the same, at the best rotation of
    one quantile function (Delon, Salomon & Sobolevski 2010, SIAM J. Appl. Math. 70, 2239): the cost
    is convex in it, and the zero of the one-sided derivatives is found, kinks included. In higher
    dimension by network simplex (POT) between atoms; on a torus with geodesic distances.

    Parameters
    ----------
    mu, nu : Density or Cloud
        Of one dimension, one mass to 1e-6, and one space; with few enough atoms, see `coarsen`.
    lost : float
        Share of each density's mass that may be dropped, smallest cells first, in dimension >= 2.
    period : pair, optional
        ``(lower, upper)`` of the torus that two clouds live on; densities bring their own.

    Examples
    --------
    >>> w2(Cloud([0.0, 1.0]), Cloud([3.0, 2.0]))
    Distance(2.0, floor=0, lost=0)
    """
    return _transport(2, mu, nu, lost, period)


def coarsen(density: Density, atoms: int, *, lost: float = LOST) -> Atoms:
    """Merge cells into at most ``atoms`` atoms, for a transport that would be too large.

    The smallest cells go first, up to a share ``lost``, and the rest takes over their mass. Blocks
    of 2, 4, 8, ... cells a side then become one atom at their centre of mass, until there are few
    enough. Floor: root of the second moment within the blocks, h^2/12 a cell included.
    """
    if not isinstance(density, Density) or density.mass <= 0:
        raise ValueError(f"density must be a Density with mass, got a {type(density).__name__}")
    atoms = check.count("atoms", atoms, "ask for at least one atom")
    lost = check.number("lost", lost, "it is a share of mass, such as 1e-6", least=0, most=0.5)
    masses, grid = density.masses / density.mass, density.grid
    ranked = np.sort(masses, axis=None)
    cut = ranked[min(int(np.searchsorted(ranked.cumsum(), lost, "right")), ranked.size - 1)]
    # Ties at the cut all stay: the choice is then as symmetric as the density.
    gone = float(masses[masses < cut].sum())
    cells = np.nonzero(masses >= cut)
    places = grid.places if grid.symmetric_chart is None else grid.points
    points, share = places[cells], masses[cells] / (1 - gone)
    centres, weights, floor, side = points, share, grid.floor, 1
    while len(centres) > atoms:
        side *= 2
        blocks = np.ravel_multi_index(tuple(i // side for i in cells), grid.shape)
        block = np.unique(blocks, return_inverse=True)[1]
        weights = np.bincount(block, share).astype(np.float64)
        centres = np.stack([np.bincount(block, share * x) / weights for x in points.T], axis=-1)
        floor = float(np.sqrt(share @ ((points - centres[block]) ** 2).sum(-1) + grid.floor**2))
    return Atoms(centres, weights * density.mass, floor, gone, grid)


def sliced_w2(
    mu: Measure, nu: Measure, directions: int = 64, *, seed: int | None = None
) -> Distance:
    """Root mean square over directions of the W2 distance of the projections.

    In the plane the angles are ``pi k / directions`` and sqrt(2) times the result is at most W2,
    with equality for a translation; above they are random and ``seed`` is required; on a line this
    is `w2`. Densities become atoms at their cell centres, none dropped. Not for a torus.
    """
    directions = check.count("directions", directions, "64 is a good number")
    _, dim = _space(mu, nu, flat=True)
    if dim == 1:
        return w2(mu, nu)
    if dim == 2:
        angles = np.pi * np.arange(directions) / directions
        normals = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    elif seed is None:
        raise ValueError(f"seed must be given in dimension {dim}, got None; pass seed=0")
    else:
        normals = np.random.default_rng(seed).standard_normal((directions, dim))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    a, b, square = _atoms(mu, 0.0), _atoms(nu, 0.0), 0.0
    for normal in normals:
        f, g = (_quantile(Cloud(one.points @ normal, one.weights)) for one in (a, b))
        square += _cost(2, _align(f, g))
    return Distance(np.sqrt(square / directions), a.floor + b.floor, a.lost + b.lost)


def mmd(
    mu: Measure, nu: Measure, bandwidth: float | None = None, *, period: Corners | None = None
) -> Distance:
    """Maximum mean discrepancy with kernel ``exp(-|x - y|^2 / (2 s^2))``, biased (V-statistic).

    In 1D and 2D the sum over pairs is done in O(n) as a sum of squares of Fourier modes, equal to
    it to roundoff and free of cancellation. On a torus that is the kernel summed over its periodic
    images: the Gaussian of the geodesic distance is not positive definite. Above 2D pairs are added
    in chunks, in O(n^2): there the square cancels, is clipped at 0 from no lower than -1e-13, and a
    distance below 1e-7 means 0. Nothing is ever subsampled.

    Densities count at their cell centres; the floor is that of W2 over s. ``bandwidth`` is s, by
    default the root of the trace of the mean of the two covariances; on a torus of length T those
    are ``2 (1 - |E exp(2 pi i x / T)|) (T / 2 pi)^2``, whatever its origin. The rest is as in `w2`.
    """
    torus, dim = _space(mu, nu, period)
    a, b = _atoms(mu, 0.0), _atoms(nu, 0.0)
    if bandwidth is None:
        bandwidth = float(np.sqrt(0.5 * (_variance(a, torus) + _variance(b, torus))))
    s = check.number("bandwidth", bandwidth, "give a positive width of the kernel", above=0)
    points = np.concatenate([a.points, b.points])
    charges = np.concatenate([a.weights / a.mass, -b.weights / b.mass])
    square = _by_modes(points, charges, s, torus) if dim < 3 else _by_pairs(points, charges, s)
    return Distance(np.sqrt(square), (a.floor + b.floor) / s, a.lost + b.lost)


def rmd(mu: Measure, nu: Measure, *, lost: float = LOST) -> Distance:
    """Relative measure distance ``sqrt(W2^2 / (M2(mu) + M2(nu)))`` with ``M2 = 2 E|Z|^2``.

    Maass & Fontbona, arXiv 2405.19995; at most 1. Squared it is 1/2 to roundoff if one of the two
    is a mass at 0, and 0 if both are. Not for a torus, where |Z| has no meaning.
    """
    _, dim = _space(mu, nu, flat=True)
    origin = Cloud(np.zeros((1, dim)), np.array([mu.mass]))
    moments = sum(2 * w2(one, origin, lost=lost) ** 2 for one in (mu, nu))
    distance, scale = w2(mu, nu, lost=lost), np.sqrt(moments) or 1.0
    return Distance(distance / scale, distance.floor / scale, distance.lost)


def model(mu: Measure, nu: Measure, network: Any) -> Distance:
    """``sqrt(sum_i w_i |Phi_mu(x_i) - Phi_nu(x_i)|^2)`` over the data of a network.

    ``network`` has ``predict(mu)`` of shape (n_data, outputs) or (n_data,), and ``data.weights``.
    """
    weights = check.array("data.weights", network.data.weights, "give one weight a datum")
    first = check.array("predict(mu)", network.predict(mu), "check the unit at these parameters")
    second = check.array("predict(nu)", network.predict(nu), "check the unit at these parameters")
    if first.shape != second.shape or first.shape[:1] != weights.shape:
        shapes = f"{first.shape}, {second.shape}, weights {weights.shape}"
        raise ValueError(f"predict must give one row a weight, got {shapes}; predict at all data")
    return Distance(np.sqrt(weights @ ((first - second) ** 2).reshape(len(weights), -1).sum(-1)))


def _space(
    mu: Measure, nu: Measure, period: Corners | None = None, flat: bool = False
) -> tuple[Grid | None, int]:
    """Check that the two can be compared; their torus as a grid of one cell, or None, and dim."""
    for name, one in (("mu", mu), ("nu", nu)):
        if not isinstance(one, Density | Cloud) or one.mass <= 0:
            kind = type(one).__name__
            raise ValueError(f"{name} must be a Density or Cloud with mass, got {kind}; use Cloud")
    dim, other = (one.grid.dim if isinstance(one, Density) else one.dim for one in (mu, nu))
    if dim != other:
        raise ValueError(f"mu and nu must share a dimension, got {dim}, {other}; project one")
    placed = [one.grid if isinstance(one, Density | Atoms) else None for one in (mu, nu)]
    charts = [grid and grid.symmetric_chart for grid in placed]
    if charts[0] != charts[1]:
        raise ValueError(f"mu and nu must share a chart, got {charts}; see mf.lift and sample")
    if abs(mu.mass - nu.mass) > 1e-6 * max(mu.mass, nu.mass):
        raise ValueError(f"mu and nu must share a mass, got {mu.mass}, {nu.mass}; divide by them")
    grids = [grid for grid in placed if grid]
    grids += [Grid.torus(*period, cells=[1] * dim)] if period is not None else []
    tori = {(grid.lower, grid.upper) if grid.periodic else None for grid in grids} or {None}
    if len(tori) > 1 or flat and tori != {None}:
        wanted = "" if flat else " or on one torus"
        raise ValueError(f"mu and nu must be in flat space{wanted}, got {tori}; see period of w2")
    torus = tori.pop()
    return Grid.torus(*torus, cells=[1] * dim) if torus else None, dim


def _atoms(measure: Measure, lost: float) -> Atoms:
    if isinstance(measure, Density):
        return coarsen(measure, measure.grid.size, lost=lost)
    if isinstance(measure, Atoms):
        return measure
    return Atoms(measure.points[measure.weights > 0], measure.weights[measure.weights > 0])


def _transport(p: int, mu: Measure, nu: Measure, lost: float, period: Corners | None) -> Distance:
    lost = check.number("lost", lost, "it is a share of mass, such as 1e-6", least=0, most=0.5)
    torus, dim = _space(mu, nu, period)
    atoms = [one for one in (mu, nu) if isinstance(one, Atoms)]
    if dim == 1:
        f, g = _quantile(mu, torus), _quantile(nu, torus)
        cost = _circle(p, f, g, torus) if torus else _cost(p, _align(f, g))
    else:
        atoms = [_atoms(mu, lost), _atoms(nu, lost)]
        cost = _simplex(p, atoms[0], atoms[1], torus)
    floor, gone = sum(one.floor for one in atoms), sum(one.lost for one in atoms)
    return Distance(cost if p == 1 else np.sqrt(cost), floor, gone)


def _simplex(p: int, mu: Atoms, nu: Atoms, torus: Grid | None) -> float:
    import ot

    if mu.size * nu.size > PAIRS:
        raise ValueError(
            f"mu and nu must have at most {PAIRS} pairs of atoms, got {mu.size} x {nu.size}; use "
            f"coarsen(density, {int(PAIRS**0.5)}) or sliced_w2"
        )
    gaps = (torus.wrap(x - nu.points) if torus else x - nu.points for x in mu.points)
    ground = np.stack([np.linalg.norm(gap, axis=-1) ** p for gap in gaps])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a failure is an error below
        a, b = mu.weights / mu.mass, nu.weights / nu.mass
        cost, log = ot.emd2(a, b, ground, numItermax=ITERATIONS, log=True)
    if log["warning"] is not None:
        raise ValueError(f"the simplex must converge, got: {log['warning']}; use coarsen")
    return max(float(cost), 0.0)


class _Quantile(NamedTuple):
    """Linear in u from ``low`` to ``high`` between two ``breaks``, where it may jump."""

    breaks: Array
    low: Array
    high: Array

    def ends(self, u: Array) -> tuple[Array, Array]:
        """Limits at the left and right end of each interval of u, a refinement of the breaks."""
        k = np.searchsorted(self.breaks, u[:-1], "right") - 1
        start, low, rise = self.breaks[k], self.low[k], self.high[k] - self.low[k]
        width = self.breaks[k + 1] - start
        return low + rise * ((u[:-1] - start) / width), low + rise * ((u[1:] - start) / width)


def _quantile(measure: Measure, torus: Grid | None = None) -> _Quantile:
    if isinstance(measure, Density):
        faces, weights = measure.grid.faces[0], measure.masses
        low, high = faces[:-1], faces[1:]
    else:
        points = measure.points[:, 0]
        if torus:
            points = torus.middle[0] + torus.wrap(points[:, None] - torus.middle[0])[:, 0]
        order = np.argsort(points, kind="stable")
        low = high = points[order]
        weights = measure.weights[order]
    # Extended precision: a million rounded additions would leave slivers between equal breaks.
    total = np.cumsum(weights, dtype=np.longdouble)
    # Cells without mass stay as pieces of no width, which `ends` never meets.
    return _Quantile(np.append(0.0, (total / total[-1]).astype(np.float64)), low, high)


def _align(f: _Quantile, g: _Quantile) -> tuple[Array, ...]:
    """Widths of the common intervals of [0, 1], and f and g at both ends of each.

    Breaks of g within SNAP of one of f become that one: no more than roundoff changes in the cost,
    and equal laws of atoms are equal, not root of roundoff apart.
    """
    right = np.clip(np.searchsorted(f.breaks, g.breaks), 1, len(f.breaks) - 1)
    below, above = f.breaks[right - 1], f.breaks[right]
    near = np.where(g.breaks - below < above - g.breaks, below, above)
    breaks = np.where(np.abs(g.breaks - near) <= SNAP, near, g.breaks)
    u = np.unique(np.concatenate([f.breaks, breaks[(breaks > 0) & (breaks < 1)]]))
    return np.diff(u), *f.ends(u), *_Quantile(breaks, g.low, g.high).ends(u)


def _cost(p: int, aligned: tuple[Array, ...]) -> float:
    """Integral of |f - g|^p, exact on each interval."""
    width, f0, f1, g0, g1 = aligned
    left, right = f0 - g0, f1 - g1
    if p == 2:
        return float(width @ ((left + right) ** 2 + left**2 + right**2)) / 6
    size = np.abs(left) + np.abs(right)
    crossed = (left**2 + right**2) / np.where(size > 0, size, 1.0)
    return float(width @ np.where(left * right >= 0, size, crossed)) / 2


def _circle(p: int, f: _Quantile, g: _Quantile, torus: Grid) -> float:
    """Least cost over the rotations of g: convex, and beyond one turn its slope has a sign."""
    (length,) = torus.spacing

    def rotated(alpha: float) -> tuple[Array, ...]:
        # g(u - alpha), where g(u + 1) = g(u) + length, on an interval around [0, 1].
        turns = np.floor(alpha)
        breaks = np.concatenate([g.breaks[:-1] - 1, g.breaks]) + (alpha - turns)
        shifts = -length * np.repeat([turns + 1, turns], len(g.low))
        return _align(f, _Quantile(breaks, np.tile(g.low, 2) + shifts, np.tile(g.high, 2) + shifts))

    def slope(alpha: float) -> float:
        # As g moves to larger u, its rise counts, and its jumps: from below or from above.
        _, f0, f1, g0, g1 = rotated(alpha)
        left, right = f0 - g0, f1 - g1
        mean = left + right
        if p == 1:
            size = np.abs(left) + np.abs(right)
            mean = np.where(left * right >= 0, np.sign(mean), mean / np.where(size > 0, size, 1.0))
        f_before = np.concatenate([[f1[-1] - length], f1[:-1]])
        g_before = np.concatenate([[g1[-1] - length], g1[:-1]])
        rise = float((g1 - g0) @ mean)
        back = rise + float((np.abs(f_before - g_before) ** p - np.abs(f_before - g0) ** p).sum())
        onward = rise + float((np.abs(f0 - g_before) ** p - np.abs(f0 - g0) ** p).sum())
        return 0.0 if back <= 0 <= onward else min(onward, 0.0) or back

    from scipy.optimize import brentq

    alpha = brentq(slope, -1.5, 1.5, xtol=1e-16, rtol=SNAP / 4, maxiter=1000)
    return _cost(p, rotated(float(alpha)))


def _variance(atoms: Atoms, torus: Grid | None) -> float:
    """Trace of the covariance, or its counterpart on a torus."""
    if torus is None:
        return float(np.trace(atoms.cov()))
    unit = np.array(torus.spacing) / (2 * np.pi)
    mean = atoms.weights @ np.exp(1j * atoms.points / unit) / atoms.mass
    return float(2 * np.maximum(1 - np.abs(mean), 0) @ unit**2)


def _by_modes(points: Array, charges: Array, s: float, torus: Grid | None) -> float:
    """``sum_ij c_i c_j k(x_i - x_j)`` by Poisson summation; flat space is a torus large enough."""
    points = points - 0.5 * (points.min(axis=0) + points.max(axis=0))
    lengths = np.array(torus.spacing) if torus else np.ptp(points, axis=0) + REACH * s
    modes = np.ceil(REACH * lengths / (2 * np.pi * s))
    if np.prod(2 * modes + 1) > MODES:
        raise ValueError(f"bandwidth must be larger for an extent {lengths}, got {s:g}; enlarge it")
    waves = [2 * np.pi / t * np.arange(-m, m + 1) for t, m in zip(lengths, modes, strict=True)]
    power = [np.exp(-0.5 * (s * wave) ** 2) for wave in waves]
    weights = reduce(np.multiply.outer, power) * np.prod(np.sqrt(2 * np.pi) * s / lengths)
    total, rows = np.zeros(weights.shape, dtype=np.complex128), max(1, CHUNK // max(weights.shape))
    for start in range(0, len(points), rows):
        x, c = points[start : start + rows], charges[start : start + rows]
        first, *rest = (np.exp(1j * np.outer(x[:, a], wave)) for a, wave in enumerate(waves))
        total += (first.T * c) @ rest[0] if rest else c @ first
    return float((weights * np.abs(total) ** 2).sum())


def _by_pairs(points: Array, charges: Array, s: float) -> float:
    from scipy.spatial.distance import cdist

    square, rows = 0.0, max(1, CHUNK // len(points))
    for start in range(0, len(points), rows):
        part = slice(start, start + rows)
        kernel = np.exp(cdist(points[part], points, "sqeuclidean") / (-2 * s * s))
        square += float(charges[part] @ kernel @ charges)
    if square < -1e-13:
        raise ArithmeticError(f"the kernel must be positive definite, got a square {square:g}")
    return max(square, 0.0)
