"""Claims with known answers: quadratic wells, convex energies, kernels on a circle.

Numbers are limited by cells and steps, relative to the size of what is measured. They are checked
where they are asked for by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from meanfield_pde.eulerian.gibbs import gibbs
from meanfield_pde.eulerian.solution import Solution
from meanfield_pde.eulerian.solve import solve
from meanfield_pde.flows.problem import Problem
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.distance import l1, w1, w2
from meanfield_pde.studies.claims.claim import Claim, Finding
from meanfield_pde.studies.closed_forms import Classic, circular, classic, convexity
from meanfield_pde.studies.setting import Setting

SCHEME = "cells and steps of the scheme"
MOMENTS = 1e-3
QUANTILES = 1e-2
REST = 1e-2
RELAXED = 12.0
"""Decay times after which a law counts as at rest: 6e-6 is left."""
BOUND = 1e-2
SHARPER = 5.0
FAST = 1.1
"""How much too fast the clock of controls runs."""
MODES = 4
SEED = 1e-4
RATES = 1e-2
NODES = 2**14


def mean_law(setting: Setting) -> Finding:
    """Largest distance of the mean from its own equation, in spreads of the start."""
    flow = _classic(setting)

    def defect(solution: Solution) -> float:
        far = [np.linalg.norm(rho.mean() - flow.mean(s)) for s, rho in _timed(setting, solution)]
        return float(max(far) / np.sqrt(np.trace(setting.initial.cov())))

    number = defect(setting.flow("stated", "given"))
    control = defect(setting.flow("stated", "given", "potential"))
    return Finding(number, MOMENTS, SCHEME, control, "a potential that tilts the flow")


def second_moment_law(setting: Setting) -> Finding:
    """Largest error of the second moment against its own equation, relative to its largest."""
    flow = _classic(setting)

    def defect(solution: Solution) -> float:
        times = list(_timed(setting, solution))
        found = np.array([np.trace(rho.cov()) + rho.mean() @ rho.mean() for _, rho in times])
        means = [flow.mean(s) for s, _ in times]
        exact = np.array([flow.variance(s) for s, _ in times]) + [m @ m for m in means]
        return float(np.abs(found - exact).max() / exact.max())

    number = defect(setting.flow("stated", "given"))
    control = defect(setting.flow("stated", "given", "potential"))
    return Finding(number, MOMENTS, SCHEME, control, "a potential that tilts the flow")


def exact_quantiles(setting: Setting) -> Finding:
    """Largest W1 distance from the law with exact quantiles, in spreads of that law."""
    flow, solution = _classic(setting), setting.flow("stated", "given")

    def defect(flow: Classic, fast: float = 1.0) -> float:
        worst = 0.0
        for clock, rho in _timed(setting, solution):
            exact = flow.law(fast * clock)
            spread = float(np.sqrt(exact.cov()[0, 0]))
            worst = max(worst, float(w1(rho.normalised(), exact.normalised())) / spread)
        return worst

    # Of a law that starts near its rest the clock shows little.
    steep = flow.stiffness != 0
    control = defect(flow.steeper(FAST)) if steep else defect(flow, FAST)
    fault = "an attraction stronger by 10 %" if steep else "a clock 10 % fast"
    return Finding(defect(flow), QUANTILES, SCHEME, control, fault)


def known_rest(setting: Setting) -> Finding:
    """L1 distance of the late law from the one in closed form."""
    flow = _classic(setting)
    slowest = min(rate for rate in (flow.well, flow.stiffness) if rate > 0)
    still = replace(setting.problem.flow, rate=None)
    problem = Problem(still, setting.initial, RELAXED / slowest)
    late = solve(problem, **setting.options).densities[-1]
    number, control = (float(l1(late, law.rest())) for law in (flow, flow.steeper(FAST)))
    return Finding(number, REST, SCHEME, control, "a well steeper by 10 %")


def contracts(setting: Setting) -> Finding:
    """How far the W2 distance of two solutions exceeds its bound, relative to that."""
    rate = convexity(setting.problem)
    assert rate is not None
    given, other = (setting.flow("stated", start) for start in ("given", "tilted"))
    pairs = zip(_timed(setting, given), other.densities, strict=True)
    far = [(s, float(w2(mu.normalised(), nu.normalised()))) for (s, mu), nu in pairs]
    return _bounded([(s, d / far[0][1]) for s, d in far], rate)


def energy_decays(setting: Setting) -> Finding:
    """How far the free energy above its least exceeds its bound, relative to that."""
    rate, energy = convexity(setting.problem), setting.energy
    assert rate is not None
    solution = setting.flow("stated", "given")
    least = energy.value(gibbs(energy, setting.grid, start=solution.densities[-1]))
    times = [setting.problem.flow.clock(0.0, float(t)) for t in solution.times]
    first = float(solution.energy[0]) - least
    above = [(s, (float(f) - least) / first) for s, f in zip(times, solution.energy, strict=True)]
    seen = [(s, share) for s, share in above if share > 1e-9]  # the rest may be rounding

    return _bounded(seen, 2 * rate)


def _bounded(shares: list[tuple[float, float]], rate: float) -> Finding:
    """Judge that what is left of a quantity at some times is at most ``exp(-rate t)``."""

    def excess(rate: float) -> float:
        return max(float(share * np.exp(rate * t)) - 1.0 for t, share in shares)

    reason = f"{SCHEME}; rate {rate:.4g}"
    fault = f"a rate {SHARPER:g} times as fast"
    number, control = (max(0.0, excess(r)) for r in (rate, SHARPER * rate))
    return Finding(number, BOUND, reason, control, fault)


def modes_grow(setting: Setting) -> Finding:
    """Largest error of a wave's rate on the uniform law, relative to the largest rate."""
    expected = wave_rates(setting.problem, MODES)
    span = 1.0 / np.abs(expected).max()
    grid = setting.grid
    waves = 2 * np.pi / (grid.upper[0] - grid.lower[0]) * np.arange(1, MODES + 1)
    turns = np.outer(waves, grid.axes[0] - grid.lower[0])
    level = setting.initial.mass / (grid.size * grid.volume)
    start = Density(grid, level * (1 + SEED * np.cos(turns).sum(axis=0)))

    def rates(speed: float) -> Array:
        flow = replace(setting.problem.flow, rate=speed)
        options = {**setting.options, "stepper": "mprk22", "flux": "auto", "dt": span / 200}
        late = solve(Problem(flow, start, span / speed), **options)
        before, after = (np.cos(turns) @ rho.values for rho in (start, late.densities[-1]))
        return np.asarray(np.log(after / before) / late.times[-1])

    number, control = (float(np.abs(rates(speed) - expected).max() * span) for speed in (1.0, FAST))
    fastest = int(expected.argmax())
    reason = f"{SCHEME}; wave {fastest + 1} grows fastest, at {expected[fastest]:.6g}"
    return Finding(number, RATES, reason, control, "a clock 10 % fast")


def wave_rates(problem: Problem, modes: int) -> Array:
    r"""Rates of the first waves on the uniform law of a circle of length L, of mass 1.

    :math:`\lambda_k = -q^2 (\beta + \frac{1}{L} \int W(z) \cos(q z) dz)`, :math:`q = 2 \pi k / L`.
    """
    kernel = circular(problem)
    assert kernel is not None
    assert isinstance(problem.initial, Density)
    grid = problem.initial.grid
    length = grid.upper[0] - grid.lower[0]
    z = length * ((np.arange(NODES) + 0.5) / NODES - 0.5)
    q = 2 * np.pi * np.arange(1, modes + 1) / length
    transform = np.cos(np.outer(q, z)) @ kernel(z[:, None]) / NODES
    return np.asarray(-(q**2) * (problem.flow.energy.beta + transform))


CLAIMS: dict[str, Claim] = {
    "mean-law": Claim(
        "in a quadratic well the mean moves as one particle does, whatever the kernel",
        "symmetry of the kernel",
        ("quadratic well", "asked"),
        mean_law,
    ),
    "second-moment-law": Claim(
        "with quadratic and logarithmic kernels the second moment obeys an equation of its own",
        "virial identity; Blanchet, Dolbeault and Perthame 2006 for the logarithm",
        ("quadratic and log kernel", "asked"),
        second_moment_law,
    ),
    "exact-quantiles": Claim(
        "each quantile obeys a linear equation of its own, its level the force of |z|",
        "Bonaschi, Carrillo, Di Francesco and Peletier 2015",
        ("known quantiles", "asked"),
        exact_quantiles,
    ),
    "known-rest": Claim(
        "the law at rest is normal, uniform, a semicircle, or between normal and semicircle",
        "Allez, Bouchaud and Guionnet 2012; Wigner 1955; Fellner and Raoul 2010",
        ("known rest", "asked"),
        known_rest,
    ),
    "contracts": Claim(
        "two solutions approach in W2 at the rate of the energy's displacement convexity",
        "Carrillo, McCann and Villani 2006",
        ("convex on a line", "asked"),
        contracts,
    ),
    "energy-decays": Claim(
        "the free energy falls to its least at twice the rate of displacement convexity",
        "Carrillo, McCann and Villani 2003",
        ("convex on a line", "diffusion", "asked"),
        energy_decays,
    ),
    "modes-grow": Claim(
        "small waves on the uniform law of a circle grow or decay at the rates of Fourier analysis",
        "Carrillo, Gvalani, Pavliotis and Schlichting 2020",
        ("kernel on a circle", "asked"),
        modes_grow,
    ),
}


def _classic(setting: Setting) -> Classic:
    found = classic(setting.problem)
    assert found is not None
    return found


def _timed(setting: Setting, solution: Solution) -> Iterator[tuple[float, Density]]:
    """Densities with the times that the flow's clock shows."""
    for t, rho in zip(solution.times, solution.densities, strict=True):
        yield setting.problem.flow.clock(0.0, float(t)), rho
