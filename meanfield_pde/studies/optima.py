r"""Infima of convex energies over probability measures, with a certificate.

An exchange method (fully corrective conditional gradient, Denoyelle, Duval, Peyre and Soubies,
"The sliding Frank-Wolfe algorithm and its application to super-resolution microscopy", Inverse
Problems 36, 2020): points enter where the first variation :math:`\Phi_\mu` is lowest, weights are
optimal for the points there are, then points and weights move together. For a convex E

.. math:: E(\mu) - \inf E \le \int \Phi_\mu d\mu - \min_z \Phi_\mu(z),

so a lower bound of :math:`\Phi_\mu` bounds the infimum, whatever the iteration did.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, minimize

from meanfield_pde.energies.energy import Energy
from meanfield_pde.energies.potential import Potential
from meanfield_pde.energies.risk import Risk
from meanfield_pde.energies.variants import feature_averaged
from meanfield_pde.flows.problem import require_gradient_flow
from meanfield_pde.measures import check
from meanfield_pde.measures.chart import Polar
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.group import Group
from meanfield_pde.measures.symmetry import symmetrise
from meanfield_pde.studies.box_minimum import lower_bound, minima
from meanfield_pde.studies.deviation import Box
from meanfield_pde.studies.objective import Leaves, Objective, best_weights, convex_leaves

OVER = ("all", "weakly-invariant", "strongly-invariant")
ROUNDS = 60
"""Exchanges after which the search ends with the gap that is left."""
PATIENCE = 2
"""Exchanges in a row that need not lower energy or gap."""
ROUNDING = 1e-14
"""Relative change of an energy that is none; the gap, of first order, can still shrink then."""


@dataclass(frozen=True, eq=False)
class Optimum:
    """An infimum over probability measures, between two bounds.

    Parameters
    ----------
    value : float
        Energy of ``measure``: an upper bound.
    lower_bound : float
    measure : Cloud
        Weighted points that reach the value.
    proved : bool
        Whether the lower bound is proved, up to rounding; where the energy has functions of a
        user's own, it rests on second derivatives measured at the cell centres.
    result : str
        What was found, in a sentence.
    """

    value: float
    lower_bound: float
    measure: Cloud
    proved: bool
    result: str

    @property
    def gap(self) -> float:
        """Distance of the two bounds."""
        return self.value - self.lower_bound


def infimum(
    energy: Energy,
    grid: Grid,
    group: Group | None = None,
    over: str = "all",
    tolerance: float = 1e-10,
) -> Optimum:
    """Infimum of a convex energy over probability measures on the box of a grid.

    Points may lie anywhere in the box, on cell centres or off; the grid says where to look first.
    The box of a polar grid is the square around it.

    Parameters
    ----------
    energy : Energy
        Risks with convex losses, penalties and external potentials.
    grid : Grid
    group : Group, optional
        For the invariant laws.
    over : str
        ``all`` laws; the ``weakly-invariant`` ones, mu = mu^G, which are the orbit averages of laws
        on the box; or the ``strongly-invariant`` ones, on the part of the fixed subspace E^G that
        lies in the box.
    tolerance : float
        Gap that is asked for. What is reached is in `Optimum.gap`.

    Returns
    -------
    Optimum

    Raises
    ------
    ValueError
        If the energy has entropy (see `gibbs`) or need not be convex, if a group is missing, if
        the fixed subspace misses the box, or if the grid has a chart of invariant laws.

    Examples
    --------
    >>> from meanfield_pde import Data, Unit
    >>> data = Data.gauss_legendre(40, -3, 3, lambda x: np.exp(-0.5 * (x[..., 0] - 1) ** 2))
    >>> risk, grid, mirror = Risk(Unit.bump(), data), Grid.box(-4, 4, 80), Group.reflection()
    >>> free, even = infimum(risk, grid), infimum(risk, grid, mirror, "weakly-invariant")
    >>> [round(optimum.value, 10) for optimum in (free, even)], even.gap < 1e-10
    ([0.0, 0.0930227812], True)
    """
    require_gradient_flow("infimum", energy)
    check.instance("energy", energy, Energy, "add energies with + and scale them with *")
    check.instance("grid", grid, Grid, "make one with Grid.box or Grid.torus")
    grid = searched(grid)
    tolerance = check.number("tolerance", tolerance, "1e-10 is a good number", above=0)
    if over not in OVER:
        raise ValueError(f"over must be one of {', '.join(OVER)}, got {over!r}; pick one")
    leaves = convex_leaves(energy)
    for _, leaf in leaves:
        if isinstance(leaf, Risk):
            leaf.unit.check_dimensions(leaf.data.dim, grid.dim)
    if over == "all":
        objective = Objective(leaves, np.eye(grid.dim))
        return _search(energy, objective, _box_of(grid), None, tolerance)
    if group is None:
        raise ValueError(f"group must be given for {over} laws, got None; pass group=")
    check.instance("group", group, Group, "make one with the constructors of mf.Group")
    group.on_z(grid.dim)
    if over == "weakly-invariant":
        objective = Objective(_averaged(leaves, group), np.eye(grid.dim))
        return _search(energy, objective, _box_of(grid), group, tolerance)
    basis = group.fixed_basis().T
    objective = Objective(leaves, basis)
    if not len(basis):
        return _at_origin(energy, grid)
    return _search(energy, objective, _box_along(grid, basis), None, tolerance)


def searched(grid: Grid) -> Grid:
    """Return the grid whose box is searched.

    Raises
    ------
    ValueError
        If the grid has a chart of invariant laws.
    """
    if grid.symmetric_chart is not None:
        raise ValueError(
            f"grid must be one of Z itself, got {grid.symmetric_chart}; for invariant laws take a "
            "grid of Z, group= and over="
        )
    if not isinstance(grid.chart, Polar):
        return grid
    radius, cells = grid.upper[0], 2 * grid.cells[0]
    return Grid.box((-radius, -radius), (radius, radius), (cells, cells))


def _averaged(leaves: Leaves, group: Group) -> Leaves:
    """Make the energy of mu^G from that of mu."""
    averaged: list[tuple[float, Energy]] = []
    for factor, leaf in leaves:
        if isinstance(leaf, Risk):
            averaged.append((factor, feature_averaged(leaf, group)))
        elif isinstance(leaf, Potential):
            averaged.append((factor, _averaged_potential(leaf, group)))
        else:
            averaged.append((factor, leaf))
    return tuple(averaged)


def _averaged_potential(leaf: Potential, group: Group) -> Potential:
    def value(z: Array) -> Array:
        moved = zip(group.weights, group.on_z(z.shape[-1]), strict=True)
        return np.asarray(
            sum(w * check.evaluate("potential", leaf.function, z @ m.T) for w, m in moved)
        )

    def gradient(z: Array) -> Array:
        moved = zip(group.weights, group.on_z(z.shape[-1]), strict=True)
        return np.asarray(sum(-w * leaf.drift(Cloud(z @ m.T)) @ m for w, m in moved))

    return Potential(value, gradient)


def _box_of(grid: Grid) -> Box:
    centres = grid.points.reshape(-1, grid.dim)
    return Box(np.array(grid.lower), np.array(grid.upper), grid.shape, centres)


def _box_along(grid: Grid, basis: Array) -> Box:
    """Part of a fixed subspace, of orthonormal rows, that lies in the box of the grid."""
    if len(basis) == grid.dim:
        return _box_of(grid)
    low, high = -np.inf, np.inf
    for entry, least, most in zip(basis[0], grid.lower, grid.upper, strict=True):
        if abs(entry) < 1e-12:
            low, high = (low, high) if least <= 0 <= most else (np.inf, -np.inf)
        else:
            ends = sorted((least / entry, most / entry))
            low, high = max(low, ends[0]), min(high, ends[1])
    if not low < high:
        raise _misses(grid)
    cells = max(grid.cells)
    centres = low + (np.arange(cells)[:, None] + 0.5) * ((high - low) / cells)
    return Box(np.array([low]), np.array([high]), (cells,), np.asarray(centres))


def _misses(grid: Grid) -> ValueError:
    return ValueError(
        f"grid must meet the fixed subspace of the group, got a box from {grid.lower} to "
        f"{grid.upper}; there is no strongly invariant law on it: take a box around 0"
    )


def _at_origin(energy: Energy, grid: Grid) -> Optimum:
    if min(grid.upper) < 0 or max(grid.lower) > 0:
        raise _misses(grid)
    origin = Cloud(np.zeros((1, grid.dim)))
    value = energy.value(origin)
    return Optimum(value, value, origin, True, f"{value:.10g} at 0, where the only such law lives")


@dataclass(frozen=True, eq=False)
class _State:
    """Weighted points with their energy, its charges, and its first variation at the points."""

    points: Array
    weights: Array
    value: float
    charges: list[Array]
    here: Array

    def above(self, low: float) -> float:
        """Mean of the first variation over a lower value."""
        return float(self.weights @ (self.here - low))


def _state(objective: Objective, points: Array, weights: Array) -> _State:
    outputs = objective.features(points) @ weights
    charges = objective.charges(outputs)
    value = objective.loss(outputs) + float(objective.linear(points) @ weights)
    return _State(points, weights, value, charges, objective.variation(points, charges))


def _search(
    energy: Energy, objective: Objective, box: Box, group: Group | None, tolerance: float
) -> Optimum:
    """Exchange points until the gap is within the tolerance, or the energy no longer falls."""
    state = _state(objective, 0.5 * (box.lower + box.upper)[None], np.ones(1))
    stale, least, lowest = 0, np.inf, np.inf
    for rounds in range(ROUNDS + 1):
        if state.value - objective.floor <= tolerance:
            break
        found, lows = minima(objective, state.charges, box)
        fresh = found[lows < state.here.max()]
        at_points = state.here.min() < lows[0]
        known = state.points[state.here.argmin()] if at_points else found[0]
        apart = state.above(min(float(state.here.min()), float(lows[0])))
        falls = apart < 0.8 * least or state.value < lowest - ROUNDING * abs(lowest)
        stale, least, lowest = 0 if falls else stale + 1, min(least, apart), state.value
        last = stale > PATIENCE or rounds == ROUNDS
        if last or apart <= 0.5 * tolerance:
            bound = lower_bound(objective, state.charges, box, known, 0.25 * tolerance)
            gap = state.above(bound.value)
            if last or gap <= tolerance or bound.lowest is known:
                return _optimum(energy, objective, state, group, gap, bound.proved, tolerance)
            fresh = np.concatenate([fresh, bound.lowest[None]])
        state = _exchanged(objective, box, state, fresh)
    return _optimum(energy, objective, state, group, np.inf, True, tolerance)


def _optimum(
    energy: Energy,
    objective: Objective,
    state: _State,
    group: Group | None,
    gap: float,
    proved: bool,
    tolerance: float,
) -> Optimum:
    cloud = Cloud(state.points @ objective.embedding, state.weights)
    cloud = cloud if group is None else symmetrise(cloud, group)
    value = energy.value(cloud)
    if value - objective.floor <= gap:
        gap, proved = value - objective.floor, True
    how = "proved" if proved else "by derivatives measured at the cell centres"
    said = f"{value:.10g}, at most {gap:.1e} above the infimum ({how}), with {cloud.size} points"
    if gap > tolerance:
        said += f"; the tolerance {tolerance:g} was not reached: refine the grid, or ask for less"
    return Optimum(value, value - gap, cloud, proved, said)


def _exchanged(objective: Objective, box: Box, state: _State, fresh: Array) -> _State:
    """Add points, then find the best weights, move all, and find the best weights."""
    points = np.concatenate([state.points, fresh])
    weights = np.concatenate([state.weights, np.zeros(len(fresh))])
    points, weights = _weighted(objective, points, weights)
    points, weights = _moved(objective, box, points, weights)
    return _state(objective, *_weighted(objective, points, weights))


def _weighted(objective: Objective, points: Array, weights: Array) -> tuple[Array, Array]:
    """Points that have mass when the weights are optimal."""
    weights = best_weights(objective, points, weights)
    return points[weights > 0], weights[weights > 0]


def _moved(objective: Objective, box: Box, points: Array, weights: Array) -> tuple[Array, Array]:
    """Move points and weights together to a local minimum of the energy."""
    m, k = points.shape

    def both(given: Array) -> tuple[float, Array]:
        mass = given[:m].sum()
        state = _state(objective, given[m:].reshape(m, k), given[:m] / mass)
        slopes = state.weights[:, None] * objective.gradient(state.points, state.charges)
        in_weights = (state.here - state.weights @ state.here) / mass
        return state.value, np.concatenate([in_weights, slopes.ravel()])

    start = np.concatenate([weights, points.ravel()])
    # Only shares count: the largest weight keeps off 0, so that there is always mass to share.
    least = np.where(np.arange(m) == weights.argmax(), 0.5 * weights.max(), 0.0)
    low = np.concatenate([least, np.tile(box.lower, m)])
    high = np.concatenate([np.full(m, np.inf), np.tile(box.upper, m)])
    found = minimize(
        both,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(low, high),
        options={"ftol": 0.0, "gtol": 1e-13, "maxiter": 300, "maxcor": 30},
    )
    before = both(start)[0]
    if not found.fun < before - ROUNDING * abs(before):
        return points, weights
    return found.x[m:].reshape(m, k), found.x[:m] / found.x[:m].sum()
