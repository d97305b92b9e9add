"""Figures of solutions and runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from meanfield_pde.eulerian.solution import Solution
from meanfield_pde.lagrangian.simulate import Run
from meanfield_pde.measures.chart import Polar
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.group import Group
from meanfield_pde.measures.symmetry import asymmetry
from meanfield_pde.plot.style import (
    FAILS,
    HOLDS,
    PANEL,
    PARTICLES,
    QUIET,
    ROUNDOFF,
    ZERO,
    spread,
    styled,
    zero_ticks,
)

RISE = 1e-6
"""Negative dissipation, relative to the largest, that is no rounding: the free energy rises."""
MOST_LINES = 8
"""Lines that a legend names."""


@styled
def density_figure(solution: Solution) -> Figure:
    """Densities at the saved times: lines in 1D, heat maps with one scale in 2D."""
    if solution.densities[0].grid.dim == 2:
        return _heat_maps(solution)
    figure = Figure(figsize=(6.4, 3.8))
    axes = figure.subplots()
    lines(axes, solution.times, solution.densities)
    axes.set_ylabel(rf"$\rho_t({_letter(solution.densities[0].grid)})$")
    return figure


@styled
def energy_figure(solution: Solution) -> Figure:
    """Free energy and dissipation at the saved times, on log axes where they span decades."""
    figure = Figure(figsize=(6.4, 4.6))
    upper, lower = figure.subplots(2, 1, sharex=True)
    excess = solution.energy - solution.energy.min()
    if _spans_decades(excess):
        shown = excess > 0
        upper.semilogy(solution.times[shown], excess[shown], "o-", color=HOLDS)
        upper.set_ylabel(r"$F(t) - F_{\min}$")
        upper.set_title(
            rf"Free energy above its lowest, $F_{{\min}}$ = {solution.energy.min():.6g}"
        )
    else:
        upper.plot(solution.times, solution.energy, "o-", color=HOLDS)
        upper.set_ylabel(r"$F(t)$")
        upper.set_title("Free energy")
    positive = solution.dissipation > 0
    rises = solution.dissipation.min() < -RISE * solution.dissipation.max()
    if _spans_decades(solution.dissipation) and not rises:
        lower.semilogy(solution.times[positive], solution.dissipation[positive], "o-", color=FAILS)
    else:
        lower.plot(solution.times, solution.dissipation, "o-", color=FAILS)
    lower.set_title("Dissipation: how fast $F$ falls, in the clock $s$ of the flow")
    lower.set_ylabel(r"$-dF/ds$")
    lower.set_xlabel(r"time $t$")
    if (collapse := solution.statistics.concentrated) is not None:
        for axes in (upper, lower):
            axes.axvline(collapse, color=QUIET, linewidth=1, linestyle="--")
        upper.annotate(
            f"collapse at $t$ = {collapse:.4g}",
            (collapse, 1),
            xytext=(-4, -4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right",
            va="top",
            color=QUIET,
        )
    return figure


@styled
def asymmetry_figure(solution: Solution, group: Group) -> Figure:
    """Largest L1 distance of the density from its images, against time."""
    figure = Figure(figsize=(6.4, 3.4))
    axes = figure.subplots()
    values = np.array([asymmetry(rho, group) for rho in solution.densities])
    color = HOLDS if values.max() <= ROUNDOFF else FAILS
    axes.semilogy(solution.times, np.maximum(values, ZERO), "o-", color=color)
    axes.axhline(ROUNDOFF, color=QUIET, linewidth=1, linestyle="--")
    axes.annotate(
        "rounding below this line",
        (1, ROUNDOFF),
        xytext=(0, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        color=QUIET,
    )
    axes.set_ylim(0.3 * ZERO, max(10.0, 3 * float(values.max())))
    zero_ticks(axes, "y")
    axes.set_xlabel(r"time $t$")
    axes.set_ylabel(r"$\max_g \|\rho_t - M_g \# \rho_t\|_{L^1}$")
    axes.set_title(f"Distance from {group.name} invariance")
    return figure


@styled
def particles_figure(solution: Solution | None, run: Run) -> Figure:
    """Particles at the saved times, over the density where one is given.

    Raises
    ------
    ValueError
        If the particles have more than two dimensions.
    """
    chosen = spread(run.times)
    figure = Figure(figsize=(PANEL * len(chosen) + 0.4, PANEL + 0.2))
    row = figure.subplots(1, len(chosen), sharey=True, squeeze=False)[0]
    particles_row(list(row), chosen, solution, run)
    return figure


def lines(
    axes: Axes,
    times: Array,
    densities: Sequence[Density],
    letter: str | None = None,
    named: bool = True,
) -> None:
    """Draw a line for each time, with a legend if wanted, or a colour bar where there are many."""
    grid = densities[0].grid
    for t, rho, color in zip(times, densities, _colors(times), strict=True):
        axes.plot(grid.axes[0], rho.values, color=color, label=f"$t$ = {t:g}")
    axes.set_ylim(bottom=0)
    _place_axis(axes, grid, _extent(densities)[0], letter)
    if len(times) <= MOST_LINES:
        if named:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return
    scale = mpl.colors.Normalize(times[0], times[-1])
    mapped = mpl.cm.ScalarMappable(scale, _line_map())
    axes.figure.colorbar(mapped, ax=axes, label=r"time $t$", pad=0.02)


def _heat_maps(solution: Solution) -> Figure:
    chosen = spread(solution.times)
    densities = [solution.at(t) for t in chosen]
    extent = _extent(densities)
    aspect = float(np.ptp(extent[1]) / np.ptp(extent[0]))
    figure = Figure(figsize=(PANEL * len(chosen) + 1.0, PANEL * min(aspect, 2.0) + 0.6))
    heat_row(figure, chosen, densities, _letter(densities[0].grid))
    return figure


def heat_row(
    figure: Any,
    chosen: Sequence[float],
    densities: Sequence[Density],
    letter: str,
    law: str = r"\rho_t",
) -> None:
    """Draw a heat map for each time, all with one scale."""
    extent = _extent(densities)
    row = figure.subplots(1, len(chosen), sharey=True, squeeze=False)[0]
    top = max(float(_in_space(rho).max()) for rho in densities)
    for axes, t, rho in zip(row, chosen, densities, strict=True):
        image = _heat(axes, rho, extent, top)
        axes.set_title(f"$t$ = {t:g}")
        axes.set_xlabel(f"${letter}_1$")
    row[0].set_ylabel(f"${letter}_2$")
    figure.colorbar(image, ax=list(row), label=f"${law}({letter})$", pad=0.01)


def _heat(axes: Axes, rho: Density, extent: list[tuple[float, float]], top: float) -> Any:
    grid = rho.grid
    if isinstance(grid.chart, Polar):
        corners = np.stack(np.meshgrid(*grid.faces, indexing="ij"), axis=-1)
        x, y = np.moveaxis(grid.chart.place(corners), -1, 0)
        image: Any = axes.pcolormesh(x, y, _in_space(rho), vmin=0, vmax=top, cmap=_heat_map())
        axes.set_aspect("equal")
    else:
        image = _pixels(axes, rho, top)
    axes.set_xlim(*extent[0])
    axes.set_ylim(*extent[1])
    axes.spines[:].set_visible(True)
    return image


def _pixels(axes: Axes, rho: Density, top: float) -> Any:
    grid = rho.grid
    corners = (grid.lower[0], grid.upper[0], grid.lower[1], grid.upper[1])
    return axes.imshow(
        rho.values.T, origin="lower", extent=corners, vmin=0, vmax=top, cmap=_heat_map()
    )


def _in_space(rho: Density) -> Array:
    """Density per area on a polar grid too."""
    polar = isinstance(rho.grid.chart, Polar)
    return rho.values / rho.grid.points[..., 0] if polar else rho.values


def particles_row(
    row: list[Axes], chosen: Sequence[float], solution: Solution | None, run: Run
) -> None:
    """Draw a panel a time: all replicas as a histogram in 1D, the first as points in 2D."""
    indices = [int(np.abs(run.times - t).argmin()) for t in chosen]
    densities = [] if solution is None else [solution.at(t) for t in chosen]
    start = densities[0] if densities else getattr(run.problem, "initial", None)
    grid = start.grid if isinstance(start, Density) else None
    points = run.points[indices]
    if grid is not None and grid.symmetric_chart is not None:
        points = grid.symmetric_chart.reduce(points)
    panels_row(row, chosen, densities, grid, points)


def panels_row(
    row: list[Axes],
    chosen: Sequence[float],
    densities: Sequence[Density],
    grid: Grid | None,
    points: Array,
    letter: str | None = None,
    law: str = r"\rho_t",
) -> None:
    """Draw points (times, seeds, n, d) in a panel a time, over densities where there are some."""
    letter = _letter(grid) if letter is None else letter
    dim = points.shape[-1]
    if dim > 2:
        raise ValueError(
            f"particles must have at most 2 dimensions to be drawn, got {dim}; draw a projection"
        )
    extent = _extent_of(points)
    if grid is not None and (densities or grid.periodic):
        extent = _extent(densities or [Density.uniform(grid)])
    bins = np.linspace(*extent[0], 61)
    top = max((float(_in_space(rho).max()) for rho in densities), default=0.0)
    for k, (axes, t) in enumerate(zip(row, chosen, strict=True)):
        axes.set_title(f"$t$ = {t:g}")
        rho = densities[k] if densities else None
        if dim == 1:
            top = max(top, _histogram(axes, points[k].ravel(), rho, bins))
            _place_axis(axes, grid, extent[0], letter)
        else:
            _scatter(axes, points[k, 0], rho, extent, top, letter)
    if dim == 1:
        row[0].set_ylim(0, 1.05 * top)
        row[0].set_ylabel(f"${law}({letter})$")
        row[-1].legend(handlelength=1.2, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        row[0].set_ylabel(f"${letter}_2$")


def _histogram(axes: Axes, points: Array, rho: Density | None, bins: Array) -> float:
    """Draw a histogram and return its height."""
    count, _ = np.histogram(points, bins)
    height = count / (len(points) * np.diff(bins))
    axes.stairs(height, bins, fill=True, color=PARTICLES, alpha=0.45, label="particles")
    if rho is not None:
        axes.plot(rho.grid.axes[0], rho.values, color=HOLDS, label="density")
    return float(height.max())


def _scatter(
    axes: Axes,
    points: Array,
    rho: Density | None,
    extent: list[tuple[float, float]],
    top: float,
    letter: str,
) -> None:
    if rho is not None:
        _heat(axes, rho, extent, top)
    axes.plot(*points[:1000].T, ".", color=FAILS, markersize=2, alpha=0.6, markeredgewidth=0)
    axes.set_xlim(*extent[0])
    axes.set_ylim(*extent[1])
    axes.set_aspect("equal")
    axes.set_xlabel(f"${letter}_1$")


def _spans_decades(values: Array) -> bool:
    positive = values[values > 0]
    return len(positive) > 2 and bool(positive.max() > 100 * positive.min())


def _extent(densities: Sequence[Density]) -> list[tuple[float, float]]:
    """Part of the grid that holds nearly all mass at all times, along each axis."""
    grid = densities[0].grid
    if grid.periodic:
        return list(zip(grid.lower, grid.upper, strict=True))
    extent = []
    for axis in range(grid.dim):
        others = tuple(a for a in range(grid.dim) if a != axis)
        marginals = [rho.values.sum(axis=others) for rho in densities]
        seen = np.any([m > 2e-3 * m.max() for m in marginals], axis=0)
        places = grid.axes[axis][seen]
        margin = 0.04 * np.ptp(places) + grid.spacing[axis]
        low = max(grid.lower[axis], float(places.min() - margin))
        extent.append((low, min(grid.upper[axis], float(places.max() + margin))))
    if isinstance(grid.chart, Polar):
        return [(-extent[0][1], extent[0][1])] * 2
    return extent


def _extent_of(points: Array) -> list[tuple[float, float]]:
    flat = points.reshape(-1, points.shape[-1])
    low, high = np.quantile(flat, [0.0005, 0.9995], axis=0)
    margin = 0.05 * (high - low) + 1e-9
    return [(float(a), float(b)) for a, b in zip(low - margin, high + margin, strict=True)]


def _place_axis(
    axes: Axes, grid: Grid | None, extent: tuple[float, float], letter: str | None
) -> None:
    axes.set_xlabel(f"${_letter(grid) if letter is None else letter}$")
    axes.set_xlim(*extent)
    if grid is None or not grid.periodic or abs(extent[1] - extent[0] - 2 * np.pi) > 1e-9:
        return
    names = {-2: r"$-\pi$", -1: "", 0: "0", 1: "", 2: r"$\pi$", 3: "", 4: r"$2\pi$"}
    axes.xaxis.set_major_locator(MultipleLocator(np.pi / 2))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: names.get(round(2 * value / np.pi), ""))
    )


def _letter(grid: Grid | None) -> str:
    """Name of a coordinate."""
    chart = None if grid is None else grid.chart
    return {"radius": "r", "fixed-subspace": "s"}.get(chart.entries["kind"] if chart else "", "z")


def _line_map() -> Any:
    return mpl.colors.ListedColormap(mpl.colormaps["viridis_r"](np.linspace(0.08, 0.95, 256)))


def _heat_map() -> Any:
    return mpl.colormaps["Blues"]


def _colors(times: Array) -> Any:
    """Colours in the order of the times where they are labelled, else by the time itself."""
    if len(times) <= 8:
        return _line_map()(np.linspace(0, 1, len(times)))
    return _line_map()((times - times[0]) / (times[-1] - times[0]))
