"""`compare`: its numbers against plain formulas, its level, its power, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
from problems import FLOWS, bump_energy, bump_start, even_target, half_square, kuramoto_energy
from reference import refuses
from scipy import stats

import meanfield_pde as mf
from meanfield_pde.studies import compare as module

LINE = mf.Grid.box(-6, 6, 120)
LAW = mf.Density.gaussian(LINE, 0.5, 1.0).normalised()
WELL = mf.Potential(half_square) + 0.5 * mf.Entropy()


def solution_of(rho, energy=WELL):
    """A solution at time 0 alone: the density itself."""
    return mf.solve(mf.Problem(mf.GradientFlow(energy), rho, 1.0), save=[0.0])


def run_of(points, solution):
    """A run with given points (seeds, particles, d) at time 0."""
    return mf.Run(
        solution.problem, np.array([0.0]), points[None], 0, mf.Langevin(), "made for a test"
    )


def samples(rho, seeds, n, seed=0):
    return np.stack([rho.sample(n, np.random.default_rng([seed, k])) for k in range(seeds)])


def compared(points, rho=LAW, energy=WELL, **options):
    solution = solution_of(rho, energy)
    return mf.compare(solution, run_of(points, solution), **options)


def row_of(report, quantity):
    return next(row for row in report.rows if row["quantity"] == quantity)


# -- its numbers


@pytest.fixture(scope="module")
def sound():
    points = samples(LAW, 8, 500)
    return points, compared(points)


def test_rows_of_a_line(sound):
    _, report = sound
    names = ["mean x", "mean |z|^2", "energy", "w1", "w2", "rmd", "mmd"]
    assert [row["quantity"] for row in report.rows] == names
    assert len(report.verdicts) == len(names)
    assert "8 replicas of 500 particles (langevin, dt = 0.01)" in report.notes[0]


def test_moments_and_energies(sound):
    points, report = sound
    for quantity, function, exact in (
        ("mean x", lambda z: z, LAW.mean()[0]),
        ("mean |z|^2", np.square, LAW.moment(2)),
        ("energy", lambda z: 0.5 * z**2, 0.5 * LAW.moment(2)),
    ):
        row = row_of(report, quantity)
        values = function(points[..., 0]).mean(axis=1)
        assert row["density"] == pytest.approx(exact, rel=1e-12)
        np.testing.assert_allclose(row["replicas"], values, rtol=1e-12)
        assert row["particles"] == pytest.approx(values.mean(), rel=1e-12)
        half = stats.t.ppf(0.975, 7) * values.std(ddof=1) / np.sqrt(8)
        assert row["+-"] == pytest.approx(half, rel=1e-12)


def test_distances_are_those_of_the_package(sound):
    points, report = sound
    clouds = [mf.Cloud(p) for p in points]
    # Second moments of rmd are taken at the centres of cells: h^2 / 12 less of 1.25.
    for name, tolerance in (("w1", 1e-10), ("w2", 1e-10), ("rmd", 1e-3)):
        values = [float(getattr(mf.distance, name)(LAW, cloud)) for cloud in clouds]
        np.testing.assert_allclose(row_of(report, name)["replicas"], values, rtol=tolerance)


def test_the_floor_is_that_of_independent_samples(sound):
    """Sampled once more, with other seeds: the same floor within its interval."""
    _, report = sound
    for name in ("w1", "w2"):
        row = row_of(report, name)
        distance = getattr(mf.distance, name)
        again = [float(distance(LAW, mf.Cloud(p))) for p in samples(LAW, 64, 500, seed=99)]
        width = 2 * row["floor_half_width"] + 4 * np.std(again) / 8
        assert row["floor"] == pytest.approx(np.mean(again), abs=width)
        assert 0.6 < row["spread"] < 1.6  # the run is such a sample itself
        assert row["grid"] == pytest.approx(0.1 / np.sqrt(12))


def test_seeds_of_the_floor(sound):
    points, report = sound
    same, other = (compared(points, seed=s) for s in (0, 1))
    floors = [[row["floor"] for row in r.rows[3:]] for r in (report, same, other)]
    assert floors[0] == floors[1] != floors[2]


def test_json_reads_back(sound):
    data = json.loads(sound[1].to_json())
    assert data["passed"] is True
    assert len(data["rows"][0]["replicas"]) == 8


def test_rows_of_a_network():
    start = bump_start(60)
    energy = bump_energy(even_target)
    report = compared(samples(start, 4, 100), start, energy)
    names = [row["quantity"] for row in report.rows]
    assert names == ["mean x", "mean |z|^2", "energy", "w1", "w2", "rmd", "mmd", "model"]
    risk = energy.terms[0][1]
    clouds = [mf.Cloud(p) for p in samples(start, 4, 100)]
    gaps = [(risk.predict(c) - risk.predict(start))[:, 0] for c in clouds]
    values = [np.sqrt(risk.data.weights @ gap**2) for gap in gaps]
    np.testing.assert_allclose(row_of(report, "model")["replicas"], values, rtol=1e-10)


def test_rows_of_a_circle():
    grid = mf.Grid.torus(-np.pi, np.pi, 48)
    rho = mf.Density.from_function(grid, lambda z: (1 + 0.5 * np.cos(z[..., 0])) / (2 * np.pi))
    points = samples(rho, 6, 300)
    report = compared(points, rho, kuramoto_energy(1.0))
    names = ["cos x", "sin x", "energy", "w1", "w2", "mmd"]
    assert [row["quantity"] for row in report.rows] == names
    assert report.passed, report.table()
    row = row_of(report, "cos x")
    assert row["density"] == pytest.approx(rho.expect(lambda z: np.cos(z[..., 0])))
    np.testing.assert_allclose(row["replicas"], np.cos(points[..., 0]).mean(axis=1))


def test_rows_of_the_plane():
    grid = mf.Grid.box((-4, -4), (4, 4), (20, 20))
    rho = mf.Density.gaussian(grid, (0.5, 0.0), 0.5)
    report = compared(samples(rho, 3, 400), rho)
    names = ["mean x", "mean y", "mean |z|^2", "energy", "w2", "rmd", "mmd", "sliced_w2"]
    assert [row["quantity"] for row in report.rows] == names
    assert report.passed, report.table()


# -- its level and its power


def verdicts(make, reports, seed, **options):
    return [compared(make(seed + k), **options).passed for k in range(reports)]


def test_the_level_is_kept():
    """Sound runs fail in 1 % of the reports: 6 or more of 100 happen once in 2000 times."""
    for seeds in (1, 2, 8):
        passed = verdicts(
            lambda s, n=seeds: samples(LAW, n, 100, seed=s), 100, 1000 * seeds, distances=["w1"]
        )
        assert sum(passed) > 100 - 6


@pytest.mark.parametrize(("seeds", "shift"), [(8, 0.2), (8, 0.3), (1, 0.6), (2, 1.0)])
def test_a_shift_is_seen(seeds, shift):
    """A fifth of the deviation by 8 replicas of 500; the whole of it however few there are."""
    report = compared(samples(LAW, seeds, 500) + shift)
    assert not report.passed
    assert report.verdicts[0] is False


def test_a_wrong_width_is_seen():
    points = 0.5 + 1.25 * (samples(LAW, 8, 500) - 0.5)
    report = compared(points)
    failed = [r["quantity"] for r, v in zip(report.rows, report.verdicts, strict=True) if not v]
    assert "mean |z|^2" in failed
    assert "mean x" not in failed


def test_a_wrong_shape_with_the_right_moments_is_seen():
    """Two atoms with the mean and variance of the law: only distances can tell."""
    rng = np.random.default_rng(3)
    deviation = np.sqrt(LAW.cov()[0, 0])
    points = 0.5 + deviation * rng.choice([-1.0, 1.0], (8, 500, 1))
    report = compared(points)
    seen = {r["quantity"]: v for r, v in zip(report.rows, report.verdicts, strict=True)}
    assert seen["mean x"]
    assert seen["mean |z|^2"]
    assert not any(seen[name] for name in ("w1", "w2", "mmd"))


def test_a_common_spread_raises_the_floor():
    """Replicas that are each a little off, their mean being right: more than samples, and sound."""
    offsets = 0.1 * stats.norm.ppf((np.arange(8) + 0.5) / 8)
    report = compared(samples(LAW, 8, 500) + offsets[:, None, None], distances=["w1"])
    row = row_of(report, "w1")
    assert row["spread"] > 1.3
    assert row["particles"] > row["floor"]
    assert report.passed, report.table()


def test_replicas_without_a_common_limit_fail():
    """Each picks a side: then no density is their limit, and the spread says so."""
    sides = np.where(np.arange(8) % 2, 3.0, -3.0)
    points = samples(LAW, 8, 500) + sides[:, None, None]
    report = compared(points, distances=["w1"])
    assert row_of(report, "w1")["spread"] > module.MAX_SPREAD
    assert report.verdicts[-1] is False


def test_replicas_that_agree_by_chance_are_not_believed():
    """Two equal replicas have no scatter; the moments are then judged by that of samples."""
    once = samples(LAW, 1, 500)
    report = compared(np.concatenate([once, once]), distances=["w1"])
    assert report.passed, report.table()


def test_grids_that_are_coarse_are_forgiven_by_as_much():
    """A density known to a cell only: points at the centres of other cells are at that distance."""
    coarse = mf.Grid.box(-6, 6, 12)
    rho = mf.Density.gaussian(coarse, 0.5, 1.0)
    points = samples(LAW, 8, 4000)
    report = compared(points, rho, distances=["w2"])
    assert row_of(report, "w2")["grid"] == pytest.approx(1 / np.sqrt(12))
    assert report.verdicts[-1]


# -- what it takes


def both(save, other=None):
    flow = FLOWS["ornstein-uhlenbeck"].problem(60)
    run = mf.simulate(flow, 50, dt=0.1, seeds=2, save=other or save)
    return mf.solve(flow, save=save), run


def test_common_times_alone():
    solution, run = both([0.0, 0.5, 1.0], [0.5, 0.7, 1.0])
    report = mf.compare(solution, run, ["w1"])
    assert sorted({row["time"] for row in report.rows}) == [0.5, 1.0]


def test_no_common_time():
    solution, run = both([0.0, 1.0], [0.5])
    refuses(lambda: mf.compare(solution, run), "times", "[0.5]", "same save=")


def test_another_dimension():
    solution, run = both([1.0])
    plane = replace(run, points=np.zeros((1, 2, 50, 2)))
    refuses(lambda: mf.compare(solution, plane), "dimension 1", "2", "simulate")


def test_a_solution_without_its_problem():
    solution, run = both([1.0])
    lost = replace(solution, problem=None)
    refuses(lambda: mf.compare(lost, run), "problem", "file", "load_solution")


@pytest.mark.parametrize(
    ("energy", "grid", "name"),
    [
        (WELL, LINE, "w3"),
        (WELL, LINE, "model"),
        (WELL, LINE, "sliced_w2"),
        (kuramoto_energy(1.0), mf.Grid.torus(-np.pi, np.pi, 24), "rmd"),
    ],
)
def test_distances_that_make_no_sense(energy, grid, name):
    rho = mf.Density.uniform(grid)
    refuses(
        lambda: compared(samples(rho, 2, 20), rho, energy, distances=[name]),
        "distances",
        repr(name),
        "model needs a risk",
    )


# -- planted bugs


def test_a_forgotten_multiplicity_is_caught(monkeypatch):
    """Planted: every check at 30 % by itself; far more than 1 % of sound reports fail."""
    monkeypatch.setattr(module, "LEVEL", 1.2)
    passed = verdicts(lambda s: samples(LAW, 8, 100, seed=s), 40, 500, distances=["w1"])
    assert sum(passed) <= 40 - 6


def test_a_blind_check_is_caught(monkeypatch):
    """Planted: quantiles so large that nothing is ever seen."""
    shifted = samples(LAW, 8, 500) + 0.3
    assert not compared(shifted, distances=["w1"]).passed
    monkeypatch.setattr(module, "LEVEL", 1e-30)
    assert compared(shifted, distances=["w1"]).passed
