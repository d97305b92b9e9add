"""What the commands write and print: files, tables of numbers, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import meanfield_pde as mf
from meanfield_pde.cli.exits import FAILED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from meanfield_pde.measures.check import Array


def write_solution(
    case: mf.Case, solution: mf.Solution | mf.GameSolution, folder: Path
) -> list[Path]:
    """Write a solution with its figures."""
    from meanfield_pde import plot

    mf.save_solution(solution, folder / "solution.nc")
    if isinstance(solution, mf.GameSolution):
        drawn = {
            "density": plot.players_figure(solution),
            "gap": plot.gap_figure(solution),
            "phase": plot.phase_figure(solution),
        }
        return [folder / "solution.nc", *draw(folder, drawn)]
    figures = {"density": plot.density_figure(solution), "energy": plot.energy_figure(solution)}
    if case.group is not None:
        figures["asymmetry"] = plot.asymmetry_figure(solution, case.group)
    return [folder / "solution.nc", *draw(folder, figures)]


def draw(folder: Path, figures: dict[str, Figure]) -> list[Path]:
    """Save figures by their names."""
    from meanfield_pde import plot

    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        plot.save_figure(figure, paths[-1])
    return paths


def write(path: Path, text: str) -> Path:
    """Write a text, whole or not at all."""
    from meanfield_pde.studies.files import whole

    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def write_report(
    folder: Path, name: str, report: mf.Report, figure: Figure, full: bool = False
) -> list[Path]:
    """Write a report as JSON, as text (with each row in ``full``) and as a figure."""
    text = f"{report.table()}\n\n{report.text()}" if full else report.table()
    return [
        write(folder / f"{name}.json", report.to_json() + "\n"),
        write(folder / f"{name}.txt", text + "\n"),
        *draw(folder, {name: figure}),
    ]


def solution_rows(case: mf.Case, solution: mf.Solution | mf.GameSolution) -> list[dict[str, float]]:
    """Numbers of a solution, a row a saved time."""
    if isinstance(solution, mf.GameSolution):
        return _game_rows(solution)
    rows = []
    grid = solution.densities[0].grid
    places = grid.places if grid.symmetric_chart is None else grid.nodes
    for k, (t, rho) in enumerate(zip(solution.times, solution.densities, strict=True)):
        row = {
            "time": float(t),
            "mass": float(solution.mass[k]),
            "free energy": float(solution.energy[k]),
            "dissipation": float(solution.dissipation[k]),
        }
        for name, function in _moments(grid, grid.dim).items():
            row[name] = float((rho.masses * function(places)).sum()) / rho.mass
        if case.group is not None:
            row["asymmetry"] = mf.asymmetry(rho, case.group)
        rows.append(row)
    return rows


def _game_rows(solution: mf.GameSolution) -> list[dict[str, float]]:
    rows = []
    diffuses = solution.problem is not None and solution.problem.flow.beta > 0
    for k, t in enumerate(solution.times):
        row = {
            "time": float(t),
            "mass x": float(solution.mass[k, 0]),
            "mass y": float(solution.mass[k, 1]),
            "payoff": float(solution.payoff[k]),
            "gap": float(solution.gap[k]),
            "gap of averages": float(solution.average_gap[k]),
        }
        rows.append(row | ({"entropic gap": float(solution.entropic_gap[k])} if diffuses else {}))
    return rows


def run_rows(run: mf.Run | mf.GameRun) -> list[dict[str, float]]:
    """Moments of a run, a row a saved time; of a game those of both players."""
    initial: Any = run.problem.initial if run.problem else None
    sides = (
        [(initial, run.points, "z")]
        if isinstance(run, mf.Run)
        else [
            (None if initial is None else initial[k], points, letter)
            for k, (points, letter) in enumerate(zip(run.points, "xy", strict=True))
        ]
    )
    rows = [{"time": float(t)} for t in run.times]
    for law, clouds, letter in sides:
        grid = law.grid if isinstance(law, mf.Density) else None
        moments = _moments(grid, clouds.shape[-1], letter)
        for row, points in zip(rows, clouds, strict=True):
            row |= {name: float(function(points).mean()) for name, function in moments.items()}
    return rows


def _moments(
    grid: mf.Grid | None, dim: int, letter: str = "z"
) -> dict[str, Callable[[Array], Array]]:
    """Means of the coordinates; on a torus, where they have none, of cosines and sines."""
    import numpy as np

    chart = None if grid is None or grid.dim != dim else grid.symmetric_chart
    kind = "" if chart is None else chart.entries["kind"]
    letter = {"radius": "r", "fixed-subspace": "s"}.get(kind, letter)
    axes = [letter] if dim == 1 else [f"{letter}{a + 1}" for a in range(dim)]
    found: dict[str, Callable[[Array], Array]] = {}
    for a, axis in enumerate(axes):
        if grid is None or not grid.periodic:
            found[f"mean {axis}"] = partial(_coordinate, a, 1.0)
            continue
        angle = partial(_coordinate, a, (grid.upper[a] - grid.lower[a]) / (2 * np.pi))
        found[f"mean cos {axis}"] = partial(_composed, np.cos, angle)
        found[f"mean sin {axis}"] = partial(_composed, np.sin, angle)
    return found


def _coordinate(axis: int, unit: float, z: Array) -> Array:
    return z[..., axis] / unit


def _composed(outer: Callable[..., Any], inner: Callable[[Array], Array], z: Array) -> Array:
    result: Array = outer(inner(z))
    return result


def tell(
    quiet: bool,
    as_json: bool,
    rows: Sequence[dict[str, float]],
    files: Sequence[Path],
    **about: str,
) -> None:
    """Print rows, what happened and which files were written."""
    if as_json:
        print_json({**about, "rows": list(rows), "files": [str(path) for path in files]})
    elif not quiet:
        names = list(rows[0])
        lines = [names, *([_number(row[name]) for name in names] for row in rows)]
        widths = [max(len(line[k]) for line in lines) for k in range(len(names))]
        for line in lines:
            print("  ".join(f"{cell:>{w}}" for cell, w in zip(line, widths, strict=True)))
        print(about["result"])
        _print_files(files)


def tell_report(
    quiet: bool,
    as_json: bool,
    case: mf.Case | str,
    report: mf.Report,
    files: Sequence[Path],
    rows: str = "",
    open_is_fine: bool = False,
) -> None:
    """Print a report of a case or of what is named, and leave with the code of its verdict.

    ``rows`` are some of it in full. Where ``open_is_fine`` only checks that failed are a failure,
    not that none could be judged.
    """
    if as_json:
        names = [str(path) for path in files]
        name = case if isinstance(case, str) else case.name
        print_json({"case": name, **report.to_dict(), "files": names})
    elif not quiet:
        print(report.table())
        if rows:
            print(f"\n{rows}\n")
        _print_files(files)
    if False in report.verdicts or not (report.passed or open_is_fine):
        raise typer.Exit(FAILED)


def _number(value: float) -> str:
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}"
    return f"{value:.2e}"


def print_json(value: Any) -> None:
    """Print JSON."""
    print(json.dumps(value, indent=2))


def _print_files(files: Sequence[Path]) -> None:
    print("wrote " + ", ".join(str(path) for path in files))
