"""Implicit steps along the lines of a grid."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from meanfield_pde.eulerian import _line_kernels
from meanfield_pde.eulerian.flux import Generator
from meanfield_pde.measures.check import Array


class Lines:
    """Implicit steps along the lines of one axis; densities have the shape of the grid.

    With ``scratch`` rates are laid out in arrays that are kept there for the next object of the
    same axis; large arrays are costly to get anew from the system in every step.
    """

    def __init__(
        self, generator: Generator, axis: int, scratch: dict[tuple[int, str], Array] | None = None
    ) -> None:
        self.generator, self.axis = generator, axis
        self._scratch = {} if scratch is None else scratch
        self.periodic = generator.grid.wraps[axis]
        self._shape = generator.forward[axis].shape
        self.forward = self._lay_out("forward", generator.forward[axis])
        self.backward = self._lay_out("backward", generator.backward[axis])

    @cached_property
    def lag(self) -> Array:
        """Lags of the faces, laid out as the rates are."""
        lag = self.generator.lag
        return np.zeros_like(self.forward) if lag is None else self._lay_out("lag", lag[self.axis])

    def euler(self, rho: Array, dt: float, out: Array | None = None) -> Array:
        """Implicit Euler, into ``out`` (which may be rho) where it is given."""
        end = np.empty_like(rho) if out is None else out
        _line_kernels.euler_step(
            self._plane(rho),
            self.forward,
            self.backward,
            dt,
            self.axis,
            self.periodic,
            self._plane(end),
        )
        return end

    def second_order(self, rho: Array, dt: float, out: Array | None = None) -> Array:
        """Both stages of MPRK22 with these rates, into ``out`` (which may be rho)."""
        end = np.empty_like(rho) if out is None else out
        _line_kernels.second_order_step(
            self._plane(rho),
            self.forward,
            self.backward,
            self.lag,
            dt,
            self.axis,
            self.periodic,
            self._plane(end),
        )
        return end

    def second_stage(self, rho: Array, stage: Array, later: Lines, dt: float) -> Array:
        """Second stage of MPRK22 with the rates of the first here, its own in ``later``."""
        end = np.empty_like(rho)
        _line_kernels.second_stage(
            self._plane(rho),
            self._plane(stage),
            self.forward,
            self.backward,
            later.forward,
            later.backward,
            self.lag,
            dt,
            self.axis,
            self.periodic,
            self._plane(end),
        )
        return end

    def _plane(self, values: Array) -> Array:
        return values.reshape(self._shape)  # a view: densities are contiguous

    def _lay_out(self, name: str, values: Array) -> Array:
        width = _line_kernels.WIDTH
        blocks = -(-self._shape[1 - self.axis] // width)
        out = self._scratch.get((self.axis, name))
        if out is None:
            out = np.empty((blocks, self._shape[self.axis], width))
            self._scratch[self.axis, name] = out
        _line_kernels.pack(np.ascontiguousarray(values).reshape(self._shape), self.axis, out)
        return out
