"""Check what theory claims of a problem, each claim with a control that must fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meanfield_pde.eulerian.gibbs import GibbsError
from meanfield_pde.eulerian.solve import SolveError
from meanfield_pde.flows.game import ZeroSumGame
from meanfield_pde.flows.problem import Problem
from meanfield_pde.lagrangian.steps import SimulationError
from meanfield_pde.measures import check
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.group import Group
from meanfield_pde.studies.claims import CLAIMS, GAME_CLAIMS, Claim, Finding
from meanfield_pde.studies.game_setting import GameSetting
from meanfield_pde.studies.report import Report
from meanfield_pde.studies.setting import Setting

COLUMNS = ("claim", "theory says", "number", "tolerance", "control")
OPEN = "A claim that was not asked for by name is left open where its control cannot fail."
FALSE_MARGIN = 1e3
"""How many times its tolerance a number must be for a claim to count as false."""


def validate(
    problem: Any,
    group: Group | None = None,
    claims: Sequence[str] | Mapping[str, bool] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Report:
    """Check claims about a problem on its density, and on particles where they are named.

    Parameters
    ----------
    problem : Problem or case
        Of a gradient flow or of a game, each with claims of its own. A case brings its own group,
        claims, solver options, and the step and seed of particles.
    group : Group, optional
        Symmetry group for the claims that speak of one.
    claims : sequence of str or mapping of str to bool, optional
        Names of claims, or names with whether theory says that they hold here. A claim said to be
        false must be off by a thousand times its tolerance; by three standard errors, or a factor,
        if it is statistical. All that apply but those on particles where it is left out.
    options : mapping, optional
        Arguments for `solve`, such as ``stepper``.

    Returns
    -------
    Report
        A row a claim: its number, tolerance and control; `Report.text` gives the statement, its
        source, the instance and the reasons, too.

    Raises
    ------
    ValueError
        If a claim is unknown or needs what the problem lacks.
    """
    name, given = "", problem
    if not isinstance(problem, Problem):
        if not hasattr(problem, "problem"):
            raise ValueError(
                f"problem must be a mf.Problem or a case, got {type(problem).__name__}; "
                "write mf.Problem(...) or mf.load_case(name)"
            )
        group = problem.group if group is None else group
        claims = problem.claims if claims is None else claims
        options = problem.solve_options() if options is None else options
        name, problem = f"{problem.name}, ", problem.problem
    particles: dict[str, Any] = getattr(given, "simulate_options", dict)()
    of_game = isinstance(problem.flow, ZeroSumGame)
    if group is not None:
        check.instance("group", group, Group, "make one with the constructors of mf.Group")
        if of_game:
            raise ValueError(
                f"group must be left out in a game, got {group.name}; it has no claims"
            )
    for law in problem.initial if of_game else (problem.initial,):
        if not isinstance(law, Density):
            raise ValueError(
                f"initial must be a Density to validate, got {type(law).__name__}; "
                "put the initial law on a grid"
            )
    # Claims are about flows as they are, and their controls lack the symmetry.
    kept = {k: v for k, v in dict(options or {}).items() if k not in ("save", "symmetry", "reduce")}
    kept_particles = {k: v for k, v in particles.items() if k in ("dynamics", "seed")}
    setting: Setting | GameSetting
    setting = (
        GameSetting(problem, kept, **kept_particles)
        if of_game
        else Setting(problem, group, kept, **kept_particles)
    )
    known = GAME_CLAIMS if of_game else CLAIMS
    rows: list[dict[str, Any]] = []
    verdicts: list[bool | None] = []
    asked = claims is not None
    instance = name + _instance(setting)
    for name, expected in _expected(setting, claims, known).items():
        claim = known[name]
        row = {"claim": name, "statement": claim.statement, "source": claim.source}
        row["instance"] = instance
        try:
            finding = claim.check(setting)
        except (SolveError, GibbsError, SimulationError) as error:
            rows.append({**row, "theory says": _says(expected), "reason": str(error)})
            rows[-1]["because of"] = str(error)
            verdicts.append(False)
            continue
        rows.append({**row, **_entries(finding, expected)})
        verdicts.append(_verdict(finding, expected, asked))
    notes = (
        "A claim that theory says is true holds when its number is within the tolerance and its "
        "control, the same number after the planted fault, is not.",
        *([] if asked else [OPEN]),
        f"One that theory says is false here holds when its number is over {FALSE_MARGIN:g} "
        "tolerances (a statistical one: when it is surely over one); it is its own control.",
    )
    return Report(
        f"Claims on {instance}",
        COLUMNS,
        tuple(rows),
        tuple(verdicts),
        notes,
        {"instance": instance},
    )


def _instance(setting: Setting | GameSetting) -> str:
    if isinstance(setting, GameSetting):
        first, second = setting.grids
        return f"{first.size} and {second.size} cells, t1 = {setting.problem.t1:g}"
    group = "no group" if setting.group is None else f"group {setting.group.name}"
    return f"{setting.grid.size} cells, t1 = {setting.problem.t1:g}, {group}"


def _expected(
    setting: Setting | GameSetting,
    claims: Sequence[str] | Mapping[str, bool] | None,
    known: Mapping[str, Claim],
) -> dict[str, bool]:
    has = {**setting.has(), "particles": claims is not None, "asked": claims is not None}
    if claims is None:
        return {k: True for k, c in known.items() if all(has[need] for need in c.needs)}
    if isinstance(claims, str):
        claims = (claims,)
    wanted = dict(claims) if isinstance(claims, Mapping) else dict.fromkeys(claims, True)
    for name in wanted:
        if name not in known:
            raise ValueError(
                f"claims must be among {', '.join(known)}, got {name!r}; pick from these"
            )
        lacking = [need for need in known[name].needs if not has[need]]
        if lacking:
            remedy = "pass group=, or drop the claim" if "group" in has else "drop the claim"
            raise ValueError(
                f"claim {name} needs {' and '.join(lacking)}, got a problem without; {remedy}"
            )
    return wanted


def _entries(finding: Finding, expected: bool) -> dict[str, Any]:
    return {
        "theory says": _says(expected),
        "expected": expected,
        "number": float(finding.number),
        "tolerance": float(finding.tolerance),
        "reason": finding.reason,
        "control": "" if not expected or finding.control is None else float(finding.control),
        "because of": finding.inconclusive or (finding.fault if expected else ""),
    }


def _says(expected: bool) -> str:
    return "true" if expected else "false here"


def _verdict(finding: Finding, expected: bool, asked: bool) -> bool | None:
    """Whether the check held; None where it shows nothing and was not asked for by name."""
    if finding.inconclusive:
        return False if asked else None
    if not expected:
        least = finding.false_from
        return finding.number > (FALSE_MARGIN * finding.tolerance if least is None else least)
    within = finding.number <= finding.tolerance
    fails = finding.control is not None and finding.control > finding.tolerance
    if not asked and within and not fails:
        return None
    return within and fails
