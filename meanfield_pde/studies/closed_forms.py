r"""Flows in closed form: quadratic wells with kernels of |z|^2, |z| and log |z|.

With :math:`V = k |z|^2 / 2 + p \cdot z` and :math:`W = a |z|^2 / 2 + b |z| + c \log |z|` the mean
obeys :math:`m' = -k m - p`, whatever W, and for b = 0 the variance :math:`v = E |z - m|^2` obeys
:math:`v' = 2 \beta d - c - 2 (k + a) v` in dimension d (mass 1): c > 0 attracts. On a line more is
known. Without diffusion, and with repulsion by b < 0 or none, each quantile obeys a linear equation
of its own. Laws at rest are normal (b = c = 0), uniform (c = beta = 0), a semicircle (b = beta =
0), and, for b = 0, that of Allez, Bouchaud and Guionnet ("Invariant beta ensembles and the
Gauss-Wigner crossover", Phys. Rev. Lett. 109, 094102, 2012), continued to attraction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import hyp1f1, rgamma

from meanfield_pde.energies.interaction import Interaction
from meanfield_pde.energies.potential import Penalty, Potential
from meanfield_pde.flows.problem import Problem
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid

FITS = 1e-9
"""Misfit, relative to the largest value, up to which a function counts as one of the family."""
OFFSETS = 64

Pairs = list[tuple[float, Interaction]]


@dataclass(frozen=True, eq=False)
class Classic:
    """Coefficients of a flow in a quadratic well, and its start.

    Parameters
    ----------
    initial : Density
    beta : float
        Diffusion.
    well : float
        k, the curvature of V.
    pull : array (d,)
        p, the slope of V at 0.
    kernel : tuple of float or None
        a, b and c, times the mass; None where W is no such kernel.
    """

    initial: Density
    beta: float
    well: float
    pull: Array
    kernel: tuple[float, float, float] | None

    @property
    def stiffness(self) -> float:
        """``k + a``: what pulls towards the mean."""
        assert self.kernel is not None
        return self.well + self.kernel[0]

    @property
    def has_variance(self) -> bool:
        """Whether the variance is known."""
        return self.kernel is not None and self.kernel[1] == 0

    @property
    def has_quantiles(self) -> bool:
        """Whether each quantile is known."""
        line = self.initial.grid.dim == 1 and self.beta == 0
        return line and self.kernel is not None and self.kernel[1] <= 0 == self.kernel[2]

    @property
    def has_rest(self) -> bool:
        """Whether there is a law at rest, and it is known."""
        if self.initial.grid.dim > 1 or self.kernel is None or self.stiffness <= 0:
            return False
        if self.well == 0 and self.pull.any():
            return False
        _, b, c = self.kernel
        if self.beta == 0:
            return (b < 0 == c) or (c < 0 == b)
        return b == 0 and c < 2 * self.beta

    def mean(self, clock: float) -> Array:
        """Mean of the law after a time of the flow of rate 1."""
        start = self.initial.mean()
        fallen = start * np.exp(-self.well * clock)
        return np.asarray(fallen - self.pull * _decayed(self.well, clock))

    def variance(self, clock: float) -> float:
        """``E |z - m|^2``."""
        assert self.kernel is not None
        start, c = float(np.trace(self.initial.cov())), self.kernel[2]
        gain = 2 * self.beta * self.initial.grid.dim - c
        rate = 2 * self.stiffness
        return float(start * np.exp(-rate * clock) + gain * _decayed(rate, clock))

    def law(self, clock: float) -> Density:
        """Law without diffusion on a line, by its quantiles: exact for the density as it is.

        ``X(u) = m + (X_0(u) - m_0) e^(-(k + a) t) - b (2 u - 1) (1 - e^(-(k + a) t)) / (k + a)``.
        """
        assert self.kernel is not None
        grid, mass = self.initial.grid, self.initial.mass
        share = np.concatenate([[0.0], np.cumsum(self.initial.masses)]) / mass
        spread = self.kernel[1] * (2 * share - 1) * _decayed(self.stiffness, clock)
        centred = (grid.faces[0] - self.initial.mean()[0]) * np.exp(-self.stiffness * clock)
        places = self.mean(clock)[0] + centred - spread
        moved = np.interp(grid.faces[0], places, share)
        return Density(grid, np.diff(moved) * mass / grid.volume)

    def rest(self) -> Density:
        """Law at rest, by its cell averages."""
        assert self.kernel is not None
        grid, mass = self.initial.grid, self.initial.mass
        mean = self.initial.mean()[0] if self.well == 0 else -self.pull[0] / self.well
        _, b, c = self.kernel
        if self.beta > 0:
            width = np.sqrt(self.beta / self.stiffness)
            profile = crossover(c / (2 * self.beta))
            found = Density.from_function(grid, lambda z: profile((z[..., 0] - mean) / width))
            return Density(grid, found.values * mass / width)
        radius = np.sqrt(-2 * c / self.stiffness) if c else -b / self.stiffness
        x = np.clip((grid.faces[0] - mean) / radius, -1.0, 1.0)
        below = (x * np.sqrt(1 - x * x) + np.arcsin(x)) / np.pi if c else 0.5 * x
        return Density(grid, np.diff(below) * mass / grid.volume)

    def steeper(self, factor: float) -> Classic:
        """Return the same flow with its attraction to the mean multiplied: a planted fault."""
        assert self.kernel is not None
        a, b, c = self.kernel
        pull = factor * self.pull
        return replace(self, well=factor * self.well, pull=pull, kernel=(factor * a, b, c))


def known(problem: Problem) -> dict[str, bool]:
    """Say which closed forms there are, by the names that claims need them under."""
    flow = classic(problem)
    return {
        "quadratic well": flow is not None,
        "quadratic and log kernel": flow is not None and flow.has_variance,
        "known quantiles": flow is not None and flow.has_quantiles,
        "known rest": flow is not None and flow.has_rest,
        "convex on a line": (convexity(problem) or 0.0) > 0,
        "kernel on a circle": circular(problem) is not None,
    }


def convexity(problem: Problem) -> float | None:
    """Constant of displacement convexity on a line, from differences on the grid.

    It is the least V'', plus the least W'' where that is negative. Order is kept on a line, so
    W counts at positive differences alone: ``-|z|`` and ``-log |z|`` are convex there. None
    where it is not known.
    """
    parts = _parts(problem)
    assert isinstance(problem.initial, Density)
    grid = problem.initial.grid
    if parts is None or grid.periodic or grid.dim > 1 or grid.size < 3:
        return None
    h = grid.spacing[0]
    fixed, pairs = parts
    dz = h * np.arange(1, grid.size)
    kernel = sum((f * leaf.function(dz[:, None]) for f, leaf in pairs), np.zeros(len(dz)))
    bends = [np.diff(values, 2).min() / h**2 for values in (fixed, kernel)]
    return float(bends[0] + min(bends[1], 0.0))


def circular(problem: Problem) -> Callable[[Array], Array] | None:
    """W of a flow on a circle without an external potential, times the mass; else None."""
    parts = _parts(problem)
    assert isinstance(problem.initial, Density)
    rho = problem.initial
    if parts is None or not rho.grid.periodic or rho.grid.dim > 1 or np.ptp(parts[0]) > 0:
        return None
    return lambda z: rho.mass * sum(f * leaf.function(z) for f, leaf in parts[1])


def crossover(nu: float) -> Callable[[Array], Array]:
    """Density at rest for V = z^2/2, W = 2 nu log |z| and beta = 1, with nu < 1.

    ``|D_nu(i z)|^-2 / (sqrt(2 pi) Gamma(1 - nu))`` with the parabolic cylinder function D: normal
    at nu = 0, near a semicircle for -nu large.

    Examples
    --------
    >>> round(float(crossover(0.0)(np.array(0.0))), 6)
    0.398942
    """

    def density(z: Array) -> Array:
        x = -0.5 * z * z
        even = np.sqrt(np.pi) * rgamma(0.5 * (1 - nu)) * hyp1f1(-0.5 * nu, 0.5, x)
        odd = np.sqrt(2 * np.pi) * rgamma(-0.5 * nu) * z * hyp1f1(0.5 * (1 - nu), 1.5, x)
        scale = rgamma(1 - nu) / (np.sqrt(2 * np.pi) * 2.0**nu)
        return np.asarray(scale * np.exp(x) / (even**2 + odd**2))

    return density


def classic(problem: Problem) -> Classic | None:
    """Coefficients of a flow in a quadratic well on a box; None where it is none."""
    parts, rho = _parts(problem), problem.initial
    assert isinstance(rho, Density)
    grid = rho.grid
    if parts is None or grid.periodic:
        return None
    fixed, pairs = parts
    z = grid.points.reshape(-1, grid.dim)
    well = _fit(fixed.ravel(), [0.5 * (z**2).sum(-1), *z.T, np.ones(len(z))])
    if well is None:
        return None
    kernel = _kernel([(f * rho.mass, leaf) for f, leaf in pairs], grid)
    return Classic(rho, problem.flow.energy.beta, well[0], np.array(well[1:-1]), kernel)


def _parts(problem: Problem) -> tuple[Array, Pairs] | None:
    """External potential at the cells, and kernels; None where more than these acts."""
    rho, flow = problem.initial, problem.flow
    assert isinstance(rho, Density)
    if rho.grid.chart is not None or flow.metric is not None or flow.noise is not None:
        return None
    leaves = flow.energy.smooth.terms
    plain = all(isinstance(leaf, Potential | Penalty | Interaction) for _, leaf in leaves)
    if flow.reaction or flow.frozen or not plain:
        return None
    pairs = [(f, leaf) for f, leaf in leaves if isinstance(leaf, Interaction)]
    rest = [(f, leaf) for f, leaf in leaves if not isinstance(leaf, Interaction)]
    zero = np.zeros(rho.grid.shape)
    return sum((f * leaf.on(rho.grid).potential(zero) for f, leaf in rest), zero), pairs


def _kernel(leaves: Pairs, grid: Grid) -> tuple[float, float, float] | None:
    """Find ``a, b, c`` of the sum of kernels from offsets in all directions, if it has them."""
    size = np.linalg.norm(np.subtract(grid.upper, grid.lower))
    length = size * (np.arange(OFFSETS) + 0.5) / OFFSETS
    angle = 2.4 * np.arange(OFFSETS)
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    dz = length[:, None] * (direction if grid.dim == 2 else np.ones((OFFSETS, 1)))
    values = sum((f * leaf.function(dz) for f, leaf in leaves), np.zeros(OFFSETS))
    found = _fit(values, [0.5 * length**2, length, np.log(length), np.ones(OFFSETS)])
    return None if found is None else (found[0], found[1], found[2])


def _fit(values: Array, basis: list[Array]) -> list[float] | None:
    """Coefficients of functions that add up to the values, exact zeros where they are rounding."""
    matrix = np.stack(basis, axis=-1)
    scale = np.abs(matrix).max(axis=0)
    scale[scale == 0] = 1.0
    found, *_ = np.linalg.lstsq(matrix / scale, values, rcond=None)
    size = max(1.0, float(np.abs(values).max()))
    if np.abs(matrix / scale @ found - values).max() > FITS * size:
        return None
    return [float(c) for c in np.where(np.abs(found) > FITS * size, found / scale, 0.0)]


def _decayed(rate: float, clock: float) -> float:
    """``int_0^t e^(-rate s) ds``."""
    return clock if rate == 0 else float(-np.expm1(-rate * clock) / rate)
