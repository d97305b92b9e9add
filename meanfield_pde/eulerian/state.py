"""What steps act on: the equation on a grid, and a density with what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from meanfield_pde.energies.energy import Functional
from meanfield_pde.eulerian.flux import Flux, Generator, LinearFlux, Transport
from meanfield_pde.eulerian.line import LineSteps
from meanfield_pde.eulerian.lines import Lines, Scratch
from meanfield_pde.eulerian.reaction import LEAST, Reaction
from meanfield_pde.measures._kernels import entropy_terms, line_sums
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.order_free import folded_sum


@dataclass(frozen=True, eq=False)
class Equation:
    """What a stepper sees: grid, energy without entropy, diffusion, flux, and what is frozen.

    ``swapped``: the energy and all densities are symmetric about the diagonal. A reaction is for
    `splitting.Reacting` alone.
    """

    grid: Grid
    energy: Functional
    beta: float
    flux: Flux
    frozen: tuple[int, ...] = ()
    swapped: bool = False
    reaction: Reaction | None = None

    @property
    def dissipative(self) -> bool:
        """Whether the free energy falls along the flow."""
        return self.reaction is None or self.reaction.dissipative

    @cached_property
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

    @cached_property
    def line(self) -> LineSteps | None:
        """Steps on the one line of the grid; None where there are more, or nothing moves."""
        if not isinstance(self.flux, LinearFlux) or self.frozen:
            return None
        return LineSteps.on(self.grid, self.flux, self.beta)

    def lines(self, potential: Array, scratch: Scratch) -> list[Lines]:
        """Rates of a linear flux along the lines of each axis that moves."""
        flux, grid, beta = self.flux, self.grid, self.beta
        if not isinstance(flux, LinearFlux):  # rates may depend on more than the line's potential
            generator = self.generator(potential)
            return [Lines.of(generator, axis) for axis in self.moving]
        if self.swapped:
            first = Lines.along(flux, grid, potential, beta, 0, scratch)
            return [first, replace(first, axis=1)]
        return [Lines.along(flux, grid, potential, beta, axis, scratch) for axis in self.moving]

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
        """Rates along the lines of each axis, up to the next that are asked of the equation."""
        if self.equation.energy.constant:
            return self.equation.constant_lines
        return self.equation.lines(self.potential, self.equation.scratch)

    @property
    def generator(self) -> Generator:
        """The transport of a linear flux."""
        assert isinstance(self.transport, Generator), "implicit steps need a linear flux"
        return self.transport

    @cached_property
    def _sums(self) -> tuple[float, float, float]:
        """Sum, minimum, and sum of ``rho log rho``: in the plane 0 where nothing diffuses."""
        rho = np.ascontiguousarray(self.rho)
        if rho.ndim == 1:
            sums: tuple[float, float, float] = line_sums(rho, LEAST)
            return sums
        entropy = 0.0
        if self.equation.beta:
            terms = self.equation.scratch.take("terms", rho.shape)
            entropy_terms(rho, LEAST, terms)
            entropy = folded_sum(terms)
        return folded_sum(rho), float(rho.min()), entropy

    @property
    def total(self) -> float:
        """Sum of the density over the cells."""
        return self._sums[0]

    @property
    def lowest(self) -> float:
        """Lowest value of the density; NaN where there is one."""
        return self._sums[1]

    @property
    def free_energy(self) -> float:
        """Energy with its entropy."""
        entropy = self._sums[2] * self.equation.grid.volume
        return self._evaluated[0] + self.equation.beta * entropy

    @property
    def dissipation(self) -> float:
        """Discrete dissipation of the free energy; cells without mass count as 1e-300."""
        equation, xi = self.equation, self.potential
        if equation.beta:
            xi = xi + equation.beta * np.log(np.maximum(self.rho, LEAST))
        rate = self.transport.dissipation(self.rho, xi)
        if equation.reaction is not None:
            falls = equation.reaction.dissipation(self.rho, self.potential, xi)
            rate += falls * equation.grid.volume
        return rate
