"""Figures of sweeps: distances against the number of particles, moments against a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from meanfield_pde.measures.check import Array
from meanfield_pde.plot.style import FAILS, HOLDS, NAMES, PARTICLES, QUIET, apart, styled
from meanfield_pde.studies.rates import COLUMNS, MOMENTS, half_width
from meanfield_pde.studies.report import Report

if TYPE_CHECKING:
    from xarray import Dataset

COLORS = (HOLDS, FAILS, PARTICLES, "#009E73", "#CC79A7")
AXES = {
    "energy": "energy without entropy",
    "mean_x": "mean of $x$",
    "mean_y": "mean of $y$",
    "mean_square": "mean of $|z|^2$",
    "cos_x": r"mean of $\cos x$",
    "sin_x": r"mean of $\sin x$",
    "cos_y": r"mean of $\cos y$",
    "sin_y": r"mean of $\sin y$",
}
WIDTH = 3.3
ROW = 4
"""Panels in a row."""
WIDE = 20
"""Range of a parameter from which its axis is logarithmic."""


@styled
def rates_figure(report: Report) -> Figure:
    """Each distance against N on logarithmic axes, with the fitted slope and the floor."""
    names = list(dict.fromkeys(row["distance"] for row in report.rows))
    keys = [name for name in report.columns if name not in COLUMNS]
    figure, panels = _panels(len(names))
    figure.suptitle(report.title, x=0.01, ha="left", fontsize=11)
    for axes, name in zip(panels, names, strict=False):
        rows = [row for row in report.rows if row["distance"] == name]
        for row, color in zip(rows, _colors(len(rows)), strict=True):
            label = ", ".join(f"{_short(key)} = {_number(row[key])}" for key in keys)
            _rate(axes, row, color, label or "runs")
        _floors(axes, rows)
        title = NAMES.get(name, name)
        if len(rows) == 1:
            one = rows[0]
            slopes = f"$N^{{{one['slope']:.2f}}}$, floor $N^{{{one['floor']:.2f}}}$"
            title += f"\n{slopes}, ratio {one['ratio']:.2f}"
        axes.set_title(title)
        _logarithmic(axes, rows[0]["particles"])
    _legend(figure, panels)
    return figure


@styled
def sweep_figure(data: Dataset) -> Figure:
    """Moments and energy at the last time against the first axis, runs beside the density."""
    at = data.isel(time=-1)
    keys = [str(key) for key in at["energy"].dims if key != "seed"]
    names = [name for name in MOMENTS if name in at]
    figure, panels = _panels(len(names))
    when = f"{data.attrs.get('case_name', 'sweep')} at t = {float(data['time'][-1]):g}"
    title = f"{when}: runs (points, with 95 % intervals of the mean) and the density (lines)"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    first, others = keys[0], keys[1:]
    places = list(np.ndindex(*(at.sizes[key] for key in others)))
    for axes, name in zip(panels, names, strict=False):
        for place, color in zip(places, _colors(len(places)), strict=True):
            one = at.isel(dict(zip(others, place, strict=True)))
            label = ", ".join(f"{_short(key)} = {_number(one[key].item())}" for key in others)
            _moment(axes, one, name, first, color, label)
        axes.set_title(AXES[name])
        axes.set_xlabel(first)
        values = at[first].values
        if values.dtype.kind in "fiu" and 0 < WIDE * values.min() < values.max():
            axes.set_xscale("log")
    _legend(figure, panels)
    return figure


def _rate(axes: Axes, row: dict[str, Any], color: Any, label: str) -> None:
    values, errors = np.array(row["runs"]), 1.96 * np.array(row["runs_errors"])
    axes.errorbar(
        row["particles"],
        values,
        yerr=[np.minimum(errors, 0.9 * values), errors],
        fmt="o",
        color=color,
        ms=4,
        capsize=2,
        label=label,
        zorder=3,
    )
    axes.plot(row["particles"], _fitted(row, "runs", "slope"), color=color, linewidth=1)


def _floors(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Independent samples: their fits, and with one setting alone their values too."""
    for row in rows:
        label = "independent samples" if row is rows[0] else None
        fitted = _fitted(row, "floors", "floor")
        axes.plot(row["particles"], fitted, "--", color=QUIET, linewidth=1, label=label)
        if len(rows) == 1:
            axes.plot(row["particles"], row["floors"], "D", color=QUIET, ms=4)


def _fitted(row: dict[str, Any], values: str, slope: str) -> Array:
    """Line of the slope through the mean of what was fitted, on logarithmic axes."""
    x = np.log(np.array(row["particles"], dtype=np.float64))
    line = np.log(row[values]).mean() + row[slope] * (x - x.mean())
    return np.asarray(np.exp(line))


def _logarithmic(axes: Axes, sizes: list[int]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes, apart(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("particles $N$")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _moment(axes: Axes, one: Dataset, name: str, first: str, color: Any, label: str) -> None:
    places = one[first].values
    if places.dtype.kind not in "fiu":
        places = np.arange(len(places))
        axes.set_xticks(places, [str(value) for value in one[first].values])
    runs = one[name].transpose(first, "seed").values
    errors = half_width(runs)
    limit = np.broadcast_to(one[f"{name}_density"].values, places.shape)
    axes.plot(places, limit, "-", color=color, linewidth=1.2, label=label or None)
    axes.errorbar(
        places,
        runs.mean(axis=1),
        yerr=errors,
        fmt="o",
        color=color,
        ms=4,
        capsize=2,
    )


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    """Panels in rows, the last of which may be short."""
    columns = min(max(count, 1), ROW)
    lines = -(-max(count, 1) // columns)
    figure = Figure(figsize=(WIDTH * columns + 0.4, 3.1 * lines + 0.7))
    panels: list[Axes] = list(figure.subplots(lines, columns, squeeze=False).ravel())
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, panels[:count]


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    handles, labels = panels[0].get_legend_handles_labels() if panels else ([], [])
    if handles:
        widest = 0.6 + 0.085 * max(map(len, labels))  # inches, with the handle
        columns = max(1, min(len(labels), 4, int(figure.get_figwidth() / widest)))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def _colors(count: int) -> list[Any]:
    """As many colours as lines; shades where there are many."""
    if count <= len(COLORS):
        return list(COLORS[:count])
    return list(mpl.colormaps["viridis"](np.linspace(0, 0.9, count)))


def _short(key: str) -> str:
    """Last two parts of a key."""
    return ".".join(key.split(".")[-2:])


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
