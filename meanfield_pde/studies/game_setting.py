"""What claims about games are checked on: a game, its solutions and runs, and planted faults."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from meanfield_pde.energies.payoff import KernelPayoff, Payoff, ProductPayoff
from meanfield_pde.energies.payoff_matrix import PayoffMatrix
from meanfield_pde.eulerian.game_solution import GameSolution
from meanfield_pde.eulerian.solve import solve
from meanfield_pde.flows.problem import Game, Problem
from meanfield_pde.lagrangian.dynamics import Dynamics, Langevin
from meanfield_pde.lagrangian.game_run import GameRun
from meanfield_pde.lagrangian.simulate import simulate
from meanfield_pde.measures.check import Array, Function
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid

SAVES = 21
TILT = 1.0
"""Size of the fault that is planted in payoffs."""


@dataclass(frozen=True, eq=False)
class GameSetting:
    """A game to check claims on.

    Parameters
    ----------
    problem : Problem
        Of a `ZeroSumGame`, with a pair of densities as its initial laws.
    options : dict
        Arguments for `solve` besides ``save``.
    dynamics : Dynamics
        Of the particles; claims take its step, shorter where they say so.
    seed : int
        From which the seeds of all runs are derived.
    """

    problem: Game
    options: dict[str, Any] = field(default_factory=dict)
    dynamics: Dynamics = field(default_factory=Langevin)
    seed: int = 0
    _solutions: dict[str, GameSolution] = field(default_factory=dict, init=False, repr=False)

    @property
    def initial(self) -> tuple[Density, Density]:
        """Initial densities."""
        p, q = self.problem.initial
        assert isinstance(p, Density)
        assert isinstance(q, Density)
        return p, q

    @property
    def grids(self) -> tuple[Grid, Grid]:
        """Grids of both players."""
        p, q = self.initial
        return p.grid, q.grid

    @cached_property
    def matrix(self) -> PayoffMatrix:
        """Payoff at the cells."""
        return self.problem.flow.payoff.on(*self.grids)

    @cached_property
    def size(self) -> float:
        """Largest first variation of either player, at the start and against uniform laws, or 1."""
        pairs = (self.initial, tuple(Density.uniform(grid) for grid in self.grids))
        found = [np.abs(phi).max() for p, q in pairs for phi in self.potentials(p, q)]
        return max(1.0, *map(float, found))

    def potentials(self, p: Density, q: Density) -> tuple[Array, Array]:
        """Return what each player descends: ``int f dq`` and ``-int f dp``."""
        return self.matrix.first(q.values), -self.matrix.second(p.values)

    def has(self) -> dict[str, bool]:
        """Say what there is of all that claims may need."""
        flow = self.problem.flow
        flat = self.potentials(*(Density.uniform(grid) for grid in self.grids))
        rotation = max(float(np.ptp(phi)) for phi in flat) <= 1e-12 * self.size
        pure = flow.reaction > 0 and not flow.transport and not (flow.entropic and flow.beta)
        return {
            "entropic equilibrium": flow.beta > 0 and (flow.entropic or not flow.reaction),
            "Fisher-Rao": pure,
            "uniform equilibrium": rotation,
            "known payoff": isinstance(flow.payoff, KernelPayoff | ProductPayoff),
        }

    def flow(self, fault: str = "", until: float | None = None) -> GameSolution:
        """Solve the game, with a planted fault where one is named; solved once and kept.

        ``exchanged`` is the game with its players exchanged, ``mistaken`` that with the payoff as
        it was, ``tilted`` adds a potential of the first player to the payoff, and ``damped`` lets
        an entropy with beta = 0.1 react. It ends at ``until``, in place of t1.
        """
        end = self.problem.t1 if until is None else until
        key = f"{fault} {end!r}"
        if key not in self._solutions:
            faulty = self.game(fault)
            problem = Problem(faulty.flow, faulty.initial, end)
            self._solutions[key] = solve(problem, save=SAVES, **self.options)
        return self._solutions[key]

    def game(self, fault: str) -> Game:
        """Return the game with a fault that `flow` knows."""
        flow, laws = self.problem.flow, self.initial
        if fault in ("exchanged", "mistaken"):
            payoff = exchanged(flow.payoff, -1.0 if fault == "exchanged" else 1.0)
            return Problem(replace(flow, payoff=payoff), (laws[1], laws[0]), self.problem.t1)
        if fault == "tilted":
            payoff = plus(flow.payoff, self.tilt, lambda y: np.ones(y.shape[:-1]))
            return Problem(replace(flow, payoff=payoff), laws, self.problem.t1)
        if fault == "damped":
            return Problem(replace(flow, beta=0.1, entropic=True), laws, self.problem.t1)
        return self.problem

    def tilt(self, x: Array) -> Array:
        """Potential of the first player that changes sign along the first axis."""
        grid = self.grids[0]
        z, middle = x[..., 0], grid.middle[0]
        if grid.periodic:
            turn = 2 * np.pi / (grid.upper[0] - grid.lower[0])
            return np.asarray(TILT * np.sin(turn * (z - middle) + 0.5))
        return np.asarray(TILT * np.tanh(z - middle + 0.5))

    def run(self, particles: int, seeds: int, until: float, dt: float) -> GameRun:
        """Particles of the game at 0 and ``until``."""
        sequence = np.random.SeedSequence([self.seed, particles, seeds])
        problem = Problem(self.problem.flow, self.initial, until)
        seed = int(sequence.generate_state(1)[0])
        dynamics = replace(self.dynamics, dt=dt)  # type: ignore[type-var]
        return simulate(problem, particles, seed, dynamics, seeds=seeds)


def exchanged(payoff: Payoff, sign: float = -1.0) -> Payoff:
    """Payoff of the game with its players exchanged, ``sign f(x, y)`` as a function of (y, x).

    Raises
    ------
    ValueError
        If it is neither a `KernelPayoff` nor a `ProductPayoff`.
    """
    if isinstance(payoff, ProductPayoff):
        return ProductPayoff([(_scaled(b, sign), a) for a, b in payoff.terms])
    f = _function(payoff)
    return KernelPayoff(lambda y, x: sign * f(x, y))


def plus(payoff: Payoff, a: Function, b: Function) -> Payoff:
    """Payoff ``f(x, y) + a(x) b(y)``; errors as in `exchanged`."""
    if isinstance(payoff, ProductPayoff):
        return ProductPayoff([*payoff.terms, (a, b)])
    f = _function(payoff)
    return KernelPayoff(lambda x, y: f(x, y) + a(x) * b(y))


def _scaled(function: Function, sign: float) -> Function:
    return lambda z: sign * function(z)


def _function(payoff: Payoff) -> Function:
    if not isinstance(payoff, KernelPayoff):
        raise ValueError(
            f"payoff must be a KernelPayoff or a ProductPayoff, got {type(payoff).__name__}; "
            "write it as one of these"
        )
    return payoff.function
