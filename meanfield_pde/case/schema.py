"""Tables of a case file other than energies: grid, initial law, group, rate, and how to solve.

Each builds what it describes, or raises ValueError where its numbers do not fit each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from meanfield_pde.case.claim_names import CLAIM_NAMES
from meanfield_pde.case.energy import AnyEnergy
from meanfield_pde.case.group import AnyGroup
from meanfield_pde.case.initial import AnyInitial
from meanfield_pde.case.table import Count, Natural, Numbers, Positive, Table, one_of
from meanfield_pde.case.wording import suggestion
from meanfield_pde.flows.schedule import Rate
from meanfield_pde.measures.chart import Chart
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
    collapse: Literal["error", "stop", "ignore"] = "error"

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
        from meanfield_pde.studies.rulers import DISTANCES  # imported here: it brings the solvers

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
    group: AnyGroup | None = None
    solve: SolveTable = SolveTable()
    simulate: SimulateTable = SimulateTable()
    compare: CompareTable = CompareTable()
    claims: dict[str, bool] = {}

    @field_validator("claims")
    @classmethod
    def _known_claims(cls, claims: dict[str, bool]) -> dict[str, bool]:
        return require_claims(claims, CLAIM_NAMES)


def require_claims(claims: dict[str, bool], known: Sequence[str]) -> dict[str, bool]:
    """Return claims whose names are all known."""
    for name in claims:
        if name not in known:
            detail: dict[str, Any] = {"key": name, "hint": suggestion(name, known)}
            raise PydanticCustomError("unknown_key", "is no claim; {hint}", detail)
    return claims
