r"""Steppers: the equation in time. State in, density out.

``heun``: the explicit strong-stability-preserving Runge-Kutta method of order 2, positive under
the bound ``dt <= 1 / (largest outflow)``, which is checked again at the second stage.

``b1``: the implicit Euler method with averaged potential, :math:`(I - dt A(\bar\Phi)) \rho' =
\rho` with :math:`\bar\Phi` the energy's secant between rho and rho'. Positive and dissipating
for every dt (Schlichting and Seis 2022). The iteration runs on the potential: every iterate
gives a positive density of the right mass.

``b2``: :math:`\rho' = e^{dt A(\bar\Phi)} \rho` with the same averaged potential: again positive and
dissipating for every dt, as free energy with a fixed potential falls along the exponential and the
secant accounts for the rest. Where the secant is symmetric, as that of quadratic energies is, so is
the step in time, which is then of order 2; where it is the potential at the end (convex energies
that are not quadratic), the order is 1. See `exponential`.

``mprk22``: the modified Patankar-Runge-Kutta method of order 2 (Burchard, Deleersnijder and
Meister 2003; for Fokker-Planck equations Bartel, Lampert and Ranocha 2024): an implicit Euler
step y with the potential of rho, then :math:`(I - dt \bar A) \rho' = \rho` with :math:`\bar
A_{KL} = A_{KL} (\rho_L / y_L + 1) / 2` and A of the mean of the potentials of rho and y. Both
matrices are generators: positive and conservative for every dt, with the Gibbs states as fixed
points. In 2D the solves run along lines, in a symmetrised Strang splitting. That the free energy
falls is not proven for it; the march checks. Where a flux lags by epsilon, the weights of the two
ends are 1/2 + epsilon / dt and 1/2 - epsilon / dt (the latter may be negative): the mean flux is
then that of a density earlier by epsilon.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

from meanfield_pde.eulerian.exponential import cost, exponential
from meanfield_pde.eulerian.fixed_point import anderson
from meanfield_pde.eulerian.flux import Generator, mirror_lag
from meanfield_pde.eulerian.line import LineSteps
from meanfield_pde.eulerian.lines import Lines, lag_along, mean_of_both
from meanfield_pde.eulerian.state import Equation as Equation
from meanfield_pde.eulerian.state import State as State
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.order_free import folded_sum

MOST_SECONDS = 10.0
"""Estimated seconds of an exponential beyond which a shorter step is asked for."""
MOST_LAG = 50.0
"""Lag of a face, relative to dt, up to which it counts in estimates."""


class StepFailedError(Exception):
    """A step cannot be taken with this dt; a smaller one may do."""


@dataclass(frozen=True, eq=False)
class Step:
    """A step that was taken: the new density and an estimate of its L1 error."""

    rho: Array
    error: float


class Stepper(ABC):
    """A one-step method."""

    name: str
    order: int
    explicit: bool

    def limit(self, state: State) -> float:
        """Largest dt for which the step is known to be positive; infinite for implicit steppers."""
        return np.inf

    def exact(self, equation: Equation) -> bool:
        """Whether steps have no error in time, however long they are."""
        return False

    @abstractmethod
    def step(self, state: State, dt: float, estimate: bool) -> Step:
        """Take a step; with ``estimate``, measure its error.

        Raises
        ------
        StepFailedError
            If the step is not possible with this dt.
        """


@dataclass(frozen=True)
class Heun(Stepper):
    """Explicit, order 2; the error estimate is the distance to the Euler step inside it."""

    name = "heun"
    order = 2
    explicit = True

    def limit(self, state: State) -> float:
        """Inverse of the largest outflow."""
        outflow = state.transport.outflow
        return 1.0 / outflow if outflow > 0 else np.inf

    def step(self, state: State, dt: float, estimate: bool) -> Step:
        """Two Euler steps, averaged with the start."""
        stage = State(state.equation, state.transport.advance(state.rho, state.rho, dt))
        if stage.transport is not state.transport and dt * stage.transport.outflow > 1.0:
            raise StepFailedError("the second stage would not be positive")
        rho = 0.5 * (state.rho + stage.transport.advance(stage.rho, stage.rho, dt))
        return Step(rho, _apart(state, rho, stage.rho) if estimate else 0.0)


class Averaged(Stepper):
    """A method that moves the density with one potential, the energy's secant over the step."""

    tolerance: float
    iterations: int

    @abstractmethod
    def propagate(self, generator: Generator, rho: Array, dt: float) -> Array:
        """Move a density with given rates."""


@dataclass(frozen=True)
class B1(Averaged):
    """Implicit, order 1; the error estimate compares one step with two of half the size."""

    tolerance: float = 1e-12
    iterations: int = 50
    name = "b1"
    order = 1
    explicit = False

    def step(self, state: State, dt: float, estimate: bool) -> Step:
        """One step, or two half steps with the full one beside them."""
        full = self._solve(state, dt)
        if not estimate:
            return Step(full, 0.0)
        middle = State(state.equation, self._solve(state, 0.5 * dt))
        half = self._solve(middle, 0.5 * dt)
        return Step(half, _apart(state, half, full))

    def propagate(self, generator: Generator, rho: Array, dt: float) -> Array:
        """Implicit Euler step."""
        return implicit_euler(generator, rho, dt)

    def _solve(self, state: State, dt: float) -> Array:
        return averaged_step(state, dt, self)


@dataclass(frozen=True)
class B2(Averaged):
    """Exponential of the generator with the averaged potential, order 2.

    For fixed potentials it is exact in time. The error estimate is the distance to the
    exponential with the potential of the start.
    """

    tolerance: float = 1e-12
    iterations: int = 50
    name = "b2"
    order = 2
    explicit = False

    def exact(self, equation: Equation) -> bool:
        """Whether a step has no error in time: where the potential is fixed."""
        return equation.energy.constant

    def step(self, state: State, dt: float, estimate: bool) -> Step:
        """One exponential, or as many as the averaged potential takes to settle."""
        rho = averaged_step(state, dt, self)
        if not estimate or self.exact(state.equation):
            return Step(rho, 0.0)
        first = self.propagate(state.generator, state.rho, dt)
        return Step(rho, _apart(state, rho, first))

    def propagate(self, generator: Generator, rho: Array, dt: float) -> Array:
        """Exponential of the rates, where it takes no more than seconds."""
        if cost(generator, dt) > MOST_SECONDS:
            raise StepFailedError(
                f"the exponential of a step of {dt:.1e} would take more than {MOST_SECONDS:g} s; "
                "use stepper='mprk22' or 'b1'"
            )
        return exponential(generator, rho, dt)


@dataclass(frozen=True)
class MPRK22(Stepper):
    """Implicit, order 2, without iteration; where two axes move, by lines of each in turn.

    The error estimate is the distance to the implicit Euler step inside it.
    """

    name = "mprk22"
    order = 2
    explicit = False

    def step(self, state: State, dt: float, estimate: bool) -> Step:
        """Implicit Euler, then the mean of both ends' rates with Patankar's weights."""
        if len(state.equation.moving) == 2:
            return self._by_lines(state, dt, estimate)
        if state.equation.line is not None:
            return self._on_line(state, state.equation.line, dt, estimate)
        return self._along_one(state, dt, estimate)

    @staticmethod
    def _on_line(state: State, line: LineSteps, dt: float, estimate: bool) -> Step:
        energy, rho = state.equation.energy, np.ascontiguousarray(state.rho)
        stage, middle = line.first(rho, state.potential, dt), state.potential
        if not energy.constant:
            middle = 0.5 * (middle + energy.potential(stage))
        end, apart, lag = line.second(rho, stage, middle, dt, MOST_LAG * dt)
        error = _corrected(apart * state.equation.grid.volume, dt, lag)
        return Step(end, error if estimate else 0.0)

    def _along_one(self, state: State, dt: float, estimate: bool) -> Step:
        equation, rho, lines = state.equation, np.ascontiguousarray(state.rho), state.lines
        stage = lines[0].euler(rho, dt)
        if not equation.energy.constant:
            middle = 0.5 * (state.potential + equation.energy.potential(stage))
            lines = equation.lines(middle, equation.scratch)
        end = lines[0].second_stage(rho, stage, dt)
        if not estimate:
            return Step(end, 0.0)
        return Step(end, _error(state, end, stage, dt, self._lag(state, lines, dt)))

    def _by_lines(self, state: State, dt: float, estimate: bool) -> Step:
        equation, energy, scratch = state.equation, state.equation.energy, state.equation.scratch
        rho = scratch.plane("start", state.rho.shape)
        rho[:] = state.rho
        along, lag = state.lines, 0.0

        # Both orders, as below: a potential at a stage of one order would prefer an axis.
        def first_order(k: int, end: Array) -> None:
            along[k].euler(rho, dt, out=end)
            along[1 - k].euler(end, dt, out=end)

        def second_order(k: int, end: Array) -> None:
            along[k].second_order(rho, 0.5 * dt, out=end)
            along[1 - k].second_order(end, dt, out=end)
            along[k].second_order(end, 0.5 * dt, out=end)

        if estimate or not energy.constant:
            stage = scratch.take("stage", rho.shape)
            mean_of_both(first_order, scratch, stage, equation.swapped)
        if estimate:
            lag = self._lag(state, along, dt)
        if not energy.constant:
            middle = scratch.take("middle", rho.shape)
            np.add(state.potential, energy.potential(stage), out=middle)
            middle *= 0.5
            along = equation.lines(middle, scratch)
        end = np.empty(rho.shape)
        mean_of_both(second_order, scratch, end, equation.swapped)
        return Step(end, _error(state, end, stage, dt, lag) if estimate else 0.0)

    @staticmethod
    def _lag(state: State, lines: list[Lines], dt: float) -> float:
        equation = state.equation
        if not equation.flux.lags:
            return 0.0
        at_mirror = mirror_lag(equation.grid, equation.beta)
        if equation.swapped:  # the faces of one axis see as much as those of the other
            first, only = lines[:1], (at_mirror[0], 0.0)
            return 2.0 * lag_along(first, state.rho, MOST_LAG * dt, only, equation.scratch)
        return lag_along(lines, state.rho, MOST_LAG * dt, at_mirror, equation.scratch)


STEPPERS: dict[str, Stepper] = {"heun": Heun(), "b1": B1(), "b2": B2(), "mprk22": MPRK22()}


def averaged_step(state: State, dt: float, stepper: Averaged) -> Array:
    """Move rho with the generator of the energy's secant between rho and the result.

    Raises
    ------
    StepFailedError
        If the averaged potential does not settle.
    """
    equation, rho = state.equation, state.rho
    if equation.energy.constant:
        return stepper.propagate(state.generator, rho, dt)

    def move(potential: Array) -> Array:
        return stepper.propagate(equation.generator(potential), rho, dt)

    return move(averaged_potential(state, move, stepper.tolerance, stepper.iterations))


def averaged_potential(
    state: State, move: Callable[[Array], Array], tolerance: float, iterations: int
) -> Array:
    """Potential that is the energy's secant between rho and where ``move`` takes it with that.

    Raises
    ------
    StepFailedError
        If it does not settle.
    """
    energy, rho = state.equation.energy, state.rho
    scale = max(1.0, float(np.abs(state.potential).max()))
    found = anderson(
        lambda phi: energy.secant(rho, move(phi)),
        state.potential,
        tolerance * scale,
        limit=iterations,
    )
    if not found.converged:
        raise StepFailedError(
            f"the averaged potential did not settle in {found.iterations} iterations "
            f"(residual {found.residual:.1e})"
        )
    return found.point


def implicit_euler(generator: Generator, rho: Array, dt: float) -> Array:
    """Solve ``(I - dt A) rho' = rho``.

    In 1D by elimination without subtractions, positive and of the same mass by construction. In
    2D by sparse elimination, followed by one evaluation in flux form, which restores the mass
    to rounding.

    Raises
    ------
    StepFailedError
        If rounding left a negative value (2D, dt times rates beyond about 1e12).
    """
    if generator.grid.dim == 1:
        return Lines.of(generator, 0).euler(rho, dt)
    sparse = scipy.sparse
    matrix = sparse.csc_array(sparse.eye_array(rho.size, format="csc") - dt * generator.matrix())
    factors = sparse.linalg.splu(
        matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    solved = factors.solve(rho.ravel()).reshape(rho.shape)
    result = generator.advance(rho, solved, dt)
    if result.min() < 0:
        raise StepFailedError(f"rounding in the linear solve left a density of {result.min():.1e}")
    return result


def _error(state: State, rho: Array, stage: Array, dt: float, lag: float) -> float:
    """Error of MPRK22: its stage differs by dt^2 / 2 + dt lag, of which the latter is none."""
    return _corrected(_apart(state, rho, stage), dt, lag)


def _corrected(apart: float, dt: float, lag: float) -> float:
    return apart * dt / (dt + 2.0 * lag)


def _apart(state: State, first: Array, second: Array) -> float:
    difference = np.subtract(first, second, out=state.equation.scratch.take("terms", first.shape))
    np.abs(difference, out=difference)
    return folded_sum(difference) * state.equation.grid.volume
