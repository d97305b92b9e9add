"""The commands of ``meanfield-pde``.

Exit codes: 0 done, and every check held; 1 a check failed; 2 bad case or usage; 3 the numerics
failed; 4 input or output; 130 interrupted. Errors that a user can mend are one message on stderr.
What computes is imported inside of the commands, so that help answers at once.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from textwrap import fill
from typing import Annotated, Any

import typer

import meanfield_pde as mf
from meanfield_pde.cli.arguments import (
    AsJson,
    Name,
    Output,
    Quiet,
    Settings,
    app,
    case_and_folder,
)
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
        case, folder = case_and_folder(name, settings, output)
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

        case, folder = case_and_folder(name, settings, output)
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

        case, folder = case_and_folder(name, settings, output)
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

        case, folder = case_and_folder(name, settings, output)
        if not case.claims:
            raise mf.CaseError(f"{case.origin} states no claims; add a table [claims]")
        with blaming(case):
            report = mf.validate(case)
        figure = plot.validation_figure(report)
        files = write_report(folder, "validation", report, figure, full=True)
        tell_report(quiet, as_json, case, report, files, report.text(failed=not verbose))


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
