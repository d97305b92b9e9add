r"""Flows on the line without diffusion, by their quantiles: no grid, and so no numerical diffusion.

The quantile function X(t, s) of a law on the line that flows by its drift alone moves by the drift
at its own place, :math:`\partial_t X = -s(t)\, \nabla \Phi_\mu(X)`, and levels never cross. Equal
masses at the quantiles of the middles of n levels are a law within O(1/n) of it in the Wasserstein
distances that obeys the same equation exactly, by ordinary differential equations. A density leaks
through barriers of the potential at a rate that only its cells set; quantiles cannot, and show
where a law is stuck.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from meanfield_pde.flows.problem import Problem
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density

TOLERANCE = 1e-10


@dataclass(frozen=True, eq=False)
class QuantileFlow:
    """Clouds of equal masses at the quantiles of a law, at saved times.

    Parameters
    ----------
    times : array (n,)
    clouds : tuple of Cloud
        With rising points.
    energy : array (n,)
        Energies of the clouds.
    """

    times: Array
    clouds: tuple[Cloud, ...]
    energy: Array


def quantile_flow(
    problem: Problem, levels: int = 200, save: Sequence[float] | int | None = None
) -> QuantileFlow:
    """Move the quantiles of a law on the line along a flow without diffusion or reaction.

    Parameters
    ----------
    problem : Problem
        Its initial law must be a Density on a line; walls must not be met.
    levels : int
        Number of quantiles, at the levels (i + 1/2) / levels.
    save : sequence of float or int, optional
        Times to save at, or a number of equispaced times; 0 and t1 where it is left out.

    Returns
    -------
    QuantileFlow

    Raises
    ------
    ValueError
        If the problem is another, or a quantile leaves the box.
    RuntimeError
        If the equations cannot be solved to relative errors of 1e-10.

    Examples
    --------
    >>> import meanfield_pde as mf
    >>> V = mf.Potential(lambda z: 0.5 * (z**2).sum(-1))
    >>> start = mf.Density.gaussian(mf.Grid.box(-6, 6, 400), 1.0, 0.04)
    >>> found = quantile_flow(mf.Problem(mf.GradientFlow(V), start, t1=1.0), levels=10)
    >>> round(float(found.clouds[-1].mean()[0]), 3), round(float(np.exp(-1.0)), 3)
    (0.368, 0.368)
    """
    start = _start(problem)
    levels = check.count("levels", levels, "200 is a good number")
    times, flow = problem.save_times(save), problem.flow
    clocks = np.cumsum(
        [flow.clock(float(a), float(b)) for a, b in zip([0.0, *times[:-1]], times, strict=True)]
    )
    weights = np.full(levels, start.mass / levels)
    first = quantiles(start, (np.arange(levels) + 0.5) / levels)

    def velocity(_: float, places: Any) -> Array:
        return flow.energy.drift(Cloud(places, weights))[:, 0]

    points = _followed(velocity, first, clocks)
    low, high = start.grid.lower[0], start.grid.upper[0]
    if points.min() < low or points.max() > high:
        raise ValueError(
            f"grid must hold the law at all times, got quantiles from {points.min():g} to "
            f"{points.max():g} in [{low:g}, {high:g}]; make the box wider"
        )
    clouds = tuple(Cloud(row, weights) for row in points)
    energy = np.array([flow.energy.smooth.value(cloud) for cloud in clouds])
    return QuantileFlow(times, clouds, energy)


def quantiles(rho: Density, levels: Array) -> Array:
    """Points of the line below which are given shares of a piecewise constant density.

    Parameters
    ----------
    rho : Density
        On a line.
    levels : array (n,)
        In (0, 1).
    """
    below = np.concatenate([[0.0], np.cumsum(rho.masses)])
    wanted = levels * below[-1]
    cell = np.searchsorted(below, wanted, side="right") - 1
    share = (wanted - below[cell]) / rho.masses[cell]
    return np.asarray(rho.grid.faces[0][cell] + share * rho.grid.spacing[0])


def _followed(velocity: Callable[[float, Any], Array], first: Array, clocks: Array) -> Array:
    """Solve for points (times, n) at clock times that may stand still, at 0 perhaps."""
    rising = np.unique(clocks)
    if rising[-1] == 0:
        return np.tile(first, (len(clocks), 1))
    span = 0.0, float(rising[-1])
    found = solve_ivp(
        velocity, span, first, "DOP853", t_eval=rising, rtol=TOLERANCE, atol=TOLERANCE
    )
    if not found.success:
        raise RuntimeError(f"the quantiles could not be followed: {found.message}")
    return np.asarray(found.y.T[np.searchsorted(rising, clocks)])


def _start(problem: Problem) -> Density:
    """Return the initial density of a problem whose quantiles can be followed."""
    check.instance("problem", problem, Problem, "write mf.Problem(flow, initial, t1)")
    flow, start = problem.flow, problem.initial
    if not isinstance(start, Density) or start.grid.dim != 1 or start.grid.chart is not None:
        raise ValueError(
            f"initial must be a Density on a line, got {type(start).__name__}; put it on a "
            "Grid.box of dimension 1, or use mf.simulate"
        )
    if start.grid.periodic:
        raise ValueError("grid must be a box, got a torus; a circle has no least quantile")
    if flow.energy.beta or flow.reaction:
        what = "diffusion" if flow.energy.beta else "a reaction"
        raise ValueError(
            f"flow must be transport alone, got {what}; use mf.solve, which takes both"
        )
    return start
