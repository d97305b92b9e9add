r"""Fluxes on a polar grid, Euclidean or in a lazy metric, and on the radius of the plane.

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

Potentials on a polar grid are those of the centres, and the flux is of second order.

On the radius of the plane the flux is :math:`F_r`, with potentials at the nodes :math:`n_K^2 =
r_K^2 + h^2 / 12` (`Radius.nodes`) and :math:`p_K = r_K \rho(n_K)`. Expanded in h it is more than
the flux F of the equation by

.. math:: \frac{h^2}{12} \left[F'' - \tfrac{1}{2} \tfrac{F'}{r} + u F' - \left(u' +
   \tfrac{u}{r}\right) F\right], \quad u = \Phi' / \beta,

the divergence's own h^2 F'' / 24 among it. What it should be is not F: p_K stands for :math:`p +
\tfrac{h^2}{24} (p/r)'`, which moves with the flux :math:`F + \tfrac{h^2}{24} F'/r`. Over that one
it is :math:`\tfrac{h^2}{12} [F'' - F'/r + u F' - (u' + u/r) F]`, of which the first three terms are
:math:`\epsilon = h^2 / (12 \beta)` times the flux of :math:`A p`, a lag; the last goes with the
factor :math:`1 + \tfrac{h^2}{12 \beta} \Delta \Phi` of the rates. So the compact flux (see `flux`)
is of fourth order up to r = 0, where it would be of second order with the potential :math:`\Phi -
\beta \log r` of p, whose differences say little of the logarithm there. The flux ``rl`` keeps that
potential.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from meanfield_pde.eulerian import _step_kernels
from meanfield_pde.eulerian.flux import (
    FLUXES,
    Ends,
    Flux,
    Generator,
    LinearFlux,
    ScharfetterGummel,
)
from meanfield_pde.measures.chart import Polar, Radius
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


@dataclass(frozen=True, eq=False)
class RadialFlux(LinearFlux):
    """The flux ``sg`` or ``compact`` on the radius of the plane, where these names mean it.

    Parameters
    ----------
    grid : Grid
    lags : bool
        Whether it is the compact one.
    """

    grid: Grid
    lags: bool = False

    @property
    def name(self) -> str:  # type: ignore[override]
        """What it is in the plane."""
        return "compact" if self.lags else "sg"

    def fill(
        self, phi: Array, spacing: float, beta: float, ends: Ends, rates: Sequence[Array]
    ) -> None:
        """Fill the rates down and up the faces of the line, for the potential that p has."""
        filled, scale = np.empty((3, *phi.shape)), 1.0 / (spacing * spacing)
        how = (False, ends.mirror), self.lags, self._metric
        _step_kernels.line_rates(phi[0, :, 0], beta, scale, *how, filled)
        for out, values in zip(rates, filled, strict=False):
            out[:] = values

    def metric(self, grid: Grid) -> Array:
        """Logarithms of the radii, and lengths of the faces over the radii beside them."""
        return self._metric

    @cached_property
    def _metric(self) -> Array:
        r, face = self.grid.axes[0], self.grid.faces[0][1:]
        spread = 2.0 * self.grid.spacing[0] / face
        # The wall is last, and has no rates.
        return np.stack([np.log(r), spread, face / r, face / np.roll(r, -1)])


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
        if isinstance(grid.chart, Radius) and grid.chart.dim == 2:
            return {**FLUXES, "sg": RadialFlux(grid), "compact": RadialFlux(grid, lags=True)}
        return FLUXES
    if isinstance(flux, Flux) or flux not in ("auto", "sg"):
        raise ValueError(f"flux must be auto or sg on a polar grid, got {flux!r}; leave it out")
    return {"sg": PolarFlux(metric)}
