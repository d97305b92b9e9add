"""Figures of networks that are trained: students against their number of particles."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from meanfield_pde.plot.style import FAILS, HOLDS, PARTICLES, QUIET, apart, styled
from meanfield_pde.studies.report import Report

COLORS = (FAILS, HOLDS, PARTICLES, QUIET)
MARKS = ("o", "s", "D", "^")


@styled
def students_figure(report: Report) -> Figure:
    """RMD^2 against N, a panel a quantity; whiskers from the lowest to the highest seed."""
    rows = [row for row in report.rows if "values" in row]
    quantities = list(dict.fromkeys(row["quantity"] for row in rows))
    teachers = list(dict.fromkeys(row["teacher"] for row in report.rows))
    columns = max(len(quantities), 1)
    figure = Figure(figsize=(0.9 + 3.4 * columns, 4.2))
    panels = figure.subplots(1, columns, sharey=True, squeeze=False)[0]
    for axes, quantity in zip(panels, quantities, strict=False):
        of_quantity = [row for row in rows if row["quantity"] == quantity]
        for index, teacher in enumerate(teachers):
            _line(axes, [row for row in of_quantity if row["teacher"] == teacher], index)
        first, second = quantity.split(" to ")
        axes.set_title(
            f"{first}\nto {second.replace('E^G', '$E^G$')}, {of_quantity[0]['start']} start"
        )
        axes.set_xlabel("particles $N$")
        axes.set_xscale("log")
        axes.set_yscale("log")
        sizes = sorted({row["particles"] for row in rows})
        axes.set_xticks(sizes, apart(sizes))
        axes.xaxis.set_minor_locator(NullLocator())
    panels[0].set_ylabel("RMD$^2$")
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        named = [f"{label} teacher" for label in labels]
        figure.legend(handles, named, loc="outside lower center", ncols=len(named))
    return figure


def _line(axes: Axes, rows: list[dict[str, Any]], index: int) -> None:
    shown = [row for row in rows if min(row["values"]) > 0]
    if not shown:
        return
    means = np.array([row["RMD^2"] for row in shown])
    lowest, highest = (np.array([pick(row["values"]) for row in shown]) for pick in (min, max))
    axes.errorbar(
        [row["particles"] for row in shown],
        means,
        yerr=[means - lowest, highest - means],
        label=shown[0]["teacher"],
        color=COLORS[index % 4],
        marker=MARKS[index % 4],
        capsize=2,
    )


@styled
def discover_figure(report: Report) -> Figure:
    """RMD^2 to each subspace of a search, beside the threshold below which it counts as kept."""
    figure = Figure(figsize=(5.2, 3.9))
    axes = figure.subplots()
    rounds = np.arange(len(report.rows))
    thresholds = np.array([row["threshold"] for row in report.rows])
    squares = np.array([row["RMD^2"] for row in report.rows])
    shown = np.maximum(squares, 1e-4 * thresholds.min() * (squares == 0))
    axes.plot(rounds, shown, "o", color=HOLDS, label="RMD$^2$", zorder=3)
    edges = np.append(rounds, len(rounds)) - 0.5
    axes.stairs(thresholds, edges, baseline=None, color=QUIET, ls="--", label="threshold")
    axes.set_yscale("log")
    axes.set_ylim(0.1 * min(shown.min(), thresholds.min()), 3.0)
    axes.set_xticks(rounds, [str(row["dimension"]) for row in report.rows])
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel("dimension of the subspace $E$")
    axes.set_ylabel("RMD$^2$ to $E$ after training on it")
    axes.set_title(report.title)
    axes.legend(loc="upper right")
    return figure
