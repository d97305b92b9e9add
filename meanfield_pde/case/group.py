"""Table ``[group]`` of a case file: symmetry groups."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from meanfield_pde.case.table import Count, Natural, Table
from meanfield_pde.energies.sets import point_permutations
from meanfield_pde.measures.group import Group


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


AnyGroup = Annotated[
    AxisGroup | NamedGroup | ConjugationGroup | TurningGroup | PointsGroup,
    Field(discriminator="kind"),
]
