r"""Collapse: mass that contracts to the size of a cell under a kernel that is singular at 0.

Where ``W = chi log|z|`` attracts in R^d, the second moment of a mass M obeys
:math:`M_2' = 2 d \beta M - \chi M^2`, for the force does
:math:`-2 \int\int z \cdot \nabla W(z - z') = -\int\int (z - z') \cdot \nabla W(z - z') = -\chi
M^2`. Above the critical mass :math:`2 d \beta / \chi` it would turn negative, so that the law
collapses into a point before then; below, diffusion wins (Keller and Segel; Blanchet, Dolbeault
and Perthame, Electron. J. Diff. Eqns. 2006). For another kernel ``r W'(r)`` at the width of a cell
stands for chi. On a grid the potential is bounded and the march would go on, with mass that sits
in a few cells: an answer of the cells and not of the equation.

A collapsing core is the stationary profile of the critical mass, of which a ball of radius r holds
the share :math:`r^2 / (r^2 + l)` (in the plane), with l falling to 0. Its densest 2 x 2 cells
(2 in 1D, the first cell of a radius) hold a quarter where l is three times their :math:`r^2`, a
half where it is once that. So l, about linear in time, reaches 0 half as much later again as
lies between the two, which is the time that is told. In strong attraction the critical mass is
small, and a fifth of all mass counts in place of half of it.

Nothing is looked for where no kernel falls to minus infinity at 0, or the mass is below the
critical one: narrow laws are no collapse, nor are laws that contract to a point for ever. A start
that is narrow itself counts only once it contracts further.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from meanfield_pde.energies.energy import Energy
from meanfield_pde.energies.interaction import Interaction
from meanfield_pde.measures.chart import Mirrors, Polar, Radius
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid

CORE = 0.5
"""Share of the critical mass in the densest cells from which on a law counts as collapsed."""
LEAST = 0.2
"""Share of the whole mass that they hold at least."""
DEPTH = 6
"""Decades below a cell's width over which a kernel must attract."""
STEP = 1e-3
"""Half the step in log r by which r W'(r) is found."""


class CollapseError(Exception):
    """The mass has contracted to the cells."""


@dataclass(frozen=True, eq=False)
class Watch:
    """The densest cells of a density on its way; `seen` returns what is known after a step.

    Parameters
    ----------
    grid : Grid
    critical : float
        Mass above which the kernel's attraction wins over diffusion.
    threshold : float
        Mass in the densest cells that counts as collapsed.
    stop : bool
        Whether the march ends there.
    start, mass : float
        Mass in the densest cells at the start and now.
    clock : float
    half, full : float or None
        Clock times at which it passed half the threshold (None too where it started above) and
        the threshold.
    place : tuple of float
        Middle of the densest cells when it passed the threshold, in coordinates of the grid.
    """

    grid: Grid
    critical: float
    threshold: float
    stop: bool
    start: float
    mass: float
    clock: float = 0.0
    half: float | None = None
    full: float | None = None
    place: tuple[float, ...] = ()

    def seen(self, rho: Array, clock: float) -> Watch:
        """Look at the density that a step has led to."""
        if self.full is not None:
            return self
        mass, place = densest(self.grid, rho)
        half, full = self.half, None
        if half is None and self.start < 0.5 * self.threshold <= mass:
            half = self._passed(0.5 * self.threshold, mass, clock)
        if mass >= self.threshold and mass > self.start * (1 + 1e-9):
            full = self._passed(self.threshold, mass, clock)
        place = self.place if full is None else place
        return replace(self, mass=mass, clock=clock, half=half, full=full, place=place)

    def _passed(self, level: float, mass: float, clock: float) -> float:
        if not self.mass < level:
            return clock
        return float(np.interp(level, (self.mass, mass), (self.clock, clock)))

    @property
    def collapse(self) -> float | None:
        """Clock time of the collapse, extrapolated from how fast the core shrank."""
        if self.full is None:
            return None
        return self.full + (0.0 if self.half is None else 0.5 * (self.full - self.half))

    @property
    def said(self) -> str:
        """What was seen, in words."""
        where = ", ".join(f"{x:.3g}" for x in self.place)
        return f"the mass {self.mass:.3g} sits in the densest cells, around ({where})"


def watch(energy: Energy, grid: Grid, rho: Array, stop: bool) -> Watch | None:
    """Watch over a density whose kernel can make it collapse; None where none can."""
    if isinstance(grid.chart, Polar) or min(grid.cells) < 2:
        return None
    dim = grid.ambient_dim if isinstance(grid.chart, Radius) else grid.dim
    leaves = [(factor, leaf) for factor, leaf in energy.terms if isinstance(leaf, Interaction)]
    if not any(leaf.singular(grid.ambient_dim) for _, leaf in leaves):
        return None
    width = min(grid.spacing)
    strengths = [_strength(leaves, grid, width * 10.0**-k) for k in range(DEPTH + 1)]
    if not min(strengths) > 0:
        return None
    critical, whole = 2 * dim * energy.beta / strengths[0], float(rho.sum()) * grid.volume
    if whole <= critical:
        return None
    mass, _ = densest(grid, rho)
    threshold = max(CORE * critical, LEAST * whole)
    return Watch(grid, critical, threshold, stop, mass, mass)


def _strength(leaves: list[tuple[float, Interaction]], grid: Grid, r: float) -> float:
    """``r W'(r)`` of all kernels together, the mean over axes and diagonals."""
    signs = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * grid.dim), axis=-1).reshape(-1, grid.dim)
    lengths = np.sqrt((signs**2).sum(axis=1))
    ways = signs[lengths > 0] / lengths[lengths > 0, None]
    far, near = (
        (ways if grid.chart is None else grid.chart.place(np.abs(ways))) * (r * np.exp(step))
        for step in (STEP, -STEP)
    )
    rise = sum(factor * (leaf.function(far) - leaf.function(near)) for factor, leaf in leaves)
    return float(np.mean(rise)) / (2 * STEP)


def densest(grid: Grid, rho: Array) -> tuple[float, tuple[float, ...]]:
    """Largest mass in 2 x 2 cells (2 in 1D, the first cell of a radius), and their middle.

    Behind mirrors cells stand beside their images, with the share of the mass that each has.

    Examples
    --------
    >>> densest(Grid.box(0, 4, 4), np.array([0.1, 0.2, 0.4, 0.3]))
    (0.7, (3.0,))
    """
    if isinstance(grid.chart, Radius):
        return float(rho[0]) * grid.volume, (0.0,)
    mirrors = grid.chart.axes if isinstance(grid.chart, Mirrors) else ()
    masses, first = rho * grid.volume, []
    for axis in range(grid.dim):
        lines = np.moveaxis(masses, axis, 0)
        if axis in mirrors:
            lines = 0.5 * np.concatenate([lines[:1], lines])
        elif grid.periodic:
            lines = np.concatenate([lines[-1:], lines])
        first.append(0 if axis in mirrors or grid.periodic else 1)
        masses = np.moveaxis(lines[:-1] + lines[1:], 0, axis)
    index = np.unravel_index(int(masses.argmax()), masses.shape)
    place = tuple(
        low + (int(k) + skip) * h
        for low, k, skip, h in zip(grid.lower, index, first, grid.spacing, strict=True)
    )
    return float(masses[index]), place
