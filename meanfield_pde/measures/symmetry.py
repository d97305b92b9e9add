"""Symmetrisation of measures: mu^G = int M_g # mu dlambda_G(g), and how far a measure is from it.

A measure is weakly invariant when mu = mu^G and strongly invariant when it lives on the fixed
subspace E^G (Maass and Fontbona, arXiv 2405.19995, section 3).
"""

from __future__ import annotations

from itertools import product
from typing import overload

import numpy as np
import numpy.typing as npt

from meanfield_pde.measures import check, distance
from meanfield_pde.measures.chart import Chart, FixedSubspace, Mirrors, Polar, Radius
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud, Measure
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.group import Group
from meanfield_pde.measures.order_free import order_free_mean
from meanfield_pde.measures.remap import remap, shadow

Images = npt.NDArray[np.int64]


@overload
def symmetrise(mu: Density, group: Group) -> Density: ...
@overload
def symmetrise(mu: Cloud, group: Group) -> Cloud: ...
def symmetrise(mu: Measure, group: Group) -> Measure:
    """Orbit average mu^G.

    A density on a grid whose cells the group permutes is averaged exactly: the result is invariant
    to the last bit. Otherwise each moved density is remapped conservatively and the result carries
    the measured smearing in ``remap_error`` (L1 distance of a density from itself, moved there and
    back).

    Raises
    ------
    ValueError
        If the group does not act in the measure's dimension.
    LostMassError
        If the moved density leaves its grid.

    Examples
    --------
    >>> cloud = symmetrise(Cloud([[1.0, 0.0]]), Group.swap())
    >>> cloud.points.tolist(), cloud.weights.tolist()
    ([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5])
    """
    check.instance("mu", mu, (Density, Cloud), "symmetrise a measure")
    check.instance("group", group, Group, "make one with the constructors of mf.Group")
    if isinstance(mu, Density) and mu.grid.symmetric_chart is not None:
        _require_charted(mu.grid.symmetric_chart, group)
        return mu
    if isinstance(mu, Cloud):
        moved = np.concatenate([mu.points @ m.T for m in group.on_z(mu.dim)])
        return Cloud(moved, np.multiply.outer(group.weights, mu.weights).ravel())
    images = group.cell_images(mu.grid)
    if images is not None:
        return Density(mu.grid, orbit_average(mu.values, images), mu.remap_error)
    return average_of_moved(mu, group.on_z(mu.grid.dim), group.weights)


def average_of_moved(mu: Density, matrices: Array, weights: Array) -> Density:
    """Weighted mean of a density's images, each remapped, with the smearing that was measured."""
    total, worst = np.zeros(mu.grid.shape), 0.0
    for weight, matrix in zip(weights, matrices, strict=True):
        if np.array_equal(matrix, np.eye(len(matrix))):
            total += weight * mu.values
            continue
        moved = remap(mu.grid, mu.values, matrix)
        back = remap(mu.grid, moved, matrix.T)
        worst = max(worst, float(np.abs(back - mu.values).sum() * mu.grid.volume))
        total += weight * moved
    return Density(mu.grid, total, mu.remap_error + worst)


def orbit_average(values: Array, images: Images) -> Array:
    """Average of a grid function over the orbits of cells, equal to the last bit on each orbit.

    The sum does not depend on where on the orbit one stands. A function that is invariant comes
    back unchanged.
    """
    flat = values.ravel()
    result = np.empty_like(flat)
    result[images] = order_free_mean(flat[images])
    return result.reshape(values.shape)


def is_invariant(values: Array, images: Images) -> bool:
    """Whether a grid function is the same, to the last bit, on each orbit of cells."""
    orbit = values.ravel()[images]
    return bool((orbit == orbit[0]).all())


def orbits(images: Images) -> Images:
    """Images of one cell of each orbit, all that averages over orbits need."""
    return images[:, images.min(axis=0) == np.arange(images.shape[1])]


def asymmetry(mu: Measure, group: Group) -> float:
    """Largest distance of a measure from its images: ``max_g d(mu, M_g # mu)``.

    L1 for a density; W2 (1D) or sliced W2 for a cloud. For a density on a grid whose cells the
    group does not permute, differences below the remap's own smearing (see `symmetrise`) are not
    resolved.
    """
    if isinstance(mu, Density) and mu.grid.symmetric_chart is not None:
        _require_charted(mu.grid.symmetric_chart, group)
        return 0.0
    if isinstance(mu, Density):
        images = group.cell_images(mu.grid)
        moved = [_moved_values(mu, group, g, images) for g in range(group.order)]
        return max(float(np.abs(v - mu.values).sum() * mu.grid.volume) for v in moved)
    clouds = [Cloud(mu.points @ m.T, mu.weights) for m in group.on_z(mu.dim)]
    if mu.dim == 1:
        return max((float(distance.w2(mu, moved)) for moved in clouds), default=0.0)
    return max((float(distance.sliced_w2(mu, moved, seed=0)) for moved in clouds), default=0.0)


def _moved_values(mu: Density, group: Group, g: int, images: Images | None) -> Array:
    if images is not None:
        return np.asarray(mu.values.ravel()[images[g]].reshape(mu.grid.shape))
    matrix = group.on_z(mu.grid.dim)[g]
    if np.array_equal(matrix, np.eye(len(matrix))):
        return mu.values
    return remap(mu.grid, mu.values, matrix)


@overload
def project(mu: Density, group: Group, grid: Grid | None = None) -> Density: ...
@overload
def project(mu: Cloud, group: Group, grid: None = None) -> Cloud: ...
def project(mu: Measure, group: Group, grid: Grid | None = None) -> Measure:
    """Push a measure to the fixed subspace: the strongly invariant projection P # mu.

    A cloud stays in Z. The image of a density is singular there, and becomes a density on a grid
    of E^G: exactly the law of B^T z for z uniform on each cell, with B the basis of the chart.

    Parameters
    ----------
    mu : Density or Cloud
        A density on a box of the plane, for a group that fixes a line; one on a grid of E^G is its
        own projection.
    group : Group
    grid : Grid, optional
        Grid of E^G (with its chart) for the image of a density; one that covers the image, with as
        many cells as mu has along its first axis, where it is left out.

    Raises
    ------
    ValueError
        If E^G is no line, or the grid is none of E^G.
    LostMassError
        If part of the image lies outside the grid.

    Examples
    --------
    >>> rho = Density.gaussian(Grid.box((-4, -4), (4, 4), (64, 64)), mean=(1, 0), cov=0.1)
    >>> shadow = project(rho, Group.swap())
    >>> shadow.mean().round(6).tolist(), shadow.grid.dim
    ([0.5, 0.5], 1)
    """
    check.instance("group", group, Group, "make one with the constructors of mf.Group")
    if isinstance(mu, Cloud):
        group.on_z(mu.dim)
        return Cloud(mu.points @ group.projection().T, mu.weights)
    check.instance("mu", mu, Density, "project a measure")
    if isinstance(mu.grid.chart, FixedSubspace) and grid in (None, mu.grid):
        _require_charted(mu.grid.chart, group)
        return mu
    group.on_z(mu.grid.dim)
    chart = Chart.fixed_subspace(group)
    if mu.grid.chart is not None or mu.grid.periodic or (mu.grid.dim, chart.coordinates) != (2, 1):
        raise ValueError(
            f"mu must be a density on a box of the plane to be projected on a line, got dimension "
            f"{mu.grid.dim} and a fixed subspace of dimension {chart.coordinates}; draw a cloud "
            "from it and project that"
        )
    if grid is None:
        reach = [np.dot(np.ravel(chart.basis), c) for c in product(*_sides(mu.grid))]
        grid = Grid.box(min(reach), max(reach), mu.grid.cells[0], chart=chart)
    if grid.chart != chart:
        raise ValueError(
            f"grid must be one of the fixed subspace of {group.name}, got chart {grid.chart}; "
            "make it with Grid.box(..., chart=Chart.fixed_subspace(group))"
        )
    return Density(grid, shadow(mu.grid, mu.values, np.ravel(chart.basis), grid), mu.remap_error)


def lift(mu: Density) -> Measure:
    """Measure in Z that a density on a chart stands for.

    Behind mirrors the invariant density on the whole grid, exactly; on E^G the cloud of its cell
    centres with their masses, for the law itself is singular; on a polar grid such a cloud, too.

    Raises
    ------
    ValueError
        For a density on the radius, whose law in Z needs a grid of its own.

    Examples
    --------
    >>> half = Grid.box(0, 4, 100, chart=Chart.quotient(Group.reflection()))
    >>> whole = lift(Density.gaussian(half, mean=1, cov=0.1))
    >>> whole.grid.lower, round(whole.mass, 9), bool((whole.values == whole.values[::-1]).all())
    ((-4.0,), 1.0, True)
    """
    check.instance("mu", mu, Density, "lift a density on a chart")
    grid, chart = mu.grid, mu.grid.chart
    if chart is None:
        return mu
    if isinstance(chart, Mirrors):
        whole, values = grid.whole, mu.values / len(chart.signs)
        assert whole is not None
        for axis in chart.axes:
            values = np.concatenate([np.flip(values, axis), values], axis=axis)
        return Density(whole, values, mu.remap_error)
    if isinstance(chart, FixedSubspace | Polar):
        return Cloud(grid.places.reshape(-1, grid.ambient_dim), mu.masses.ravel())
    raise ValueError(
        f"mu must live behind mirrors or on a fixed subspace to be lifted, got {chart}; draw a "
        "cloud from it by mu.sample(n, rng)"
    )


def _require_charted(chart: Chart, group: Group) -> None:
    """Raise ValueError unless every law on the chart is invariant under the group."""
    matrices = group.on_z(chart.dim)
    if isinstance(chart, Radius):
        return
    if isinstance(chart, FixedSubspace):
        fixed = np.abs(matrices @ chart.matrix - chart.matrix).max() < 1e-9
    else:
        assert isinstance(chart, Mirrors)
        images = {tuple(np.round(row, 9)) for row in chart.signs}
        own = np.stack([np.diag(np.diag(m)) for m in matrices])
        fixed = np.abs(matrices - own).max() < 1e-9 and all(
            tuple(np.round(np.diag(m), 9)) in images for m in matrices
        )
    if not fixed:
        raise ValueError(
            f"group must be one that the chart is for, got {group.name} on {chart}; a law on "
            "a chart has the symmetry of the chart alone"
        )


def _sides(grid: Grid) -> list[tuple[float, float]]:
    return list(zip(grid.lower, grid.upper, strict=True))
