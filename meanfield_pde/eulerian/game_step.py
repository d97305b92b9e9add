r"""Steps of zero-sum games: each player moves in a potential that the other makes.

For fixed potentials both players' equations are linear, and any stepper of gradient flows moves
them. The potentials are the means over the step,

.. math:: \bar\Phi_\mu = \int f\, d\tfrac{\nu + \nu'}{2}, \qquad
          \bar\Phi_\nu = -\int f\, d\tfrac{\mu + \mu'}{2},

and both players always answer the same iterate, never one the other's answer: so the exchange of
the players (f(x, y) to -f(y, x)) changes no bit. ``heun`` predicts the end of the step with the
potentials of its start; implicit steppers iterate on the potentials, with Anderson's acceleration
of both players together.

The averaged step is symmetric in time but for the linear stepper, hence of order 2 with ``b2`` and
``mprk22``. It neither feeds nor damps rotation: near an equilibrium a mode that rotates at the rate
omega is multiplied by (R - i c) / (1 + i c), with R in [0, 1] its decay and c of the order of
omega dt, never more than 1 in size, while an explicit Euler step adds dt omega^2 / 2 to every rate.

With birth and death a step is half a reaction, a transport and half a reaction (Strang), all with
the same averaged potential, and the reactions exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from meanfield_pde.energies.energy import FixedFunctional
from meanfield_pde.energies.payoff_matrix import PayoffMatrix
from meanfield_pde.eulerian.fixed_point import anderson
from meanfield_pde.eulerian.flux import Flux
from meanfield_pde.eulerian.reaction import Reaction
from meanfield_pde.eulerian.stepper import Equation, State, StepFailedError, Stepper
from meanfield_pde.flows.game import ZeroSumGame
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.order_free import folded_sum

SETTLED = 1e-12
"""Change of the averaged potentials, relative to max(1, |Phi|), at which iterations stop."""
ITERATIONS = 50
"""Iterations after which a step is repeated with half the size."""

LOST = 1e-12
"""Part of the mass that rounding may lose in a step."""
STILL = 1e-13
"""Change of both densities in a step, relative to the mass, that may be jitter of last bits."""

Arrays = tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class Move:
    """A step of one player: the density, its L1 error, and the part of the mass it had lost."""

    rho: Array
    error: float
    lost: float


@dataclass(frozen=True, eq=False)
class Player:
    """One side of a game: a linear equation for each potential.

    ``total`` is the sum of its cell averages, which every step keeps.
    """

    grid: Grid
    total: float
    flux: Flux
    game: ZeroSumGame

    def equation(self, potential: Array) -> Equation:
        """Transport and diffusion in a fixed potential."""
        return Equation(self.grid, FixedFunctional(self.grid, potential), self.game.beta, self.flux)

    def limit(self, stepper: Stepper, rho: Array, potential: Array) -> float:
        """Largest dt for which a step is known to be positive."""
        if not self.game.transport:
            return np.inf
        return stepper.limit(State(self.equation(potential), rho))

    def move(
        self, stepper: Stepper, rho: Array, potential: Array, dt: float, estimate: bool = False
    ) -> Move:
        """Step in a fixed potential; the error is that of the stepper and of the splitting.

        Raises
        ------
        StepFailedError
            If the stepper cannot take the step.
        """
        if not self.game.transport:
            return Move(self._react(rho, potential, dt), 0.0, 0.0)
        if dt > self.limit(stepper, rho, potential):
            raise StepFailedError("the step would not be positive with the averaged potential")
        equation = self.equation(potential)
        if not self.game.reaction:
            moved = stepper.step(State(equation, rho), dt, estimate)
            return Move(self._kept(moved.rho), moved.error, self._lost(moved.rho))
        started = State(equation, self._react(rho, potential, 0.5 * dt))
        moved = stepper.step(started, dt, estimate)
        lost = self._lost(moved.rho)
        end = self._react(self._kept(moved.rho), potential, 0.5 * dt)
        if not estimate:
            return Move(end, 0.0, lost)
        other = self._kept(stepper.step(State(equation, rho), dt, False).rho)
        error = moved.error + self.apart(end, self._react(other, potential, dt))
        return Move(end, error, lost)

    def apart(self, first: Array, second: Array) -> float:
        """L1 distance of two densities."""
        return folded_sum(np.abs(first - second)) * self.grid.volume

    def _lost(self, rho: Array) -> float:
        """Part of the mass that a transport lost (or won), before it is put back."""
        return abs(folded_sum(rho) / self.total - 1.0)

    def _kept(self, rho: Array) -> Array:
        """Put the mass back that rounding lost (3e-16 in an exponential); more is refused."""
        ratio = self.total / folded_sum(rho)
        if not abs(ratio - 1.0) <= LOST:
            raise StepFailedError(f"it lost {1.0 - 1.0 / ratio:.1e} of the mass")
        return rho * ratio

    def _react(self, rho: Array, potential: Array, dt: float) -> Array:
        beta = self.game.beta if self.game.entropic else 0.0
        reaction = Reaction(self.game.reaction, beta, dissipative=False, mass=self.total)
        return reaction.advance(rho, potential, dt)


@dataclass(frozen=True, eq=False)
class Match:
    """Both players and the payoff between them."""

    players: tuple[Player, Player]
    payoff: PayoffMatrix

    def potentials(self, p: Array, q: Array) -> Arrays:
        """Return what each player descends: int f dq, and -int f dp."""
        return self.payoff.first(q), -self.payoff.second(p)

    def between(self, before: Arrays, after: Arrays) -> Arrays:
        """Potentials of the means of two states."""
        p, q = (0.5 * (a + b) for a, b in zip(before, after, strict=True))
        return self.potentials(p, q)


@dataclass(frozen=True, eq=False)
class Position:
    """Both densities, with the potentials that they make."""

    match: Match
    densities: Arrays

    @cached_property
    def potentials(self) -> Arrays:
        """What each player descends."""
        return self.match.potentials(*self.densities)

    def limit(self, stepper: Stepper) -> float:
        """Largest dt for which a step is known to be positive."""
        sides = zip(self.match.players, self.densities, self.potentials, strict=True)
        return min(player.limit(stepper, rho, phi) for player, rho, phi in sides)


@dataclass(frozen=True, eq=False)
class GameStep:
    """A step that was taken: the new densities, and estimates of what is wrong with them.

    ``error`` is the larger relative L1 error of the two. ``turn`` is the distance of both from the
    step with the potentials of the start, relative to that from the start: about omega dt / 2 for a
    mode that rotates, however small; 0 where nothing moves. ``lost`` is the larger part of the mass
    that the step put back, of rounding.
    """

    densities: Arrays
    error: float
    turn: float
    lost: float


def game_step(position: Position, stepper: Stepper, dt: float, estimate: bool) -> GameStep:
    """Step both players with their averaged potentials.

    The error estimate is the distance to the step with the potentials of the start, and what the
    linear stepper says of its own.

    Raises
    ------
    StepFailedError
        If a player cannot take the step, or the potentials do not settle.
    """
    match, before = position.match, position.densities

    def moved(potentials: Arrays) -> Arrays:
        sides = zip(match.players, before, potentials, strict=True)
        p, q = (player.move(stepper, rho, phi, dt).rho for player, rho, phi in sides)
        return p, q

    predicted = moved(position.potentials)
    averaged = match.between(before, predicted)
    if not stepper.explicit:
        scale = max(1.0, *(float(np.abs(phi).max()) for phi in position.potentials))
        averaged = _settled(lambda phi: match.between(before, moved(phi)), averaged, scale)
    ends, errors, paths, detours, lost = [], [], [], [], 0.0
    for player, rho, first, phi in zip(match.players, before, predicted, averaged, strict=True):
        step = player.move(stepper, rho, phi, dt, estimate)
        ends.append(step.rho)
        lost = max(lost, step.lost)
        if estimate:
            mass = player.total * player.grid.volume
            detours.append(player.apart(step.rho, first) / mass)
            errors.append(step.error / mass + detours[-1])
            paths.append(player.apart(step.rho, rho) / mass)
    path = sum(paths)
    turn = sum(detours) / path if path > STILL else 0.0
    return GameStep((ends[0], ends[1]), max(errors, default=0.0), turn, lost)


def _settled(again: Callable[[Arrays], Arrays], start: Arrays, scale: float) -> Arrays:
    """Potentials that a step with them gives back."""
    shapes = [phi.shape for phi in start]
    found = anderson(
        lambda both: _joined(again(_parted(both, shapes))),
        _joined(start),
        SETTLED * scale,
        limit=ITERATIONS,
    )
    if not found.converged:
        raise StepFailedError(
            f"the averaged potentials did not settle in {found.iterations} iterations "
            f"(residual {found.residual:.1e})"
        )
    return _parted(found.point, shapes)


def _joined(potentials: Arrays) -> Array:
    return np.concatenate([phi.ravel() for phi in potentials])


def _parted(both: Array, shapes: list[tuple[int, ...]]) -> Arrays:
    first = int(np.prod(shapes[0]))
    return both[:first].reshape(shapes[0]), both[first:].reshape(shapes[1])
