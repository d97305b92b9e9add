"""Figures of games: densities of both players, gaps, a portrait of the motion, and particles."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from meanfield_pde.eulerian.game_solution import PLAYERS, GameSolution
from meanfield_pde.lagrangian.game_run import GameRun
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid
from meanfield_pde.plot.reports import distance_panel, distances_in, verdict_of
from meanfield_pde.plot.results import MOST_LINES, heat_row, lines, panels_row
from meanfield_pde.plot.style import FAILS, HOLDS, NAMES, PANEL, PARTICLES, QUIET, spread, styled
from meanfield_pde.studies.report import Report

LETTERS = ("x", "y")
LABELS = (r"first player's $p_t$", r"second player's $q_t$")
LAWS = ("p_t", "q_t")
FLOOR = 1e-16
"""Gaps below this are rounding, and are drawn here."""


@styled
def players_figure(solution: GameSolution) -> Figure:
    """Densities of both players: a panel each in 1D, a row each of heat maps in 2D."""
    chosen = spread(solution.times)
    grids = [rho.grid for rho in solution.densities[0]]
    flat = [grid.dim == 1 for grid in grids]
    if all(flat):
        figure = Figure(figsize=(10.2, 3.6))
        row = figure.subplots(1, 2)
        last = len(solution.times) - 1
        few = np.linspace(0, last, min(last + 1, MOST_LINES)).round().astype(int)
        for k, axes in enumerate(row):
            densities = [solution.densities[i][k] for i in few]
            lines(axes, solution.times[few], densities, LETTERS[k], named=k == 1)
            axes.set_title(LABELS[k])
            axes.set_ylabel(f"${LAWS[k]}({LETTERS[k]})$")
        return figure
    figure = Figure(figsize=(PANEL * len(chosen) + 1.0, 2 * PANEL + 0.8))
    parts: Any = figure.subfigures(2, 1)
    for k, part in enumerate(parts):
        densities = [solution.at(t)[k] for t in chosen]
        part.suptitle(LABELS[k], x=0.01, ha="left", fontsize=10)
        if flat[k]:
            axes = part.subplots()
            lines(axes, np.array(chosen), densities, LETTERS[k])
        else:
            heat_row(part, chosen, densities, LETTERS[k], LAWS[k])
    return figure


@styled
def gap_figure(solution: GameSolution) -> Figure:
    """Nikaido-Isoda gaps against time on a logarithmic axis, and the payoff below."""
    figure = Figure(figsize=(6.4, 5.0))
    parts: Any = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    upper, lower = parts
    shown = [
        ("of the laws", solution.gap, HOLDS, "-"),
        ("of their averages over time", solution.average_gap, FAILS, "--"),
    ]
    if not np.array_equal(solution.entropic_gap, solution.gap):
        shown.append(("of the laws, with entropies", solution.entropic_gap, PARTICLES, "-"))
    for label, values, color, style in shown:
        heights = np.maximum(values, FLOOR)
        upper.semilogy(solution.times, heights, style, color=color, label=label)
    lowest = min(float(np.maximum(values, FLOOR).min()) for _, values, _, _ in shown)
    highest = max(float(values.max()) for _, values, _, _ in shown)
    upper.set_ylim(0.5 * min(lowest, 0.1 * highest), 3 * max(highest, FLOOR))
    upper.set_ylabel("gap")
    upper.set_title("Nikaido-Isoda gap")
    upper.legend(loc="best", fontsize=8)
    lower.plot(solution.times, solution.payoff, color=HOLDS)
    lower.set_title("Expected payoff, which the first player lowers")
    lower.set_ylabel(r"$\iint f\, dp_t\, dq_t$")
    lower.set_xlabel(r"time $t$")
    return figure


@styled
def phase_figure(solution: GameSolution) -> Figure:
    """Moments of the second player against those of the first: a cycle shows as a loop.

    First harmonics on a torus, means on a box; a panel each axis and moment that both have.
    """
    sides = [
        _moments([pair[k] for pair in solution.densities], LETTERS[k]) for k in range(len(PLAYERS))
    ]
    columns = min(len(side) for side in sides)
    figure = Figure(figsize=(3.5 * columns + 0.6, 3.7))
    panels = figure.subplots(1, columns, squeeze=False)[0]
    for axes, (across, x), (up, y) in zip(panels, *sides, strict=False):
        axes.plot(x, y, "-", color=HOLDS, linewidth=1.2)
        axes.plot(x[0], y[0], "o", color=QUIET, label=f"$t$ = {solution.times[0]:g}")
        axes.plot(x[-1], y[-1], "s", color=FAILS, label=f"$t$ = {solution.times[-1]:g}")
        axes.set_xlabel(across)
        axes.set_ylabel(up)
    panels[-1].legend(loc="best", fontsize=8)
    panels[0].set_title("Second player against first")
    return figure


@styled
def game_particles_figure(solution: GameSolution | None, run: GameRun) -> Figure:
    """Particles of both players at the saved times, a row each, over densities where given.

    Raises
    ------
    ValueError
        If the particles have more than two dimensions.
    """
    chosen = spread(run.times)
    figure = Figure(figsize=(PANEL * len(chosen) + 0.6, 2 * PANEL + 0.6))
    particles_rows(figure, chosen, solution, run)
    return figure


@styled
def game_comparison_figure(report: Report, solution: GameSolution, run: GameRun) -> Figure:
    """Densities of both players with particles, and below each distance against its floor."""
    rows = distances_in(report)
    names = list(dict.fromkeys(row["quantity"] for row in rows))
    chosen = spread(np.array(sorted({row["time"] for row in report.rows})))
    width = PANEL * max(len(chosen), len(names), 3) + 0.6
    figure = Figure(figsize=(width, 4 * PANEL + 1.2))
    title = textwrap.fill(verdict_of(report), int(11 * width))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    parts: Any = figure.subfigures(2, 1)
    particles_rows(parts[0], chosen, solution, run)
    below = parts[1].subplots(2, max(len(names), 1), squeeze=False)
    for player, row in zip(PLAYERS, below, strict=True):
        for axes, name in zip(row, names, strict=False):
            own = [r for r in rows if r["quantity"] == name and r["player"] == player]
            distance_panel(axes, name, own)
            axes.set_title(f"{player}:\n{NAMES.get(name, name)}")  # long names need the width
    handles, labels = below[0][0].get_legend_handles_labels()
    parts[1].legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def particles_rows(
    figure: Any, chosen: Sequence[float], solution: GameSolution | None, run: GameRun
) -> None:
    """Draw a row of panels for each player."""
    indices = [int(np.abs(run.times - t).argmin()) for t in chosen]
    parts = figure.subfigures(2, 1)
    for k, part in enumerate(parts):
        part.suptitle(LABELS[k], x=0.01, ha="left", fontsize=10)
        row = part.subplots(1, len(chosen), sharey=True, squeeze=False)[0]
        densities = [] if solution is None else [solution.at(t)[k] for t in chosen]
        panels_row(
            list(row),
            chosen,
            densities,
            _grid(run, densities, k),
            run.points[k][indices],
            LETTERS[k],
            LAWS[k],
        )


def _grid(run: GameRun, densities: Sequence[Density], player: int) -> Grid | None:
    if densities:
        return densities[0].grid
    law = None if run.problem is None else run.problem.initial[player]
    return law.grid if isinstance(law, Density) else None


def _moments(densities: Sequence[Density], letter: str) -> list[tuple[str, Array]]:
    """Names and values over time of the first harmonics, or of the means."""
    grid = densities[0].grid
    found: list[tuple[str, Array]] = []
    for axis in range(grid.dim):
        name = letter if grid.dim == 1 else f"{letter}_{axis + 1}"
        z = grid.points[..., axis]
        if not grid.periodic:
            found.append((f"mean of ${name}$", _means(densities, z)))
            continue
        angle = 2 * np.pi * z / (grid.upper[axis] - grid.lower[axis])
        found.append((rf"mean of $\cos {name}$", _means(densities, np.cos(angle))))
        found.append((rf"mean of $\sin {name}$", _means(densities, np.sin(angle))))
    return found


def _means(densities: Sequence[Density], values: Array) -> Array:
    return np.array([float((rho.masses * values).sum() / rho.mass) for rho in densities])
