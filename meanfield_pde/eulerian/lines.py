"""Implicit steps along the lines of a grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from meanfield_pde.eulerian import _line_kernels
from meanfield_pde.eulerian.flux import Generator, LinearFlux, ends_of, mean_lag
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid

ROOM = 16
"""Numbers between the rows of a plane: rows a power of two apart share few lines of the cache."""


@dataclass(frozen=True, eq=False)
class Scratch:
    """Arrays that the steps of a march use again; the system hands out new ones page by page.

    Whoever takes one has it until the same name is taken again.
    """

    _kept: dict[str, Array] = field(default_factory=dict)

    def take(self, name: str, shape: tuple[int, ...]) -> Array:
        """Array of that shape, with whatever was left in it."""
        if name not in self._kept or self._kept[name].shape != shape:
            self._kept[name] = np.empty(shape)
        return self._kept[name]

    def plane(self, name: str, shape: tuple[int, ...]) -> Array:
        """Plane of that shape with room between its rows."""
        rows, columns = shape
        return self.take(name, (rows, columns + ROOM))[:, :columns]


@dataclass(frozen=True, eq=False)
class Lines:
    """Rates and lags along the lines of one axis, in blocks; densities have the grid's shape."""

    axis: int
    periodic: bool
    forward: Array
    backward: Array
    lag: Array

    @classmethod
    def of(cls, generator: Generator, axis: int) -> Lines:
        """Lay out the rates of a generator."""
        given = [generator.forward, generator.backward]
        given += [] if generator.lag is None else [generator.lag]
        rates = np.zeros((3, *_line_kernels.blocks(given[0].shape[1:], axis)))
        for values, out in zip(given, rates, strict=False):
            _line_kernels.pack(np.ascontiguousarray(values[axis]), axis, out)
        return cls(axis, generator.grid.wraps[axis], *rates)

    @classmethod
    def along(
        cls,
        flux: LinearFlux,
        grid: Grid,
        potential: Array,
        beta: float,
        axis: int,
        scratch: Scratch,
    ) -> Lines:
        """Compute the rates of a flux along an axis, in arrays that ``scratch`` keeps."""
        plane = _plane(np.ascontiguousarray(potential))
        shape = _line_kernels.blocks(plane.shape, axis)
        phi = plane[None]
        if grid.dim == 2:
            phi = scratch.take("potential in blocks", shape)
            _line_kernels.pack(plane, axis, phi)
        forward, backward, lag = (
            scratch.take(f"{name} along {axis}", shape) for name in ("forward", "backward", "lag")
        )
        rates = (forward, backward, lag) if flux.lags else (forward, backward)
        flux.fill(phi, grid.spacing[axis], beta, ends_of(grid, axis), rates)
        if not flux.lags:
            lag[:] = 0.0
        return cls(axis, grid.wraps[axis], forward, backward, lag)

    def euler(self, rho: Array, dt: float, out: Array | None = None) -> Array:
        """Implicit Euler, into ``out`` (which may be rho) where it is given."""
        end = np.empty(rho.shape) if out is None else out
        rates = self.forward, self.backward
        _line_kernels.euler_step(_plane(rho), *rates, dt, self.axis, self.periodic, _plane(end))
        return end

    def second_order(self, rho: Array, dt: float, out: Array | None = None) -> Array:
        """Both stages of MPRK22 with these rates, into ``out`` (which may be rho)."""
        end = np.empty(rho.shape) if out is None else out
        rates = self.forward, self.backward, self.lag
        _line_kernels.second_order_step(
            _plane(rho), *rates, dt, self.axis, self.periodic, _plane(end)
        )
        return end

    def second_stage(self, rho: Array, stage: Array, dt: float) -> Array:
        """Second stage of MPRK22 with these rates, after a first one with any."""
        end = np.empty(rho.shape)
        rates = self.forward, self.backward, self.lag
        _line_kernels.second_stage(
            _plane(rho), _plane(stage), *rates, dt, self.axis, self.periodic, _plane(end)
        )
        return end


def mean_of_both(
    fill: Callable[[int, Array], None], scratch: Scratch, out: Array, swapped: bool = False
) -> None:
    """Mean of the two orders of a splitting, of which ``fill(k, end)`` takes that from axis k.

    Where all is symmetric about the diagonal (swapped) one is the image of the other.
    """
    ends = [scratch.plane(name, out.shape) for name in ("from x", "from y")]
    fill(0, ends[0])
    if swapped:
        _line_kernels.symmetric_mean(ends[0], out)
        return
    fill(1, ends[1])
    np.add(ends[0], ends[1], out=out)
    out *= 0.5


def lag_along(
    lines: Sequence[Lines],
    rho: Array,
    most: float,
    at_mirror: tuple[float, float],
    scratch: Scratch,
) -> float:
    """Lag that the mass sees on average along all lines, no face counting more than ``most``."""
    lag = scratch.take("lag", (2, *_plane(rho).shape))
    if len(lines) == 1:
        lag[1 - lines[0].axis] = 0.0
    for along in lines:
        _line_kernels.unpack(along.lag, along.axis, lag[along.axis])
    return mean_lag(lag, rho, most, at_mirror)


def _plane(values: Array) -> Array:
    return values if values.ndim == 2 else values.reshape(-1, 1)
