"""Uniform cell-centred grids in one and two dimensions.

A grid cuts a box (no mass crosses its boundary), a torus, or a disc in its polar coordinates into
equal cells. Centres are computed as ``middle + (i - (n - 1)/2) h``, so that a grid centred at 0 has
bitwise antisymmetric coordinates: a reflection maps centres to centres without rounding, and
symmetric data stay symmetric to the last bit.

On a polar grid the cells are equal in the coordinates (r, phi). Their centres are points of the
plane, where functions of z are taken, and densities count mass per dr dphi: r times the density in
the plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array

Coordinates = float | Sequence[float]


@dataclass(frozen=True)
class Grid:
    """A uniform grid of cells; make one with `Grid.box`, `Grid.torus` or `Grid.polar`.

    Parameters
    ----------
    lower, upper : tuple of float
        Corners, one number a dimension (1 or 2 dimensions).
    cells : tuple of int
        Number of cells a dimension.
    periodic : bool
        Whether opposite sides are the same (a torus) or walls (a box).
    coordinates : {"cartesian", "polar"}
        What the axes are.

    Examples
    --------
    >>> grid = Grid.box(lower=-6, upper=6, cells=200)
    >>> grid.shape, round(grid.volume, 3)
    ((200,), 0.06)
    >>> bool((grid.axes[0] == -grid.axes[0][::-1]).all())
    True
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    cells: tuple[int, ...]
    periodic: bool = False
    coordinates: str = "cartesian"

    def __post_init__(self) -> None:
        if not len(self.lower) == len(self.upper) == len(self.cells):
            raise ValueError(
                f"lower, upper and cells must have one entry a dimension, got {self.lower}, "
                f"{self.upper}, {self.cells}; give scalars in 1D and pairs in 2D"
            )
        if len(self.cells) not in (1, 2):
            raise ValueError(
                f"a grid has 1 or 2 dimensions, got {len(self.cells)}; use particles "
                "(mf.simulate) in higher dimension"
            )
        for n in self.cells:
            check.count("cells", n, "give a positive count a dimension")
        for low, high in zip(self.lower, self.upper, strict=True):
            check.number("lower", low, "give a finite corner")
            check.number("upper", high, "give a finite corner")
            if not low < high:
                raise ValueError(f"lower must be below upper, got {low:g} and {high:g}; swap them")
        if self.coordinates not in ("cartesian", "polar"):
            raise ValueError(
                f"coordinates must be cartesian or polar, got {self.coordinates!r}; use Grid.polar"
            )
        whole = (self.lower[-1], self.upper[-1]) == (-np.pi, np.pi)
        if self.is_polar and (self.dim != 2 or self.periodic or self.lower[0] < 0 or not whole):
            raise ValueError(
                f"coordinates must be cartesian on this grid from {self.lower} to {self.upper}, "
                "got 'polar'; make polar grids with Grid.polar"
            )

    @classmethod
    def box(cls, lower: Coordinates, upper: Coordinates, cells: int | Sequence[int]) -> Grid:
        """Box with no-flux walls; scalars in 1D, one number a dimension in 2D.

        Raises
        ------
        ValueError
            If the sizes differ, a corner is not finite, or a count is not positive.
        """
        return cls(*_sides(lower, upper, cells), periodic=False)

    @classmethod
    def torus(cls, lower: Coordinates, upper: Coordinates, cells: int | Sequence[int]) -> Grid:
        """Periodic box; the arguments and errors of `Grid.box`."""
        return cls(*_sides(lower, upper, cells), periodic=True)

    @classmethod
    def polar(cls, radius: float, cells: int | Sequence[int], inner: float = 0.0) -> Grid:
        """Disc, or the ring from ``inner`` to ``radius``, cut along r and phi; phi from -pi.

        The circle at ``inner`` is a wall; at r = 0 its length is 0, and nothing crosses it.

        Raises
        ------
        ValueError
            If a radius is negative or not finite, or a count is not positive.

        Examples
        --------
        >>> disc = Grid.polar(radius=2.0, cells=(8, 12))
        >>> bool(np.hypot(*disc.points[3, 5]).round(12) == disc.axes[0][3] == 0.875)
        True
        """
        outer = check.number("radius", radius, "give a positive radius", above=0)
        least = check.number("inner", inner, "0 gives the whole disc", least=0)
        return cls(*_sides((least, -np.pi), (outer, np.pi), cells), coordinates="polar")

    @property
    def is_polar(self) -> bool:
        """Whether the axes are r and phi."""
        return self.coordinates == "polar"

    @property
    def wraps(self) -> tuple[bool, ...]:
        """Whether the last cell of a line leads to its first, for each axis."""
        return (False, True) if self.is_polar else (self.periodic,) * len(self.cells)

    @property
    def dim(self) -> int:
        """Number of dimensions, 1 or 2."""
        return len(self.cells)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an array with one value a cell."""
        return self.cells

    @property
    def size(self) -> int:
        """Number of cells."""
        return int(np.prod(self.cells))

    @cached_property
    def spacing(self) -> tuple[float, ...]:
        """Width h of a cell in each dimension."""
        sides = zip(self.lower, self.upper, self.cells, strict=True)
        return tuple((high - low) / n for low, high, n in sides)

    @property
    def volume(self) -> float:
        """Volume |K| of a cell in the grid's coordinates."""
        return float(np.prod(self.spacing))

    @property
    def middle(self) -> tuple[float, ...]:
        """Centre of the box."""
        return tuple(0.5 * (low + high) for low, high in zip(self.lower, self.upper, strict=True))

    @cached_property
    def axes(self) -> tuple[Array, ...]:
        """Cell centres along each dimension."""
        sides = zip(self.middle, self.spacing, self.cells, strict=True)
        return tuple(m + (np.arange(float(n)) - 0.5 * (n - 1)) * h for m, h, n in sides)

    @cached_property
    def faces(self) -> tuple[Array, ...]:
        """Cell boundaries along each dimension, n + 1 numbers each."""
        sides = zip(self.middle, self.spacing, self.cells, strict=True)
        return tuple(m + (np.arange(n + 1.0) - 0.5 * n) * h for m, h, n in sides)

    @cached_property
    def mesh(self) -> Array:
        """Coordinates of the cell centres, shape ``(*shape, dim)``."""
        return np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1)

    @cached_property
    def points(self) -> Array:
        """Cell centres as points of shape ``(*shape, dim)``; of the plane on a polar grid."""
        return self.place(self.mesh)

    def place(self, mesh: Array) -> Array:
        """Points that have the given coordinates ``(..., dim)``."""
        if not self.is_polar:
            return mesh
        r, phi = mesh[..., 0], mesh[..., 1]
        return np.stack([r * np.cos(phi), r * np.sin(phi)], axis=-1)

    def locate(self, points: Array) -> Array:
        """Coordinates of points ``(..., dim)``."""
        if not self.is_polar:
            return points
        x, y = points[..., 0], points[..., 1]
        return np.stack([np.hypot(x, y), np.arctan2(y, x)], axis=-1)

    def stretch(self, mesh: Array) -> Array:
        """Volume in space per volume of the coordinates: r on a polar grid, else 1."""
        return np.asarray(mesh[..., 0]) if self.is_polar else np.ones(mesh.shape[:-1])

    @property
    def floor(self) -> float:
        """Root mean square distance of a uniform point of a cell from its centre.

        No comparison of a density on this grid in W2 means more than this: sqrt(sum h^2 / 12).
        On a polar grid that of the outermost, largest cells.
        """
        sides = self.spacing
        if self.is_polar:
            sides = (sides[0], self.upper[0] * sides[1])
        return float(np.sqrt(sum(h * h for h in sides) / 12))

    def wrap(self, difference: Array) -> Array:
        """Shortest representative of a difference of points ``(..., dim)``; identity on a box."""
        if not self.periodic:
            return difference
        period = np.subtract(self.upper, self.lower)
        return difference - period * np.round(difference / period)


def _sides(
    lower: Coordinates, upper: Coordinates, cells: int | Sequence[int]
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[int, ...]]:
    low = np.atleast_1d(check.array("lower", lower, "give one number a dimension"))
    high = np.atleast_1d(check.array("upper", upper, "give one number a dimension"))
    counts: list[int] = [cells] if np.ndim(cells) == 0 else list(cells)  # type: ignore
    if low.ndim != 1 or high.ndim != 1:
        raise ValueError(
            f"lower and upper must be scalars or flat sequences, got shapes {low.shape} and "
            f"{high.shape}; give one number a dimension"
        )
    return tuple(low.tolist()), tuple(high.tolist()), tuple(counts)
