"""Table ``[initial]`` of a law with independent coordinates, each with a law of its own."""

from __future__ import annotations

from functools import reduce
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from meanfield_pde.case.table import Positive, Table
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid


class NormalFactor(Table):
    """A coordinate with a normal law."""

    kind: Literal["normal"]
    mean: float = 0.0
    variance: Positive = 1.0

    def averages(self, line: Grid) -> Array:
        """Return averages over the cells of a line."""
        return Density.gaussian(line, self.mean, self.variance).values


class UniformFactor(Table):
    """A coordinate that is uniform between two numbers, wherever these lie in their cells."""

    kind: Literal["uniform"]
    lower: float
    upper: float

    def averages(self, line: Grid) -> Array:
        """Return averages over the cells of a line."""
        low, high = line.lower[0], line.upper[0]
        if not low <= self.lower < self.upper <= high:
            raise ValueError(
                f"lower and upper must rise and lie in [{low:g}, {high:g}], the grid, got "
                f"{self.lower:g} and {self.upper:g}; change them or the grid"
            )
        inside = np.diff(np.clip(line.faces[0], self.lower, self.upper))
        return np.asarray(inside / (line.spacing[0] * (self.upper - self.lower)))


class ProductInitial(Table):
    """Independent coordinates: a factor each, in their order."""

    kind: Literal["product"]
    factors: Annotated[
        list[Annotated[NormalFactor | UniformFactor, Field(discriminator="kind")]],
        Field(min_length=1),
    ]

    def build(self, grid: Grid) -> Density:
        """Make the density, with exact masses of the cells."""
        if grid.periodic or grid.chart is not None:
            raise ValueError(
                "kind 'product' needs a box without a chart, got a "
                f"{'torus' if grid.periodic else 'chart'}; use gaussian"
            )
        if len(self.factors) != grid.dim:
            raise ValueError(
                f"factors must be one for each of the {grid.dim} coordinates of the grid, got "
                f"{len(self.factors)}; add or drop some"
            )
        lines = [Grid.box(*ends) for ends in zip(grid.lower, grid.upper, grid.cells, strict=True)]
        parts = [part.averages(line) for part, line in zip(self.factors, lines, strict=True)]
        return Density(grid, reduce(np.multiply.outer, parts))
