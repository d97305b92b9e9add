"""The stages of MPRK22 on the one line of a grid, each in a single compiled call."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meanfield_pde.eulerian import _step_kernels
from meanfield_pde.eulerian.flux import LinearFlux, ends_of, mirror_lag
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid


@dataclass(frozen=True, eq=False)
class LineSteps:
    """Steps on a line.

    Parameters
    ----------
    beta : float
        Diffusion.
    scale : float
        1 / h^2.
    ends : tuple of bool
        Whether the line is periodic, and whether a mirror is at its lower end.
    lags : bool
        Whether faces lag.
    metric : array (4, n)
        See `_step_kernels`.
    at_mirror : float
        Lag at a mirror.
    rates : array (4, 1, n, 1)
        Overwritten by every stage.
    """

    beta: float
    scale: float
    ends: tuple[bool, bool]
    lags: bool
    metric: Array
    at_mirror: float
    rates: Array

    @classmethod
    def on(cls, grid: Grid, flux: LinearFlux, beta: float) -> LineSteps | None:
        """Prepare steps on a grid; None where it is no line, or the flux has its own rates."""
        metric = flux.metric(grid) if grid.dim == 1 else None
        if metric is None:
            return None
        ends, (h,), rates = ends_of(grid, 0), grid.spacing, np.zeros((4, 1, grid.size, 1))
        both = ends.periodic, ends.mirror
        lag = mirror_lag(grid, beta)[0]
        return cls(float(beta), 1.0 / (h * h), both, flux.lags, metric, lag, rates)

    def first(self, rho: Array, potential: Array, dt: float) -> Array:
        """Implicit Euler."""
        stage = np.empty(rho.shape)
        how = self.beta, self.scale, self.ends, self.lags, self.metric
        _step_kernels.first_step(rho, potential, *how, dt, self.rates, stage)
        return stage

    def second(
        self, rho: Array, stage: Array, middle: Array, dt: float, most: float
    ) -> tuple[Array, float, float]:
        """Second stage, in the potential ``middle``.

        With the sum of its differences from the first, and the lag that the mass sees on average,
        no face counting more than ``most``.
        """
        end = np.empty(rho.shape)
        how = self.beta, self.scale, self.ends, self.lags, self.metric
        sums = _step_kernels.second_step(
            rho, stage, middle, *how, dt, most, self.at_mirror, self.rates, end
        )
        return end, *sums
