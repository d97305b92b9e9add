"""Figures of reports: comparison, validation, convergence and fluctuations."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from meanfield_pde.eulerian.solution import Solution
from meanfield_pde.lagrangian.simulate import Run
from meanfield_pde.plot.results import particles_row
from meanfield_pde.plot.style import (
    FAILS,
    HOLDS,
    NAMES,
    PANEL,
    PARTICLES,
    QUIET,
    ZERO,
    spread,
    styled,
    zero_ticks,
)
from meanfield_pde.studies.fluctuations import NUMBER as FLUCTUATION
from meanfield_pde.studies.report import Report


@styled
def comparison_figure(report: Report, solution: Solution, run: Run) -> Figure:
    """Densities with particles, and below them each distance against its floor."""
    rows = distances_in(report)
    names = list(dict.fromkeys(row["quantity"] for row in rows))
    chosen = spread(np.array(sorted({row["time"] for row in report.rows})))
    width = PANEL * max(len(chosen), len(names), 1) + 0.6
    flat = solution.densities[0].grid.dim == 1
    height = PANEL if flat else min(0.95 * width / len(chosen), 4.0)
    figure = Figure(figsize=(width, height + PANEL + 1.0))
    figure.suptitle(verdict_of(report), x=0.01, ha="left", fontsize=11)
    parts: Any = figure.subfigures(2, 1, height_ratios=[height, PANEL + 0.6])
    upper, lower = parts
    panels = upper.subplots(1, len(chosen), sharey=True, squeeze=False)[0]
    particles_row(list(panels), chosen, solution, run)
    below = lower.subplots(1, max(len(names), 1), squeeze=False)[0]
    for axes, name in zip(below, names, strict=False):
        distance_panel(axes, name, [row for row in rows if row["quantity"] == name])
    handles, labels = below[0].get_legend_handles_labels()
    lower.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


@styled
def validation_figure(report: Report) -> Figure:
    """Each claim's number against its tolerance, with its control, on a logarithmic axis."""
    figure = Figure(figsize=(7.6, 1.5 + 0.36 * len(report.rows)))
    axes = figure.subplots()
    for place, (row, verdict) in enumerate(zip(report.rows, report.verdicts, strict=True)):
        color = {True: HOLDS, False: FAILS, None: QUIET}[verdict]
        axes.axhline(place, color="#eeeeee", linewidth=1, zorder=0)
        if "number" not in row:  # the numerics failed
            continue
        axes.plot(_shown(row["number"]), place, "o", color=color, markersize=7, zorder=3)
        axes.plot(_shown(row["tolerance"]), place, "|", color="#222222", markersize=13, zorder=2)
        if isinstance(row.get("control"), float):
            control = _shown(row["control"])
            axes.plot(control, place, "o", mfc="white", mec=color, markersize=7, zorder=3)
    axes.set_xscale("log")
    axes.set_xlim(0.2 * ZERO, max(50.0, 3 * axes.get_xlim()[1]))
    zero_ticks(axes, "x")
    names = [
        str(row["claim"]) + ("" if row.get("expected", True) else " (false here)")
        for row in report.rows
    ]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("defect")
    axes.set_title(report.title)
    _validation_legend(figure, report)
    return figure


@styled
def convergence_figure(report: Report) -> Figure:
    """Errors against spacing and against step on logarithmic axes, beside straight slopes."""
    labels = {"space": ("spacing $h$", "In space"), "time": ("step $\\Delta s$", "In time")}
    figure = Figure(figsize=(4.2 * len(report.details), 3.9))
    panels = figure.subplots(1, len(report.details), squeeze=False)[0]
    for axes, (name, part) in zip(panels, report.details.items(), strict=True):
        label, title = labels[name]
        sizes, errors = (np.asarray(part[key]) for key in ("sizes", "errors"))
        shown = errors > 0
        axes.loglog(sizes[shown], errors[shown], "o-", color=HOLDS, zorder=3)
        slopes = {1: ":", 2: "--", 4: "-."} if (part["order"] or 0) > 2.5 else {1: ":", 2: "--"}
        for slope, style in slopes.items() if shown.any() else ():
            line = errors[shown][0] * (sizes / sizes[shown][0]) ** slope
            axes.loglog(sizes, line, style, color=QUIET, linewidth=1, label=f"slope {slope}")
        low, high = np.log10(axes.get_ylim())
        axes.set_ylim(10 ** np.floor(low), 10 ** np.ceil(high))  # so that two ticks are marked
        ticks = spread(sizes)
        axes.set_xticks(ticks, [f"{size:.3g}" for size in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(label)
        order = part["order"]
        axes.set_title(title + (": rounding alone" if order is None else f": order {order:.2f}"))
    panels[0].set_ylabel("$L^1$ error")
    if panels[-1].get_legend_handles_labels()[0]:
        panels[-1].legend(loc="lower right")
    figure.suptitle(report.title, x=0.01, ha="left", fontsize=11)
    return figure


@styled
def fluctuations_figure(report: Report) -> Figure:
    """N E|f_N - f|^2 against time with 95 % bands, a line an N, limit and resampling bound."""
    figure = Figure(figsize=(6.4, 4.2))
    axes = figure.subplots()
    colors = (HOLDS, PARTICLES, "#009E73", "#CC79A7", FAILS)
    sizes = report.details["particles"]
    for index, n in enumerate(sizes):
        rows = [row for row in report.rows if row["particles"] == n]
        times, numbers, lows, highs = (
            np.array([row[key] for row in rows]) for key in ("time", FLUCTUATION, "low", "high")
        )
        color, shown = colors[index % len(colors)], numbers > 0
        label = f"$N$ = {n}"
        axes.plot(times[shown], numbers[shown], "o-", color=color, label=label, zorder=3 + index)
        band = times[shown], lows[shown], highs[shown]
        axes.fill_between(*band, color=color, alpha=0.2, linewidth=0)
    if report.details["limit"] is not None:
        line = report.details["times"], np.asarray(report.details["limit"])
        axes.plot(*line, color="#222222", linewidth=1, zorder=20, label=r"limit $N \to \infty$")
    bound = np.asarray(report.details["resampling"])
    label = "independent samples of the law"
    axes.plot(report.details["times"], bound, "--", color=QUIET, label=label)
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.set_xlabel(r"time $t$")
    axes.set_ylabel("$N\\, E|f_N - f|^2$")
    axes.set_title(f"{report.title}, 95 % bands")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@styled
def bifurcation_figure(report: Report) -> Figure:
    """Order parameter of each branch against the parameter: stable solid, unstable dashed."""
    figure = Figure(figsize=(8.4, 3.9))
    panels = figure.subplots(1, 2)
    name = report.details["name"]
    shades = {"disordered": "#222222", "ordered": HOLDS, "opposite": PARTICLES}
    for label, color in shades.items():
        if label not in report.details:
            continue
        branch = {key: np.asarray(values) for key, values in report.details[label].items()}
        for axes, key in zip(panels, ("order", "growth_rate"), strict=True):
            for stable, style in ((True, "-"), (False, "--")):
                shown = np.where(branch["stable"] == stable, branch[key], np.nan)
                axes.plot(branch["parameter"], shown, style, marker=".", color=color)
            axes.plot([], [], color=color, label=label)
    for place in report.details["critical"]:
        for axes in panels:
            axes.axvline(place, color=QUIET, linewidth=1, linestyle=":", zorder=0)
        panels[1].annotate(
            f"{place:.6g}",
            (place, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -4),
            textcoords="offset points",
            va="top",
        )
    panels[1].axhline(0, color=QUIET, linewidth=1, zorder=0)
    for axes, title in zip(panels, ("Order parameter", "Growth rate"), strict=True):
        axes.set_xlabel(name)
        axes.set_title(title)
    handles, _ = panels[0].get_legend_handles_labels()
    handles.append(Line2D([], [], color=QUIET, label="stable"))
    handles.append(Line2D([], [], color=QUIET, linestyle="--", label="unstable"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    figure.suptitle(report.title, x=0.01, ha="left", fontsize=11)
    return figure


def distance_panel(axes: Axes, name: str, rows: list[dict[str, Any]]) -> None:
    """Draw one distance at all times beside its floor."""
    places = np.arange(len(rows))
    for shift, key, width, style, color, label in (
        (-0.12, "particles", "half_width", "o", HOLDS, "particles to density"),
        (0.12, "floor", "floor_half_width", "D", QUIET, "independent samples"),
    ):
        values = [row[key] for row in rows]
        errors = [row.get(width) or 0.0 for row in rows]
        axes.errorbar(
            places + shift, values, yerr=errors, fmt=style, color=color, capsize=2, label=label
        )
    axes.plot(
        places - 0.12,
        [row["largest"] for row in rows],
        "_",
        color=FAILS,
        markersize=13,
        label="largest that holds",
    )
    axes.step(
        [-0.5, *(places + 0.5)],
        [rows[0]["grid_floor"], *(row["grid_floor"] for row in rows)],
        color=QUIET,
        linewidth=1,
        linestyle=":",
        label="resolved by the grid",
    )
    failed = [k for k, row in enumerate(rows) if row["verdict"] is False]
    if failed:
        heights = [rows[k]["particles"] for k in failed]
        axes.plot(np.array(failed) - 0.12, heights, "o", ms=13, mfc="none", mec=FAILS, mew=1.5)
    axes.set_xticks(places, [f"{row['time']:g}" for row in rows])
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_ylim(bottom=0)
    axes.set_title(NAMES.get(name, name))
    axes.set_xlabel(r"time $t$")


def distances_in(report: Report) -> list[dict[str, Any]]:
    """Rows of a comparison that hold a distance and its floor, each with its verdict."""
    return [
        {**row, "verdict": verdict}
        for row, verdict in zip(report.rows, report.verdicts, strict=True)
        if isinstance(row.get("floor"), float) and not isinstance(row.get("density"), float)
    ]


def verdict_of(report: Report) -> str:
    """Return how many checks held, and the first few that did not."""
    total = sum(verdict is not None for verdict in report.verdicts)
    failed = [
        f"{' '.join(filter(None, (row.get('player'), row['quantity'])))} at t = {row['time']:g}"
        for row, verdict in zip(report.rows, report.verdicts, strict=True)
        if verdict is False
    ]
    if not failed:
        return f"{report.title}: all {total} checks hold"
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    return f"{report.title}: {len(failed)} of {total} checks fail ({', '.join(failed[:3])}{more})"


def _validation_legend(figure: Figure, report: Report) -> None:
    handles = [
        Line2D([], [], linestyle="", marker="o", color=HOLDS, label="number, holds"),
        Line2D([], [], linestyle="", marker="o", color=FAILS, label="number, fails"),
        Line2D([], [], linestyle="", marker="o", mfc="white", mec="k", label="control, must fail"),
        Line2D([], [], linestyle="", marker="|", color="#222222", ms=12, label="tolerance"),
    ]
    if False not in report.verdicts:
        handles.pop(1)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), handletextpad=0.2
    )


def _shown(value: float) -> float:
    return max(float(value), ZERO)
