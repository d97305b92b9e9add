r"""Numerical fluxes: the equation in space.

The Scharfetter-Gummel flux through the face between cells K and L is

.. math:: F_{KL} = t_{KL}\,\beta\,[B(q) \rho_K - B(-q) \rho_L], \quad q = (\Phi_L - \Phi_K)/\beta,
   \quad B(q) = q / (e^q - 1),

the exact flux of the one-dimensional problem with constant flux and a potential linear between
the centres. It is evaluated as ``t [D (rho_K - rho_L) + max(-dPhi, 0) rho_K - max(dPhi, 0)
rho_L]`` with ``D = beta B(|q|)``: the same for all beta >= 0 (upwind at beta = 0), free of
overflow, and even in q to the last bit. F vanishes exactly when rho is proportional to exp(-Phi
/ beta) on the two cells, so the discrete stationary states are Gibbs states, and ``sign F =
sign(xi_K - xi_L)`` with ``xi = beta log rho + Phi`` makes the free energy fall. Analysis:
Schlichting and Seis (IMA J. Numer. Anal. 2022); the limit beta -> 0: Hraivoronska, Schlichting
and Tse (2024).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_array

from meanfield_pde.eulerian import _kernels
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid


@dataclass(frozen=True, eq=False)
class Generator:
    """A Markov generator on the cells: rates down (forward) and up (backward) each face.

    ``forward[a]`` and ``backward[a]`` have shape (nx, ny) for axis a (ny = 1 in 1D); see
    `_kernels`.
    """

    grid: Grid
    forward: Array
    backward: Array

    @property
    def outflow(self) -> float:
        """Largest rate at which a cell loses mass.

        An explicit step up to its inverse keeps the density nonnegative.
        """
        return float(_kernels.largest_outflow(self.forward, self.backward))

    def advance(self, rho: Array, source: Array, dt: float) -> Array:
        """``rho + dt A source`` in flux form: what leaves one cell enters another."""
        out = np.empty(self.forward.shape[1:])
        shape = out.shape
        _kernels.flux_form(
            rho.reshape(shape), source.reshape(shape), self.forward, self.backward, dt, out
        )
        return out.reshape(self.grid.shape)

    def matrix(self) -> csc_array:
        """Return A as a sparse matrix (cells, cells); its columns sum to 0."""
        nx, ny = self.forward.shape[1:]
        index = np.arange(nx * ny).reshape(nx, ny)
        here = np.concatenate([index.ravel(), index.ravel()])
        there = np.concatenate([np.roll(index, -1, axis=a).ravel() for a in (0, 1)])
        down, up = self.forward.ravel(), self.backward.ravel()
        rows = np.concatenate([there, here, here, there])
        columns = np.concatenate([here, here, there, there])
        values = np.concatenate([down, -down, up, -up])
        kept = values != 0
        entries = values[kept], (rows[kept], columns[kept])
        return csc_array(entries, shape=(nx * ny, nx * ny))

    def dissipation(self, rho: Array, xi: Array) -> float:
        """``sum_faces |face| F (xi_K - xi_L)``: the rate at which the free energy falls, >= 0."""
        shape = self.forward.shape[1:]
        r, x = rho.reshape(shape), xi.reshape(shape)
        total = 0.0
        for axis in (0, 1):
            flux = self.forward[axis] * r - self.backward[axis] * np.roll(r, -1, axis=axis)
            total += float((flux * (x - np.roll(x, -1, axis=axis))).sum())
        return total * self.grid.volume


class Flux(ABC):
    """How a potential becomes rates through faces."""

    name: str

    @abstractmethod
    def generator(self, grid: Grid, potential: Array, beta: float) -> Generator:
        """Rates for the potential at the cell centres (of grid shape) and diffusion beta."""


@dataclass(frozen=True)
class ScharfetterGummel(Flux):
    """The Scharfetter-Gummel flux; upwind at beta = 0."""

    name = "sg"

    def generator(self, grid: Grid, potential: Array, beta: float) -> Generator:
        """Rates of all faces."""
        shape = grid.cells if grid.dim == 2 else (grid.cells[0], 1)
        forward, backward = np.empty((2, *shape)), np.empty((2, *shape))
        scale = [1.0 / (h * h) for h in grid.spacing] + [0.0]
        phi = np.ascontiguousarray(potential).reshape(shape)
        _kernels.scharfetter_gummel_rates(
            phi,
            beta,
            scale[0],
            scale[1] if grid.dim == 2 else 0.0,
            grid.periodic,
            forward,
            backward,
        )
        return Generator(grid, forward, backward)


FLUXES: dict[str, Flux] = {"sg": ScharfetterGummel()}
