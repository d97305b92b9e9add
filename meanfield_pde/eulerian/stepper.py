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
A_{KL} = (A_{KL}[\rho] \rho_L / y_L + A_{KL}[y]) / 2`. Both matrices are generators: positive
and conservative for every dt, with the Gibbs states as fixed points. In 2D the solves run along
lines, in a symmetrised Strang splitting, with the potential frozen at the mean of its values at
rho and at y. That the free energy falls is not proven for it; the march checks. Where a flux
lags by epsilon, the weights of the two ends are 1/2 + epsilon / dt and 1/2 - epsilon / dt (the
latter may be negative): the mean flux is then that of a time earlier by epsilon.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import csc_array, eye_array
from scipy.sparse.linalg import splu

from meanfield_pde.energies.energy import Functional
from meanfield_pde.eulerian.exponential import cost, exponential
from meanfield_pde.eulerian.fixed_point import anderson
from meanfield_pde.eulerian.flux import Flux, Generator, LinearFlux, Transport, mirror_lag
from meanfield_pde.eulerian.lines import Lines, Scratch, lag_in_plane, mean_of_both
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.order_free import folded_sum

MOST_SECONDS = 10.0
"""Estimated seconds of an exponential beyond which a shorter step is asked for."""
MOST_LAG = 50.0
"""Lag of a face, relative to dt, up to which it counts in estimates."""


class StepFailedError(Exception):
    """A step cannot be taken with this dt; a smaller one may do."""


@dataclass(frozen=True, eq=False)
class Equation:
    """What a stepper sees: grid, energy without entropy, diffusion, flux, and what is frozen.

    ``swapped``: the energy and all densities are symmetric about the diagonal.
    """

    grid: Grid
    energy: Functional
    beta: float
    flux: Flux
    frozen: tuple[int, ...] = ()
    swapped: bool = False

    @property
    def moving(self) -> tuple[int, ...]:
        """Axes along which there is a flux."""
        return tuple(axis for axis in range(self.grid.dim) if axis not in self.frozen)

    def transport(self, potential: Array) -> Transport:
        """Flux for a potential."""
        transport = self.flux.transport(self.grid, potential, self.beta)
        return transport.along(self.moving) if self.frozen else transport

    def generator(self, potential: Array) -> Generator:
        """Rates of a linear flux for a potential."""
        transport = self.transport(potential)
        assert isinstance(transport, Generator), "implicit steps need a linear flux"
        return transport

    @cached_property
    def scratch(self) -> Scratch:
        """Arrays that steps use again; they belong to the grid of this equation."""
        return Scratch()

    def lines(self, potential: Array, scratch: Scratch) -> list[Lines]:
        """Rates of a linear flux along the lines of both axes of a plane."""
        flux, grid, beta = self.flux, self.grid, self.beta
        if not isinstance(flux, LinearFlux):  # rates may depend on more than the line's potential
            generator = self.generator(potential)
            return [Lines.of(generator, axis) for axis in (0, 1)]
        first = Lines.along(flux, grid, potential, beta, 0, scratch)
        if self.swapped:
            return [first, replace(first, axis=1)]
        return [first, Lines.along(flux, grid, potential, beta, 1, scratch)]

    @cached_property
    def constant_lines(self) -> list[Lines]:
        """Rates of an energy whose potential does not depend on the density."""
        return self.lines(self.energy.potential(np.zeros(self.grid.shape)), Scratch())

    @cached_property
    def constant_transport(self) -> Transport:
        """Flux of an energy whose potential does not depend on the density."""
        return self.transport(self.energy.potential(np.zeros(self.grid.shape)))


@dataclass(frozen=True, eq=False)
class State:
    """A density with what follows from it; each is computed once, when it is first asked for."""

    equation: Equation
    rho: Array

    @cached_property
    def _evaluated(self) -> tuple[float, Array]:
        return self.equation.energy.value_and_potential(self.rho)

    @property
    def potential(self) -> Array:
        """Potential of the density."""
        return self._evaluated[1]

    @cached_property
    def transport(self) -> Transport:
        """Flux for the density's own potential."""
        if self.equation.energy.constant:
            return self.equation.constant_transport
        return self.equation.transport(self.potential)

    @property
    def lines(self) -> list[Lines]:
        """Rates along the lines of both axes, up to the next that are asked of the equation."""
        if self.equation.energy.constant:
            return self.equation.constant_lines
        return self.equation.lines(self.potential, self.equation.scratch)

    @property
    def generator(self) -> Generator:
        """The transport of a linear flux."""
        assert isinstance(self.transport, Generator), "implicit steps need a linear flux"
        return self.transport

    @cached_property
    def free_energy(self) -> float:
        """Energy with its entropy."""
        entropy = 0.0
        if self.equation.beta:
            terms = self.equation.scratch.take("terms", self.rho.shape)
            np.maximum(self.rho, 1e-300, out=terms)  # 0 log 0 = 0
            np.log(terms, out=terms)
            terms *= self.rho
            entropy = folded_sum(terms) * self.equation.grid.volume
        return self._evaluated[0] + self.equation.beta * entropy

    @property
    def dissipation(self) -> float:
        """Discrete dissipation of the free energy; cells without mass count as 1e-300."""
        xi = self.potential
        if self.equation.beta:
            xi = xi + self.equation.beta * np.log(np.maximum(self.rho, 1e-300))
        return self.transport.dissipation(self.rho, xi)


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


@dataclass(frozen=True)
class B1(Stepper):
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

    def _solve(self, state: State, dt: float) -> Array:
        return averaged_step(state, dt, implicit_euler, self.tolerance, self.iterations)


@dataclass(frozen=True)
class B2(Stepper):
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
        rho = averaged_step(state, dt, _affordable, self.tolerance, self.iterations)
        if not estimate or self.exact(state.equation):
            return Step(rho, 0.0)
        first = _affordable(state.generator, state.rho, dt)
        return Step(rho, _apart(state, rho, first))


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
        stage, rho = self._along_one(state, state.generator, dt)
        lag = state.generator.mean_lag(state.rho, most=MOST_LAG * dt) if estimate else 0.0
        return Step(rho, _error(state, rho, stage, dt, lag) if estimate else 0.0)

    def _along_one(self, state: State, generator: Generator, dt: float) -> tuple[Array, Array]:
        (axis,) = state.equation.moving
        rho, first = np.ascontiguousarray(state.rho), Lines.of(generator, axis)
        stage = first.euler(rho, dt)
        if state.equation.energy.constant:
            return stage, first.second_order(rho, dt)
        second = Lines.of(state.equation.generator(state.equation.energy.potential(stage)), axis)
        return stage, first.second_stage(rho, stage, second, dt)

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
        if estimate and equation.flux.lags:
            at_mirror = mirror_lag(equation.grid, equation.beta)
            lag = lag_in_plane(along, state.rho, MOST_LAG * dt, at_mirror, scratch)
        if not energy.constant:
            middle = scratch.take("middle", rho.shape)
            np.add(state.potential, energy.potential(stage), out=middle)
            middle *= 0.5
            along = equation.lines(middle, scratch)
        end = np.empty(rho.shape)
        mean_of_both(second_order, scratch, end, equation.swapped)
        return Step(end, _error(state, end, stage, dt, lag) if estimate else 0.0)


STEPPERS: dict[str, Stepper] = {"heun": Heun(), "b1": B1(), "b2": B2(), "mprk22": MPRK22()}


def averaged_step(
    state: State,
    dt: float,
    propagate: Callable[[Generator, Array, float], Array],
    tolerance: float,
    iterations: int,
) -> Array:
    """Move rho with the generator of the energy's secant between rho and the result.

    Raises
    ------
    StepFailedError
        If the averaged potential does not settle.
    """
    equation, energy, rho = state.equation, state.equation.energy, state.rho
    if energy.constant:
        return propagate(state.generator, rho, dt)

    def again(potential: Array) -> Array:
        return energy.secant(rho, propagate(equation.generator(potential), rho, dt))

    scale = max(1.0, float(np.abs(state.potential).max()))
    found = anderson(again, state.potential, tolerance * scale, limit=iterations)
    if not found.converged:
        raise StepFailedError(
            f"the averaged potential did not settle in {found.iterations} iterations "
            f"(residual {found.residual:.1e})"
        )
    return propagate(equation.generator(found.point), rho, dt)


def _affordable(generator: Generator, rho: Array, dt: float) -> Array:
    if cost(generator, dt) > MOST_SECONDS:
        raise StepFailedError(
            f"the exponential of a step of {dt:.1e} would take more than {MOST_SECONDS:g} s; "
            "use stepper='mprk22' or 'b1'"
        )
    return exponential(generator, rho, dt)


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
    matrix = csc_array(eye_array(rho.size, format="csc") - dt * generator.matrix())
    factors = splu(
        matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    solved = factors.solve(rho.ravel()).reshape(rho.shape)
    result = generator.advance(rho, solved, dt)
    if result.min() < 0:
        raise StepFailedError(f"rounding in the linear solve left a density of {result.min():.1e}")
    return result


def _error(state: State, rho: Array, stage: Array, dt: float, lag: float) -> float:
    """Error of MPRK22: its stage differs by dt^2 / 2 + dt lag, of which the latter is none."""
    return _apart(state, rho, stage) * dt / (dt + 2.0 * lag)


def _apart(state: State, first: Array, second: Array) -> float:
    difference = np.subtract(first, second, out=state.equation.scratch.take("terms", first.shape))
    np.abs(difference, out=difference)
    return folded_sum(difference) * state.equation.grid.volume
