"""The particle solver: several independent replicas of an interacting system."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from meanfield_pde.flows.game import ZeroSumGame
from meanfield_pde.flows.gradient_flow import GradientFlow
from meanfield_pde.flows.problem import Game, Problem
from meanfield_pde.flows.progress import progress_bar
from meanfield_pde.flows.threads import one_thread
from meanfield_pde.lagrangian import _kernels
from meanfield_pde.lagrangian.birth_death import (
    DYNAMICS,
    BirthDeath,
    reacting,
    require_apart,
)
from meanfield_pde.lagrangian.dynamics import Dynamics
from meanfield_pde.lagrangian.game import play
from meanfield_pde.lagrangian.game_run import GameRun
from meanfield_pde.lagrangian.steps import (
    Walls,
    equal_steps,
    noise_of,
    refuse_haste,
    refuse_infinite,
    refuse_leaps,
    walls_of,
)
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density

if TYPE_CHECKING:
    from xarray import Dataset

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Run:
    """Particles at the saved times.

    Parameters
    ----------
    problem : Problem or None
        None for a run that was read from a file.
    times : array (n_times,)
    points : array (n_times, seeds, particles, d)
    seed : int
        Replica r was driven by ``numpy.random.default_rng([seed, r])``.
    dynamics : Dynamics
    result : str
        What happened, in a sentence.
    """

    problem: Problem | None = field(repr=False)
    times: Array
    points: Array = field(repr=False)
    seed: int
    dynamics: Dynamics
    result: str
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def particles(self) -> int:
        """Number of particles in each replica."""
        return int(self.points.shape[2])

    @property
    def seeds(self) -> int:
        """Number of replicas."""
        return int(self.points.shape[1])

    def at(self, t: float) -> list[Cloud]:
        """Clouds of all replicas at a saved time.

        Raises
        ------
        ValueError
            If t was not saved.
        """
        index = int(np.abs(self.times - t).argmin())
        if abs(self.times[index] - t) > 1e-12 * max(1.0, abs(t)):
            raise ValueError(
                f"t = {t:g} was not saved, only {self.times.tolist()}; pass it in save="
            )
        return [Cloud(points) for points in self.points[index]]

    def to_dataset(self) -> Dataset:
        """Return an xarray Dataset with dims time, seed, particle, coordinate."""
        from xarray import Dataset

        dims = ("time", "seed", "particle", "coordinate")
        attributes = {
            "kind": "run",
            "result": self.result,
            "seed": self.seed,
            "dynamics": self.dynamics.name,
            "dt": self.dynamics.dt,
            **self.attributes,
        }
        return Dataset(
            {"position": (dims, self.points)}, coords={"time": self.times}, attrs=attributes
        )


@overload
def simulate(
    problem: Game,
    particles: int = ...,
    seed: int = ...,
    dynamics: str | Dynamics = ...,
    dt: float | None = ...,
    save: Sequence[float] | int | None = ...,
    seeds: int = ...,
    progress: bool = ...,
) -> GameRun: ...


@overload
def simulate(
    problem: Problem,
    particles: int = ...,
    seed: int = ...,
    dynamics: str | Dynamics = ...,
    dt: float | None = ...,
    save: Sequence[float] | int | None = ...,
    seeds: int = ...,
    progress: bool = ...,
) -> Run: ...


def simulate(
    problem: Problem | Game,
    particles: int = 10_000,
    seed: int = 0,
    dynamics: str | Dynamics = "langevin",
    dt: float | None = None,
    save: Sequence[float] | int | None = None,
    seeds: int = 1,
    progress: bool = False,
) -> Run | GameRun:
    """Run interacting particles of a gradient flow, or those of both players of a game.

    Where the flow reacts, particles are born and die after each step, whatever moves them in
    between: `BirthDeath`, and ``langevin`` and ``sgd`` with it, for the flow says what is solved.

    On a grid's box particles are reflected at the walls, on its torus they wrap; particles of an
    initial law without a grid, on a fixed subspace, a radius or a polar grid move in all of space.

    Parameters
    ----------
    problem : Problem
    particles : int
        Particles in each replica.
    seed : int
        Seed of all randomness.
    dynamics : str or Dynamics
        ``langevin``, ``sgd``, ``birth-death``, or an object such as ``mf.SGD(dt=0.01, batch=20)``.
    dt : float, optional
        Largest step, in place of the dynamics' own; shortened so that steps meet the saved times.
    save : sequence of float or int, optional
        As in `solve`.
    seeds : int
        Number of independent replicas.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Run or GameRun

    Raises
    ------
    ValueError
        If an argument is wrong, or particles cannot follow the flow: a reaction with entropy needs
        the density, and copies feel singular kernels unless noise takes them apart.
    SimulationError
        If a position is no longer finite, the drift alone crosses a quarter of the grid in a
        step, or a clock of birth and death rings more than once a step: the step is too large.

    Examples
    --------
    >>> import meanfield_pde as mf
    >>> V = mf.Potential(lambda z: 0.5 * (z**2).sum(-1), gradient=lambda z: z)
    >>> start = mf.Density.gaussian(mf.Grid.box(-6, 6, 200), 1.0, 0.04)
    >>> run = simulate(mf.Problem(mf.GradientFlow(V), start, t1=1.0), particles=100, seed=1)
    >>> run.points.shape
    (2, 1, 100, 1)
    """
    if not isinstance(problem, Problem):
        raise ValueError(
            f"problem must be a mf.Problem, got {type(problem).__name__}; "
            "write mf.Problem(mf.GradientFlow(energy), initial, t1)"
        )
    particles = check.count("particles", particles, "10000 is a good number")
    seeds = check.count("seeds", seeds, "8 give confidence intervals")
    seed = check.count("seed", seed, "any whole number from 0 will do", least=0)
    chosen = _dynamics(dynamics, dt)
    if isinstance(problem.flow, ZeroSumGame):
        return play(problem, particles, seed, chosen, save, seeds, progress)
    chosen = reacting(problem.flow, chosen)
    energy = problem.flow.energy.smooth
    chosen.prepare(energy)
    times = problem.save_times(save)
    if isinstance(problem.initial, Density) and problem.initial.grid.periodic:
        energy.on(problem.initial.grid)  # refuses what lacks the period
    generators = [np.random.default_rng([seed, replica]) for replica in range(seeds)]
    clouds = [problem.draw(particles, rng) for rng in generators]
    require_apart(problem.flow, clouds[0].shape[1])
    saved = []
    with progress_bar("particles", problem.t1, progress) as report:
        for before, t in zip(np.concatenate([[0.0], times[:-1]]), times, strict=True):
            clouds = _advance(
                problem, chosen, clouds, generators, (float(before), float(t)), report
            )
            saved.append(np.stack(clouds))
    result = f"{seeds} x {particles} particles reached t = {times[-1]:g} by {chosen.name}"
    logger.info(result)
    return Run(problem, times, np.stack(saved), seed, chosen, result)


def _dynamics(dynamics: str | Dynamics, dt: float | None) -> Dynamics:
    if isinstance(dynamics, str):
        if dynamics not in DYNAMICS:
            raise ValueError(
                f"dynamics must be {', '.join(DYNAMICS)} or a Dynamics, got {dynamics!r}; "
                "langevin uses the drift of the whole data law"
            )
        dynamics = DYNAMICS[dynamics]()
    if not isinstance(dynamics, Dynamics):
        raise ValueError(
            f"dynamics must be a name or a Dynamics, got {type(dynamics).__name__}; "
            "for example mf.SGD(dt=0.01, batch=20)"
        )
    return dynamics if dt is None else replace(dynamics, dt=dt)  # type: ignore[type-var]


@one_thread()
def _advance(
    problem: Problem,
    dynamics: Dynamics,
    clouds: list[Array],
    generators: list[np.random.Generator],
    interval: tuple[float, float],
    report: Callable[[float], None],
) -> list[Array]:
    """Move every replica through an interval in equal steps of at most dt."""
    start, end = interval
    steps, dt = equal_steps(start, end, dynamics.dt)
    flow, dim = problem.flow, clouds[0].shape[1]
    energy, walls = flow.energy.smooth, walls_of(problem, dim)
    projection = _projection(problem, dim)
    clouds = [points.copy() for points in clouds]
    weights = Cloud(clouds[0]).weights
    with ThreadPoolExecutor(max_workers=1) as beside:
        for k in range(steps):
            now = start + k * dt
            time = dt * flow.speed(now)
            for points, rng in zip(clouds, generators, strict=True):
                share = 0.0
                if flow.transport:
                    batch = dynamics.draw(energy, rng)
                    noise = noise_of(flow.energy.beta, points.shape, rng, beside)
                    velocity = energy.drift(Cloud.unchecked(points, weights), batch)
                    kick = noise() if projection is None else noise() @ projection
                    share = _move(flow, points, velocity, kick, rng, time, walls)
                refuse_leaps(share if walls[2] != _kernels.FREE else 0.0, now, dt)
                refuse_infinite(points, now, dt)
                if isinstance(dynamics, BirthDeath):
                    refuse_haste(_react(flow, dynamics, points, rng, time), now, dt)
                    _refuse_strangers(points, walls)
            report(dt)
    return clouds


def _move(
    flow: GradientFlow,
    points: Array,
    velocity: Array,
    kick: Array,
    rng: np.random.Generator,
    time: float,
    walls: Walls,
) -> float:
    """Move particles by drift and noise, in place; return the largest share of a side by drift."""
    amplitude = np.sqrt(2 * flow.energy.beta * time)
    if flow.frozen:
        dim = points.shape[1]
        moving = np.isin(range(dim), flow.moving(dim)).astype(np.float64)
        velocity, kick = moving * velocity, moving * kick
    angles = _turns(flow, points, velocity, time, rng)
    share = _kernels.move(points, velocity, kick, time, amplitude, *walls, points)
    _turn(points, angles)
    return float(share)


def _react(
    flow: GradientFlow, dynamics: BirthDeath, points: Array, rng: np.random.Generator, time: float
) -> float:
    """Let particles be born and die, in place; return the largest rate times the step."""
    energy = flow.energy.smooth
    potential = energy.cloud_potential(Cloud(points), dynamics.draw(energy, rng))
    return dynamics.react(points, potential, flow.reaction * time, rng)


def _turns(
    flow: GradientFlow, points: Array, velocity: Array, time: float, rng: np.random.Generator
) -> Array | None:
    """Angles by which particles turn in a step in a lazy metric, None in the Euclidean one.

    The mobility is ``I + J z (J z)^T / (2 lambda^2)``, and J z has no divergence: its part of the
    noise is a rotation by a normal angle of variance ``beta time / lambda^2``.
    """
    if flow.metric is None:
        return None
    if points.shape[1] != 2:
        raise ValueError(
            f"metric must be left out for particles in dimension {points.shape[1]}, got a lazy "
            "one; it is the plane's"
        )
    torque = points[:, 0] * velocity[:, 1] - points[:, 1] * velocity[:, 0]
    noise = rng.standard_normal(len(points)) if flow.energy.beta else 0.0
    drawn = np.sqrt(flow.energy.beta * time) / flow.metric.scale * noise
    return np.asarray(time * torque / (2 * flow.metric.scale**2) + drawn)


def _turn(points: Array, angles: Array | None) -> None:
    """Rotate every point by its angle, in place."""
    if angles is not None:
        cosine, sine = np.cos(angles), np.sin(angles)
        x, y = points.T.copy()
        points[:, 0], points[:, 1] = cosine * x - sine * y, sine * x + cosine * y


def _refuse_strangers(points: Array, walls: Walls) -> None:
    """Raise where a reservoir has put particles beyond the walls, which would fold them back."""
    lower, upper, kind = walls
    if kind != _kernels.FREE and not ((points >= lower) & (points <= upper)).all():
        raise ValueError(
            f"reservoir must lie in the box of the initial law, got points in "
            f"{points.min(axis=0)} to {points.max(axis=0)}; take a law on its grid"
        )


def _projection(problem: Problem, dim: int) -> Array | None:
    """Matrix by which the noise is projected, None where it acts in all directions."""
    group = problem.flow.noise
    if group is None:
        return None
    group.on_z(dim)
    return group.projection()
