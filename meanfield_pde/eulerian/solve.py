"""The density solver: one loop for every flux and stepper."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import numpy as np

from meanfield_pde.eulerian.flux import FLUXES, Flux
from meanfield_pde.eulerian.march import March, StuckError
from meanfield_pde.eulerian.solution import Solution, Statistics
from meanfield_pde.eulerian.stepper import STEPPERS, Equation, Stepper
from meanfield_pde.flows.problem import Problem
from meanfield_pde.flows.progress import progress_bar
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density

logger = logging.getLogger(__name__)

EXPLICIT_STEPS = {1: 50_000, 2: 10_000}
"""Explicit steps, by dimension, that cost about as much as the implicit steps of the same
accuracy."""


class SolveError(RuntimeError):
    """The density solver could not reach the end time; ``solution`` holds what it has."""

    def __init__(self, solution: Solution) -> None:
        super().__init__(solution.result)
        self.solution = solution


def solve(
    problem: Problem,
    save: Sequence[float] | int | None = None,
    flux: str | Flux = "auto",
    stepper: str | Stepper = "auto",
    tolerance: float = 1e-3,
    dt: float | None = None,
    progress: bool = False,
    throw: bool = True,
) -> Solution:
    """Move a density along a gradient flow.

    Parameters
    ----------
    problem : Problem
        Its initial law must be a Density.
    save : sequence of float or int, optional
        Times to save at, or a number of equispaced times; 0 and t1 where it is left out.
    flux : str or Flux
        ``sg`` (Scharfetter-Gummel); ``auto`` is that.
    stepper : str or Stepper
        ``heun`` (explicit, order 2), ``b1`` (implicit, order 1, dissipating for every dt), or
        ``auto``: explicit unless its positivity bound asks for very many steps.
    tolerance : float
        Largest L1 error of a step: for ``heun`` of the Euler step inside it (its own error is
        of the next order); for ``b1``, which has no better step inside, a tenth of this.
    dt : float, optional
        Fixed step in the flow's own clock, with no error control. A step that cannot be stable is
        an error for ``heun`` and split in two for ``b1``.
    progress : bool
        Whether to show a progress bar.
    throw : bool
        Whether to raise when the end time is not reached; otherwise see `Solution.result`.

    Returns
    -------
    Solution

    Raises
    ------
    ValueError
        If an argument is wrong.
    SolveError
        If the end time was not reached and ``throw``.

    Examples
    --------
    >>> import meanfield_pde as mf
    >>> grid = mf.Grid.box(-6, 6, 200)
    >>> energy = mf.Potential(lambda z: 0.5 * (z**2).sum(-1)) + 0.5 * mf.Entropy()
    >>> problem = mf.Problem(mf.GradientFlow(energy), mf.Density.gaussian(grid, 1.0, 0.04), t1=1.0)
    >>> solution = solve(problem, save=[0, 1])
    >>> round(float(solution.at(1).mean()[0]), 3)
    0.368
    """
    if not isinstance(problem, Problem):
        raise ValueError(
            f"problem must be a mf.Problem, got {type(problem).__name__}; "
            "write mf.Problem(mf.GradientFlow(energy), initial, t1)"
        )
    if not isinstance(problem.initial, Density):
        raise ValueError(
            f"initial must be a Density for the density solver, got "
            f"{type(problem.initial).__name__}; put it on a grid, or use mf.simulate"
        )
    tolerance = check.number("tolerance", tolerance, "1e-3 is a good number", above=0)
    if dt is not None:
        dt = check.number("dt", dt, "give a positive step or leave it out", above=0)
    times = problem.save_times(save)
    grid, energy = problem.initial.grid, problem.flow.energy
    scheme = _pick("flux", flux, FLUXES, Flux, FLUXES["sg"])
    equation = Equation(grid, energy.smooth.on(grid), energy.beta, scheme)
    span = problem.flow.clock(0.0, problem.t1)
    rho = problem.initial.values
    chosen, reason = _choose_stepper(stepper, equation, rho, span, dt)
    logger.info("flux %s, stepper %s: %s", scheme.name, chosen.name, reason)
    march = March(equation, chosen, rho, span, tolerance, dt)
    saved, failure = _march_through(problem, march, times, progress)
    solution = _collect(problem, march, times[: len(saved)], saved, reason, failure)
    if failure and throw:
        raise SolveError(solution)
    return solution


T = TypeVar("T")


def _pick(name: str, given: Any, known: dict[str, T], kind: Any, automatic: T) -> T:
    if isinstance(given, kind):
        return cast(T, given)
    if given == "auto":
        return automatic
    if not isinstance(given, str) or given not in known:
        raise ValueError(
            f"{name} must be auto, {', '.join(known)} or a {kind.__name__}, got {given!r}; "
            "auto is a good choice"
        )
    return known[given]


def _choose_stepper(
    stepper: str | Stepper, equation: Equation, rho: Array, span: float, dt: float | None
) -> tuple[Stepper, str]:
    """Return the stepper and why: explicit where its bound allows few enough steps."""
    explicit = STEPPERS["heun"]
    bound = explicit.limit(equation, explicit.begin(equation, rho))
    limit = EXPLICIT_STEPS[equation.grid.dim]
    count = span / bound if dt is None else (0 if dt <= bound else np.inf)
    which = "heun" if count <= limit else "b1"
    if dt is None:
        few = "few enough" if which == "heun" else f"more than the {limit} that pay"
        reason = f"positivity bounds explicit steps by {bound:.2g}, about {count:.0f} steps: {few}"
    else:
        reason = f"dt = {dt:g} against the positivity bound {bound:.2g} of explicit steps"
    chosen = _pick("stepper", stepper, STEPPERS, Stepper, STEPPERS[which])
    if stepper != "auto":
        reason = "as asked"
    if dt is not None and dt > chosen.limit(equation, chosen.begin(equation, rho)):
        raise ValueError(
            f"dt must be at most {bound:.3g} for explicit steps to stay positive, got {dt:g}; "
            "leave dt out, or use stepper='b1'"
        )
    return chosen, reason


def _march_through(
    problem: Problem, march: March, times: Array, progress: bool
) -> tuple[list[Array], str]:
    """Densities at the times, as far as they were reached, and the reason for stopping early."""
    saved: list[Array] = []
    with progress_bar("density", march.span, progress) as report:
        for before, t in zip(np.concatenate([[0.0], times[:-1]]), times, strict=True):
            try:
                # Sums of the clock's pieces, so that the same piece is never integrated twice.
                march.advance(march.clock + problem.flow.clock(float(before), float(t)), report)
            except StuckError as stuck:
                return saved, str(stuck)
            saved.append(march.rho)
    return saved, ""


def _collect(
    problem: Problem, march: March, times: Array, saved: list[Array], reason: str, failure: str
) -> Solution:
    assert isinstance(problem.initial, Density)
    equation = march.equation
    densities = tuple(Density(equation.grid, rho) for rho in saved)
    steps = f"{march.steps} steps of {march.stepper.name} ({march.rejected} repeated)"
    result = f"reached t = {problem.t1:g} in {steps}; {reason}"
    if not failure and times[-1] < problem.t1:
        result = f"reached the last time to save, t = {times[-1]:g}, in {steps}; {reason}"
    if failure:
        result = (
            f"stopped at clock time {march.clock:.6g} of {march.span:.6g} after {steps}: no step "
            f"was small enough, the last because {failure}; refine the grid, or check that the energy "
            "is bounded below and its potential smooth on the grid"
        )
    statistics = Statistics(
        equation.flux.name,
        march.stepper.name,
        reason,
        march.steps,
        march.rejected,
        (march.shortest if march.steps else 0.0, march.longest),
        march.mass_drift,
        march.energy_rise,
        march.smallest,
    )
    return Solution(
        problem,
        times,
        densities,
        np.array([equation.free_energy(rho) for rho in saved]),
        np.array([rho.mass for rho in densities]),
        np.array([equation.dissipation(rho) for rho in saved]),
        statistics,
        result,
        not failure,
    )
