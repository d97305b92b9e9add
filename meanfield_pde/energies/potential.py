"""External potentials: ``int V dmu``; the penalty ``int |z|^2 dmu`` is one that has a name."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from meanfield_pde.energies.derivative import Derivative
from meanfield_pde.energies.energy import Batch, Energy, FixedFunctional, Functional
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array, Function
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.grid import Grid


def require_periodic(name: str, function: Function, grid: Grid) -> None:
    """Raise ValueError unless a function of points has the period of a torus."""
    if not grid.periodic:
        return
    points = grid.points.reshape(-1, grid.dim)[:: max(1, grid.size // 64)]
    here = np.asarray(function(points), dtype=np.float64)
    for axis in range(grid.dim):
        moved = points.copy()
        moved[:, axis] += grid.upper[axis] - grid.lower[axis]
        gap = np.abs(np.asarray(function(moved), dtype=np.float64) - here).max()
        if not gap <= 1e-8 * (1 + np.abs(here).max()):
            raise ValueError(
                f"{name} must have the torus's period along axis {axis}, got values {gap:.3g} "
                "apart one period on; write it with sin and cos, or use Grid.box"
            )


def require_invariant(name: str, function: Function, grid: Grid) -> None:
    """Raise ValueError unless a function of z is constant on the orbits of a grid's chart."""
    if grid.chart is None:
        return
    points = grid.points.reshape(-1, grid.dim)[:: max(1, grid.size // 64)]
    places, _ = grid.chart.orbit(points)
    values = np.asarray(function(places), dtype=np.float64)
    gap = np.abs(values - values[0]).max()
    if not gap <= 1e-10 * (1 + np.abs(values).max()):
        raise ValueError(
            f"{name} must be constant on the orbits of the chart, got values {gap:.3g} apart; "
            "average it over the group, or solve in the whole space"
        )


@dataclass(frozen=True, eq=False)
class Potential(Energy):
    """Energy ``int V dmu`` of an external potential; its first variation is V.

    Parameters
    ----------
    function : callable
        V: points (..., d) to values (...), also for d = 1.
    gradient : callable, optional
        Points (..., d) to (..., d). Asked for by particles only; found by complex step or
        differences where it is left out, and compared with differences where it is given.

    Raises
    ------
    ValueError
        When it meets a grid or cloud on which V is not finite or has the wrong shape.

    Examples
    --------
    >>> V = Potential(lambda z: 0.5 * (z**2).sum(-1))
    >>> V.drift(Cloud([[2.0]])).tolist()
    [[-2.0]]
    """

    function: Function
    gradient: Function | None = None
    _derivative: Derivative = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ValueError(
                f"function must be callable, got {self.function!r}; "
                "for example lambda z: (z**2).sum(-1)"
            )
        derivative = Derivative("potential", self.function, self.gradient)
        object.__setattr__(self, "_derivative", derivative)

    def discretise(self, grid: Grid) -> Functional:
        """Evaluate V at the cell centres."""
        require_periodic("potential", lambda z: self.function(z), grid)
        require_invariant("potential", self.function, grid)
        return FixedFunctional(grid, check.evaluate("potential", self.function, grid.places))

    def cloud_value(self, cloud: Cloud) -> float:
        """Mean of V over the cloud."""
        return float(cloud.weights @ check.evaluate("potential", self.function, cloud.points))

    def drift(self, cloud: Cloud, batch: Batch | None = None) -> Array:
        """``-grad V`` at each point."""
        return -self._derivative(cloud.points)

    def cloud_potential(self, cloud: Cloud, batch: Batch | None = None) -> Array:
        """V at each point."""
        return check.evaluate("potential", self.function, cloud.points)


@dataclass(frozen=True, eq=False)
class Penalty(Energy):
    """Weight decay: energy ``int |z|^2 dmu``, first variation ``|z|^2``."""

    def discretise(self, grid: Grid) -> Functional:
        """Evaluate ``|z|^2`` at the cell centres."""
        require_periodic("penalty", lambda z: (z**2).sum(-1), grid)
        return FixedFunctional(grid, (grid.places**2).sum(-1))

    def cloud_value(self, cloud: Cloud) -> float:
        """Second moment of the cloud."""
        return float(cloud.weights @ (cloud.points**2).sum(-1))

    def drift(self, cloud: Cloud, batch: Batch | None = None) -> Array:
        """``-2 z`` at each point."""
        return np.asarray(-2.0 * cloud.points)

    def cloud_potential(self, cloud: Cloud, batch: Batch | None = None) -> Array:
        """``|z|^2`` at each point."""
        return np.asarray((cloud.points**2).sum(-1))
