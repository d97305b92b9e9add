"""Discovery of architectures: the subspaces that theory knows, thresholds, and how it can fail."""

import json
from dataclasses import replace

import numpy as np
import pytest
from reference import refuses
from scipy.stats import f as fisher
from test_cli import call
from test_plot import require_fitting

import meanfield_pde as mf
from meanfield_pde import plot
from meanfield_pde.studies import discover as module

CASES = {
    name: mf.load_case(name)
    for name in ("swap-invariant", "swap-arbitrary", "reflection-invariant", "reflection-arbitrary")
}
# What theory says of each: the last subspace, one row a direction.
FOUND = {
    "swap-invariant": np.array([[1, 1]]) / np.sqrt(2),  # E^G
    "swap-arbitrary": np.array([[1, 0]]),  # fixed by x2 -> -x2, which data and target share
    "reflection-invariant": np.zeros((0, 1)),  # E^G = {0}
    "reflection-arbitrary": np.eye(1),  # no symmetry at all
}


def projection(report, dim):
    basis = np.reshape(report.details["basis"], (-1, dim))
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), rtol=0, atol=1e-14)
    return basis.T @ basis


def normal(dim, spread=1.0):
    return lambda n, rng: spread * rng.standard_normal((n, dim))


def check_population(name):
    case, exact = CASES[name], FOUND[name]
    report = mf.discover(case, particles=64)
    found = projection(report, exact.shape[1])
    np.testing.assert_allclose(found, exact.T @ exact, rtol=0, atol=1e-12)
    assert report.passed
    assert report.rows[-1]["RMD^2"] < 1e-20
    assert [row["dimension"] for row in report.rows] == list(range(len(exact) + 1))
    return report


@pytest.mark.parametrize("name", CASES)
def test_population_gradients_find_what_theory_says(name):
    check_population(name)


def test_the_accidental_subspace_is_not_that_of_the_group():
    assert check_population("swap-arbitrary").rows[0]["off E^G"] > 0.7
    assert check_population("swap-invariant").rows[0]["off E^G"] < 1e-14


@pytest.mark.parametrize("teacher", ["weak", "strong"])
def test_a_plane_of_matrices_is_found_in_two_steps(teacher):
    """{0}, a line, span{I, swap} = E^G; the arbitrary teacher's students need all of Z."""
    paper = mf.TeacherStudent.swap_matrices()
    start, group = normal(4, 0.25), paper.group
    report = mf.discover(paper.risk(teacher), particles=64, group=group, initial=start, t1=20.0)
    np.testing.assert_allclose(projection(report, 4), group.projection(), rtol=0, atol=1e-10)
    assert [row["dimension"] for row in report.rows] == [0, 1, 2]
    arbitrary = mf.discover(paper.risk("arbitrary"), particles=64, initial=start, t1=20.0)
    assert len(arbitrary.details["basis"]) == 4
    assert arbitrary.rows[-1]["then"] == "all of Z: stop"


@pytest.mark.parametrize("name", ["swap-invariant", "swap-arbitrary", "reflection-invariant"])
def test_sgd_stops_where_population_gradients_do(name):
    """512 particles; 9 of 10 seeds are asked for, three of them are tried here."""
    exact = FOUND[name]
    for seed in range(3):
        report = mf.discover(CASES[name], "sgd", seed=seed)
        assert report.passed
        found = projection(report, exact.shape[1])
        np.testing.assert_allclose(found, exact.T @ exact, rtol=0, atol=0.05)


def test_threshold_is_a_quantile_of_what_replicas_say():
    """Displacements of replicas in one direction: mean square over floor is the square of a t."""
    rng = np.random.default_rng(0)
    passed, tries = 0, 4000
    for _ in range(tries):
        shifts = rng.standard_normal(8)
        found = module.Displacement(
            shifts.mean() ** 2, shifts.var(ddof=1) / 8, np.zeros(1), 1.0, 0.0
        )
        passed += found.square > module._threshold(found, 0.0, 0.05, 8)
    assert passed / tries == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / tries))


def test_floor_is_the_variance_of_the_mean():
    """Twice as many replicas halve it, and so do steps half as long; particles do not matter."""
    start = normal(2)(64, np.random.default_rng(0))
    problem = replace(module._problem(CASES["swap-invariant"], None, 5.0, None)[0], t1=2.0)
    line = FOUND["swap-invariant"]

    def floor(dt, runs, particles=64):
        made = module._displacement(problem, mf.SGD(dt), start[:particles], line, 1, runs)
        return made.floor

    reference = floor(0.02, 60)
    assert floor(0.01, 60) / reference == pytest.approx(0.5, rel=0.5)
    assert floor(0.02, 240) / reference == pytest.approx(0.25, rel=0.5)
    assert floor(0.02, 60, 16) / reference == pytest.approx(1.0, rel=0.5)


def test_tilt_of_a_direction_raises_the_threshold():
    found = module.Displacement(0.0, 1e-4, np.zeros(2), 0.0, 0.25)
    quantile = fisher.isf(1e-3, 1, 7)
    assert module._threshold(found, 4e-4, 1e-3, 8) == pytest.approx(quantile * 2e-4, rel=1e-12)


def test_relative_distance_to_the_origin_alone_would_never_stop():
    """RMD^2 to {0} is 1/2 however near particles are: moments are compared with the start's."""
    problem = module._problem(CASES["reflection-invariant"], None, 5.0, None)[0]
    start = np.full((4, 1), 1.0)
    none = np.zeros((0, 1))
    found = module._displacement(problem, mf.Langevin(0.02), start, none, 0, 1)
    assert 0 <= found.square < 1e-25
    away = module._displacement(
        module._problem(CASES["swap-arbitrary"], None, 5.0, None)[0],
        mf.Langevin(0.02),
        0.01 * np.ones((4, 2)),
        np.zeros((0, 2)),
        0,
        1,
    )
    assert away.square == pytest.approx(0.5, rel=1e-12)


# -- how it fails, as the documentation says


def saddle(x):
    return np.tanh(x[..., 0]) ** 2


def test_saddle_stops_at_the_origin():
    """Even units have no gradient at 0 whatever the target, and 0 does not solve the problem."""
    risk = mf.Risk(mf.Unit.ridge("cos"), mf.Data.gauss_hermite(2, 8, saddle))
    report = mf.discover(risk, initial=normal(2), particles=32)
    assert report.passed
    assert len(report.details["basis"]) == 0
    assert risk.value(mf.Cloud([[0.0, 0.0]])) > 0.1


def lopsided(z):
    """Pulls along e1 near 0 alone; elsewhere z1 z2, which leaves a line on both sides alike."""
    near = np.maximum(0.25 - z[..., 0] ** 2, 0.0) ** 3
    return -64 * z[..., 0] * near - z[..., 0] * z[..., 1]


def lopsided_slope(z):
    near = np.maximum(0.25 - z[..., 0] ** 2, 0.0)
    first = -64 * near**3 + 384 * z[..., 0] ** 2 * near**2 - z[..., 1]
    return np.stack([first, -z[..., 0]], axis=-1)


def test_displacements_that_average_to_zero_are_told():
    cloud = mf.Cloud(np.array([[1.0, 0.0], [-1.0, 0.0]]))
    hill = mf.Potential(lopsided, lopsided_slope)
    report = mf.discover(hill, mf.Langevin(1e-3), particles=2, initial=cloud, t1=0.01)
    assert not report.passed
    assert report.rows[-1]["then"] == "displacements average to zero: stop"
    assert report.rows[-1]["RMD^2"] > 1e-6
    np.testing.assert_allclose(report.details["basis"], [[1.0, 0.0]], atol=0.01)


def test_unstable_directions_need_short_times():
    """Rounding grows by exp(kappa t): a threshold of 1e-20 lasts for kappa t1 < 14."""
    problem = mf.load_case("swap-invariant").problem
    hill = problem.flow.energy.smooth + mf.Potential(lambda z: -2.0 * (z[..., 0] - z[..., 1]) ** 2)
    brief = mf.discover(hill, initial=problem.initial, particles=32, t1=1.0)
    assert len(brief.details["basis"]) == 1
    long = mf.discover(hill, initial=problem.initial, particles=32, t1=6.0)
    assert len(long.details["basis"]) == 2


# -- planted bugs


def test_planted_start_off_the_subspace_is_caught(monkeypatch):
    right = module.Cloud
    rng = np.random.default_rng(0)
    monkeypatch.setattr(
        module, "Cloud", lambda points: right(points + 1e-6 * rng.random(points.shape))
    )
    with pytest.raises(AssertionError):
        check_population("swap-invariant")


def test_planted_noise_is_caught(monkeypatch):
    monkeypatch.setattr(
        module, "replace", lambda flow, energy: mf.GradientFlow(energy + 1e-9 * mf.Entropy())
    )
    with pytest.raises(AssertionError):
        check_population("swap-invariant")


def test_planted_threshold_of_rounding_is_caught_by_sgd(monkeypatch):
    monkeypatch.setattr(module, "_threshold", lambda found, tilt, level, runs: module.ROUNDING)
    with pytest.raises(AssertionError):
        test_sgd_stops_where_population_gradients_do("swap-invariant")


def test_frozen_coordinates_are_in_no_direction():
    case = CASES["swap-invariant"].problem
    frozen = replace(case, flow=replace(case.flow, frozen=(0,)))
    report = mf.discover(frozen, particles=64)
    np.testing.assert_allclose(projection(report, 2), np.diag([0.0, 1.0]), rtol=0, atol=1e-14)


def test_a_threshold_of_ones_own():
    assert len(mf.discover(CASES["swap-invariant"], delta=0.9).details["basis"]) == 0


# -- command, figure, refusals


@pytest.mark.parametrize("more", [[], ["--sgd"]])
def test_command(tmp_path, more):
    words = ["swap-invariant", "--set", "t1=1.0", "--set", "save=[0, 1]", "-o", tmp_path, *more]
    result = call("discover", *words)
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "discovery.json",
        "discovery.png",
        "discovery.txt",
    ]
    told = json.loads((tmp_path / "discovery.json").read_text())
    np.testing.assert_allclose(np.abs(told["details"]["basis"]), [[0.7, 0.7]], atol=0.05)


def test_command_refuses_a_circle(tmp_path):
    result = call("discover", "kuramoto", "-o", tmp_path)
    assert result.exit_code == 2
    assert "problem must live in a flat space" in result.stderr


def test_figure_shows_each_round():
    report = check_population("swap-invariant")
    figure = plot.discover_figure(report)
    require_fitting(figure)
    axes = figure.axes[0]
    shown = axes.lines[0].get_ydata()
    assert shown.tolist() == [row["RMD^2"] for row in report.rows]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1"]


CASE = CASES["swap-invariant"]


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: mf.discover(3), "problem", "got int", "give a case"),
        (lambda: mf.discover(CASE.problem.flow.energy), "initial", "got None", "give a law"),
        (lambda: mf.discover(mf.load_case("kuramoto")), "problem", "torus", "subspace"),
        (lambda: mf.discover(CASE, "adam"), "dynamics", "'adam'", "mf.SGD"),
        (lambda: mf.discover(CASE, "sgd", replicas=2), "replicas", "got 2", "8 is"),
        (lambda: mf.discover(CASE, delta=0.0), "delta", "got 0", "between"),
        (lambda: mf.discover(CASE, level=0.0), "level", "got 0", "1e-3"),
        (lambda: mf.discover(CASE, particles=0), "particles", "got 0", "512"),
        (lambda: mf.discover(mf.load_case("double-well"), "sgd"), "SGD", "got 0", "langevin"),
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)
