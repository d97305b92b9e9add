r"""The flux on a polar grid, Euclidean or in a lazy metric.

On the cells of a polar grid, equal in (r, phi), p = r rho is the mass per dr dphi. The flux of
``d_t rho = div(M (rho grad Phi + beta grad rho))`` through a face at r between radii :math:`r_K`
and :math:`r_L`, and through one at phi in the ring at :math:`r_K`, is

.. math:: F_r = \frac{r}{h_r^2} \beta \left[B(q) \frac{p_K}{r_K} - B(-q) \frac{p_L}{r_L}\right],
   \quad
   F_\phi = \frac{m(r_K)}{h_\phi^2} \beta \left[B(q) p_K - B(-q) p_L\right],

Scharfetter-Gummel's with the length of the face and the angular mobility m = g^{phi phi}: 1/r^2,
or 1/r^2 + 1/(2 lambda^2) in a lazy metric. Faces at r = 0 have no length. Both vanish where p / r
is proportional to exp(-Phi / beta), so the stationary states are Gibbs states with the cells' own
areas r h_r h_phi as weights; and the free energy, int p log(p / r) for its entropy, falls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meanfield_pde.eulerian.flux import FLUXES, Flux, Generator, ScharfetterGummel
from meanfield_pde.measures.chart import Polar
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.lazy import LazyMetric


@dataclass(frozen=True)
class PolarFlux(Flux):
    """Scharfetter-Gummel's flux on polar grids.

    Parameters
    ----------
    metric : LazyMetric, optional
        Euclidean where it is left out.
    """

    metric: LazyMetric | None = None
    name = "sg"
    linear = True

    def transport(self, grid: Grid, potential: Array, beta: float) -> Generator:
        """Rates of all faces, for the potential ``Phi - beta log r`` that p has."""
        r = grid.axes[0]
        flat = ScharfetterGummel().transport(grid, potential + beta * np.log(r)[:, None], beta)
        forward, backward = flat.forward, flat.backward
        length = grid.faces[0][1:]
        forward[0] *= (length / r)[:, None]
        backward[0] *= (length / np.roll(r, -1))[:, None]  # the wall is last, and has no rates
        mobility = 1 / r**2 if self.metric is None else self.metric.angular_mobility(r)
        forward[1] *= mobility[:, None]
        backward[1] *= mobility[:, None]
        return flat


def fluxes_on(grid: Grid, metric: LazyMetric | None, flux: str | Flux) -> dict[str, Flux]:
    """Fluxes there are on a grid, by name.

    Raises
    ------
    ValueError
        If the metric or the flux that was asked for does not belong on the grid.
    """
    if not isinstance(grid.chart, Polar):
        if metric is not None:
            raise ValueError(
                "metric must be left out on a grid that is not polar, got a lazy one, which is "
                "diagonal in polar coordinates alone; put the initial law on a Grid.polar"
            )
        return FLUXES
    if isinstance(flux, Flux) or flux not in ("auto", "sg"):
        raise ValueError(f"flux must be auto or sg on a polar grid, got {flux!r}; leave it out")
    return {"sg": PolarFlux(metric)}
