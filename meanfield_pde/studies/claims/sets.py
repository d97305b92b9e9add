"""Claims about functions of sets, and about layers that are frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from meanfield_pde.eulerian.solution import Solution
from meanfield_pde.eulerian.solve import solve
from meanfield_pde.measures.check import Array
from meanfield_pde.studies.claims.claim import ROUNDING, STATIC, Claim, Finding
from meanfield_pde.studies.claims.network import plain, random_points
from meanfield_pde.studies.setting import SAVES, TILT, Setting

MARGINAL = 1e-13


def permutation_invariant(setting: Setting) -> Finding:
    """Compare the unit on sets whose points are in another order; parameters stay."""
    risk, group = plain(setting), setting.symmetry
    x, z = risk.data.x, random_points(setting, 40)
    on_x = group.on_x(x.shape[1])

    def defect(features: Callable[[Array], Array]) -> float:
        here = features(x)
        return max(float(np.abs(features(x @ g.T) - here).max()) for g in on_x)

    places = np.arange(x.shape[1] // 2)
    by_place = np.concatenate([np.ones(len(places)), 1.0 + TILT * places])
    number = defect(lambda rows: risk.unit.features(rows, z))
    control = defect(lambda rows: risk.unit.features(rows * by_place, z))
    tolerance = STATIC * (1 + float(np.abs(risk.unit.features(x, z)).max()))
    return Finding(number, tolerance, ROUNDING, control, "points weighed by their place in the row")


def frozen_law_kept(setting: Setting) -> Finding:
    """Largest L1 change of the law of the frozen coordinates."""
    flow = replace(setting.problem.flow, frozen=())
    freed = solve(replace(setting.problem, flow=flow), save=SAVES, **setting.options)
    number = _change(setting, setting.flow("stated", "given"))
    return Finding(number, MARGINAL, "rounding of sums", _change(setting, freed), "nothing frozen")


def _change(setting: Setting, solution: Solution) -> float:
    moving = setting.problem.flow.moving(setting.grid.dim)
    laws = [rho.masses.sum(axis=moving) for rho in solution.densities]
    return max(float(np.abs(law - laws[0]).sum()) for law in laws) / solution.densities[0].mass


CLAIMS: dict[str, Claim] = {
    "permutation-invariant": Claim(
        "the unit is a function of sets: the order of their points makes no difference",
        "Zweig and Bruna 2020, section 2",
        ("group", "sets"),
        permutation_invariant,
    ),
    "frozen-law-kept": Claim(
        "the law of the frozen coordinates stays what it was",
        "nothing moves along them",
        ("frozen", "transport alone"),
        frozen_law_kept,
    ),
}
