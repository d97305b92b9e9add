r"""Charts: what the one or two coordinates of a grid stand for in the parameter space Z = R^D.

Without a chart the coordinates are Z itself. With one a density on a grid of dimension 1 or 2 is a
law on a space of any dimension:

- `FixedSubspace`: a strongly invariant law, on E^G in an orthonormal basis. No mass leaves it
  where the drift is tangent and the noise is projected.
- `Mirrors`: a law invariant under reflections of axes, by its image on the half, quarter or
  whole line or plane on the positive sides of the mirrors.
- `Radius`: a law invariant under all rotations of R^D, by the law of r = |z|.
- `Polar`: any law on the plane, in the coordinates r and phi.

A law on the quotient Z/G stands for the invariant law in Z whose orbits it weighs. Functions of z
are averaged over orbits, and the entropy relative to Lebesgue measure on Z is :math:`\int p \log (p
/ J)` with J the volume of an orbit: beyond its own diffusion the flow of p has the potential
:math:`-\beta \log J` (Maass and Fontbona, arXiv 2405.19995, appendix on quotients; for the radius
it is the drift :math:`\beta (D - 1) / r` of a Bessel process).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array

if TYPE_CHECKING:
    from meanfield_pde.measures.group import Group

ANGLES = 64
"""Points of a circle that stand for it."""


class Chart(ABC):
    """Coordinates s of dimension `coordinates` for Z = R^`dim`.

    Make one with `Chart.fixed_subspace`, `Chart.quotient` or `Chart.radius` and hand it to
    `Grid.box`; `Grid.polar` makes its own.

    Examples
    --------
    >>> from meanfield_pde import Grid, Group
    >>> line = Grid.box(-3, 3, 100, chart=Chart.fixed_subspace(Group.swap()))
    >>> line.dim, line.ambient_dim, line.chart.place(np.array([2.0])).round(3).tolist()
    (1, 2, [1.414, 1.414])
    """

    @property
    @abstractmethod
    def coordinates(self) -> int:
        """Number of coordinates: dimension of the grid."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension D of Z."""

    @property
    def periodic(self) -> tuple[bool, ...]:
        """Which coordinates are angles, whose last cell leads to the first."""
        return (False,) * self.coordinates

    @abstractmethod
    def orbit(self, s: Array) -> tuple[Array, Array]:
        """Points of Z that stand for each s (..., coordinates), with weights that sum to 1.

        Shapes (k, ..., D) and (k,). Means over them are exact for functions of the second degree
        on each orbit, and for invariant functions.
        """

    @abstractmethod
    def reduce(self, z: Array) -> Array:
        """Coordinates (..., coordinates) of points z (..., D): of the orbit, or the projection."""

    def nodes(self, s: Array, spacing: tuple[float, ...]) -> Array:
        """Coordinates, for cells around s, at which functions are taken.

        They are s themselves, but on the radius of the plane.
        """
        return s

    def place(self, s: Array) -> Array:
        """One point of Z (..., D) for each s."""
        return np.asarray(self.orbit(s)[0][0])

    def scatter(self, s: Array, rng: np.random.Generator) -> Array:
        """Draw a uniform point of the orbit of each s (n, coordinates), shape (n, D)."""
        return self.place(s)

    def log_volume(self, s: Array) -> Array:
        """Logarithm of the volume J of Z per volume of the coordinates: of the orbit of s."""
        return np.zeros(s.shape[:-1])

    @abstractmethod
    def check_box(self, lower: tuple[float, ...], upper: tuple[float, ...]) -> None:
        """Raise ValueError where a box with these corners is none of this chart."""

    @property
    @abstractmethod
    def entries(self) -> dict[str, Any]:
        """What a file holds of it: ``kind`` and numbers; `Chart.from_entries` reads it."""

    @staticmethod
    def from_entries(entries: dict[str, Any]) -> Chart:
        """Make the chart whose `entries` these are.

        Raises
        ------
        ValueError
            If they are none of a chart.
        """
        given = dict(entries)
        kind = given.pop("kind", None)
        if kind == "fixed-subspace":
            return FixedSubspace(tuple(tuple(row) for row in given["basis"]))
        if kind == "mirrors":
            return Mirrors(given["dim"], tuple(given["axes"]))
        if kind == "radius":
            return Chart.radius(given["dim"])
        if kind == "polar":
            return Polar()
        raise ValueError(
            "kind of a chart must be fixed-subspace, mirrors, radius or polar, got "
            f"{kind!r}; write files by save_solution"
        )

    @staticmethod
    def fixed_subspace(group: Group) -> FixedSubspace:
        """Chart of the subspace E^G that a group fixes, in an orthonormal basis.

        Raises
        ------
        ValueError
            If E^G has not dimension 1 or 2.
        """
        basis = check.group(group).fixed_basis()
        if basis.shape[1] not in (1, 2):
            raise ValueError(
                f"group must fix a subspace of dimension 1 or 2, got {basis.shape[1]} for "
                f"{group.name}; a law at a point needs no grid, one in more dimensions needs "
                "particles"
            )
        return FixedSubspace(tuple(tuple(row) for row in _tidy(basis).tolist()))

    @staticmethod
    def quotient(group: Group) -> Mirrors:
        """Chart of the quotient by reflections of axes: half a line, half or a quarter of a plane.

        Raises
        ------
        ValueError
            If the group is not made of reflections of axes alone.
        """
        group = check.group(group)
        matrices = group.matrices if group.z is None else group.z
        signs = np.stack([np.diag(m) for m in matrices])
        axes = tuple(int(a) for a in np.flatnonzero((signs < 0).any(axis=0)))
        diagonal = all(np.array_equal(m, np.diag(np.sign(np.diag(m)))) for m in matrices)
        if not diagonal or len(np.unique(signs, axis=0)) != 2 ** len(axes) or len(signs[0]) > 2:
            raise ValueError(
                f"group must be generated by reflections of axes of the line or plane, got "
                f"{group.name}; for swaps and octants use mf.solve(..., reduce=group), for "
                "rotations Chart.radius"
            )
        return Mirrors(len(signs[0]), axes)

    @staticmethod
    def radius(dim: int) -> Radius:
        """Chart of the radius r = |z| of R^dim, for laws that all rotations leave as they are."""
        return Radius(check.count("dim", dim, "the dimension of Z, 2 or more", least=2))


@dataclass(frozen=True)
class FixedSubspace(Chart):
    """``z = B s`` with orthonormal columns of B; made by `Chart.fixed_subspace`.

    Raises
    ------
    ValueError
        If the columns are not orthonormal, or not one or two.
    """

    basis: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        matrix = self.matrix
        if matrix.ndim != 2 or matrix.shape[1] not in (1, 2):
            raise ValueError(
                f"basis must have one or two columns, got shape {matrix.shape}; give rows of "
                "one or two numbers, one a dimension of Z"
            )
        defect = np.abs(matrix.T @ matrix - np.eye(matrix.shape[1])).max()
        if defect > 1e-9:
            raise ValueError(
                f"basis must have orthonormal columns, got |B^T B - I| = {defect:.2g}; "
                "take them from a QR factorisation"
            )

    @property
    def matrix(self) -> Array:
        """B, shape (D, coordinates)."""
        return check.array("basis", self.basis, "give orthonormal columns")

    @property
    def entries(self) -> dict[str, Any]:
        """Kind and basis."""
        return {"kind": "fixed-subspace", "basis": [list(row) for row in self.basis]}

    @property
    def coordinates(self) -> int:
        """Dimension of E^G."""
        return len(self.basis[0])

    @property
    def dim(self) -> int:
        """Dimension of Z."""
        return len(self.basis)

    def orbit(self, s: Array) -> tuple[Array, Array]:
        """Return the point B s."""
        return (s @ self.matrix.T)[None], np.ones(1)

    def reduce(self, z: Array) -> Array:
        """Coordinates B^T z of the projection."""
        return np.asarray(z @ self.matrix)

    def check_box(self, lower: tuple[float, ...], upper: tuple[float, ...]) -> None:
        """Any box will do."""


@dataclass(frozen=True)
class Mirrors(Chart):
    """Reflections of some axes of the line or plane; made by `Chart.quotient`.

    The grid's lower faces on these axes are the mirrors, at 0.
    """

    size: int
    axes: tuple[int, ...]

    @property
    def entries(self) -> dict[str, Any]:
        """Kind, dimension and axes."""
        return {"kind": "mirrors", "dim": self.size, "axes": list(self.axes)}

    @property
    def coordinates(self) -> int:
        """As many as Z has."""
        return self.size

    @property
    def dim(self) -> int:
        """Dimension of Z."""
        return self.size

    @property
    def signs(self) -> Array:
        """Diagonals of the group's matrices, shape (order, D)."""
        choices = [(1.0, -1.0) if a in self.axes else (1.0,) for a in range(self.size)]
        return np.array(list(product(*choices)))

    def orbit(self, s: Array) -> tuple[Array, Array]:
        """Images under all reflections."""
        signs = self.signs
        return np.stack([s * row for row in signs]), np.full(len(signs), 1.0 / len(signs))

    def reduce(self, z: Array) -> Array:
        """Fold each mirrored axis."""
        folded = np.array(z, dtype=np.float64)
        for axis in self.axes:
            folded[..., axis] = np.abs(folded[..., axis])
        return folded

    def scatter(self, s: Array, rng: np.random.Generator) -> Array:
        """Draw one of the images."""
        signs = self.signs
        return np.asarray(s * signs[rng.integers(len(signs), size=len(s))])

    def log_volume(self, s: Array) -> Array:
        """Logarithm of the number of images."""
        return np.full(s.shape[:-1], len(self.axes) * np.log(2.0))

    def check_box(self, lower: tuple[float, ...], upper: tuple[float, ...]) -> None:
        """Require mirrors at 0."""
        for axis in self.axes:
            if lower[axis] != 0:
                raise ValueError(
                    f"lower must be 0 along axis {axis}, where the chart has its mirror, got "
                    f"{lower[axis]:g}; the half on the negative side is the mirror image"
                )


@dataclass(frozen=True)
class Radius(Chart):
    """``r = |z|`` in R^D; made by `Chart.radius`."""

    size: int

    @property
    def entries(self) -> dict[str, Any]:
        """Kind and dimension."""
        return {"kind": "radius", "dim": self.size}

    @property
    def coordinates(self) -> int:
        """Always 1."""
        return 1

    @property
    def dim(self) -> int:
        """Dimension of Z."""
        return self.size

    def orbit(self, s: Array) -> tuple[Array, Array]:
        """Points of a circle, or, for D > 2, both ends of every axis of the sphere."""
        if self.size == 2:
            angles = 2 * np.pi * np.arange(ANGLES) / ANGLES
            directions = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        else:
            directions = np.concatenate([np.eye(self.size), -np.eye(self.size)])
        shape = (len(directions), *(1,) * (s.ndim - 1), self.size)
        return s[None] * directions.reshape(shape), np.full(len(directions), 1 / len(directions))

    def nodes(self, s: Array, spacing: tuple[float, ...]) -> Array:
        r"""Coordinates at which functions are taken: in the plane the root of the mean of r^2.

        With :math:`p_K = r_K \rho(n_K)` and :math:`n_K^2 = r_K^2 + h^2 / 12`, the mean over the
        width of the cell, sums over cells of :math:`h p_K f(n_K)` are of fourth order in h for
        smooth rho and f of z whose product vanishes at the outer wall. With :math:`n_K = r_K` they
        are off by :math:`h^2 \rho(0) f(0) / 24`, the end of the mid-point rule at r = 0 (Euler and
        Maclaurin); for D > 2 there is no such end.
        """
        return s if self.size > 2 else np.sqrt(s * s + spacing[0] ** 2 / 12)

    def place(self, s: Array) -> Array:
        """Point on the first axis."""
        return np.asarray(s * np.eye(self.size)[0])

    def reduce(self, z: Array) -> Array:
        """Length of z."""
        return np.asarray(np.sqrt((z * z).sum(axis=-1, keepdims=True)))

    def scatter(self, s: Array, rng: np.random.Generator) -> Array:
        """Draw a uniform direction."""
        direction = rng.standard_normal((len(s), self.size))
        return np.asarray(s * direction / np.sqrt((direction**2).sum(axis=1, keepdims=True)))

    def log_volume(self, s: Array) -> Array:
        """Logarithm of the sphere's area, ``2 pi^(D/2) r^(D-1) / Gamma(D/2)``."""
        half = 0.5 * self.size
        unit = np.log(2.0) + half * np.log(np.pi) - scipy.special.gammaln(half)
        return np.asarray(unit + (self.size - 1) * np.log(s[..., 0]))

    def check_box(self, lower: tuple[float, ...], upper: tuple[float, ...]) -> None:
        """Require radii that are not negative."""
        if lower[0] < 0:
            raise ValueError(
                f"lower must not be negative, a radius never is, got {lower[0]:g}; start at 0"
            )


@dataclass(frozen=True)
class Polar(Chart):
    """``z = (r cos phi, r sin phi)``, phi in [-pi, pi]; made by `Grid.polar`.

    The one chart without a symmetry: laws on it are moved, averaged and compared in the plane.
    """

    @property
    def entries(self) -> dict[str, Any]:
        """The kind says all."""
        return {"kind": "polar"}

    @property
    def coordinates(self) -> int:
        """Radius and angle."""
        return 2

    @property
    def dim(self) -> int:
        """Dimension of the plane."""
        return 2

    @property
    def periodic(self) -> tuple[bool, ...]:
        """The angle is."""
        return False, True

    def orbit(self, s: Array) -> tuple[Array, Array]:
        """Return the one point."""
        r, phi = s[..., 0], s[..., 1]
        return np.stack([r * np.cos(phi), r * np.sin(phi)], axis=-1)[None], np.ones(1)

    def reduce(self, z: Array) -> Array:
        """Length and angle of z."""
        x, y = z[..., 0], z[..., 1]
        return np.stack([np.hypot(x, y), np.arctan2(y, x)], axis=-1)

    def log_volume(self, s: Array) -> Array:
        """``log r``: the area of dr dphi."""
        return np.asarray(np.log(s[..., 0]))

    def check_box(self, lower: tuple[float, ...], upper: tuple[float, ...]) -> None:
        """Require whole rings."""
        if lower[0] < 0 or (lower[1], upper[1]) != (-np.pi, np.pi):
            given = f"from {lower} to {upper}"
            raise ValueError(f"chart must span whole rings, got a box {given}; use Grid.polar")


def _tidy(basis: Array) -> Array:
    """Basis with signs that do not depend on the eigenvalue solver."""
    leading = basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])]
    return np.asarray(basis * np.sign(leading))
