"""Tables ``data`` of a case file, with their targets: what a network learns from."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from meanfield_pde.case.table import Count, Natural, Numbers, Points, Positive, Table
from meanfield_pde.case.unit import AnyUnit
from meanfield_pde.energies.data import Data
from meanfield_pde.energies.gaussian_classes import MOST_NODES, GaussianClasses
from meanfield_pde.energies.sets import rows_of_sets
from meanfield_pde.energies.unit import Unit
from meanfield_pde.measures.check import Array, Function


class TeacherTarget(Table):
    """``sum_j weights_j unit(x; points_j)``: a network of the student's unit, or of another.

    Weights may be negative; they are 1/n where they are left out.
    """

    kind: Literal["teacher"]
    points: Annotated[Points, Field(min_length=1)]
    weights: list[float] | None = None
    unit: AnyUnit | None = None

    def build(self, student: Unit) -> Function:
        """Return the target as a function of x."""
        lengths = {np.size(point) for point in self.points}
        if len(lengths) > 1:
            raise ValueError(
                f"points must all have one length, got lengths {sorted(lengths)}; "
                "give one row a point"
            )
        points = np.asarray(self.points, dtype=np.float64).reshape(len(self.points), -1)
        weights = np.full(len(points), 1.0 / len(points))
        if self.weights is not None:
            weights = np.asarray(self.weights)
        if len(weights) != len(points):
            raise ValueError(
                f"weights must have one entry for each of the {len(points)} points, got "
                f"{len(weights)}; leave them out for equal ones"
            )
        unit = student if self.unit is None else self.unit.build()

        def target(x: Array) -> Array:
            unit.check_dimensions(x.shape[1], points.shape[1])
            return np.tensordot(unit.features(x, points), weights, axes=(1, 0))

        return target


class RingTarget(Table):
    """Mean of the unit over ``points`` equispaced parameters on the circle of a ``radius``."""

    kind: Literal["ring"]
    radius: Positive
    points: Count = 64
    unit: AnyUnit | None = None

    def build(self, student: Unit) -> Function:
        """Return the target as a function of x."""
        turns = 2 * np.pi * np.arange(self.points) / self.points
        ring = self.radius * np.stack([np.cos(turns), np.sin(turns)], axis=-1)
        unit = student if self.unit is None else self.unit.build()

        def target(x: Array) -> Array:
            unit.check_dimensions(x.shape[1], 2)
            return np.asarray(unit.features(x, ring).mean(axis=1))

        return target


class CosineTarget(Table):
    """``amplitude cos(order x)`` of the first coordinate."""

    kind: Literal["cosine"]
    amplitude: float = 1.0
    order: Count = 1

    def build(self, student: Unit) -> Function:
        """Return the target as a function of x."""
        return lambda x: self.amplitude * np.cos(self.order * x[..., 0])


class SignTarget(Table):
    """Labels -1 and 1 by the sign of the first coordinate, for the logistic loss."""

    kind: Literal["sign"]

    def build(self, student: Unit) -> Function:
        """Return the target as a function of x."""
        return lambda x: np.where(x[..., 0] < 0, -1.0, 1.0)


AnyTarget = Annotated[
    TeacherTarget | RingTarget | CosineTarget | SignTarget, Field(discriminator="kind")
]


class HermiteData(Table):
    """X normal with standard deviation ``scale``, by Gauss-Hermite nodes."""

    kind: Literal["gauss-hermite"]
    dim: Count
    nodes: Count
    scale: Positive = 1.0
    target: AnyTarget

    def build(self, student: Unit) -> Data:
        """Make the data."""
        return Data.gauss_hermite(self.dim, self.nodes, self.target.build(student), self.scale)


class LaguerreData(Table):
    """X normal in the plane, by Gauss-Laguerre radii and equispaced angles."""

    kind: Literal["gauss-laguerre"]
    radii: Count
    angles: Count
    scale: Positive = 1.0
    target: AnyTarget

    def build(self, student: Unit) -> Data:
        """Make the data."""
        target = self.target.build(student)
        return Data.gauss_laguerre(self.radii, self.angles, target, self.scale)


class LegendreData(Table):
    """X uniform on a box, by Gauss-Legendre nodes."""

    kind: Literal["gauss-legendre"]
    nodes: Count
    lower: Numbers
    upper: Numbers
    target: AnyTarget

    def build(self, student: Unit) -> Data:
        """Make the data."""
        return Data.gauss_legendre(self.nodes, self.lower, self.upper, self.target.build(student))


class CircleData(Table):
    """X a uniform angle, by equispaced nodes."""

    kind: Literal["circle"]
    nodes: Count
    target: AnyTarget

    def build(self, student: Unit) -> Data:
        """Make the data."""
        return Data.circle(self.nodes, self.target.build(student))


SETS: dict[str, Function] = {
    "maximum": np.max,
    "minimum": np.min,
    "mean": np.mean,
    "median": np.median,
    "range": np.ptp,
    "variance": np.var,
}


class SetTarget(Table):
    """A symmetric function of the points of a set."""

    kind: Literal["maximum", "minimum", "mean", "median", "range", "variance"]


class SetsData(Table):
    """``count`` sets of each size, their points drawn uniformly from an interval."""

    kind: Literal["sets"]
    sizes: Annotated[list[Count], Field(min_length=1)]
    count: Count
    lower: float = -1.0
    upper: float = 1.0
    seed: Natural = 0
    target: Annotated[TeacherTarget | SetTarget, Field(discriminator="kind")]

    def build(self, student: Unit) -> Data:
        """Draw the sets."""
        if not self.lower < self.upper:
            raise ValueError(
                f"lower must be below upper, got {self.lower:g} and {self.upper:g}; swap them"
            )
        rng = np.random.default_rng(self.seed)
        drawn = [rng.uniform(self.lower, self.upper, (self.count, size)) for size in self.sizes]
        sets = [points for block in drawn for points in block]
        if isinstance(self.target, SetTarget):
            return Data.sets(sets, SETS[self.target.kind])
        return Data.sets(sets, self.target.build(student)(rows_of_sets(sets)))


class RadiiData(Table):
    """Lengths of two classes of normal vectors in R^dim, with deviations 1 + gap and 1 - gap."""

    kind: Literal["gaussian-classes"]
    dim: Annotated[int, Field(ge=2)]
    gap: Annotated[float, Field(gt=0, lt=1)]
    nodes: Annotated[int, Field(ge=1, le=MOST_NODES)] = 48

    def build(self, student: Unit) -> Data:
        """Make the data."""
        return GaussianClasses(self.dim, self.gap).radii(self.nodes)


class SamplesData(Table):
    """Samples as they are: rows of ``x`` with targets ``y``, of equal weight if none is given."""

    kind: Literal["samples"]
    x: Annotated[Points, Field(min_length=1)]
    y: Annotated[Points, Field(min_length=1)]
    weights: list[float] | None = None

    def build(self, student: Unit) -> Data:
        """Make the data."""
        return Data.samples(self.x, self.y, self.weights)


AnyData = Annotated[
    HermiteData | LaguerreData | LegendreData | CircleData | SetsData | RadiiData | SamplesData,
    Field(discriminator="kind"),
]
