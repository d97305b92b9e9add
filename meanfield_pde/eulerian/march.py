"""The time loop: accept and reject steps until a target time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from meanfield_pde.eulerian.stepper import Equation, Step, StepFailedError, Stepper
from meanfield_pde.eulerian.stepsize import SAFETY, Controller
from meanfield_pde.measures.check import Array

ENERGY_RISE = 1e-12
"""Rise of the free energy, relative to max(1, |F|), that counts as rounding."""
SMALLEST = 1e-13
"""Smallest step, relative to the whole time, before the march gives up."""


class StuckError(Exception):
    """No step is small enough; the text says at what clock and why."""


@dataclass(eq=False)
class March:
    """A density on its way, in the flow's own clock.

    A step is rejected, and repeated with a smaller dt, when its error is too large, the stepper
    refuses it, a cell turns negative, or the free energy rises beyond rounding.

    Parameters
    ----------
    equation, stepper
        What to step and how.
    rho : array of grid shape
        Initial density.
    span : float
        Whole time, in the flow's own clock.
    tolerance : float
        L1 error allowed a step.
    fixed : float, optional
        Step without error control.
    """

    equation: Equation
    stepper: Stepper
    rho: Array
    span: float
    tolerance: float
    fixed: float | None = None
    clock: float = 0.0
    steps: int = 0
    rejected: int = 0
    shortest: float = np.inf
    longest: float = 0.0
    mass_drift: float = 0.0
    energy_rise: float = 0.0
    smallest: float = field(init=False)

    def __post_init__(self) -> None:
        self._state = self.stepper.begin(self.equation, self.rho)
        self._energy = self.equation.free_energy(self.rho)
        self._mass = float(self.rho.sum())
        self.smallest = float(self.rho.min())
        self._explicit = np.isfinite(self.stepper.limit(self.equation, self._state))
        # Both estimates are errors of a first-order step: of the Euler step inside Heun's method,
        # whose own error is smaller, and of b1 itself, which is therefore held to a tenth.
        self._controller = Controller(order=1)
        self._allowed = self.tolerance * (1.0 if self._explicit else 0.1)
        self._dt = self.fixed if self.fixed is not None else 1e-4 * self.span
        if self.fixed is None and self._explicit:
            self._dt = max(self._dt, SAFETY * self.stepper.limit(self.equation, self._state))

    def advance(self, target: float, report: Callable[[float], None]) -> None:
        """Step to the clock time ``target``, reporting each accepted step's size.

        Raises
        ------
        StuckError
            If steps become too small.
        """
        while target - self.clock > 1e-14 * self.span:
            dt, last = self._next(target - self.clock)
            step = self._attempt(dt)
            self.clock = target if last and step[1] == dt else self.clock + step[1]
            self._accept(*step)
            report(step[1])

    def _next(self, remaining: float) -> tuple[float, bool]:
        """Size of the next step, and whether it ends at the target."""
        dt = self._dt
        if self._explicit:
            dt = min(dt, SAFETY * self.stepper.limit(self.equation, self._state))
        pieces = np.ceil(remaining / dt * (1 - 1e-10))
        if pieces <= 1:
            return remaining, True
        return (remaining / 2 if pieces == 2 and self.fixed is None else dt), False

    def _attempt(self, dt: float) -> tuple[Step, float, float, float]:
        """Try ever smaller steps; return the step, its dt, error ratio and free energy."""
        reason = ""
        while dt > SMALLEST * self.span:
            try:
                step = self.stepper.step(self.equation, self._state, dt, self.fixed is None)
                energy = self._check(step)
            except StepFailedError as refusal:
                self.rejected += 1
                reason, dt = str(refusal), 0.5 * dt
                continue
            ratio = step.error / self._allowed
            if ratio <= 1.0:
                return step, dt, ratio, energy
            self.rejected += 1
            reason = f"the error of a step stayed at {ratio:.1e} times its tolerance"
            dt *= self._controller.reject(ratio)
        raise StuckError(reason)

    def _check(self, step: Step) -> float:
        """Return the new free energy, or refuse the step."""
        rho = step.state.rho
        lowest = float(rho.min())
        if not lowest >= 0.0:
            raise StepFailedError(f"a cell reached the density {lowest:.1e}")
        energy = self.equation.free_energy(rho)
        if not energy - self._energy <= ENERGY_RISE * max(1.0, abs(self._energy)):
            raise StepFailedError(f"the free energy rose by {energy - self._energy:.1e}")
        return energy

    def _accept(self, step: Step, dt: float, ratio: float, energy: float) -> None:
        rise = (energy - self._energy) / max(1.0, abs(self._energy))
        self.energy_rise = max(self.energy_rise, rise)
        self._state, self._energy, self.rho = step.state, energy, step.state.rho
        self.steps += 1
        self.shortest, self.longest = min(self.shortest, dt), max(self.longest, dt)
        self.smallest = min(self.smallest, float(self.rho.min()))
        drift = abs(float(self.rho.sum()) - self._mass) / self._mass
        self.mass_drift = max(self.mass_drift, drift)
        if self.fixed is None:
            self._controller, factor = self._controller.accept(ratio)
            proposed = dt * factor
            self._dt = proposed if dt >= self._dt or factor < 1.0 else max(self._dt, proposed)
