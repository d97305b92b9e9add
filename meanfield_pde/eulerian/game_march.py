"""The time loop of games: accept and reject steps, and average over time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from meanfield_pde.eulerian.game_step import Arrays, GameStep, Position, game_step
from meanfield_pde.eulerian.march import CRAWL, PATIENCE, RELAX, SMALLEST, START, StuckError
from meanfield_pde.eulerian.stepper import StepFailedError, Stepper
from meanfield_pde.eulerian.stepsize import SAFETY, Controller
from meanfield_pde.measures.order_free import folded_sum

TURN = 0.25
"""Largest turn of a step, see `GameStep`. Long averaged steps hardly damp what rotates (they
multiply it by about -1): with errors alone to limit them, steps would grow as the equilibrium
comes near, and stay away from it for ever."""


@dataclass(eq=False)
class GameMarch:
    """Both densities on their way, in the flow's own clock.

    A step is repeated with a smaller dt when its error is too large, the stepper refuses it, or a
    cell turns negative. There is no energy to watch, and no rule that would tell rest from a slow
    or rotating motion: every step is taken, long ones where little moves.

    ``integral`` holds the integrals of both densities over the clock, by the trapezoidal rule on
    the steps taken: of order 2, the order of the steps. Averaged potentials are those of its
    means, so the averages of pure birth and death keep the bound of continuous time.

    Parameters
    ----------
    position : Position
    stepper : Stepper
    span : float
        Whole time, in the flow's own clock.
    tolerance : float
        L1 error allowed a step, relative to the mass, of either player.
    fixed : float, optional
        Step without error control.
    """

    position: Position
    stepper: Stepper
    span: float
    tolerance: float
    fixed: float | None = None
    clock: float = 0.0
    steps: int = 0
    rejected: int = 0
    shortest: float = np.inf
    longest: float = 0.0
    mass_drift: float = 0.0
    smallest: float = field(init=False)
    integral: Arrays = field(init=False)

    def __post_init__(self) -> None:
        p, q = self.position.densities
        self._masses = folded_sum(p), folded_sum(q)
        self.smallest = min(float(p.min()), float(q.min()))
        self.integral = np.zeros_like(p), np.zeros_like(q)
        # Estimates are errors of a first-order step, as in the march of gradient flows.
        self._controller = Controller(order=1)
        self._ceiling, self._crawled = np.inf, 0
        self._dt = self.fixed if self.fixed is not None else START * self.span

    @property
    def averages(self) -> Arrays:
        """Means of both densities over the clock so far; at its start the densities themselves."""
        if not self.clock > 0:
            return self.position.densities
        p, q = (total / self.clock for total in self.integral)
        return p, q

    def advance(self, target: float, report: Callable[[float], None]) -> None:
        """Step to the clock time ``target``, reporting each accepted step's size.

        Raises
        ------
        StuckError
            If steps become too small.
        """
        while target - self.clock > 1e-14 * self.span:
            dt, last = self._next(target - self.clock)
            step, taken = self._attempt(dt)
            self._accept(step, taken)
            self.clock = target if last and taken == dt else self.clock + taken
            report(taken)

    def _next(self, remaining: float) -> tuple[float, bool]:
        """Size of the next step, and whether it ends at the target."""
        dt = self._dt if self.fixed is not None else min(self._dt, self._ceiling)
        limit = self.position.limit(self.stepper)
        if self.fixed is not None and limit < dt:
            raise StuckError(
                f"the positivity bound fell to {limit:.3g}, below the fixed step dt = {dt:g}"
            )
        dt = min(dt, SAFETY * limit) if self.fixed is None else dt
        pieces = np.ceil(remaining / dt * (1 - 1e-10))
        if pieces <= 1:
            return remaining, True
        return (remaining / 2 if pieces == 2 and self.fixed is None else dt), False

    def _attempt(self, dt: float) -> tuple[GameStep, float]:
        """Try ever smaller steps until one is good."""
        reason = ""
        while dt > SMALLEST * self.span:
            try:
                step = game_step(self.position, self.stepper, dt, self.fixed is None)
                _require_positive(step)
            except StepFailedError as refusal:
                self.rejected += 1
                reason, dt = str(refusal), 0.5 * dt
                self._ceiling = dt
                continue
            ratio = max(step.error / self.tolerance, step.turn / TURN)
            if ratio <= 1.0:
                forced = bool(reason) or self._ceiling < self._dt
                self._crawled = self._crawled + 1 if forced and dt < CRAWL * self.longest else 0
                if self._crawled > PATIENCE:
                    raise StuckError(f"steps stayed below {CRAWL:g} of the longest one: {reason}")
                self._adapt(ratio, dt)
                return step, dt
            self.rejected += 1
            reason = f"the error of a step stayed at {ratio:.1e} times its tolerance"
            dt *= self._controller.reject(ratio)
            self._dt = dt  # what was too long now is too long for the next step
        raise StuckError(reason)

    def _adapt(self, ratio: float, dt: float) -> None:
        if self.fixed is not None:
            return
        self._controller, factor = self._controller.accept(ratio)
        proposed = dt * factor
        self._dt = proposed if dt >= self._dt or factor < 1.0 else max(self._dt, proposed)
        self._ceiling *= RELAX

    def _accept(self, step: GameStep, dt: float) -> None:
        for total, before, after in zip(
            self.integral, self.position.densities, step.densities, strict=True
        ):
            total += (0.5 * dt) * (before + after)
        self.position = Position(self.position.match, step.densities)
        self.steps += 1
        self.shortest, self.longest = min(self.shortest, dt), max(self.longest, dt)
        self.mass_drift = max(self.mass_drift, step.lost)
        for rho, mass in zip(step.densities, self._masses, strict=True):
            self.smallest = min(self.smallest, float(rho.min()))
            self.mass_drift = max(self.mass_drift, abs(folded_sum(rho) - mass) / mass)


def _require_positive(step: GameStep) -> None:
    lowest = min(float(rho.min()) for rho in step.densities)
    if not lowest >= 0.0:
        raise StepFailedError(f"a cell reached the density {lowest:.1e}")
