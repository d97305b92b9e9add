"""The density solver: one loop for every flux and stepper."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import overload

import numpy as np

from meanfield_pde.energies.symmetrised import symmetrised
from meanfield_pde.eulerian.choose import choose
from meanfield_pde.eulerian.concentration import CollapseError, Watch, watch
from meanfield_pde.eulerian.confined import require_confined
from meanfield_pde.eulerian.flux import Flux
from meanfield_pde.eulerian.game_solution import GameSolution
from meanfield_pde.eulerian.march import March, StuckError
from meanfield_pde.eulerian.polar import fluxes_on
from meanfield_pde.eulerian.reaction import Reaction
from meanfield_pde.eulerian.reduction import Reduction, reduction
from meanfield_pde.eulerian.solution import Solution, Statistics
from meanfield_pde.eulerian.splitting import Reacting, reacting_reason
from meanfield_pde.eulerian.stepper import State, Stepper
from meanfield_pde.flows.game import ZeroSumGame
from meanfield_pde.flows.problem import Game, Problem
from meanfield_pde.flows.progress import progress_bar
from meanfield_pde.flows.threads import one_thread
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.group import Group
from meanfield_pde.measures.order_free import folded_sum

logger = logging.getLogger(__name__)

COLLAPSE = ("error", "stop", "ignore")
"""What to do with a law that collapses."""


class SolveError(RuntimeError):
    """The density solver could not reach the end time; ``solution`` holds what it has."""

    def __init__(self, solution: Solution | GameSolution) -> None:
        super().__init__(solution.result)
        self.solution = solution


@overload
def solve(
    problem: Problem,
    save: Sequence[float] | int | None = None,
    flux: str | Flux = "auto",
    stepper: str | Stepper = "auto",
    tolerance: float = 1e-3,
    dt: float | None = None,
    progress: bool = False,
    throw: bool = True,
    symmetry: Group | None = None,
    reduce: Group | None = None,
    collapse: str = "error",
) -> Solution: ...
@overload
def solve(
    problem: Game,
    save: Sequence[float] | int | None = None,
    flux: str | Flux = "auto",
    stepper: str | Stepper = "auto",
    tolerance: float = 1e-3,
    dt: float | None = None,
    progress: bool = False,
    throw: bool = True,
    symmetry: None = None,
    reduce: None = None,
    collapse: str = "error",
) -> GameSolution: ...
def solve(
    problem: Problem | Game,
    save: Sequence[float] | int | None = None,
    flux: str | Flux = "auto",
    stepper: str | Stepper = "auto",
    tolerance: float = 1e-3,
    dt: float | None = None,
    progress: bool = False,
    throw: bool = True,
    symmetry: Group | None = None,
    reduce: Group | None = None,
    collapse: str = "error",
) -> Solution | GameSolution:
    """Move a density along a gradient flow, or both densities of a zero-sum game.

    Steps with a reaction are split by Strang: half of the reaction, the transport, the other half.
    With b1 and b2 the free energy falls for every dt also then, where the flow is dissipative; of
    other flows steps that raise it are not refused, and `Solution.result` says so.

    Parameters
    ----------
    problem : Problem
        Its initial law must be a Density, that of a game a pair of these. Convergence of a game is
        not guaranteed: it may cycle without end. What tells is the Nikaido-Isoda gap.
    save : sequence of float or int, optional
        Times to save at, or a number of equispaced times; 0 and t1 where it is left out.
    flux : str or Flux
        ``sg`` (Scharfetter-Gummel), ``compact`` (its correction of fourth order for point values,
        with implicit steps), ``rl`` (ratio-limited: second order where the drift dominates, with
        explicit steps only), or ``auto``: by the cell Peclet number where the mass is. On a polar
        grid there is ``sg`` alone.
    stepper : str or Stepper
        ``heun`` (explicit, order 2), ``mprk22`` (implicit, order 2), ``b1`` and ``b2`` (averaged
        potential, orders 1 and 2, dissipating for every dt), or ``auto``: b2 for a fixed
        potential whose exponential is cheap, else explicit unless the positivity bound asks for
        very many steps, else mprk22.
    tolerance : float
        Largest L1 error of a step, relative to the mass, by an estimate of order 1: for ``heun``
        and ``mprk22`` that of the Euler step inside, far above their own.
    dt : float, optional
        Fixed step in the flow's own clock, with no error control. A step that cannot be stable
        is an error for ``heun``; a step that an implicit method cannot take is split.
    progress : bool
        Whether to show a progress bar.
    throw : bool
        Whether to raise when the end time is not reached; otherwise see `Solution.result`.
    symmetry : Group, optional
        A group that permutes the cells and leaves the energy invariant. Then an invariant density
        stays so to the last bit (`symmetrise` makes one), and with explicit steppers the flow of
        the image of any density is the image of its flow, to the last bit (on a torus, where its
        middle or its corner is 0; on a polar grid to rounding); without, both hold to rounding.
        Densities that are not invariant cost an evaluation of the energy for each element.
    reduce : Group, optional
        A group with reflections of axes, or the exchange of both, that leaves the energy and the
        initial density invariant. The equation is solved on its fundamental domain (half, quarter
        or octant) and the whole density given back: that of the whole grid up to rounding, at the
        domain's share of the cost, and invariant to the last bit.
    collapse : str
        What to do where a kernel that falls to minus infinity at 0 has drawn the mass into a few
        cells, after which these decide and not the equation: ``error``, ``stop`` (the solution
        ends before, and is ok), or ``ignore``. `Statistics.concentrated` is the time, within some
        percent where the start spans tens of cells and attraction is a tenth above critical.

    Returns
    -------
    Solution or GameSolution
        A density that has come to rest is kept for the times that are left, unless dt is given; of
        a game every step is taken.

    Raises
    ------
    ValueError
        If an argument is wrong; for ``symmetry`` and ``reduce`` also if the energy is not invariant
        under it, or the problem is a game; on E^G also if the drift or the noise leaves it.
    SolveError
        If the end time was not reached and ``throw``; not after a collapse at which to stop.

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
    if isinstance(problem.flow, ZeroSumGame):
        from meanfield_pde.eulerian.game_solve import solve_game  # which most solves do without

        tolerance, dt = _checked(tolerance, dt)
        _refuse_groups(symmetry, reduce)
        played = solve_game(problem, save, flux, stepper, tolerance, dt, progress)
        if throw and not played.ok:
            raise SolveError(played)
        return played
    if not isinstance(problem.initial, Density):
        raise ValueError(
            f"initial must be a Density for the density solver, got "
            f"{type(problem.initial).__name__}; put it on a grid, or use mf.simulate"
        )
    require_confined(problem)
    tolerance, dt = _checked(tolerance, dt)
    if symmetry is not None and reduce is not None:
        raise ValueError(
            "symmetry must be left out with reduce, got both; a reduced density is invariant "
            "to the last bit"
        )
    if collapse not in COLLAPSE:
        raise ValueError(
            f"collapse must be {', '.join(COLLAPSE)}, got {collapse!r}; stop is for laws that are "
            "expected to collapse"
        )
    times = problem.save_times(save)
    domain, reduced = None, problem
    if reduce is not None:
        domain, reduced = reduction(problem, reduce)
    with one_thread():
        march, reason = _prepare(reduced, flux, stepper, tolerance, dt, symmetry, domain)
        stop = collapse != "ignore"
        march.watch = watch(problem.flow.energy, march.equation.grid, march.rho, stop)
        saved, failure = _march_through(problem, march, times, progress)
    if symmetry is not None:
        reason += f"; symmetry {symmetry.name} {march.symmetric}"
    densities = tuple(Density(march.equation.grid, state.rho) for state in saved)
    masses = np.array([rho.mass for rho in densities])
    if domain is not None:
        densities = tuple(domain.lift(rho) for rho in densities)
    ends = times[: len(saved)]
    solution = _collect(problem, march, ends, saved, (densities, masses), reason, failure)
    if march.watch is not None and march.watch.full is not None:
        solution = _collapsed(solution, march.watch, times, collapse)
    if not solution.ok and throw:
        raise SolveError(solution)
    return solution


def _checked(tolerance: float, dt: float | None) -> tuple[float, float | None]:
    tolerance = check.number("tolerance", tolerance, "1e-3 is a good number", above=0)
    if dt is not None:
        dt = check.number("dt", dt, "give a positive step or leave it out", above=0)
    return tolerance, dt


def _refuse_groups(symmetry: Group | None, reduce: Group | None) -> None:
    for name, group in (("symmetry", symmetry), ("reduce", reduce)):
        if group is not None:
            raise ValueError(
                f"{name} must be left out in a game, got a group; invariant starts stay so to "
                "rounding where the payoff is invariant under it"
            )


def _prepare(
    problem: Problem,
    flux: str | Flux,
    stepper: str | Stepper,
    tolerance: float,
    dt: float | None,
    symmetry: Group | None,
    domain: Reduction | None,
) -> tuple[March, str]:
    """Choose the methods for a problem, and say why."""
    assert isinstance(problem.initial, Density)
    grid, energy, rho = problem.initial.grid, problem.flow.energy, problem.initial.values
    span = problem.flow.clock(0.0, problem.t1)
    fluxes = fluxes_on(grid, problem.flow.metric, flux)
    functional, orbits = energy.smooth_on(grid), None
    if symmetry is not None:
        check.instance("symmetry", symmetry, Group, "make one with the constructors of mf.Group")
        _refuse_mixed(symmetry, problem.flow.moving(grid.dim), grid.dim)
        functional = mean = symmetrised(functional, symmetry, rho, grid)
        orbits = mean.orbits
    smooth = grid, functional, energy.beta
    reaction = Reaction.of(problem.flow, grid, folded_sum(rho))
    frozen = tuple(problem.flow.frozen if problem.flow.transport else range(grid.dim))
    split = reaction is not None
    equation, chosen, reason = choose(flux, stepper, smooth, rho, span, dt, frozen, fluxes, split)
    if split:
        equation, chosen = replace(equation, reaction=reaction), Reacting(chosen)
        reason = reacting_reason(equation, reason)
    if domain is not None:
        _refuse_mixed(domain.group, problem.flow.moving(grid.dim), grid.dim)
        equation, orbits = replace(equation, swapped=domain.swapped), domain.orbits
        reason += f"; {domain.said}"
    logger.info("flux %s, stepper %s: %s", equation.flux.name, chosen.name, reason)
    return March(equation, chosen, rho, span, tolerance, dt, orbits), reason


def _refuse_mixed(group: Group, moving: tuple[int, ...], dim: int) -> None:
    """Raise where a group turns coordinates that move into frozen ones."""
    moved = np.isin(range(dim), moving)
    if np.abs(group.on_z(dim)[:, moved][:, :, ~moved]).sum() > 1e-12:
        raise ValueError(
            f"symmetry must keep frozen coordinates frozen, got {group.name}, which mixes them "
            "with the others; use another group, or no frozen="
        )


def _march_through(
    problem: Problem, march: March, times: Array, progress: bool
) -> tuple[list[State], str]:
    """Densities at the times, as far as they were reached, and the reason for stopping early."""
    saved: list[State] = []
    with progress_bar("density", march.span, progress) as report:
        for before, t in zip(np.concatenate([[0.0], times[:-1]]), times, strict=True):
            try:
                # Sums of the clock's pieces, so that the same piece is never integrated twice.
                march.advance(march.clock + problem.flow.clock(float(before), float(t)), report)
            except StuckError as stuck:
                return saved, str(stuck)
            except CollapseError:
                return saved, ""
            saved.append(march.state)
    return saved, ""


def _collect(
    problem: Problem,
    march: March,
    times: Array,
    saved: list[State],
    found: tuple[tuple[Density, ...], Array],
    reason: str,
    failure: str,
) -> Solution:
    densities, masses = found
    steps = "1 step" if march.steps == 1 else f"{march.steps} steps"
    steps += f" of {march.stepper.name} ({march.rejected} repeated)"
    stationary = None
    if march.stationary is not None:
        stationary = _time(problem, march.stationary, times)
        steps += f", stationary since t = {stationary:.4g}"
    result = f"reached t = {problem.t1:g} in {steps}; {reason}"
    if not failure and len(times) and times[-1] < problem.t1:
        result = f"reached the last time to save, t = {times[-1]:g}, in {steps}; {reason}"
    if failure:
        result = (
            f"stopped at clock time {march.clock:.6g} of {march.span:.6g} after {steps}: no step "
            f"was small enough, the last because {failure}; refine the grid, or check that the "
            "energy is bounded below and its potential smooth on the grid"
        )
    return Solution(
        problem,
        times,
        densities,
        np.array([state.free_energy for state in saved]),
        masses,
        np.array([state.dissipation for state in saved]),
        _statistics(march, reason, stationary),
        result,
        not failure,
    )


def _collapsed(solution: Solution, seen: Watch, times: Array, mode: str) -> Solution:
    """Say in a solution when and where its law collapsed."""
    problem = solution.problem
    assert problem is not None
    assert seen.full is not None
    assert seen.collapse is not None
    t = _time(problem, seen.full, times)
    end = t + (seen.collapse - seen.full) / problem.flow.speed(t)
    told = (
        f"at t = {t:.4g} {seen.said}, where {seen.critical:.3g} is critical for their kernel; the "
        f"law collapses into a point at t = {end:.4g}"
    )
    statistics = replace(solution.statistics, concentrated=end)
    if mode == "ignore":
        return replace(solution, statistics=statistics, result=f"{solution.result}; {told}")
    steps = f"{solution.statistics.steps} steps of {solution.statistics.stepper}"
    result = f"stopped by a collapse after {steps}: {told}; {solution.statistics.reason}"
    if mode == "error":
        result = (
            f"stopped by a collapse after {steps}: {told}, and what followed would be an answer "
            "of the cells; pass collapse='stop' where that is the answer, 'ignore' to go on, or "
            "make the attraction weaker"
        )
    return replace(solution, statistics=statistics, result=result, ok=mode == "stop")


def _statistics(march: March, reason: str, stationary: float | None) -> Statistics:
    return Statistics(
        march.equation.flux.name,
        march.stepper.name,
        reason,
        march.steps,
        march.rejected,
        (march.shortest if march.steps else 0.0, march.longest),
        march.mass_drift,
        march.energy_rise,
        march.smallest,
        march.symmetry_defect,
        stationary,
    )


def _time(problem: Problem, clock: float, times: Array) -> float:
    """Time at which the flow's own clock shows a value, to a thousandth of a save interval."""
    passed = 0.0
    for before, t in zip(np.concatenate([[0.0], times[:-1]]), times, strict=True):
        piece = problem.flow.clock(float(before), float(t))
        if piece > 0 and passed + piece >= clock:
            break
        passed += piece
    ends = np.linspace(before, t, 1001)
    rates = [problem.flow.speed(float(middle)) for middle in 0.5 * (ends[:-1] + ends[1:])]
    shown = np.concatenate([[0.0], np.cumsum(rates)])
    return float(np.interp((clock - passed) / piece, shown / shown[-1], ends))
