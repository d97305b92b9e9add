"""Runs of several sizes beside the density: what is measured of each, and rates in N."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield_pde.eulerian.solution import Solution
from meanfield_pde.lagrangian.simulate import Run
from meanfield_pde.measures import check
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.studies.axes import PARTICLES
from meanfield_pde.studies.compare import common_times
from meanfield_pde.studies.rates import rates
from meanfield_pde.studies.report import Report
from meanfield_pde.studies.rulers import (
    ATOMS,
    distances_of,
    flat,
    moment_values,
    reduced,
    risk_of,
    rulers,
)

if TYPE_CHECKING:
    from xarray import Dataset

FLOOR, LIMIT, GRID = "_floor", "_density", "_grid"
"""Ends of names: of independent samples, of the density, and of what its cells resolve."""


def measure(
    rho: Density, cloud: Cloud, sample: Cloud, names: Sequence[str], energy: Any
) -> dict[str, float]:
    """Moments, energy and distances to the density, of a run and of independent samples.

    Parameters
    ----------
    rho : Density
    cloud, sample : Cloud
        Particles of a run, and as many independent samples of the density.
    names : sequence of str
        Distances, as `compare` has them.
    energy : Energy
        Of the flow.

    Returns
    -------
    dict
        With the names of the variables that `sweep` returns.
    """
    ends = ("", FLOOR)
    inner, clouds = flat(rho), [reduced(rho, one) for one in (cloud, sample)]
    found = {}
    for moment in moment_values(rho, [cloud, sample]):
        name = moment.name.replace("|z|^2", "square").replace(" ", "_")
        found[name + LIMIT] = moment.expected
        found |= {name + end: float(v) for end, v in zip(ends, moment.values, strict=True)}
    smooth = energy.smooth
    found["energy" + LIMIT] = float(smooth.value(rho))
    for end, one in zip(ends, (cloud, sample), strict=True):
        found["energy" + end] = float(smooth.value(one))
    for ruler in rulers(names, inner, risk_of(energy)):
        whole = ruler.name == "model"
        for end, one in zip(ends, (cloud, sample) if whole else clouds, strict=True):
            found[ruler.name + end] = float(ruler.between(rho if whole else inner, one))
        found[ruler.name + GRID] = ruler.grid_floor
    return found


def cut_at(names: Sequence[str], dim: int) -> dict[str, int]:
    """Most points of a cloud that exact transport uses, for the distances that are some."""
    most = ATOMS["line" if dim == 1 else "cloud"]
    return {name: most for name in names if name in ("w1", "w2", "rmd")}


def compare_sizes(
    solution: Solution, runs: Sequence[Run], distances: Sequence[str] | None = None, seed: int = 0
) -> Report:
    """Fit how runs of several sizes approach the density: `compare` of several runs.

    Parameters
    ----------
    solution : Solution
    runs : sequence of Run
        Three sizes or more, equally many seeds, four or more; each with a ``seed`` of its own.
    distances : sequence of str, optional
    seed : int
        Seed of the independent samples and of the intervals.

    Returns
    -------
    Report
        That of `rates`, at the last time that all saved.

    Raises
    ------
    ValueError
        If sizes or seeds repeat, or are too few, or no saved time is common.
    """
    seed = check.count("seed", seed, "any whole number from 0 will do", least=0)
    shared = [set(common_times(solution, run)) for run in runs]
    times = set.intersection(*shared) if shared else set()
    for name, found in (("sizes", {r.particles for r in runs}), ("seed", {r.seed for r in runs})):
        if len(found) < len(runs) or not times:
            raise ValueError(
                "run must be runs of different sizes, each of another seed, with a common time, "
                f"got {name} {sorted(found)} of {len(runs)}; simulate(problem, particles=n, seed=n)"
            )
    if len({run.seeds for run in runs}) > 1:
        raise ValueError(
            f"run must have equally many seeds at each size, got {[r.seeds for r in runs]}; "
            "simulate(..., seeds=16)"
        )
    ordered = sorted(runs, key=lambda run: run.particles)
    return rates(_measured(solution, ordered, max(times), distances, seed), seed=seed)


def _measured(
    solution: Solution, runs: Sequence[Run], t: float, distances: Sequence[str] | None, seed: int
) -> Dataset:
    """Measure runs at a time, in the form of a sweep."""
    from xarray import Dataset

    assert solution.problem is not None
    energy, rho = solution.problem.flow.energy, solution.at(t)
    names = distances_of(distances, rho, risk_of(energy))
    table = []
    for run in runs:
        for replica, cloud in enumerate(run.at(t)):
            rng = np.random.default_rng([seed, run.particles, replica])
            table.append(measure(rho, cloud, Cloud(rho.sample(cloud.size, rng)), names, energy))
    dims, shape = (PARTICLES, "seed", "time"), (len(runs), runs[0].seeds, 1)
    kept = [name + end for name in names for end in ("", FLOOR)]
    data: dict[str, Any] = {
        name: (dims, np.reshape([row[name] for row in table], shape)) for name in kept
    }
    data |= {name + GRID: ("time", [table[0][name + GRID]]) for name in names}
    coordinates = {PARTICLES: [run.particles for run in runs], "time": [t]}
    about = {"distances": " ".join(names), "case_name": "density and particles"}
    found = Dataset(data, coords=coordinates, attrs=about)
    for name, most in cut_at(names, rho.grid.dim).items():
        found[name].attrs["most_particles"] = most
    return found
