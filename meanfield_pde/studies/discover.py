r"""Discovering an architecture: the subspace of parameters that training does not leave by itself.

If the risk is invariant, laws on the fixed subspace E^G of its group stay there (Maass and
Fontbona, arXiv 2405.19995, Theorem 5). So where the group is not known: start on E = {0}, train
without noise on the whole risk or by SGD, and compare the law nu at the end with its projection.
If ``RMD^2(nu, P_E # nu)`` is above a threshold, add the mean displacement to E, and go on;
else stop. On an invariant problem every E that population gradients find lies in E^G.

What this does not tell. It stops at the first subspace that is not left. That may be smaller than
E^G: a saddle, where the gradient vanishes on E by accident. It may lie across E^G: a reflection
that unit, data and target happen to share (the case swap-arbitrary stops at the line of e1). A
displacement can average to zero over the particles; the report says so, and fails. In directions
in which E is unstable rounding, or the noise of SGD, grows as exp(kappa t): keep t1 short. A
subspace that is left by less than the threshold counts as kept. Other starts may find others:
nothing here is unique.

Threshold. With population gradients only rounding leaves a kept subspace: RMD^2 is some
1e-32 exp(2 kappa t1), and the threshold 1e-20 leaves room for kappa t1 < 14. By SGD all particles
share the noise of a batch, so that displacements have a variance of order dt, whatever the number
of particles (of order 1/N with steps of order 1/N, as in the paper). It is measured: R replicas
start from the same particles, and displacements are averaged over them. The variance between
replicas over R is what batches do to that average: the floor. On a kept subspace the mean square
displacement over the floor follows, at worst (if noise acts in one direction), Fisher's F law with
(1, R - 1) degrees of freedom. Its quantile at 1 - ``level``, times the floor, is the threshold. A
direction found from noisy displacements is itself tilted: the square of the angle is about the
floor over the square of the displacement. Times the second moment on E, that is added to the floor
of all later rounds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import f as fisher

from meanfield_pde.energies.energy import Energy
from meanfield_pde.flows.gradient_flow import GradientFlow
from meanfield_pde.flows.problem import Problem, Sampler, require_gradient_flow
from meanfield_pde.lagrangian.dynamics import SGD, Dynamics, Langevin
from meanfield_pde.lagrangian.simulate import simulate
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.group import Group
from meanfield_pde.studies.report import Report

COLUMNS = ("round", "dimension", "RMD^2", "threshold", "mean share", "off E^G", "then")
ROUNDING = 1e-20
"""Threshold for population gradients."""
REPLICAS = 8
"""Of SGD."""


@dataclass(frozen=True)
class Displacement:
    """How far training led particles away from a subspace; squares are relative, as RMD^2.

    Parameters
    ----------
    square : float
        RMD^2 of the particles, averaged over replicas, to their projection.
    floor : float
        What of it the noise of batches makes on average.
    mean : array (d,)
        Mean displacement.
    share : float
        Square of the mean over the mean square: 0 where displacements average to zero.
    spread : float
        Second moment of the projected particles over the scale of the squares.
    """

    square: float
    floor: float
    mean: Array
    share: float
    spread: float


def discover(
    problem: Any,
    dynamics: str | Dynamics = "langevin",
    particles: int = 512,
    seed: int = 0,
    replicas: int = REPLICAS,
    delta: float | None = None,
    level: float = 1e-3,
    group: Group | None = None,
    initial: Density | Cloud | Sampler | None = None,
    t1: float = 5.0,
) -> Report:
    """Find a subspace of parameters that training keeps, from {0} upwards.

    Parameters
    ----------
    problem : Problem, case or Energy
        What is learnt; its entropy is left out. An energy, such as a risk, needs ``initial``.
    dynamics : str or Dynamics
        ``langevin`` (population gradients, no noise), ``sgd``, or an object with its step.
    particles : int
    seed : int
        Seed of all randomness.
    replicas : int
        Independent runs of SGD from the same particles, 3 or more.
    delta : float, optional
        Threshold of RMD^2; where it is left out 1e-20 for population gradients and for SGD a
        multiple of the measured floor (see `meanfield_pde.studies.discover`).
    level : float
        Chance that noise alone passes the threshold of SGD in a round.
    group : Group, optional
        Only to report how far directions are from its E^G; a case brings its own.
    initial, t1
        Law of the start and end time, for an energy.

    Returns
    -------
    Report
        A row a round: RMD^2 to the subspace, the threshold, the share of the mean in the
        displacement and what was done. The last has the verdict: whether the search ended with a
        subspace that is kept, which may be the whole space. ``details["basis"]`` holds an
        orthonormal basis, one row a direction.

    Raises
    ------
    ValueError
        If an argument is wrong, or particles live on a torus.
    SimulationError
        If training leaves the range of numbers.

    Examples
    --------
    >>> import meanfield_pde as mf
    >>> target = lambda x: 0.5 * np.tanh(2 * x).sum(-1)
    >>> risk = mf.Risk(mf.Unit.ridge("tanh"), mf.Data.gauss_hermite(2, 8, target))
    >>> report = discover(risk, initial=lambda n, rng: rng.standard_normal((n, 2)))
    >>> np.abs(report.details["basis"]).round(6).tolist()
    [[0.707107, 0.707107]]
    """
    problem, group = _problem(problem, initial, t1, group)
    chosen = _dynamics(dynamics)
    runs = 1
    if isinstance(chosen, SGD):
        runs = check.count("replicas", replicas, "8 is a good number", least=3)
    level = check.number("level", level, "1e-3 is a good number", above=0, most=0.5)
    if delta is not None:
        delta = check.number("delta", delta, "RMD^2 lies between 0 and 1", above=0, most=1)
    particles = check.count("particles", particles, "512 is a good number")
    start = problem.draw(particles, np.random.default_rng(seed))
    dim = start.shape[1]
    onto = None if group is None else (group.on_z(dim), group.projection())[1]
    basis, tilt = np.zeros((0, dim)), 0.0
    rows: list[dict[str, Any]] = []
    verdict: bool | None = None
    while verdict is None:
        found = _displacement(problem, chosen, start, basis, 1000 * seed + len(basis), runs)
        threshold = delta or _threshold(found, tilt, level, runs)
        direction = found.mean / (np.linalg.norm(found.mean) or 1.0)
        row = {"round": len(rows), "dimension": len(basis), "RMD^2": found.square}
        rows.append({**row, "threshold": threshold, "mean share": found.share})
        if len(basis) == dim or found.square <= threshold:
            verdict, then = True, "kept: stop" if len(basis) < dim else "all of Z: stop"
        elif found.share * found.square <= threshold:
            verdict, then = False, "displacements average to zero: stop"
        else:
            then = "add " + np.array2string(direction, precision=3, suppress_small=True)
            rows[-1]["direction"] = direction
            basis = np.concatenate([basis, _orthonormal(direction, basis)[None]])
            tilt += found.floor / (found.share * found.square)
            if onto is not None:
                rows[-1]["off E^G"] = float(np.linalg.norm(direction - onto @ direction))
        rows[-1]["then"] = then
    return _report(rows, verdict, basis, chosen)


def _problem(
    problem: Any, initial: Any, t1: float, group: Group | None
) -> tuple[Problem, Group | None]:
    """Return the problem without noise, from a problem, a case or an energy."""
    if isinstance(problem, Energy):
        if initial is None:
            raise ValueError(
                "initial must be given with an energy, got None; give a law such as "
                "lambda n, rng: rng.standard_normal((n, 2))"
            )
        problem = Problem(GradientFlow(problem), initial, t1)
    group = getattr(problem, "group", None) if group is None else group
    problem = getattr(problem, "problem", problem)
    require_gradient_flow("discover", problem)
    check.instance("problem", problem, Problem, "or give a case, or an energy with initial=")
    if isinstance(problem.initial, Density) and problem.initial.grid.periodic:
        raise ValueError(
            "problem must live in a flat space, got a torus; a circle has no subspace {0}"
        )
    flow = replace(problem.flow, energy=problem.flow.energy.smooth)
    return Problem(flow, problem.initial, problem.t1), group


def _dynamics(dynamics: str | Dynamics) -> Dynamics:
    named: dict[str, Dynamics] = {"langevin": Langevin(0.02), "sgd": SGD(0.01)}
    chosen = named.get(dynamics) if isinstance(dynamics, str) else dynamics
    if not isinstance(chosen, Dynamics):
        raise ValueError(
            f"dynamics must be {', '.join(named)} or a Dynamics, got {dynamics!r}; "
            "for example mf.SGD(dt=0.01, batch=20)"
        )
    return chosen


def _displacement(
    problem: Problem, dynamics: Dynamics, start: Array, basis: Array, seed: int, runs: int
) -> Displacement:
    """Train from the projected start, several times, and look how far particles have moved off."""
    projection = basis.T @ basis
    law = Problem(problem.flow, Cloud(start @ projection), problem.t1)
    run = simulate(law, len(start), seed, dynamics, save=[problem.t1], seeds=runs)
    ends = run.points[0]
    middle = ends.mean(axis=0)
    image = middle @ projection
    away = middle - image
    scale = 2 * max(_moment(middle) + _moment(image), _moment(start))
    noise = ends - middle
    noise = noise - noise @ projection
    floor = _moment(noise.reshape(-1, noise.shape[-1])) / max(runs - 1, 1)
    square, mean = _moment(away), away.mean(axis=0)
    share = float(mean @ mean) / square if square else 0.0
    return Displacement(square / scale, floor / scale, mean, share, _moment(image) / scale)


def _threshold(found: Displacement, tilt: float, level: float, runs: int) -> float:
    """Quantile of Fisher's law times the floor; rounding where nothing is random."""
    if runs == 1:
        return ROUNDING
    quantile = float(fisher.isf(level, 1, runs - 1))
    return max(ROUNDING, quantile * (found.floor + tilt * found.spread))


def _orthonormal(direction: Array, basis: Array) -> Array:
    """Direction, made orthogonal to a basis once more, against rounding."""
    rest = direction - (basis @ direction) @ basis
    return np.asarray(rest / np.linalg.norm(rest))


def _moment(points: Array) -> float:
    return float((points**2).sum()) / len(points)


def _report(
    rows: list[dict[str, Any]], verdict: bool | None, basis: Array, dynamics: Dynamics
) -> Report:
    notes = (
        "RMD^2 is that of trained particles to their projection on a subspace that starts at {0};",
        "its moments are not counted below that of the start. Mean share: square of the mean",
        "displacement over the mean square. A kept subspace need be neither E^G nor the only one.",
    )
    title = f"Subspace that training keeps, by {dynamics.name}: dimension {len(basis)}"
    verdicts = (None,) * (len(rows) - 1) + (verdict,)
    return Report(title, COLUMNS, tuple(rows), verdicts, notes, {"basis": basis})
