"""Orders of convergence of a problem, in space and in time, by refinement.

In space the problem is solved on ever finer grids, and compared with an exact law or else with the
next finer grid, averaged over its cells. Steps are adapted, and tightened until they account for
a small share of every error: this share is measured, by solving again with a larger tolerance. In
time the problem is solved on the coarsest grid with equal steps, up to the first saved time, and
compared with half the steps. Errors are L1 norms; orders are fitted by least squares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from meanfield_pde.eulerian.solution import Solution
from meanfield_pde.eulerian.solve import SolveError, solve
from meanfield_pde.flows.problem import Problem
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid
from meanfield_pde.studies.report import Report

COLUMNS = ("refined", "cells", "steps", "error", "order", "of steps")
COARSENED = 4
"""How many times coarser than a case's own grid the first one is."""
SHARE = 0.05
"""Largest part of an error in space that may come from the steps."""
ROUNDS = 4
"""How often steps are tightened for that."""
LOOSER = 4.0
"""Factor of the tolerance by which the error of steps is measured."""
STEPS = 32
"""Fewest equal steps."""
DOUBLINGS = 12
ROUNDING = 1e-12
"""Errors below this have nothing left to fall."""
SLACK = 0.2
"""How far a fitted order may fall short of the one asked for."""


def convergence(
    problem: Any,
    grids: Grid | Sequence[Grid] | None = None,
    exact: Callable[[Grid, float], Density] | None = None,
    levels: int = 4,
    orders: Mapping[str, float] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Report:
    """Refine a problem in space and in time, and fit orders of convergence.

    Parameters
    ----------
    problem : case or callable
        A function of a `Grid` that makes the problem on it, initial law and all; a case does so by
        itself.
    grids : Grid or sequence of Grid, optional
        The coarsest grid, to be halved again and again, or all grids from coarse to fine. A
        case starts from a quarter of its own cells where it is left out.
    exact : callable, optional
        Grid and time to the exact `Density`. Without it each grid is compared with the next finer
        one, whose cells must divide its own.
    levels : int
        Number of grids, and of numbers of steps, 3 or more.
    orders : mapping, optional
        Orders that must be reached, to within 0.2: ``{"space": 2, "time": 2}``, or one of them.
    options : mapping, optional
        Arguments for `solve`; a case's own where they are left out. Errors are the largest over the
        times in ``save`` after the start. ``tolerance`` is where tightening starts; ``dt`` is set
        by the study.

    Returns
    -------
    Report
        A row a level, with the order since the one before, and a row a fit. Errors must fall from
        level to level, and fitted orders reach those asked for. ``details`` holds sizes, errors and
        the fitted order under ``space`` and ``time``.

    Raises
    ------
    ValueError
        If an argument is wrong, or grids do not refine each other.
    SolveError
        If a solve fails.

    Examples
    --------
    >>> import meanfield_pde as mf
    >>> energy = mf.Potential(lambda z: 0.5 * (z**2).sum(-1)) + 0.5 * mf.Entropy()
    >>> def problem(grid):
    ...     start = mf.Density.gaussian(grid, mean=1.0, cov=0.25)
    ...     return mf.Problem(mf.GradientFlow(energy), start, t1=0.5)
    >>> report = convergence(problem, mf.Grid.box(-5, 5, 50), levels=3, orders={"time": 2})
    >>> report.passed, round(report.details["space"]["order"], 1)
    (True, 2.0)
    """
    levels = check.count("levels", levels, "an order takes three of them", least=3)
    make, refined, kept = _resolved(problem, grids, levels, options)
    asked = _asked(orders)
    if exact is None:
        _require_nested(refined)
    study = _fixed_methods(make, refined[-1], kept)
    parts = {
        "space": _in_space(study, refined, exact),
        "time": _in_time(study, refined[0], levels),
    }
    rows: list[dict[str, Any]] = []
    verdicts: list[bool | None] = []
    for name, part in parts.items():
        found, judged = part.rows(name, asked.get(name))
        rows += found
        verdicts += judged
    first, last = refined[0].cells, refined[-1].cells
    title = (
        f"Convergence of {study.flux} and {study.stepper}, {_text(first)} to {_text(last)} cells"
    )
    against = "the exact law" if exact else "the next finer grid"
    notes = (
        f"Errors in space: L1 distance to {against}, the largest over the saved times; at most "
        f"{SHARE:.0%} of each is of the steps, as the last column shows.",
        f"Errors in time: L1 distance to half the steps on {_text(first)} cells at "
        f"t = {study.early:g}.",
        "Orders are fitted by least squares over all levels; beside each level stands the order "
        "since the one before.",
    )
    details = {name: part.details() for name, part in parts.items()}
    return Report(title, COLUMNS, tuple(rows), tuple(verdicts), notes, details)


@dataclass(frozen=True, eq=False)
class Study:
    """What is refined: a problem on any grid, by methods that do not change with the grid."""

    make: Callable[[Grid], Problem]
    flux: Any
    stepper: Any
    tolerance: float
    times: Array
    """Saved times after the start."""

    @property
    def early(self) -> float:
        """Where errors in time are taken: nothing is at rest yet."""
        return float(self.times[0])

    def solve(self, grid: Grid, tolerance: float) -> Solution:
        """Solve with adapted steps, and save at all times."""
        methods = {"flux": self.flux, "stepper": self.stepper}
        return solve(self.make(grid), save=self.times.tolist(), tolerance=tolerance, **methods)

    def march(self, grid: Grid, steps: int) -> Solution:
        """Solve with equal steps up to the early time."""
        given = self.make(grid)
        early = Problem(given.flow, given.initial, self.early)
        dt = given.flow.clock(0.0, self.early) / steps
        return solve(early, flux=self.flux, stepper=self.stepper, dt=dt)


@dataclass(frozen=True, eq=False)
class Refinement:
    """Sizes (spacings or steps) and errors, level by level."""

    sizes: Array
    errors: Array
    cells: tuple[str, ...]
    steps: tuple[int, ...]
    of_steps: tuple[float | str, ...]

    @property
    def order(self) -> float:
        """Order by least squares; 0 where errors are rounding alone."""
        shown = self.errors > ROUNDING
        if shown.sum() < 2:
            return 0.0
        return float(np.polyfit(np.log(self.sizes[shown]), np.log(self.errors[shown]), 1)[0])

    def rows(
        self, name: str, asked: float | None
    ) -> tuple[list[dict[str, Any]], list[bool | None]]:
        """Rows of the report and their verdicts."""
        rows: list[dict[str, Any]] = []
        for k, error in enumerate(self.errors):
            row = {"refined": name, "cells": self.cells[k], "steps": self.steps[k]}
            rows.append({**row, "error": float(error), "of steps": self.of_steps[k], "order": ""})
        verdicts: list[bool | None] = [None]
        for k, (before, after) in enumerate(pairwise(self.errors), start=1):
            if after > ROUNDING:
                ratio = np.log(self.sizes[k - 1] / self.sizes[k])
                rows[k]["order"] = float(np.log(before / after) / ratio)
            verdicts.append(bool(after < before) if before > ROUNDING else None)
        rows.append({"refined": name, "cells": "fit", "order": self.order})
        verdicts.append(None if asked is None else self.order >= asked - SLACK)
        if asked is not None:
            rows[-1]["steps"] = f"asked {asked:g}"
        return rows, verdicts

    def details(self) -> dict[str, Any]:
        """Numbers for figures and files."""
        return {"sizes": self.sizes, "errors": self.errors, "order": self.order}


def _resolved(
    problem: Any, grids: Grid | Sequence[Grid] | None, levels: int, options: Any
) -> tuple[Callable[[Grid], Problem], list[Grid], dict[str, Any]]:
    """Return the maker of problems, the grids, and the options of `solve`."""
    kept = dict(options or {})
    make = problem
    if hasattr(problem, "with_settings"):
        kept = {**problem.solve_options(), **kept}
        own = problem.problem.initial.grid
        if grids is None:
            coarse = tuple(max(1, round(n / COARSENED)) for n in own.cells)
            grids = Grid(own.lower, own.upper, coarse, own.periodic)

        def make(grid: Grid) -> Problem:
            case = problem.with_settings([f"grid.cells={list(grid.cells)}"])
            made: Problem = case.problem
            return made

    if not callable(make):
        raise ValueError(
            f"problem must be a case or a function of a grid, got {type(problem).__name__}; "
            "the initial law has to be made anew on every grid"
        )
    if grids is None:
        raise ValueError(
            "grids must be given for a function, got None; pass the coarsest, as in "
            "grids=mf.Grid.box(-5, 5, 50)"
        )
    if isinstance(grids, Grid):
        grids = [_refined(grids, 2**k) for k in range(levels)]
    if len(grids) < 3:
        raise ValueError(f"grids must be at least 3, got {len(grids)}; an order takes three")
    for grid in grids:
        check.instance("grids", grid, Grid, "make them with Grid.box or Grid.torus")
    if any(a.spacing[0] <= b.spacing[0] for a, b in pairwise(grids)):
        raise ValueError(
            f"grids must get finer, got {[g.cells for g in grids]}; sort them by their cells"
        )
    return make, list(grids), kept


def _refined(grid: Grid, factor: int) -> Grid:
    cells = tuple(factor * n for n in grid.cells)
    return Grid(grid.lower, grid.upper, cells, grid.periodic)


def _require_nested(grids: Sequence[Grid]) -> None:
    for a, b in pairwise(grids):
        if any(n % m for m, n in zip(a.cells, b.cells, strict=True)):
            raise ValueError(
                f"grids must divide each other without exact=, got {a.cells} and {b.cells} cells; "
                "double them"
            )


def _asked(orders: Mapping[str, float] | None) -> dict[str, float]:
    asked = dict(orders or {})
    for name, value in asked.items():
        if name not in ("space", "time"):
            raise ValueError(f"orders must be of space or time, got {name!r}; use these names")
        check.number(f"orders[{name!r}]", value, "2 for most methods", above=0)
    return asked


def _fixed_methods(make: Callable[[Grid], Problem], finest: Grid, options: dict[str, Any]) -> Study:
    """Let `solve` choose flux and stepper on the finest grid, once, and keep them."""
    problem = make(finest)
    check.instance("problem(grid)", problem, Problem, "return mf.Problem(flow, initial, t1)")
    known = {"save", "flux", "stepper", "tolerance", "dt"}
    unknown = [key for key in options if key not in known]
    if unknown:
        raise ValueError(
            f"options must be among {', '.join(sorted(known))}, got {unknown[0]!r}; drop it"
        )
    flux, stepper = (options.get(key, "auto") for key in ("flux", "stepper"))
    times = problem.save_times(options.get("save"))
    times = times[times > 0]
    if not len(times):
        raise ValueError("save must hold a time after the start, got 0 alone; add t1")
    chosen = solve(problem, save=[0.0], flux=flux, stepper=stepper).statistics
    flux = chosen.flux if flux == "auto" else flux
    stepper = chosen.stepper if stepper == "auto" else stepper
    tolerance = float(options.get("tolerance", 1e-3))
    return Study(make, flux, stepper, tolerance, times)


def _in_space(
    study: Study, grids: Sequence[Grid], exact: Callable[[Grid, float], Density] | None
) -> Refinement:
    """Errors grid by grid, with steps tightened until they hardly count."""
    answers = None if exact is None else [_exact(exact, grid, study.times) for grid in grids]
    tolerances = [study.tolerance] * len(grids)
    found: list[Level | None] = [None] * len(grids)
    for _ in range(ROUNDS + 1):
        for k, grid in enumerate(grids):
            if found[k] is None:
                found[k] = _level(study, grid, tolerances[k])
        done = [level for level in found if level is not None]
        errors = _errors_in_space(done, answers)
        bounds = [SHARE / 2 * errors[min(k, len(errors) - 1)] for k in range(len(grids))]
        late = [k for k, level in enumerate(done) if level.of_steps > max(bounds[k], ROUNDING)]
        if not late:
            break
        for k in late:
            tolerances[k] *= float(np.clip(0.5 * bounds[k] / done[k].of_steps, 1e-2, 0.25))
            found[k] = None
    own = [level.of_steps for level in done]
    if answers is None:  # two solves make an error
        own = [a + b for a, b in pairwise(own)]
    count = len(errors)
    return Refinement(
        np.array([max(grid.spacing) for grid in grids[:count]]),
        np.array(errors),
        tuple(_text(grid.cells) for grid in grids[:count]),
        tuple(level.steps for level in done[:count]),
        tuple(f"{a / e:.1%}" if e > ROUNDING else "" for a, e in zip(own, errors, strict=True)),
    )


@dataclass(frozen=True, eq=False)
class Level:
    """Densities on a grid at all times, what the tolerance accounts for in them, and steps."""

    values: Array
    volume: float
    of_steps: float
    steps: int


def _level(study: Study, grid: Grid, tolerance: float) -> Level:
    tight, loose = (study.solve(grid, factor * tolerance) for factor in (1.0, LOOSER))
    values, other = (np.stack([rho.values for rho in s.densities]) for s in (tight, loose))
    return Level(values, grid.volume, _gap(values, other, grid.volume), tight.statistics.steps)


def _errors_in_space(levels: Sequence[Level], answers: Sequence[Array] | None) -> list[float]:
    if answers is not None:
        pairs = zip(levels, answers, strict=True)
        return [_gap(level.values, answer, level.volume) for level, answer in pairs]
    return [
        _gap(a.values, _averaged(b.values, a.values.shape), a.volume) for a, b in pairwise(levels)
    ]


def _exact(exact: Callable[[Grid, float], Density], grid: Grid, times: Array) -> Array:
    laws = [exact(grid, float(t)) for t in times]
    for law in laws:
        check.instance("exact(grid, t)", law, Density, "return cell averages on that grid")
        if law.grid != grid:
            raise ValueError(
                f"exact(grid, t) must be on the grid, got one of {law.grid.cells} cells for "
                f"{grid.cells}; pass the grid on"
            )
    return np.stack([law.values for law in laws])


def _averaged(values: Array, shape: tuple[int, ...]) -> Array:
    """Cell averages (times, *fine) on the cells of a coarser grid, of shape (times, *coarse)."""
    for axis in range(1, values.ndim):
        n = shape[axis]
        split = (*values.shape[:axis], n, values.shape[axis] // n, *values.shape[axis + 1 :])
        values = values.reshape(split).mean(axis=axis + 1)
    return values


def _gap(a: Array, b: Array, volume: float) -> float:
    """Largest L1 distance over the times."""
    return float(np.abs(a - b).sum(axis=tuple(range(1, a.ndim))).max() * volume)


def _in_time(study: Study, grid: Grid, levels: int) -> Refinement:
    """Errors of equal steps, each beside half of it."""
    base, first = _first_march(study, grid)
    counts = [base * 2**k for k in range(levels)]
    values = [first] + [study.march(grid, n).densities[-1].values[None] for n in counts[1:]]
    count = levels - 1
    return Refinement(
        study.make(grid).flow.clock(0.0, study.early) / np.array(counts[:count]),
        np.array([_gap(a, b, grid.volume) for a, b in pairwise(values)]),
        (_text(grid.cells),) * count,
        tuple(counts[:count]),
        ("",) * count,
    )


def _first_march(study: Study, grid: Grid) -> tuple[int, Array]:
    """Fewest equal steps, from `STEPS` on, that can be taken without splitting one."""
    steps = STEPS
    for _ in range(DOUBLINGS):
        try:
            solution = study.march(grid, steps)
        except (ValueError, SolveError) as error:
            refused: Exception = error
        else:
            if solution.statistics.steps == steps:
                return steps, solution.densities[-1].values[None]
            refused = ValueError(f"{steps} equal steps were split")
        steps *= 2
    raise refused


def _text(cells: Sequence[int]) -> str:
    return " x ".join(str(n) for n in cells)
