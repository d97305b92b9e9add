"""Tables of a case file other than energies: grid, initial law, group, rate, and how to solve.

Each builds what it describes, or raises ValueError where its numbers do not fit each other.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError
from scipy.special import gammainc

from meanfield_pde.case.energy import AnyEnergy
from meanfield_pde.case.table import Count, Covariance, Natural, Numbers, Positive, Table, one_of
from meanfield_pde.case.wording import suggestion
from meanfield_pde.energies.sets import point_permutations
from meanfield_pde.flows.schedule import Rate
from meanfield_pde.measures.chart import Chart
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.group import Group
from meanfield_pde.measures.lazy import LazyMetric

MAX_CELLS = 10_000_000
"""More cells than that are a slip of the pen, and would fill the memory."""


class GridTable(Table):
    """``[grid]``: the cells, on a box with walls or on a torus."""

    kind: Literal["box", "torus"]
    lower: Numbers
    upper: Numbers
    cells: Count | list[Count]

    @property
    def dim(self) -> int:
        """Dimension of the parameters, where no chart says otherwise."""
        return len(self.lower) if isinstance(self.lower, list) else 1

    def build(self, chart: Chart | None) -> Grid:
        """Make the grid."""
        size = math.prod(self.cells) if isinstance(self.cells, list) else self.cells
        if size > MAX_CELLS:
            raise ValueError(f"cells must be at most {MAX_CELLS} in all, got {size}; use fewer")
        if self.kind == "box":
            return Grid.box(self.lower, self.upper, self.cells, chart)
        if chart is not None:
            raise ValueError("kind must be box with a table [chart], got torus; charts have walls")
        return Grid.torus(self.lower, self.upper, self.cells)


class GroupChart(Table):
    """E^G of the case's group (in R^``dim``), or the positive sides of its mirrors."""

    kind: Literal["fixed-subspace", "mirrors"]
    dim: Count = 2

    def build(self, group: Group | None) -> Chart:
        """Make the chart."""
        if group is None:
            raise ValueError(f"kind {self.kind!r} needs a group; add a [group] table")
        make = Chart.fixed_subspace if self.kind == "fixed-subspace" else Chart.quotient
        return make(group)


class RadiusChart(Table):
    """Radius of R^``dim``, for laws that are invariant under all rotations."""

    kind: Literal["radius"]
    dim: Annotated[int, Field(ge=2)]

    def build(self, group: Group | None) -> Chart:
        """Make the chart."""
        return Chart.radius(self.dim)


class PolarGridTable(Table):
    """``[grid]``: a disc, or the ring from ``inner`` to ``radius``, cut along r and phi."""

    kind: Literal["polar"]
    radius: Positive
    inner: Annotated[float, Field(ge=0)] = 0.0
    cells: list[Count]

    @property
    def dim(self) -> int:
        """Dimension of the plane."""
        return 2

    def build(self, chart: Chart | None) -> Grid:
        """Make the grid."""
        if chart is not None:
            raise ValueError("kind must be box with a table [chart], got polar; drop one of them")
        if (size := math.prod(self.cells)) > MAX_CELLS:
            raise ValueError(f"cells must be at most {MAX_CELLS} in all, got {size}; use fewer")
        return Grid.polar(self.radius, self.cells, self.inner)


class LazyTable(Table):
    """``[metric]``: the lazy quotient metric of the plane under rotations."""

    kind: Literal["lazy"]
    scale: Positive

    def build(self) -> LazyMetric:
        """Make the metric."""
        return LazyMetric(self.scale)


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
        law = gammainc(0.5 * self.dim, 0.5 * (grid.faces[0] / self.scale) ** 2)
        return Density(grid, np.asarray(np.diff(law) / grid.volume, dtype=np.float64))


class Component(Table):
    """A normal law, one of a mixture."""

    weight: Positive
    mean: Numbers
    cov: Covariance


class MixtureInitial(Table):
    """A mixture of normal laws."""

    kind: Literal["mixture"]
    components: Annotated[list[Component], Field(min_length=1)]

    def build(self, grid: Grid) -> Density:
        """Make the density."""
        parts = [Density.gaussian(grid, part.mean, part.cov) for part in self.components]
        return Density.mixture(parts, [part.weight for part in self.components])


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


class AxisGroup(Table):
    """Identity and the reflection of one coordinate."""

    kind: Literal["reflection"]
    axis: Natural = 0

    def build(self, dim: int) -> Group:
        """Make the group."""
        return Group.reflection(dim, self.axis)


class NamedGroup(Table):
    """The identity alone, the exchange of two coordinates, or all permutations of them.

    With ``outputs`` it acts on outputs y as it does on x and z, else they are invariant.
    """

    kind: Literal["trivial", "swap", "permutation"]
    outputs: bool = False

    def build(self, dim: int) -> Group:
        """Make the group."""
        group = Group.swap()
        if self.kind != "swap":
            group = Group.trivial(dim) if self.kind == "trivial" else Group.permutation(dim)
        return group.acting(y=group.matrices) if self.outputs else group


class ConjugationGroup(Table):
    """Exchange of two coordinates, of x and outputs; it takes a matrix z (4 numbers) to g z g^T."""

    kind: Literal["conjugation"]

    def build(self, dim: int) -> Group:
        """Make the group."""
        return Group.swap().acting(y=lambda g: g, z=lambda g: np.kron(g, g))


class TurningGroup(Table):
    """Rotations of the plane by multiples of 2 pi / n, with (dihedral) or without reflections."""

    kind: Literal["cyclic", "dihedral"]
    n: Count

    def build(self, dim: int) -> Group:
        """Make the group."""
        return Group.cyclic(self.n) if self.kind == "cyclic" else Group.dihedral(self.n)


class PointsGroup(Table):
    """All permutations of the points of sets of at most n; parameters stay where they are."""

    kind: Literal["points"]
    n: Annotated[int, Field(ge=1, le=6)]

    def build(self, dim: int) -> Group:
        """Make the group."""
        return point_permutations(self.n, dim)


class ConstantRate(Table):
    """Rate ``value``."""

    kind: Literal["constant"]
    value: Positive = 1.0

    def build(self) -> Rate:
        """Return the number."""
        return self.value


class InverseRate(Table):
    """Rate ``value / (1 + t / time)``."""

    kind: Literal["inverse"]
    value: Positive = 1.0
    time: Positive = 1.0

    def build(self) -> Rate:
        """Return the schedule."""
        return lambda t: self.value / (1.0 + t / self.time)


class ReactionTable(Table):
    """``[reaction]``: birth and death at a rate, as `meanfield_pde.GradientFlow` takes them."""

    rate: Positive
    entropic: bool = False
    transport: bool = True


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
    | VonMisesInitial,
    Field(discriminator="kind"),
]
AnyRate = Annotated[ConstantRate | InverseRate, Field(discriminator="kind")]
Saved = Annotated[int, Field(ge=2)] | Annotated[list[float], Field(min_length=1)]


class SolveTable(Table):
    """``[solve]``: arguments of `meanfield_pde.solve`.

    ``symmetric`` and ``reduced`` hand it the case's group as symmetry or reduce.
    """

    flux: str = "auto"
    stepper: str = "auto"
    tolerance: Positive = 1e-3
    dt: Positive | None = None
    symmetric: bool = False
    reduced: bool = False

    @field_validator("flux", "stepper")
    @classmethod
    def _known(cls, value: str, info: ValidationInfo) -> str:
        from meanfield_pde.eulerian.flux import FLUXES  # imported here: they bring numba
        from meanfield_pde.eulerian.stepper import STEPPERS

        return one_of(value, ["auto", *(FLUXES if info.field_name == "flux" else STEPPERS)])


class SimulateTable(Table):
    """``[simulate]``: arguments of `meanfield_pde.simulate`, ``batch`` and ``augmentation`` of SGD.

    Birth and death may train on batches, too, and have a ``reservoir``, a law like ``[initial]``.
    ``save`` is the case's where it is left out.
    """

    particles: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    seeds: Count = 8
    seed: Natural = 0
    dynamics: Literal["langevin", "sgd", "birth-death"] = "langevin"
    dt: Positive = 0.01
    batch: Count | None = None
    augmentation: Literal["orbit", "sampled"] | None = None
    reservoir: AnyInitial | None = None
    save: Saved | None = None

    @model_validator(mode="after")
    def _of_dynamics(self) -> SimulateTable:
        training = self.dynamics == "birth-death" and self.batch is not None
        allowed = {
            "batch": self.dynamics != "langevin",
            "augmentation": self.dynamics == "sgd" or training,
            "reservoir": self.dynamics == "birth-death",
        }
        wanted = {
            "batch": "dynamics = 'sgd'",
            "augmentation": "dynamics = 'sgd', or a batch",
            "reservoir": "dynamics = 'birth-death'",
        }
        for key, allows in allowed.items():
            if not allows and getattr(self, key) is not None:
                detail = {"key": key, "wanted": wanted[key]}
                raise PydanticCustomError(
                    "of_dynamics", "must not have {key} without {wanted}; drop it", detail
                )
        return self


class CompareTable(Table):
    """``[compare]``: which distances; all that make sense where they are left out."""

    distances: Annotated[list[str], Field(min_length=1)] | None = None

    @field_validator("distances")
    @classmethod
    def _known(cls, values: list[str] | None) -> list[str] | None:
        from meanfield_pde.studies.compare import DISTANCES  # imported here: it brings the solvers

        return None if values is None else [one_of(value, DISTANCES) for value in values]


class Schema(Table):
    """A whole case file of one law."""

    of_game: ClassVar[Literal[False]] = False
    title: Annotated[str, Field(min_length=1)]
    source: str = ""
    about: str = ""
    t1: Positive
    save: Saved = 5
    rate: AnyRate | None = None
    grid: Annotated[GridTable | PolarGridTable, Field(discriminator="kind")]
    metric: LazyTable | None = None
    chart: Annotated[GroupChart | RadiusChart, Field(discriminator="kind")] | None = None
    energy: Annotated[list[AnyEnergy], Field(min_length=1)]
    initial: AnyInitial
    reaction: ReactionTable | None = None
    frozen: list[Natural] = []
    group: (
        Annotated[
            AxisGroup | NamedGroup | ConjugationGroup | TurningGroup | PointsGroup,
            Field(discriminator="kind"),
        ]
        | None
    ) = None
    solve: SolveTable = SolveTable()
    simulate: SimulateTable = SimulateTable()
    compare: CompareTable = CompareTable()
    claims: dict[str, bool] = {}

    @field_validator("claims")
    @classmethod
    def _known_claims(cls, claims: dict[str, bool]) -> dict[str, bool]:
        from meanfield_pde.studies.claims import CLAIMS  # imported here: it brings the solvers

        return require_claims(claims, list(CLAIMS))


def require_claims(claims: dict[str, bool], known: list[str]) -> dict[str, bool]:
    """Return claims whose names are all known."""
    for name in claims:
        if name not in known:
            detail: dict[str, Any] = {"key": name, "hint": suggestion(name, known)}
            raise PydanticCustomError("unknown_key", "is no claim; {hint}", detail)
    return claims
