"""A problem on finer grids and with smaller steps: solves, errors and the orders in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


@dataclass(frozen=True, eq=False)
class Study:
    """What is refined: a problem on any grid, by methods that do not change with the grid."""

    make: Callable[[Grid], Problem]
    flux: Any
    stepper: Any
    tolerance: float
    times: Array
    """Saved times after the start."""
    exact_in_time: bool = False

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
    def order(self) -> float | None:
        """Order by least squares; None where errors are rounding alone."""
        shown = self.errors > ROUNDING
        if shown.sum() < 2:
            return None
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
            if min(before, after) > ROUNDING:
                ratio = np.log(self.sizes[k - 1] / self.sizes[k])
                rows[k]["order"] = float(np.log(before / after) / ratio)
            verdicts.append(bool(after < before) if before > ROUNDING else None)
        order = self.order
        told = "" if asked is None else f"asked {asked:g}"
        rows.append(
            {
                "refined": name,
                "cells": "fit",
                "steps": told,
                "order": "" if order is None else order,
            }
        )
        judged = asked is not None and order is not None
        verdicts.append(order >= asked - SLACK if judged else None)  # type: ignore[operator]
        return rows, verdicts

    def details(self) -> dict[str, Any]:
        """Numbers for figures and files."""
        return {"sizes": self.sizes, "errors": self.errors, "order": self.order}


def in_space(
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
        tuple(cells_text(grid.cells) for grid in grids[:count]),
        tuple(level.steps for level in done[:count]),
        tuple(a / e if e > ROUNDING else "" for a, e in zip(own, errors, strict=True)),
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


def in_time(study: Study, grid: Grid, levels: int) -> Refinement:
    """Errors of equal steps, each beside half of it."""
    base, first = _first_march(study, grid)
    counts = [base * 2**k for k in range(levels)]
    values = [first] + [study.march(grid, n).densities[-1].values[None] for n in counts[1:]]
    count = levels - 1
    return Refinement(
        study.make(grid).flow.clock(0.0, study.early) / np.array(counts[:count]),
        np.array([_gap(a, b, grid.volume) for a, b in pairwise(values)]),
        (cells_text(grid.cells),) * count,
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


def cells_text(cells: Sequence[int]) -> str:
    """Numbers of cells, as in 64 x 64."""
    return " x ".join(str(n) for n in cells)
