"""Claims about the flow in time: its drift, what its free energy loses, where it ends, how fast."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from meanfield_pde.energies.energy import Entropy
from meanfield_pde.eulerian.gibbs import gibbs
from meanfield_pde.eulerian.solution import Solution
from meanfield_pde.eulerian.solve import solve
from meanfield_pde.flows.problem import Problem
from meanfield_pde.measures.chart import FixedSubspace, Polar, Radius
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.distance import l1
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.symmetry import asymmetry
from meanfield_pde.studies.claims.claim import Claim, Finding
from meanfield_pde.studies.cooling import cooling
from meanfield_pde.studies.relaxation import GapError, relaxed, spectral_gap
from meanfield_pde.studies.setting import Setting

DISSIPATED = 5e-3
AT_REST = 3e-6
"""L1 distance from a stationary law at which a flow counts as relaxed: long implicit steps end
within about 1e-6 of it."""
ONE_LIMIT = 1e-5
RATE = 0.02
WINDOW = (14.0, 16.0, 18.0)
"""Times, in units of the free energy's decay, between which its rate is measured."""
CLOCK = 1e-10
COLD = (1e-1, 1e-2, 1e-3, 1e-4)
CERTIFIED = 0.01


def energy_dissipated(setting: Setting) -> Finding:
    """Compare the fall of the free energy with the integral of its dissipation."""
    number = dissipation_defect(_densely(setting))
    control = dissipation_defect(_densely(setting, rate=1.5), rate=1.0)
    reason = "trapezoidal rule in time, and the error of the steps"
    return Finding(number, DISSIPATED, reason, control, "a rate of 1.5 left out of the integral")


def dissipation_defect(solution: Solution, rate: float | None = None) -> float:
    """Return ``|F(0) - F(t) - int s D dt|`` over ``F(0) - F(t)``, by the trapezoidal rule.

    ``rate`` replaces s, that of the flow.
    """
    assert solution.problem is not None
    flow = solution.problem.flow
    speeds = np.array([flow.speed(float(t)) for t in solution.times])
    rates = solution.dissipation * (speeds if rate is None else rate)
    lost = float(solution.energy[0] - solution.energy[-1])
    return abs(float(np.trapezoid(rates, solution.times)) / lost - 1.0)


def _densely(setting: Setting, rate: float | None = None) -> Solution:
    """Solve with the flux whose dissipation is recorded, and save so often that it can be summed.

    Fewer times in the plane, where each takes more memory. The square puts more of them at the
    start, where the free energy falls fastest.
    """
    n = 400 if setting.grid.dim == 1 else 200
    problem = setting.problem
    flow = replace(problem.flow, rate=problem.flow.rate if rate is None else rate)
    times = problem.t1 * (np.arange(n + 1) / n) ** 2
    # Flux and stepper whose recorded dissipation is that of the flow, for any number of times.
    options = {**setting.options, "flux": "sg", "stepper": "mprk22", "dt": None}
    return solve(Problem(flow, problem.initial, problem.t1), save=times.tolist(), **options)


def relaxes_at_gap(setting: Setting) -> Finding:
    """Compare the rate at which the free energy decays, near its least, with twice the gap."""
    energy = setting.energy
    fault = "once the gap in place of twice"
    late, law, distance = relaxed(
        setting.problem.flow, setting.initial, setting.problem.t1, setting.options, AT_REST
    )
    if distance > AT_REST:
        return Finding(1.0, RATE, "not measured", None, fault, "not relaxed at the last time")
    try:
        gap, mode = spectral_gap(energy, law, setting.problem.flow.metric)
    except GapError as error:
        return Finding(1.0, RATE, "not measured", None, fault, str(error))
    excess = _excess(setting, law, gap, mode)
    resolved = excess > 1e-14 * max(1.0, abs(energy.value(law)))
    if not resolved.all():
        text = "the free energy reached rounding before the slowest mode was alone"
        return Finding(1.0, RATE, "not measured", None, fault, text)
    local = np.log(excess[:-1] / excess[1:]) / np.diff(WINDOW)
    mixed = "the slowest mode is not alone yet" if abs(np.ptp(local)) > RATE / 4 else ""
    reason = f"gap {gap:.6g}; other modes, and squares of this one, at {WINDOW[-1]:g} decay times"
    number, control = abs(float(local[-1]) - 1.0), abs(2 * float(local[-1]) - 1.0)
    return Finding(number, RATE, reason, control, fault, mixed)


def _excess(setting: Setting, law: Density, gap: float, mode: Array) -> Array:
    """Free energy above its least at the times of the window, from a law near the stationary one.

    The start leans along the slowest mode, and a little along no mode in particular: a flow whose
    slowest mode is another one ends up with that.
    """
    lean = 1 + 0.5 * np.tanh(0.2 * (mode + 0.1 * setting.tilt(law.grid.places)))
    values = law.values * lean
    start = Density(law.grid, values * (law.mass / (values.sum() * law.grid.volume)))
    times = [time / (2 * gap) for time in WINDOW]
    options = {**setting.options, "flux": "sg", "stepper": "mprk22", "dt": 0.025 / gap}
    problem = Problem(replace(setting.problem.flow, rate=None), start, times[-1])
    solution = solve(problem, save=times, **options)
    return np.asarray(solution.energy - setting.energy.value(law))


def one_limit(setting: Setting) -> Finding:
    """L1 distance between the late laws of the flow from its start and from one far off."""
    given = setting.initial
    far = 1 - 0.9 * setting.tilt(setting.grid.places)
    other = Density(setting.grid, far * (given.mass / (far.sum() * setting.grid.volume)))
    ends = [_late(setting, rho) for rho in (given, other)]
    number = float(l1(ends[0][0], ends[1][0]))
    text = "" if all(rested for _, rested in ends) else "not relaxed at the last time"
    energy = setting.energy
    hotter = gibbs(energy.smooth + 1.1 * energy.beta * Entropy(), setting.grid, start=ends[0][0])
    control = float(l1(ends[0][0], hotter))
    reason = f"both within {AT_REST:g} of a stationary law"
    return Finding(number, ONE_LIMIT, reason, control, "beta raised by 10 %", text)


def limit_invariant(setting: Setting) -> Finding:
    """Asymmetry of the late law of the flow from a start that is not invariant."""
    late, rested = _late(setting, setting.start("tilted"))
    number = float(asymmetry(late, setting.symmetry))
    tilted, _ = _late(setting, setting.start("tilted"), fault="potential")
    control = float(asymmetry(tilted, setting.symmetry))
    reason = f"within {AT_REST:g} of a stationary law"
    text = "" if rested else "not relaxed at the last time"
    return Finding(number, ONE_LIMIT, reason, control, "a potential that tilts the flow", text)


def _late(setting: Setting, start: Density, fault: str = "") -> tuple[Density, bool]:
    flow = replace(setting.problem.flow, energy=setting.variant("stated", fault))
    late, _, distance = relaxed(flow, start, setting.problem.t1, setting.options, AT_REST)
    return late, distance <= AT_REST


def cold_limit(setting: Setting) -> Finding:
    """Bound on how far the coldest Gibbs law is above the least risk, relative to the warmest risk.

    A risk that rises as it is cooled, which theory excludes, counts as 1.
    """
    risks, excess = cooling(setting.energy, setting.grid, COLD)
    falls = bool((np.diff(risks) < 0).all())
    number = float(excess[-1] / excess[0]) if falls else 1.0
    reason = f"the bound falls about as beta, here from {COLD[0]:g} to {COLD[-1]:g}"
    return Finding(number, CERTIFIED, reason, float(excess[0] / excess[0]), "the warmest law")


def one_drift(setting: Setting) -> Finding:
    """Compare the drift of particles with differences of the density's potential, at the start.

    The particles sit at the cells' nodes, on a chart all over their orbits, weighted by the mass in
    the cells. On the radius of the plane nodes are not evenly spaced: differences in r are drifts
    times r / n.
    """
    grid, rho, energy = setting.grid, setting.initial, setting.energy.smooth
    places, weights = grid.places[None], np.ones(1)
    if grid.symmetric_chart is not None:
        places, weights = grid.symmetric_chart.orbit(grid.nodes)
    masses = np.multiply.outer(weights, rho.masses).ravel()
    cloud = Cloud(places.reshape(-1, grid.ambient_dim), masses)
    drift = energy.drift(cloud)[: grid.size].reshape(*grid.shape, grid.ambient_dim)
    if isinstance(grid.chart, Polar):
        drift = _along_circles(drift, grid)
    elif isinstance(grid.chart, FixedSubspace):
        drift = drift @ grid.chart.matrix
    elif isinstance(grid.chart, Radius):
        drift = drift[..., :1] * (grid.points / grid.nodes)
    fine, coarse = (_gradient(energy.potential(rho), setting, stride) for stride in (1, 2))
    inner = tuple(slice(None) if wraps else slice(4, -4) for wraps in grid.wraps)
    size = float(np.abs(fine)[inner].max())

    def off(velocity: Array) -> float:
        return float(np.abs(velocity + fine)[inner].max()) / size

    tolerance = max(1e-9, float(np.abs(fine - coarse)[inner].max()) / size)
    reason = "differences of order 4, by how much those at twice the distance are off"
    return Finding(off(drift), tolerance, reason, off(1.05 * drift), "a drift 5 % too large")


def _along_circles(drift: Array, grid: Grid) -> Array:
    """Components along e_r and r e_phi, as differences of a potential in r and phi are."""
    x, y = np.moveaxis(grid.places, -1, 0)
    radial = (drift * grid.places).sum(-1) / grid.points[..., 0]
    return np.stack([radial, x * drift[..., 1] - y * drift[..., 0]], axis=-1)


def _gradient(values: Array, setting: Setting, stride: int) -> Array:
    """Differences of order 4 over so many cells, along each axis; wrong near walls."""
    found = []
    for axis, h in enumerate(setting.grid.spacing):
        one, two = (
            np.roll(values, -k * stride, axis) - np.roll(values, k * stride, axis) for k in (1, 2)
        )
        found.append((8 * one - two) / (12 * h * stride))
    return np.stack(found, axis=-1)


def schedule_is_a_clock(setting: Setting) -> Finding:
    """L1 distance of the flow with rate 1/(1 + t) at t from that of rate 1 at log(1 + t)."""
    times = setting.problem.t1 * np.array([0.25, 0.5, 1.0])
    clock = np.log1p(times)

    def run(rate: float | None, end: Array) -> tuple[Density, ...]:
        schedule = None if rate is None else lambda t: rate / (1.0 + t)
        flow = replace(setting.problem.flow, rate=schedule)
        problem = Problem(flow, setting.initial, float(end[-1]))
        return solve(problem, save=end.tolist(), **setting.options).densities

    slow, fast, wrong = run(1.0, times), run(None, clock), run(1.2, times)
    number = max(float(l1(a, b)) for a, b in zip(slow, fast, strict=True))
    control = max(float(l1(a, b)) for a, b in zip(wrong, fast, strict=True))
    reason = "quadrature of the clock, carried along the flow"
    return Finding(number, CLOCK, reason, control, "a rate of 1.2/(1 + t)")


CLAIMS: dict[str, Claim] = {
    "energy-dissipated": Claim(
        "the free energy falls by the integral of its dissipation",
        "Ambrosio, Gigli and Savare 2008, energy dissipation equality",
        (),
        energy_dissipated,
    ),
    "relaxes-at-gap": Claim(
        "near its Gibbs law the free energy decays at twice the gap of the linearised flow",
        "linearisation at the stationary law",
        ("diffusion", "no reaction"),
        relaxes_at_gap,
    ),
    "one-limit": Claim(
        "the limit does not depend on the start",
        "Hu, Ren, Siska and Szpruch 2021, for convex energies",
        ("diffusion", "gradient flow"),
        one_limit,
    ),
    "limit-invariant": Claim(
        "the limit is weakly invariant, whatever the start",
        "Maass and Fontbona 2024, uniqueness of the minimiser",
        ("group", "diffusion", "gradient flow", "grid of Z"),
        limit_invariant,
    ),
    "cold-limit": Claim(
        "the risk of the Gibbs law falls to the least risk as regularisation goes to 0",
        "Mei, Montanari and Nguyen 2018; convexity of the risk",
        ("risk", "diffusion"),
        cold_limit,
    ),
    "one-drift": Claim(
        "particles drift down the potential that drives the density",
        "the equation both solvers solve",
        ("particles", "orbits of few points"),
        one_drift,
    ),
    "schedule-is-a-clock": Claim(
        "the flow with rate s at time t is the flow of rate 1 at the integral of s",
        "change of time",
        (),
        schedule_is_a_clock,
    ),
}
