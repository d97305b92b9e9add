"""The density solver for games."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from meanfield_pde.energies.energy import FixedFunctional
from meanfield_pde.eulerian.choose import (
    EXPLICIT_STEPS,
    PATIENCE,
    SHARE,
    STEEP,
    UNRESOLVED,
    pick,
    share_above,
    steepest,
)
from meanfield_pde.eulerian.flux import FLUXES, Flux
from meanfield_pde.eulerian.game_march import GameMarch
from meanfield_pde.eulerian.game_solution import GameSolution, Pair
from meanfield_pde.eulerian.game_step import Arrays, Match, Player, Position
from meanfield_pde.eulerian.march import StuckError
from meanfield_pde.eulerian.solution import Statistics
from meanfield_pde.eulerian.stepper import STEPPERS, Equation, Stepper
from meanfield_pde.flows.gap import nikaido_isoda
from meanfield_pde.flows.problem import Game
from meanfield_pde.flows.progress import progress_bar
from meanfield_pde.flows.threads import one_thread
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.order_free import folded_sum

logger = logging.getLogger(__name__)


@one_thread()
def solve_game(
    problem: Game,
    save: Sequence[float] | int | None,
    flux: str | Flux,
    stepper: str | Stepper,
    tolerance: float,
    dt: float | None,
    progress: bool,
) -> GameSolution:
    """Move both densities of a game; see `solve`.

    Raises
    ------
    ValueError
        If an argument is wrong.
    """
    p0, q0 = _densities(problem)
    times = problem.save_times(save)
    span = problem.flow.clock(0.0, problem.t1)
    if dt is not None and dt > span * (1 + 1e-12):
        raise ValueError(
            f"dt must be at most the flow's whole time {span:g}, got {dt:g}; make it smaller"
        )
    payoff = problem.flow.payoff.on(p0.grid, q0.grid)
    chosen, method, reason = _choose(problem, (p0, q0), flux, stepper, span, dt)
    first, second = (
        Player(rho.grid, folded_sum(rho.values), chosen, problem.flow) for rho in (p0, q0)
    )
    start = Position(Match((first, second), payoff), (p0.values, q0.values))
    _require_bound(start, method, dt)
    logger.info("stepper %s: %s", method.name, reason)
    march = GameMarch(start, method, span, tolerance, dt)
    kept, failure = _march_through(problem, march, times, progress)
    return _collect(problem, march, times[: len(kept.densities)], kept, reason, failure)


@dataclass(frozen=True, eq=False)
class Kept:
    """What is saved on the way."""

    densities: list[Arrays] = field(default_factory=list)
    averages: list[Arrays] = field(default_factory=list)


def _densities(problem: Game) -> Pair:
    p0, q0 = problem.initial
    for name, law in (("initial[0]", p0), ("initial[1]", q0)):
        if not isinstance(law, Density):
            raise ValueError(
                f"{name} must be a Density for the density solver, got {type(law).__name__}; put "
                "it on a grid, or use mf.simulate"
            )
        if abs(law.mass - 1) > 1e-5:
            raise ValueError(
                f"{name} must have mass 1 in a game, got {law.mass:g}; divide by the mass, as "
                "Density.normalised() does"
            )
    assert isinstance(p0, Density)
    assert isinstance(q0, Density)
    return p0, q0


def _choose(
    problem: Game,
    initial: Pair,
    flux: str | Flux,
    stepper: str | Stepper,
    span: float,
    dt: float | None,
) -> tuple[Flux, Stepper, str]:
    """Flux and stepper, and why these: the rules of `choose`, for the worse-off player."""
    game = problem.flow
    matrix = game.payoff.on(initial[0].grid, initial[1].grid)
    if not game.transport:
        if flux != "auto":
            raise ValueError(
                f"flux must be left out without transport, got {flux!r}; nothing flows"
            )
        method = pick("stepper", stepper, STEPPERS, Stepper, STEPPERS["b2"])
        return FLUXES["sg"], method, f"birth and death alone, solved exactly; {matrix.remark}"
    p, q = (rho.values for rho in initial)
    sides = [
        Equation(rho.grid, FixedFunctional(rho.grid, phi), game.beta, FLUXES["sg"])
        for rho, phi in zip(initial, (matrix.first(q), -matrix.second(p)), strict=True)
    ]
    plain = [(steepest(side, rho), rho) for side, rho in zip(sides, (p, q), strict=True)]
    shares = [
        max(share_above(limit, game.beta, *side) for side in plain) for limit in (UNRESOLVED, STEEP)
    ]
    outflow = max(side.constant_transport.outflow for side in sides)
    count, few = span * outflow, min(EXPLICIT_STEPS[rho.grid.dim] for rho in initial)
    limited = (isinstance(flux, Flux) and not flux.linear) or flux == "rl"
    steep = shares[1] > SHARE and count <= few * PATIENCE and (dt is None or dt * outflow <= 1)
    cheap = shares[1] <= SHARE and shares[0] <= SHARE and count <= few and dt is None
    name = "heun" if limited or steep or cheap else "mprk22"
    method = pick("stepper", stepper, STEPPERS, Stepper, STEPPERS[name])
    automatic = "compact" if game.beta > 0 and method.name in ("b2", "mprk22") else "sg"
    if method.explicit and shares[0] > SHARE:
        automatic = "rl"
    chosen = pick("flux", flux, FLUXES, Flux, FLUXES[automatic])
    if not method.explicit and not chosen.linear:
        raise ValueError(
            f"flux must be linear (sg, compact) for the implicit stepper {method.name}, got "
            f"{chosen.name!r}; use stepper='heun', or leave one of the two out"
        )
    reason = (
        f"{shares[0]:.1%} of a player's mass sees a cell Peclet number above {UNRESOLVED:g}; "
        f"explicit steps would be about {count:.0f} in all; {matrix.remark}"
    )
    return chosen, method, reason


def _require_bound(start: Position, stepper: Stepper, dt: float | None) -> None:
    bound = start.limit(stepper)
    if dt is not None and dt > bound:
        raise ValueError(
            f"dt must be at most {bound:.3g} for explicit steps to stay positive, got {dt:g}; "
            "leave dt out, or use stepper='mprk22'"
        )


def _march_through(
    problem: Game, march: GameMarch, times: Array, progress: bool
) -> tuple[Kept, str]:
    """Densities and averages at the times that were reached, and the reason for stopping early."""
    kept = Kept()
    with progress_bar("game", march.span, progress) as report:
        for before, t in zip(np.concatenate([[0.0], times[:-1]]), times, strict=True):
            try:
                march.advance(march.clock + problem.flow.clock(float(before), float(t)), report)
            except StuckError as stuck:
                return kept, str(stuck)
            kept.densities.append(march.position.densities)
            kept.averages.append(march.averages)
    return kept, ""


def _collect(
    problem: Game, march: GameMarch, times: Array, kept: Kept, reason: str, failure: str
) -> GameSolution:
    matrix, players = march.position.match.payoff, march.position.match.players
    game = problem.flow
    steps = "1 step" if march.steps == 1 else f"{march.steps} steps"
    steps += f" of {march.stepper.name} ({march.rejected} repeated)"
    result = f"reached t = {problem.t1:g} in {steps}; {reason}"
    if not failure and times[-1] < problem.t1:
        result = f"reached the last time to save, t = {times[-1]:g}, in {steps}; {reason}"
    if failure:
        result = (
            f"stopped at clock time {march.clock:.6g} of {march.span:.6g} after {steps}: no step "
            f"was small enough, the last because {failure}; refine the grids, or check that the "
            "payoff is smooth on them"
        )

    def pairs(saved: list[Arrays]) -> tuple[Pair, ...]:
        first, second = (player.grid for player in players)
        return tuple((Density(first, p), Density(second, q)) for p, q in saved)

    densities, averages = pairs(kept.densities), pairs(kept.averages)
    return GameSolution(
        problem,
        times,
        densities,
        averages,
        np.array([matrix.value(p, q) for p, q in kept.densities]),
        np.array([nikaido_isoda(game, p, q) for p, q in densities]),
        np.array([nikaido_isoda(game, p, q) for p, q in averages]),
        np.array([nikaido_isoda(game, p, q, entropic=True) for p, q in densities]),
        np.array([[p.mass, q.mass] for p, q in densities]).reshape(-1, 2),
        _statistics(problem, march, reason),
        result,
        not failure,
    )


def _statistics(problem: Game, march: GameMarch, reason: str) -> Statistics:
    flux = march.position.match.players[0].flux.name if problem.flow.transport else "none"
    return Statistics(
        flux,
        march.stepper.name,
        reason,
        march.steps,
        march.rejected,
        (march.shortest if march.steps else 0.0, march.longest),
        march.mass_drift,
        0.0,
        march.smallest,
    )
