"""Sweeps: the same numbers wherever they run and however often they are cut off."""

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from reference import refuses
from test_cli import call, names, require_message

import meanfield_pde as mf
from meanfield_pde.plot import sweep_figure
from meanfield_pde.studies import ensemble, points, tasks
from meanfield_pde.studies.axes import Axis, parse_axes
from meanfield_pde.studies.tasks import Lost, Workplace, carry_out

SETTINGS = ["grid.cells=48", "t1=0.2", "save=[0, 0.2]", "simulate.dt=0.1", "solve.dt=0.1"]
SETTINGS += ['compare.distances=["w1", "mmd"]']
SIZES, SEEDS = "4:512:log2", 16
SMALL = {"particles": [4, 8], "energy.entropy.factor": [0.5, 1.0]}


def case(*more):
    return mf.load_case("ornstein-uhlenbeck-1d").with_settings([*SETTINGS, *more])


def sweep(**options):
    return mf.sweep(case(), {"particles": SIZES}, SEEDS, **options)


@pytest.fixture(scope="module")
def whole():
    """Eight sizes, sixteen seeds, in this process."""
    return sweep()


@pytest.fixture
def at_save(monkeypatch):
    """Do something when a certain number of results has been kept."""

    def plan(number, act):
        save, count = np.savez, []

        def counting(*args, **kwargs):
            save(*args, **kwargs)
            count.append(1)
            if len(count) == number:
                act()

        monkeypatch.setattr(np, "savez", counting)
        return count

    return plan


# -- what there is


def test_dimensions_and_variables(whole):
    assert dict(whole.sizes) == {"particles": 8, "seed": 16, "time": 2}
    assert whole.particles.values.tolist() == [4, 8, 16, 32, 64, 128, 256, 512]
    assert whole.time.values.tolist() == [0, 0.2]
    for name in ("w1", "mmd", "mean_x", "mean_square", "energy"):
        assert whole[name].dims == whole[f"{name}_floor"].dims == ("particles", "seed", "time")
    for name in ("w1_grid", "mean_x_density", "energy_density"):
        assert whole[name].dims == ("time",)
    assert whole.attrs["case"].startswith("title =")
    assert "# --set grid.cells=48" in whole.attrs["case"]
    assert whole.attrs["version_numpy"] == np.__version__
    assert whole.attrs["seed"] == 0


def test_numbers_are_those_of_the_package(whole):
    """One run and one set of samples by hand."""
    one = case("simulate.particles=64")
    solution = mf.solve(one.problem, **one.solve_options())
    at = whole.sel(particles=64, seed=3, time=0.2)
    options = {**one.simulate_options(), "seeds": 1, "seed": int(at.run_seed)}
    cloud = mf.simulate(one.problem, **options).at(0.2)[0]
    rho = solution.at(0.2)
    sample = mf.Cloud(rho.sample(64, np.random.default_rng([int(at.floor_seed), 1])))
    energy = one.problem.flow.energy.smooth
    for end, points_ in (("", cloud), ("_floor", sample)):
        assert float(at[f"w1{end}"]) == float(mf.distance.w1(rho, points_))
        assert float(at[f"mean_x{end}"]) == pytest.approx(points_.mean()[0], rel=1e-13)
        assert float(at[f"energy{end}"]) == float(energy.value(points_))
    assert float(at.mean_x_density) == pytest.approx(rho.mean()[0], rel=1e-12)


def test_each_axis_is_a_dimension_and_densities_are_solved_once(tmp_path, monkeypatch):
    solved, right = [], ensemble.solve
    monkeypatch.setattr(ensemble, "solve", lambda *a, **k: solved.append(1) or right(*a, **k))
    data = mf.sweep(case(), SMALL, 3, folder=tmp_path)
    assert data.w1.dims == ("particles", "energy.entropy.factor", "seed", "time")
    assert data.mean_x_density.dims == ("energy.entropy.factor", "time")
    assert len(solved) == 2
    hotter = case("energy.entropy.factor=1")
    exact = mf.solve(hotter.problem, **hotter.solve_options()).at(0.2)
    square = data.mean_square_density.sel({"energy.entropy.factor": 1, "time": 0.2})
    assert float(square) == pytest.approx(exact.expect(lambda z: (z * z).sum(-1)), rel=1e-12)
    assert len(list(tmp_path.glob("runs/*.npz"))) == 12


# -- wherever it runs


def test_processes_give_the_same_bits_when_a_worker_is_killed(whole, tmp_path, at_save):
    def kill():
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    count = at_save(10, kill)
    found = sweep(where="processes", workers=2, folder=tmp_path)
    assert found.identical(whole)
    assert len(count) == 1 + 8 * 16


def test_a_dask_cluster_gives_the_same_bits(whole):
    assert sweep(where="dask", workers=2).identical(whole)


def test_a_dask_cluster_that_is_there():
    from distributed import LocalCluster

    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False}
    with LocalCluster(**options, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        found = mf.sweep(case(), SMALL, 2, where="dask", scheduler=address)
    assert found.identical(mf.sweep(case(), SMALL, 2))


def threads():
    from threadpoolctl import threadpool_info

    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_threads_of_a_worker_take_turns(monkeypatch):
    """Energies remember what they have checked, so that two runs at once would meet there."""
    from distributed import LocalCluster

    monkeypatch.setattr(tasks, "busy", [], raising=False)
    with LocalCluster(
        n_workers=1, threads_per_worker=4, processes=False, dashboard_address=None
    ) as cluster:
        place = Workplace("dask", scheduler=cluster.scheduler_address)
        found = carry_out(others_at_once, range(8), place, lambda task: None, lambda task: 1.0)
    assert [int(result["others"]) for result in found.values()] == [0] * 8


def others_at_once(task):
    others = len(tasks.busy)
    tasks.busy.append(task)
    time.sleep(0.02)
    tasks.busy.remove(task)
    return {"others": np.array(others)}


def test_an_address_that_is_none_is_refused_before_a_client_hangs():
    place = Workplace("dask", scheduler="nonsense")
    with pytest.raises(mf.StorageError, match="no Dask scheduler answers at nonsense .*port"):
        carry_out(others_at_once, range(2), place, lambda task: None, lambda task: 1.0)


def test_tasks_have_one_thread_of_linear_algebra():
    from threadpoolctl import threadpool_limits

    with threadpool_limits(2):
        before = threads()
        found = carry_out(
            lambda task: {"threads": np.array(threads())},
            [0],
            Workplace(),
            lambda task: None,
            lambda task: 1.0,
        )
        assert set(found[0]["threads"].tolist()) == {1}
        assert threads() == before
        assert max(before) == 2


def test_cases_travel_as_text():
    one = case("energy.entropy.factor=0.3")
    there = pickle.loads(pickle.dumps(one))
    assert (there.name, there.text, there.tables) == (one.name, one.text, one.tables)
    assert there.problem.flow.energy.beta == 0.3
    assert pickle.loads(pickle.dumps(one)) is there  # made once for the many tasks of a worker
    assert len(pickle.dumps(one)) < 4000


def test_tasks_that_kill_their_process_are_given_up():
    found = carry_out(
        os._exit, [1, 2], Workplace("processes", 1), lambda task: None, lambda task: 1.0
    )
    assert all(isinstance(result, Lost) for result in found.values())
    assert "__main__" in found[1].reason


# -- cut off and taken up


def test_interrupted_and_taken_up(whole, tmp_path, at_save, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    def four():
        return mf.sweep(case(), {"particles": SIZES}, 4, folder=tmp_path)

    at_save(20, interrupt)
    with pytest.raises(KeyboardInterrupt):
        four()
    assert len(list(tmp_path.glob("runs/*.npz"))) == 18  # the 20th was not in place yet
    ran, right = [], ensemble.simulate
    monkeypatch.setattr(ensemble, "simulate", lambda *a, **k: ran.append(1) or right(*a, **k))
    first = whole.isel(seed=slice(4))
    assert four().identical(first)
    assert len(ran) == 32 - 18
    assert four().identical(first)
    assert len(ran) == 32 - 18


def command(folder, *more, seeds=SEEDS):
    settings = [word for line in SETTINGS for word in ("--set", line)]
    words = ["sweep", "ornstein-uhlenbeck-1d", "--over", f"particles={SIZES}", "--seeds", seeds]
    return [str(word) for word in (*words, *settings, "-o", folder, "--where", "here", *more)]


def test_killed_and_taken_up(whole, tmp_path):
    words = [sys.executable, "-m", "meanfield_pde", *command(tmp_path)]
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while len(list(tmp_path.glob("runs/[!.]*.npz"))) < 20 and time.monotonic() < until:
        time.sleep(0.005)
    running.kill()
    running.wait()
    assert 20 <= len(list(tmp_path.glob("runs/[!.]*.npz"))) < 128
    assert sweep(folder=tmp_path).identical(whole)


def test_another_case_is_not_taken_from_the_folder(tmp_path, monkeypatch):
    ran, right = [], ensemble.simulate
    monkeypatch.setattr(ensemble, "simulate", lambda *a, **k: ran.append(1) or right(*a, **k))

    def runs(*settings, over=None, seeds=2):
        ran.clear()
        mf.sweep(case(*settings), over or {"particles": [4, 8]}, seeds, folder=tmp_path)
        return len(ran)

    assert runs() == 4
    assert runs() == 0
    assert runs("title=other", "simulate.seeds=9", "simulate.particles=7") == 0
    assert runs(seeds=3) == 2
    assert runs(over={"particles": [8, 16]}) == 2
    assert runs("simulate.dt=0.05") == 4
    assert runs("energy.entropy.factor=0.4") == 4
    assert runs("simulate.seed=1") == 4
    monkeypatch.setattr(points, "versions", lambda: {"numpy": "another"})
    assert runs() == 4


@pytest.mark.parametrize("keep", [0, 200])
def test_a_file_that_holds_something_else_is_named(tmp_path, keep):
    mf.sweep(case(), {"particles": [4]}, 1, folder=tmp_path)
    (path,) = tmp_path.glob("runs/*.npz")
    path.write_bytes(path.read_bytes()[:keep])  # as a copy that was cut off
    with pytest.raises(mf.StorageError, match=rf"{path.name} holds no results .*; delete it"):
        mf.sweep(case(), {"particles": [4]}, 1, folder=tmp_path)


# -- seeds


def require_own_numbers(data):
    """No seed twice, and no correlation of starts between sizes, replicas, or run and floor."""
    used = np.concatenate([data.run_seed.values.ravel(), data.floor_seed.values.ravel()])
    assert len(np.unique(used)) == used.size, "a seed is used twice"
    start = data.isel(time=0)
    scale = np.sqrt(data.particles.values)[:, None]
    score = (start.mean_x - start.mean_x_density).values * scale
    score = score / score.std()
    pairs = [score[:-1] * score[1:], score[:, :-1] * score[:, 1:]]
    for found in pairs:
        assert abs(found.mean()) * np.sqrt(found.size) < 4, "runs begin alike"


def test_runs_have_their_own_numbers(whole):
    require_own_numbers(whole)
    mf.rates(whole)


@pytest.mark.parametrize(
    "planted",
    [
        lambda self, replica: (replica, replica + 100),
        lambda self, replica: (self.particles, self.particles + 1000),
    ],
    ids=["the same for all sizes", "the same for all replicas"],
)
def test_planted_reuse_of_seeds_is_caught(monkeypatch, planted):
    monkeypatch.setattr(points.Point, "seeds", planted)
    data = mf.sweep(case(), {"particles": SIZES}, 8)
    with pytest.raises(AssertionError, match="used twice"):
        require_own_numbers(data)
    refuses(lambda: mf.rates(data), "data", "repeated", "sweep anew")
    # The runs themselves show it, too, whatever is written down as their seeds.
    count = data.run_seed.size
    hidden = {"run_seed": np.arange(count), "floor_seed": count + np.arange(count)}
    for name, seeds in hidden.items():
        data[name] = (("particles", "seed"), seeds.reshape(data.run_seed.shape))
    with pytest.raises(AssertionError, match="begin alike"):
        require_own_numbers(data)


def test_seeds_come_from_coordinates_alone():
    """More values, more seeds and another order of axes leave runs as they are."""
    one = mf.sweep(case(), SMALL, 2)
    turned = dict(reversed({**SMALL, "particles": [8, 16]}.items()))
    other = mf.sweep(case(), turned, 3)
    at = {"particles": 8, "energy.entropy.factor": 1.0, "seed": 1}
    assert one.sel(at).drop_vars(at).identical(other.sel(at).drop_vars(at))
    again = mf.sweep(case("simulate.seed=1"), SMALL, 2)
    assert not (again.run_seed == one.run_seed).any()


# -- axes


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("32:4096:log2", [32, 64, 128, 256, 512, 1024, 2048, 4096]),
        ("0.01:10:log10", [0.01, 0.1, 1.0, 10.0]),
        ("1:4:7", [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]),
        ("100:400:4", [100, 200, 300, 400]),
        ("1.0:3.0:3", [1.0, 2.0, 3.0]),
        ("-1:1:3", [-1, 0, 1]),
        ("1,2.5,4", [1, 2.5, 4]),
        ("sg,compact", ["sg", "compact"]),
        ('"sg", "b2"', ["sg", "b2"]),
        ("[0, 1],[1, 0]", [[0, 1], [1, 0]]),
        ("true,false", [True, False]),
    ],
)
def test_values_of_an_axis(text, values):
    axis = Axis.parse("solve.key", text)
    assert list(axis.values) == pytest.approx(values) if text[0] == "0" else values
    assert [type(a) for a in axis.values] == [type(b) for b in values]
    assert len(axis.coordinate) == len(values)


def test_axes_of_a_mapping():
    axes = parse_axes({"simulate.particles": np.array([4, 8]), "t1": (1, 2.0)})
    assert [axis.key for axis in axes] == ["particles", "t1"]
    assert axes[0].setting(axes[0].values[0]) == "simulate.particles=4"
    assert axes[1].setting(2.0) == "t1=2.0"
    assert not axes[0].moves_density
    assert Axis.parse("simulate.dt", [0.1]).moves_density is False


BAD = [
    ("particles", "over must read KEY=VALUES", "got 'particles'", "for example"),
    ("particles=", "particles", "got none", "drop"),
    ("particles=4,4", "particles", "got 4, 4", "repeated"),
    ("particles=4:8", "particles", "got '4:8'", "for example 32:4096:log2"),
    ("particles=8:4:3", "particles", "'8:4:3'", "lo below hi"),
    ("particles=4:8:1", "particles", "'4:8:1'", "number of values"),
    ("particles=4:8:2.5", "particles", "'4:8:2.5'", "number of values"),
    ("particles=4:40:log2", "particles", "'4:40:log2'", "such as 32"),
    ("particles=0:8:log2", "particles", "'0:8:log2'", "above 0"),
    ("particles=4:8:log1", "particles", "'4:8:log1'", "above 1"),
    ("particles=4:nan:3", "particles", "'4:nan:3'", "lo below hi"),
    ("t1=soon:later:3", "t1", "'soon:later:3'", "numbers"),
    ("t1=1|2", "t1", "'1|2'", "TOML"),
    ("seed=1,2", "over must name keys", "got 'seed'", "number of replicas"),
    ("simulate.seeds=1,2", "over", "'simulate.seeds'", "by seeds"),
    ("=1,2", "over", "got ''", "name a key"),
]


@pytest.mark.parametrize(("text", "argument", "got", "remedy"), BAD)
def test_bad_axes_are_refused(tmp_path, text, argument, got, remedy):
    refuses(lambda: parse_axes([text]), argument, got, remedy)
    require_message(call("sweep", "kuramoto", "--over", text, "-o", tmp_path), 2, got)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("wrong", "argument", "got", "remedy"),
    [
        (lambda: mf.sweep(3, {"particles": [4]}), "case", "got int", "load_case"),
        (lambda: mf.sweep(case(), {}), "over", "got none", "for example"),
        (lambda: mf.sweep(case(), ["t1=1", "t1=2"]), "over", "got t1, t1", "for example"),
        (lambda: mf.sweep(case(), {1: [4]}), "over", "got 1", "by a text"),
        (lambda: mf.sweep(case(), {"particles": 4}), "particles", "got 4", "[4]"),
        (lambda: mf.sweep(case(), {"t1": [np.nan]}), "over", "got nan", "change"),
        (lambda: mf.sweep(case("save=2"), {"t1": [0.2, 0.3]}), "saved times", "t1=0.3", "apart"),
        (lambda: mf.sweep(case(), {"particles": [4]}, 0), "seeds", "got 0", "scatter"),
        (lambda: mf.sweep(case(), {"particles": [4]}, where="moon"), "where", "'moon'", "cores"),
        (lambda: mf.sweep(case(), {"particles": [4]}, workers=0), "workers", "got 0", "cores"),
        (lambda: mf.sweep(case(), {"particles": [4]}, scheduler="a"), "scheduler", "'a'", "dask"),
        (lambda: mf.sweep(case(), {"grid.cell": [4]}), "grid.cell", "no key", "did you mean"),
    ],
)
def test_refusals(wrong, argument, got, remedy):
    refuses(wrong, argument, got, remedy)


def test_a_value_that_makes_no_case_is_refused():
    with pytest.raises(mf.CaseError, match=r"simulate.particles must be greater .* got 0"):
        mf.sweep(case(), {"particles": [4, 0]})


def test_without_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    refuses(lambda: sweep(where="dask"), "where", "got dask", "pip install")


# -- what goes wrong


def steep(**options):
    """Steps too large for the drift in one of two wells."""
    settings = ["simulate.dt=0.2", "t1=0.4", "save=[0.4]"]
    return mf.sweep(
        case(*settings), {"energy.0.factor": [1, 40], "particles": [4, 8]}, 2, **options
    )


def test_failures_are_named_and_the_rest_is_kept(tmp_path):
    with pytest.raises(mf.SweepError, match="make dt smaller") as caught:
        steep(folder=tmp_path)
    places = [f"energy.0.factor=40, particles={n}, seed={s}" for n in (4, 8) for s in (0, 1)]
    assert list(caught.value.failures) == places
    assert str(caught.value).startswith(f"4 tasks of the sweep failed:\n  {places[0]}: ")
    assert f"the other 4 are kept in {tmp_path}" in str(caught.value)
    assert len(list(tmp_path.glob("runs/*.npz"))) == 4


def test_a_density_that_fails_is_named(monkeypatch):
    def stuck(problem, **options):
        raise np.linalg.LinAlgError("singular matrix")

    monkeypatch.setattr(ensemble, "solve", stuck)
    with pytest.raises(mf.SweepError, match="density at energy.0.factor=1, particles=4: singular"):
        steep()


# -- the command line


def test_command_of_rates(whole, tmp_path):
    result = call(*command(tmp_path, seeds=4))
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "densities",
        "rates.json",
        "rates.png",
        "rates.txt",
        "runs",
        "sweep.nc",
    ]
    assert (tmp_path / "rates.txt").read_text() in result.stdout
    stored = mf.load_sweep(tmp_path / "sweep.nc")
    whole = whole.isel(seed=slice(4))
    assert stored.equals(whole)
    assert stored.attrs["case"] == whole.attrs["case"]
    assert mf.rates(stored).to_dict() == mf.rates(whole).to_dict()
    told = json.loads(call(*command(tmp_path, "--json", seeds=4)).stdout)
    assert told["case"] == "ornstein-uhlenbeck-1d"
    assert [row["distance"] for row in told["rows"]] == ["w1", "mmd"]
    assert told["files"][0] == str(tmp_path / "sweep.nc")
    assert call(*command(tmp_path, "--quiet", seeds=4)).stdout == ""


def test_command_of_moments(tmp_path):
    words = ["--over", "energy.entropy.factor=0.5:1:2", "--seeds", 2, "--where", "here"]
    settings = [w for line in [*SETTINGS, "simulate.particles=8"] for w in ("--set", line)]
    result = call("sweep", "ornstein-uhlenbeck-1d", *words, *settings, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(
        "Sweep: ornstein-uhlenbeck-1d at t = 0.2\nenergy.entropy.factor"
    )
    found = {path.name for path in tmp_path.iterdir()}
    assert found >= {"moments.json", "moments.txt", "moments.png", "sweep.nc"}


def test_the_legend_of_many_axes_lies_within_the_figure():
    over = {**SMALL, "simulate.dt": [0.1, 0.2]}
    figure = sweep_figure(mf.sweep(case(), over, 2))
    figure.draw_without_rendering()
    box, whole = figure.legends[0].get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0 < box.x1 <= whole.x1


def test_command_that_fails(tmp_path, monkeypatch):
    settings = ["simulate.dt=0.2", "t1=0.4", "save=[0.4]", "energy.0.factor=40", *SETTINGS[:1]]
    words = [word for line in settings for word in ("--set", line)]
    words = ["sweep", "ornstein-uhlenbeck-1d", *words, "--over", "particles=4,8", "-o", tmp_path]
    words += ["--where", "here", "--seeds", 1]
    require_message(call(*words), 3, "2 tasks of the sweep failed", "particles=4, seed=0")

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(mf, "sweep", interrupt)
    require_message(call(*words), 130, "interrupted", "the same command goes on where it was")


def test_no_scheduler_is_code_4(tmp_path, monkeypatch):
    import distributed

    def nobody(*args, **kwargs):
        raise OSError("timed out")

    monkeypatch.setattr(distributed, "Client", nobody)
    words = ["--where", "dask", "--scheduler", "tcp://127.0.0.1:1", "--over", "particles=4,8"]
    result = call("sweep", "kuramoto", *words, "-o", tmp_path)
    require_message(result, 4, "no Dask scheduler answers at tcp://127.0.0.1:1", "dask scheduler")
    assert tasks.PLACES == ("here", "processes", "dask")
