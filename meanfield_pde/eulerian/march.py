"""The time loop: accept and reject steps until a target time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from meanfield_pde.eulerian.stepper import Equation, State, StepFailedError, Stepper
from meanfield_pde.eulerian.stepsize import SAFETY, Controller
from meanfield_pde.measures.check import Array

ENERGY_RISE = 1e-12
"""Rise of the free energy, relative to max(1, |F|), that counts as rounding."""
START = 2e-3
"""First step, relative to the whole time: too large costs a few repeats, too small many steps."""
CRAWL = 1e-6
"""Step, relative to the longest so far, that counts as crawling when the energy forced it."""
PATIENCE = 200
"""Crawling steps in a row before the march gives up."""
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
    crawled: int = 0
    mass_drift: float = 0.0
    energy_rise: float = 0.0
    smallest: float = field(init=False)

    def __post_init__(self) -> None:
        self.state = State(self.equation, self.rho)
        self._mass = float(self.rho.sum())
        self.smallest = float(self.rho.min())
        # Estimates are errors of a first-order step, far above those of the steppers of order 2.
        self._controller = Controller(order=1)
        self._dt = self.fixed if self.fixed is not None else START * self.span
        if self.fixed is None and self.stepper.exact(self.equation):
            self._dt = self.span
        if self.fixed is None and self.stepper.explicit:
            self._dt = max(self._dt, SAFETY * self.stepper.limit(self.state))

    def advance(self, target: float, report: Callable[[float], None]) -> None:
        """Step to the clock time ``target``, reporting each accepted step's size.

        Raises
        ------
        StuckError
            If steps become too small.
        """
        while target - self.clock > 1e-14 * self.span:
            dt, last = self._next(target - self.clock)
            taken = self._attempt(dt)
            self.clock = target if last and taken.dt == dt else self.clock + taken.dt
            self._accept(taken)
            report(taken.dt)

    def _next(self, remaining: float) -> tuple[float, bool]:
        """Size of the next step, and whether it ends at the target."""
        dt = self._dt
        if self.stepper.explicit:
            limit = self.stepper.limit(self.state)
            if self.fixed is not None and limit < dt:
                raise StuckError(
                    f"the positivity bound fell to {limit:.3g}, below the fixed step dt = {dt:g}"
                )
            dt = min(dt, SAFETY * limit) if self.fixed is None else dt
        pieces = np.ceil(remaining / dt * (1 - 1e-10))
        if pieces <= 1:
            return remaining, True
        return (remaining / 2 if pieces == 2 and self.fixed is None else dt), False

    def _attempt(self, dt: float) -> Taken:
        """Try ever smaller steps until one is good."""
        reason = ""
        while dt > SMALLEST * self.span:
            try:
                step = self.stepper.step(self.state, dt, self.fixed is None)
                state = self._check(step.rho)
            except StepFailedError as refusal:
                self.rejected += 1
                reason, dt = str(refusal), 0.5 * dt
                continue
            ratio = step.error / self.tolerance
            if ratio <= 1.0:
                self.crawled = self.crawled + 1 if reason and dt < CRAWL * self.longest else 0
                if self.crawled > PATIENCE:
                    raise StuckError(f"steps stayed below {CRAWL:g} of the longest one: {reason}")
                return Taken(state, dt, ratio)
            self.rejected += 1
            reason = f"the error of a step stayed at {ratio:.1e} times its tolerance"
            dt *= self._controller.reject(ratio)
        raise StuckError(reason)

    def _check(self, rho: Array) -> State:
        """Return the new state, or refuse the step."""
        lowest = float(rho.min())
        if not lowest >= 0.0:
            raise StepFailedError(f"a cell reached the density {lowest:.1e}")
        state = State(self.equation, rho)
        before = self.state.free_energy
        if not state.free_energy - before <= ENERGY_RISE * max(1.0, abs(before)):
            rise = state.free_energy - before
            raise StepFailedError(f"the free energy rose by {rise:.1e}")
        return state

    def _accept(self, taken: Taken) -> None:
        before, dt = self.state.free_energy, taken.dt
        rise = (taken.state.free_energy - before) / max(1.0, abs(before))
        self.energy_rise = max(self.energy_rise, rise)
        self.state, self.rho = taken.state, taken.state.rho
        self.steps += 1
        self.shortest, self.longest = min(self.shortest, dt), max(self.longest, dt)
        self.smallest = min(self.smallest, float(self.rho.min()))
        drift = abs(float(self.rho.sum()) - self._mass) / self._mass
        self.mass_drift = max(self.mass_drift, drift)
        if self.fixed is None:
            self._controller, factor = self._controller.accept(taken.ratio)
            proposed = dt * factor
            self._dt = proposed if dt >= self._dt or factor < 1.0 else max(self._dt, proposed)


@dataclass(frozen=True, eq=False)
class Taken:
    """An accepted step: the new state, its dt, and its error over the tolerance."""

    state: State
    dt: float
    ratio: float
