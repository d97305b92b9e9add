r"""What is known exactly of laws under a logarithmic kernel and a quadratic potential.

With ``W = chi log|z|`` (attractive for chi > 0) and ``V = kappa |z|^2 / 2`` in R^d, a law of mass M
has :math:`\int z \cdot \nabla (V + W * \mu) d\mu = \kappa M_2 + \chi M^2 / 2`, since the two sides
of a pair add up to :math:`(z - z') \cdot \nabla W(z - z') = \chi`. So its second moment
:math:`M_2 = \int |z|^2 d\mu` obeys

.. math:: M_2' = 2 d \beta M - \chi M^2 - 2 \kappa M_2,

whatever its shape. In the plane and for radial laws more is known. By Newton's theorem a shell of
radius r feels the mass m inside as if it were at 0; the density there is
:math:`\partial m / \partial s / \pi` with :math:`s = r^2`, so that the shells move by

.. math:: \frac{ds}{dt} = -4 \beta s \, \frac{\partial}{\partial m}
    \left( \frac{\partial s}{\partial m} \right)^{-1} - 2 \chi m - 2 \kappa s,

for the drift is :math:`-\chi m / r - \kappa r` and diffusion adds
:math:`-\beta \, \partial_r \log \rho`. The law collapses when a shell that encloses mass arrives
at 0. At beta = 0 a shell that starts at s with m inside does so after :math:`T = s / (2 \chi m)`,
in a well after :math:`\log(1 + 2 \kappa T) / (2 \kappa)`, and no two meet before the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from meanfield_pde.energies.energy import Energy, Entropy
from meanfield_pde.energies.interaction import Interaction
from meanfield_pde.energies.potential import Penalty, Potential
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density

SHELLS = 400
"""Shells of equal mass; a hundred give collapse times within 1e-4."""
ARRIVED = 1e-6
"""Part of its first s to which a shell has to fall."""
PIECES = 8
"""Pieces a side into which a cell is cut to sort its mass by radius."""


@dataclass(frozen=True)
class Virial:
    """Strength chi of the kernel ``chi log|z|`` and kappa of the potential ``kappa |z|^2 / 2``.

    Examples
    --------
    >>> W = Interaction(lambda z: 0.5 * np.log((z * z).sum(-1)))
    >>> found = Virial.of(3 * W + Penalty(), dim=2)
    >>> round(found.chi, 9), round(found.kappa, 9)
    (3.0, 2.0)
    """

    chi: float
    kappa: float

    @staticmethod
    def of(energy: Energy, dim: int) -> Virial | None:
        """Find both from the forces between random points; None for any other energy."""
        leaves = [leaf for _, leaf in energy.terms]
        known = all(
            isinstance(leaf, Potential | Penalty | Interaction | Entropy) for leaf in leaves
        )
        if not known or not any(isinstance(leaf, Interaction) for leaf in leaves):
            return None
        rng = np.random.default_rng(0)
        clouds = [
            Cloud(scale * rng.standard_normal((n, dim))) for n in (2, 3, 7) for scale in (1, 2)
        ]
        works = [-float(np.mean((c.points * energy.smooth.drift(c)).sum(-1))) for c in clouds]
        pairs = [0.5 * (1 - 1 / cloud.size) for cloud in clouds]
        moments = [float((cloud.points**2).sum(-1).mean()) for cloud in clouds]
        table = np.stack([pairs, moments], axis=-1)
        (chi, kappa), *_ = np.linalg.lstsq(table, np.array(works), rcond=None)
        off = np.abs(table @ (chi, kappa) - works).max()
        if off > 1e-7 * (1 + np.abs(works).max()) or abs(chi) < 1e-7:
            return None
        return Virial(float(chi), float(kappa))

    def critical(self, beta: float, dim: int) -> float:
        """Mass above which laws collapse; infinite where the kernel repels."""
        return 2 * dim * beta / self.chi if self.chi > 0 else np.inf

    def collapse(self, rho: Density, beta: float, until: float) -> float | None:
        """Clock time at which a radial law of the plane collapses; None if not by ``until``."""
        critical, mass = self.critical(beta, 2), rho.mass
        if mass <= critical:
            return None
        inside = mass * (np.arange(SHELLS) + 0.5) / SHELLS
        start = _radii(rho, inside)
        if beta == 0:
            return self._falls(start, inside, until)
        first = int(np.searchsorted(inside, 0.5 * critical))

        def arrived(t: float, logarithm: Array) -> float:
            return float(logarithm[first] - np.log(ARRIVED * start[first]))

        arrived.terminal = True  # type: ignore[attr-defined]
        speed = partial(self._speed, inside, beta)
        method: dict[str, Any] = {
            "method": "LSODA",
            "lband": 1,
            "uband": 1,
            "rtol": 1e-6,
            "atol": 1e-8,
        }
        found = solve_ivp(speed, (0.0, until), np.log(start), events=arrived, **method)
        return float(found.t[-1]) if found.status == 1 else None

    def _speed(self, inside: Array, beta: float, t: float, logarithm: Array) -> Array:
        """Rates of log s for shells that enclose given masses."""
        s, share = np.exp(logarithm), 2 * inside[0]
        density = np.concatenate([[inside[0] / s[0]], share / np.diff(s), [0.0]])
        diffusion = 4 * beta * np.diff(density) / share
        return np.asarray(-diffusion - 2 * self.chi * inside / s - 2 * self.kappa)

    def _falls(self, start: Array, inside: Array, until: float) -> float | None:
        """Time of the first shell that falls to 0 without diffusion."""
        free = float((start / (2 * self.chi * inside)).min())
        if 2 * self.kappa * free <= -1:  # a hill drives it away first
            return None
        t = float(np.log1p(2 * self.kappa * free) / (2 * self.kappa)) if self.kappa else free
        return t if t <= until else None


def _radii(rho: Density, inside: Array) -> Array:
    """Squares of the radii, about the mean, of the circles that hold given masses."""
    grid, middles = rho.grid, (np.arange(PIECES) + 0.5) / PIECES - 0.5
    shifts = np.stack(np.meshgrid(*[middles] * grid.dim), axis=-1).reshape(-1, grid.dim)
    points = (grid.points[..., None, :] + shifts * np.array(grid.spacing)).reshape(-1, grid.dim)
    if grid.chart is not None:
        points = grid.chart.place(points)
    mean = rho.mean() if grid.chart is None else 0.0
    squares = ((points - mean) ** 2).sum(-1)
    order = np.argsort(squares)
    masses = np.repeat(rho.masses.ravel() / len(shifts), len(shifts))[order]
    return np.asarray(np.interp(inside, np.cumsum(masses) - 0.5 * masses, squares[order]))
