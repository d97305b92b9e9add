"""Uniform cell-centred grids in one and two dimensions.

A grid cuts a box (no mass crosses its boundary), a torus, or a disc in its polar coordinates into
equal cells. Centres are computed as ``middle + (i - (n - 1)/2) h``, so that a grid centred at 0 has
bitwise antisymmetric coordinates: a reflection maps centres to centres without rounding, and
symmetric data stay symmetric to the last bit.

With a chart the cells are equal in its coordinates, and densities count mass per volume of these:
on a polar grid per dr dphi, r times the density in the plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from meanfield_pde.measures import check
from meanfield_pde.measures.chart import Chart, Mirrors, Polar
from meanfield_pde.measures.check import Array, Function

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
    chart : Chart, optional
        What the coordinates stand for, where they are not the parameters z themselves.

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
    chart: Chart | None = None

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
        if self.chart is not None:
            self._check_chart(self.chart)

    @classmethod
    def box(
        cls,
        lower: Coordinates,
        upper: Coordinates,
        cells: int | Sequence[int],
        chart: Chart | None = None,
    ) -> Grid:
        """Box with no-flux walls; scalars in 1D, one number a dimension in 2D.

        With a chart, a box of its coordinates.

        Raises
        ------
        ValueError
            If the sizes differ, a corner is not finite, or a count is not positive; or where the
            chart has another number of coordinates, or no such corner.
        """
        return cls(*_sides(lower, upper, cells), periodic=False, chart=chart)

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
        >>> bool(np.hypot(*disc.places[3, 5]).round(12) == disc.axes[0][3] == 0.875)
        True
        """
        outer = check.number("radius", radius, "give a positive radius", above=0)
        least = check.number("inner", inner, "0 gives the whole disc", least=0)
        return cls(*_sides((least, -np.pi), (outer, np.pi), cells), chart=Polar())

    @property
    def wraps(self) -> tuple[bool, ...]:
        """Whether the last cell of a line leads to its first, for each axis."""
        return (self.periodic,) * self.dim if self.chart is None else self.chart.periodic

    @property
    def symmetric_chart(self) -> Chart | None:
        """The chart, where it gives its laws a symmetry: None for polar coordinates."""
        return None if isinstance(self.chart, Polar) else self.chart

    @property
    def dim(self) -> int:
        """Number of dimensions, 1 or 2."""
        return len(self.cells)

    @property
    def ambient_dim(self) -> int:
        """Dimension of the parameters z: that of the grid, or D of its chart."""
        return self.dim if self.chart is None else self.chart.dim

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

    @cached_property
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
    def points(self) -> Array:
        """Cell centres as an array of shape ``(*shape, dim)``."""
        return np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1)

    @cached_property
    def nodes(self) -> Array:
        """Coordinates at which functions are taken for each cell, shape ``(*shape, dim)``.

        The centres, but on the radius of the plane (`Radius.nodes`).
        """
        return self.points if self.chart is None else self.chart.nodes(self.points, self.spacing)

    @cached_property
    def places(self) -> Array:
        """A parameter z for each cell, shape ``(*shape, ambient_dim)``: where its node is."""
        return self.nodes if self.chart is None else self.chart.place(self.nodes)

    @property
    def whole(self) -> Grid | None:
        """Grid of Z: this one, or what mirrors make of it; None where it is no box."""
        if self.chart is None:
            return self
        if not isinstance(self.chart, Mirrors):
            return None
        twice = [2 if a in self.chart.axes else 1 for a in range(self.dim)]
        sides = zip(twice, self.lower, self.upper, strict=True)
        lower = tuple(-high if k == 2 else low for k, low, high in sides)
        return Grid(lower, self.upper, tuple(k * n for k, n in zip(twice, self.cells, strict=True)))

    @property
    def floor(self) -> float:
        """Root mean square distance of a uniform point of a cell from its centre.

        No comparison of a density on this grid in W2 means more than this: sqrt(sum h^2 / 12).
        On a polar grid that of the outermost, largest cells.
        """
        sides = self.spacing
        if isinstance(self.chart, Polar):
            sides = (sides[0], self.upper[0] * sides[1])
        return float(np.sqrt(sum(h * h for h in sides) / 12))

    def average(self, function: Function, points: Array) -> Array:
        """Values of a function of z at coordinates (..., dim), or means over their orbits.

        ``function`` takes z (..., ambient_dim) to (...) or (..., k).
        """
        if self.chart is None:
            return np.asarray(function(points), dtype=np.float64)
        places, weights = self.chart.orbit(points)
        return np.tensordot(weights, np.asarray(function(places), dtype=np.float64), axes=1)

    def _check_chart(self, chart: Chart) -> None:
        check.instance("chart", chart, Chart, "make one with the constructors of mf.Chart")
        if chart.coordinates != self.dim:
            raise ValueError(
                f"chart must have as many coordinates as the grid dimensions, got "
                f"{chart.coordinates} and {self.dim}; give one side of the box a coordinate"
            )
        if self.periodic:
            raise ValueError("chart must belong to a box, got a torus; use Grid.box")
        chart.check_box(self.lower, self.upper)

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
