"""Ensembles: runs of a case for every value on some axes, many seeds each, beside the density.

A sweep has two stages. The density is solved once for each setting of the keys that move it; then
every run is simulated and measured, with independent samples of the density beside it. Each is a
task of its own whose random numbers come from its own coordinates, so that the result is the same
wherever and in whatever order tasks run, and does not change where values or seeds are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield_pde.eulerian.solve import SolveError, solve
from meanfield_pde.flows.problem import require_gradient_flow
from meanfield_pde.lagrangian.simulate import simulate
from meanfield_pde.lagrangian.steps import SimulationError
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.studies.axes import PARTICLES, Axis, parse_axes
from meanfield_pde.studies.files import versions
from meanfield_pde.studies.points import DensityTask, Point, RunTask, Stated
from meanfield_pde.studies.rulers import distances_of, risk_of
from meanfield_pde.studies.sizes import GRID, LIMIT, cut_at, measure
from meanfield_pde.studies.tasks import Arrays, Lost, Workplace, carry_out

if TYPE_CHECKING:
    from xarray import Dataset


class SweepError(RuntimeError):
    """Some tasks of a sweep failed; those that did not are kept.

    Parameters
    ----------
    failures : dict of str to str
        Why each failed, by its coordinates.
    kept : str
        What is kept, in a sentence.
    """

    def __init__(self, failures: dict[str, str], kept: str) -> None:
        self.failures = failures
        lines = [f"{place}: {reason}" for place, reason in failures.items()]
        more = [f"and {len(lines) - 5} more"] if len(lines) > 5 else []
        shown = "\n  ".join([*lines[:5], *more])
        super().__init__(
            f"{len(lines)} tasks of the sweep failed:\n  {shown}\n{kept}; change the case, or "
            "leave these values out"
        )


def sweep(
    case: Stated,
    over: Mapping[str, Any] | Iterable[str],
    seeds: int = 16,
    where: str = "here",
    workers: int | None = None,
    scheduler: str | None = None,
    folder: str | Path | None = None,
    progress: bool = False,
) -> Dataset:
    """Run a case for all values on some axes, with many seeds, and measure every run.

    Parameters
    ----------
    case : Case
        Made by `load_case`. Its ``simulate.seed`` is that of all randomness.
    over : mapping of str to values
        Keys of the case, as `Case.with_settings` takes them, or ``particles``; each with its
        values, or a text: ``1,2,5``, ``1:4:7`` for 7 values from 1 to 4, or ``32:4096:log2`` for
        doubled ones. Or texts ``key=values``.
    seeds : int
        Runs at each point, with independent samples of the density beside each.
    where : str
        ``here``; ``processes`` of this machine; ``dask``, a cluster that is there or is started.
        The numbers are the same to the last bit. But for ``here``, call it in scripts below
        ``if __name__ == "__main__":``.
    workers : int, optional
        Processes to start, as many as there are cores where it is left out.
    scheduler : str, optional
        Address of a Dask scheduler, such as ``tcp://10.0.0.1:8786``.
    folder : path, optional
        Where densities and runs are kept as they end. Those that it holds of the same case and
        versions are not computed again, so that a sweep that was cut off goes on there.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    xarray.Dataset
        With a dimension for each axis, ``seed`` and ``time``. Distances of each run to the density
        have the names that `compare` gives them, those of independent samples end in ``_floor``;
        moments and the energy without entropy stand beside those of the density, which end in
        ``_density``. What cells resolve of a distance ends in ``_grid``. ``run_seed`` and
        ``floor_seed`` are the seeds.

    Raises
    ------
    ValueError
        If an axis is wrong, or makes a case that is.
    SweepError
        If tasks failed, with their coordinates; after all others were done and kept.
    StorageError
        If the folder cannot be written, or no scheduler answers.

    Examples
    --------
    >>> import meanfield_pde as mf
    >>> case = mf.load_case("kuramoto").with_settings(["grid.cells=32", "t1=0.1", "save=2"])
    >>> data = sweep(case, {"particles": "8:32:log2", "energy.interaction.factor": [1, 3]}, seeds=2)
    >>> dict(data.sizes)
    {'particles': 3, 'energy.interaction.factor': 2, 'seed': 2, 'time': 2}
    >>> bool((data.w1.isel(time=0) > 0).all())
    True
    """
    if not hasattr(case, "with_settings"):
        raise ValueError(
            f"case must be a case, got {type(case).__name__}; load one with mf.load_case(name)"
        )
    require_gradient_flow("sweep", case.problem)
    axes = parse_axes(over)
    seeds = check.count("seeds", seeds, "16 show how much runs scatter")
    points = [
        Point(
            tuple(zip([axis.key for axis in axes], values, strict=True)),
            case.with_settings([a.setting(v) for a, v in zip(axes, values, strict=True)]),
        )
        for values in product(*(axis.values for axis in axes))
    ]
    names, times = _common(points)
    home = None if folder is None else Path(folder)
    with Workplace(where, workers, scheduler).opened() as workplace:
        densities = _densities(points, workplace, home, progress)
        tasks = [
            RunTask(point, replica, point.digest("run", replica), times, found["density"])
            for point, found in zip(points, densities, strict=True)
            for replica in range(seeds)
        ]
        file = partial(_file, home, "runs")
        results = carry_out(_run, tasks, workplace, file, _cost, "runs", progress)
    _refuse_lost({task.name: result for task, result in results.items()}, home)
    found = [result for result in results.values() if not isinstance(result, Lost)]
    return _dataset(case, axes, seeds, times, names, tasks, found)


def _common(points: Sequence[Point]) -> tuple[tuple[str, ...], Array]:
    """Distances and times, which all points have to share."""
    kinds = {}
    for point in points:
        problem, options = point.case.problem, point.case.compare_options()
        initial = problem.initial
        assert isinstance(initial, Density)
        energy = problem.flow.energy
        names = distances_of(options["distances"], initial, risk_of(energy))
        save = problem.save_times(point.case.solve_options()["save"])
        kinds[(names, tuple(save.tolist()))] = point.name
    if len(kinds) > 1:
        (_, one), (_, other) = list(kinds.items())[:2]
        raise ValueError(
            f"over must leave saved times and distances as they are, got others at {other} than "
            f"at {one}; sweep these apart"
        )
    (names, saved), _ = kinds.popitem()
    return names, np.array(saved)


def _densities(
    points: Sequence[Point], workplace: Workplace, home: Path | None, progress: bool
) -> list[Arrays]:
    """Densities at the points, each solved once."""
    digests = [point.digest("density", without=("simulate", "compare")) for point in points]
    first = dict(zip(digests[::-1], points[::-1], strict=True))
    tasks = [DensityTask(point, digest) for digest, point in first.items()]
    file = partial(_file, home, "densities")
    found = carry_out(_solved, tasks, workplace, file, lambda task: 1.0, "densities", progress)
    _refuse_lost({f"density at {task.point.name}": r for task, r in found.items()}, home)
    known = {task.digest: r for task, r in found.items() if not isinstance(r, Lost)}
    return [known[digest] for digest in digests]


def _file(home: Path | None, kind: str, task: DensityTask | RunTask) -> Path | None:
    return None if home is None else home / kind / f"{task.digest}.npz"


def _cost(task: RunTask) -> float:
    return float(task.point.particles)


def _refuse_lost(results: Mapping[str, Arrays | Lost], home: Path | None) -> None:
    lost = {name: result.reason for name, result in results.items() if isinstance(result, Lost)}
    if lost:
        rest = len(results) - len(lost)
        kept = "the others were not kept for want of a folder"
        kept = kept if home is None else f"the other {rest} are kept in {home}"
        raise SweepError(lost, kept)


def _guarded(function: Callable[[], Arrays]) -> Arrays | Lost:
    """Turn failures of the numerics, which hold what does not pickle, into a reason."""
    try:
        return function()
    except (SolveError, SimulationError, np.linalg.LinAlgError) as error:
        return Lost(str(error))
    except MemoryError as error:
        return Lost(f"out of memory ({error})")


def _solved(task: DensityTask) -> Arrays | Lost:
    return _guarded(partial(_solve, task.point.case))


def _solve(case: Stated) -> Arrays:
    solution = solve(case.problem, **case.solve_options())
    return {"density": np.stack([rho.values for rho in solution.densities])}


def _run(task: RunTask) -> Arrays | Lost:
    return _guarded(partial(_measured_run, task))


def _measured_run(task: RunTask) -> Arrays:
    """Simulate a run and measure it: an array over the saved times for each quantity."""
    case = task.point.case
    options = {**case.simulate_options(), "seeds": 1}
    options["seed"], floor_seed = task.point.seeds(task.replica)
    run = simulate(case.problem, **options)
    initial = case.problem.initial
    assert isinstance(initial, Density)
    energy = case.problem.flow.energy
    names = distances_of(case.compare_options()["distances"], initial, risk_of(energy))
    rows = []
    for k, t in enumerate(task.times):
        rho = Density(initial.grid, task.densities[k])
        rng = np.random.default_rng([floor_seed, k])
        sample = Cloud(rho.sample(run.particles, rng))
        rows.append(measure(rho, run.at(float(t))[0], sample, names, energy))
    arrays: Arrays = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    seeds = {"run_seed": options["seed"], "floor_seed": floor_seed}
    return {**arrays, **{name: np.array(seed, np.int64) for name, seed in seeds.items()}}


def _dataset(
    case: Stated,
    axes: Sequence[Axis],
    seeds: int,
    times: Array,
    distances: Sequence[str],
    tasks: Sequence[RunTask],
    results: Sequence[Arrays],
) -> Dataset:
    from xarray import Dataset

    keys = [axis.key for axis in axes]
    shape = [len(axis.values) for axis in axes]
    # What is the density's own does not depend on particles and seeds: one of them stands for all.
    own = (*(slice(None) if axis.moves_density else 0 for axis in axes), 0)
    data: dict[str, Any] = {}
    for name in sorted(results[0], key=lambda name: name.endswith((LIMIT, GRID))):
        first = results[0][name]
        values = np.stack([result[name] for result in results])
        values = values.reshape(*shape, seeds, *first.shape)
        dims = [*keys, "seed", "time"][: values.ndim]
        if name.endswith((LIMIT, GRID)):
            values = values[own]
            dims = [*(axis.key for axis in axes if axis.moves_density), "time"]
        data[name] = (dims, values)
    coordinates = {axis.key: axis.coordinate for axis in axes}
    attributes = {
        "kind": "sweep",
        "case_name": case.name,
        "case": case.text,
        "seed": case.simulate_options()["seed"],
        "distances": " ".join(distances),
        "particles": tasks[0].point.particles,
        **versions(),
    }
    if PARTICLES in keys:
        del attributes["particles"]
    dataset = Dataset(
        data, coords={**coordinates, "seed": range(seeds), "time": times}, attrs=attributes
    )
    dim = tasks[0].densities.ndim - 1
    for name, most in cut_at(distances, dim).items():
        dataset[name].attrs["most_particles"] = most
    return dataset
