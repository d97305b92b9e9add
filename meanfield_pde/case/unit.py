"""Tables ``unit`` of a case file: the units of a network, by name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from meanfield_pde.case.table import Count, Positive, Table
from meanfield_pde.energies.unit import Unit


class RidgeUnit(Table):
    """``sigma(z . x)``, or ``a sigma(b . x)`` with z = (a, b)."""

    kind: Literal["ridge", "scaled-ridge"]
    activation: Literal["tanh", "logistic", "relu", "erf", "softplus", "cos", "linear"]

    def build(self) -> Unit:
        """Make the unit."""
        make = Unit.ridge if self.kind == "ridge" else Unit.scaled_ridge
        return make(self.activation)


class SeparateRidgeUnit(Table):
    """``(sigma(z_1 x_1), sigma(z_2 x_2), ...)``, one output a coordinate."""

    kind: Literal["separate-ridge"]
    activation: Literal["tanh", "logistic", "relu", "erf", "softplus", "cos", "linear"]
    outputs: Count = 2

    def build(self) -> Unit:
        """Make the unit."""
        return Unit.separate_ridge(self.activation, self.outputs)


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


AnyUnit = Annotated[
    RidgeUnit | SeparateRidgeUnit | BumpUnit | HarmonicUnit, Field(discriminator="kind")
]
