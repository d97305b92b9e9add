"""Particles: their law, their walls, their randomness, and what is refused."""

import importlib
import itertools
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from problems import (
    REFLECTION,
    arbitrary_target,
    bump_energy,
    bump_start,
    even_target,
    half_square,
    quartic,
)
from reference import ULP, refuses
from scipy import stats

import meanfield_pde as mf
from meanfield_pde.energies.energy import Batch
from meanfield_pde.lagrangian import _kernels, steps

module = importlib.import_module("meanfield_pde.lagrangian.simulate")

LEVEL = 1e-4
"""Probability of a false alarm of one statistical check; seeds are fixed, so none alarms twice."""
WELL = mf.Potential(half_square, gradient=lambda z: z)


def normal(mean, variance, dim=1):
    """A sampler in any dimension."""
    return lambda n, rng: mean + np.sqrt(variance) * rng.standard_normal((n, dim))


def problem(energy, initial, t1=1.0, rate=None):
    return mf.Problem(mf.GradientFlow(energy, rate), initial, t1)


# -- the law


def euler_maruyama(m, v, beta, steps):
    """Mean and variance of z <- z - s z + sqrt(2 beta s) xi: the exact law of the scheme."""
    for s in steps:
        m, v = (1 - s) * m, (1 - s) ** 2 * v + 2 * beta * s
    return m, v


def check_normal(points, mean, variance):
    """Points against a normal law: mean, variance and distribution function."""
    points = points.ravel()
    n = points.size
    z = abs(points.mean() - mean) / np.sqrt(variance / n)
    assert z <= stats.norm.isf(LEVEL / 2)
    share = n * points.var() / variance  # chi-squared with n - 1 degrees of freedom
    low, high = stats.chi2.ppf([LEVEL / 2, 1 - LEVEL / 2], n - 1)
    assert low <= share <= high
    law = stats.norm(mean, np.sqrt(variance))
    assert stats.kstest(points, law.cdf).pvalue > LEVEL


def ornstein_uhlenbeck(dt=0.05, rate=None, beta=0.5, **options):
    flow = problem(WELL + beta * mf.Entropy(), normal(1.0, 0.04), rate=rate)
    options = {"particles": 20_000, "seed": 3, **options}
    return mf.simulate(flow, dt=dt, **options)


def test_langevin_law_of_the_scheme():
    """The drift is linear: the particles are normal, with moments by recursion."""
    run = ornstein_uhlenbeck()
    check_normal(run.at(1)[0].points, *euler_maruyama(1.0, 0.04, 0.5, [0.05] * 20))


def test_langevin_law_of_the_equation():
    """At a small step the scheme's own bias, 0.2 % here, hides behind 20 000 particles."""
    run = ornstein_uhlenbeck(dt=0.002)
    check_normal(run.at(1)[0].points, np.exp(-1), 0.5 - 0.46 * np.exp(-2))


@pytest.mark.parametrize("wrong", [(0.45, 1.0), (0.5, 0.9), (0.5, -1.0)])
def test_a_wrong_law_is_caught(wrong):
    """Planted: ten per cent less noise, ten per cent less drift, drift of the wrong sign."""
    beta, factor = wrong
    energy = factor * WELL + beta * mf.Entropy()
    run = mf.simulate(problem(energy, normal(1.0, 0.04)), 20_000, dt=0.05, seed=3)
    with pytest.raises(AssertionError):
        check_normal(run.at(1)[0].points, *euler_maruyama(1.0, 0.04, 0.5, [0.05] * 20))


def test_schedules():
    """s(t) = 1/(1+t), taken at the start of each step; noise and drift share it."""
    run = ornstein_uhlenbeck(rate=lambda t: 1 / (1 + t))
    steps = [0.05 / (1 + 0.05 * k) for k in range(20)]
    check_normal(run.at(1)[0].points, *euler_maruyama(1.0, 0.04, 0.5, steps))
    constant = ornstein_uhlenbeck(rate=0.5)
    check_normal(constant.at(1)[0].points, *euler_maruyama(1.0, 0.04, 0.5, [0.025] * 20))
    exact = mf.simulate(
        problem(WELL, mf.Cloud([[1.0], [-2.0]]), rate=lambda t: 1 / (1 + t)), 2, dt=0.05
    )
    factor = np.prod([1 - s for s in steps])
    np.testing.assert_allclose(exact.at(1)[0].points, [[factor], [-2 * factor]], rtol=1e-13)


def test_interaction():
    """Quadratic attraction: without noise the centre stays, and distances fall as (1 - dt)^n."""
    start = mf.Cloud(np.random.default_rng(0).standard_normal((50, 2)))
    pairs = mf.Interaction(half_square, gradient=lambda z: z)
    run = mf.simulate(problem(pairs, start), 50, dt=0.1)
    end = run.at(1)[0].points
    centre = start.points.mean(axis=0)
    np.testing.assert_allclose(end, centre + 0.9**10 * (start.points - centre), atol=1e-8)


# -- the order in time, with the same noise at every step size


class Path:
    """A generator whose normals are increments of one fine Brownian path for every step size."""

    def __init__(self, fine, n, coarsening):
        self.rng = np.random.default_rng(5)
        self.start = self.rng.standard_normal((n, 1))
        increments = self.rng.standard_normal((fine, n, 1))
        blocks = increments.reshape(fine // coarsening, coarsening, n, 1)
        self.steps = iter(blocks.sum(axis=1) / np.sqrt(coarsening))

    def standard_normal(self, shape):
        return next(self.steps).reshape(shape)


def coarsened(monkeypatch, coarsening, fine=128, n=20_000, energy=None):
    path = Path(fine, n, coarsening)
    with monkeypatch.context() as patch:
        patch.setattr(np.random, "default_rng", lambda seed: path)
        energy = energy or mf.Potential(quartic) + 0.3 * mf.Entropy()
        flow = problem(energy, lambda n, rng: 1.0 + 0.5 * rng.start)
        return mf.simulate(flow, n, dt=coarsening / fine).points[-1, 0]


def weak_differences(monkeypatch, observe, excess=0.0):
    """E f at a step less that at half of it, the step doubled each time: it grows as the error."""
    values = []
    for k, c in enumerate((1, 2, 4, 8, 16)):
        energy = mf.Potential(quartic) + 0.3 * (1 + excess * k) * mf.Entropy()
        values.append(observe(coarsened(monkeypatch, c, energy=energy)).mean())
    return np.abs(np.diff(values))


@pytest.mark.parametrize("observe", [np.square, np.cos], ids=["square", "cosine"])
def test_weak_order_one(monkeypatch, observe):
    found = weak_differences(monkeypatch, observe)
    slope = np.polyfit(np.log([1, 2, 4, 8]), np.log(found), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.2)


def test_an_error_that_does_not_fall_is_caught(monkeypatch):
    """Planted: two per cent more noise each time that the step doubles: an error ~ log dt."""
    found = weak_differences(monkeypatch, np.square, excess=0.02)
    slope = np.polyfit(np.log([1, 2, 4, 8]), np.log(found), 1)[0]
    assert abs(slope - 1.0) > 0.2


def test_the_path_is_shared(monkeypatch):
    """Pure noise: the end is the same at every step size."""
    ends = [coarsened(monkeypatch, c, energy=mf.Entropy()) for c in (1, 16)]
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-12)


# -- walls and tori


def uniform_p_value(points, low, high):
    return stats.kstest(points.ravel(), stats.uniform(low, high - low).cdf).pvalue


def noise_in(grid, dt=0.1, seed=1, t1=1.0):
    flow = problem(0.5 * mf.Entropy(), mf.Density.uniform(grid), t1)
    return mf.simulate(flow, 20_000, dt=dt, seed=seed).at(t1)[0].points


@pytest.mark.parametrize("dt", [0.01, 0.1, 1.0])
def test_the_uniform_law_stays_uniform(dt):
    """Between walls and on a circle, also where a step is as long as the box."""
    for grid in (mf.Grid.box(0, 1, 10), mf.Grid.torus(0, 1, 10)):
        points = noise_in(grid, dt)
        assert uniform_p_value(points, 0, 1) > LEVEL
        assert points.min() >= 0
        assert points.max() <= 1
    plane = noise_in(mf.Grid.box((0, -1), (1, 2), (4, 4)), dt)
    assert uniform_p_value(plane[:, 0], 0, 1) > LEVEL
    assert uniform_p_value(plane[:, 1], -1, 2) > LEVEL
    assert abs(np.corrcoef(plane.T)[0, 1]) < 4 / np.sqrt(len(plane))


def test_sticky_walls_are_caught(monkeypatch):
    """Planted: particles stopped at the wall."""

    def sticky(points, velocity, noise, time, amplitude, lower, upper, boundary, out):
        out[...] = np.clip(points + time * velocity + amplitude * noise, lower, upper)
        return 0.0

    monkeypatch.setattr(_kernels, "move", sticky)
    assert uniform_p_value(noise_in(mf.Grid.box(0, 1, 10)), 0, 1) < LEVEL


def test_particles_between_walls_have_the_law_of_the_heat_equation():
    """1 + cos(pi x) / 2 decays as exp(-pi^2 t / 2) at beta = 1/2: reflections are exact for it."""
    grid = mf.Grid.box(0, 1, 100)
    start = mf.Density.from_function(grid, lambda z: 1 + 0.5 * np.cos(np.pi * z[..., 0]))
    run = mf.simulate(problem(0.5 * mf.Entropy(), start, 0.1), 40_000, dt=0.02, seed=2)
    found = np.cos(np.pi * run.at(0.1)[0].points).mean()
    exact = 0.25 * np.exp(-0.5 * np.pi**2 * 0.1)
    assert abs(found - exact) <= stats.norm.isf(LEVEL / 2) * np.sqrt(0.5 / 40_000)


def test_wrapped_particles_are_free_particles_modulo_the_period():
    """With a periodic potential, the same noise and the same start."""
    energy = mf.Potential(lambda z: np.sin(2 * np.pi * z[..., 0])) + 0.3 * mf.Entropy()
    grid = mf.Grid.torus(-0.5, 0.5, 50)
    on_torus = mf.simulate(problem(energy, mf.Density.uniform(grid)), 300, dt=0.01, seed=9)

    def same_start(n, rng):
        return mf.Density.uniform(grid).sample(n, rng)

    free = mf.simulate(problem(energy, same_start), 300, dt=0.01, seed=9)
    gap = (free.points - on_torus.points)[-1]
    assert np.abs(gap).max() > 1  # some went around
    np.testing.assert_allclose(gap, np.rint(gap), atol=1e-9)
    assert np.abs(on_torus.points).max() <= 0.5 + 4 * ULP


# -- randomness


def test_seeds_reproduce_bit_for_bit():
    runs = [ornstein_uhlenbeck(particles=500, seed=s, seeds=3) for s in (7, 7, 8)]
    np.testing.assert_array_equal(runs[0].points, runs[1].points)
    assert not np.array_equal(runs[0].points, runs[2].points)


def test_replicas_are_independent():
    run = ornstein_uhlenbeck(particles=2000, seeds=6)
    assert run.points.shape == (2, 6, 2000, 1)
    ends = run.points[-1, :, :, 0]
    correlation = np.corrcoef(ends) - np.eye(6)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(2000)
    means = ends.mean(axis=1)
    assert len(np.unique(means)) == 6


def test_replicas_do_not_depend_on_their_number():
    few, many = (ornstein_uhlenbeck(particles=100, seeds=n) for n in (2, 5))
    np.testing.assert_array_equal(few.points, many.points[:, :2])


def ends_with_threads(monkeypatch, dynamics):
    """Ends of one run with all noise in a thread, and with none."""
    data = mf.Data.gauss_hermite(1, 8, np.tanh)
    energy = mf.Risk(mf.Unit.scaled_ridge("tanh"), data) + 0.1 * mf.Entropy()
    flow, ends = problem(energy, normal(0.5, 1.0, 2)), []
    for least in (1, 10**9):
        monkeypatch.setattr(steps, "WORTH_A_THREAD", least)
        ends.append(mf.simulate(flow, 50, 4, dynamics, seeds=3).points)
    return ends


@pytest.mark.parametrize("dynamics", [mf.Langevin(0.1), mf.SGD(0.1, batch=3)])
def test_a_thread_for_the_noise_changes_nothing(monkeypatch, dynamics):
    """Bit for bit: nothing else draws from a generator while its noise is drawn."""
    np.testing.assert_array_equal(*ends_with_threads(monkeypatch, dynamics))


def test_noise_drawn_before_the_batch_is_caught(monkeypatch):
    """Planted: a thread that starts too early."""

    class Early(ThreadPoolExecutor):
        def submit(self, draw, shape):
            draw.__self__.choice(8, 3)
            return super().submit(draw, shape)

    monkeypatch.setattr(module, "ThreadPoolExecutor", Early)
    beside, alone = ends_with_threads(monkeypatch, mf.SGD(0.1, batch=3))
    assert np.abs(beside - alone).max() > 1e-3


def test_saved_times_do_not_change_the_path():
    """As long as they are multiples of the step; others shorten it."""
    few = ornstein_uhlenbeck(particles=100)
    many = mf.simulate(
        problem(WELL + 0.5 * mf.Entropy(), normal(1.0, 0.04)), 100, seed=3, dt=0.05, save=5
    )
    np.testing.assert_allclose(few.points[-1], many.points[-1], atol=1e-12)
    assert many.times.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    between = mf.simulate(problem(WELL, mf.Cloud([[1.0]])), 1, dt=0.3, save=[0.5, 1.0])
    assert between.at(0.5)[0].points[0, 0] == pytest.approx(0.75**2)  # two steps of 0.25
    with pytest.raises(ValueError, match="0.7 was not saved"):
        between.at(0.7)


# -- initial laws


def test_a_density_is_sampled():
    run = mf.simulate(problem(mf.Entropy(), bump_start(100, False)), 20_000, save=[0.0])
    check_normal(run.at(0)[0].points, 1.0, 0.25 + (8 / 100) ** 2 / 12)  # uniform in each cell


def test_a_cloud_is_kept_or_sampled():
    cloud = mf.Cloud([[1.0], [2.0], [4.0]])
    kept = mf.simulate(problem(WELL, cloud), 3, save=[0.0], seeds=2)
    for replica in kept.at(0):
        np.testing.assert_array_equal(replica.points, cloud.points)
    sampled = mf.simulate(problem(WELL, cloud), 3000, save=[0.0])
    counts = [(sampled.at(0)[0].points == z).sum() for z in (1.0, 2.0, 4.0)]
    assert sum(counts) == 3000
    assert stats.chisquare(counts).pvalue > LEVEL
    weighted = mf.Cloud([[1.0], [2.0]], [0.9, 0.1])
    sampled = mf.simulate(problem(WELL, weighted), 2, save=[0.0], seeds=500)
    share = (sampled.points == 1.0).mean()
    assert abs(share - 0.9) <= stats.norm.isf(LEVEL / 2) * np.sqrt(0.09 / 1000)


def test_any_dimension():
    flow = problem(WELL + 0.5 * mf.Entropy(), normal(1.0, 0.04, dim=5))
    run = mf.simulate(flow, 4000, dt=0.05)
    mean, variance = euler_maruyama(1.0, 0.04, 0.5, [0.05] * 20)
    for axis in range(5):
        check_normal(run.at(1)[0].points[:, axis], mean, variance)
    correlation = np.corrcoef(run.at(1)[0].points.T) - np.eye(5)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(4000)


def test_a_network_in_ten_dimensions():
    data = mf.Data.samples(np.random.default_rng(0).standard_normal((30, 10)), np.zeros(30))
    energy = mf.Risk(mf.Unit.ridge("tanh"), data) + 0.01 * mf.Penalty()
    run = mf.simulate(problem(energy, normal(0.5, 1.0, dim=10)), 64, dt=0.05)
    assert energy.value(run.at(1)[0]) < energy.value(run.at(0)[0])


# -- stochastic gradients

SMALL = mf.Data(
    np.array([[-1.0], [0.3], [2.0]]), np.array([0.5, -1.0, 1.0]), np.array([0.5, 0.2, 0.3])
)
RISK = mf.Risk(mf.Unit.bump(), SMALL)
CLOUD = mf.Cloud(np.random.default_rng(1).standard_normal((7, 1)))


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_batches_are_unbiased(batch):
    """The mean over all batches, with their probabilities, is the drift: without any sampling."""
    total = np.zeros((7, 1))
    for indices in itertools.product(range(3), repeat=batch):
        weight = np.prod(SMALL.weights[list(indices)])
        total += weight * RISK.drift(CLOUD, Batch(np.array(indices)))
    np.testing.assert_allclose(total, RISK.drift(CLOUD), atol=1e-14)


@pytest.mark.parametrize("batch", [1, 2])
def test_sampled_augmentation_is_unbiased(batch):
    """Over all batches of samples and of group elements; and over batches, for whole orbits."""
    augmented = mf.data_augmented(RISK, REFLECTION)
    sampled, orbits = np.zeros((2, 7, 1))
    for indices in itertools.product(range(3), repeat=batch):
        weight = np.prod(SMALL.weights[list(indices)])
        orbits += weight * augmented.drift(CLOUD, Batch(np.array(indices)))
        for elements in itertools.product(range(2), repeat=batch):
            both = Batch(np.array(indices), np.array(elements))
            sampled += weight * 0.5**batch * augmented.drift(CLOUD, both)
    np.testing.assert_allclose(sampled, augmented.drift(CLOUD), atol=1e-14)
    np.testing.assert_allclose(orbits, augmented.drift(CLOUD), atol=1e-14)
    assert np.abs(augmented.drift(CLOUD) - RISK.drift(CLOUD)).max() > 1e-3


def velocities(energy, dynamics, n=4000):
    rng = np.random.default_rng(2)
    return np.stack([energy.drift(CLOUD, dynamics.draw(energy, rng))[:, 0] for _ in range(n)])


def check_unbiased(energy, drawn):
    error = drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn))
    gap = np.abs(drawn.mean(axis=0) - energy.drift(CLOUD)[:, 0])
    assert (gap <= stats.norm.isf(LEVEL / 14) * error).all()


@pytest.mark.parametrize("augmentation", ["orbit", "sampled"])
def test_velocities_are_drawn_by_the_weights(augmentation):
    energy = 0.7 * mf.data_augmented(RISK, REFLECTION) + 0.1 * mf.Penalty()
    drawn = velocities(energy, mf.SGD(batch=2, augmentation=augmentation))
    check_unbiased(energy, drawn)


def test_unweighted_batches_are_caught():
    """Planted: all samples equally likely."""
    equal = mf.Risk(mf.Unit.bump(), mf.Data.samples(SMALL.x, SMALL.y))
    with pytest.raises(AssertionError):
        check_unbiased(RISK, velocities(equal, mf.SGD(batch=2)))


def test_orbits_are_less_noisy_than_samples():
    """The variance over elements is gone: that of the orbit's mean is at most that of a sample."""
    energy = mf.data_augmented(RISK, REFLECTION)
    orbit, sampled = (
        velocities(energy, mf.SGD(batch=1, augmentation=a)).var(axis=0)
        for a in ("orbit", "sampled")
    )
    assert (orbit < sampled).all()


def test_other_terms_ignore_the_batch():
    energy = RISK + 0.3 * mf.Penalty()
    batch = Batch(np.array([1]))
    gap = energy.drift(CLOUD, batch) - RISK.drift(CLOUD, batch)
    np.testing.assert_allclose(gap, -0.6 * CLOUD.points, atol=1e-14)


def test_sgd_follows_the_flow():
    """Many small steps on small batches: the risk of the flow, to the noise of the batches."""
    energy = bump_energy(even_target).smooth
    flow = problem(energy, bump_start(100), 2.0)
    exact = mf.simulate(flow, 300, seed=4, dt=0.02).at(2)[0]
    trained = mf.simulate(flow, 300, seed=4, dynamics=mf.SGD(dt=0.02, batch=20)).at(2)[0]
    start = mf.simulate(flow, 300, seed=4, save=[0.0]).at(0)[0]
    fall = energy.value(start) - energy.value(exact)
    assert abs(energy.value(trained) - energy.value(exact)) < 0.2 * fall
    full = mf.SGD(dt=0.02, batch=2000)
    nearly = mf.simulate(flow, 300, seed=4, dynamics=full).at(2)[0]
    assert abs(energy.value(nearly) - energy.value(exact)) < 0.02 * fall


def test_sgd_of_both_augmentations_reaches_the_augmented_flow():
    energy = bump_energy(arbitrary_target, "data-augmented").smooth
    flow = problem(energy, bump_start(100), 2.0)
    exact = energy.value(mf.simulate(flow, 300, seed=4, dt=0.02).at(2)[0])
    for augmentation in ("orbit", "sampled"):
        dynamics = mf.SGD(dt=0.02, batch=200, augmentation=augmentation)
        found = energy.value(mf.simulate(flow, 300, seed=4, dynamics=dynamics).at(2)[0])
        assert found == pytest.approx(exact, rel=0.05)


# -- the front


def test_names_and_objects():
    flow = problem(RISK + 0.1 * mf.Entropy(), normal(0.0, 1.0), 0.1)
    by_name = mf.simulate(flow, 20, dynamics="langevin", dt=0.02)
    by_object = mf.simulate(flow, 20, dynamics=mf.Langevin(0.02))
    np.testing.assert_array_equal(by_name.points, by_object.points)
    assert by_name.dynamics == mf.Langevin(0.02)
    trained = mf.simulate(flow, 20, dynamics="sgd", dt=0.02)
    assert trained.dynamics == mf.SGD(dt=0.02, batch=20)
    assert trained.result == "1 x 20 particles reached t = 0.1 by sgd"
    assert (trained.particles, trained.seeds) == (20, 1)


def test_datasets_hold_the_run():
    run = ornstein_uhlenbeck(particles=10, seeds=2)
    data = run.to_dataset()
    assert data["position"].dims == ("time", "seed", "particle", "coordinate")
    np.testing.assert_array_equal(data["position"].values, run.points)
    assert data.attrs["dynamics"] == "langevin"
    assert data.attrs["dt"] == 0.05


def test_progress_and_log(capsys, caplog):
    with caplog.at_level(logging.INFO, logger="meanfield_pde"):
        ornstein_uhlenbeck(particles=10, progress=True)
    shown = capsys.readouterr()
    assert "particles" in shown.out + shown.err
    assert "reached t = 1" in caplog.text
    ornstein_uhlenbeck(particles=10)
    silent = capsys.readouterr()
    assert silent.out + silent.err == ""


FLOW = problem(RISK, normal(0.0, 1.0))


@pytest.mark.parametrize(
    ("arguments", "argument", "got", "remedy"),
    [
        ({"particles": 0}, "particles", "0", "10000"),
        ({"particles": 10.5}, "particles", "10.5", "10000"),
        ({"seed": -1}, "seed", "-1", "from 0"),
        ({"seed": "a"}, "seed", "'a'", "from 0"),
        ({"seeds": 0}, "seeds", "0", "8"),
        ({"dt": 0}, "dt", "0", "0.01"),
        ({"dt": -0.1}, "dt", "-0.1", "0.01"),
        ({"dynamics": "adam"}, "dynamics", "'adam'", "langevin"),
        ({"dynamics": 3}, "dynamics", "int", "mf.SGD"),
        ({"save": [1.0, 0.0]}, "save", "[1.0, 0.0]", "sort"),
        ({"save": [2.0]}, "save", "2", "t1"),
    ],
)
def test_bad_arguments(arguments, argument, got, remedy):
    refuses(lambda: mf.simulate(FLOW, **{"particles": 5, **arguments}), argument, got, remedy)


def test_bad_problems():
    refuses(lambda: mf.simulate(RISK), "problem", "Risk", "mf.Problem")
    no_data = problem(WELL, normal(0.0, 1.0))
    refuses(lambda: mf.simulate(no_data, 5, dynamics="sgd"), "SGD", "0", "langevin")
    two = problem(RISK + mf.Risk(mf.Unit.bump(), SMALL), normal(0.0, 1.0))
    refuses(lambda: mf.simulate(two, 5, dynamics="sgd"), "SGD", "2", "langevin")
    for wrong in (lambda n, rng: rng.standard_normal(n), lambda n, rng: np.zeros((n + 1, 1))):
        refuses(lambda w=wrong: mf.simulate(problem(WELL, w), 5), "initial", "shape", "one row")


@pytest.mark.parametrize(
    ("arguments", "argument", "got", "remedy"),
    [
        ({"dt": 0.0}, "dt", "0", "0.01"),
        ({"batch": 0}, "batch", "0", "20"),
        ({"batch": 1.5}, "batch", "1.5", "20"),
        ({"augmentation": "both"}, "augmentation", "'both'", "orbit"),
    ],
)
def test_bad_dynamics(arguments, argument, got, remedy):
    refuses(lambda: mf.SGD(**arguments), argument, got, remedy)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_steps_that_are_too_long():
    """A quartic well flings particles out faster and faster, until their numbers end."""
    steep = mf.Potential(lambda z: (z**4).sum(-1), gradient=lambda z: 4 * z**3)
    start = mf.Cloud([[3.0], [-2.0]])
    with pytest.raises(mf.SimulationError, match=r"near t = .*dt = 0.5 .*smaller"):
        mf.simulate(problem(steep, start, 20.0), 2, dt=0.5)


def test_leaps_across_the_grid():
    """Walls would fold such particles back, and hide that the step is unstable."""
    start = mf.Density.gaussian(mf.Grid.box(-4, 4, 40), 1.0, 0.1)
    with pytest.raises(mf.SimulationError, match=r"near t = 0 .*dt = 0.5 .*smaller"):
        mf.simulate(problem(20.0 * WELL, start), 50, dt=0.5)
    assert mf.simulate(problem(20.0 * WELL, start), 50, dt=0.05).points.shape[0] == 2


def test_stationary_particles_stay():
    """Without energy nothing moves; with a start at rest neither."""
    start = mf.Cloud([[0.0]])
    run = mf.simulate(problem(WELL, start), 1, dt=0.1)
    assert run.points[-1, 0, 0, 0] == 0.0
    nothing = mf.simulate(problem(0.0 * mf.Entropy(), mf.Cloud([[0.7]])), 1, dt=0.1)
    assert nothing.points[-1, 0, 0, 0] == 0.7


# -- noise that is projected on the fixed subspace


def test_projected_noise():
    """Particles on E^G stay there to the last bit; along it they have the law of the equation."""
    swap, beta, n = mf.Group.swap(), 0.5, 20_000
    energy = WELL + beta * mf.Entropy()
    flow = mf.GradientFlow(energy, noise=swap)
    on = mf.Cloud(np.repeat(np.random.default_rng(0).normal(size=(n, 1)), 2, axis=1))
    points = mf.simulate(mf.Problem(flow, on, 1.0), n, dt=0.05).points[-1, 0]
    assert np.array_equal(points[:, 0], points[:, 1])
    along = points @ np.full(2, np.sqrt(0.5))
    mean, variance = euler_maruyama(0.0, 2 * on.points[:, 0].var(), beta, [0.05] * 20)
    check_normal(along, mean + np.sqrt(2) * on.points[:, 0].mean() * 0.95**20, variance)
    free = mf.simulate(mf.Problem(mf.GradientFlow(energy), on, 1.0), n, dt=0.05).points[-1, 0]
    assert np.abs(free[:, 0] - free[:, 1]).max() > 1


def test_projected_noise_is_refused_where_it_has_no_meaning():
    flow = mf.GradientFlow(WELL + mf.Entropy(), noise=mf.Group.swap())
    grid = mf.Grid.box((-6, -6), (6, 6), (16, 16))
    start = mf.Density.gaussian(grid, (0, 0), 1.0)
    line = mf.Cloud([[0.0]])
    refuses(lambda: mf.solve(mf.Problem(flow, start, 1.0)), "noise", "swap", "fixed subspace")
    refuses(lambda: mf.simulate(mf.Problem(flow, line, 1.0), 1), "swap", "dimension 1", "acting")
    refuses(lambda: mf.GradientFlow(WELL, noise="swap"), "noise", "str", "E^G")


def test_what_lacks_the_period_of_a_torus_is_refused():
    circle = mf.Density.uniform(mf.Grid.torus(-np.pi, np.pi, 32))
    well = mf.Potential(lambda z: (z**2).sum(-1))
    pairs = mf.Interaction(lambda dz: (dz**2).sum(-1))
    product = mf.ZeroSumGame(lambda x, y: (x * y)[..., 0])
    for flow, initial in (
        (mf.GradientFlow(well), circle),
        (mf.GradientFlow(pairs), circle),
        (product, (circle, circle)),
    ):
        problem = mf.Problem(flow, initial, t1=1.0)
        for compute in (mf.solve, lambda p: mf.simulate(p, particles=10)):
            with pytest.raises(ValueError, match="period"):
                compute(problem)
