"""The commands of ``meanfield-pde``.

Exit codes: 0 done, and every check held; 1 a check failed; 2 bad case or usage; 3 the numerics
failed; 4 input or output; 130 interrupted. Errors that a user can mend are one message on stderr.
What computes is imported inside of the commands, so that help answers at once.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import typer

import meanfield_pde as mf
from meanfield_pde.cli.exits import blaming, exit_codes
from meanfield_pde.cli.output import (
    draw,
    print_json,
    run_rows,
    solution_rows,
    tell,
    tell_report,
    write,
    write_report,
    write_solution,
)

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
    """Move the density: solution.nc, density.png, energy.png, and asymmetry.png with a group.

    Of a game: solution.nc, density.png of both players, gap.png and phase.png.
    """
    with exit_codes():
        case, folder = _case(name, settings, output)
        solution = _solve(case, quiet or as_json)
        files = write_solution(case, solution, folder)
        rows = solution_rows(case, solution)
        tell(quiet, as_json, rows, files, case=case.name, result=solution.result)


@app.command("simulate")
def simulate_command(
    name: Name,
    output: Output = None,
    settings: Settings = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Move particles: run.nc and particles.png."""
    with exit_codes():
        from meanfield_pde import plot

        case, folder = _case(name, settings, output)
        run = _simulate(case, quiet or as_json)
        mf.save_run(run, folder / "run.nc")
        of_game = isinstance(run, mf.GameRun)
        figure = (plot.game_particles_figure if of_game else plot.particles_figure)(None, run)
        files = [folder / "run.nc", *draw(folder, {"particles": figure})]
        tell(quiet, as_json, run_rows(run), files, case=case.name, result=run.result)


@app.command("compare")
def compare_command(
    name: Name,
    output: Output = None,
    settings: Settings = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Do both and compare: comparison.json, comparison.png, solution.nc, run.nc."""
    with exit_codes():
        from meanfield_pde import plot

        case, folder = _case(name, settings, output)
        solution = _solve(case, quiet or as_json)
        run = _simulate(case, quiet or as_json)
        with blaming(case):
            report = mf.compare(solution, run, **case.compare_options())
        mf.save_solution(solution, folder / "solution.nc")
        mf.save_run(run, folder / "run.nc")
        files = [folder / "solution.nc", folder / "run.nc"]
        files.append(write(folder / "comparison.json", report.to_json() + "\n"))
        of_game = isinstance(run, mf.GameRun)
        drawing = plot.game_comparison_figure if of_game else plot.comparison_figure
        files += draw(folder, {"comparison": drawing(report, solution, run)})
        tell_report(quiet, as_json, case, report, files)


@app.command("validate")
def validate_command(
    name: Name,
    output: Output = None,
    settings: Settings = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print every claim in full, not only failures.")
    ] = False,
) -> None:
    """Check what theory claims of the case: validation.json, validation.txt, validation.png.

    The text file has each claim's statement, source, tolerance and control in full.
    """
    with exit_codes():
        from meanfield_pde import plot

        case, folder = _case(name, settings, output)
        if not case.claims:
            raise mf.CaseError(f"{case.origin} states no claims; add a table [claims]")
        with blaming(case):
            report = mf.validate(case)
        figure = plot.validation_figure(report)
        files = write_report(folder, "validation", report, figure, full=True)
        tell_report(quiet, as_json, case, report, files, report.text(failed=not verbose))


@app.command("convergence")
def convergence_command(
    name: Name,
    output: Output = None,
    settings: Settings = None,
    levels: Annotated[
        int, typer.Option("--levels", metavar="N", help="Number of grids, 3 or more.")
    ] = 4,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Refine in space and in time: convergence.json, convergence.txt, convergence.png."""
    with exit_codes():
        from meanfield_pde import plot

        case, folder = _case(name, settings, output)
        with blaming(case):
            report = mf.convergence(case, levels=levels)
        files = write_report(folder, "convergence", report, plot.convergence_figure(report))
        tell_report(quiet, as_json, case, report, files)


@app.command("discover")
def discover_command(
    name: Name,
    output: Output = None,
    settings: Settings = None,
    sgd: Annotated[
        bool, typer.Option("--sgd", help="Train on batches; else by population gradients.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find a subspace that training keeps: discovery.json, discovery.txt, discovery.png."""
    with exit_codes():
        from meanfield_pde import plot

        case, folder = _case(name, settings, output)
        with blaming(case):
            report = mf.discover(case, "sgd" if sgd else "langevin")
        files = write_report(folder, "discovery", report, plot.discover_figure(report))
        tell_report(quiet, as_json, case, report, files)


@app.command("students")
def students_command(
    output: Output = None,
    long: Annotated[
        bool, typer.Option("--long", help="1000 and 5000 particles too, by 3 seeds: hours.")
    ] = False,
    particles: Annotated[
        list[int] | None,
        typer.Option("--particles", metavar="N", help="These numbers alone; may be repeated."),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", help="Students of a kind.")] = 10,
    processes: Annotated[
        int, typer.Option("--processes", metavar="N", help="All cores where it is left out.")
    ] = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train the students of Maass and Fontbona: students.json, students.txt, students.png.

    An interrupted run goes on where it was: what is trained is kept in DIR/trained.
    """
    with exit_codes():
        from meanfield_pde import plot
        from meanfield_pde.studies.students import FEW, MANY

        folder = _writable(Path("results/students") if output is None else output)
        sizes = particles or (MANY if long else FEW)
        report = mf.students(
            particles=sizes,
            seeds={n: seeds if n <= max(FEW) else min(seeds, 3) for n in sizes},
            processes=processes or os.cpu_count() or 1,
            folder=folder / "trained",
            progress=not (quiet or as_json) and sys.stdout.isatty(),
        )
        files = write_report(folder, "students", report, plot.students_figure(report))
        tell_report(quiet, as_json, "students", report, files)


@app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """List the cases that come with the package."""
    with exit_codes():
        cases = mf.list_cases()
        if as_json:
            print_json([{"name": name, "title": title} for name, title in cases.items()])
            return
        width = max((len(name) for name in cases), default=0)
        for name, title in cases.items():
            print(f"{name:<{width}}  {title}")


@app.command("show")
def show_command(name: Name, as_json: AsJson = False) -> None:
    """Show a case: its TOML, and what its claims say."""
    with exit_codes():
        from meanfield_pde.studies.claims import CLAIMS, GAME_CLAIMS

        case = mf.load_case(name)
        known = GAME_CLAIMS if case.schema.of_game else CLAIMS
        if as_json:
            shown = {"name": case.name, "title": case.title, "claims": case.claims}
            print_json({**shown, "path": case.origin, "text": case.text})
            return
        print(case.text.rstrip("\n"))
        if case.claims:
            print("\n# What is claimed, where from, and whether theory says that it holds here:")
        for claim, holds in case.claims.items():
            print(f"# {claim}: {'holds' if holds else 'FALSE'}")
            for text in (known[claim].statement, f"[{known[claim].source}]"):
                print(fill(text, 88, initial_indent="#   ", subsequent_indent="#   "))


def _case(name: str, settings: list[str] | None, output: Path | None) -> tuple[mf.Case, Path]:
    """Load a case, and make sure that its results can be written before they are computed."""
    case = mf.load_case(name).with_settings(settings or [])
    return case, _writable(Path("results") / case.name if output is None else output)


def _writable(folder: Path) -> Path:
    standing = next(part for part in (folder, *folder.absolute().parents) if part.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK):
        raise mf.StorageError(
            f"{folder} cannot be written to: {standing} is "
            f"{'not writable' if standing.is_dir() else 'no folder'}; give another one by -o"
        )
    return folder


def _solve(case: mf.Case, silent: bool) -> Any:
    progress = not silent and sys.stdout.isatty()
    with blaming(case):
        solution = mf.solve(case.problem, progress=progress, **case.solve_options())
    return replace(solution, attributes={"case_name": case.name, "case": case.text})


def _simulate(case: mf.Case, silent: bool) -> Any:
    progress = not silent and sys.stdout.isatty()
    with blaming(case):
        run = mf.simulate(case.problem, progress=progress, **case.simulate_options())
    return replace(run, attributes={"case_name": case.name, "case": case.text})
