r"""Birth and death: the reaction of a flow, exact in time for a potential that stands still.

.. math:: \partial_t \rho = -\alpha \left(V - \frac{\int V \rho}{\int \rho}\right) \rho

is solved by :math:`\rho\, e^{-\alpha t V} / Z`; with the entropy in what reacts, :math:`V = \Phi +
\beta \log \rho`, by the geometric mean :math:`\rho^w (e^{-\Phi / \beta})^{1 - w} / Z` with
:math:`w = e^{-\alpha \beta t}`. Z keeps the mass: the mean of V never appears. Both are positive
for every t, leave empty cells empty, and lower :math:`\int \Phi \rho + \beta \int \rho \log \rho`.

On a chart the density p of the coordinates is that of Z times the orbits' volume J. The free energy
there has :math:`p \log p` beside the potential :math:`\Phi - \beta \log J` (see
`Energy.smooth_on`). Their sum is what reacts with the entropy, :math:`\Phi + \beta \log (p / J)`;
without it :math:`\Phi` alone does, and J has to be taken out of the potential again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meanfield_pde.flows.gradient_flow import GradientFlow
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.order_free import folded_sum

LEAST = 1e-300
"""Density that stands for none in logarithms."""
ROUNDING = 1e-14
"""Relative change of the mass in a step that may be rounding; a leak of more is left to be seen."""


@dataclass(frozen=True, eq=False)
class Reaction:
    """Reaction of a flow on a grid.

    Parameters
    ----------
    rate : float
        alpha.
    beta : float
        Factor of the entropy in what reacts.
    dissipative : bool
        Whether the free energy falls along it.
    volume : array of grid shape, optional
        What is added to the potential of the equation to make that which reacts.
    mass : float, optional
        Sum of the values that a density keeps: one that is off by rounding is put back to it, lest
        the rounding of many steps adds up. Without it densities keep the sum that they have.
    """

    rate: float
    beta: float
    dissipative: bool
    volume: Array | None = None
    mass: float | None = None

    @classmethod
    def of(cls, flow: GradientFlow, grid: Grid, mass: float | None = None) -> Reaction | None:
        """Reaction of a flow on a grid, None where there is none."""
        if not flow.reaction:
            return None
        beta, volume = flow.energy.beta, None
        if beta and not flow.entropic and grid.chart is not None:
            volume = beta * grid.chart.log_volume(grid.points)
        entropy = beta if flow.entropic else 0.0
        return cls(flow.reaction, entropy, flow.dissipative, volume, mass)

    def advance(self, rho: Array, potential: Array, t: float) -> Array:
        """Density after a time t of the reaction with the equation's potential as it is."""
        phi = potential if self.volume is None else potential + self.volume
        there = rho > 0
        time, kept = self.rate * t, rho
        if self.beta:
            time = -np.expm1(-self.rate * self.beta * t) / self.beta
            kept = rho ** np.exp(-self.rate * self.beta * t)
        lowest = phi.min(where=there, initial=np.inf)
        grown = np.exp(-time * np.maximum(phi - lowest, 0.0))
        grown *= kept
        grown[~there] = 0.0
        # Divided first: both may be so small that the quotient of the masses overflows.
        return np.asarray(grown / folded_sum(grown) * self._kept(folded_sum(rho)))

    def _kept(self, total: float) -> float:
        if self.mass is None or abs(total - self.mass) > ROUNDING * self.mass:
            return total
        return self.mass

    def reacting(self, rho: Array, potential: Array) -> Array:
        """V, up to a constant; cells without mass count as 1e-300."""
        phi = potential if self.volume is None else potential + self.volume
        return phi + self.beta * np.log(np.maximum(rho, LEAST)) if self.beta else phi

    def dissipation(self, rho: Array, potential: Array, xi: Array) -> float:
        """Rate at which the free energy falls, over the volume of a cell: alpha Cov(xi, V).

        With xi its first variation. Where xi is what reacts it is alpha Var(V), and not negative.
        """
        share = rho / folded_sum(rho)
        v = self.reacting(rho, potential)
        v, xi = (field - folded_sum(share * field) for field in (v, xi))
        return self.rate * folded_sum(rho * v * xi)

    def fastest(self, rho: Array, potential: Array) -> float:
        """Largest rate at which mass may grow, wherever it is."""
        v = self.reacting(rho, potential)
        mean = folded_sum(rho * v) / folded_sum(rho)
        return self.rate * max(0.0, mean - float(v.min()))
