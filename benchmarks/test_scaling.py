"""How the time of a step grows with data and with cells, and the memory of a large network.

``python -m pytest benchmarks/test_scaling.py --benchmark-only -s``. Steps are fixed ones of
mprk22, whole: energy, flux, linear solves and checks. Times of a study are taken in one process,
in turn, the least of each; ratios and exponents are printed and kept in ``extra_info``, and
nothing is asserted of a time.
"""

from __future__ import annotations

import subprocess
import sys
from time import perf_counter

import numpy as np
import pytest

import meanfield_pde as mf
from meanfield_pde.energies.low_rank import TOLERANCE as ROUNDING

SIZES = (100, 1_000, 10_000)
CELLS = (64, 128, 256, 512, 1024)
STEPS = 4
MEMORY = """
import resource
from benchmarks.test_scaling import flow, legendre, march, network
march(flow(network(legendre(64)), 1024), 2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def wave(x):
    return np.sin(2 * x[..., 0])


def line(size: int) -> mf.Data:
    x = np.random.default_rng(0).uniform(-3, 3, (size, 1))
    return mf.Data.samples(x, wave(x))


def legendre(nodes: int) -> mf.Data:
    return mf.Data.gauss_legendre(nodes, -3, 3, wave)


def plane(size: int) -> mf.Data:
    return mf.Data.gauss_hermite(2, round(size**0.5), wave)


def network(data: mf.Data, tolerance: float = ROUNDING, loss: str = "half_squared") -> mf.Risk:
    unit = mf.Unit.ridge("tanh") if data.dim == 2 else mf.Unit.scaled_ridge("tanh")
    return mf.Risk(unit, data, loss, rank_tolerance=tolerance)


def well() -> mf.Energy:
    return mf.Potential(lambda z: 0.25 * (z**2).sum(-1) ** 2)


def flow(energy: mf.Energy, cells: int) -> mf.Problem:
    """A flow on cells^2 cells whose features are found already."""
    grid = mf.Grid.box((-4, -4), (4, 4), (cells, cells))
    energy.on(grid)
    whole = energy + 0.005 * mf.Penalty() + 0.01 * mf.Entropy()
    return mf.Problem(mf.GradientFlow(whole), mf.Density.gaussian(grid, (0, 0), 0.5), t1=1.0)


def march(problem: mf.Problem, steps: int) -> mf.Solution:
    t1 = 0.005 * steps
    short = mf.Problem(problem.flow, problem.initial, t1)
    return mf.solve(short, save=[t1], stepper="mprk22", dt=0.005)


def step_times(problems: list[mf.Problem], rounds: int) -> list[float]:
    """Seconds a step, the least of some rounds, all problems in each.

    Start-up is taken off with the first steps, which touch the memory of the others; small grids
    take more steps, so that the difference is no noise.
    """
    counts = [STEPS * max(1, 512 // problem.initial.grid.cells[0]) for problem in problems]
    best = np.full((len(problems), 2), np.inf)
    for _ in range(rounds):
        for row, problem, count in zip(best, problems, counts, strict=True):
            for column, steps in enumerate((count, 2 * count)):
                start = perf_counter()
                march(problem, steps)
                row[column] = min(row[column], perf_counter() - start)
    return ((best[:, 1] - best[:, 0]) / np.array(counts)).tolist()


def rank(problem: mf.Problem) -> str:
    return problem.flow.energy.smooth.on(problem.initial.grid).remark or "all data"


def run(benchmark, problems, rounds):
    return benchmark.pedantic(step_times, args=(problems, rounds), rounds=1)


def tell(benchmark, **found):
    benchmark.extra_info.update(found)
    sys.stdout.write("".join(f"\n  {name}: {value}" for name, value in found.items()) + "\n")


@pytest.mark.parametrize(
    ("data", "sizes", "tolerance", "loss"),
    [
        # numpy takes the nodes of 10,000 from a full matrix: 1.6 GB.
        pytest.param(legendre, (100, 1_000, 4_000), ROUNDING, "half_squared", id="legendre"),
        pytest.param(line, SIZES, ROUNDING, "half_squared", id="samples"),
        pytest.param(line, SIZES, ROUNDING, "huber", id="samples, Huber"),
        pytest.param(plane, SIZES, 1e-2, "half_squared", id="plane, 1e-2"),
        pytest.param(plane, SIZES, 1e-4, "half_squared", id="plane, 1e-4"),
    ],
)
def test_data(benchmark, data, sizes, tolerance, loss):
    """100 to 10,000 data on 128^2 cells."""
    problems, prepared = [], []
    for size in sizes:
        risk = network(data(size), tolerance, loss)
        start = perf_counter()
        problems.append(flow(risk, 128))
        prepared.append(perf_counter() - start)
    seconds = run(benchmark, problems, rounds=7)
    tell(
        benchmark,
        data=sizes,
        features=[rank(problem) for problem in problems],
        prepared=[f"{t:.2f} s" for t in prepared],
        step=[f"{1e3 * t:.1f} ms" for t in seconds],
        ratio=f"{seconds[-1] / seconds[0]:.2f}",
    )


@pytest.mark.parametrize("energy", [well, lambda: network(legendre(64))], ids=["well", "network"])
def test_cells(benchmark, energy):
    """64^2 to 1024^2 cells: the exponent of the time in the number of cells."""
    problems = [flow(energy(), cells) for cells in CELLS]
    seconds = run(benchmark, problems, rounds=3)
    slope = np.polyfit(2 * np.log(CELLS), np.log(seconds), 1)[0]
    tell(
        benchmark,
        cells=CELLS,
        step=[f"{1e3 * t:.1f} ms" for t in seconds],
        exponent=f"{slope:.3f}",
    )


def test_memory(benchmark):
    """Peak of a network's solve on 1024^2 cells, in a process of its own."""

    def peak() -> float:
        done = subprocess.run(
            [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    tell(benchmark, peak=f"{benchmark.pedantic(peak, rounds=1):.2f} GiB")
