r"""Steppers: the equation in time. State in, state out.

``heun``: the explicit strong-stability-preserving Runge-Kutta method of order 2, positive under
the bound ``dt <= 1 / (largest outflow)``, which is checked again at the second stage.

``b1``: the implicit Euler method with averaged potential, :math:`(I - dt A(\bar\Phi)) \rho' =
\rho` with :math:`\bar\Phi` the energy's secant between rho and rho'. Positive and dissipating
for every dt (Schlichting and Seis 2022). The iteration runs on the potential: every iterate
gives a positive density of the right mass.

``mprk22``: the modified Patankar-Runge-Kutta method of order 2 (Burchard, Deleersnijder and
Meister 2003; for Fokker-Planck equations Bartel, Lampert and Ranocha 2024): an implicit Euler
step y with the potential of rho, then :math:`(I - dt \bar A) \rho' = \rho` with :math:`\bar
A_{KL} = (A_{KL}[\rho] \rho_L / y_L + A_{KL}[y]) / 2`. Both matrices are generators: positive
and conservative for every dt, with the Gibbs states as fixed points. That the free energy falls
is not proven for it; the march checks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_array, eye_array
from scipy.sparse.linalg import splu

from meanfield_pde.energies.energy import Functional
from meanfield_pde.eulerian import _kernels
from meanfield_pde.eulerian.fixed_point import anderson
from meanfield_pde.eulerian.flux import Flux, Generator, ScharfetterGummel, Transport
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid


class StepFailedError(Exception):
    """A step cannot be taken with this dt; a smaller one may do."""


@dataclass(frozen=True, eq=False)
class Equation:
    """What a stepper sees: grid, energy without entropy, diffusion and flux."""

    grid: Grid
    energy: Functional
    beta: float
    flux: Flux

    def transport(self, potential: Array) -> Transport:
        """Flux for a potential."""
        return self.flux.transport(self.grid, potential, self.beta)

    def generator(self, potential: Array) -> Generator:
        """Rates of the Scharfetter-Gummel flux, the linear one, for a potential."""
        return ScharfetterGummel().transport(self.grid, potential, self.beta)

    def free_energy(self, rho: Array) -> float:
        """Energy with its entropy."""
        value = self.energy.value(rho)
        if self.beta:
            positive = rho[rho > 0]
            value += self.beta * float((positive * np.log(positive)).sum()) * self.grid.volume
        return value

    def dissipation(self, rho: Array) -> float:
        """Discrete dissipation of the free energy at rho; cells without mass count as 1e-300."""
        phi = self.energy.potential(rho)
        xi = phi + self.beta * np.log(np.maximum(rho, 1e-300)) if self.beta else phi
        return self.transport(phi).dissipation(rho, xi)


@dataclass(frozen=True, eq=False)
class State:
    """Density, with the flux for its own potential where a stepper keeps it."""

    rho: Array
    transport: Transport | None = None


@dataclass(frozen=True, eq=False)
class Step:
    """A step that was taken: the new state and an estimate of its L1 error."""

    state: State
    error: float


class Stepper(ABC):
    """A one-step method."""

    name: str
    order: int

    @abstractmethod
    def begin(self, equation: Equation, rho: Array) -> State:
        """State to start from."""

    @abstractmethod
    def limit(self, equation: Equation, state: State) -> float:
        """Largest dt for which the step is known to be positive."""

    @abstractmethod
    def step(self, equation: Equation, state: State, dt: float, estimate: bool) -> Step:
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

    def begin(self, equation: Equation, rho: Array) -> State:
        """Compute the first flux."""
        return State(rho, equation.transport(equation.energy.potential(rho)))

    def limit(self, equation: Equation, state: State) -> float:
        """Inverse of the largest outflow."""
        assert state.transport is not None
        outflow = state.transport.outflow
        return 1.0 / outflow if outflow > 0 else np.inf

    def step(self, equation: Equation, state: State, dt: float, estimate: bool) -> Step:
        """Two Euler steps, averaged with the start."""
        first = state.transport
        assert first is not None
        stage = first.advance(state.rho, state.rho, dt)
        second = first
        if not equation.energy.constant:
            second = equation.transport(equation.energy.potential(stage))
            if dt * second.outflow > 1.0:
                raise StepFailedError("the second stage would not be positive")
        rho = 0.5 * (state.rho + second.advance(stage, stage, dt))
        error = float(np.abs(rho - stage).sum() * equation.grid.volume) if estimate else 0.0
        if not equation.energy.constant:
            return Step(self.begin(equation, rho), error)
        return Step(State(rho, first), error)


@dataclass(frozen=True)
class B1(Stepper):
    """Implicit, order 1; the error estimate compares one step with two of half the size."""

    tolerance: float = 1e-12
    iterations: int = 50
    name = "b1"
    order = 1

    def begin(self, equation: Equation, rho: Array) -> State:
        """Nothing to prepare."""
        return State(rho)

    def limit(self, equation: Equation, state: State) -> float:
        """No limit."""
        return np.inf

    def step(self, equation: Equation, state: State, dt: float, estimate: bool) -> Step:
        """One step, or two half steps with the full one beside them."""
        full = self._solve(equation, state.rho, dt)
        if not estimate:
            return Step(State(full), 0.0)
        half = self._solve(equation, self._solve(equation, state.rho, 0.5 * dt), 0.5 * dt)
        return Step(State(half), float(np.abs(half - full).sum() * equation.grid.volume))

    def _solve(self, equation: Equation, rho: Array, dt: float) -> Array:
        energy = equation.energy
        phi = energy.potential(rho)
        if energy.constant:
            return implicit_euler(equation.generator(phi), rho, dt)

        def again(potential: Array) -> Array:
            return energy.secant(rho, implicit_euler(equation.generator(potential), rho, dt))

        scale = max(1.0, float(np.abs(phi).max()))
        found = anderson(again, phi, self.tolerance * scale, limit=self.iterations)
        if not found.converged:
            raise StepFailedError(
                f"the averaged potential did not settle in {found.iterations} iterations "
                f"(residual {found.residual:.1e})"
            )
        return implicit_euler(equation.generator(found.point), rho, dt)


@dataclass(frozen=True)
class MPRK22(Stepper):
    """Implicit, order 2, two linear solves a step and no iteration; positive for every dt.

    The error estimate is the distance to the implicit Euler step inside it.
    """

    name = "mprk22"
    order = 2

    def begin(self, equation: Equation, rho: Array) -> State:
        """Nothing to prepare."""
        return State(rho)

    def limit(self, equation: Equation, state: State) -> float:
        """No limit."""
        return np.inf

    def step(self, equation: Equation, state: State, dt: float, estimate: bool) -> Step:
        """Implicit Euler, then the mean of both ends' rates with Patankar's weights."""
        energy, rho = equation.energy, state.rho
        first = equation.generator(energy.potential(rho))
        stage = implicit_euler(first, rho, dt)
        second = first if energy.constant else equation.generator(energy.potential(stage))
        # A cell whose density underflowed gives nothing away, whatever its weight.
        weight = np.divide(rho, stage, out=np.ones_like(rho), where=stage > 1e-300)
        mixed = second.averaged_with(first, weight)
        final = implicit_euler(mixed, rho, dt)
        error = float(np.abs(final - stage).sum() * equation.grid.volume) if estimate else 0.0
        return Step(State(final), error)


@dataclass(frozen=True)
class Lines(Stepper):
    """Implicit, order 2, by lines: symmetrised Strang splitting of a 2D grid, positive for every dt.

    The potential is frozen at the mean of its values at rho and at a first-order prediction; the error
    estimate is the distance to that prediction.
    """

    name = "lines"
    order = 2

    def begin(self, equation: Equation, rho: Array) -> State:
        """Nothing to prepare."""
        return State(rho)

    def limit(self, equation: Equation, state: State) -> float:
        """No limit."""
        return np.inf

    def step(self, equation: Equation, state: State, dt: float, estimate: bool) -> Step:
        """Predict by implicit Euler along x and y, then split symmetrically."""
        energy, rho = equation.energy, state.rho
        phi = energy.potential(rho)
        sweeps = Sweeps(equation.generator(phi), patankar=False)
        stage = sweeps.along(1, sweeps.along(0, rho, dt), dt)
        if not energy.constant:
            phi = 0.5 * (phi + energy.potential(stage))
        sweeps = Sweeps(equation.generator(phi), patankar=True)
        final = np.zeros_like(rho)
        for outer, inner in ((0, 1), (1, 0)):
            half = sweeps.along(outer, rho, 0.5 * dt)
            final += 0.5 * sweeps.along(outer, sweeps.along(inner, half, dt), 0.5 * dt)
        error = float(np.abs(final - stage).sum() * equation.grid.volume) if estimate else 0.0
        return Step(State(final), error)


class Sweeps:
    """Implicit steps along the lines of one axis of a 2D generator."""

    def __init__(self, generator: Generator, patankar: bool) -> None:
        self.periodic = generator.grid.periodic
        self.patankar = patankar
        self.rates = [
            (
                np.ascontiguousarray(generator.forward[0].T),
                np.ascontiguousarray(generator.backward[0].T),
            ),
            (generator.forward[1], generator.backward[1]),
        ]

    def along(self, axis: int, rho: Array, dt: float) -> Array:
        """Step along one axis."""
        rows = np.ascontiguousarray(rho.T) if axis == 0 else rho
        out = np.empty_like(rows)
        _kernels.solve_lines(rows, *self.rates[axis], dt, self.periodic, self.patankar, out)
        return np.ascontiguousarray(out.T) if axis == 0 else out


STEPPERS: dict[str, Stepper] = {"heun": Heun(), "b1": B1(), "mprk22": MPRK22(), "lines": Lines()}


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
        out = np.empty_like(rho)
        _kernels.solve_line(
            rho,
            generator.forward[0, :, 0],
            generator.backward[0, :, 0],
            dt,
            generator.grid.periodic,
            out,
        )
        return out
    matrix = csc_array(eye_array(rho.size, format="csc") - dt * generator.matrix())
    factors = splu(
        matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    solved = factors.solve(rho.ravel()).reshape(rho.shape)
    result = generator.advance(rho, solved, dt)
    if result.min() < 0:
        raise StepFailedError(f"rounding in the linear solve left a density of {result.min():.1e}")
    return result
