"""What densities and clouds are compared by: distances, moments, and what a grid resolves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from meanfield_pde.energies.energy import Energy
from meanfield_pde.energies.risk import Risk
from meanfield_pde.energies.variants import DataAugmented
from meanfield_pde.measures import check, distance
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density

DISTANCES = ("w1", "w2", "rmd", "mmd", "model", "sliced_w2")

ATOMS = {"density": 5000, "cloud": 300, "line": 20_000}
"""Sizes to which transport is cut: of the density's atoms, and of every cloud
alike."""


@dataclass(frozen=True, eq=False)
class Ruler:
    """A distance of a density (or a cloud) from a cloud, for one problem and time."""

    name: str
    between: Callable[[Any, Cloud], float]
    grid_floor: float


def flat(rho: Density) -> Density:
    """Law of the coordinates, where a chart makes them something else than z."""
    grid = rho.grid
    return rho if grid.symmetric_chart is None else Density(replace(grid, chart=None), rho.values)


def reduced(rho: Density, cloud: Cloud) -> Cloud:
    """Coordinates of a cloud in the density's chart."""
    chart = rho.grid.symmetric_chart
    return cloud if chart is None else Cloud(chart.reduce(cloud.points), cloud.weights)


def risk_of(energy: Energy) -> Risk | DataAugmented | None:
    """Risk among the terms of an energy, of which model distances are."""
    return next((leaf for _, leaf in energy.terms if isinstance(leaf, Risk | DataAugmented)), None)


def distances_of(
    given: Sequence[str] | None, rho: Density, risk: Risk | DataAugmented | None
) -> tuple[str, ...]:
    """Distances that were asked for, or all that make sense; others are refused."""
    given = (given,) if isinstance(given, str) else given
    possible = ["w1", "w2", "mmd"] if rho.grid.dim == 1 else ["w2", "mmd"]
    if not rho.grid.periodic:
        possible += ["rmd", "sliced_w2"] if rho.grid.dim == 2 else ["rmd"]
    if risk is not None:
        possible.append("model")
    if given is None:
        return tuple(name for name in DISTANCES if name in possible)
    allowed = {*possible, "w1"}
    for name in given:
        if name not in allowed:
            raise ValueError(
                f"distances must be among {', '.join(sorted(allowed))} for this problem, got "
                f"{name!r}; model needs a risk, rmd and sliced_w2 a box"
            )
    return tuple(given)


def moments_of(periodic: bool, dim: int) -> list[tuple[str, Callable[[Array, Any], Array]]]:
    """Names and functions (points, grid) -> values of what is compared besides distances."""
    found: list[tuple[str, Callable[[Array, Any], Array]]] = []
    for a, name in enumerate("xy"[:dim]):
        if periodic:
            found.append((f"cos {name}", partial(_harmonic, np.cos, a)))
            found.append((f"sin {name}", partial(_harmonic, np.sin, a)))
        else:
            found.append((f"mean {name}", partial(_coordinate, a)))
    return found if periodic else [*found, ("mean |z|^2", _square)]


def _coordinate(axis: int, z: Array, grid: Any) -> Array:
    return np.asarray(z[..., axis])


def _square(z: Array, grid: Any) -> Array:
    return np.asarray((z * z).sum(-1))


def _harmonic(function: Callable[[Array], Array], axis: int, z: Array, grid: Any) -> Array:
    """Cosine or sine of the angle that a coordinate of a torus is."""
    period = grid.upper[axis] - grid.lower[axis]
    return function(2 * np.pi * (z[..., axis] - grid.middle[axis]) / period)


@dataclass(frozen=True, eq=False)
class Moment:
    """A moment of the density and of each replica, and the standard error of one set of samples."""

    name: str
    expected: float
    independent: float
    values: Array


def moment_values(rho: Density, clouds: list[Cloud]) -> list[Moment]:
    """Moments of clouds beside those of the density; on a chart of their coordinates."""
    weights, clouds = rho.masses / rho.mass, [reduced(rho, cloud) for cloud in clouds]
    places = rho.grid.places if rho.grid.symmetric_chart is None else rho.grid.nodes
    found = []
    for name, function in moments_of(rho.grid.periodic, rho.grid.dim):
        at_cells = function(places, rho.grid)
        expected = float((weights * at_cells).sum())
        deviation = float(np.sqrt((weights * (at_cells - expected) ** 2).sum()))
        values = np.array([function(c.points, rho.grid).mean() for c in clouds])
        found.append(Moment(name, expected, deviation / np.sqrt(clouds[0].size), values))
    return found


def rulers(
    names: Sequence[str], rho: Density, risk: Risk | DataAugmented | None
) -> Iterable[Ruler]:
    """Distances at one time; in 2D the density is its atoms, and exact transport works on fewer."""
    grid = rho.grid
    period = (grid.lower, grid.upper) if grid.periodic else None
    atoms: Any = rho if grid.dim == 1 else distance.coarsen(rho, ATOMS["density"])
    floor = grid.floor if grid.dim == 1 else atoms.floor
    width = float(np.sqrt(np.trace(rho.cov()))) if period is None else _period(rho) / 8
    known: dict[tuple[int, int], float] = {}

    def whole(mu: Any) -> Any:
        return atoms if mu is rho else mu

    def cut(mu: Any) -> Any:  # replicas are exchangeable: their first points are as good as any
        if mu is rho:
            return whole(mu)
        most = ATOMS["line" if grid.dim == 1 else "cloud"]
        return mu if mu.size <= most else Cloud(mu.points[:most])

    def w2(mu: Any, nu: Cloud) -> float:
        if (id(mu), id(nu)) not in known:
            known[id(mu), id(nu)] = float(distance.w2(cut(mu), cut(nu), period=period))
        return known[id(mu), id(nu)]

    def rmd(mu: Any, nu: Cloud) -> float:
        return float(w2(mu, nu) / np.sqrt(2 * (_second_moment(mu) + _second_moment(nu))))

    table: dict[str, tuple[Callable[[Any, Cloud], float], float]] = {
        "w1": (lambda mu, nu: distance.w1(cut(mu), cut(nu), period=period), floor),
        "w2": (w2, floor),
        "rmd": (rmd, floor / np.sqrt(4 * _second_moment(rho))),
        "sliced_w2": (lambda mu, nu: distance.sliced_w2(whole(mu), nu, 16), floor),
        "mmd": (
            lambda mu, nu: distance.mmd(whole(mu), nu, width, period=period),
            floor**2 / width**2,
        ),
        "model": (lambda mu, nu: distance.model(mu, nu, risk), grid.floor**2),
    }
    for name in names:
        between, resolution = table[name]
        yield Ruler(name, between, float(resolution))


def _second_moment(mu: Density | Cloud) -> float:
    return float(mu.expect(lambda z: (z * z).sum(-1)) / mu.mass)


def _period(rho: Density) -> float:
    return check.number("period", rho.grid.upper[0] - rho.grid.lower[0], "the torus's length")
