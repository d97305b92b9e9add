"""Claims about the density's scheme: mass, sign, free energy and the stationary law."""

from __future__ import annotations

import numpy as np

from meanfield_pde.energies.energy import Entropy
from meanfield_pde.eulerian.flux import Generator
from meanfield_pde.eulerian.gibbs import gibbs
from meanfield_pde.eulerian.polar import fluxes_on
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.distance import l1
from meanfield_pde.studies.claims.claim import Claim, Finding
from meanfield_pde.studies.relaxation import relaxed
from meanfield_pde.studies.setting import Setting


def mass_conserved(setting: Setting) -> Finding:
    """Largest relative drift of the mass over all accepted steps."""
    number = setting.flow("stated", "given").statistics.mass_drift
    control = leak(_generator(setting), setting.initial.values)
    fault = "a cell that keeps what it gives away"
    return Finding(number, 1e-13, "rounding of sums", control, fault)


def positive(setting: Setting) -> Finding:
    """How far below 0 the density went at any accepted step."""
    number = max(0.0, -setting.flow("stated", "given").statistics.smallest)
    control, fault = overshoot(_generator(setting)), "an explicit step of twice the bound"
    return Finding(number, 0.0, "no density is negative", control, fault)


def leak(generator: Generator, rho: Array) -> float:
    """Part of the mass that a cell gains which keeps what it gives away in a step."""
    rates = _outflow(generator.forward, generator.backward).reshape(rho.shape)
    return float((rates * rho).max() / (generator.outflow * rho.sum()))


def overshoot(generator: Generator) -> float:
    """How far below 0 an explicit step of twice the positivity bound goes."""
    shape = generator.forward.shape[1:]
    out = _outflow(generator.forward, generator.backward)
    single = np.eye(1, out.size, int(out.argmax())).reshape(shape)
    return float(-generator.advance(single, single, 2.0 / generator.outflow).min())


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
    energy = setting.energy
    rho, _, distance = relaxed(
        setting.problem.flow, setting.initial, setting.problem.t1, setting.options, within=1e-6
    )
    hotter = gibbs(energy.smooth + 1.1 * energy.beta * Entropy(), setting.grid, start=rho)
    reason = "relaxation that is left at the last time"
    late_text = "" if distance <= 1e-6 else "not relaxed at the last time"
    control = float(l1(rho, hotter))
    return Finding(distance, 1e-6, reason, control, "beta raised by 10 %", late_text)


CLAIMS: dict[str, Claim] = {
    "mass-conserved": Claim("mass is conserved", "finite volumes", (), mass_conserved),
    "positive": Claim("the density is nonnegative", "M-matrix structure", (), positive),
    "energy-decreases": Claim(
        "the free energy never rises",
        "Schlichting and Seis 2022",
        ("gradient flow",),
        energy_decreases,
    ),
    "reaches-gibbs": Claim(
        "the flow converges to the Gibbs law of its own potential",
        "Hu, Ren, Siska and Szpruch 2021; detailed balance",
        ("diffusion", "gradient flow"),
        reaches_gibbs,
    ),
}


def _generator(setting: Setting, values: Array | None = None) -> Generator:
    rho = setting.initial.values if values is None else values
    energy, grid = setting.energy, setting.grid
    flux = fluxes_on(grid, setting.problem.flow.metric, "sg")["sg"]
    transport = flux.transport(grid, energy.smooth_on(grid).potential(rho), energy.beta)
    assert isinstance(transport, Generator)
    return transport


def _outflow(forward: Array, backward: Array) -> Array:
    total = np.zeros(forward.shape[1:])
    for axis in (0, 1):
        total += forward[axis] + np.roll(backward[axis], 1, axis=axis)
    return total
