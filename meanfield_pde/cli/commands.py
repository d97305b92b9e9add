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
from typing import Annotated

import typer

import meanfield_pde as mf
from meanfield_pde.cli.exits import blaming, exit_codes
from meanfield_pde.cli.output import (
    draw,
    family_of,
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
    """Move the density: solution.nc, density.png, energy.png, and asymmetry.png with a group."""
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
        files = [folder / "run.nc", *draw(folder, {"particles": plot.particles_figure(None, run)})]
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
        files += draw(folder, {"comparison": plot.comparison_figure(report, solution, run)})
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


@app.command("fluctuations")
def fluctuations_command(
    name: Name,
    output: Output = None,
    settings: Settings = None,
    particles: Annotated[
        list[int] | None,
        typer.Option("--particles", metavar="N", help="64 and 256 if left out; may be repeated."),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="N", help="Replicas for each number of particles.")
    ] = 64,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure N E|f_N - f|^2 of a network: fluctuations.json, fluctuations.txt, fluctuations.png.

    The start must agree with independent samples, and the mean-field law be exact enough.
    """
    with exit_codes():
        from meanfield_pde import plot

        case, folder = _case(name, settings, output)
        with blaming(case):
            report = mf.fluctuations(case, particles=particles or (64, 256), seeds=seeds)
        figure = plot.fluctuations_figure(report)
        files = write_report(folder, "fluctuations", report, figure)
        tell_report(quiet, as_json, case, report, files)


@app.command("bifurcation")
def bifurcation_command(
    name: Name,
    over: Annotated[
        str,
        typer.Option(
            "--over",
            metavar="KEY=LOW:HIGH:COUNT",
            help="The parameter, as in energy.entropy.factor=0.2:0.7:21.",
        ),
    ],
    output: Output = None,
    settings: Settings = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Follow laws at rest along a parameter: bifurcation.json, .txt, .png and .nc."""
    with exit_codes():
        from meanfield_pde import plot

        case, folder = _case(name, settings, output)
        family, values, key = family_of(case, over)
        initial = case.problem.initial
        assert isinstance(initial, mf.Density)
        with blaming(case):
            report = mf.bifurcation(family, values, initial.grid, name=key)
        files = write_report(folder, "bifurcation", report, plot.bifurcation_figure(report))
        mf.save_bifurcation(report, folder / "bifurcation.nc")
        tell_report(quiet, as_json, case, report, [*files, folder / "bifurcation.nc"])


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


@app.command("sweep")
def sweep_command(
    name: Name,
    over: Annotated[
        list[str],
        typer.Option(
            "--over",
            metavar="KEY=VALUES",
            help="An axis: particles or a key as in --set, with values a,b,c, lo:hi:n, or "
            "lo:hi:log2, which doubles; as often as there are axes.",
        ),
    ],
    seeds: Annotated[int, typer.Option("--seeds", help="Runs at each point.")] = 16,
    where: Annotated[
        str, typer.Option("--where", metavar="PLACE", help="here, processes or dask.")
    ] = "processes",
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes; as many as cores if left out.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="ADDRESS", help="Of a Dask cluster; else one starts."),
    ] = None,
    output: Output = None,
    settings: Settings = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a case over values and seeds: sweep.nc, and rates or moments as .json, .txt and .png.

    Rates in N, where particles are an axis of three values or more and seeds are four or more. What
    is done is kept in DIR/densities and DIR/runs: the same command goes on there.
    """
    with exit_codes("; the same command goes on where it was"):
        from meanfield_pde import plot
        from meanfield_pde.studies.rates import can_fit, final_values

        case, folder = _case(name, settings, output)
        progress = not (quiet or as_json) and sys.stdout.isatty()
        with blaming(case):
            data = mf.sweep(case, over, seeds, where, workers, scheduler, folder, progress)
        mf.save_sweep(data, folder / "sweep.nc")
        if can_fit(data):
            stem, report = "rates", mf.rates(data)
            figure = plot.rates_figure(report)
        else:
            stem, report = "moments", final_values(data)
            figure = plot.sweep_figure(data)
        files = [folder / "sweep.nc", *write_report(folder, stem, report, figure)]
        tell_report(quiet, as_json, case, report, files, open_is_fine=True)


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
        from meanfield_pde.studies.claims import CLAIMS

        case = mf.load_case(name)
        if as_json:
            shown = {"name": case.name, "title": case.title, "claims": case.claims}
            print_json({**shown, "path": case.origin, "text": case.text})
            return
        print(case.text.rstrip("\n"))
        if case.claims:
            print("\n# What is claimed, where from, and whether theory says that it holds here:")
        for claim, holds in case.claims.items():
            print(f"# {claim}: {'holds' if holds else 'FALSE'}")
            for text in (CLAIMS[claim].statement, f"[{CLAIMS[claim].source}]"):
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


def _solve(case: mf.Case, silent: bool) -> mf.Solution:
    progress = not silent and sys.stdout.isatty()
    with blaming(case):
        solution = mf.solve(case.problem, progress=progress, **case.solve_options())
    return replace(solution, attributes={"case_name": case.name, "case": case.text})


def _simulate(case: mf.Case, silent: bool) -> mf.Run:
    progress = not silent and sys.stdout.isatty()
    with blaming(case):
        run = mf.simulate(case.problem, progress=progress, **case.simulate_options())
    return replace(run, attributes={"case_name": case.name, "case": case.text})
