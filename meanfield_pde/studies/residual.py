r"""How well saved densities solve the continuous equation, by differences of high order.

The residual of

.. math:: \partial_t \rho = s(t) [\nabla \cdot (\rho \nabla \Phi_\rho) + \beta \Delta \rho
   - \alpha (V_\rho - \bar V) \rho]

is taken at the cell centres, with derivatives in space by findiff and in time by polynomials
through neighbouring saved times. It shares the potential with the solver and nothing else: no
flux, no step, no cell Peclet number. For a solution of order h^2 it falls as h^2; for a solution of
another equation it stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meanfield_pde.eulerian.reaction import Reaction
from meanfield_pde.eulerian.solution import Solution
from meanfield_pde.flows.gradient_flow import GradientFlow
from meanfield_pde.flows.problem import Problem, require_gradient_flow
from meanfield_pde.measures import check
from meanfield_pde.measures.chart import Polar, Radius
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid

ACCURACY = 6
"""Order of the differences in space, and in time where seven times were saved."""
SIDE = 2
"""Saved times that are needed on either side for a derivative in time."""
ROUNDING = 1e-13
"""Relative size of what rounding leaves of second differences."""
LEAST_CELLS = 16
"""Cells a dimension that one-sided differences of such orders need."""


@dataclass(frozen=True, eq=False)
class Residual:
    """What is left of the equation at saved times.

    Parameters
    ----------
    times : array (n,)
        Saved times with two others on either side.
    values : array (n, *grid.shape)
        d_t rho - s(t) [div(rho grad Phi) + beta lap rho - alpha (V - mean V) rho] at the centres.
    relative : array (n,)
        L1 norm of the residual over the sum of the L1 norms of its terms.
    floor : array (n,)
        How much of that the differences themselves account for: the same norm of what changes when
        they are of an order two lower. A residual near its floor says that times or cells are too
        few to see more.
    result : str
        The worst of it in a sentence.
    """

    times: Array
    values: Array
    relative: Array
    floor: Array
    result: str


def residual(solution: Solution, problem: Problem | None = None) -> Residual:
    """Residual of the continuous equation at the saved densities.

    Cell averages are turned into values at the centres first. Near walls differences are
    one-sided; no cell is left out. For densities and potentials that are smooth on the grid: at a
    kink or a jump differences of high order see neither.

    Parameters
    ----------
    solution : Solution
        With five saved times or more, close enough for differences: see `Residual.floor`.
    problem : Problem, optional
        The equation; the solution's own where it is left out. A solution that was read from a file
        needs it.

    Returns
    -------
    Residual

    Raises
    ------
    ValueError
        If there are too few times or cells, or no problem.

    Examples
    --------
    >>> import meanfield_pde as mf
    >>> grid = mf.Grid.torus(-3.2, 3.2, 128)
    >>> start = mf.Density.gaussian(grid, 0.0, 0.5)
    >>> solution = mf.solve(mf.Problem(mf.GradientFlow(mf.Entropy()), start, t1=0.5), save=21)
    >>> left = residual(solution)
    >>> bool(left.relative.max() < 2e-3)
    True
    """
    require_gradient_flow("residual", getattr(solution, "problem", None))
    require_gradient_flow("residual", problem)
    check.instance("solution", solution, Solution, "pass what mf.solve returned for one law")
    problem = solution.problem if problem is None else problem
    if problem is None:
        raise ValueError(
            "problem must be given for a solution without one, got None; a file holds no equation"
        )
    check.instance("problem", problem, Problem, "write mf.Problem(flow, initial, t1)")
    times, densities = solution.times, solution.densities
    if len(densities) <= 2 * SIDE:
        raise ValueError(
            f"solution must hold at least {2 * SIDE + 1} densities, got {len(densities)}; "
            "save more, as in save=21"
        )
    grid = densities[0].grid
    if isinstance(grid.chart, Polar):
        raise ValueError(
            "solution must be on a cartesian grid, got a polar one, where the equation has other "
            "terms; compare polar solutions with one another or with a closed form"
        )
    if min(grid.cells) < LEAST_CELLS:
        raise ValueError(
            f"solution must have at least {LEAST_CELLS} cells a dimension, got {grid.cells}; "
            "refine its grid"
        )
    averages = np.stack([rho.values for rho in densities])
    fine, scales = _residuals(problem.flow, grid, times, averages, 0)
    coarse, _ = _residuals(problem.flow, grid, times, averages, 2)
    over = tuple(range(2, 2 + grid.dim))
    norms = grid.volume * np.abs(np.stack([fine, fine - coarse])).sum(axis=over)
    curvature = problem.flow.energy.beta * sum(h**-2 for h in grid.spacing)
    noise = ROUNDING * densities[0].mass * curvature  # terms below it are rounding alone
    relative, floor = np.divide(norms, scales, out=np.zeros_like(norms), where=scales > noise)
    inner = times[SIDE:-SIDE]
    worst = int(relative.argmax())
    result = (
        f"the equation holds to {relative[worst]:.1e} of its terms at t = {inner[worst]:g}, the "
        f"worst of {len(inner)} times; differences account for {floor[worst]:.1e}"
    )
    return Residual(inner, fine, relative, floor, result)


def _residuals(
    flow: GradientFlow, grid: Grid, times: Array, averages: Array, lower: int
) -> tuple[Array, Array]:
    """Residuals at the inner times, and the sums of the L1 norms of their terms.

    All differences are of an order ``lower`` below the best.
    """
    accuracy = ACCURACY - lower
    rho = _at_centres(grid, averages, accuracy)
    rate = _rate(times, rho, lower)
    rho = rho[SIDE:-SIDE]
    potential, beta = flow.energy.smooth_on(grid).potential, flow.energy.beta
    phi = np.stack([potential(values) for values in rho])
    volume = beta * (0.0 if grid.chart is None else grid.chart.log_volume(grid.points))
    drift, diffusion = np.zeros_like(rho), np.zeros_like(rho)
    for axis in flow.moving(grid.dim) if flow.transport else ():
        slope, curvature = (_derivative(grid, phi + volume, axis, k, accuracy) for k in (1, 2))
        if isinstance(grid.chart, Radius):  # of the logarithm differences know nothing near 0
            growth = beta * (grid.chart.dim - 1) / grid.axes[0]
            slope, curvature = slope - growth, curvature + growth / grid.axes[0]
        drift += _derivative(grid, rho, axis, 1, accuracy) * slope + rho * curvature
        diffusion += beta * _derivative(grid, rho, axis, 2, accuracy)
    shape = (-1, *(1,) * grid.dim)
    speed = np.array([flow.speed(float(t)) for t in times[SIDE:-SIDE]]).reshape(shape)
    terms = np.stack(
        [rate, -speed * drift, -speed * diffusion, -speed * _births(flow, grid, rho, phi)]
    )
    scales = grid.volume * np.abs(terms).sum(axis=(0, *range(2, 2 + grid.dim)))
    return terms.sum(axis=0), scales


def _births(flow: GradientFlow, grid: Grid, rho: Array, phi: Array) -> Array:
    """Net birth at each time, from densities and potentials (times, *shape)."""
    reaction = Reaction.of(flow, grid)
    if reaction is None:
        return np.zeros_like(rho)
    over = tuple(range(1, 1 + grid.dim))
    v = np.stack([reaction.reacting(*pair) for pair in zip(rho, phi, strict=True)])
    mean = (rho * v).sum(axis=over, keepdims=True) / rho.sum(axis=over, keepdims=True)
    return np.asarray(-reaction.rate * (v - mean) * rho)


def _derivative(grid: Grid, values: Array, axis: int, order: int, accuracy: int) -> Array:
    """Differentiate fields (times, *shape) along an axis, by findiff."""
    from findiff import Diff  # imported here: it brings sympy

    step = Diff(axis + 1, grid.spacing[axis], periodic=grid.periodic, acc=accuracy)
    return np.asarray((step**order)(values))


def _at_centres(grid: Grid, averages: Array, accuracy: int) -> Array:
    """Values at the centres from averages over cells.

    To average is to apply sinh(D/2) / (D/2) with D = h d/dx; the inverse of that is
    1 - D^2 / 24 + 7 D^4 / 5760 up to order 6.
    """
    values = averages
    for axis, h in enumerate(grid.spacing):
        correction = h**2 / 24 * _derivative(grid, values, axis, 2, accuracy - 2)
        if accuracy > 4:
            fourth = _derivative(grid, values, axis, 4, accuracy - 4)
            correction -= 7 * h**4 / 5760 * fourth
        values = values - correction
    return values


def _rate(times: Array, rho: Array, lower: int) -> Array:
    """Differentiate at the inner times, by polynomials through up to seven times nearby."""
    n = len(times)
    count = min(ACCURACY + 1, n - (n + 1) % 2) - lower
    rates = []
    for k in range(SIDE, n - SIDE):
        first = min(max(k - count // 2, 0), n - count)
        near = slice(first, first + count)
        offsets = times[near] - times[k]
        length = float(np.abs(offsets).max())
        powers = np.vander(offsets / length, increasing=True).T
        weights = np.linalg.solve(powers, np.eye(count)[1]) / length
        rates.append(np.tensordot(weights, rho[near], axes=1))
    return np.stack(rates)
