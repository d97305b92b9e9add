r"""Fluctuations of N particles about their mean-field limit: :math:`N\, E |f_N - f|^2`.

By the dynamical central limit theorem (Chen, Rotskoff, Bruna and Vanden-Eijnden, arXiv 2008.09623)
it converges as N grows, at every time; without noise its limit is computed (`central_limit`). At
the start it is what independent samples have, :math:`\int |\sigma_*|^2 d\mu_0 - |f_0|^2`; later,
and in the end, it lies below that number for :math:`\mu_t`, the resampling bound, since the drift
corrects what the samples err by.

Since the outputs become normal, the squared error of a replica is distributed as a weighted sum of
chi-squared numbers. Its mean over replicas is given the interval of one chi-squared number with
the same variance (Satterthwaite), by the covariance of the outputs between replicas. With 16 to 64
replicas 95 % intervals by Student's t cover 87 to 94 %, by the bootstrap 86 to 95 %: the mean of
few squares is skewed. By chi-squared numbers they cover 95 to 98 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import chi2

from meanfield_pde.energies.risk import Risk
from meanfield_pde.energies.variants import plain_risk
from meanfield_pde.eulerian.solve import solve
from meanfield_pde.flows.problem import Problem, require_gradient_flow, require_shared
from meanfield_pde.lagrangian.dynamics import Langevin
from meanfield_pde.lagrangian.simulate import simulate
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.studies.central_limit import is_linearised, settled_fluctuations
from meanfield_pde.studies.mean_field import Limit, limit_of, replica_outputs, squared_norm
from meanfield_pde.studies.report import Report

NUMBER = "N E|f_N - f|^2"
COLUMNS = (
    *("particles", "time", NUMBER, "low", "high"),
    *("limit", "resampling", "ratio", "of reference"),
)
LEVEL = 0.95
ALARM = 1e-3
"""Probability that the start is judged wrong, for all N together."""
SMALL = 0.25
"""Share of an interval's half width that the reference may be off."""


def fluctuations(
    problem: Any,
    particles: Sequence[int] = (64, 256),
    seeds: int = 64,
    save: Sequence[float] | int | None = None,
    dt: float | None = None,
    seed: int | None = None,
    reference: str = "auto",
    options: Mapping[str, Any] | None = None,
) -> Report:
    """Measure how far the outputs of N particles are from those of their mean-field law.

    Parameters
    ----------
    problem : Problem or case
        With a risk, and a density as its initial law. A case brings times, step, seed and solver
        options of its own.
    particles : sequence of int
        Numbers N of particles.
    seeds : int
        Independent replicas for each N.
    save : sequence of float or int, optional
        As in `solve`; the start is added where it is missing.
    dt : float, optional
        Step of the particles, which feel all data; 0.01 where nothing is said. Without diffusion
        or reaction the reference takes the same steps; else their bias is part of the number.
    seed : int, optional
        Seed of all randomness.
    reference : str
        The mean-field law: ``cloud`` (a rule of quadrature moved along the flow, without diffusion
        or reaction only), ``density``, or ``auto``.
    options : mapping, optional
        Arguments for `solve`.

    Returns
    -------
    Report
        A row for each N and time: ``N E|f_N - f|^2`` in L2 of the data, its 95 % interval, what it
        tends to as N grows (where nothing but the start is random, and nothing but the risk feels
        the law: no diffusion, reaction or interaction), the resampling bound, the ratio to it, and
        the most by which the error of the reference may have moved the number, in half widths of
        the interval. The start holds where it agrees with independent samples. Rows whose reference
        is too crude fail. ``offset`` in a row is about 1 where the mean over replicas is off by no
        more than chance has it. ``details`` holds all that a figure needs, and where the reference
        is a cloud how far the density is off.

    Raises
    ------
    ValueError
        If an argument is wrong, there is no risk, or the initial law is not a density of mass 1 on
        a grid of Z.

    Examples
    --------
    >>> import meanfield_pde as mf
    >>> data = mf.Data.gauss_hermite(dim=1, nodes=2, target=lambda x: 2 * x[..., 0])
    >>> start = mf.Density.gaussian(mf.Grid.box(-4, 8, 120), 0.0, 0.5)
    >>> flow = mf.GradientFlow(mf.Risk(mf.Unit.ridge("linear"), data))
    >>> report = fluctuations(mf.Problem(flow, start, t1=1.0), particles=[50], dt=0.05)
    >>> report.passed, [round(row["resampling"], 3) for row in report.rows]
    (True, [0.502, 0.502])
    >>> [round(row["limit"], 3) for row in report.rows]  # .502 (1 - 2 dt)^(2 t1 / dt)
    [0.502, 0.007]
    """
    problem, options, save, dt, seed = _resolved(problem, options, save, dt, seed)
    risk, initial = _required(problem)
    sizes = _sizes(particles)
    seeds = check.count("seeds", seeds, "64 give intervals of a third", least=2)
    times = problem.save_times(save)
    times = times if times[0] == 0 else np.concatenate([[0.0], times])
    problem = Problem(problem.flow, initial.normalised(), problem.t1)
    limit = limit_of(problem, risk, times, dt, options, reference)
    tends = limit_in_numbers(problem, risk, limit, dt)
    rows: list[dict[str, Any]] = []
    verdicts: list[bool | None] = []
    for n in sizes:
        key = int(np.random.SeedSequence([seed, n, seeds]).generate_state(1)[0])
        run = simulate(problem, n, key, Langevin(dt), save=times.tolist(), seeds=seeds)
        for k, points in enumerate(run.points):
            gaps = replica_outputs(risk, points) - limit.outputs[k]
            row = _row(risk, n, gaps, limit, k, tends)
            rows.append(row)
            verdicts.append(_verdict(risk, n, gaps, limit, k, ALARM / len(sizes)))
    details = {
        "particles": sizes,
        "times": times,
        "limit": tends,
        "resampling": limit.resampling,
        "reference": limit.law,
        "errors": limit.errors,
        **_density_off(problem, risk, limit, options),
    }
    title = f"Fluctuations about the mean-field limit, {seeds} replicas, dt = {dt:g}"
    return Report(title, COLUMNS, tuple(rows), tuple(verdicts), _notes(limit, details), details)


def mean_square(
    risk: Risk, n: int, gaps: Array, level: float = LEVEL
) -> tuple[float, float, float]:
    """Find ``n E|gap|^2`` over replicas (replicas, data, outputs), and its interval.

    Satterthwaite's: `freedom` chi-squared numbers, as many as make the variance right.
    """
    number = n * float(squared_norm(risk, gaps).mean())
    if not number:
        return 0.0, 0.0, 0.0
    count, tail = freedom(risk, gaps), 0.5 * (1 - level)
    low, high = (number * count / chi2.isf(p, count) for p in (tail, 1 - tail))
    return number, float(low), float(high)


def freedom(risk: Risk, gaps: Array) -> float:
    """Chi-squared numbers in a mean square: R (tr C)^2 / tr C^2, C the covariance of R outputs.

    C is that of the gaps themselves, whose mean is 0 up to 1/N. tr C^2 is on the large side for few
    replicas, which makes the interval wider.
    """
    weighted = (gaps * np.sqrt(risk.data.weights)[:, None]).reshape(len(gaps), -1)
    products = weighted @ weighted.T
    return float(len(gaps) * np.trace(products) ** 2 / (products**2).sum())


def shift(risk: Risk, n: int, gaps: Array, error: float) -> float:
    """Bound what an error of the reference can change in the mean square of these gaps."""
    offset = float(np.sqrt(squared_norm(risk, gaps.mean(axis=0))))
    return n * error * (2 * offset + error)


def _row(
    risk: Risk, n: int, gaps: Array, limit: Limit, k: int, tends: Array | None
) -> dict[str, Any]:
    number, low, high = mean_square(risk, n, gaps)
    bound, moved = float(limit.resampling[k]), shift(risk, n, gaps, float(limit.errors[k]))
    mean = n * len(gaps) * float(squared_norm(risk, gaps.mean(axis=0)))
    return {
        "particles": n,
        "time": float(limit.times[k]),
        NUMBER: number,
        "low": low,
        "high": high,
        "limit": "" if tends is None or np.isnan(tends[k]) else float(tends[k]),
        "resampling": bound,
        "ratio": number / bound if bound > 0 else "",
        "of reference": moved / (0.5 * (high - low)) if high > low else "",
        "offset": mean / number if number else "",
    }


def limit_in_numbers(problem: Problem, risk: Risk, limit: Limit, dt: float) -> Array | None:
    """Limit of the numbers as N grows, where it can be computed."""
    if not limit.law.startswith("cloud") or not is_linearised(problem, risk):
        return None
    return settled_fluctuations(problem, risk, limit.times, dt)


def too_crude(risk: Risk, n: int, gaps: Array, error: float) -> bool:
    """Whether the reference may be off by more than a share of the interval's half width."""
    _, low, high = mean_square(risk, n, gaps)
    return shift(risk, n, gaps, error) > SMALL * 0.5 * (high - low)


def _verdict(risk: Risk, n: int, gaps: Array, limit: Limit, k: int, alarm: float) -> bool | None:
    if too_crude(risk, n, gaps, float(limit.errors[k])):
        return False
    if limit.times[k] > 0:
        return None
    _, low, high = mean_square(risk, n, gaps, 1 - alarm)
    return bool(low <= limit.resampling[0] <= high)


def _density_off(
    problem: Problem, risk: Risk, limit: Limit, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Distance of the density's outputs from those of a cloud, where that is the reference."""
    if not limit.law.startswith("cloud"):
        return {}
    found = solve(problem, save=limit.times.tolist(), **options)
    outputs = np.array([risk.predict(rho) for rho in found.densities])
    return {"density off": np.sqrt(squared_norm(risk, outputs - limit.outputs))}


def _notes(limit: Limit, details: Mapping[str, Any]) -> tuple[str, ...]:
    notes = (
        f"Reference: {limit.law}, wrong by at most {limit.errors.max():.1e} in L2 of the data by "
        "refinement; 'of reference' is the most that this may have moved the number, in half "
        f"widths of its 95 % interval. A row fails above {SMALL:g}.",
        "'resampling' is the number of independent samples of the law at that time. The start "
        f"must agree with it, to {1 - ALARM:.1%} for all N together.",
        "'limit' is what the number tends to as N grows, by the flow linearised about its limit; "
        "left out from where clouds of one and more points a cell differ by a twentieth: use more "
        "cells there."
        if details["limit"] is not None
        else "No 'limit' is computed here: it takes a start on a grid, no diffusion, no reaction, "
        "no energy but the plain risk that feels the law, and room for all steps of a cloud.",
    )
    if "density off" not in details:
        bias = "The bias of the particles' Euler steps is part of the number."
        return (*notes, bias)
    off = float(np.max(details["density off"]))
    return (*notes, f"The density solved on the problem's own grid is off by at most {off:.1e}.")


def _required(problem: Problem) -> tuple[Risk, Density]:
    """Return the plain risk and the initial density, or raise ValueError."""
    found = (plain_risk(leaf) for _, leaf in problem.flow.energy.terms)
    risk = next((leaf for leaf in found if leaf is not None), None)
    if risk is None:
        raise ValueError(
            "problem must have a risk, whose outputs fluctuate, got none; add a mf.Risk"
        )
    initial = problem.initial
    if not isinstance(initial, Density) or initial.grid.symmetric_chart is not None:
        raise ValueError(
            "initial must be a Density on a grid of Z, got "
            f"{'one on a chart' if isinstance(initial, Density) else type(initial).__name__}; "
            "put the initial law on a Grid.box or Grid.torus"
        )
    require_shared(initial)
    return risk, initial


def _sizes(particles: Sequence[int]) -> list[int]:
    if not isinstance(particles, Sequence) or not particles or isinstance(particles, str):
        raise ValueError(f"particles must be numbers of them, got {particles!r}; try [64, 256]")
    return [check.count("particles", n, "64 and 256 are good numbers") for n in particles]


def _resolved(
    problem: Any, options: Any, save: Any, dt: float | None, seed: int | None
) -> tuple[Problem, dict[str, Any], Any, float, int]:
    """Take from a case what is not given."""
    if hasattr(problem, "simulate_options"):
        own = problem.simulate_options()
        options = problem.solve_options() if options is None else options
        save = own["save"] if save is None else save
        dt = own["dynamics"].dt if dt is None else dt
        seed = own["seed"] if seed is None else seed
        problem = problem.problem
    check.instance("problem", problem, Problem, "write mf.Problem(...) or mf.load_case(name)")
    require_gradient_flow("fluctuations", problem)
    dt = check.number("dt", 0.01 if dt is None else dt, "0.01 is a good number", above=0)
    seed = check.count("seed", seed or 0, "any whole number from 0 will do", least=0)
    # The law is compared with particles, which know no symmetry of the solver.
    kept = {k: v for k, v in (options or {}).items() if k not in ("save", "symmetry", "reduce")}
    return problem, kept, save, dt, seed
