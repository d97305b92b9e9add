"""Tables ``[[energy]]`` of a case file: terms of the energy, each with its ``factor``.

Functions are named, never code, and bring their exact gradients.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from meanfield_pde.case.data import AnyData
from meanfield_pde.case.table import Natural, Numbers, Positive, Table
from meanfield_pde.case.unit import AnyUnit
from meanfield_pde.energies.energy import Energy, Entropy
from meanfield_pde.energies.interaction import Interaction
from meanfield_pde.energies.loss import Loss
from meanfield_pde.energies.low_rank import TOLERANCE
from meanfield_pde.energies.potential import Penalty, Potential
from meanfield_pde.energies.risk import Risk
from meanfield_pde.energies.variants import with_variant
from meanfield_pde.measures.check import Array, Function
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.group import Group

Pair = tuple[Function, Function]


def _square(z: Array) -> Array:
    return np.asarray(np.einsum("...i,...i->...", z, z))


def _norm(z: Array) -> Array:
    return np.sqrt(_square(z))


POTENTIALS: dict[str, Pair] = {
    "linear": (lambda z: z.sum(-1), np.ones_like),
    "quadratic": (lambda z: 0.5 * _square(z), lambda z: z),
    "quartic": (lambda z: 0.25 * _square(z) ** 2, lambda z: _square(z)[..., None] * z),
    "double-well": (
        lambda z: 0.25 * _square(z) ** 2 - 0.5 * _square(z),
        lambda z: (_square(z)[..., None] - 1.0) * z,
    ),
    "cosine": (lambda z: -np.cos(z).sum(-1), np.sin),
    "gaussian": (
        lambda z: -np.exp(-0.5 * _square(z)),
        lambda z: np.exp(-0.5 * _square(z))[..., None] * z,
    ),
}
"""Values and gradients.

``sum z_a``, ``|z|^2/2``, ``|z|^4/4``, ``|z|^4/4 - |z|^2/2``, ``-sum cos z_a`` and
``-exp(-|z|^2/2)``.
"""

INTERACTIONS: dict[str, Pair] = {
    "quadratic": POTENTIALS["quadratic"],
    "cosine": POTENTIALS["cosine"],
    "gaussian": POTENTIALS["gaussian"],
    "absolute": (_norm, lambda z: z / _norm(z)[..., None]),
    "cubic": (lambda z: _norm(z) ** 3 / 3, lambda z: _norm(z)[..., None] * z),
    "bounded-confidence": (
        lambda z: 0.5 * np.minimum(_square(z) - 1.0, 0.0),
        lambda z: np.where(_square(z)[..., None] < 1.0, z, 0.0),
    ),
    "log": (lambda z: np.log(_norm(z)), lambda z: z / _square(z)[..., None]),
}
"""Values and gradients; all attract, and with a negative factor they repel.

``|z|^2/2``, ``-sum cos z_a``, ``-exp(-|z|^2/2)``, ``|z|``, ``|z|^3/3``, ``min(|z|^2 - 1, 0)/2``
(attraction by those at a distance below 1, on a torus the shorter way round) and ``log |z|``.
"""


class PotentialTable(Table):
    """``int V((z - centre) / width) dmu`` for a named V."""

    kind: Literal["potential"]
    name: Literal["linear", "quadratic", "quartic", "double-well", "cosine", "gaussian"]
    factor: float = 1.0
    centre: Numbers = 0.0
    width: Positive = 1.0

    def build(self, grid: Grid, group: Group | None) -> Energy:
        """Make the potential."""
        value, gradient = _scaled(POTENTIALS[self.name], self.width)
        centre = np.atleast_1d(np.asarray(self.centre, dtype=np.float64))
        if centre.shape not in ((1,), (grid.ambient_dim,)):
            raise ValueError(
                f"centre must be a number or have {grid.ambient_dim} entries for this grid, got "
                f"{self.centre}; give one number a dimension"
            )
        return self.factor * Potential(lambda z: value(z - centre), lambda z: gradient(z - centre))


class InteractionTable(Table):
    """``1/2 int int W((z - z') / width) dmu dmu`` for a named W; ``core`` is for particles."""

    kind: Literal["interaction"]
    name: Literal[
        "quadratic", "cosine", "gaussian", "absolute", "cubic", "bounded-confidence", "log"
    ]
    factor: float = 1.0
    width: Positive = 1.0
    core: Annotated[float, Field(ge=0)] = 0.0

    def build(self, grid: Grid, group: Group | None) -> Energy:
        """Make the interaction."""
        value, gradient = _scaled(INTERACTIONS[self.name], self.width)
        if self.name == "bounded-confidence" and grid.periodic:
            value, gradient = _wrapped((value, gradient), grid, self.width)
        return self.factor * Interaction(value, gradient, self.core)


def _scaled(pair: Pair, width: float) -> Pair:
    value, gradient = pair
    return lambda z: value(z / width), lambda z: gradient(z / width) / width


def _wrapped(pair: Pair, grid: Grid, width: float) -> Pair:
    """Take differences on a torus the shorter way round, for kernels that vanish beyond width."""
    value, gradient = pair
    period = np.subtract(grid.upper, grid.lower)
    if width > 0.5 * period.min():
        raise ValueError(
            f"width must be at most half of the torus, {0.5 * period.min():g}, got {width:g}; "
            "make it smaller"
        )

    def shorter(z: Array) -> Array:
        return np.asarray(z - period * np.rint(z / period))

    return lambda z: value(shorter(z)), lambda z: gradient(shorter(z))


class PenaltyTable(Table):
    """``int |z|^2 dmu``, or the sum of the squares of the coordinates ``along`` alone."""

    kind: Literal["penalty"]
    factor: float = 1.0
    along: Annotated[list[Natural], Field(min_length=1)] | None = None

    def build(self, grid: Grid, group: Group | None) -> Energy:
        """Make the penalty."""
        if self.along is None:
            return self.factor * Penalty()
        if max(self.along) >= grid.ambient_dim or len(set(self.along)) < len(self.along):
            raise ValueError(
                f"along must name coordinates from 0 to {grid.ambient_dim - 1}, each once, got "
                f"{self.along}; drop the others"
            )
        chosen = np.isin(range(grid.ambient_dim), self.along).astype(np.float64)
        return self.factor * Potential(lambda z: _square(chosen * z), lambda z: 2.0 * chosen * z)


class EntropyTable(Table):
    """``int rho log rho``; its factor is the diffusion beta."""

    kind: Literal["entropy"]
    factor: Annotated[float, Field(ge=0)] = 1.0

    def build(self, grid: Grid, group: Group | None) -> Energy:
        """Make the entropy."""
        return self.factor * Entropy()


class RiskTable(Table):
    """The risk of a network, or its variant by the case's group."""

    kind: Literal["risk"]
    factor: float = 1.0
    loss: Literal["squared", "half_squared", "logistic", "huber"] = "squared"
    variant: Literal[
        "vanilla", "data-augmented", "feature-averaged", "equivariant-architecture"
    ] = "vanilla"
    rank_tolerance: Annotated[float, Field(ge=0, le=0.1)] = TOLERANCE
    unit: AnyUnit
    data: AnyData

    def build(self, grid: Grid, group: Group | None) -> Energy:
        """Make the risk."""
        unit = self.unit.build()
        data = self.data.build(unit)
        unit.check_dimensions(data.dim, grid.ambient_dim)
        risk = Risk(unit, data, Loss.named(self.loss), self.rank_tolerance)
        if self.variant == "vanilla":
            return self.factor * risk
        if group is None:
            raise ValueError(f"variant {self.variant!r} needs a group; add a [group] table")
        return self.factor * with_variant(risk, self.variant, group)


AnyEnergy = Annotated[
    PotentialTable | InteractionTable | PenaltyTable | EntropyTable | RiskTable,
    Field(discriminator="kind"),
]
