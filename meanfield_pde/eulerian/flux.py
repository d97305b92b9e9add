r"""Numerical fluxes: the equation in space.

``sg``. The Scharfetter-Gummel flux through the face between cells K and L is

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

``rl``. Where the cell Peclet number |q| is above 1, Scharfetter-Gummel diffuses too much (by 31
% at |q| = 2; it is first-order upwind for |q| >> 1). The ratio-limited flux replaces it by the
limited central flux that has the right diffusion,

.. math:: F_{HO} = t [D (\rho_K - \rho_L) + (-\Delta\Phi)^+ (\rho_K + \tfrac{\phi}{2} s_K)
   - (\Delta\Phi)^+ (\rho_L - \tfrac{\phi}{2} s_L)], \quad \phi = \coth(|q|/2) - 2/|q|,

with s the monotonised central slope, but no further than a factor 2 from F_SG either way. So it
vanishes where F_SG does (the same stationary states, and no others), dissipates at least half
as much, and is positive under a bound in which only the convective rates are doubled. At beta =
0 it is MUSCL (Carrillo, Chertock and Huang 2015). Near equilibrium in unresolved regions the
relaxation rate may be off by a factor 2.

``compact``. On point values a two-point flux with the potential's differences has the error
:math:`\tfrac{h^2}{12} (F'' + u F' - u' F)`, :math:`u = \Phi' / \beta`: a multiple of the exact
flux F and its derivatives, whatever the density. The last term goes when the rates both ways are
multiplied by :math:`1 + h^2 \Phi'' / (12 \beta)`. The rest is :math:`\epsilon` times the flux of
:math:`A \rho`, with :math:`\epsilon = h^2 / (12 \beta)`: the discrete generator is :math:`A +
\epsilon A^2`. Such an error is one in time, and a stepper takes it away by letting the flux lag
by :math:`\epsilon`, with no wider stencil: what is left is of fourth order in h for point values,
and the stationary states are the same. It is the density that lags, in the potential of the step's
middle: with a potential that lagged as well the order of a flow whose potential moves would be two.
For larger Peclet numbers the lag of a face is

.. math:: \epsilon = \frac{h^2}{\beta} \frac{(q/2) \coth(q/2) - 1}{q^2}
   = \frac{\text{excess diffusion}}{(\Phi')^2},

which takes away the excess diffusion of Scharfetter-Gummel at any q; it is h / (2 |Phi'|) at beta
= 0, where upwind steps of Courant number 1 are exact. The factor of the rates is tapered off by
the square of the same function of q, and kept in [1/2, 2]. Densities being cell averages and
stationary states point values, the error that remains is that between the two, h^2 / 24 times
second derivatives. Where mass meets a wall with a sloping potential the two are not the same
there, and the order is two. In the heat equation this is the compact scheme of Crandall (1955).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from meanfield_pde.eulerian import _kernels, _line_kernels
from meanfield_pde.measures.chart import Mirrors, Radius
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.order_free import folded_sum


class Transport(ABC):
    """A flux for a given potential: what explicit steppers need."""

    grid: Grid

    @property
    @abstractmethod
    def outflow(self) -> float:
        """Largest rate at which a cell can lose mass.

        An explicit step up to its inverse keeps the density nonnegative.
        """

    @abstractmethod
    def advance(self, rho: Array, source: Array, dt: float) -> Array:
        """``rho - dt div F(source)``: what leaves one cell enters another."""

    @abstractmethod
    def along(self, axes: tuple[int, ...]) -> Transport:
        """Return the transport through the faces of some axes alone: nothing crosses the others."""

    def dissipation(self, rho: Array, xi: Array) -> float:
        """``sum_K |K| xi_K div F_K``, the rate at which the free energy falls."""
        change = rho - self.advance(rho, rho, 1.0)
        return float((change * xi).sum()) * self.grid.volume


@dataclass(frozen=True, eq=False)
class Generator(Transport):
    """A Markov generator on the cells: rates down (forward) and up (backward) each face.

    ``forward[a]`` and ``backward[a]`` have shape (nx, ny) for axis a (ny = 1 in 1D); see
    `_kernels`. ``lag`` is the time, for each face, by which second-order steppers let its flux
    lag behind (None for no lag): see the compact flux; ``mirror_lag`` is that of the lower wall of
    each axis, where a mirror makes a face of it.
    """

    grid: Grid
    forward: Array
    backward: Array
    lag: Array | None = None
    mirror_lag: tuple[float, float] = (0.0, 0.0)

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

    def along(self, axes: tuple[int, ...]) -> Generator:
        """Return the rates with 0 on the faces of other axes."""
        kept = _mask(axes)
        lag = None if self.lag is None else kept * self.lag
        return Generator(self.grid, kept * self.forward, kept * self.backward, lag)

    def mean_lag(self, rho: Array, most: float) -> float:
        """Lag that the mass sees on average, no face counting more than ``most``."""
        return 0.0 if self.lag is None else mean_lag(self.lag, rho, most, self.mirror_lag)

    def matrix(self) -> scipy.sparse.csc_array:
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
        return scipy.sparse.csc_array(entries, shape=(nx * ny, nx * ny))

    def dissipation(self, rho: Array, xi: Array) -> float:
        """``sum_faces |face| F (xi_K - xi_L)``: the rate at which the free energy falls."""
        shape = self.forward.shape[1:]
        r, x = rho.reshape(shape), xi.reshape(shape)
        total = 0.0
        for axis in (0, 1):
            flux = self.forward[axis] * r - self.backward[axis] * np.roll(r, -1, axis=axis)
            total += float((flux * (x - np.roll(x, -1, axis=axis))).sum())
        return total * self.grid.volume


@dataclass(frozen=True, eq=False)
class LimitedTransport(Transport):
    """The ratio-limited flux: a generator's rates with the weights of the slopes."""

    generator: Generator
    weight: Array

    @property
    def grid(self) -> Grid:  # type: ignore[override]
        """Grid of the generator."""
        return self.generator.grid

    @property
    def outflow(self) -> float:
        """Largest rate of loss, convective parts doubled."""
        rates = self.generator
        return float(_kernels.largest_limited_outflow(rates.forward, rates.backward))

    def along(self, axes: tuple[int, ...]) -> LimitedTransport:
        """Return rates and slopes with 0 on the faces of other axes."""
        return LimitedTransport(self.generator.along(axes), _mask(axes) * self.weight)

    def advance(self, rho: Array, source: Array, dt: float) -> Array:
        """``rho - dt div F(source)``."""
        rates = self.generator
        shape = rates.forward.shape[1:]
        out = np.empty(shape)
        _kernels.limited_flux_form(
            rho.reshape(shape),
            source.reshape(shape),
            rates.forward,
            rates.backward,
            self.weight,
            dt,
            _wraps(rates.grid),
            np.empty_like(rates.forward),
            out,
        )
        return out.reshape(rates.grid.shape)


def mean_lag(lag: Array, rho: Array, most: float, at_mirror: tuple[float, float]) -> float:
    """Lag (2, nx, ny) that the mass sees on average, no face counting more than ``most``."""
    seen = np.empty(lag.shape[1:])
    _kernels.lags_of_cells(lag, most, *at_mirror, seen)
    seen = seen.reshape(rho.shape)
    seen *= rho
    return folded_sum(seen) / folded_sum(rho)


@dataclass(frozen=True)
class Ends:
    """What is beyond the ends of lines: the other end, or at the lower one the mirror's image.

    The centre of the plane mirrors its radius.
    """

    periodic: bool
    mirror: bool


def ends_of(grid: Grid, axis: int) -> Ends:
    """Return what is beyond the ends of the lines along an axis of a grid."""
    chart = grid.chart
    mirror = isinstance(chart, Mirrors) and axis in chart.axes
    centre = isinstance(chart, Radius) and chart.size == 2 and grid.lower[0] == 0
    return Ends(grid.wraps[axis], mirror or centre)


def mirror_lag(grid: Grid, beta: float) -> tuple[float, float]:
    """Lag at the mirrors of a grid: no potential drops there, so that of pure diffusion."""
    lags = [0.0, 0.0]
    for axis, h in enumerate(grid.spacing):
        if beta > 0 and grid.cells[axis] > 1 and ends_of(grid, axis).mirror:
            lags[axis] = h * h / (12.0 * beta)
    return lags[0], lags[1]


class Flux(ABC):
    """How a potential becomes fluxes through faces.

    ``linear``: whether it is made of rates, which implicit steppers need; ``lags``: whether its
    faces have lags.
    """

    name: str
    linear: bool = False
    lags: bool = False

    @abstractmethod
    def transport(self, grid: Grid, potential: Array, beta: float) -> Transport:
        """Flux for the potential of the cells (of grid shape) and diffusion beta."""


class LinearFlux(Flux):
    """A flux made of rates: each depends on the potential along one line of cells."""

    linear = True

    @abstractmethod
    def fill(
        self, phi: Array, spacing: float, beta: float, ends: Ends, rates: Sequence[Array]
    ) -> None:
        """Fill the rates down and up the faces, and the lags where there are any.

        The potential phi and all rates have shape (blocks, n, m), their lines along the middle.
        """

    def metric(self, grid: Grid) -> Array | None:
        """Metric of a line (see `_step_kernels`), or None, as for every flux with rates of its own.

        Where there is one, steps of MPRK22 on a line compute Scharfetter-Gummel's rates in that
        metric (with ``lags`` those of the compact flux) and do not call `fill`.
        """
        return None

    def transport(self, grid: Grid, potential: Array, beta: float) -> Generator:
        """Rates (and lags) of all faces."""
        phi = _with_two_axes(grid, potential)
        rates = np.empty((3 if self.lags else 2, 2, *phi.shape))
        columns = [values[0][None] for values in rates]
        self.fill(phi[None], grid.spacing[0], beta, ends_of(grid, 0), columns)
        if phi.shape[1] == 1:
            rates[:, 1] = 0.0
        else:
            blocks = np.empty((len(rates) + 1, *_line_kernels.blocks(phi.shape, 1)))
            _line_kernels.pack(phi, 1, blocks[-1])
            self.fill(blocks[-1], grid.spacing[1], beta, ends_of(grid, 1), list(blocks[:-1]))
            for values, out in zip(blocks, rates[:, 1], strict=False):
                _line_kernels.unpack(values, 1, out)
        lag = rates[2] if self.lags else None
        return Generator(grid, rates[0], rates[1], lag, mirror_lag(grid, beta))


@dataclass(frozen=True)
class ScharfetterGummel(LinearFlux):
    """The Scharfetter-Gummel flux; upwind at beta = 0."""

    name = "sg"

    def fill(
        self, phi: Array, spacing: float, beta: float, ends: Ends, rates: Sequence[Array]
    ) -> None:
        """Fill the rates down and up the faces of lines."""
        forward, backward = rates
        scale = 1.0 / (spacing * spacing)
        _kernels.scharfetter_gummel_rates(phi, beta, scale, ends.periodic, forward, backward)

    def metric(self, grid: Grid) -> Array | None:
        """Return that of a straight line; None where `fill` is another."""
        return straight(grid) if type(self) is ScharfetterGummel else None


@dataclass(frozen=True)
class Compact(LinearFlux):
    """The compact flux: its lags are used by the implicit steppers of second order.

    Explicit steps and ``b1`` use its rates alone, and are of second order in space.
    """

    name = "compact"
    lags = True

    def fill(
        self, phi: Array, spacing: float, beta: float, ends: Ends, rates: Sequence[Array]
    ) -> None:
        """Fill the rates down and up the faces of lines, and their lags."""
        ScharfetterGummel().fill(phi, spacing, beta, ends, rates[:2])
        scale = 1.0 / (spacing * spacing)
        spread = np.zeros(phi.shape[1])
        _kernels.compact_rates(phi, beta, scale, ends.periodic, ends.mirror, spread, *rates)

    def metric(self, grid: Grid) -> Array | None:
        """Return that of a straight line; None where `fill` is another."""
        return straight(grid) if type(self) is Compact else None


@dataclass(frozen=True)
class RatioLimited(Flux):
    """The ratio-limited flux; MUSCL at beta = 0. For explicit steppers."""

    name = "rl"

    def transport(self, grid: Grid, potential: Array, beta: float) -> LimitedTransport:
        """Rates of all faces and weights of the slopes."""
        generator = ScharfetterGummel().transport(grid, potential, beta)
        phi = _with_two_axes(grid, potential)
        scale = np.array([1.0 / (h * h) for h in grid.spacing] + [0.0])[:2]
        weight = np.empty_like(generator.forward)
        _kernels.limited_weights(phi, beta, scale, generator.forward, generator.backward, weight)
        return LimitedTransport(generator, weight)


def straight(grid: Grid) -> Array:
    """Metric of a straight line."""
    return np.repeat([[0.0], [0.0], [1.0], [1.0]], grid.size, axis=1)


def _with_two_axes(grid: Grid, values: Array) -> Array:
    shape = grid.cells if grid.dim == 2 else (grid.cells[0], 1)
    return np.ascontiguousarray(values).reshape(shape)


def _wraps(grid: Grid) -> tuple[bool, bool]:
    return grid.wraps[0], grid.wraps[-1]


def _mask(axes: tuple[int, ...]) -> Array:
    """Return 1 for the given axes of the rates and 0 for the others."""
    return np.isin([0, 1], axes)[:, None, None].astype(np.float64)


FLUXES: dict[str, Flux] = {"sg": ScharfetterGummel(), "rl": RatioLimited(), "compact": Compact()}
