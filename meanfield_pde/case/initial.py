"""Table ``[initial]`` of a case file: laws at the start.

Each builds what it describes, or raises ValueError where its numbers do not fit the grid.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import scipy
from pydantic import Field

from meanfield_pde.case.product import ProductInitial
from meanfield_pde.case.table import Count, Covariance, Numbers, Positive, Table
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid


class GaussianInitial(Table):
    """A normal law: mean, and variance, variances or covariance matrix."""

    kind: Literal["gaussian"]
    mean: Numbers
    cov: Covariance

    def build(self, grid: Grid) -> Density:
        """Make the density."""
        return Density.gaussian(grid, self.mean, self.cov)


class LengthInitial(Table):
    """The law of the length of a normal vector in R^dim, on a grid of radii."""

    kind: Literal["length"]
    dim: Count
    scale: Positive

    def build(self, grid: Grid) -> Density:
        """Make the density, with exact masses of the cells."""
        if grid.dim != 1 or grid.periodic or grid.lower[0] != 0:
            raise ValueError("grid must be a line of radii from 0, got another; set grid.lower = 0")
        law = scipy.special.gammainc(0.5 * self.dim, 0.5 * (grid.faces[0] / self.scale) ** 2)
        return Density(grid, np.asarray(np.diff(law) / grid.volume, dtype=np.float64))


class Component(Table):
    """A normal law, one of a mixture."""

    weight: Positive
    mean: Numbers
    cov: Covariance


class MixtureInitial(Table):
    """A mixture of normal laws, of which a share may be replaced by the uniform law."""

    kind: Literal["mixture"]
    components: Annotated[list[Component], Field(min_length=1)]
    uniform: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def build(self, grid: Grid) -> Density:
        """Make the density."""
        parts = [Density.gaussian(grid, part.mean, part.cov) for part in self.components]
        normal = Density.mixture(parts, [part.weight for part in self.components])
        if not self.uniform:
            return normal
        shares = [1.0 - self.uniform, self.uniform]
        return Density.mixture([normal, Density.uniform(grid)], shares)


class UniformInitial(Table):
    """The uniform law on the whole grid."""

    kind: Literal["uniform"]

    def build(self, grid: Grid) -> Density:
        """Make the density."""
        return Density.uniform(grid)


class CosineInitial(Table):
    """``(1 + amplitude cos(2 pi order z / L)) / L`` on a circle of length L centred at 0."""

    kind: Literal["cosine"]
    amplitude: Annotated[float, Field(ge=-1, le=1)]
    order: Count = 1

    def build(self, grid: Grid) -> Density:
        """Make the density, by exact cell averages."""
        if grid.dim != 1 or not grid.periodic:
            raise ValueError(
                f"kind 'cosine' needs a torus of dimension 1, got a "
                f"{'torus' if grid.periodic else 'box'} of dimension {grid.dim}; use a mixture"
            )
        length = grid.upper[0] - grid.lower[0]
        wave = 2 * np.pi * self.order / length
        average = np.sinc(self.order * grid.spacing[0] / length) * np.cos(wave * grid.axes[0])
        return Density(grid, np.maximum(1.0 + self.amplitude * average, 0.0) / length)


class VonMisesInitial(Table):
    """A law prop. to ``exp(concentration sum_a cos(2 pi (z_a - mean_a) / L_a))`` on a torus."""

    kind: Literal["von-mises"]
    mean: Numbers = 0.0
    concentration: Annotated[float, Field(ge=0)]

    def build(self, grid: Grid) -> Density:
        """Make the density, by Gauss-Legendre averages of the cells."""
        if not grid.periodic:
            raise ValueError("kind 'von-mises' needs a torus, got a box; use a normal law")
        mean = np.atleast_1d(np.asarray(self.mean, dtype=np.float64))
        if mean.shape not in ((1,), (grid.dim,)):
            raise ValueError(
                f"mean must be a number or have {grid.dim} entries for this grid, got {self.mean}; "
                "give one number a dimension"
            )
        turn = 2 * np.pi / np.subtract(grid.upper, grid.lower)
        return Density.from_function(
            grid,
            lambda z: np.exp(self.concentration * (np.cos(turn * (z - mean)) - 1.0).sum(-1)),
        ).normalised()


AnyInitial = Annotated[
    GaussianInitial
    | MixtureInitial
    | UniformInitial
    | CosineInitial
    | LengthInitial
    | ProductInitial
    | VonMisesInitial,
    Field(discriminator="kind"),
]
