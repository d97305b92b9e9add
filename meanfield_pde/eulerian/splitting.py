r"""Transport and reaction in turns, by Strang: R(dt/2) T(dt) R(dt/2), of order 2.

T is a step of any stepper, R the reaction. Where the potential depends on the density there are two
ways. With ``heun`` and ``mprk22`` each R is of order 2 by itself: its potential is the mean of that
of its start and that of the end it would have by it. With ``b1`` and ``b2`` one potential serves
all three: the energy's secant :math:`\bar\Phi` between the density before and after, found as in
the steps themselves. Each of the three lowers the free energy with that potential, and the secant
accounts for the rest: the free energy falls for every dt, where the flow is dissipative. For
quadratic energies the step with ``b2`` is its own inverse backwards in time.

The estimate of a step's error is that of T and, for R, the distance between its two increments:
what Euler's rule and the trapezoidal rule differ by. Where transport and reaction balance, as they
may where the reaction leaves out the entropy, a step comes to rest that far from the flow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meanfield_pde.eulerian.state import Equation, State
from meanfield_pde.eulerian.stepper import (
    Averaged,
    Step,
    StepFailedError,
    Stepper,
    averaged_potential,
)
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.order_free import folded_sum


@dataclass(frozen=True)
class Reacting(Stepper):
    """A stepper for the transport, with the equation's reaction around it.

    Without transport, where no axis moves, R takes the whole of dt by itself, without error where
    the potential is fixed.
    """

    transport: Stepper

    @property
    def name(self) -> str:  # type: ignore[override]
        """Name of the transport's stepper."""
        return self.transport.name

    @property
    def order(self) -> int:  # type: ignore[override]
        """Order of the transport's stepper."""
        return self.transport.order

    @property
    def explicit(self) -> bool:  # type: ignore[override]
        """Whether the transport is explicit."""
        return self.transport.explicit

    def limit(self, state: State) -> float:
        """Bound of the transport's stepper."""
        return self.transport.limit(state) if state.equation.moving else np.inf

    def exact(self, equation: Equation) -> bool:
        """Whether a step has no error: without transport, in a fixed potential."""
        return equation.energy.constant and not equation.moving

    def step(self, state: State, dt: float, estimate: bool) -> Step:
        """Half of the reaction, the transport, the other half."""
        if isinstance(self.transport, Averaged):
            return self._by_average(self.transport, state, dt, estimate)
        equation = state.equation
        first = _react(equation, state.rho, state.potential, 0.5 * dt)
        moved, error = first, 0.0
        if equation.moving:
            middle = State(equation, first)
            if self.explicit and dt > self.transport.limit(middle):
                raise StepFailedError("the transport after the reaction would not be positive")
            step = self.transport.step(middle, dt, estimate)
            moved, error = step.rho, step.error
        potential = (
            state.potential if equation.energy.constant else equation.energy.potential(moved)
        )
        end = _react(equation, moved, potential, 0.5 * dt)
        return self._judged(state, (first, moved, end), error, estimate)

    def _by_average(self, stepper: Averaged, state: State, dt: float, estimate: bool) -> Step:
        end = self._averaged(stepper, state, dt)
        if not estimate:
            return Step(end[-1], 0.0)
        if stepper.order == 1:
            middle = State(state.equation, self._averaged(stepper, state, 0.5 * dt)[-1])
            half = self._averaged(stepper, middle, 0.5 * dt)[-1]
            return Step(half, _apart(state, half, end[-1]))
        first = end if state.equation.energy.constant else _parts(stepper, state, dt)
        return self._judged(state, end, _apart(state, end[-1], first[-1]), estimate)

    def _averaged(self, stepper: Averaged, state: State, dt: float) -> tuple[Array, Array, Array]:
        if state.equation.energy.constant:
            return _parts(stepper, state, dt)
        limits = stepper.tolerance, stepper.iterations
        potential = averaged_potential(
            state, lambda phi: _parts(stepper, state, dt, phi)[-1], *limits
        )
        return _parts(stepper, state, dt, potential)

    def _judged(
        self, state: State, parts: tuple[Array, Array, Array], error: float, estimate: bool
    ) -> Step:
        first, moved, end = parts
        if not estimate or self.exact(state.equation):
            return Step(end, 0.0)
        return Step(end, error + _apart(state, end - moved, first - state.rho))


def reacting_reason(equation: Equation, reason: str) -> str:
    """Say what a reaction changes, after the reason for flux and stepper."""
    if not equation.moving:
        reason = "the reaction alone, without transport"
        if equation.energy.constant:
            reason += "; the potential is fixed, and it has no error in time"
        if equation.energy.remark:
            reason += f"; {equation.energy.remark}"
    else:
        reason += "; split from the reaction by Strang"
    if not equation.dissipative:
        reason += "; the reaction leaves the entropy out, so that the free energy need not fall"
    return reason


def _parts(
    stepper: Averaged, state: State, dt: float, potential: Array | None = None
) -> tuple[Array, Array, Array]:
    """Densities after each of the three, all with one potential: that of the start if none."""
    equation = state.equation
    assert equation.reaction is not None
    phi = state.potential if potential is None else potential
    first = equation.reaction.advance(state.rho, phi, 0.5 * dt)
    moved = first
    if equation.moving:
        generator = state.generator if potential is None else equation.generator(phi)
        moved = stepper.propagate(generator, first, dt)
    return first, moved, equation.reaction.advance(moved, phi, 0.5 * dt)


def _react(equation: Equation, rho: Array, potential: Array, t: float) -> Array:
    """Reaction of order 2, from a density with its potential."""
    reaction, energy = equation.reaction, equation.energy
    assert reaction is not None
    if not energy.constant:
        ahead = energy.potential(reaction.advance(rho, potential, t))
        potential = 0.5 * (potential + ahead)
    return reaction.advance(rho, potential, t)


def _apart(state: State, first: Array, second: Array) -> float:
    return folded_sum(np.abs(first - second)) * state.equation.grid.volume
