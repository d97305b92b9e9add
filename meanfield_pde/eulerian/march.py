"""The time loop: accept and reject steps until a target time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

import numpy as np

from meanfield_pde.eulerian._line_kernels import is_symmetric
from meanfield_pde.eulerian.concentration import CollapseError, Watch
from meanfield_pde.eulerian.stepper import Equation, State, StepFailedError, Stepper
from meanfield_pde.eulerian.stepsize import SAFETY, Controller
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.order_free import folded_sum
from meanfield_pde.measures.symmetry import Images, is_invariant, orbit_average

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
SKEW = 1e-10
"""Part of the mass that rounding may move off the mean over the group; with more, dt is halved."""
BROKEN = 1e-7
"""Part of the mass that no rounding moves: the method itself breaks the symmetry."""
STILL = 1e-13
"""Net change of the density (L1, relative to its mass) that may be jitter of its last bits."""
CHANGE = 5e-13
"""Change that the rest of the time may still bring to a density that counts as stationary."""
WINDOW = 1e-3
"""Shortest time, relative to what is left, over which a net change is trusted."""
APART = 1e-9
"""Error estimate of a step (L1, relative to the mass) beyond which the flow cannot be at rest."""
RELAX = 1.05
"""Growth a step, after one was refused, of the largest dt that is tried."""
LOOK = 8
"""Steps from one look at the net change to the next."""


class StuckError(Exception):
    """No step is small enough; the text says at what clock and why."""


@dataclass(eq=False)
class March:
    """A density on its way, in the flow's own clock.

    A step is rejected, and repeated with a smaller dt, when its error is too large, the stepper
    refuses it, a cell turns negative, or the free energy of a gradient flow rises beyond rounding.

    A density that has come to rest is kept instead of stepped. In a gradient flow each mode of a
    perturbation decays (or grows) without oscillating, so that what a decaying one still does in
    the time that is left is at most what it did over a window before, times the ratio of the two
    times. Where that is below `CHANGE` there is nothing left to compute: the last bits jitter
    without end, but the net change over a window tells a drift from it, however slow. A growing
    mode is let go on by the same rule unless it is itself below `CHANGE`, which no step of double
    precision carries along faithfully. Runs with a fixed step take every step: they are asked for.

    With a reaction the same holds of gradient flows, whose linear part is a product of symmetric
    matrices in any metric. But mass multiplies: however little there is where the reacting
    potential is below its mean, it grows, faithfully. A density is kept only if none could grow by
    more than `APART` of itself in the time that is left. A reaction that leaves out the entropy may
    balance transport; there steps end where their size lets them, and every one is taken.

    Parameters
    ----------
    equation, stepper
        What to step and how.
    rho : array of grid shape
        Initial density.
    span : float
        Whole time, in the flow's own clock.
    tolerance : float
        L1 error allowed a step, relative to the mass.
    fixed : float, optional
        Step without error control.
    orbits : array (order, orbits), optional
        A group's orbits of cells. From a density that is invariant to the last bit steps lead
        to one that is: linear solvers round differently on each side, and the mean over the orbits
        takes that away, no more.
    watch : Watch, optional
        What looks out for a collapse.
    """

    equation: Equation
    stepper: Stepper
    rho: Array
    span: float
    tolerance: float
    fixed: float | None = None
    orbits: Images | None = None
    watch: Watch | None = None
    clock: float = 0.0
    steps: int = 0
    rejected: int = 0
    shortest: float = np.inf
    longest: float = 0.0
    crawled: int = 0
    mass_drift: float = 0.0
    energy_rise: float = 0.0
    symmetry_defect: float = 0.0
    stationary: float | None = None
    smallest: float = field(init=False)

    def __post_init__(self) -> None:
        self.rho = np.array(self.rho)
        self.state = State(self.equation, self.rho)
        self._mass = self.state.total
        self.smallest = self.state.lowest
        self._invariant = self.orbits is not None and is_invariant(self.rho, self.orbits)
        self._window = self.rho, self.clock
        self._origin = self.state, self.clock
        self._ceiling, self._refusal = np.inf, ""
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
        CollapseError
            If the mass has collapsed to the cells, and the watch says to stop there.
        """
        if self.stepper.exact(self.equation) and self.fixed is None and self.clock < target:
            self._advance_from_origin(target, report)
            return
        while target - self.clock > 1e-14 * self.span:
            if self.stationary is not None:
                report(target - self.clock)
                self.clock = target
                return
            report(self._advance_once(target))

    def _advance_from_origin(self, target: float, report: Callable[[float], None]) -> None:
        """Reach every target by a step of its own, so that saving more often changes nothing."""
        report(target - self.clock)
        before = self.steps
        self.state, self.clock = self._origin
        while target - self.clock > 1e-14 * self.span:
            self._dt = target - self.clock
            self._advance_once(target)
        if self.steps > before + 1:  # it was too far for one step
            self._origin = self.state, self.clock

    def _advance_once(self, target: float) -> float:
        dt, last = self._next(target - self.clock)
        taken = self._attempt(dt)
        self.clock = target if last and taken.dt == dt else self.clock + taken.dt
        self._accept(taken)
        if self.watch is not None:
            self.watch = self.watch.seen(self.rho, self.clock)
            if self.watch.stop and self.watch.full is not None:
                raise CollapseError
        return taken.dt

    @property
    def symmetric(self) -> str:
        """What became of the symmetry, in words."""
        if not self._invariant:
            return "of the flow (the start is not invariant)"
        if self.symmetry_defect == 0.0:
            return "kept to the last bit"
        return f"kept ({self.symmetry_defect:.0e} of the mass was put back after steps)"

    def _next(self, remaining: float) -> tuple[float, bool]:
        """Size of the next step, and whether it ends at the target."""
        dt = self._dt if self.fixed is not None else min(self._dt, self._ceiling)
        if self.stepper.explicit:
            limit = self.stepper.limit(self.state)
            if self.fixed is not None and limit < dt:
                raise StuckError(
                    f"the positivity bound fell to {limit:.3g}, below the fixed step dt = {dt:g}"
                )
            dt = min(dt, SAFETY * limit) if self.fixed is None else dt
        pieces = ceil(remaining / dt * (1 - 1e-10))
        if pieces <= 1:
            return remaining, True
        return (remaining / 2 if pieces == 2 and self.fixed is None else dt), False

    def _attempt(self, dt: float) -> Taken:
        """Try ever smaller steps until one is good."""
        reason = ""
        while dt > SMALLEST * self.span:
            try:
                step = self.stepper.step(self.state, dt, self.fixed is None)
                state = self._check(self._evened(step.rho))
            except StepFailedError as refusal:
                self.rejected += 1
                reason, dt = str(refusal), 0.5 * dt
                self._ceiling, self._refusal = dt, reason
                continue
            ratio = step.error / (self.tolerance * self._mass * self.equation.grid.volume)
            if ratio <= 1.0:
                forced = bool(reason) or self._ceiling < self._dt
                self.crawled = self.crawled + 1 if forced and dt < CRAWL * self.longest else 0
                if self.crawled > PATIENCE:
                    why = self._refusal or reason
                    raise StuckError(f"steps stayed below {CRAWL:g} of the longest one: {why}")
                return Taken(state, dt, ratio)
            self.rejected += 1
            reason = f"the error of a step stayed at {ratio:.1e} times its tolerance"
            dt *= self._controller.reject(ratio)
            self._dt = dt  # what was too long now is too long for the next step
        raise StuckError(reason)

    def _evened(self, rho: Array) -> Array:
        """Take the rounding of a step away that broke the symmetry, or refuse the step."""
        if not self._invariant or self.orbits is None:
            return rho
        if self.equation.swapped and is_symmetric(rho):  # a fraction of the time
            return rho
        if is_invariant(rho, self.orbits):
            return rho
        mean = orbit_average(rho, self.orbits)
        defect = folded_sum(np.abs(rho - mean)) / self._mass
        if not defect <= SKEW:
            problem = f"it moved {defect:.1e} of the mass off its mean over the group"
            if defect > BROKEN:
                raise StuckError(f"{problem}: {self.stepper.name} breaks the symmetry")
            raise StepFailedError(f"{problem}, more than rounding")
        self.symmetry_defect = max(self.symmetry_defect, defect)
        return mean

    def _check(self, rho: Array) -> State:
        """Return the new state, or refuse the step."""
        state = State(self.equation, rho)
        if not state.lowest >= 0.0:
            raise StepFailedError(f"a cell reached the density {state.lowest:.1e}")
        before = self.state.free_energy
        rise = state.free_energy - before
        allowed = ENERGY_RISE * max(1.0, abs(before)) if self.equation.dissipative else np.inf
        if not rise <= allowed:
            raise StepFailedError(f"the free energy rose by {rise:.1e}")
        return state

    def _accept(self, taken: Taken) -> None:
        before, dt, state = self.state.free_energy, taken.dt, taken.state
        rise = (state.free_energy - before) / max(1.0, abs(before))
        self.energy_rise = max(self.energy_rise, rise)
        self.state, self.rho = state, state.rho
        self.steps += 1
        self.shortest, self.longest = min(self.shortest, dt), max(self.longest, dt)
        self.smallest = min(self.smallest, state.lowest)
        self.mass_drift = max(self.mass_drift, abs(state.total - self._mass) / self._mass)
        if self.fixed is None:
            self._controller, factor = self._controller.accept(taken.ratio)
            proposed = dt * factor
            self._dt = proposed if dt >= self._dt or factor < 1.0 else max(self._dt, proposed)
            self._ceiling *= RELAX
            self._look(taken)

    def _look(self, taken: Taken) -> None:
        """Notice that the density has come to rest: a pure function of its history.

        Where nothing changes while the stages of a step differ, the density is a fixed point of the
        stepper and not of the flow; shorter steps have no such points.
        """
        if self.steps % LOOK or not self.equation.dissipative:
            return
        rho, since = self._window
        net = folded_sum(np.abs(self.rho - rho)) / self._mass
        left, passed = self.span - self.clock, self.clock - since
        if net > STILL:
            self._window = self.rho, self.clock
        elif taken.ratio * self.tolerance > APART:
            self._ceiling = 0.5 * taken.dt
            self._window = self.rho, self.clock
        elif (
            passed >= WINDOW * left and net * left <= CHANGE * passed and self._nothing_grows(left)
        ):
            self.stationary = since

    def _nothing_grows(self, left: float) -> bool:
        """Whether mass that is too little to be seen stays so, with the potential as it is."""
        reaction = self.equation.reaction
        if reaction is None:
            return True
        return left * reaction.fastest(self.rho, self.state.potential) <= APART


@dataclass(frozen=True, eq=False)
class Taken:
    """An accepted step: the new state, its dt, and its error over the tolerance."""

    state: State
    dt: float
    ratio: float
