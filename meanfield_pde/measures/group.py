"""Compact groups acting by orthogonal matrices.

A `Group` is data: the matrices of a faithful representation, their Haar weights, the multiplication
table, and, where they differ from it, the matrices by which the group acts on data x, outputs y and
parameters z: rho_g on x, rhohat_g on y and M_g on z, in the notation of Maass and Fontbona (arXiv
2405.19995).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from meanfield_pde.measures import check
from meanfield_pde.measures.chart import Polar
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid

TOLERANCE = 1e-9
"""How far from orthogonal, closed or homomorphic matrices may be (they are rounded numbers)."""
MAX_ORDER = 1000
"""Largest number of elements; beyond it the multiplication table is no longer small."""


class NotAGroupError(ValueError):
    """The matrices are not orthogonal, not closed under products, or not a representation."""


@dataclass(frozen=True, eq=False)
class Group:
    """A finite group (or a quadrature of SO(2)) by its orthogonal matrices.

    Parameters
    ----------
    name : str
    matrices : array (order, d, d)
        All elements, distinct, in a faithful representation.
    x, y, z : array (order, d', d'), optional
        How the elements act on data, outputs and parameters, where that differs (see `acting`).

    Raises
    ------
    NotAGroupError
        If a matrix is not orthogonal, the set is not closed, or x, y, z are not homomorphic to it.

    Examples
    --------
    >>> G = Group.dihedral(4)
    >>> G.order, G.projection().tolist()
    (8, [[0.0, 0.0], [0.0, 0.0]])
    >>> Group.swap().fixed_basis().shape
    (2, 1)
    """

    name: str
    matrices: Array
    x: Array | None = None
    y: Array | None = None
    z: Array | None = None
    table: npt.NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        matrices = _orthogonal("matrices", self.matrices)
        if len(matrices) > MAX_ORDER:
            raise NotAGroupError(
                f"a group may have at most {MAX_ORDER} elements, got {len(matrices)}; "
                "use fewer generators or quadrature nodes"
            )
        object.__setattr__(self, "matrices", matrices)
        object.__setattr__(self, "table", _multiplication_table(matrices))
        for space in ("x", "y", "z"):
            given = getattr(self, space)
            if given is not None:
                object.__setattr__(self, space, self._representation(space, given))

    @classmethod
    def trivial(cls, dim: int = 1) -> Group:
        """Group with the identity alone."""
        return cls("trivial", np.eye(check.count("dim", dim, "the dimension of the space"))[None])

    @classmethod
    def reflection(cls, dim: int = 1, axis: int = 0) -> Group:
        """Identity and the reflection z_axis -> -z_axis of R^dim."""
        dim = check.count("dim", dim, "the dimension of the space")
        axis = check.count("axis", axis, "an axis of the space, from 0", least=0)
        if axis >= dim:
            raise ValueError(f"axis must be below dim = {dim}, got {axis}; axes count from 0")
        mirror = np.eye(dim)
        mirror[axis, axis] = -1.0
        return cls("reflection", np.stack([np.eye(dim), mirror]))

    @classmethod
    def swap(cls) -> Group:
        """Identity and the exchange of the two coordinates of the plane."""
        return cls("swap", np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]))

    @classmethod
    def permutation(cls, n: int) -> Group:
        """All permutations of the n coordinates of R^n (n <= 6)."""
        n = check.count("n", n, "the number of coordinates")
        if n > 6:
            raise ValueError(f"n must be at most 6 (n! elements), got {n}; use Group.generate")
        matrices = [np.eye(n)[list(p)] for p in permutations(range(n))]
        return cls(f"permutation({n})", np.stack(matrices))

    @classmethod
    def cyclic(cls, n: int) -> Group:
        """Rotations of the plane by multiples of 2 pi / n."""
        n = check.count("n", n, "the number of rotations")
        return cls(f"cyclic({n})", _rotations(n))

    @classmethod
    def dihedral(cls, n: int) -> Group:
        """Rotations of the plane by 2 pi / n and the reflections of the regular n-gon."""
        n = check.count("n", n, "the number of rotations")
        turns = _rotations(n)
        return cls(f"dihedral({n})", np.concatenate([turns, turns @ np.diag([1.0, -1.0])]))

    @classmethod
    def so2(cls, nodes: int) -> Group:
        """All rotations of the plane, by the equal-weight rule of ``nodes`` equal angles.

        Exact for angular frequencies below ``nodes``. As a set of matrices it is cyclic(nodes): a
        check of SO(2) invariance must use rotations off these nodes.
        """
        return replace(cls.cyclic(nodes), name=f"so2({nodes})")

    @classmethod
    def generate(cls, generators: Sequence[Any], name: str = "generated") -> Group:
        """All products of the given orthogonal matrices.

        Raises
        ------
        NotAGroupError
            If a generator is not orthogonal, or there are more than `MAX_ORDER` products.
        """
        given = _orthogonal("generators", [np.atleast_2d(m) for m in generators])
        elements = [np.eye(given.shape[1])]
        frontier = elements
        while frontier:
            fresh: list[Array] = []
            for element in frontier:
                for generator in given:
                    product = generator @ element
                    known = np.stack(elements + fresh)
                    if np.abs(known - product).max(axis=(1, 2)).min() > 1e-7:
                        fresh.append(product)
                if len(elements) + len(fresh) > MAX_ORDER:
                    raise NotAGroupError(
                        f"generators give more than {MAX_ORDER} products; they must generate a "
                        "finite group (a rotation must be by a rational part of a full turn)"
                    )
            elements, frontier = elements + fresh, fresh
        return cls(name, np.stack(elements))

    def acting(self, x: Any = None, y: Any = None, z: Any = None) -> Group:
        """Return the group with other actions on data x, outputs y or parameters z.

        Parameters
        ----------
        x, y, z : array (order, d, d) or callable, optional
            Orthogonal matrices in the order of `matrices`, or a function that makes them from
            those. Left out: the group's own matrices on z, the same on x, the identity on y.

        Raises
        ------
        NotAGroupError
            If they are not orthogonal or not homomorphic to the group.
        """
        spaces = {"x": x, "y": y, "z": z}
        given = {k: self._matrices_of(v) for k, v in spaces.items() if v is not None}
        return replace(self, **given)

    @property
    def order(self) -> int:
        """Number of elements."""
        return len(self.matrices)

    @property
    def weights(self) -> Array:
        """Haar weights, shape (order,)."""
        return np.full(self.order, 1.0 / self.order)

    def on_x(self, dim: int) -> Array:
        """Matrices rho_g on data of dimension dim, shape (order, dim, dim)."""
        return self._fitting("x", self.matrices if self.x is None else self.x, dim)

    def on_y(self, outputs: int) -> Array:
        """Matrices rhohat_g on outputs, shape (order, outputs, outputs)."""
        trivial = np.broadcast_to(np.eye(outputs), (self.order, outputs, outputs))
        return self._fitting("y", trivial if self.y is None else self.y, outputs)

    def on_z(self, dim: int) -> Array:
        """Matrices M_g on parameters of dimension dim, shape (order, dim, dim)."""
        return self._fitting("z", self.matrices if self.z is None else self.z, dim)

    def projection(self) -> Array:
        """Orthogonal projection P on the fixed subspace E^G of the parameters: the mean of M_g."""
        matrices = self.matrices if self.z is None else self.z
        mean = np.tensordot(self.weights, matrices, axes=1)
        mean[np.abs(mean) < 1e-15] = 0.0
        return mean

    def fixed_basis(self) -> Array:
        """Orthonormal basis of E^G as columns, shape (d, dim E^G)."""
        values, vectors = np.linalg.eigh(self.projection())
        return vectors[:, values > 0.5]

    def cell_images(self, grid: Grid) -> npt.NDArray[np.int64] | None:
        """Where each element takes each cell: flat indices (order, cells), or None.

        None means that some element does not map the grid's cells to its cells.
        """
        matrices = self.on_z(grid.dim)
        turned = grid.chart if isinstance(grid.chart, Polar) else None
        points = (grid.points if turned is None else grid.places).reshape(-1, grid.dim)
        images = np.empty((self.order, grid.size), dtype=np.int64)
        first = np.array([axis[0] for axis in grid.axes])
        for g, matrix in enumerate(matrices):
            axes_kept = np.isin(np.abs(np.round(matrix, 12)), (0.0, 1.0)).all()
            if turned is None and not axes_kept:
                return None
            moved = points @ matrix.T
            moved = moved if turned is None else turned.reduce(moved)
            place = (moved - first) / np.array(grid.spacing)
            index = np.rint(place).astype(np.int64)
            index = np.where(grid.wraps, index % np.array(grid.cells), index)
            inside = (index >= 0) & (index < np.array(grid.cells))
            if not inside.all() or np.abs(place - np.rint(place)).max() > 1e-6:
                return None
            images[g] = np.ravel_multi_index(tuple(index.T), grid.cells)
            if len(np.unique(images[g])) != grid.size:
                return None
        return images

    def _matrices_of(self, action: Any) -> Any:
        if callable(action):
            function: Callable[[Array], Any] = action
            return np.stack([np.atleast_2d(function(m)) for m in self.matrices])
        return action

    def _fitting(self, space: str, matrices: Array, dim: int) -> Array:
        if matrices.shape[1] != dim:
            raise ValueError(
                f"group {self.name} acts on {space} in dimension {matrices.shape[1]}, but {space} "
                f"has dimension {dim}; give its matrices by acting({space}=...)"
            )
        return matrices

    def _representation(self, space: str, given: Any) -> Array:
        matrices = _orthogonal(space, given)
        if len(matrices) != self.order:
            raise NotAGroupError(
                f"{space} must have one matrix for each of the {self.order} elements, got "
                f"{len(matrices)}; keep the order of Group.matrices"
            )
        products = np.einsum("gij,hjk->ghik", matrices, matrices)
        defect = np.abs(products - matrices[self.table]).max(axis=(2, 3))
        if defect.max() > TOLERANCE:
            g, h = np.unravel_index(defect.argmax(), defect.shape)
            raise NotAGroupError(
                f"{space} is not a homomorphism: the matrices of elements {g} and {h} do not "
                f"multiply to that of their product (off by {defect.max():.2g}); keep the order "
                "of Group.matrices"
            )
        return matrices


def _orthogonal(name: str, given: Any) -> Array:
    matrices = check.array(name, given, "give square orthogonal matrices")
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or matrices.size == 0:
        raise NotAGroupError(
            f"{name} must have shape (order, d, d), got {matrices.shape}; "
            "stack square matrices along the first axis"
        )
    defect = np.abs(np.einsum("gij,gkj->gik", matrices, matrices) - np.eye(matrices.shape[1]))
    if defect.max() > TOLERANCE:
        worst = int(defect.max(axis=(1, 2)).argmax())
        raise NotAGroupError(
            f"{name} must be orthogonal, but matrix {worst} = {matrices[worst].tolist()} has "
            f"|M M^T - I| = {defect.max():.2g}; choose coordinates in which the group is orthogonal"
        )
    return matrices


def _multiplication_table(matrices: Array) -> npt.NDArray[np.int64]:
    order = len(matrices)
    from scipy.spatial import cKDTree

    tree = cKDTree(matrices.reshape(order, -1))
    nearest = np.asarray(tree.query(matrices.reshape(order, -1), k=2)[0])
    if order > 1 and nearest[:, 1].min() < 1e-7:
        raise NotAGroupError(
            "two of the matrices are equal; list each element once, and use acting() for a "
            "representation that is not faithful"
        )
    table = np.empty((order, order), dtype=np.int64)
    for g, matrix in enumerate(matrices):
        found, table[g] = tree.query((matrix @ matrices).reshape(order, -1))
        distance = np.asarray(found)
        if distance.max() > 1e-7:
            raise NotAGroupError(
                f"the {order} matrices are not closed under products: element {g} times element "
                f"{int(distance.argmax())} is not among them; use Group.generate to complete them"
            )
    return table


def _rotations(n: int) -> Array:
    """Rotations by 2 pi k / n, with exact zeros and ones."""
    angles = 2 * np.pi * np.arange(n) / n
    cosine, sine = np.cos(angles), np.sin(angles)
    for values in (cosine, sine):
        near = np.abs(values - np.rint(values)) < 1e-14
        values[near] = np.rint(values[near]) + 0.0
    return np.moveaxis(np.array([[cosine, -sine], [sine, cosine]]), -1, 0)
