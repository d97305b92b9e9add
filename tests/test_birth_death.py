"""Birth and death: the law, its order, what is kept, what is refused, and planted bugs.

V = x^2/2 keeps normal laws normal: m' = -m - alpha m v, v' = -2 v + 2 beta - alpha v^2 (without
transport the terms in alpha alone), so that means and variances are known.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from problems import half_square
from reference import order, refuses
from scipy import stats
from scipy.integrate import solve_ivp

import meanfield_pde as mf
from meanfield_pde.eulerian.solution import Solution, Statistics
from meanfield_pde.lagrangian import birth_death as module

LEVEL = 1e-4
"""Probability of a false alarm of one statistical check; seeds are fixed."""
WELL = mf.Potential(half_square, gradient=lambda z: z)
NOISY = WELL + 0.5 * mf.Entropy()
H1 = mf.GradientFlow(WELL, reaction=2.0, transport=False), (2 / 3, 1 / 6)
H2 = mf.GradientFlow(NOISY, reaction=1.0), (0.2571647946, 0.4039467556)
COLD = mf.GradientFlow(WELL, reaction=1.0), (0.3319962597, 0.0305336496)
LINE = mf.Grid.box(-6, 6, 240)


def start(n, rng):
    return 1 + 0.5 * rng.standard_normal((n, 1))


def simulate(flow, n, dt, seeds=1, seed=0, initial=start, t1=1.0, dynamics=None, save=None):
    dynamics = mf.BirthDeath() if dynamics is None else dynamics
    problem = mf.Problem(flow, initial, t1)
    return mf.simulate(problem, n, seed, dynamics, dt, save=save, seeds=seeds)


def moments(run):
    """Mean and variance of every replica, shape (seeds, 2)."""
    points = run.points[-1][..., 0]
    return np.stack([points.mean(axis=1), points.var(axis=1)], axis=1)


def check_moments(found, exact, bias=0.0):
    """Means over replicas within t standard errors of the exact ones, and a bias that is known."""
    quantile = stats.t.ppf(1 - LEVEL / 4, len(found) - 1)
    error = quantile * found.std(axis=0, ddof=1) / math.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - exact) <= error + bias).all()


# -- the law


def extrapolated(flow, n, dt, seeds, seed=3):
    """Moments without what is of first order in dt: 2 M(dt) - M(2 dt), by independent runs."""
    fine = moments(simulate(flow, n, dt, seeds, seed))
    return 2 * fine - moments(simulate(flow, n, 2 * dt, seeds, seed + 1))


@pytest.mark.parametrize(("flow", "exact"), [H1, H2, COLD], ids=["H1", "H2", "cold"])
def test_law_of_the_limit(flow, exact):
    """20 replicas of 10,000: errors of 2e-3 to 4e-3. What is left in dt^2 is below 5e-4 (Euler's
    second order: dt^2 times derivatives of order 1), what is of order 1/N below 1e-3."""
    check_moments(extrapolated(flow, 10_000, 0.02, 20), exact, 1e-3)


class Median(np.ndarray):
    """Numbers whose mean is not what it says."""

    def mean(self):
        return np.median(np.asarray(self))


def distort(monkeypatch, change):
    """Plant a bug: another potential than the one that is due."""
    right = module.BirthDeath.react

    def wrong(self, points, potential, strength, rng):
        return right(self, points, change(potential), strength, rng)

    monkeypatch.setattr(module.BirthDeath, "react", wrong)


@pytest.mark.parametrize("factor", [1.25, -1.0])
def test_planted_reactions_are_caught(monkeypatch, factor):
    """Planted: a quarter too fast; births for deaths."""
    distort(monkeypatch, lambda potential: factor * potential)
    with pytest.raises(AssertionError):
        check_moments(extrapolated(H1[0], 10_000, 0.02, 20), H1[1], 1e-3)


def test_a_wrong_mean_changes_the_law_only_with_a_reservoir(monkeypatch):
    """A level c in place of mean V cancels: what dies more is copied over more.

    ``-int f (V - c) dmu + int f dmu int (V - c) dmu`` does not depend on c. Who is replaced from a
    reservoir does.
    """
    distort(monkeypatch, lambda potential: potential.view(Median))
    check_moments(extrapolated(H1[0], 10_000, 0.02, 20), H1[1], 1e-3)
    with pytest.raises(AssertionError):
        check_moments(moments_with_reservoir(far), reservoir_means(2.0, 1.0), 1.5e-3)


def event_by_event(n, alpha, t1, rng):
    """Clocks one after the other, every rate found anew after each event: no step at all."""
    points = [1 + 0.5 * float(x) for x in rng.standard_normal(n)]
    t = 0.0
    while True:
        values = [0.5 * z * z for z in points]
        mean = math.fsum(values) / n
        rates = [alpha * abs(v - mean) for v in values]
        total = math.fsum(rates)
        t += rng.exponential(1 / total)
        if t > t1:
            return points
        pick, i = rng.random() * total, -1
        while pick >= 0 and i < n - 1:
            i += 1
            pick -= rates[i]
        other = int(rng.random() * n)
        if values[i] > mean:
            points[i] = points[other]
        else:
            points[other] = points[i]


def test_against_events_one_by_one():
    """Of 30 particles, whose moments are not those of the limit."""
    rng = np.random.default_rng(2)
    slow = np.array([event_by_event(30, 2.0, 1.0, rng) for _ in range(4000)])
    slow = np.stack([slow.mean(axis=1), slow.var(axis=1)], axis=1)
    fast = moments(simulate(H1[0], 30, 0.04, 1000))
    bias = np.abs(mean_field_steps(0.04) - H1[1])
    for a in range(2):
        apart = fast[:, a].mean() - slow[:, a].mean()
        error = math.hypot(*(x[:, a].std() / math.sqrt(len(x)) for x in (fast, slow)))
        assert abs(apart) <= stats.norm.isf(LEVEL / 2) * error + bias[a]
        scatter = fast[:, a].var() / slow[:, a].var()
        assert 0.75 < scatter < 1.33  # of 1000 variances: +- 5 % for normal laws
    assert 1 / 6 - slow[:, 1].mean() > 5 * slow[:, 1].std() / math.sqrt(len(slow))


def mean_field_steps(dt, alpha=2.0, points=4001):
    """What a step does to the limit: rates frozen over it, and who was replaced rings no more."""
    z = np.linspace(-4, 6, points)
    rho = np.exp(-0.5 * ((z - 1) / 0.5) ** 2)
    rho /= rho.sum()
    for _ in range(round(1 / dt)):
        excess = alpha * (0.5 * z**2 - rho @ (0.5 * z**2))
        births, deaths = (rho @ np.maximum(sign * excess, 0) for sign in (-1, 1))

        def change(_, y, excess=excess, births=births, deaths=deaths):
            # y: those whose clock is still good; x: those who replaced others, with no clock.
            good, fresh = y[: len(excess)], y[len(excess) :]
            dead = np.maximum(excess, 0) * good
            born = np.maximum(-excess, 0) * good
            everyone = good + fresh
            over = born.sum()
            return np.concatenate(
                [-dead - over * good, dead.sum() * everyone + born - over * fresh]
            )

        y = np.concatenate([rho, np.zeros_like(rho)])
        steps = 8
        for _ in range(steps):  # Runge and Kutta
            h = dt / steps
            a = change(0, y)
            b = change(0, y + 0.5 * h * a)
            c = change(0, y + 0.5 * h * b)
            y = y + h / 6 * (a + 2 * b + 2 * c + change(0, y + h * c))
        rho = y[:points] + y[points:]
    mean = rho @ z
    return np.array([mean, rho @ (z - mean) ** 2])


def test_order_in_time():
    """The limit N to infinity of the scheme has order 1, and particles are where it is."""
    steps = np.array([4, 8, 16, 32])
    found = np.array([mean_field_steps(1 / n) for n in steps])
    errors = np.abs(found - H1[1]).max(axis=1)
    assert order(steps, errors) == pytest.approx(1, abs=0.1)
    check_moments(moments(simulate(H1[0], 20_000, 1 / 16, 40)), found[2], 3e-4)
    with pytest.raises(AssertionError):  # the bias is seen: it is no accident of the tolerance
        check_moments(moments(simulate(H1[0], 20_000, 1 / 16, 40)), H1[1], 3e-4)


def test_fluctuations_fall_as_the_root_of_the_number():
    """Root mean square errors of the mean at t = 1: slope -1/2, known to .03 with 200 replicas."""
    sizes = [32, 256, 2048]
    for flow in (H1[0], H2[0]):
        limit = moments(simulate(flow, 20_000, 0.05, 8))[:, 0].mean()
        runs = [simulate(flow, n, 0.05, 200) for n in sizes]
        errors = [np.sqrt(((moments(run)[:, 0] - limit) ** 2).mean()) for run in runs]
        assert order(sizes, errors) == pytest.approx(0.5, abs=0.08)


def test_a_schedule_is_a_clock():
    """s(t) = 2 t reaches at t = 1 what the rate 1 does."""
    flow = replace(H1[0], rate=lambda t: 2 * t)
    check_moments(moments(simulate(flow, 10_000, 0.01, 12)), H1[1], 6e-3)
    with pytest.raises(AssertionError):
        check_moments(moments(simulate(replace(H1[0], rate=0.5), 10_000, 0.01, 12)), H1[1], 6e-3)


# -- one step


def react(points, potential, strength, seed=0, reservoir=None):
    points = np.array(points, dtype=float)
    points = points[:, None] if points.ndim == 1 else points
    rng, dynamics = np.random.default_rng(seed), mf.BirthDeath(reservoir=reservoir)
    fastest = dynamics.react(points, np.array(potential, dtype=float), strength, rng)
    return points, fastest


def test_chances_of_each_particle():
    """Of three, one far above the mean: chances of what is there after a step, by counting.

    Excesses are 2, -1, -1, times .1. With a, b = 1 - exp(-.2), 1 - exp(-.1): to first order the
    first dies (a) into one of three, and each other (b) is copied over one of three.
    """
    n = 8000
    lost = np.array([0.0 not in react([0, 1, 2], [2, -1, -1], 0.1, k)[0] for k in range(n)])
    a, b = -math.expm1(-0.2), -math.expm1(-0.1)
    first = a * 2 / 3 + 2 * b / 3
    # Beyond first order: products of two chances, 3 a b at most.
    assert abs(lost.mean() - first) <= 4 * math.sqrt(first / n) + 3 * a * b


def test_expected_change_is_the_reaction():
    """E d mu_N(f) = -s alpha dt (mu(f V) - mu(f) mu(V)), whatever the order of the particles."""
    rng = np.random.default_rng(5)
    points = np.sort(rng.standard_normal(50))
    potential, strength = points**2, 2e-3
    changes = []
    for seed in range(10_000):
        after, _ = react(points, potential, strength, seed)
        changes.append([np.mean(np.sin(after)) - np.sin(points).mean(), after.mean()])
    changes = np.array(changes) - [0.0, points.mean()]
    exact = -strength * np.array(
        [np.cov(f, potential, bias=True)[0, 1] for f in (np.sin(points), points)]
    )
    error = changes.std(axis=0) / math.sqrt(len(changes))
    assert (np.abs(changes.mean(axis=0) - exact) <= 4 * error + 20 * strength**2).all()
    assert (np.abs(exact) > 6 * error).any()


def test_numbers_are_kept_and_nobody_is_new():
    run = simulate(H1[0], 500, 0.02, save=[0.0, 0.5, 1.0])
    assert run.points.shape == (3, 1, 500, 1)
    before, middle, after = (set(points.ravel()) for points in run.points)
    assert after <= middle <= before
    assert len(after) < len(middle) < len(before)


def unpaired(ringing, dies, others, born, replaced, out):
    """Planted: deaths and births without each other; the array keeps its size, not its numbers."""
    alive = np.ones(len(out), dtype=bool)
    alive[ringing[dies]] = False
    kept = np.concatenate([out[alive], out[ringing[~dies]]])
    counted.append(len(kept))
    out[:] = np.resize(kept, out.shape)


counted = []


def test_planted_unpaired_clocks_are_caught(monkeypatch):
    """Their numbers drift away from N as a random walk."""
    monkeypatch.setattr(module._kernels, "replace", unpaired)
    simulate(H1[0], 500, 0.02)
    assert np.ptp(counted) > 0
    changes = np.array(counted) - 500
    assert abs(changes).sum() > 50


def test_order_of_particles_does_not_matter():
    """Particles that are sorted at the start have the same law as others."""

    def ordered(n, rng):
        return np.sort(start(n, rng), axis=0)

    rng = np.random.default_rng(1)
    found = [
        moments(simulate(H1[0], 60, 0.05, 600, int(rng.integers(99)), s, t1=0.4))
        for s in (start, ordered)
    ]
    for a in range(2):
        error = math.hypot(*(x[:, a].std() / math.sqrt(600) for x in found))
        assert abs(found[0][:, a].mean() - found[1][:, a].mean()) <= 4 * error


def test_same_seed_same_bits():
    first, again = (simulate(H2[0], 400, 0.02, 2, seed=7).points for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, simulate(H2[0], 400, 0.02, 2, seed=8).points)


def test_runs_share_their_numbers_whoever_dies():
    """Births that differ do not shift the noise of the others: most particles stay together."""
    flow = replace(H2[0], energy=NOISY + mf.Potential(lambda z: 0.03 * np.sin(z[..., 0])))
    gap = simulate(H2[0], 400, 0.02).points[-1] - simulate(flow, 400, 0.02).points[-1]
    assert 0.85 < (np.abs(gap) < 0.03).mean() < 1.0


# -- what moves in between


def test_langevin_and_sgd_react_with_the_flow():
    flow, problem = H2[0], mf.Problem(H2[0], start, 0.2)
    by_name = mf.simulate(problem, 50, dynamics="langevin", dt=0.02)
    assert by_name.dynamics == mf.BirthDeath(0.02)
    assert np.array_equal(by_name.points, simulate(flow, 50, 0.02, t1=0.2).points)
    assert "by birth-death" in by_name.result
    data = mf.Data.gauss_hermite(1, 4, lambda x: np.sin(x[..., 0]))
    risk = mf.Risk(mf.Unit.ridge("tanh"), data)
    trained = mf.Problem(mf.GradientFlow(risk, reaction=1.0), start, 0.2)
    one = mf.simulate(trained, 50, dynamics=mf.SGD(0.02, batch=3))
    assert one.dynamics == mf.BirthDeath(0.02, batch=3)
    assert not np.array_equal(one.points, mf.simulate(trained, 50, dt=0.02).points)


def test_without_transport_nobody_moves():
    flow = replace(H2[0], transport=False)
    run = simulate(flow, 300, 0.02)
    assert set(run.points[-1].ravel()) < set(run.points[0].ravel())


def test_batches_average_to_all_data():
    """The reaction is linear in the potential, so that batches change noise and not law."""
    data = mf.Data.gauss_hermite(1, 6, lambda x: np.tanh(2 * x[..., 0]))
    risk = 4 * mf.Risk(mf.Unit.ridge("tanh"), data)
    flow = mf.GradientFlow(risk, reaction=1.0, transport=False)
    full = moments(simulate(flow, 2000, 0.02, 40))
    batches = moments(simulate(flow, 2000, 0.02, 40, dynamics=mf.BirthDeath(batch=2)))
    error = np.hypot(*(x.std(axis=0) / math.sqrt(40) for x in (full, batches)))
    assert (np.abs(full.mean(axis=0) - batches.mean(axis=0)) <= 4 * error).all()
    assert abs(full[:, 0].mean() - 1) > 10 * error[0]


# -- the reservoir


def reservoir_means(alpha, t1):
    """Mean and second moment of m' = -alpha (V - mean V) m + alpha A (nu - m), nu = N(-1, 1)."""
    z = np.linspace(-7, 8, 3001)
    nu = np.exp(-0.5 * (z + 1) ** 2)
    nu /= nu.sum()
    rho = np.exp(-0.5 * ((z - 1) / 0.5) ** 2)

    def change(_, rho):
        excess = 0.5 * z**2 - rho @ (0.5 * z**2)
        return alpha * (-excess * rho + (rho @ np.maximum(excess, 0)) * (nu - rho))

    rho = solve_ivp(change, (0, t1), rho / rho.sum(), rtol=1e-9, atol=1e-14).y[:, -1]
    return np.array([rho @ z, rho @ z**2 - (rho @ z) ** 2])


def far(n, rng):
    return rng.standard_normal((n, 1)) - 1


def moments_with_reservoir(law):
    dynamics = mf.BirthDeath(reservoir=law)
    fine, coarse = (
        moments(simulate(H1[0], 10_000, dt, 12, seed, dynamics=dynamics))
        for seed, dt in enumerate((0.01, 0.02))
    )
    return 2 * fine - coarse


@pytest.mark.parametrize("kind", ["sampler", "density"])
def test_reservoir_against_its_equation(kind):
    law = far if kind == "sampler" else mf.Density.gaussian(mf.Grid.box(-7, 7, 1400), -1.0, 1.0)
    found = moments_with_reservoir(law)
    check_moments(found, reservoir_means(2.0, 1.0), 1.5e-3)
    with pytest.raises(AssertionError):
        check_moments(found, H1[1], 1.5e-3)


def test_a_reservoir_finds_what_copies_cannot():
    """A second well without particles: it is found, and filled by births."""
    wells = mf.Potential(lambda z: (z[..., 0] ** 2 - 1) ** 2 - 0.3 * z[..., 0])
    flow = mf.GradientFlow(wells, reaction=5.0)
    left = mf.Density.gaussian(mf.Grid.box(-2, 2, 200), -1.0, 0.01)
    uniform = mf.Density.uniform(left.grid)
    there = {
        law is None: simulate(
            flow, 400, 0.01, initial=left, t1=4.0, dynamics=mf.BirthDeath(reservoir=law)
        ).points[-1]
        for law in (None, uniform)
    }
    assert (there[True] < 0).all()
    assert (there[False] > 0).mean() > 0.9


# -- two atoms (Rotskoff et al.; energies, potentials and times as in a double well of their kind)


def bell(x):
    return np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def two_atoms():
    """C - 2 int F + int int U, potential V = -F + U * mu, half the first variation: rate 1/2.

    With it the reaction is alpha (V - mean V), and alpha and time are theirs.
    """

    def well(z):
        x = z[..., 0]
        return -(bell(x - 2) + bell(x + 2)) + 0.5 * (1 - x * x / 4) ** 2

    kernel = mf.Interaction(lambda dz: 2 * bell(dz[..., 0]), lambda dz: -2 * dz * bell(dz))
    return mf.Potential(well) + kernel, 0.5 * (bell(0.0) + bell(4.0))


def test_two_atoms_are_reached_by_birth_and_death_alone():
    """One particle of 800 in the other well is enough, or a reservoir; transport alone is stuck.

    Atoms of 400 particles each are at rest: with k and 800 - k the energy is .8 (k/800 - 1/2)^2,
    and births go to the smaller. A particle of 800 takes .001 off the energy of one atom, .199404.
    """
    energy, least = two_atoms()
    grid = mf.Grid.box(-5, 5, 400)
    one = mf.Density.gaussian(grid, -2.0, 0.01).sample(800, np.random.default_rng(0))
    one[0] = 1.7
    flow = mf.GradientFlow(energy, rate=0.5, reaction=5.0)
    reached = simulate(flow, 800, 0.05, initial=mf.Cloud(one), t1=50.0)
    values = [energy.value(cloud) + least for cloud in reached.at(50)]
    assert np.abs(values).max() < 1e-6
    stuck = simulate(
        replace(flow, reaction=0.0), 800, 0.05, initial=mf.Cloud(one), t1=50.0, dynamics="langevin"
    )
    assert energy.value(stuck.at(50)[0]) + least == pytest.approx(0.195, abs=0.01)
    one[0] = -2.0
    uniform = mf.BirthDeath(reservoir=mf.Density.uniform(grid))
    found = simulate(flow, 800, 0.03, initial=mf.Cloud(one), t1=50.0, dynamics=uniform)
    assert abs(energy.value(found.at(50)[0]) + least) < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_a_hundredth_of_uniform_particles_finds_the_other_well(seed):
    """Of 800 draws some 8 are uniform, 4 beyond the barrier: births fill both wells equally.

    Without births those 4 stay alone: .199404 (1 - 2 * 4/800)^2 = .1954.
    """
    energy, least = two_atoms()
    grid = mf.Grid.box(-5, 5, 400)
    atom, everywhere = mf.Density.gaussian(grid, -2.0, 0.01), mf.Density.uniform(grid)
    law = mf.Density.mixture([atom, everywhere], [0.99, 0.01])
    start = mf.Cloud(law.sample(800, np.random.default_rng(seed)))
    flow = mf.GradientFlow(energy, rate=0.5, reaction=5.0)
    reached = simulate(flow, 800, 0.02, initial=start, t1=50.0).at(50)
    assert abs(energy.value(reached[0]) + least) < 1e-6
    alone = replace(flow, reaction=0.0)
    stuck = simulate(alone, 800, 0.05, initial=start, t1=50.0, dynamics="langevin").at(50)
    assert energy.value(stuck[0]) + least == pytest.approx(0.195, abs=0.01)


# -- beside a density


def normal_solution(alpha, times):
    """Densities of H2 by its equations for mean and variance."""
    path = solve_ivp(
        lambda _, y: [-y[0] - alpha * y[0] * y[1], -2 * y[1] + 1 - alpha * y[1] ** 2],
        (0, times[-1]),
        [1.0, 0.25],
        t_eval=times,
        rtol=1e-10,
        atol=1e-12,
    ).y
    densities = tuple(mf.Density.gaussian(LINE, m, v) for m, v in path.T)
    flow = replace(H2[0], reaction=alpha)
    statistics = Statistics("", "", "", 1, 0, (0.0, 0.0), 0.0, 0.0, 0.0)
    zeros = np.zeros(len(times))
    problem = mf.Problem(flow, densities[0], float(times[-1]))
    return Solution(problem, np.array(times), densities, zeros, zeros + 1, zeros, statistics, "")


@pytest.mark.parametrize(("alpha", "passes"), [(1.0, True), (0.7, False)])
def test_compare_judges_particles_that_are_copies(alpha, passes):
    times = [0.0, 0.5, 1.0]
    solution = normal_solution(1.0, times)
    flow = replace(H2[0], reaction=alpha)
    run = simulate(flow, 3000, 0.01, 8, initial=solution.densities[0], save=times)
    assert mf.compare(solution, run, ["w1"]).passed is passes


def test_compare_sees_that_copies_are_fewer_than_they_look():
    """Without noise nobody is new: replicas scatter more than samples, and a sound run passes."""
    alpha, times = 2.0, [0.0, 1.0]
    laws = (mf.Density.gaussian(LINE, 1.0, 0.25), mf.Density.gaussian(LINE, 2 / 3, 1 / 6))
    zeros, solution = np.zeros(2), normal_solution(1.0, times)
    problem = mf.Problem(H1[0], laws[0], 1.0)
    solution = replace(solution, problem=problem, densities=laws, energy=zeros)
    run = simulate(H1[0], 2000, 0.01, 16, initial=laws[0], save=times)
    report = mf.compare(solution, run, ["w1"])
    assert report.passed, report.table()
    assert moments(run)[:, 0].std(ddof=1) > 1.2 * math.sqrt(1 / 6 / 2000)
    slow = replace(H1[0], reaction=0.7 * alpha)
    run = simulate(slow, 2000, 0.01, 16, initial=laws[0], save=times)
    assert not mf.compare(solution, run, ["w1"]).passed


# -- what is refused


def singular():
    return mf.Interaction(lambda dz: -np.log(np.abs(dz[..., 0])), lambda dz: -1 / dz)


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: mf.BirthDeath(dt=0.0), "dt", "0", "0.01"),
        (lambda: mf.BirthDeath(batch=0), "batch", "0", "20 is a good number"),
        (lambda: mf.BirthDeath(batch=2, augmentation="x"), "augmentation", "'x'", "orbit"),
        (lambda: mf.BirthDeath(augmentation="x"), "augmentation", "'x'", "orbit"),
        (lambda: mf.BirthDeath(reservoir=3), "reservoir must be", "int", "uniform"),
        (
            lambda: mf.BirthDeath(reservoir=mf.Cloud([1.0], [2.0])),
            "reservoir must have mass 1",
            "got 2",
            "divide by",
        ),
        (
            lambda: simulate(replace(H1[0], reaction=0.0, transport=True), 9, 0.1),
            "dynamics must be langevin or sgd",
            "got birth-death",
            "reaction=1.0",
        ),
        (
            lambda: simulate(mf.GradientFlow(NOISY, reaction=1.0, entropic=True), 9, 0.1),
            "entropic must be False for particles",
            "True",
            "mf.solve",
        ),
        (
            lambda: simulate(mf.GradientFlow(singular(), reaction=1.0), 9, 0.1),
            "interaction must be finite at 0",
            "a singular kernel",
            "mf.Entropy()",
        ),
        (
            lambda: simulate(H1[0], 99, 0.1, dynamics=mf.BirthDeath(reservoir=lambda n, rng: [1])),
            "reservoir must give points of shape",
            "(1,)",
            "space of the particles",
        ),
        (
            lambda: simulate(
                H1[0],
                99,
                0.1,
                initial=mf.Density.gaussian(LINE, 0.0, 1.0).normalised(),
                dynamics=mf.BirthDeath(reservoir=mf.Cloud([9.0])),
            ),
            "reservoir must lie in the box",
            "[9.]",
            "law on its grid",
        ),
    ],
)
def test_refusals(call, argument, got, remedy):
    with np.errstate(divide="ignore"):
        refuses(call, argument, got, remedy)


def test_clocks_that_would_ring_twice_are_refused():
    """The text names the product, and a step that will do."""
    flow = replace(H1[0], reaction=100.0)
    with pytest.raises(mf.SimulationError, match="times the rate 1 / dt, more than 1") as caught:
        simulate(flow, 99, 0.1)
    words = str(caught.value).split()
    assert float(words[words.index("at") + 1]) > 1
    simulate(flow, 99, float(words[-1]), t1=5 * float(words[-1]))
    points, fastest = react([0.0, 3.0], [0.0, 4.0], 0.6)
    assert fastest == pytest.approx(1.2)
    assert points.ravel().tolist() == [0.0, 3.0]


def test_entropic_reactions_without_entropy_are_those_without():
    flow = mf.GradientFlow(WELL, reaction=1.0, entropic=True)
    same = simulate(flow, 50, 0.05).points, simulate(COLD[0], 50, 0.05).points
    assert np.array_equal(*same)


def test_singular_kernels_with_noise_run():
    flow = mf.GradientFlow(0.1 * singular() + WELL + mf.Entropy(), reaction=0.5)
    with np.errstate(divide="ignore"):
        run = simulate(flow, 40, 0.002, t1=0.1)
    assert np.isfinite(run.points).all()
    assert module.FASTEST == 1.0
    assert not any(np.array_equal(a, b) for a, b in itertools.pairwise(run.points[-1][0]))
