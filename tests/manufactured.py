r"""Problems made to have a known law at every time, neither Gaussian nor in a quadratic potential.

Choose phi and lambda, and solve ``beta phi'' - V' phi' = -lambda phi`` for V. Then phi is an
eigenfunction of the generator, and with the clock S of the flow

    rho(t, x) = m(x) (1 + c exp(-lambda S(t)) phi(x)),    m = exp(-V / beta) / Z,

solves the equation, provided that no mass crosses the walls: ``m phi' = 0`` there. That phi has
mean zero under m follows. Products of two such laws solve the equation in the plane, along any
pair of orthogonal axes. A kernel W may be added where its convolution with all but m m' of the law
vanishes: the potential ``V - W * m`` then leaves the law as it was.

For stationary laws anything goes: ``V = -beta log m - W * m`` makes m stationary for every m and W.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from problems import box

import meanfield_pde as mf

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Line:
    """One dimension: V with an eigenfunction phi, functions of numbers, on an interval.

    ``slope`` is phi'; ``c`` is the share of phi at time 0, with ``1 + c phi > 0``.
    """

    name: str
    potential: Function
    phi: Function
    slope: Function
    eigenvalue: float
    beta: float
    c: float
    lower: float
    upper: float
    periodic: bool = False

    @cached_property
    def rule(self):
        """Nodes and weights of 60 Gauss points on each of 40 panels."""
        x, w = np.polynomial.legendre.leggauss(60)
        ends = np.linspace(self.lower, self.upper, 41)
        half = 0.5 * np.diff(ends)[:, None]
        return (0.5 * (ends[:-1] + ends[1:])[:, None] + half * x).ravel(), (half * w).ravel()

    @cached_property
    def log_partition(self):
        x, w = self.rule
        return float(np.log(w @ np.exp(-self.potential(x) / self.beta)))

    def rest(self, x):
        """Stationary law m."""
        return np.exp(-self.potential(x) / self.beta - self.log_partition)

    def law(self, x, clock):
        decay = np.exp(-self.eigenvalue * clock)
        return self.rest(x) * (1 + self.c * decay * self.phi(x))


def waves(epsilon=0.15, beta=0.2, c=0.6, shift=0.0, periodic=False):
    """phi = cos u + eps cos 3u, u = pi x: between walls at 0 and 1, or on a circle of length 2.

    V' has no pole where phi' vanishes if lambda = beta pi^2 (1 + 9 eps) / (1 + eps); V is then
    elementary, with period 1.
    """

    def angle(x):
        return np.pi * (x - shift)

    def potential(x):
        inner = 1 + 9 * epsilon - 12 * epsilon * np.sin(angle(x)) ** 2
        return 4 * beta / (3 * (1 + epsilon)) * np.log(inner)

    return Line(
        "waves",
        potential,
        lambda x: np.cos(angle(x)) + epsilon * np.cos(3 * angle(x)),
        lambda x: -np.pi * (np.sin(angle(x)) + 3 * epsilon * np.sin(3 * angle(x))),
        beta * np.pi**2 * (1 + 9 * epsilon) / (1 + epsilon),
        beta,
        c,
        0.0,
        2.0 if periodic else 1.0,
        periodic,
    )


def hopping(eigenvalue=0.2, beta=0.5, c=0.9, half=4.0):
    """phi = tanh x: V = lambda sinh(x)^2 / 2 - 2 beta log cosh x, two wells for lambda < 2 beta."""
    return Line(
        "hopping",
        lambda x: 0.5 * eigenvalue * np.sinh(x) ** 2 - 2 * beta * np.log(np.cosh(x)),
        np.tanh,
        lambda x: np.cosh(x) ** -2.0,
        eigenvalue,
        beta,
        c,
        -half,
        half,
    )


def slanted(eigenvalue=1.0, beta=0.5, c=0.6, shift=0.3, half=5.0):
    """phi = arctan(x - shift), with a potential that grows as |x|^3."""

    def potential(x):
        y, log = x - shift, np.log1p((x - shift) ** 2)
        rise = (y + y**3 / 3) * np.arctan(y) - y**2 / 6 - log / 3
        return eigenvalue * rise - beta * log

    return Line(
        "slanted",
        potential,
        lambda x: np.arctan(x - shift),
        lambda x: 1 / (1 + (x - shift) ** 2),
        eigenvalue,
        beta,
        c,
        -half,
        half,
    )


def breathing(eigenvalue=3.0, beta=0.5, c=3.0, half=6.5):
    """phi = cosh x - 1 - beta / lambda: even, in V = 2 (beta + lambda) log cosh(x / 2)."""
    return Line(
        "breathing",
        lambda x: 2 * (beta + eigenvalue) * np.log(np.cosh(0.5 * x)),
        lambda x: np.cosh(x) - 1 - beta / eigenvalue,
        np.sinh,
        eigenvalue,
        beta,
        c,
        -half,
        half,
    )


def singular(beta=0.5, c=0.7):
    """phi = sin x in the Poeschl-Teller potential -2 beta log cos x, infinite at the walls."""
    return Line(
        "singular",
        lambda x: -2 * beta * np.log(np.cos(x)),
        np.sin,
        np.cos,
        3 * beta,
        beta,
        c,
        -0.5 * np.pi,
        0.5 * np.pi,
    )


@dataclass(frozen=True, eq=False)
class Manufactured:
    """A problem with the law ``law(z, t)`` at points z of shape (..., dim), for 0 <= t <= t1.

    Parameters
    ----------
    lines : tuple of Line
        One a dimension.
    cells : tuple of int
        Numbers of cells a dimension for a refinement study.
    turn : float
        Angle between the lines' axes and the grid's (2D boxes only).
    pull : float
        Strength of a kernel of period 1, ``W = -pull prod cos(2 pi z_a)``: blind to what differs
        from m in the law of `waves` on circles, which has odd harmonics of period 2 alone.
    half : float
        Half the side of the box; the lines' own box where it is 0.
    """

    name: str
    lines: tuple[Line, ...]
    cells: tuple[int, ...]
    t1: float
    turn: float = 0.0
    pull: float = 0.0
    rate: Callable[[float], float] | None = None
    half: float = 0.0

    def grid(self, n):
        first, dim = self.lines[0], len(self.lines)
        make = mf.Grid.torus if first.periodic else mf.Grid.box
        if self.half:
            return make((-self.half,) * dim, (self.half,) * dim, (n,) * dim)
        return make([a.lower for a in self.lines], [a.upper for a in self.lines], (n,) * dim)

    def along(self, z):
        """Coordinates along the lines."""
        if len(self.lines) == 1:
            return (z[..., 0],)
        x, y = z[..., 0], z[..., 1]
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        return cos * x + sin * y, cos * y - sin * x

    def potential(self, z):
        """V, less the kernel's convolution with m."""
        total = sum(a.potential(x) for a, x in zip(self.lines, self.along(z), strict=True))
        if not self.pull:
            return total
        factors = []
        for a, x in zip(self.lines, self.along(z), strict=True):
            nodes, weights = a.rule
            wave = weights * a.rest(nodes) @ np.exp(2j * np.pi * nodes)
            factors.append((np.exp(2j * np.pi * x) * wave.conjugate()).real)
        return total + self.pull * np.prod(factors, axis=0)

    def kernel(self, dz):
        return -self.pull * np.cos(2 * np.pi * dz).prod(-1)

    def law(self, z, t):
        clock = self.flow.clock(0.0, t)
        parts = [a.law(x, clock) for a, x in zip(self.lines, self.along(z), strict=True)]
        return np.prod(parts, axis=0)

    @cached_property
    def energy(self):
        energy = mf.Potential(self.potential) + self.lines[0].beta * mf.Entropy()
        return energy + mf.Interaction(self.kernel) if self.pull else energy

    @cached_property
    def flow(self):
        return mf.GradientFlow(self.energy, self.rate)

    def at(self, grid, t):
        """Cell averages, by eight Gauss nodes a dimension and cell."""
        return mf.Density.from_function(grid, lambda z: self.law(z, t), nodes=8)

    def problem(self, n):
        return self.on(self.grid(n))

    def on(self, grid):
        return mf.Problem(self.flow, self.at(grid, 0.0), self.t1)


CIRCLE = waves(shift=0.13, periodic=True)
MANUFACTURED = {
    made.name: made
    for made in (
        Manufactured("waves-between-walls", (waves(),), (20, 40, 80), 0.25),
        Manufactured("waves-on-a-circle", (CIRCLE,), (40, 80, 160), 0.25, pull=0.4),
        Manufactured("hopping", (hopping(),), (100, 200, 400), 1.0),
        Manufactured("slanted", (slanted(),), (80, 160, 320), 1.0, rate=lambda t: 1 / (1 + t)),
        Manufactured("breathing", (breathing(),), (100, 200, 400), 0.25),
        Manufactured("singular", (singular(),), (20, 40, 80), 0.5),
        Manufactured("waves-in-a-square", (waves(), waves(0.05, c=-0.5)), (16, 32, 64), 0.15),
        Manufactured(
            "waves-on-a-torus",
            (CIRCLE, waves(0.05, c=-0.5, periodic=True)),
            (24, 48, 96),
            0.15,
            pull=0.4,
        ),
        Manufactured("turned", (breathing(), slanted()), (40, 80, 160), 0.25, 0.5, half=5.0),
    )
}
"""All problems by name."""


@dataclass(frozen=True, eq=False)
class Resting:
    """Any law m as the stationary one of a nonlinear equation, by V = -beta log m - W * m."""

    name: str
    law: Callable[[np.ndarray], np.ndarray]
    kernel: Function
    beta: float
    grid: Callable[[int], mf.Grid]
    cells: tuple[int, ...]

    @cached_property
    def rule(self):
        """Nodes and masses: 30 Gauss points on each of 40 panels."""
        grid = self.grid(40)
        x, w = np.polynomial.legendre.leggauss(30)
        nodes = (grid.axes[0][:, None] + 0.5 * grid.spacing[0] * x).ravel()[:, None]
        masses = np.tile(0.5 * grid.spacing[0] * w, 40) * self.law(nodes)
        return nodes, masses

    @property
    def mass(self):
        return float(self.rule[1].sum())

    def potential(self, z):
        nodes, masses = self.rule
        pulled = sum(w * self.kernel(z - y) for y, w in zip(nodes, masses, strict=True))
        return -self.beta * np.log(self.law(z)) - pulled / self.mass

    @cached_property
    def energy(self):
        V, W = mf.Potential(self.potential), mf.Interaction(self.kernel)
        return V + W + self.beta * mf.Entropy()

    def at(self, grid):
        return mf.Density.from_function(grid, lambda z: self.law(z) / self.mass, nodes=8)


def two_bumps(z):
    x = z[..., 0]
    return np.exp(-2 * (x - 0.8) ** 2) + 0.7 * np.exp(-((x + 0.8) ** 2))


RESTING = {
    resting.name: resting
    for resting in (
        Resting(
            "attracting bumps",
            two_bumps,
            lambda dz: -0.5 * np.exp(-0.5 * dz[..., 0] ** 2),
            0.8,
            box(5.0),
            (50, 100, 200),
        ),
        Resting(
            "spring", two_bumps, lambda dz: 0.1 * dz[..., 0] ** 2, 0.8, box(5.0), (50, 100, 200)
        ),
        Resting(
            "circle",
            lambda z: np.exp(np.sin(z[..., 0]) + 0.5 * np.cos(2 * z[..., 0])),
            lambda dz: -np.cos(dz[..., 0]) + 0.3 * np.cos(2 * dz[..., 0]),
            0.4,
            partial(mf.Grid.torus, -np.pi, np.pi),
            (24, 48, 96),
        ),
    )
}
"""Stationary laws by name."""
