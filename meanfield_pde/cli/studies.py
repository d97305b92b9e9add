"""The commands of ``meanfield-pde`` that study a case: many solves or runs, and one report."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

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
    writable,
)
from meanfield_pde.cli.exits import blaming, exit_codes
from meanfield_pde.cli.output import tell_report, write_report


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

        case, folder = case_and_folder(name, settings, output)
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

        case, folder = case_and_folder(name, settings, output)
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
            metavar="KEY=VALUES",
            help="The parameter, as in energy.entropy.factor=0.2:0.7:21, ends included.",
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
        from meanfield_pde.flows.problem import require_gradient_flow
        from meanfield_pde.studies.axes import parse_axes

        case, folder = case_and_folder(name, settings, output)
        with blaming(case):
            axis = parse_axes([over])[0]
            require_gradient_flow("bifurcation", case.problem)

        initial = case.problem.initial
        assert isinstance(initial, mf.Density)  # of a case it always is

        def family(value: float) -> mf.Energy:
            changed: mf.Problem = case.with_settings([axis.setting(value)]).problem
            return changed.flow.energy

        with blaming(case):
            report = mf.bifurcation(family, axis.values, initial.grid, name=axis.key)
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

        case, folder = case_and_folder(name, settings, output)
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

        folder = writable(Path("results/students") if output is None else output)
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

    Rates in N, where particles are an axis of three values or more and seeds are four or more.

    What is done is kept in DIR/densities and DIR/runs: the same command goes on there.
    """
    with exit_codes("; the same command goes on where it was"):
        from meanfield_pde import plot
        from meanfield_pde.studies.rates import can_fit, final_values

        case, folder = case_and_folder(name, settings, output)
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
