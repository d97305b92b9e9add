"""Problems with exact answers, each one object: what is solved, and what must come out.

No digit of an answer is typed here. Answers come from closed forms, from ordinary differential
equations for moments or Fourier coefficients (relative tolerance 1e-12), or from quadrature, and
none of that uses the solver under test. Initial and final densities are exact cell averages.

A `Flow` has an answer at its end time, a `Stationary` law is reached at late times, a `Transition`
is the diffusion at which a second stationary law appears.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from functools import partial

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.special import i0, i1

import meanfield_pde as mf
from meanfield_pde.eulerian.flux import Flux, Generator

Quantity = Callable[[mf.Density], float]


def grow(rhs, y0, t1):
    """Solve y' = rhs(y) to t1."""
    found = solve_ivp(lambda t, y: rhs(y), (0, t1), y0, "DOP853", rtol=1e-12, atol=1e-14)
    return found.y[:, -1]


def gibbs_rule(potential, beta):
    """Nodes and probabilities of the law ~ exp(-potential / beta) on [-5, 5], and log Z."""
    x, w = np.polynomial.legendre.leggauss(300)
    x, w = 5 * x, 5 * w
    lowest = potential(x).min()
    w = w * np.exp((lowest - potential(x)) / beta)
    return x, w / w.sum(), float(np.log(w.sum()) - lowest / beta)


def half_square(z):
    return 0.5 * (z**2).sum(-1)


def mean(rho, axis=0):
    return float(rho.mean()[axis])


def variance(rho):
    return float(rho.cov()[0, 0])


def power(rho, k):
    """Real part of the integral of z^k, z = x + iy."""
    return float(rho.expect(lambda z: ((z[..., 0] + 1j * z[..., 1]) ** k).real))


def harmonic(rho, k=1):
    return float(rho.expect(lambda z: np.cos(k * z[..., 0])))


@dataclass(frozen=True, eq=False)
class Flow:
    """A gradient flow whose law at ``t1`` is known.

    Parameters
    ----------
    grid : callable
        Number of cells a dimension to a grid.
    cells : tuple of int
        Numbers of cells for a refinement study, the problem resolved on all of them.
    start, end : callable
        Grid to exact cell averages at 0 and at t1; ``end`` is None where only moments are known.
    answers : mapping
        Name to (function of a density, exact value at t1).
    reached : float
        L1 error that a good second-order scheme reaches on the last of ``cells``; infinite where
        nobody measured one.
    """

    name: str
    energy: mf.Energy
    grid: Callable[[int], mf.Grid]
    cells: tuple[int, ...]
    t1: float
    start: Callable[[mf.Grid], mf.Density]
    end: Callable[[mf.Grid], mf.Density] | None = None
    answers: Mapping[str, tuple[Quantity, float]] = field(default_factory=dict)
    rate: Callable[[float], float] | None = None
    reached: float = np.inf
    reaction: Mapping[str, float | bool] = field(default_factory=dict)
    """Arguments of the flow that make it react."""

    def problem(self, cells: int) -> mf.Problem:
        flow = mf.GradientFlow(self.energy, self.rate, **self.reaction)
        return mf.Problem(flow, self.start(self.grid(cells)), self.t1)


@dataclass(frozen=True, eq=False)
class Stationary:
    """A gradient flow with a stationary law, from starts that fall to it."""

    name: str
    energy: mf.Energy
    grid: mf.Grid
    starts: tuple[mf.Density, ...]
    answers: tuple[Mapping[str, tuple[Quantity, float]], ...]


@dataclass(frozen=True, eq=False)
class Transition:
    """Energies by their beta; the symmetric law loses stability below ``critical``."""

    name: str
    energy: Callable[[float], mf.Energy]
    grid: mf.Grid
    critical: float
    order: Quantity
    """What vanishes above and does not below."""
    branch: Callable[[float], float]
    """Exact value of ``order`` below."""


def box(half, dim=1):
    """Grids of a centred box."""
    corner = half if dim == 1 else (half,) * dim
    return lambda n: mf.Grid.box(-np.asarray(corner), corner, n if dim == 1 else (n,) * dim)


def circle(n):
    return mf.Grid.torus(-np.pi, np.pi, n)


# -- the equation in space alone, slowly


def generator(grid, potential, beta):
    """Matrix A of the semi-discrete equation rho' = A rho, face by face from the flux's formula.

    The rate from K to L is beta B(q) / h^2 with B(q) = q / (e^q - 1) and q = (Phi_L - Phi_K) /
    beta; upwind, max(Phi_K - Phi_L, 0) / h^2, where beta = 0.
    """

    def rate(difference, h):
        if beta == 0:
            return max(-difference, 0.0) / h**2
        q = difference / beta
        if abs(q) > 700:  # e^q is no number: the limits of B
            return beta * max(-q, 0.0) / h**2
        return beta * (q / np.expm1(q) if q else 1.0) / h**2

    matrix = np.zeros((grid.size, grid.size))
    for here in np.ndindex(grid.shape):
        for axis, (n, h) in enumerate(zip(grid.cells, grid.spacing, strict=True)):
            for step in (-1, 1):
                place = here[axis] + step
                if n == 1 or not (grid.periodic or 0 <= place < n):
                    continue
                there = (*here[:axis], place % n, *here[axis + 1 :])
                k, target = (np.ravel_multi_index(index, grid.shape) for index in (here, there))
                leaving = rate(potential[there] - potential[here], h)
                matrix[target, k] += leaving
                matrix[k, k] -= leaving
    return matrix


def excess(q):
    """``((q/2) coth(q/2) - 1) / q^2``, by 60 decimal digits; 1/12 at q = 0."""
    with localcontext() as context:
        context.prec = 60
        half = abs(Decimal(float(q))) / 2
        if half < Decimal("1e-15"):
            return 1 / 12
        up, down = half.exp(), (-half).exp()
        return float((half * (up + down) / (up - down) - 1) / (4 * half * half))


def compact_faces(grid, potential, beta, spread=None):
    """Factors of the rates, and lags, of the compact flux at the upper faces, face by face.

    The factor is ``1 + (h^2 Phi'' / 12 beta) (12 excess)^2``, within [1/2, 2], with the mean of
    the second differences at both cells, or the one there is beside a wall; the lag is ``h^2
    excess / beta``, or ``h / (2 |Phi'|)`` at beta = 0. On a curved line ``spread`` is twice what a
    difference of Phi at each face adds to these second differences.
    """
    spread = np.zeros(grid.shape) if spread is None else spread
    factor, lag = np.ones((2, grid.dim, *grid.shape))
    lag[:] = 0.0
    for here in np.ndindex(grid.shape):
        for axis, (n, h) in enumerate(zip(grid.cells, grid.spacing, strict=True)):

            def phi(step, here=here, axis=axis, n=n):
                place = here[axis] + step
                if not (grid.periodic or 0 <= place < n):
                    return None
                return potential[(*here[:axis], place % n, *here[axis + 1 :])]

            around = [phi(step) for step in (-1, 0, 1, 2)]
            if n == 1 or around[2] is None:
                continue
            drop = around[2] - around[1]
            if beta == 0:
                lag[(axis, *here)] = 0.5 * h**2 / abs(drop) if drop else 0.0
                continue
            triples = [x for x in (around[:3], around[1:]) if None not in x]
            bends = [a - 2 * b + c for a, b, c in triples]
            bend = sum(bends) / max(len(bends), 1) + 0.5 * spread[here] * drop
            share = excess(drop / beta)
            lag[(axis, *here)] = h**2 / beta * share
            full = 1 + bend / (12 * beta) * (12 * share) ** 2
            factor[(axis, *here)] = min(max(full, 0.5), 2.0)
    if grid.dim == 1:  # kernels have two axes
        factor, lag = (np.stack([x[0], fill + 0 * x[0]]) for x, fill in ((factor, 1), (lag, 0)))
    return factor, lag


def method_of_lines(energy, rho, t1):
    """Cell averages at t1 of the semi-discrete equation, without error in time to speak of."""
    grid = rho.grid

    def rhs(y):
        phi = energy.smooth.potential(mf.Density(grid, np.maximum(y, 0.0).reshape(grid.shape)))
        return generator(grid, phi, energy.beta) @ y

    return grow(rhs, rho.values.ravel(), t1).reshape(grid.shape)


class Upwind(Flux):
    """A planted fault: upwind drift and central diffusion added up.

    Of order 1, and with stationary states other than Gibbs states.
    """

    name = "upwind"

    def transport(self, grid, potential, beta):
        drift = mf.ScharfetterGummel().transport(grid, potential, 0.0)
        diffusion = mf.ScharfetterGummel().transport(grid, np.zeros(grid.shape), beta)
        return Generator(
            grid, drift.forward + diffusion.forward, drift.backward + diffusion.backward
        )


# -- on a line, Gaussian at all times


def _ornstein_uhlenbeck(name, energy, drift_of_mean, rate=None, clock=1.0, reached=np.inf):
    """dX = -(X - shift) dt + sqrt(2 beta) dW with beta = 1/2 from N(1, 0.04)."""
    beta, m0, v0 = 0.5, 1.0, 0.04
    m = m0 * np.exp(-drift_of_mean * clock)
    v = beta + (v0 - beta) * np.exp(-2 * clock)
    return Flow(
        name,
        energy + beta * mf.Entropy(),
        box(6.0),
        (100, 200, 400),
        1.0,
        partial(mf.Density.gaussian, mean=m0, cov=v0),
        partial(mf.Density.gaussian, mean=m, cov=v),
        {"mean": (mean, m), "variance": (variance, v)},
        rate,
        reached,
    )


def ornstein_uhlenbeck():
    """Quadratic potential, with its free energy and its distance to equilibrium as well."""
    flow = _ornstein_uhlenbeck("ornstein-uhlenbeck", mf.Potential(half_square), 1.0, reached=2e-4)
    beta, (m, v) = 0.5, (flow.answers[k][1] for k in ("mean", "variance"))
    free = 0.5 * (m * m + v) - 0.5 * beta * np.log(2 * np.pi * np.e * v)
    far = np.hypot(m, np.sqrt(v) - np.sqrt(beta))

    def to_equilibrium(rho):
        return float(mf.distance.w2(rho.normalised(), mf.Density.gaussian(rho.grid, 0, beta)))

    more = {"free energy": (flow.energy.value, free), "distance": (to_equilibrium, far)}
    object.__setattr__(flow, "answers", {**flow.answers, **more})
    return flow


def slowing_down():
    """The same flow with the rate 1/(1 + t): its clock shows log 2 at t = 1."""
    return _ornstein_uhlenbeck(
        "slowing-down", mf.Potential(half_square), 1.0, lambda t: 1 / (1 + t), np.log(2.0)
    )


def quadratic_attraction():
    """Quadratic kernel: the mean stays, the variance moves as in the quadratic potential."""
    return _ornstein_uhlenbeck("quadratic-attraction", mf.Interaction(half_square), 0.0)


def heat_gaussian():
    v0, t1 = 0.1, 0.2
    return Flow(
        "heat-gaussian",
        1.0 * mf.Entropy(),
        box(6.0),
        (100, 200, 400),
        t1,
        partial(mf.Density.gaussian, mean=0.0, cov=v0),
        partial(mf.Density.gaussian, mean=0.0, cov=v0 + 2 * t1),
        {
            "variance": (variance, v0 + 2 * t1),
            "peak": (lambda rho: float(rho.values.max()), (2 * np.pi * (v0 + 2 * t1)) ** -0.5),
        },
    )


def heat_neumann():
    """One cosine between walls, which decays as exp(-pi^2 t)."""
    t1 = 0.1

    def wave(grid, amplitude):
        rise = np.diff(np.sin(np.pi * grid.faces[0])) / (np.pi * grid.spacing[0])
        return mf.Density(grid, 1 + amplitude * rise)

    a = 0.5 * np.exp(-(np.pi**2) * t1)
    return Flow(
        "heat-neumann",
        1.0 * mf.Entropy(),
        lambda n: mf.Grid.box(0, 1, n),
        (24, 48, 96),
        t1,
        lambda grid: wave(grid, 0.5),
        lambda grid: wave(grid, a),
        {
            "amplitude": (
                lambda rho: 2 * float(rho.expect(lambda z: np.cos(np.pi * z[..., 0]))),
                a,
            ),
            "to uniform": (
                lambda rho: float(mf.distance.l1(rho, mf.Density.uniform(rho.grid))),
                2 * a / np.pi,
            ),
        },
    )


def linear_regression():
    """Unit z x with half the squared loss, slope 2 to be learned, and weight decay: Gaussian."""
    slope, tau, beta, t1, m0, v0 = 2.0, 0.1, 0.05, 1.0, -1.0, 0.25
    data = mf.Data.gauss_hermite(1, 2, lambda x: slope * x[..., 0])  # E x^2 = 1 exactly
    risk = mf.Risk(mf.Unit.ridge("linear"), data, "half_squared")
    rest = slope / (1 + tau)
    m = rest + (m0 - rest) * np.exp(-(1 + tau) * t1)
    v = beta / tau + (v0 - beta / tau) * np.exp(-2 * tau * t1)
    return Flow(
        "linear-regression",
        risk + 0.5 * tau * mf.Penalty() + beta * mf.Entropy(),
        box(5.5),
        (300, 600, 1200),
        t1,
        partial(mf.Density.gaussian, mean=m0, cov=v0),
        partial(mf.Density.gaussian, mean=m, cov=v),
        {
            "mean": (mean, m),
            "variance": (variance, v),
            "risk": (risk.value, 0.5 * (m - slope) ** 2),
        },
    )


def log_kernel():
    """Logarithmic attraction in a quadratic potential: M2' = 2 beta - chi - 2 M2."""
    beta, chi, v0, t1 = 1.0, 1.0, 0.25, 1.0
    attraction = mf.Interaction(lambda dz: np.log(np.abs(dz[..., 0])))
    rest = beta - 0.5 * chi
    return Flow(
        "log-kernel",
        mf.Potential(half_square) + chi * attraction + beta * mf.Entropy(),
        box(6.0),
        (100, 200, 400),
        t1,
        partial(mf.Density.gaussian, mean=0.0, cov=v0),
        None,
        {"second moment": (lambda rho: rho.moment(2), rest + (v0 - rest) * np.exp(-2 * t1))},
    )


# -- birth and death in V = x^2 / 2: Gaussian at all times


def reacting_moments(t, beta=0.0, m0=1.0, v0=0.25, reaction=1.0, entropic=False, transport=True):
    """Mean and variance at t.

    With y = x - m and V = m^2 / 2 + m y + y^2 / 2 the reaction changes the mean by -alpha E[y V] =
    -alpha m v and the variance by -alpha Cov(y^2, V) = -alpha v^2. The entropy adds -beta y^2 / (2
    v) to V, whose covariance with y^2 is -beta v. Transport adds -m and 2 beta - 2 v.
    """
    entropy = beta if entropic else 0.0

    def rhs(y):
        m, v = y
        drift = np.array([-m, 2 * beta - 2 * v]) if transport else 0.0
        return drift - reaction * np.array([m * v, v * (v - entropy)])

    return grow(rhs, [m0, v0], t)


def _reacting(name, beta=0.0, **reaction):
    reaction = {"reaction": 1.0, **reaction}
    m, v = reacting_moments(1.0, beta, **reaction)
    energy = mf.Potential(half_square)
    return Flow(
        name,
        energy + beta * mf.Entropy() if beta else energy,
        box(5.0),
        (100, 200, 400) if beta or not reaction.get("transport", True) else (200, 400, 800),
        1.0,
        partial(mf.Density.gaussian, mean=1.0, cov=0.25),
        partial(mf.Density.gaussian, mean=m, cov=v),
        {"mean": (mean, m), "variance": (variance, v)},
        reaction=reaction,
    )


# -- where drift dominates


def narrow_ornstein_uhlenbeck():
    """Diffusion so small that cell Peclet numbers reach 1 at 400 cells only."""
    beta, m0, v0, t1 = 0.005, 1.0, 0.04, 1.0
    m, v = m0 * np.exp(-t1), beta + (v0 - beta) * np.exp(-2 * t1)
    return Flow(
        "narrow-ornstein-uhlenbeck",
        mf.Potential(half_square) + beta * mf.Entropy(),
        box(3.0),
        (100, 200, 400),
        t1,
        partial(mf.Density.gaussian, mean=m0, cov=v0),
        partial(mf.Density.gaussian, mean=m, cov=v),
        {"mean": (mean, m), "variance": (variance, v)},
        reached=5.8e-3,
    )


def contraction():
    """No diffusion at all: rho(t, x) = e^t rho_0(e^t x)."""
    m0, v0, t1 = 1.0, 0.04, 1.0
    m, v = m0 * np.exp(-t1), v0 * np.exp(-2 * t1)
    return Flow(
        "contraction",
        mf.Potential(half_square),
        box(3.0),
        (100, 200, 400),
        t1,
        partial(mf.Density.gaussian, mean=m0, cov=v0),
        partial(mf.Density.gaussian, mean=m, cov=v),
        {"mean": (mean, m), "variance": (variance, v)},
        reached=1.3e-2,
    )


# -- on a circle


def network_on_circle():
    """Unit cos(z - x) learns 0.8 cos x: Fourier coefficients obey a banded system of equations."""
    beta, target, t1, modes = 0.1, 0.8, 5.0, 40
    data = mf.Data.circle(8, lambda x: target * np.cos(x[..., 0]))  # exact for harmonics up to 3
    risk = mf.Risk(mf.Unit.harmonic(), data, "half_squared")
    k = np.arange(1, modes + 1)

    def rhs(a):
        force = 0.5 * (a[0] - target)
        lower, upper = np.concatenate([[1.0], a[:-1]]), np.concatenate([a[1:], [0.0]])
        return -beta * k**2 * a - 0.5 * force * k * (lower - upper)

    def density(grid, a):
        rises = np.diff(np.sin(np.outer(k, grid.faces[0]))) / (k[:, None] * grid.spacing[0])
        return mf.Density(grid, (1 + 2 * a @ rises) / (2 * np.pi))

    start = np.zeros(modes)
    start[0] = -0.25  # (1 - cos(z) / 2) / 2 pi
    end = grow(rhs, start, t1)
    return Flow(
        "network-on-circle",
        risk + beta * mf.Entropy(),
        circle,
        (32, 64, 128),
        t1,
        lambda grid: density(grid, start),
        lambda grid: density(grid, end),
        {
            "output": (harmonic, end[0]),
            "risk": (risk.value, 0.25 * (end[0] - target) ** 2),
        },
    )


# -- in the plane


def cyclic_mixture(n):
    """n Gaussians on the unit circle, in a quadratic potential with a quadratic kernel."""
    beta, v0, t1 = 0.1, 0.04, 0.25
    angles = 2 * np.pi * np.arange(n) / n
    centres = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    r = np.exp(-2 * t1)
    v = beta / 2 + (v0 - beta / 2) * np.exp(-4 * t1)

    def mixture(grid, radius, spread):
        parts = [mf.Density.gaussian(grid, radius * c, spread) for c in centres]
        return mf.Density.mixture(parts, np.full(n, 1 / n))

    lower = {f"z^{k}": (partial(power, k=k), 0.0) for k in range(1, n)}
    return Flow(
        f"cyclic-mixture-{n}",
        mf.Potential(half_square) + mf.Interaction(half_square) + beta * mf.Entropy(),
        box(2.5, 2),
        (40, 80, 160),
        t1,
        lambda grid: mixture(grid, 1.0, v0),
        lambda grid: mixture(grid, r, v),
        {
            **lower,
            f"z^{n}": (partial(power, k=n), r**n),
            "|z|^2": (lambda rho: rho.moment(2), r * r + 2 * v),
        },
        reached=5.8e-3 if n == 3 else np.inf,
    )


def quadratic_network(beta):
    """Unit z z^T with half the squared loss: drift -2 (Q - Q*) z, Gaussian with moments by ODE."""
    target, t1 = np.diag([1.0, 0.5]), 0.5
    m0, s0 = np.array([0.2, -0.1]), 0.09 * np.eye(2)
    unit = mf.Unit.custom(
        lambda x, z: (z[..., :, None] * z[..., None, :]).reshape(*z.shape[:-1], 4) + 0 * x, 4
    )
    risk = mf.Risk(unit, mf.Data.samples([[0.0]], target.reshape(1, 4)), "half_squared")

    def rhs(y):
        m, s = y[:2], y[2:].reshape(2, 2)
        drift = -2 * (s + np.outer(m, m) - target)
        return np.concatenate([drift @ m, (drift @ s + s @ drift + 2 * beta * np.eye(2)).ravel()])

    end = grow(rhs, np.concatenate([m0, s0.ravel()]), t1)
    m, s = end[:2], end[2:].reshape(2, 2)
    return Flow(
        f"quadratic-network-{beta:g}",
        risk + beta * mf.Entropy(),
        box(5.0, 2),
        (60, 120, 240),
        t1,
        partial(mf.Density.gaussian, mean=m0, cov=s0),
        partial(mf.Density.gaussian, mean=m, cov=s),
        {
            "mean x": (mean, m[0]),
            "mean y": (partial(mean, axis=1), m[1]),
            "xx": (variance, s[0, 0]),
            "xy": (lambda rho: float(rho.cov()[0, 1]), s[0, 1]),
            "yy": (lambda rho: float(rho.cov()[1, 1]), s[1, 1]),
            "risk": (risk.value, 0.5 * ((s + np.outer(m, m) - target) ** 2).sum()),
        },
    )


FLOWS = {
    flow.name: flow
    for flow in (
        ornstein_uhlenbeck(),
        slowing_down(),
        quadratic_attraction(),
        heat_gaussian(),
        heat_neumann(),
        linear_regression(),
        log_kernel(),
        network_on_circle(),
        cyclic_mixture(3),
        cyclic_mixture(4),
        quadratic_network(0.2),
    )
}
"""All flows by name, their diffusion resolved on their grids."""

STEEP = {flow.name: flow for flow in (narrow_ornstein_uhlenbeck(), contraction())}
"""Flows in which drift dominates, for the limited flux; ``reached`` is for that one."""

REACTING = {
    flow.name: flow
    for flow in (
        _reacting("reaction", reaction=2.0, transport=False),
        _reacting("reaction-with-entropy", 0.5, transport=False, entropic=True),
        _reacting("both", 0.5),
        _reacting("both-with-entropy", 0.5, entropic=True),
        _reacting("both-without-diffusion"),
    )
}
"""Flows with birth and death, by name."""


# -- two wells that transport cannot change between


def normal_bump(d):
    return np.exp(-0.5 * d**2) / np.sqrt(2 * np.pi)


def barrier(z):
    return 0.5 * (1 - 0.25 * z**2) ** 2


BUMPS_APART = 0.5 * (normal_bump(0.0) + normal_bump(4.0))
"""int int U dmu* dmu* of mu* = (delta_-2 + delta_2) / 2."""


def two_wells():
    """Half of E = |U (mu - mu*)|^2 + int V0 dmu, but for a constant: E is twice it + BUMPS_APART.

    Where E is published it flows by V = (1/2) dE/dmu, which is the flow of half of E: rates and
    times are the same here.
    """
    outer = mf.Potential(
        lambda z: (
            0.5 * barrier(z[..., 0])
            - 0.5 * (normal_bump(z[..., 0] - 2) + normal_bump(z[..., 0] + 2))
        )
    )
    return outer + mf.Interaction(lambda d: normal_bump(d[..., 0]))


# -- stationary laws


def quartic(z):
    return 0.25 * z[..., 0] ** 4 - 0.5 * z[..., 0] ** 2


def desai_zwanzig_energy(beta, theta=1.0):
    """Double well with a quadratic attraction of strength theta."""
    return mf.Potential(quartic) + theta * mf.Interaction(half_square) + beta * mf.Entropy()


def desai_zwanzig_law(m, theta=1.0):
    """Potential seen by one particle where the mean is m, as a function of a number."""
    return lambda x: 0.25 * x**4 - 0.5 * x**2 + theta * (0.5 * x**2 - m * x)


def desai_zwanzig_mean(beta, theta=1.0):
    """The positive solution of m = <x>_m."""

    def excess(m):
        x, w, _ = gibbs_rule(desai_zwanzig_law(m, theta), beta)
        return w @ x - m

    return brentq(excess, 1e-2, 2.0, xtol=1e-13)


def desai_zwanzig(beta, cells=400):
    """Two laws of opposite mean, from Gaussians on either side."""
    m = desai_zwanzig_mean(beta)
    x, w, log_z = gibbs_rule(desai_zwanzig_law(m), beta)
    v = w @ (x - m) ** 2
    # beta log rho = -law - beta log Z with law = V + x^2/2 - m x; pairs count half in the energy.
    free = -beta * log_z + 0.5 * m * m
    energy = desai_zwanzig_energy(beta)
    grid = mf.Grid.box(-4, 4, cells)
    return Stationary(
        f"desai-zwanzig-{beta:g}",
        energy,
        grid,
        tuple(mf.Density.gaussian(grid, sign * 0.5, 0.25) for sign in (1, -1)),
        tuple(
            {
                "mean": (mean, sign * m),
                "variance": (variance, v),
                "free energy": (energy.value, free),
            }
            for sign in (1, -1)
        ),
    )


def desai_zwanzig_critical(theta=1.0):
    """The symmetric law loses stability where theta Var = beta."""

    def excess(beta):
        x, w, _ = gibbs_rule(desai_zwanzig_law(0.0, theta), beta)
        return theta * (w @ x**2) - beta

    return Transition(
        f"desai-zwanzig-critical-{theta:g}",
        partial(desai_zwanzig_energy, theta=theta),
        mf.Grid.box(-5, 5, 200),
        brentq(excess, 0.1, 2.0, xtol=1e-13),
        mean,
        partial(desai_zwanzig_mean, theta=theta),
    )


def kuramoto_energy(beta, strength=1.0):
    return strength * mf.Interaction(lambda dz: -np.cos(dz[..., 0])) + beta * mf.Entropy()


def kuramoto_order(coupling):
    """The positive solution of r = I1(K r) / I0(K r), K = strength / beta."""
    return brentq(lambda r: i1(coupling * r) / i0(coupling * r) - r, 1e-3, 1 - 1e-12, xtol=1e-14)


def kuramoto(strength, cells=256):
    """Noisy phases that attract each other, at beta = 1; synchronised above strength 2."""
    r = kuramoto_order(strength)
    energy, grid = kuramoto_energy(1.0, strength), circle(cells)
    free = 0.5 * strength * r * r - np.log(2 * np.pi * i0(strength * r))
    starts = tuple(
        mf.Density.from_function(grid, lambda z, s=s: (1 + s * np.cos(z[..., 0])) / (2 * np.pi))
        for s in (0.5, -0.5)
    )
    return Stationary(
        f"kuramoto-{strength:g}",
        energy,
        grid,
        starts,
        tuple({"order": (harmonic, s * r), "free energy": (energy.value, free)} for s in (1, -1)),
    )


def kuramoto_critical():
    return Transition(
        "kuramoto-critical",
        kuramoto_energy,
        circle(64),
        0.5,  # strength / beta = 2: I1(u) / I0(u) = u/2 + O(u^3)
        harmonic,
        lambda beta: kuramoto_order(1 / beta),
    )


def network_on_circle_rest():
    """Where `network_on_circle` ends: c = I1(k) / I0(k) with k = (0.8 - c) / (2 beta)."""
    flow = FLOWS["network-on-circle"]
    beta, target = flow.energy.beta, 0.8

    def excess(c):
        k = 0.5 * (target - c) / beta
        return i1(k) / i0(k) - c

    c = brentq(excess, 0, target, xtol=1e-14)
    grid = circle(128)
    return Stationary(
        "network-on-circle-rest",
        flow.energy,
        grid,
        (flow.start(grid),),
        ({"output": (harmonic, c), "risk": (flow.answers["risk"][0], 0.25 * (c - target) ** 2)},),
    )


STATIONARY = {
    law.name: law
    for law in (
        desai_zwanzig(0.2),
        desai_zwanzig(0.3),
        kuramoto(3.0),
        kuramoto(4.0),
        network_on_circle_rest(),
    )
}
"""All stationary laws by name."""

TRANSITIONS = {
    t.name: t
    for t in (desai_zwanzig_critical(1.0), desai_zwanzig_critical(2.0), kuramoto_critical())
}
"""All transitions by name."""


# -- networks with a symmetry, whose answers are invariances

REFLECTION = mf.Group.reflection()
TAU = 0.02


def bump(x, centre):
    return np.exp(-0.5 * (x[..., 0] - centre) ** 2)


def even_target(x):
    return 0.5 * (bump(x, 1.5) + bump(x, -1.5))


def arbitrary_target(x):
    return 0.7 * bump(x, 1.5) + 0.3 * bump(x, -0.5)


VARIANTS = {
    "vanilla": lambda risk, group: risk,
    "data-augmented": mf.data_augmented,
    "feature-averaged": mf.feature_averaged,
}


def bump_energy(target, variant="vanilla", loss="squared"):
    """Bumps exp(-(x - z)^2 / 2) learn a function on [-3, 3]; reflections act on x and z."""
    risk = mf.Risk(mf.Unit.bump(), mf.Data.gauss_legendre(40, -3, 3, target), loss)
    return VARIANTS[variant](risk, REFLECTION) + TAU * mf.Penalty() + TAU * mf.Entropy()


def bump_start(cells, invariant=True):
    """Two Gaussians at +-1, or the right one alone."""
    grid = mf.Grid.box(-4, 4, cells)
    right, left = (mf.Density.gaussian(grid, m, 0.25) for m in (1.0, -1.0))
    return mf.Density.mixture([right, left], [0.5, 0.5]) if invariant else right


def swap_energy(target, variant="vanilla"):
    """Units tanh(z . x) in the plane; the exchange of coordinates acts on x and z."""
    risk = mf.Risk(mf.Unit.ridge("tanh"), mf.Data.gauss_hermite(2, 8, target))
    return VARIANTS[variant](risk, mf.Group.swap()) + TAU * mf.Penalty() + TAU * mf.Entropy()


def swapped_target(x):
    return 0.5 * (np.tanh(2 * x[..., 0]) + np.tanh(2 * x[..., 1]))


def first_target(x):
    return np.tanh(2 * x[..., 0])
