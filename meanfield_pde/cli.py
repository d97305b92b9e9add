"""The command line ``meanfield-pde``.

Exit codes: 0 done, and every check held; 1 a check failed; 2 bad case or usage; 3 the numerics
failed; 4 input or output; 130 interrupted. Errors that a user can mend are one message on stderr.
What computes is imported inside of the commands, so that help answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

import meanfield_pde as mf

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from meanfield_pde.measures.check import Array

FAILED, USAGE, NUMERICS, STORAGE, INTERRUPTED = 1, 2, 3, 4, 130

app = typer.Typer(
    name="meanfield-pde",
    help="Mean-field limits of wide neural networks: densities and particles, side by side.",
    epilog="Exit codes: 0 done and every check held; 1 a check failed; 2 bad case or usage; "
    "3 the numerics failed; 4 input or output; 130 interrupted.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[
    str, typer.Argument(metavar="CASE", help="Name of a case, or path of a TOML file.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="DIR", help="Folder to write to; results/CASE if left out."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a value of the case, as in grid.cells=200."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")]


def main() -> None:
    """Run the command line."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        print(f"meanfield-pde {mf.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold what belongs to no command."""


@app.command("solve")
def solve_command(
    name: Name,
    output: Output = None,
    settings: Settings = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Move the density: solution.nc, density.png, energy.png, and asymmetry.png with a group."""
    with _exit_codes():
        case, folder = _case(name, settings, output)
        solution = _solve(case, quiet or as_json)
        files = _write_solution(case, solution, folder)
        rows = _solution_rows(case, solution)
        _tell(quiet, as_json, rows, files, case=case.name, result=solution.result)


@app.command("simulate")
def simulate_command(
    name: Name,
    output: Output = None,
    settings: Settings = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Move particles: run.nc and particles.png."""
    with _exit_codes():
        from meanfield_pde import plot

        case, folder = _case(name, settings, output)
        run = _simulate(case, quiet or as_json)
        mf.save_run(run, folder / "run.nc")
        files = [folder / "run.nc", *_draw(folder, {"particles": plot.particles_figure(None, run)})]
        _tell(quiet, as_json, _run_rows(run), files, case=case.name, result=run.result)


@app.command("compare")
def compare_command(
    name: Name,
    output: Output = None,
    settings: Settings = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Do both and compare: comparison.json, comparison.png, solution.nc, run.nc."""
    with _exit_codes():
        from meanfield_pde import plot

        case, folder = _case(name, settings, output)
        solution = _solve(case, quiet or as_json)
        run = _simulate(case, quiet or as_json)
        with _blaming(case):
            report = mf.compare(solution, run, **case.compare_options())
        mf.save_solution(solution, folder / "solution.nc")
        mf.save_run(run, folder / "run.nc")
        files = [folder / "solution.nc", folder / "run.nc"]
        files.append(_write(folder / "comparison.json", report.to_json() + "\n"))
        files += _draw(folder, {"comparison": plot.comparison_figure(report, solution, run)})
        _tell_report(quiet, as_json, case, report, files)


@app.command("validate")
def validate_command(
    name: Name,
    output: Output = None,
    settings: Settings = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Check what theory claims of the case: validation.json, validation.txt, validation.png."""
    with _exit_codes():
        from meanfield_pde import plot

        case, folder = _case(name, settings, output)
        if not case.claims:
            raise mf.CaseError(f"{case.origin} states no claims; add a table [claims]")
        with _blaming(case):
            report = mf.validate(case)
        files = [
            _write(folder / "validation.json", report.to_json() + "\n"),
            _write(folder / "validation.txt", report.table() + "\n"),
            *_draw(folder, {"validation": plot.validation_figure(report)}),
        ]
        _tell_report(quiet, as_json, case, report, files)


@app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """List the cases that come with the package."""
    with _exit_codes():
        cases = mf.list_cases()
        if as_json:
            _print_json([{"name": name, "title": title} for name, title in cases.items()])
            return
        width = max((len(name) for name in cases), default=0)
        for name, title in cases.items():
            print(f"{name:<{width}}  {title}")


@app.command("show")
def show_command(name: Name, as_json: AsJson = False) -> None:
    """Show a case: its TOML, and what its claims say."""
    with _exit_codes():
        from meanfield_pde.studies.claims import CLAIMS

        case = mf.load_case(name)
        if as_json:
            shown = {"name": case.name, "title": case.title, "claims": case.claims}
            _print_json({**shown, "path": case.origin, "text": case.text})
            return
        print(case.text.rstrip("\n"))
        if case.claims:
            print("\n# What is claimed, where from, and whether theory says that it holds here:")
        width = max((len(claim) for claim in case.claims), default=0)
        for claim, holds in case.claims.items():
            stated = CLAIMS[claim]
            verdict = "holds" if holds else "FALSE"
            print(f"# {claim:<{width}}  {verdict}  {stated.statement} ({stated.source})")


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Turn errors that a user can mend into a message and an exit code; leave others alone."""
    try:
        yield
    except KeyboardInterrupt:
        _fail("interrupted; files that were complete are kept", INTERRUPTED)
    except BrokenPipeError:  # the reader has had enough, as in `meanfield-pde list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        _fail(str(error), STORAGE)
    except (ValueError, RuntimeError) as error:
        from numpy.linalg import LinAlgError

        if isinstance(error, ValueError) and not isinstance(error, LinAlgError):
            _fail(str(error), USAGE)
        if isinstance(error, typer.Exit):
            raise
        if isinstance(error, LinAlgError | mf.SolveError | mf.GibbsError | mf.SimulationError):
            _fail(str(error), NUMERICS)
        raise
    except MemoryError as error:
        _fail(f"out of memory ({error}); use fewer cells, nodes or particles", NUMERICS)


@contextmanager
def _blaming(case: mf.Case) -> Iterator[None]:
    """Name the case in what solvers and studies refuse."""
    from numpy.linalg import LinAlgError

    try:
        yield
    except (mf.CaseError, LinAlgError):
        raise
    except ValueError as error:
        raise mf.CaseError(f"{case.origin}: {error}") from error


def _fail(message: str, code: int) -> NoReturn:
    print(f"meanfield-pde: {message}", file=sys.stderr)
    raise typer.Exit(code) from None


def _case(name: str, settings: list[str] | None, output: Path | None) -> tuple[mf.Case, Path]:
    """Load a case, and make sure that its results can be written before they are computed."""
    case = mf.load_case(name).with_settings(settings or [])
    folder = Path("results") / case.name if output is None else output
    standing = next(part for part in (folder, *folder.absolute().parents) if part.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK):
        raise mf.StorageError(
            f"{folder} cannot be written to: {standing} is "
            f"{'not writable' if standing.is_dir() else 'no folder'}; give another one by -o"
        )
    return case, folder


def _solve(case: mf.Case, silent: bool) -> mf.Solution:
    progress = not silent and sys.stdout.isatty()
    with _blaming(case):
        solution = mf.solve(case.problem, progress=progress, **case.solve_options())
    return replace(solution, attributes={"case_name": case.name, "case": case.text})


def _simulate(case: mf.Case, silent: bool) -> mf.Run:
    progress = not silent and sys.stdout.isatty()
    with _blaming(case):
        run = mf.simulate(case.problem, progress=progress, **case.simulate_options())
    return replace(run, attributes={"case_name": case.name, "case": case.text})


def _write_solution(case: mf.Case, solution: mf.Solution, folder: Path) -> list[Path]:
    from meanfield_pde import plot

    mf.save_solution(solution, folder / "solution.nc")
    figures = {"density": plot.density_figure(solution), "energy": plot.energy_figure(solution)}
    if case.group is not None:
        figures["asymmetry"] = plot.asymmetry_figure(solution, case.group)
    return [folder / "solution.nc", *_draw(folder, figures)]


def _draw(folder: Path, figures: dict[str, Figure]) -> list[Path]:
    from meanfield_pde import plot

    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        plot.save_figure(figure, paths[-1])
    return paths


def _write(path: Path, text: str) -> Path:
    from meanfield_pde.studies.files import whole

    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def _solution_rows(case: mf.Case, solution: mf.Solution) -> list[dict[str, float]]:
    rows = []
    for k, (t, rho) in enumerate(zip(solution.times, solution.densities, strict=True)):
        row = {
            "time": float(t),
            "mass": float(solution.mass[k]),
            "free energy": float(solution.energy[k]),
            "dissipation": float(solution.dissipation[k]),
        }
        for name, function in _moments(rho.grid, rho.grid.dim).items():
            row[name] = float(rho.expect(function)) / rho.mass
        if case.group is not None:
            row["asymmetry"] = mf.asymmetry(rho, case.group)
        rows.append(row)
    return rows


def _run_rows(run: mf.Run) -> list[dict[str, float]]:
    initial = run.problem.initial if run.problem else None
    grid = initial.grid if isinstance(initial, mf.Density) else None
    moments = _moments(grid, run.points.shape[-1])
    rows = []
    for t, points in zip(run.times, run.points, strict=True):
        averages = {name: float(function(points).mean()) for name, function in moments.items()}
        rows.append({"time": float(t), **averages})
    return rows


def _moments(grid: mf.Grid | None, dim: int) -> dict[str, Callable[[Array], Array]]:
    """Means of the coordinates; on a torus, where they have none, of cosines and sines."""
    import numpy as np

    axes = ["z"] if dim == 1 else [f"z{a + 1}" for a in range(dim)]
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


def _tell(
    quiet: bool,
    as_json: bool,
    rows: Sequence[dict[str, float]],
    files: Sequence[Path],
    **about: str,
) -> None:
    if as_json:
        _print_json({**about, "rows": list(rows), "files": [str(path) for path in files]})
    elif not quiet:
        names = list(rows[0])
        lines = [names, *([_number(row[name]) for name in names] for row in rows)]
        widths = [max(len(line[k]) for line in lines) for k in range(len(names))]
        for line in lines:
            print("  ".join(f"{cell:>{w}}" for cell, w in zip(line, widths, strict=True)))
        print(about["result"])
        _print_files(files)


def _tell_report(
    quiet: bool, as_json: bool, case: mf.Case, report: mf.Report, files: Sequence[Path]
) -> None:
    """Print a report, and leave with the code of its verdict."""
    if as_json:
        names = [str(path) for path in files]
        _print_json({"case": case.name, **report.to_dict(), "files": names})
    elif not quiet:
        print(report.table())
        _print_files(files)
    if not report.passed:
        raise typer.Exit(FAILED)


def _number(value: float) -> str:
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}"
    return f"{value:.2e}"


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def _print_files(files: Sequence[Path]) -> None:
    print("wrote " + ", ".join(str(path) for path in files))


if __name__ == "__main__":
    main()
