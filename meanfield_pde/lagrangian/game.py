"""Particles of zero-sum games: both players' clouds, moved in turn from one and the same state."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np

from meanfield_pde.energies.payoff import KernelPayoff
from meanfield_pde.flows.problem import Game, Law, drawn
from meanfield_pde.flows.progress import progress_bar
from meanfield_pde.lagrangian import _kernels
from meanfield_pde.lagrangian.birth_death import BirthDeath, reacting
from meanfield_pde.lagrangian.dynamics import SGD, Dynamics
from meanfield_pde.lagrangian.game_run import GameRun
from meanfield_pde.lagrangian.steps import (
    Walls,
    equal_steps,
    noise_of,
    refuse_haste,
    refuse_infinite,
    refuse_leaps,
    sides_of,
)
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density

logger = logging.getLogger(__name__)

MOST_IN_PAIRS = 5000
"""Particles of each player up to which all pairs are summed: about a second a step."""

Clouds = tuple[Array, Array]
Generators = tuple[np.random.Generator, np.random.Generator]


def play(
    problem: Game,
    particles: int,
    seed: int,
    dynamics: Dynamics,
    save: Sequence[float] | int | None,
    seeds: int,
    progress: bool,
    streams: tuple[int, int] = (0, 1),
) -> GameRun:
    """Run the particles of both players of a game; arguments and errors are those of `simulate`.

    Player k of replica r is driven by ``numpy.random.default_rng([seed, r, streams[k]])``. The
    game with its players exchanged has the run with its clouds exchanged, bit for bit, if the
    streams are exchanged, too.
    """
    _require_playable(problem, particles, dynamics)
    dynamics = reacting(problem.flow, dynamics)
    times = problem.save_times(save)
    one, other = (
        [np.random.default_rng([seed, replica, stream]) for replica in range(seeds)]
        for stream in streams
    )
    generators = list(zip(one, other, strict=True))
    p0, q0 = problem.initial
    if isinstance(p0, Density) and isinstance(q0, Density):
        problem.flow.payoff.on(p0.grid, q0.grid)  # refuses what lacks the period of a torus
    clouds = [(drawn(p0, particles, a), drawn(q0, particles, b)) for a, b in generators]
    saved: list[list[Clouds]] = []
    with progress_bar("particles", problem.t1, progress) as report:
        for before, t in zip(np.concatenate([[0.0], times[:-1]]), times, strict=True):
            interval = float(before), float(t)
            clouds = _advance(problem, dynamics, clouds, generators, interval, report)
            saved.append(clouds)
    first, second = (np.array([[c[k] for c in at] for at in saved]) for k in (0, 1))
    result = (
        f"{seeds} x {particles} particles of both players reached t = {times[-1]:g} by "
        f"{dynamics.name}"
    )
    logger.info(result)
    return GameRun(problem, times, (first, second), seed, dynamics, result)


def _require_playable(problem: Game, particles: int, dynamics: Dynamics) -> None:
    if isinstance(dynamics, SGD) or getattr(dynamics, "batch", None) is not None:
        raise ValueError(
            f"dynamics must draw no batches in a game, got {dynamics.name}; a payoff has no data: "
            "use langevin"
        )
    if getattr(dynamics, "reservoir", None) is not None:
        raise ValueError(
            "reservoir must be left out in a game, got one; both players' dead are replaced by "
            "copies of the living"
        )
    if isinstance(problem.flow.payoff, KernelPayoff) and particles > MOST_IN_PAIRS:
        raise ValueError(
            f"particles must be at most {MOST_IN_PAIRS} of each player with a KernelPayoff, whose "
            f"drift sums all pairs, got {particles}; take fewer, or write the payoff as a "
            "mf.ProductPayoff, which costs its rank a particle"
        )


def _advance(
    problem: Game,
    dynamics: Dynamics,
    clouds: list[Clouds],
    generators: list[Generators],
    interval: tuple[float, float],
    report: Callable[[float], None],
) -> list[Clouds]:
    """Move every replica through an interval in equal steps of at most dt."""
    start, end = interval
    steps, dt = equal_steps(start, end, dynamics.dt)
    clouds = [(x.copy(), y.copy()) for x, y in clouds]
    (p0, q0), (x, y) = problem.initial, clouds[0]
    walls = _walls(p0, x), _walls(q0, y)
    with ThreadPoolExecutor(max_workers=1) as beside:
        for k in range(steps):
            t = start + k * dt
            time = dt * problem.flow.speed(t)
            for pair, rngs in zip(clouds, generators, strict=True):
                if problem.flow.transport:
                    _transport(problem, pair, rngs, time, walls, beside, (t, dt))
                if isinstance(dynamics, BirthDeath):
                    _react(problem, dynamics, pair, rngs, time, (t, dt))
            report(dt)
    return clouds


def _transport(
    problem: Game,
    pair: Clouds,
    rngs: Generators,
    time: float,
    walls: tuple[Walls, Walls],
    beside: Executor,
    now: tuple[float, float],
) -> None:
    """Move both clouds in place, each by the drift that the other exerts before the step."""
    flow = problem.flow
    noises = [noise_of(flow.beta, z.shape, rng, beside) for z, rng in zip(pair, rngs, strict=True)]
    velocities = flow.payoff.drifts(Cloud(pair[0]), Cloud(pair[1]))
    amplitude = np.sqrt(2 * flow.beta * time)
    for points, velocity, noise, sides in zip(pair, velocities, noises, walls, strict=True):
        share = _kernels.move(points, velocity, noise(), time, amplitude, *sides, points)
        refuse_leaps(share if sides[2] != _kernels.FREE else 0.0, *now)
        refuse_infinite(points, *now)


def _react(
    problem: Game,
    dynamics: BirthDeath,
    pair: Clouds,
    rngs: Generators,
    time: float,
    now: tuple[float, float],
) -> None:
    """Let particles of both be born and die in place, at the rates of the state before."""
    flow = problem.flow
    loss, gain = flow.payoff.variations(Cloud(pair[0]), Cloud(pair[1]))
    for points, potential, rng in zip(pair, (loss, -gain), rngs, strict=True):
        refuse_haste(dynamics.react(points, potential, flow.reaction * time, rng), *now)


def _walls(law: Law, points: Array) -> Walls:
    return sides_of(law.grid if isinstance(law, Density) else None, points.shape[1])
