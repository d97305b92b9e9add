"""Files of solutions and runs: what is written is read, and nothing is written by halves."""

from dataclasses import replace

import numpy as np
import pytest

import meanfield_pde as mf
from meanfield_pde.storage import whole


@pytest.fixture(scope="module", params=["kuramoto", "swap-arbitrary", "reflection-arbitrary"])
def case(request):
    cells = "[16, 16]" if request.param == "swap-arbitrary" else "24"
    return mf.load_case(request.param).with_settings(
        [
            f"grid.cells={cells}",
            "t1=0.3",
            "save=3",
            "simulate.particles=7",
            "simulate.seeds=2",
            *(["simulate.dynamics=sgd"] if "arbitrary" in request.param else []),
        ]
    )


@pytest.fixture(scope="module")
def solution(case):
    solved = mf.solve(case.problem, **case.solve_options())
    return replace(solved, attributes={"case": case.text})


@pytest.fixture(scope="module")
def run(case):
    return mf.simulate(case.problem, **case.simulate_options())


def test_solution_comes_back_bit_for_bit(tmp_path, case, solution):
    mf.save_solution(solution, tmp_path / "deep" / "solution.nc")
    back = mf.load_solution(tmp_path / "deep" / "solution.nc", case.problem)
    for name in ("times", "energy", "mass", "dissipation"):
        assert np.array_equal(getattr(back, name), getattr(solution, name))
    for one, other in zip(back.densities, solution.densities, strict=True):
        assert one.grid == other.grid
        assert np.array_equal(one.values, other.values)
    assert back.statistics == solution.statistics
    assert back.result == solution.result
    assert back.ok is True
    assert back.problem is case.problem
    assert back.at(0.3).mass == solution.at(0.3).mass


def test_attributes_tell_where_a_file_comes_from(tmp_path, case, solution):
    mf.save_solution(solution, tmp_path / "solution.nc")
    back = mf.load_solution(tmp_path / "solution.nc")
    assert back.problem is None
    assert back.attributes["case"] == case.text
    assert back.attributes["version_numpy"] == np.__version__
    assert {"version_meanfield_pde", "version_scipy", "version_numba"} <= set(back.attributes)
    mf.save_solution(back, tmp_path / "again.nc")
    assert mf.load_solution(tmp_path / "again.nc").attributes == back.attributes


def test_run_comes_back_bit_for_bit(tmp_path, case, run):
    mf.save_run(run, tmp_path / "run.nc")
    back = mf.load_run(tmp_path / "run.nc", case.problem)
    assert np.array_equal(back.points, run.points)
    assert np.array_equal(back.times, run.times)
    assert (back.seed, back.dynamics, back.result) == (run.seed, run.dynamics, run.result)


@pytest.mark.parametrize("kind", [None, "cloud", "density", "plane", "chart"])
def test_births_and_deaths_come_back(tmp_path, kind):
    cells = (120, 120)  # of 300 kB as text: more than fits an attribute of a fixed length
    plane = mf.Density.gaussian(mf.Grid.box((-4, -4), (4, 4), cells), (0, 0), 0.4)
    half = mf.Grid.box((0, -4), (4, 4), (20, 40), chart=mf.Chart.quotient(mf.Group.reflection(2)))
    reservoir = {
        None: None,
        "cloud": mf.Cloud([[0.0, 1.0], [2.0, 3.0]], [0.25, 0.75]),
        "density": mf.Density.uniform(plane.grid),
        "plane": plane,
        "chart": mf.Density.uniform(half),
    }[kind]
    flow = mf.GradientFlow(mf.Penalty(), reaction=1.0)
    dynamics = mf.BirthDeath(0.01, reservoir)
    run = mf.simulate(mf.Problem(flow, plane, 0.05), 200, dynamics=dynamics)
    mf.save_run(run, tmp_path / "run.nc")
    back = mf.load_run(tmp_path / "run.nc").dynamics
    assert replace(back, reservoir=None) == replace(dynamics, reservoir=None)
    if isinstance(reservoir, mf.Density):
        assert back.reservoir.grid == reservoir.grid
        assert np.array_equal(back.reservoir.values, reservoir.values)
    elif reservoir is not None:
        assert np.array_equal(back.reservoir.points, reservoir.points)
        assert np.array_equal(back.reservoir.weights, reservoir.weights)
    else:
        assert back.reservoir is None


def test_a_reservoir_that_is_a_function_is_not_saved(tmp_path):
    flow = mf.GradientFlow(mf.Penalty(), reaction=1.0)
    dynamics = mf.BirthDeath(0.01, lambda n, rng: rng.standard_normal((n, 1)))
    run = mf.simulate(mf.Problem(flow, mf.Cloud([0.0, 1.0]), 0.05), 9, dynamics=dynamics)
    with pytest.raises(ValueError, match="reservoir must be a Density or a Cloud to be saved"):
        mf.save_run(run, tmp_path / "run.nc")
    assert not list(tmp_path.iterdir())


def test_what_was_loaded_can_be_compared(tmp_path, case, solution, run):
    mf.save_solution(solution, tmp_path / "solution.nc")
    mf.save_run(run, tmp_path / "run.nc")
    loaded = mf.load_solution(tmp_path / "solution.nc", case.problem)
    report = mf.compare(loaded, mf.load_run(tmp_path / "run.nc"), distances=["w2"])
    assert report.to_dict() == mf.compare(solution, run, distances=["w2"]).to_dict()


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_nan_never_reaches_a_file(tmp_path, solution, run, wrong):
    with pytest.raises(ValueError, match=r"energy must be finite to be saved, got (nan|-?inf)"):
        mf.save_solution(replace(solution, energy=solution.energy * wrong), tmp_path / "a.nc")
    bad = replace(solution.statistics, mass_drift=wrong)
    with pytest.raises(ValueError, match="statistics must be finite"):
        mf.save_solution(replace(solution, statistics=bad), tmp_path / "a.nc")
    with pytest.raises(ValueError, match="position must be finite"):
        mf.save_run(replace(run, points=run.points * wrong), tmp_path / "a.nc")
    assert list(tmp_path.iterdir()) == []


def test_a_refused_solution_leaves_the_old_file(tmp_path, solution):
    path = tmp_path / "solution.nc"
    mf.save_solution(solution, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="mass must be finite"):
        mf.save_solution(replace(solution, mass=solution.mass * np.nan), path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
def test_whole_or_not_at_all(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def interrupted():
        with whole(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(mf.StorageError if error is OSError else error):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with whole(path) as partial:
        assert partial.suffix == path.suffix
        partial.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written(tmp_path, solution):
    (tmp_path / "file").write_text("")
    with pytest.raises(mf.StorageError, match="cannot be written: .*choose another place"):
        mf.save_solution(solution, tmp_path / "file" / "solution.nc")
    (tmp_path / "folder").mkdir()
    with pytest.raises(mf.StorageError, match="cannot be written"):
        mf.save_solution(solution, tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_files_that_are_not_ours(tmp_path, solution, run):
    with pytest.raises(mf.StorageError, match="is no file; write one with save_solution"):
        mf.load_solution(tmp_path / "none.nc")
    text = tmp_path / "text.nc"
    text.write_text("hello")
    with pytest.raises(mf.StorageError, match="holds no run of this package"):
        mf.load_run(text)
    mf.save_solution(solution, tmp_path / "solution.nc")
    with pytest.raises(mf.StorageError, match=r"holds no run .*\(kind is solution\)"):
        mf.load_run(tmp_path / "solution.nc")
    whole_file = (tmp_path / "solution.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(whole_file[: len(whole_file) // 2])
    with pytest.raises(mf.StorageError, match="holds no solution of this package"):
        mf.load_solution(tmp_path / "cut.nc")


@pytest.mark.parametrize("name", ["lower", "statistics", "result"])
def test_a_file_that_lacks_something(tmp_path, solution, name):
    from xarray import open_dataset

    mf.save_solution(solution, tmp_path / "solution.nc")
    with open_dataset(tmp_path / "solution.nc", engine="h5netcdf") as data:
        stored = data.load()
    del stored.attrs[name]
    stored.to_netcdf(tmp_path / "less.nc", engine="h5netcdf")
    with pytest.raises(mf.StorageError, match=f"holds no solution of this package .*{name}"):
        mf.load_solution(tmp_path / "less.nc")
