"""Claims about birth and death: how fast a reaction alone minimises, and what it gets past."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from meanfield_pde.energies.energy import Energy
from meanfield_pde.eulerian.solve import solve
from meanfield_pde.flows.gradient_flow import GradientFlow
from meanfield_pde.flows.problem import Problem
from meanfield_pde.flows.quantiles import quantile_flow
from meanfield_pde.measures.check import Array
from meanfield_pde.studies.claims.claim import Claim, Finding
from meanfield_pde.studies.setting import Setting

MARGIN = 1e-2
"""Part of the fall of the energy by which a flow must get below another to count as lower."""
SLOWER = 20.0
"""Planted fault: a reaction that takes that many times longer."""
BEYOND = 2.0
"""End of the run, in times after which the bound is the distance that the energy has to fall."""
SAVES = 40
LEVELS = 300


def fisher_rao_bound(setting: Setting) -> Finding:
    r"""Largest value of alpha t (E(t) - E(nu)) / KL(nu | mu_0) along the reaction alone.

    With E what reacts and nu the last law of the flow as it is stated. As :math:`\frac{d}{dt}
    KL(\nu | \mu_t) = \alpha \int V d(\nu - \mu_t) \le \alpha (E(\nu) - E(\mu_t))` for convex E, and
    E falls, it is at most 1.
    """
    flow, start = setting.problem.flow, setting.initial
    energy = flow.energy if flow.entropic else flow.energy.smooth
    nu = setting.flow("stated", "given").densities[-1]
    values = nu.values * (start.mass / nu.mass)
    there = values > 0
    fault = f"a reaction {SLOWER:g} times slower"
    if not start.values[there].all():
        text = "the flow carries mass where the reaction finds none"
        return Finding(1.0, 1.0, "not measured", None, fault, text)
    lengths = values[there] * np.log(values[there] / start.values[there])
    divergence, least = float(lengths.sum()) * start.grid.volume, energy.value(nu)
    gap = energy.value(start) - least
    if not gap > 0:
        return Finding(1.0, 1.0, "not measured", None, fault, "the energy does not fall")
    end = BEYOND * divergence / (flow.reaction * gap)

    def ratio(rate: float) -> float:
        alone = replace(flow, rate=None, reaction=rate, transport=False, frozen=())
        times, energies = _falling(alone, energy, setting, end)
        return float((flow.reaction * times * (energies - least)).max() / divergence)

    reason = f"{SAVES} times to t = {end:.3g}, KL = {divergence:.4g}; exact for the equation"
    return Finding(ratio(flow.reaction), 1.0, reason, ratio(flow.reaction / SLOWER), fault)


def _falling(
    flow: GradientFlow, energy: Energy, setting: Setting, end: float
) -> tuple[Array, Array]:
    times = end * (np.arange(SAVES + 1) / SAVES) ** 2
    problem, tolerance = Problem(flow, setting.initial, end), setting.options.get("tolerance", 1e-3)
    solution = solve(problem, save=times.tolist(), tolerance=tolerance)
    return times, np.array([energy.value(rho) for rho in solution.densities])


def reaction_escapes(setting: Setting) -> Finding:
    """Energy at the end, above what transport alone reaches less a hundredth of the fall.

    On a line without diffusion the latter is found by quantiles: a density would leak.
    """
    problem, start = setting.problem, setting.initial
    energy = setting.energy
    reached = float(setting.flow("stated", "given").energy[-1])
    flow = replace(problem.flow, reaction=0.0, entropic=False, transport=True)
    alone = Problem(flow, start, problem.t1)
    transported = float(solve(alone, **setting.options).energy[-1])
    exact = start.grid.dim == 1 and start.grid.chart is None and not start.grid.periodic
    if exact and not energy.beta:
        stuck, how = float(quantile_flow(alone, LEVELS).energy[-1]), "quantiles"
    else:
        stuck, how = transported, "the density solver"
    least = stuck - MARGIN * (float(energy.value(start)) - reached)
    reason = f"at t = {problem.t1:g} transport alone is at {stuck:.6g}, by {how}"
    return Finding(reached - least, 0.0, reason, transported - least, "no reaction", false_from=0.0)


CLAIMS: dict[str, Claim] = {
    "fisher-rao-bound": Claim(
        "without transport a convex energy is within KL(nu | mu_0) / (alpha t) of that of any nu",
        "Rotskoff, Jelassi, Bruna and Vanden-Eijnden 2019, where time runs at half this speed",
        ("reaction", "asked"),
        fisher_rao_bound,
    ),
    "reaction-escapes": Claim(
        "with birth and death the flow gets below where transport alone ends",
        "Rotskoff, Jelassi, Bruna and Vanden-Eijnden 2019",
        ("reaction", "transport", "asked"),
        reaction_escapes,
    ),
}
