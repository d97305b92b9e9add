"""Implicit steps along the lines of a grid."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from meanfield_pde.eulerian import _line_kernels
from meanfield_pde.eulerian.flux import Generator
from meanfield_pde.measures.check import Array


class Lines:
    """Implicit steps along the lines of one axis; densities have the shape of the grid."""

    def __init__(self, generator: Generator, axis: int) -> None:
        self.generator, self.axis = generator, axis
        self.periodic = generator.grid.periodic
        self._shape = generator.forward[axis].shape
        self.forward = self._lay_out(generator.forward[axis])
        self.backward = self._lay_out(generator.backward[axis])

    @cached_property
    def lag(self) -> Array:
        """Lags of the faces, laid out as the rates are."""
        lag = self.generator.lag
        return np.zeros_like(self.forward) if lag is None else self._lay_out(lag[self.axis])

    def euler(self, rho: Array, dt: float) -> Array:
        """Implicit Euler."""
        columns, out = self._lay_out(rho), np.empty_like(self.forward)
        _line_kernels.euler_step(columns, self.forward, self.backward, dt, self.periodic, out)
        return self._lay_back(out, rho.shape)

    def second_order(self, rho: Array, dt: float) -> Array:
        """Both stages of MPRK22 with these rates."""
        columns, out = self._lay_out(rho), np.empty_like(self.forward)
        _line_kernels.second_order_step(
            columns, self.forward, self.backward, self.lag, dt, self.periodic, out
        )
        return self._lay_back(out, rho.shape)

    def second_stage(self, rho: Array, stage: Array, later: Lines, dt: float) -> Array:
        """Second stage of MPRK22 with the rates of the first here, its own in ``later``."""
        out = np.empty_like(self.forward)
        _line_kernels.second_stage(
            self._lay_out(rho),
            self._lay_out(stage),
            self.forward,
            self.backward,
            later.forward,
            later.backward,
            self.lag,
            dt,
            self.periodic,
            out,
        )
        return self._lay_back(out, rho.shape)

    def _lay_out(self, values: Array) -> Array:
        plane: Array = np.ascontiguousarray(values).reshape(self._shape)
        width = _line_kernels.WIDTH
        blocks = -(-self._shape[1 - self.axis] // width)
        out = np.empty((blocks, self._shape[self.axis], width))
        _line_kernels.pack(plane, self.axis, out)
        return out

    def _lay_back(self, blocks: Array, shape: tuple[int, ...]) -> Array:
        plane = np.empty(self._shape)
        _line_kernels.unpack(blocks, self.axis, plane)
        return plane.reshape(shape)
