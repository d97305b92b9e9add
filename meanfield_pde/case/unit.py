"""Tables ``unit`` of a case file: the units of a network, by name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from meanfield_pde.case.table import Count, Positive, Table
from meanfield_pde.energies.unit import Unit

Activation = Literal["tanh", "logistic", "relu", "erf", "softplus", "cos", "linear"]


class RidgeUnit(Table):
    """``sigma(z . x)``, or ``a sigma(b . x)`` with z = (a, b)."""

    kind: Literal["ridge", "scaled-ridge"]
    activation: Activation

    def build(self) -> Unit:
        """Make the unit."""
        make = Unit.ridge if self.kind == "ridge" else Unit.scaled_ridge
        return make(self.activation)


class SeparateRidgeUnit(Table):
    """Several outputs: ``sigma(z_a x_a)`` each, or ``sigma(z x)`` with the rows of a matrix z."""

    kind: Literal["separate-ridge", "matrix-ridge"]
    activation: Activation
    outputs: Count = 2

    def build(self) -> Unit:
        """Make the unit."""
        make = Unit.separate_ridge if self.kind == "separate-ridge" else Unit.matrix_ridge
        return make(self.activation, self.outputs)


class BumpUnit(Table):
    """``exp(-|x - z|^2 / (2 width^2))``."""

    kind: Literal["bump"]
    width: Positive = 1.0

    def build(self) -> Unit:
        """Make the unit."""
        return Unit.bump(self.width)


class HarmonicUnit(Table):
    """``cos(order (x - z))``."""

    kind: Literal["harmonic"]
    order: Count = 1

    def build(self) -> Unit:
        """Make the unit."""
        return Unit.harmonic(self.order)


class RampUnit(Table):
    """``sigma(z . x)``, sigma rising linearly from low at start to high at end."""

    kind: Literal["ramp"]
    start: float
    end: float
    low: float
    high: float

    def build(self) -> Unit:
        """Make the unit."""
        return Unit.ramp(self.start, self.end, self.low, self.high)


class RadialUnit(Table):
    """A ridge or ramp averaged over the sphere of R^dim, for radii x and z."""

    kind: Literal["radial"]
    dim: Annotated[int, Field(ge=2)]
    unit: Annotated[RidgeUnit | RampUnit, Field(discriminator="kind")]

    def build(self) -> Unit:
        """Make the unit."""
        return Unit.radial(self.unit.build(), self.dim)


class SetUnit(Table):
    """``sigma(mean_i a rho(u_i - b))`` of sets {u_i}, with z = (a, b)."""

    kind: Literal["on-sets"]
    activation: Activation
    test_function: Activation

    def build(self) -> Unit:
        """Make the unit."""
        return Unit.on_sets(self.activation, self.test_function)


class ScaledUnit(Table):
    """``c sigma(x; b)`` with z = (c, b): a unit times an output weight of any sign."""

    kind: Literal["scaled"]
    unit: Annotated[RidgeUnit | BumpUnit | HarmonicUnit | RampUnit, Field(discriminator="kind")]

    def build(self) -> Unit:
        """Make the unit."""
        return Unit.scaled(self.unit.build())


AnyUnit = Annotated[
    RidgeUnit
    | SeparateRidgeUnit
    | BumpUnit
    | HarmonicUnit
    | SetUnit
    | RampUnit
    | RadialUnit
    | ScaledUnit,
    Field(discriminator="kind"),
]
