"""Symmetrisation of measures: mu^G = int M_g # mu dlambda_G(g), and how far a measure is from it.

A measure is weakly invariant when mu = mu^G and strongly invariant when it lives on the fixed
subspace E^G (Maass and Fontbona, arXiv 2405.19995, section 3).
"""

from __future__ import annotations

from typing import overload

import numpy as np
import numpy.typing as npt

from meanfield_pde.measures import check, distance
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud, Measure
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.group import Group
from meanfield_pde.measures.order_free import order_free_mean
from meanfield_pde.measures.remap import remap

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
    return images[:, np.unique(images.min(axis=0))]


def asymmetry(mu: Measure, group: Group) -> float:
    """Largest distance of a measure from its images: ``max_g d(mu, M_g # mu)``.

    L1 for a density; W2 (1D) or sliced W2 for a cloud. For a density on a grid whose cells the
    group does not permute, differences below the remap's own smearing (see `symmetrise`) are not
    resolved.
    """
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


def project(cloud: Cloud, group: Group) -> Cloud:
    """Push a cloud to the fixed subspace: the strongly invariant projection P # mu."""
    matrices = group.on_z(cloud.dim)
    return Cloud(cloud.points @ np.tensordot(group.weights, matrices, axes=1).T, cloud.weights)
