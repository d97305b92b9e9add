"""What all steps of particles share: their lengths, noise, walls, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np

from meanfield_pde.flows.problem import Problem
from meanfield_pde.lagrangian import _kernels
from meanfield_pde.lagrangian.birth_death import (
    FASTEST,
)
from meanfield_pde.measures.chart import Polar
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid

Walls = tuple[Array, Array, int]
WORTH_A_THREAD = 20_000
"""Numbers of a step's noise from which they are drawn beside the drift."""


class SimulationError(RuntimeError):
    """Particles left the range of finite numbers, or steps are too long."""


def equal_steps(start: float, end: float, longest: float) -> tuple[int, float]:
    """Return number and length of the steps of an interval, equal and at most ``longest``."""
    steps = int(np.ceil((end - start) / longest * (1 - 1e-9)))
    return steps, (end - start) / max(steps, 1)


def noise_of(
    beta: float, shape: tuple[int, ...], rng: np.random.Generator, beside: Executor
) -> Callable[[], Array]:
    """Draw the noise of a step; many numbers in a thread, while the drift is computed.

    Nothing else draws from the generator meanwhile, so that the numbers are the same.
    """
    if not beta:
        return lambda: np.zeros(shape)
    if math.prod(shape) < WORTH_A_THREAD:
        drawn = rng.standard_normal(shape)
        return lambda: drawn
    return beside.submit(rng.standard_normal, shape).result


def refuse_leaps(share: float, t: float, dt: float) -> None:
    """Raise where the drift alone carries a particle across a quarter of the grid in one step.

    Walls would fold such a particle back, and hide that the step is unstable.
    """
    if share > 0.25:
        raise SimulationError(
            f"near t = {t:g} the drift carries a particle across {share:.0%} of the grid in "
            f"one step: dt = {dt:g} is too large for the drift; make dt smaller"
        )


def refuse_haste(fastest: float, t: float, dt: float) -> None:
    """Raise where a clock should ring more often than once a step."""
    if not fastest <= FASTEST:
        raise SimulationError(
            f"near t = {t:g} a clock of birth and death rings at {fastest:.3g} times the rate "
            f"1 / dt, more than {FASTEST:g}: dt = {dt:g} is too large for the reaction; make dt "
            f"{0.5 * FASTEST / fastest * dt:.1g}"
        )


def refuse_infinite(points: Array, t: float, dt: float) -> None:
    """Raise where a particle is nowhere any more."""
    if not np.isfinite(points).all():
        raise SimulationError(
            f"a particle left the range of numbers near t = {t:g}: the step dt = {dt:g} is too "
            "large for the drift; make dt smaller"
        )


def walls_of(problem: Problem, dim: int) -> Walls:
    """Corners of the box or torus in which particles move, and what its sides do to them."""
    own = problem.initial.grid if isinstance(problem.initial, Density) else None
    if problem.flow.metric is not None and own is not None and not isinstance(own.chart, Polar):
        raise ValueError(
            "metric must be left out on a grid that is not polar, got a lazy one, whose flow turns "
            "particles across the sides of a box; start from a density on a Grid.polar, or from "
            "a sampler"
        )
    return sides_of(None if own is None else own.whole, dim)


def sides_of(grid: Grid | None, dim: int) -> Walls:
    """Corners and sides of a grid; without one, particles move in all of space."""
    if grid is None:
        return np.zeros(dim), np.ones(dim), _kernels.FREE
    kind = _kernels.WRAP if grid.periodic else _kernels.REFLECT
    return np.array(grid.lower), np.array(grid.upper), kind
