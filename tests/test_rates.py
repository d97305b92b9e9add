"""Rates in N: planted powers, intervals and how often they cover, floors with known rates."""

import json

import numpy as np
import pytest
from reference import refuses
from scipy.integrate import quad
from scipy.stats import norm
from test_plot import require_fitting
from xarray import Dataset

import meanfield_pde as mf
from meanfield_pde import plot
from meanfield_pde.studies.claims.slope import fitted_slope
from meanfield_pde.studies.rates import _row, can_fit, final_values, log_slope, rates

SIZES = 2 ** np.arange(5, 13)


def planted(power=-0.5, floor=-0.5, seeds=16, scatter=0.3, seed=0, factor=1.2, shared=False):
    """A sweep whose distances are exact powers of N times gamma numbers of mean 1.

    ``shared``: the four smaller sizes have the same numbers, and the four larger ones.
    """
    rng = np.random.default_rng(seed)
    shape = (len(SIZES), seeds, 1)
    data = {}
    for k, (name, scale) in enumerate((("w1", factor), ("w1_floor", 1.0))):
        drawn = rng.gamma(scatter**-2, scatter**2, shape)
        drawn = drawn[[0] * 4 + [4] * 4] if shared else drawn
        law = scale * SIZES[:, None, None] ** (power if k == 0 else floor)
        data[name] = (("particles", "seed", "time"), law * drawn)
    data["w1_grid"] = ("time", [0.0])
    coordinates = {"particles": SIZES, "seed": range(seeds), "time": [1.0]}
    return Dataset(data, coordinates, {"distances": "w1", "case_name": "planted"})


def fitted(**options):
    report = rates(planted(**options))
    return report.rows[0], report.verdicts[0]


@pytest.mark.parametrize("power", [-0.5, -0.4, -1 / 3])
def test_planted_powers_are_found(power):
    row, verdict = fitted(power=power, floor=power)
    for name, exact in (("slope", power), ("floor", power), ("ratio", 1.2), ("growth", 0.0)):
        low, high = row[f"{name}_interval"]
        assert low <= exact <= high, name
        assert low <= row[name] <= high
    assert row["slope_interval"][1] - row["slope_interval"][0] < 0.12
    assert verdict is True


def test_the_slope_is_that_of_least_squares():
    row, _ = fitted(scatter=0.5)
    data = planted(scatter=0.5)["w1"].isel(time=0)
    exact = np.polyfit(np.log(SIZES), np.log(data.mean("seed")), 1)[0]
    assert row["slope"] == pytest.approx(exact, rel=1e-12)
    slope, _ = fitted_slope(dict(zip(SIZES.tolist(), data.values, strict=True)))
    assert slope == pytest.approx(exact, rel=1e-12)
    few, weights = np.array([10.0, 20.0, 80.0]), np.array([1.0, 2.0, 5.0])
    values = np.array([3.0, 1.0, 0.2])
    exact = np.polyfit(np.log(few), np.log(values), 1, w=np.sqrt(weights))[0]
    assert log_slope(few, values, weights) == pytest.approx(exact, rel=1e-12)


def test_a_flat_distance_fails():
    """A density that is not the limit: its distance does not fall, that of samples does."""
    row, verdict = fitted(power=-0.1)
    assert verdict is False
    assert row["growth_interval"][0] > 0.3
    assert fitted(factor=30.0)[1] is False


def test_few_seeds_leave_it_open():
    verdicts = [fitted(seeds=4, scatter=0.6, seed=seed)[1] for seed in range(20)]
    assert verdicts.count(None) > 10
    assert False not in verdicts


def covered(shared, trials=100):
    """Share of trials whose interval for the slope holds the truth."""
    hits = 0
    for trial in range(trials):
        data = planted(seeds=16, scatter=0.5, seed=trial, shared=shared).isel(time=0)
        run, floor = (data[name].values for name in ("w1", "w1_floor"))
        low, high = _row(SIZES.astype(float), run, floor, trial)["slope_interval"]
        hits += low <= -0.5 <= high
    return hits / trials


def test_intervals_cover_as_often_as_they_say():
    """95 % of 100 trials, within three standard errors."""
    assert abs(covered(shared=False) - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 100)


def test_planted_dependence_between_sizes_is_not_covered():
    """What shared seeds do: errors of neighbouring sizes move together, and intervals know not."""
    assert covered(shared=True) < 0.85


def test_repeated_seeds_are_refused():
    data = planted()
    seeds = np.arange(8 * 16).reshape(8, 16)
    mf.rates(data.assign(run_seed=(("particles", "seed"), seeds)))
    for again in (np.s_[:, 1], np.s_[1, :]):  # one replica twice; one size with another's seeds
        wrong = seeds.copy()
        wrong[again] = seeds[0, 0] if again == np.s_[:, 1] else seeds[0]
        refuses(
            lambda wrong=wrong: mf.rates(data.assign(run_seed=(("particles", "seed"), wrong))),
            "data",
            "run_seed repeated",
            "sweep anew",
        )


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: mf.rates(planted().isel(particles=[0, 1])), "3 of particles", "got 2", "sweep"),
        (lambda: mf.rates(planted(seeds=3)), "4 of seed", "got 3", "seeds=16"),
        (lambda: mf.rates(planted(), time=0.5), "time", "got 0.5", "pick one"),
        (lambda: mf.rates(3), "particles", "got 0", "sweep"),
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)


def test_cut_clouds_are_not_fitted():
    data = planted()
    data["w1"].attrs["most_particles"] = 300
    assert rates(data).rows[0]["particles"] == [32, 64, 128, 256]
    data["w1"].attrs["most_particles"] = 64
    report = rates(data)
    assert report.rows == ()
    assert "w1 uses 64 particles at most, and is not fitted." in report.notes


def test_figure_and_text():
    report = rates(planted())
    figure = plot.rates_figure(report)
    require_fitting(figure)
    assert figure.axes[0].get_title("left").startswith("$W_1$\n$N^{-0.50}$, floor")
    assert json.loads(report.to_json())["details"] == {"time": 1.0}
    assert "planted at t = 1" in report.table()
    assert can_fit(planted())
    assert not can_fit(planted(seeds=3))


# -- floors, whose rates are known


@pytest.fixture(scope="module")
def floors():
    """Independent samples of the Ornstein-Uhlenbeck law at t = 0.25."""
    settings = [
        "t1=0.25",
        "save=[0.25]",
        "simulate.dt=0.25",
        "grid.cells=200",
        'compare.distances=["w1","mmd"]',
    ]
    case = mf.load_case("ornstein-uhlenbeck-1d").with_settings(settings)
    return mf.sweep(case, {"particles": "32:512:log2"}, seeds=40)


def test_floors_have_their_known_rates(floors):
    """With X, X' independent and N(m, s^2), and the kernel's width s.

    E MMD^2 = (1 - E k(X, X')) / N, E k = 1 / sqrt(3); E (mean)^2 = s^2 / N; and for large N
    E W1 = sqrt(2 / (pi N)) int sqrt(F (1 - F)).
    """
    at = floors.isel(time=0)
    s = np.sqrt(0.5 - 0.46 * np.exp(-0.5))
    assert float(at.mean_square_density) == pytest.approx(s**2 + np.exp(-0.5), rel=1e-3)
    square = at.particles * at.mmd_floor**2
    deviation = at.particles * (at.mean_x_floor - at.mean_x_density) ** 2
    root = np.sqrt(at.particles) * at.w1_floor
    tails = quad(lambda z: np.sqrt(norm.cdf(z) * norm.sf(z)), -8, 8)[0]
    large = root.isel(particles=slice(2, None))
    for found, exact in (
        (square, 1 - 3**-0.5),
        (deviation, s**2),
        (large, np.sqrt(2 / np.pi) * s * tails),
    ):
        error = float(found.std()) / np.sqrt(found.size)
        assert abs(float(found.mean()) - exact) < 3.5 * error
        assert error < 0.15 * exact


def test_fitted_floors_agree(floors):
    for row in rates(floors).rows:
        low, high = row["floor_interval"]
        assert low <= -0.5 <= high


# -- runs of several sizes, without a sweep


@pytest.fixture(scope="module")
def several():
    case = mf.load_case("kuramoto").with_settings(["grid.cells=48", "t1=0.2", "save=2"])
    problem = case.problem
    solution = mf.solve(problem, save=2)
    options = {"seeds": 6, "save": 2, "dt": 0.02}
    return solution, [mf.simulate(problem, n, seed=n, **options) for n in (16, 64, 256)]


def test_compare_of_several_sizes_gives_rates(several):
    solution, runs = several
    report = mf.compare(solution, runs[::-1])
    assert [row["distance"] for row in report.rows] == ["w1", "w2", "mmd"]
    assert report.rows[0]["particles"] == [16, 64, 256]
    rho = solution.at(0.2)
    exact = [np.mean([mf.distance.w1(rho, cloud) for cloud in run.at(0.2)]) for run in runs]
    np.testing.assert_allclose(report.rows[0]["runs"], exact, rtol=1e-12)
    assert [row["distance"] for row in mf.compare(solution, runs, ["mmd"]).rows] == ["mmd"]


def test_compare_refuses_runs_that_do_not_fit(several):
    solution, runs = several
    same = mf.simulate(solution.problem, 32, seed=16, seeds=6, save=2, dt=0.02)
    fewer = mf.simulate(solution.problem, 32, seed=1, seeds=5, save=2, dt=0.02)
    for given, got in (
        ([], "of 0"),
        ([*runs, runs[0]], "sizes [16, 64, 256] of 4"),
        ([*runs, same], "seed [16, 64, 256] of 4"),
        ([*runs, fewer], "[6, 6, 6, 5]"),
    ):
        refuses(lambda given=given: mf.compare(solution, given), "run must", got, "simulate")
    refuses(lambda: mf.compare(solution, runs[:2]), "particles", "got 2", "sweep")


def test_final_values():
    data = mf.sweep(
        mf.load_case("kuramoto").with_settings(["grid.cells=24", "t1=0.1", "save=2"]),
        {"energy.interaction.factor": [1, 2], "particles": [8]},
        seeds=3,
    )
    report = final_values(data)
    assert report.columns[:3] == ("energy.interaction.factor", "particles", "energy")
    row = report.rows[1]
    values = data["cos_x"].isel({"time": -1, "energy.interaction.factor": 1, "particles": 0})
    assert row["cos_x"] == pytest.approx(float(values.mean()), rel=1e-14)
    width = 4.302653 * float(values.std(ddof=1)) / np.sqrt(3)
    assert row["cos_x +-"] == pytest.approx(width, rel=1e-6)
    assert report.to_dict()["passed"] is None
    require_fitting(plot.sweep_figure(data))
