"""Results on disk: one NetCDF file a solution or a run, written whole or not at all.

Attributes of the file hold the result in a sentence, the seed, the versions of what computed it
and, where it came from a case, the case's text. A file never holds NaN.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from meanfield_pde.eulerian.game_solution import PLAYERS, GameSolution
from meanfield_pde.eulerian.solution import Solution, Statistics
from meanfield_pde.flows.problem import Game, Problem
from meanfield_pde.lagrangian.birth_death import DYNAMICS
from meanfield_pde.lagrangian.dynamics import Dynamics
from meanfield_pde.lagrangian.game_run import GameRun
from meanfield_pde.lagrangian.simulate import Run
from meanfield_pde.measures.chart import Chart
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid
from meanfield_pde.studies.bifurcation import bifurcation_dataset
from meanfield_pde.studies.files import StorageError, versions, whole

if TYPE_CHECKING:
    from xarray import Dataset

    from meanfield_pde.studies.report import Report


GAME = "game-"
"""What the kind of a game's file begins with."""


def save_solution(solution: Solution | GameSolution, path: str | Path) -> None:
    """Write a solution as NetCDF.

    Parameters
    ----------
    solution : Solution or GameSolution
        Its ``attributes`` are written too; numbers and strings only.
    path : str or Path
        Folders are made where they are missing.

    Raises
    ------
    ValueError
        If a number is NaN or infinite.
    StorageError
        If the file cannot be written.
    """
    extra = {"statistics": _json("statistics", asdict(solution.statistics)), "ok": int(solution.ok)}
    _write(solution.to_dataset(), extra, path)


@overload
def load_solution(path: str | Path, problem: Game) -> GameSolution: ...


@overload
def load_solution(path: str | Path, problem: Problem) -> Solution: ...


@overload
def load_solution(path: str | Path, problem: None = ...) -> Solution | GameSolution: ...


def load_solution(
    path: str | Path, problem: Problem | Game | None = None
) -> Solution | GameSolution:
    """Read what `save_solution` wrote; the file tells a game's.

    Parameters
    ----------
    path : str or Path
    problem : Problem, optional
        What was solved, which the file does not hold: `compare` asks for it. The text of the case
        is in ``attributes["case"]``, where there was one.

    Raises
    ------
    StorageError
        If there is no such file, or it holds something else.
    """
    data = _read(path, "solution")
    read = _game_solution if _of_game(data) else _solution
    try:
        solution = read(data, problem)
    except (KeyError, TypeError, ValueError) as error:
        raise _foreign(path, "solution", error) from error
    return replace(solution, attributes=_extra(data, solution.to_dataset()))


def save_run(run: Run | GameRun, path: str | Path) -> None:
    """Write a run of particles as NetCDF; the arguments and errors of `save_solution`."""
    _write(run.to_dataset(), {"settings": _json("dynamics", run.dynamics.settings)}, path)


@overload
def load_run(path: str | Path, problem: Game) -> GameRun: ...


@overload
def load_run(path: str | Path, problem: Problem) -> Run: ...


@overload
def load_run(path: str | Path, problem: None = ...) -> Run | GameRun: ...


def load_run(path: str | Path, problem: Problem | Game | None = None) -> Run | GameRun:
    """Read what `save_run` wrote; the arguments and errors of `load_solution`."""
    data = _read(path, "run")
    read = _game_run if _of_game(data) else _run
    try:
        run = read(data, problem)
    except (KeyError, TypeError, ValueError) as error:
        raise _foreign(path, "run", error) from error
    return replace(run, attributes=_extra(data, run.to_dataset()))


def save_sweep(data: Dataset, path: str | Path) -> None:
    """Write a sweep as NetCDF; the arguments and errors of `save_solution`."""
    _write(data.copy(), {}, path)


def load_sweep(path: str | Path) -> Dataset:
    """Read what `save_sweep` wrote, or `meanfield-pde sweep`; the errors of `load_solution`."""
    data = _read(path, "sweep")
    known = {
        name: getattr(value, "tolist", lambda value=value: value)()
        for name, value in data.attrs.items()
    }
    return data.assign_attrs(known)


def save_bifurcation(report: Report, path: str | Path) -> None:
    """Write a diagram of `bifurcation` as NetCDF; the errors of `save_solution`."""
    _write(bifurcation_dataset(report), {}, path)


def _solution(data: Dataset, problem: Any) -> Solution:
    attributes = data.attrs
    values, given = data["density"].values, attributes["chart"]
    chart = Chart.from_entries(json.loads(given)) if given else None
    grid = _grid(attributes, "", values.shape[1:], chart)
    return Solution(
        problem,
        data["time"].values,
        tuple(Density(grid, rho) for rho in values),
        data["energy"].values,
        data["mass"].values,
        data["dissipation"].values,
        _statistics(attributes),
        str(attributes["result"]),
        bool(attributes["ok"]),
    )


def _game_solution(data: Dataset, problem: Any) -> GameSolution:
    laws: dict[str, list[Density]] = {}
    for player in PLAYERS:
        grid = _grid(data.attrs, f"{player}_", data[player].shape[1:], None)
        for name in (player, f"{player}_average"):
            laws[name] = [Density(grid, rho) for rho in data[name].values]
    first, second = PLAYERS
    return GameSolution(
        problem,
        data["time"].values,
        tuple(zip(laws[first], laws[second], strict=True)),
        tuple(zip(laws[f"{first}_average"], laws[f"{second}_average"], strict=True)),
        data["payoff"].values,
        data["gap"].values,
        data["average_gap"].values,
        data["entropic_gap"].values,
        data["mass"].values,
        _statistics(data.attrs),
        str(data.attrs["result"]),
        bool(data.attrs["ok"]),
    )


def _grid(
    attributes: dict[str, Any], prefix: str, cells: tuple[int, ...], chart: Chart | None
) -> Grid:
    sides = (np.atleast_1d(attributes[f"{prefix}{name}"]).tolist() for name in ("lower", "upper"))
    lower, upper = (tuple(side) for side in sides)
    return Grid(lower, upper, cells, bool(attributes[f"{prefix}periodic"]), chart)


def _statistics(attributes: dict[str, Any]) -> Statistics:
    statistics = json.loads(attributes["statistics"])
    return Statistics(**{**statistics, "dt": tuple(statistics["dt"])})


def _run(data: Dataset, problem: Any) -> Run:
    return Run(problem, data["time"].values, data["position"].values, *_driven(data.attrs))


def _game_run(data: Dataset, problem: Any) -> GameRun:
    first, second = (data[player].values for player in PLAYERS)
    return GameRun(problem, data["time"].values, (first, second), *_driven(data.attrs))


def _driven(attributes: dict[str, Any]) -> tuple[int, Dynamics, str]:
    settings = json.loads(attributes["settings"])
    dynamics = DYNAMICS[attributes["dynamics"]].from_settings(**settings)
    return int(attributes["seed"]), dynamics, str(attributes["result"])


def _of_game(data: Dataset) -> bool:
    return str(data.attrs["kind"]).startswith(GAME)


def _write(data: Dataset, extra: dict[str, Any], path: str | Path) -> None:
    for name, variable in data.variables.items():
        if variable.dtype.kind not in "fc":
            continue
        wrong = variable.values[~np.isfinite(variable.values)]
        if wrong.size:
            raise ValueError(
                f"{name} must be finite to be saved, got {wrong[0]}; nothing was written to {path}"
            )
    data.attrs = {**versions(), **data.attrs, **extra}
    with whole(path) as partial:
        data.to_netcdf(partial, engine="h5netcdf")


def _json(name: str, values: dict[str, Any]) -> str:
    try:
        return json.dumps(values, allow_nan=False)
    except ValueError:
        raise ValueError(
            f"{name} must be finite to be saved, got {values}; check what was computed"
        ) from None


def _read(path: str | Path, kind: str) -> Dataset:
    from xarray import open_dataset

    if not Path(path).is_file():
        raise StorageError(f"{path} is no file; write one with save_{kind}")
    try:
        with open_dataset(path, engine="h5netcdf") as data:
            loaded = data.load()
    except (OSError, ValueError, KeyError) as error:
        raise _foreign(path, kind, error) from error
    if loaded.attrs.get("kind") not in (kind, f"{GAME}{kind}"):
        raise _foreign(path, kind, f"kind is {loaded.attrs.get('kind', 'not given')}")
    return loaded


def _foreign(path: str | Path, kind: str, reason: object) -> StorageError:
    return StorageError(
        f"{path} holds no {kind} of this package ({reason}); read a file that save_{kind} wrote"
    )


def _extra(stored: Dataset, own: Dataset) -> dict[str, Any]:
    """Attributes of a file beyond those that its object writes by itself, as plain values."""
    known = {*own.attrs, "statistics", "settings", "ok"}
    plain = {
        name: getattr(value, "tolist", lambda value=value: value)()
        for name, value in stored.attrs.items()
    }
    return {name: value for name, value in plain.items() if name not in known}
