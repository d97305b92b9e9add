"""Claims: statements of theory as numbers, each with a control that must not meet it.

A control is the same number after a planted fault; where it stays within the tolerance the
check could not have failed, and counts for nothing. To add a claim, write a function from a
`Setting` to a `Finding` and register it in `CLAIMS`. The source of most is Maass and Fontbona,
"Symmetries in Overparametrized Neural Networks: A Mean-Field View" (NeurIPS 2024, arXiv
2405.19995).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from meanfield_pde.energies.energy import Entropy
from meanfield_pde.energies.risk import Risk
from meanfield_pde.eulerian.flux import Generator, ScharfetterGummel
from meanfield_pde.eulerian.gibbs import gibbs
from meanfield_pde.eulerian.solution import Solution
from meanfield_pde.eulerian.solve import solve
from meanfield_pde.flows.gradient_flow import GradientFlow
from meanfield_pde.flows.problem import Problem
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.distance import l1
from meanfield_pde.measures.symmetry import asymmetry, symmetrise
from meanfield_pde.studies.setting import Setting

STATIC = 1e-13
FLOW = 1e-12
ROUNDING = "rounding of one evaluation"
ROUNDING_FLOW = "rounding, carried along the flow"


@dataclass(frozen=True)
class Finding:
    """A number, the tolerance it is held to and why, and the number after a planted fault.

    ``inconclusive`` says why a number beyond its tolerance refutes nothing (time ran out).
    """

    number: float
    tolerance: float
    reason: str
    control: float | None
    fault: str
    inconclusive: str = ""


@dataclass(frozen=True)
class Claim:
    """A statement, where it is from, and how it is checked.

    ``needs`` lists what the problem must have: ``group``, ``risk``, ``diffusion``.
    """

    statement: str
    source: str
    needs: tuple[str, ...]
    check: Callable[[Setting], Finding]


def unit_equivariant(setting: Setting) -> Finding:
    """Compare ``sigma(rho_g x; M_g z)`` with ``rhohat_g sigma(x; z)``."""
    risk, group = _risk(setting), setting.symmetry
    z = _random_points(setting, 40)
    x = risk.data.x
    on_x, on_y = group.on_x(x.shape[1]), group.on_y(risk.unit.outputs)
    here = risk.unit.features(x, z)

    def defect(matrices: Array) -> float:
        worst = 0.0
        for g in range(group.order):
            moved = risk.unit.features(x @ on_x[g].T, z @ matrices[g].T)
            worst = max(worst, float(np.abs(moved - here @ on_y[g].T).max()))
        return worst

    on_z = group.on_z(z.shape[1])
    fault = "M_g replaced by the identity"
    identity = np.broadcast_to(np.eye(z.shape[1]), on_z.shape)
    tolerance = STATIC * (1 + float(np.abs(here).max()))
    return Finding(defect(on_z), tolerance, ROUNDING, defect(identity), fault)


def data_invariant(setting: Setting) -> Finding:
    """Compare the law of (rho_g X, rhohat_g Y) with that of (X, Y)."""
    data = _risk(setting).data
    number = max(data.invariance_defect(setting.symmetry))
    control = max(setting.tilted_data(data).invariance_defect(setting.symmetry))
    scale = 1 + float(np.abs(data.x).max() + np.abs(data.y).max())
    return Finding(number, STATIC * scale, ROUNDING, control, "targets tilted")


def risk_invariant(setting: Setting) -> Finding:
    """Compare R(M_g # mu) with R(mu) on random clouds."""
    risk, group = _risk(setting), setting.symmetry
    clouds = np.split(_random_points(setting, 60), 6)

    def defect(tested: Risk) -> float:
        worst = 0.0
        for points in clouds:
            value = tested.value(Cloud(points))
            for matrix in group.on_z(points.shape[1]):
                worst = max(worst, abs(tested.value(Cloud(points @ matrix.T)) - value))
        return worst

    tolerance = STATIC * (1 + max(risk.value(Cloud(points)) for points in clouds))
    tilted = replace(risk, data=setting.tilted_data(risk.data))
    return Finding(defect(risk), tolerance, ROUNDING, defect(tilted), "targets tilted")


def _stays_invariant(variant: str) -> Callable[[Setting], Finding]:
    def check(setting: Setting) -> Finding:
        solution = setting.flow(variant)
        number = max(asymmetry(rho, setting.symmetry) for rho in solution.densities)
        tolerance, reason = _invariance_tolerance(setting, solution)
        tilted = setting.flow(variant, fault="potential")
        control = max(asymmetry(rho, setting.symmetry) for rho in tilted.densities)
        return Finding(number, tolerance, reason, control, "a potential that tilts the flow")

    return check


def da_equals_fa(setting: Setting) -> Finding:
    """L1 distance between the flows with data augmentation and with feature averaging."""
    flows = ("data-augmented", "feature-averaged")
    number = _apart(*(setting.flow(name) for name in flows))
    control = _apart(*(setting.flow(name, "tilted") for name in flows))
    tolerance, reason = _invariance_tolerance(setting, setting.flow(flows[0]))
    return Finding(number, tolerance, reason, control, "an initial law that is not invariant")


def vanilla_equals_da(setting: Setting) -> Finding:
    """L1 distance between the plain flow and that with data augmentation."""
    flows = ("vanilla", "data-augmented")
    number = _apart(*(setting.flow(name) for name in flows))
    control = _apart(*(setting.flow(name, fault="targets") for name in flows))
    tolerance, reason = _invariance_tolerance(setting, setting.flow(flows[0]))
    return Finding(number, tolerance, reason, control, "targets tilted")


def mass_conserved(setting: Setting) -> Finding:
    """Largest relative drift of the mass over all accepted steps."""
    number = setting.flow("stated", "given").statistics.mass_drift
    rho, generator = setting.initial.values, _generator(setting)
    rates = _outflow(generator.forward, generator.backward).reshape(rho.shape)
    leak = float((rates * rho).max() / (generator.outflow * rho.sum()))
    return Finding(number, 1e-13, "rounding of sums", leak, "a cell that keeps what it gives away")


def positive(setting: Setting) -> Finding:
    """How far below 0 the density went at any accepted step."""
    number = max(0.0, -setting.flow("stated", "given").statistics.smallest)
    generator = _generator(setting)
    rate = generator.outflow
    shape = generator.forward.shape[1:]
    single = np.eye(
        1, setting.grid.size, int(_outflow(generator.forward, generator.backward).argmax())
    )
    beyond = generator.advance(single.reshape(shape), single.reshape(shape), 2.0 / rate)
    fault = "an explicit step of twice the positivity bound"
    return Finding(number, 0.0, "no density is negative", float(-beyond.min()), fault)


def energy_decreases(setting: Setting) -> Finding:
    """Largest rise of the free energy in an accepted step, relative to max(1, |F|)."""
    number = setting.flow("stated", "given").statistics.energy_rise
    energy, grid = setting.energy, setting.grid
    mixed = 0.5 * (setting.initial.values + setting.initial.mass / (grid.size * grid.volume))
    generator = _generator(setting, mixed)
    back = generator.advance(mixed, mixed, -0.05 / generator.outflow)
    before, after = (energy.value(Density(grid, rho)) for rho in (mixed, back))
    control = (after - before) / max(1.0, abs(before))
    return Finding(number, 1e-12, "rounding of the energy", control, "a step back in time")


def reaches_gibbs(setting: Setting) -> Finding:
    """L1 distance of the flow at a late time from the Gibbs law, found without time stepping."""
    energy, rho, distance = setting.energy, setting.initial, np.inf
    span = setting.problem.t1
    for _ in range(9):
        late = solve(Problem(GradientFlow(energy), rho, span), **setting.options)
        rho = late.densities[-1]
        stationary = gibbs(energy, setting.grid, start=rho)
        distance = float(l1(rho, stationary))
        if distance <= 1e-6:
            break
        span *= 2
    hotter = gibbs(energy.smooth + 1.1 * energy.beta * Entropy(), setting.grid, start=rho)
    reason = "relaxation that is left at the last time"
    late_text = "" if distance <= 1e-6 else "not relaxed at the last time"
    control = float(l1(rho, hotter))
    return Finding(distance, 1e-6, reason, control, "beta raised by 10 %", late_text)


CLAIMS: dict[str, Claim] = {
    "unit-equivariant": Claim(
        "the unit is jointly equivariant: sigma(rho_g x; M_g z) = rhohat_g sigma(x; z)",
        "Maass and Fontbona 2024, Assumption 1",
        ("group", "risk"),
        unit_equivariant,
    ),
    "data-invariant": Claim(
        "the law of the data is invariant: (rho_g X, rhohat_g Y) ~ (X, Y)",
        "Maass and Fontbona 2024, Assumption 1",
        ("group", "risk"),
        data_invariant,
    ),
    "risk-invariant": Claim(
        "the risk is invariant: R(M_g # mu) = R(mu)",
        "Maass and Fontbona 2024, Proposition 2",
        ("group", "risk"),
        risk_invariant,
    ),
    "wi-preserved": Claim(
        "the plain flow keeps a weakly invariant law weakly invariant",
        "Maass and Fontbona 2024, Theorem 3",
        ("group",),
        _stays_invariant("vanilla"),
    ),
    "da-preserves-wi": Claim(
        "the flow with data augmentation keeps a weakly invariant law weakly invariant",
        "Maass and Fontbona 2024, Theorem 3",
        ("group", "risk"),
        _stays_invariant("data-augmented"),
    ),
    "fa-preserves-wi": Claim(
        "the flow with feature averaging keeps a weakly invariant law weakly invariant",
        "Maass and Fontbona 2024, Theorem 3",
        ("group", "risk"),
        _stays_invariant("feature-averaged"),
    ),
    "da-equals-fa": Claim(
        "from a weakly invariant law, data augmentation and feature averaging give one flow",
        "Maass and Fontbona 2024, Theorem 4",
        ("group", "risk"),
        da_equals_fa,
    ),
    "vanilla-equals-da": Claim(
        "from a weakly invariant law, plain training and data augmentation give one flow",
        "Maass and Fontbona 2024, Theorem 4",
        ("group", "risk"),
        vanilla_equals_da,
    ),
    "mass-conserved": Claim("mass is conserved", "finite volumes", (), mass_conserved),
    "positive": Claim("the density is nonnegative", "M-matrix structure", (), positive),
    "energy-decreases": Claim(
        "the free energy never rises", "Schlichting and Seis 2022", (), energy_decreases
    ),
    "reaches-gibbs": Claim(
        "the flow converges to the Gibbs law of its own potential",
        "Hu, Ren, Siska and Szpruch 2021; detailed balance",
        ("diffusion",),
        reaches_gibbs,
    ),
}
"""All claims by name."""


def _risk(setting: Setting) -> Risk:
    assert setting.risk is not None
    return setting.risk


def _random_points(setting: Setting, n: int) -> Array:
    """Points all over the grid's box, the same at every call."""
    grid = setting.grid
    share = np.random.default_rng(0).random((n, grid.dim))
    return np.asarray(grid.lower + share * np.subtract(grid.upper, grid.lower))


def _invariance_tolerance(setting: Setting, solution: Solution) -> tuple[float, str]:
    """Allow rounding where the group permutes the cells, else the smearing of the remap."""
    if setting.symmetry.cell_images(setting.grid) is not None:
        return FLOW, ROUNDING_FLOW
    smear = max(symmetrise(rho, setting.symmetry).remap_error for rho in solution.densities)
    return smear, "smearing by the remap, measured there and back"


def _apart(first: Solution, second: Solution) -> float:
    pairs = zip(first.densities, second.densities, strict=True)
    return max(float(l1(mu, nu)) for mu, nu in pairs)


def _generator(setting: Setting, values: Array | None = None) -> Generator:
    rho = setting.initial.values if values is None else values
    potential = setting.energy.smooth.on(setting.grid).potential(rho)
    return ScharfetterGummel().transport(setting.grid, potential, setting.energy.beta)


def _outflow(forward: Array, backward: Array) -> Array:
    total = np.zeros(forward.shape[1:])
    for axis in (0, 1):
        total += forward[axis] + np.roll(backward[axis], 1, axis=axis)
    return total
