r"""Solves on a fundamental domain: an invariant problem at a fraction of its cells.

A law invariant under reflections of axes is known on the positive sides of their mirrors, where
it obeys the same equation with walls for mirrors; one invariant under the exchange of the axes
is known on one side of the diagonal, so that of the two orders in which lines are swept one is
the image of the other. Both are exact for the discrete equation, whose symmetric solution the
whole grid would give up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from meanfield_pde.energies.energy import Energy
from meanfield_pde.energies.symmetrised import symmetrised
from meanfield_pde.flows.problem import Problem
from meanfield_pde.measures import check
from meanfield_pde.measures.chart import Mirrors
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.group import Group
from meanfield_pde.measures.symmetry import Images, lift, orbits

ROUNDING = 1e-12
"""Difference of an initial density from its orbit average, relative to its peak."""
SWAP = np.array([[0.0, 1.0], [1.0, 0.0]])
PROBE = 24
"""Cells a side of the grid on which the energy's symmetry is checked."""


@dataclass(frozen=True, eq=False)
class Reduction:
    """A problem on the fundamental domain of a group.

    Parameters
    ----------
    whole : Grid
        The grid that was reduced.
    axes : tuple of int
        Axes that have a mirror at 0.
    swapped : bool
        Whether the density is symmetric about the diagonal, too.
    group : Group
    """

    whole: Grid
    axes: tuple[int, ...]
    swapped: bool
    group: Group

    @property
    def grid(self) -> Grid:
        """Grid of the domain."""
        if not self.axes:
            return self.whole
        half = [2 if a in self.axes else 1 for a in range(self.whole.dim)]
        sides = zip(half, self.whole.lower, strict=True)
        lower = tuple(0.0 if k == 2 else low for k, low in sides)
        cells = tuple(n // k for k, n in zip(half, self.whole.cells, strict=True))
        return Grid(lower, self.whole.upper, cells, chart=Mirrors(self.whole.dim, self.axes))

    @property
    def orbits(self) -> Images | None:
        """Orbits of the domain's cells under the swap, which steps are to keep to the last bit."""
        if not self.swapped:
            return None
        cells = np.arange(self.grid.size).reshape(self.grid.shape)
        return orbits(np.stack([cells.ravel(), cells.T.ravel()]))

    @property
    def said(self) -> str:
        """What was done, in words."""
        order = 2 ** len(self.axes) * (2 if self.swapped else 1)
        share = f"reduced by {order} of {self.group.order} elements of {self.group.name}"
        return f"{share} to {self.grid.size} of {self.whole.size} cells"

    def reduce(self, rho: Density) -> Density:
        """Image of an invariant density on the domain; it has the same mass."""
        chosen = tuple(
            slice(n // 2, None) if a in self.axes else slice(None)
            for a, n in enumerate(self.whole.cells)
        )
        values = rho.values[chosen] * 2 ** len(self.axes)
        if self.swapped:  # equal but for rounding, and so to the last bit
            values = 0.5 * (values + values.T)
        return Density(self.grid, values, rho.remap_error)

    def lift(self, rho: Density) -> Density:
        """Invariant density on the whole grid, the same to the last bit on each orbit."""
        whole = lift(rho)
        assert isinstance(whole, Density)
        return whole


def reduction(problem: Problem, group: Group) -> tuple[Reduction, Problem]:
    """Reduce an invariant problem, or say why it cannot be.

    Raises
    ------
    ValueError
        If the group holds no reflection that can be used, or does not map the grid to itself, or
        the initial density or the energy is not invariant.
    """
    check.instance("reduce", group, Group, "make one with the constructors of mf.Group")
    rho, energy = problem.initial, problem.flow.energy
    assert isinstance(rho, Density)
    grid = rho.grid
    if grid.chart is not None or grid.periodic:
        kind = "a chart" if grid.chart is not None else "a torus"
        raise ValueError(
            f"reduce needs a box of Z itself, got {kind}; leave it out there (symmetry= keeps "
            "a density on a torus invariant)"
        )
    matrices = group.on_z(grid.dim)
    axes = tuple(a for a in range(grid.dim) if _holds(matrices, _mirror(grid.dim, a)))
    swapped = grid.dim == 2 and _holds(matrices, SWAP)
    if not axes and not swapped:
        raise ValueError(
            f"reduce needs a group with a reflection of an axis or the exchange of both, got "
            f"{group.name}; for rotations see Chart.radius, for others leave it out"
        )
    reduced = Reduction(grid, axes, swapped, group)
    _require_fitting(reduced)
    _require_invariant(reduced, rho, energy)
    return reduced, replace(problem, initial=reduced.reduce(rho))


def _require_fitting(reduced: Reduction) -> None:
    grid = reduced.whole
    sides = list(zip(grid.lower, grid.upper, grid.cells, strict=True))
    fits = all(sides[a][0] == -sides[a][1] and sides[a][2] % 2 == 0 for a in reduced.axes)
    if not fits or (reduced.swapped and sides[0] != sides[1]):
        cells = " x ".join(str(n) for n in grid.cells)
        raise ValueError(
            f"reduce must map the grid to itself, with mirrors on faces, got "
            f"{reduced.group.name} on {cells} cells from {grid.lower} to {grid.upper}; centre the "
            "grid at 0, with an even number of cells a side, the same on both for a swap"
        )


def _require_invariant(reduced: Reduction, rho: Density, energy: Energy) -> None:
    grid, group, peak = rho.grid, reduced.group, float(rho.values.max())
    images = [np.flip(rho.values, axis) for axis in reduced.axes]
    images += [rho.values.T] if reduced.swapped else []
    unequal = [image for image in images if not np.array_equal(rho.values, image)]
    gap = max((float(np.abs(rho.values - image).max()) for image in unequal), default=0.0)
    if gap > ROUNDING * peak:
        raise ValueError(
            f"initial must be invariant under {group.name} to be reduced, got a density up to "
            f"{gap / peak:.1e} (relative) from its images; take mf.symmetrise(rho, group)"
        )
    used = _used(reduced)
    coarse = replace(grid, cells=tuple(min(n, PROBE) for n in grid.cells))
    symmetrised(energy.smooth.discretise(coarse), used, np.ones(coarse.shape), coarse)


def _used(reduced: Reduction) -> Group:
    """Return the group of the reflections that are used."""
    dim = reduced.whole.dim
    generators = [_mirror(dim, axis) for axis in reduced.axes]
    generators += [SWAP] if reduced.swapped else []
    return Group.generate(generators, name=reduced.group.name)


def _holds(matrices: Array, matrix: Array) -> bool:
    return bool((np.abs(matrices - matrix).max(axis=(1, 2)) < 1e-9).any())


def _mirror(dim: int, axis: int) -> Array:
    diagonal = np.ones(dim)
    diagonal[axis] = -1.0
    return np.diag(diagonal)
