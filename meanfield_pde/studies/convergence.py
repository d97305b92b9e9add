"""Orders of convergence of a problem, in space and in time, by refinement.

In space the problem is solved on ever finer grids, and compared with an exact law or else with the
next finer grid, averaged over its cells. Steps are adapted, and tightened until they account for
a small share of every error: this share is measured, by solving again with a larger tolerance. In
time the problem is solved on the coarsest grid with equal steps, up to the first saved time, and
compared with half the steps. Errors are L1 norms; orders are fitted by least squares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

from meanfield_pde.eulerian.flux import FLUXES
from meanfield_pde.eulerian.solve import solve
from meanfield_pde.eulerian.stepper import STEPPERS, Equation
from meanfield_pde.flows.problem import Problem, require_gradient_flow
from meanfield_pde.measures import check
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid
from meanfield_pde.studies.refinement import SHARE, Study, cells_text, in_space, in_time
from meanfield_pde.studies.report import Report

COLUMNS = ("refined", "cells", "steps", "error", "order", "of steps")
COARSENED = 4
"""How many times coarser than a case's own grid the first one is."""


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
    >>> methods = {"flux": "sg", "stepper": "mprk22"}
    >>> coarse = mf.Grid.box(-5, 5, 50)
    >>> report = convergence(problem, coarse, levels=3, orders={"time": 2}, options=methods)
    >>> report.passed, round(report.details["space"]["order"], 1)
    (True, 2.0)
    """
    levels = check.count("levels", levels, "an order takes three of them", least=3)
    make, refined, kept = _resolved(problem, grids, levels, options)
    asked = _asked(orders)
    if exact is None:
        _require_nested(refined)
    study = _fixed_methods(make, refined[-1], kept)
    parts = {"space": in_space(study, refined, exact)}
    if not study.exact_in_time:
        parts["time"] = in_time(study, refined[0], levels)
    elif "time" in asked:
        raise ValueError(
            f"orders must leave time out, got {asked['time']:g}: the potential is fixed, and "
            f"{study.stepper} has no error in time; or name another stepper"
        )
    rows: list[dict[str, Any]] = []
    verdicts: list[bool | None] = []
    for name, part in parts.items():
        found, judged = part.rows(name, asked.get(name))
        rows += found
        verdicts += judged
    first, last = (cells_text(grid.cells) for grid in (refined[0], refined[-1]))
    flux, stepper = (getattr(method, "name", method) for method in (study.flux, study.stepper))
    title = f"Convergence of {flux} and {stepper}, {first} to {last} cells"
    against = "the exact law" if exact else "the next finer grid"
    notes = (
        f"Errors in space: L1 distance to {against}, the largest over the saved times.",
        f"'of steps' bounds the share that steps have in them, tightened until it is {SHARE:g}.",
        f"No error in time: the potential is fixed, and steps of {stepper} are exact."
        if study.exact_in_time
        else f"Errors in time: L1 distance to half the step, {first} cells, t = {study.early:g}.",
        "Beside each level stands the order since the one before; 'fit' is by least squares.",
    )
    details = {name: part.details() for name, part in parts.items()}
    return Report(title, COLUMNS, tuple(rows), tuple(verdicts), notes, details)


def _resolved(
    problem: Any, grids: Grid | Sequence[Grid] | None, levels: int, options: Any
) -> tuple[Callable[[Grid], Problem], list[Grid], dict[str, Any]]:
    """Return the maker of problems, the grids, and the options of `solve`."""
    if hasattr(problem, "with_settings"):
        require_gradient_flow("convergence", problem.problem)
        own = problem.problem.initial.grid
        if grids is None:
            coarse = tuple(max(1, round(n / COARSENED)) for n in own.cells)
            grids = replace(own, cells=coarse)
        kept = {**problem.solve_options(), **(options or {})}
        # The first two change the last bits alone, and past a collapse there is no order.
        for name in ("symmetry", "reduce", "collapse"):
            kept.pop(name)
        return partial(_remade, problem), _grids(grids, levels), kept
    require_gradient_flow("convergence", problem)
    if not callable(problem):
        raise ValueError(
            f"problem must be a case or a function of a grid, got {type(problem).__name__}; "
            "the initial law has to be made anew on every grid"
        )
    return problem, _grids(grids, levels), dict(options or {})


def _remade(case: Any, grid: Grid) -> Problem:
    """Return the problem of a case on another grid of the same domain."""
    made: Problem = case.with_settings([f"grid.cells={list(grid.cells)}"]).problem
    if made.initial.grid != grid:  # type: ignore[union-attr]
        raise ValueError(
            f"grids must cover the case's own domain, got {grid.lower} to {grid.upper}; "
            "change the case, or pass a function of a grid"
        )
    return made


def _grids(grids: Grid | Sequence[Grid] | None, levels: int) -> list[Grid]:
    if grids is None:
        raise ValueError(
            "grids must be given for a function, got None; pass the coarsest, as in "
            "grids=mf.Grid.box(-5, 5, 50)"
        )
    if isinstance(grids, Grid):
        grids = [_refined(grids, 2**k) for k in range(levels)]
    for grid in grids:
        check.instance("grids", grid, Grid, "make them with Grid.box or Grid.torus")
    if len(grids) < 3:
        raise ValueError(f"grids must be at least 3, got {len(grids)}; an order takes three")
    if any(a.spacing[0] <= b.spacing[0] for a, b in pairwise(grids)):
        cells = [cells_text(grid.cells) for grid in grids]
        raise ValueError(f"grids must get finer, got {cells} cells; sort them by their cells")
    return list(grids)


def _refined(grid: Grid, factor: int) -> Grid:
    cells = tuple(factor * n for n in grid.cells)
    return replace(grid, cells=cells)


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
    energy = problem.flow.energy
    equation = Equation(finest, energy.smooth_on(finest), energy.beta, FLUXES["sg"])
    exact = STEPPERS[chosen.stepper].exact(equation) if chosen.stepper in STEPPERS else False
    if problem.flow.reaction:
        exact = equation.energy.constant and not problem.flow.transport
    return Study(make, flux, stepper, tolerance, times, exact)
