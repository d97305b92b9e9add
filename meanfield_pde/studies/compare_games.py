"""Densities and particles of both players of a game, each by the rulers of one law."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from meanfield_pde.energies.payoff import Payoff
from meanfield_pde.eulerian.game_solution import PLAYERS, GameSolution
from meanfield_pde.lagrangian.game_run import GameRun
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.studies.compare import (
    COLUMNS,
    distance_rows,
    moment_rows,
    report_of,
    shared_times,
    side_of,
    value_row,
)
from meanfield_pde.studies.report import Report
from meanfield_pde.studies.rulers import distances_of


def compare_games(solution: Any, run: Any, distances: Sequence[str] | None, seed: int) -> Report:
    """Compare the density solve of a game with its particles; see `compare`.

    Raises
    ------
    ValueError
        If one of the two is no game's, they share no times, or a distance makes no sense.
    """
    times = _common_times(solution, run)
    payoff = _payoff(solution)
    pairs = [solution.at(t) for t in times]
    clouds = [run.at(t) for t in times]
    sides, names = [], []
    for k in range(2):
        densities = [pair[k] for pair in pairs]
        names.append(distances_of(distances, densities[0], None))
        own = [[replica[k] for replica in at] for at in clouds]
        sides.append(side_of(times, densities, own, [seed, k]))
    checks = len(times) * (1 + sum(s.checks(n) for s, n in zip(sides, names, strict=True)))
    rows: list[dict[str, Any]] = []
    for index, t in enumerate(times):
        for player, side, wanted in zip(PLAYERS, sides, names, strict=True):
            found = moment_rows(side, index, checks) + distance_rows(side, index, wanted, checks)
            rows += [{**row, "player": player} for row in found]
        p, q = pairs[index]
        expected = payoff.on(p.grid, q.grid).value(p.values, q.values)
        values = _values(payoff, clouds[index])
        samples = list(zip(sides[0].samples[index], sides[1].samples[index], strict=True))
        row = value_row(t, "payoff", expected, values, _values(payoff, samples), p, checks)
        rows.append({**row, "player": "both"})
    first, second = pairs[0]
    cells = f"{first.grid.size} and {second.grid.size} cells"
    return report_of(rows, run, times, cells, (COLUMNS[0], "player", *COLUMNS[1:]))


def _common_times(solution: Any, run: Any) -> list[float]:
    check.instance("solution", solution, GameSolution, "pass what mf.solve returned for the game")
    check.instance("run", run, GameRun, "pass what mf.simulate returned for the game")
    if not solution.densities:
        raise ValueError(f"solution must hold densities, got none: it {solution.result}; save at 0")
    dims = tuple(rho.grid.dim for rho in solution.densities[0])
    found = tuple(points.shape[-1] for points in run.points)
    if found != dims:
        raise ValueError(
            f"run must have particles of dimensions {dims} as the densities, got {found}; "
            "simulate the problem that was solved"
        )
    return shared_times(solution.times, run.times)


def _payoff(solution: GameSolution) -> Payoff:
    if solution.problem is None:
        raise ValueError(
            "solution must know its problem, got one read from a file; "
            "pass load_solution(path, problem=...)"
        )
    return solution.problem.flow.payoff


def _values(payoff: Payoff, pairs: Sequence[tuple[Cloud, Cloud]]) -> Array:
    """Return the expected payoff of pairs of clouds."""
    return np.array([mu.weights @ payoff.variations(mu, nu)[0] for mu, nu in pairs])
