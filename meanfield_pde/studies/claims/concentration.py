"""Claims about logarithmic kernels that attract: the time of a collapse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from meanfield_pde.energies.energy import Energy, Sum
from meanfield_pde.energies.interaction import Interaction
from meanfield_pde.eulerian.solve import solve
from meanfield_pde.measures.density import Density
from meanfield_pde.studies.claims.claim import Claim, Finding
from meanfield_pde.studies.setting import Setting
from meanfield_pde.studies.virial import Virial

TIME = 0.05
"""Relative error of a collapse time: a core of a few cells is the last that a grid can see."""
STRONGER = 0.1
"""Part by which the attraction is raised in a control."""
NEVER = 1.0
"""Error of a collapse time where none was seen."""
ROUND = 1e-3
"""Angular moments, relative to radial ones, of a density that counts as radial."""


def collapses(setting: Setting) -> Finding:
    """Relative distance of the collapse time from that of the equation for shells of equal mass."""
    virial, flow, beta = _virial(setting), setting.problem.flow, setting.energy.beta
    span = flow.clock(0.0, setting.problem.t1)
    expected = virial.collapse(setting.initial, beta, 2 * span)
    solution = setting.flow("stated", "given")
    reason = "a core of a few cells is the last that a grid can see"
    fault = f"attraction raised by {STRONGER:.0%}"
    seen = solution.statistics.concentrated
    if seen is None:
        return Finding(NEVER, TIME, f"{reason}; none was seen", None, fault, false_from=0.5)
    if expected is None:  # seen where theory has none
        return Finding(0.0, TIME, f"{reason}; none was expected", None, fault, false_from=0.5)
    inconclusive = "" if _radial(setting.initial) else "the start is not radial"
    stronger = replace(flow, energy=_raised(setting.energy))
    other = solve(
        replace(setting.problem, flow=stronger), **{**setting.options, "collapse": "stop"}
    )
    sooner = other.statistics.concentrated
    error, control = (
        NEVER if t is None else abs(flow.clock(0.0, t) / expected - 1) for t in (seen, sooner)
    )
    reason += f"; seen at t = {seen:.4g}"
    return Finding(error, TIME, reason, control, fault, inconclusive, false_from=0.5)


CLAIMS: dict[str, Claim] = {
    "collapses": Claim(
        "a mass above 2 d beta / chi collapses into a point, when the shells of its radial "
        "equation arrive there",
        "Blanchet, Dolbeault and Perthame 2006; Newton's theorem",
        ("log kernel", "plane", "asked"),
        collapses,
    ),
}


def _virial(setting: Setting) -> Virial:
    found = Virial.of(setting.energy, setting.grid.ambient_dim)
    assert found is not None
    return found


def _raised(energy: Energy) -> Energy:
    """Return the energy with its interactions made stronger."""
    return Sum(
        tuple(
            (factor * (1 + STRONGER * isinstance(leaf, Interaction)), leaf)
            for factor, leaf in energy.terms
        )
    )


def _radial(rho: Density) -> bool:
    """Say whether the first angular moments vanish about the mean."""
    if rho.grid.chart is not None:
        return True
    z = (rho.grid.points - rho.mean()) @ np.array([1.0, 1.0j])
    masses = rho.masses / rho.mass
    return all(
        abs((masses * z**k).sum()) <= ROUND * float((masses * np.abs(z) ** k).sum())
        for k in range(2, 7)
    )
