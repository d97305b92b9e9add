"""Polar grids, and flows on them in the Euclidean and in lazy metrics."""

import math

import numpy as np
import pytest
from reference import exponential, order, refuses
from scipy.special import ive, jn_zeros, jnp_zeros, jv

import meanfield_pde as mf
from meanfield_pde.eulerian import polar
from meanfield_pde.eulerian.flux import FLUXES
from meanfield_pde.eulerian.polar import PolarFlux
from meanfield_pde.eulerian.stepper import STEPPERS
from meanfield_pde.measures.chart import Polar
from meanfield_pde.studies.relaxation import spectral_gap

METRICS = [None, mf.LazyMetric(0.5)]
DISC = mf.Grid.polar(2.0, (6, 9))
RING = mf.Grid.polar(2.0, (4, 8), inner=0.5)


def bowl(z):
    return 0.5 * (z**2).sum(-1)


def tilted(z):
    return 0.5 * (z**2).sum(-1) + 0.7 * z[..., 0] - 0.3 * z[..., 0] * z[..., 1]


def flow(potential, beta, metric=None, **more):
    return mf.GradientFlow(mf.Potential(potential) + beta * mf.Entropy(), metric=metric, **more)


def ids(metric):
    return "euclidean" if metric is None else "lazy"


# -- grids


@pytest.mark.parametrize("grid", [DISC, RING], ids=["disc", "ring"])
def test_cells_fill_the_disc(grid):
    areas = grid.points[..., 0] * grid.volume
    inner, outer = grid.lower[0], grid.upper[0]
    assert areas.sum() == pytest.approx(math.pi * (outer**2 - inner**2), rel=1e-14)
    r, phi = grid.axes
    for i, j in np.ndindex(grid.shape):
        point = [r[i] * math.cos(phi[j]), r[i] * math.sin(phi[j])]
        np.testing.assert_allclose(grid.places[i, j], point, rtol=1e-15)
    np.testing.assert_allclose(grid.chart.reduce(grid.places), grid.points, atol=1e-14)
    assert (grid.wraps, grid.periodic, grid.chart) == ((False, True), False, Polar())
    assert phi[0] == -phi[-1]
    assert mf.Grid.box((0, 0), (1, 1), 2 * [2]).wraps == (False, False)
    assert mf.Grid.torus(0, 1, 3).wraps == (True,)


def test_wrong_polar_grids():
    refuses(lambda: mf.Grid.polar(-1.0, (4, 4)), "radius", "-1", "positive radius")
    refuses(lambda: mf.Grid.polar(1.0, (4, 4), inner=-0.5), "inner", "-0.5", "whole disc")
    refuses(lambda: mf.Grid.polar(1.0, (4, 4), inner=2.0), "lower", "2 and 1", "swap")
    refuses(lambda: mf.Grid.polar(1.0, 4), "lower, upper and cells", "(4,)", "pairs in 2D")
    refuses(lambda: mf.Grid.box(0, 1, 3, Polar()), "chart", "2 and 1", "one side")
    for lower, upper in (((0, 0), (1, 2 * np.pi)), ((-1, -np.pi), (1, np.pi))):
        given = lower, upper, (3, 3), Polar()
        refuses(lambda g=given: mf.Grid.box(*g), "chart", "rings", "Grid.polar")


# -- densities


def test_densities_count_area():
    """Uniform: 1 / area in the plane, r / area per dr dphi; the mean of |z|^2 is R^2 / 2."""
    rho = mf.Density.uniform(DISC)
    area = math.pi * 4
    plane = rho.values / DISC.points[..., 0]
    np.testing.assert_allclose(plane, 1 / area, rtol=1e-14)
    fine = mf.Density.uniform(mf.Grid.polar(2.0, (200, 9)))
    assert fine.moment(2) == pytest.approx(2.0, rel=1e-4)
    assert mf.Entropy().value(rho) == pytest.approx(-math.log(area), rel=1e-13)


def test_gaussians():
    """Mean, covariance and entropy -log(2 pi e sqrt(det)) to second order."""
    mean, cov = np.array([0.8, -0.3]), np.array([[0.4, 0.15], [0.15, 0.3]])
    errors, sizes = [], [20, 40, 80]
    for n in sizes:
        rho = mf.Density.gaussian(mf.Grid.polar(6.0, (n, 2 * n)), mean, cov)
        assert rho.mass == pytest.approx(1, abs=1e-8)
        entropy = -math.log(2 * math.pi * math.e * math.sqrt(np.linalg.det(cov)))
        errors.append(
            [
                np.abs(rho.mean() - mean).max(),
                np.abs(rho.cov() - cov).max(),
                abs(mf.Entropy().value(rho) - entropy),
            ]
        )
    for error in np.transpose(errors):
        assert abs(order(sizes, error) - 2) < 0.2
    with pytest.raises(ValueError, match="too small"):
        mf.Density.gaussian(DISC, mean, cov)


def test_samples_have_the_law():
    rho = mf.Density.gaussian(mf.Grid.polar(5.0, (60, 90)), (1.0, 0.5), 0.3)
    points = rho.sample(40_000, np.random.default_rng(1))
    np.testing.assert_allclose(points.mean(axis=0), [1.0, 0.5], atol=0.015)
    np.testing.assert_allclose(np.cov(points.T), 0.3 * np.eye(2), atol=0.015)


def test_turned_densities():
    """Rotations and reflections permute the cells, or share them between two; mass is kept."""
    grid = mf.Grid.polar(5.0, (30, 24))
    rho = mf.Density.gaussian(grid, (1.0, 0.5), (0.3, 0.2))
    for group in (mf.Group.dihedral(8), mf.Group.cyclic(3), mf.Group.swap()):
        mean = mf.symmetrise(rho, group)
        assert group.cell_images(grid) is not None
        assert mean.remap_error == 0
        assert mf.asymmetry(mean, group) == 0
        assert mean.mass == pytest.approx(rho.mass, rel=1e-14)
        np.testing.assert_allclose(mean.mean(), group.projection() @ rho.mean(), atol=1e-14)
    other = mf.symmetrise(rho, mf.Group.dihedral(5))
    assert other.mass == pytest.approx(rho.mass, rel=1e-14)
    assert 0 < other.remap_error < 0.1
    # A turn by a share s of a cell shortens the mean by s (1 - s) h^2 / 2, up to h^2 / 8.
    np.testing.assert_allclose(other.mean(), 0, atol=grid.spacing[1] ** 2 / 8 * 1.12)


@pytest.mark.parametrize("grid", [DISC, RING], ids=["disc", "ring"])
def test_measures_of_the_plane(grid):
    """Averages, transport, model outputs and the lifted cloud are those of the cells' places."""
    rho = mf.Density(grid, np.random.default_rng(4).random(grid.shape)).normalised()
    cloud = mf.Cloud(grid.places.reshape(-1, 2), rho.masses.ravel())
    np.testing.assert_allclose(rho.mean(), cloud.weights @ cloud.points, atol=1e-15)
    assert float(mf.distance.w2(rho, cloud)) < 1e-7
    assert float(mf.distance.sliced_w2(rho, cloud)) < 1e-7
    shifted = mf.Cloud(cloud.points + [0.3, -0.4], cloud.weights)
    assert float(mf.distance.w2(rho, shifted)) == pytest.approx(0.5, rel=1e-9)
    data = mf.Data.gauss_hermite(dim=2, nodes=4, target=lambda x: x[..., 0])
    risk = mf.Risk(mf.Unit.ridge("tanh"), data)
    np.testing.assert_allclose(risk.predict(rho), risk.predict(cloud), atol=1e-15)
    assert risk.value(rho) == pytest.approx(risk.value(cloud), rel=1e-13)
    lifted = mf.lift(rho)
    np.testing.assert_array_equal(lifted.points, cloud.points)
    np.testing.assert_array_equal(lifted.weights, cloud.weights)
    assert mf.asymmetry(rho, mf.Group.swap()) > 0.1
    assert mf.asymmetry(lifted, mf.Group.swap()) > 0.01


# -- rates


def generator(grid, potential, beta, mobility):
    """Matrix on the masses of cells, face by face: lengths over distances, divided by areas.

    From K to L the rate is ``beta B(q) length mobility / (distance area_K)`` with B(q) = q / (e^q -
    1) and q = (Phi_L - Phi_K) / beta.
    """
    (nr, n), (hr, hp) = grid.cells, grid.spacing
    r = [grid.lower[0] + (i + 0.5) * hr for i in range(nr)]
    matrix = np.zeros((grid.size, grid.size))

    def join(k, m, geometry):
        for a, b in ((k, m), (m, k)):
            q = (potential[b] - potential[a]) / beta
            rate = beta * (q / math.expm1(q) if q else 1.0) * geometry / (r[a[0]] * hr * hp)
            i, j = np.ravel_multi_index(a, grid.shape), np.ravel_multi_index(b, grid.shape)
            matrix[j, i] += rate
            matrix[i, i] -= rate

    for i, j in np.ndindex(grid.shape):
        if i < nr - 1:
            join((i, j), (i + 1, j), (r[i] + 0.5 * hr) * hp / hr)
        join((i, j), (i, (j + 1) % n), mobility(r[i]) * hr / (r[i] * hp))
    return matrix


@pytest.mark.parametrize("grid", [DISC, RING], ids=["disc", "ring"])
@pytest.mark.parametrize("metric", METRICS, ids=ids)
def test_rates_against_faces(grid, metric):
    """Mobility relative to the Euclidean one: 1, or 1 + r^2 / (2 lambda^2)."""
    beta, phi = 0.3, tilted(grid.places)
    slow = generator(grid, phi, beta, lambda r: 1 + (0 if metric is None else r * r / (2 * 0.25)))
    r = grid.points[..., 0]
    found = PolarFlux(metric).transport(grid, phi - beta * np.log(r), beta).matrix().toarray()
    np.testing.assert_allclose(found, slow, rtol=1e-11, atol=1e-12 * np.abs(slow).max())
    gibbs = (r * np.exp(-phi / beta)).ravel()
    assert np.abs(slow @ gibbs).max() <= 1e-13 * np.abs(slow).max() * gibbs.max()
    assert np.abs(found @ gibbs).max() <= 1e-13 * np.abs(slow).max() * gibbs.max()
    assert np.abs(found.sum(axis=0)).max() <= 1e-13 * np.abs(slow).max()


def test_planted_no_stretch_has_another_stationary_law():
    """Without -beta log r in the potential the law is uniform per dr dphi."""
    beta, phi = 0.3, tilted(DISC.places)
    r = DISC.points[..., 0]
    found = FLUXES["sg"].transport(DISC, phi, beta).matrix().toarray()
    gibbs = (r * np.exp(-phi / beta)).ravel()
    assert np.abs(found @ gibbs).max() > 1e-2 * np.abs(found).max() * gibbs.max()


@pytest.mark.parametrize("grid", [DISC, RING], ids=["disc", "ring"])
def test_a_lazy_flow_also_turns(grid):
    """The metric adds beta / (2 l^2) times the second difference in the angle, r left alone.

    It commutes with the rest where the energy is invariant: the flow is then the Euclidean one,
    lazily averaged over rotations. In a well that is not invariant it is not.
    """
    beta, scale, n, h = 0.3, 0.5, grid.cells[1], grid.spacing[1]
    log_r = np.log(grid.points[..., 0])
    turns = np.roll(np.eye(n), 1, axis=0) + np.roll(np.eye(n), -1, axis=0) - 2 * np.eye(n)
    turns = beta / (2 * scale**2) * np.kron(np.eye(grid.cells[0]), turns / h**2)
    for well, invariant in ((bowl, True), (tilted, False)):
        phi = well(grid.places) - beta * log_r
        flat, lazy = (
            PolarFlux(metric).transport(grid, phi, beta).matrix().toarray()
            for metric in (None, mf.LazyMetric(scale))
        )
        size = np.abs(lazy).max()
        assert bool(np.abs(lazy - flat - turns).max() < 1e-13 * size) is invariant
        assert bool(np.abs(turns @ flat - flat @ turns).max() < 1e-13 * size**2) is invariant


# -- flows


@pytest.mark.parametrize("stepper", list(STEPPERS))
@pytest.mark.parametrize("metric", METRICS, ids=ids)
@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_structure(stepper, metric, beta):
    """Mass, sign and free-energy decay, with every stepper."""
    grid = mf.Grid.polar(4.0, (12, 16))
    start = mf.Density.gaussian(grid, (0.9, 0.4), 0.2)
    solution = mf.solve(
        mf.Problem(flow(tilted, beta, metric), start, 0.3), save=7, stepper=stepper, tolerance=1e-2
    )
    assert solution.statistics.stepper == stepper
    assert solution.statistics.mass_drift <= 1e-13
    assert solution.statistics.smallest >= 0
    assert (np.diff(solution.energy) < 0).all()
    energy = solution.problem.flow.energy
    values = [energy.value(rho) for rho in solution.densities]
    np.testing.assert_allclose(solution.energy, values, rtol=1e-12)


@pytest.mark.parametrize("cells", [(1, 1), (1, 2), (2, 1), (3, 2), (2, 3), (4, 5)])
@pytest.mark.parametrize("inner", [0.0, 0.5])
@pytest.mark.parametrize("metric", METRICS, ids=ids)
def test_few_cells_against_the_exponential(cells, inner, metric):
    """b2 has no error in time; the matrix is the slow one, squared in long doubles."""
    grid, beta, t = mf.Grid.polar(2.0, cells, inner=inner), 0.3, 0.7
    slow = generator(
        grid, tilted(grid.places), beta, lambda r: 1 + (0 if metric is None else 2 * r * r)
    )
    start = mf.Density(grid, np.random.default_rng(5).random(cells)).normalised()
    problem = mf.Problem(flow(tilted, beta, metric), start, t)
    exact = (exponential(slow, t) @ start.values.ravel()).astype(float).reshape(cells)
    found = mf.solve(problem, stepper="b2").densities[-1].values
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-12 * exact.max())
    for stepper in ("b1", "mprk22", "heun"):
        found = mf.solve(problem, stepper=stepper, tolerance=1e-5).densities[-1].values
        np.testing.assert_allclose(found, exact, rtol=0, atol=3e-3 * exact.max())


@pytest.mark.parametrize("metric", METRICS, ids=ids)
def test_rest_is_the_gibbs_law(metric):
    """And `gibbs` knows it; a step of any length leaves it."""
    grid, beta = mf.Grid.polar(4.0, (24, 32)), 0.4
    weights = grid.points[..., 0] * np.exp(-tilted(grid.places) / beta)
    exact = weights / (weights.sum() * grid.volume)
    found = mf.gibbs(mf.Potential(tilted) + beta * mf.Entropy(), grid)
    np.testing.assert_allclose(found.values, exact, rtol=1e-12)
    start = mf.Density.gaussian(grid, (0.9, 0.4), 0.2)
    problem = mf.Problem(flow(tilted, beta, metric), start, 80.0)
    rest = mf.solve(problem, stepper="b1").densities[-1]
    assert np.abs(rest.values - exact).sum() * grid.volume < 1e-9
    for stepper in ("b1", "mprk22"):
        moved = mf.solve(
            mf.Problem(flow(tilted, beta, metric), found, 5.0), stepper=stepper, dt=5.0
        )
        assert np.abs(moved.densities[-1].values - exact).sum() * grid.volume < 1e-12


def turned_ornstein_uhlenbeck(t, beta, scale, z, mean, variance):
    """Law of the flow of |z|^2 / 2: that of the Euclidean flow, turned by a normal angle.

    Rotations commute with it, so the angle has the variance ``beta t / lambda^2``.
    """
    centre, width = math.exp(-t) * mean, variance * math.exp(-2 * t) + beta * (1 - math.exp(-2 * t))
    angles, weights = np.polynomial.hermite_e.hermegauss(60)
    angles = angles * (0.0 if scale is None else math.sqrt(beta * t) / scale)
    total = np.zeros(z.shape[:-1])
    for angle, weight in zip(angles, weights / weights.sum(), strict=True):
        middle = centre * np.array([math.cos(angle), math.sin(angle)])
        gaussian = np.exp(-((z - middle) ** 2).sum(-1) / (2 * width)) / (2 * math.pi * width)
        total += weight * gaussian
    return total


@pytest.mark.parametrize("metric", METRICS, ids=ids)
def test_ornstein_uhlenbeck(metric):
    """The law in L1 and its moments, to second order in space.

    E z decays at the rate 1 + k, E z^2 (as complex numbers) at 2 + 4 k, k = beta / (2 lambda^2); E
    |z|^2 as without a metric.
    """
    beta, t, mean, variance = 0.3, 0.6, 1.2, 0.25
    scale = None if metric is None else metric.scale
    k = 0.0 if scale is None else beta / (2 * scale**2)
    sizes, errors = [16, 32, 64], []
    for n in sizes:
        grid = mf.Grid.polar(5.0, (n, 2 * n))
        start = mf.Density.gaussian(grid, (mean, 0.0), variance)
        solution = mf.solve(
            mf.Problem(flow(bowl, beta, metric), start, t), stepper="mprk22", tolerance=1e-4
        )
        rho = solution.densities[-1]
        exact = mf.Density.from_function(
            grid, lambda z: turned_ornstein_uhlenbeck(t, beta, scale, z, mean, variance)
        )
        complex_ = grid.places[..., 0] + 1j * grid.places[..., 1]
        moments = [(rho.masses * complex_**power).sum() for power in (1, 2)]
        square = (mean**2 + 2 * variance) * math.exp(-2 * t) + 2 * beta * (1 - math.exp(-2 * t))
        errors.append(
            [
                np.abs(rho.values - exact.values).sum() * grid.volume,
                abs(moments[0] - mean * math.exp(-(1 + k) * t)),
                abs(moments[1] - mean**2 * math.exp(-(2 + 4 * k) * t)),
                abs(rho.moment(2) - square),
            ]
        )
    assert max(errors[-1]) < 4e-3
    for error in np.transpose(errors):
        assert 1.8 < order(sizes, error) < 2.4


def ring_rate(metric, k, n, radius=1.5, beta=0.3, t=0.2):
    """Rate at which the mode cos k phi of a law on a ring of one cell decays, from a solve."""
    grid = mf.Grid.polar(radius + 0.05, (1, n), inner=radius - 0.05)
    shape = 1 + 0.5 * np.cos(k * grid.points[..., 1])
    start = mf.Density(grid, shape).normalised()
    solution = mf.solve(
        mf.Problem(mf.GradientFlow(beta * mf.Entropy(), metric=metric), start, t), stepper="b2"
    )
    mode = np.cos(k * grid.axes[1])
    ends = [float((rho.values * mode).sum()) for rho in solution.densities]
    return math.log(ends[0] / ends[-1]) / t


@pytest.mark.parametrize("metric", [None, mf.LazyMetric(0.5), mf.LazyMetric(3.0)], ids=repr)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_modes_of_a_thin_ring(metric, k):
    """beta m(r) k^2, with differences (2 sin(k h / 2) / h)^2 for k^2: exact."""
    n, radius, beta = 48, 1.5, 0.3
    h = 2 * math.pi / n
    mobility = 1 / radius**2 + (0 if metric is None else 1 / (2 * metric.scale**2))
    wave = (2 * math.sin(0.5 * k * h) / h) ** 2
    assert ring_rate(metric, k, n) == pytest.approx(beta * mobility * wave, rel=1e-11)
    sizes = [12, 24, 48]
    errors = [abs(ring_rate(metric, k, m) - beta * mobility * k * k) for m in sizes]
    assert abs(order(sizes, errors) - 2) < 0.15


def test_planted_a_dropped_metric_is_caught(monkeypatch):
    monkeypatch.setattr(polar.LazyMetric, "angular_mobility", lambda self, r: 1 / r**2)
    lazy = ring_rate(mf.LazyMetric(0.5), 1, 48)
    assert abs(lazy - 0.3 * (1 / 1.5**2 + 2)) > 0.1


@pytest.mark.parametrize("metric", METRICS, ids=ids)
@pytest.mark.parametrize("k", [0, 1, 2])
def test_heat_in_a_disc(metric, k):
    """J_k(j r / R) cos(k phi), with J_k'(j) = 0, decays at beta ((j / R)^2 + k^2 / (2 l^2))."""
    beta, radius, t = 0.5, 2.0, 0.25
    root = jn_zeros(1, 1)[0] if k == 0 else jnp_zeros(k, 1)[0]
    rate = (root / radius) ** 2 + (0 if metric is None else k * k / (2 * metric.scale**2))
    sizes, errors = [10, 20, 40], []

    def law(amplitude):
        def value(z):
            r, phi = np.hypot(z[..., 0], z[..., 1]), np.arctan2(z[..., 1], z[..., 0])
            return (1 + amplitude * jv(k, root * r / radius) * np.cos(k * phi)) / (4 * math.pi)

        return value

    for n in sizes:
        grid = mf.Grid.polar(radius, (n, 3 * n))
        start = mf.Density.from_function(grid, law(0.9))
        problem = mf.Problem(mf.GradientFlow(beta * mf.Entropy(), metric=metric), start, t)
        rho = mf.solve(problem, stepper="mprk22", tolerance=2e-5).densities[-1]
        exact = mf.Density.from_function(grid, law(0.9 * math.exp(-beta * rate * t)))
        errors.append(np.abs(rho.values - exact.values).sum() * grid.volume)
    assert errors[-1] < 2e-3
    assert 1.7 < order(sizes, errors) < 2.4


def test_far_lambda_is_the_cartesian_flow():
    """Moments beside a solve on a box; the metric's effect vanishes as 1 / lambda^2."""
    beta, t, powers = 0.4, 0.5, [(1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (3, 0)]

    def moments(grid, metric=None):
        start = mf.Density.gaussian(grid, (0.9, 0.4), 0.2)
        problem = mf.Problem(flow(tilted, beta, metric), start, t)
        rho = mf.solve(problem, stepper="mprk22", tolerance=1e-4).densities[-1]
        return np.array([rho.moment(power) for power in powers])

    sizes, gaps = [20, 40, 80], []
    for n in sizes:
        flat = moments(mf.Grid.box((-5, -5), (5, 5), (2 * n, 2 * n)))
        gaps.append(np.abs(moments(mf.Grid.polar(5.0, (n, 3 * n))) - flat).max())
    assert gaps[-1] < 3e-3
    assert 1.7 < order(sizes, gaps) < 2.5
    grid = mf.Grid.polar(5.0, (20, 60))
    flat = moments(grid)
    scales = [4.0, 8.0, 16.0]
    effects = [np.abs(moments(grid, mf.LazyMetric(s)) - flat).max() for s in scales]
    assert abs(order(scales, effects) - 2) < 0.2


def radial_marginal(scale, n=40, cells=48):
    """Mass per dr at t = .5 in the well |z|^2 / 2 + .8 x."""
    grid = mf.Grid.polar(4.5, (n, cells))
    start = mf.Density.gaussian(grid, (1.2, 0.3), 0.2)
    lazy = flow(lambda z: bowl(z) + 0.8 * z[..., 0], 0.4, mf.LazyMetric(scale))
    problem = mf.Problem(lazy, start, 0.5)
    rho = mf.solve(problem, stepper="mprk22", tolerance=1e-4).densities[-1]
    return start, rho, rho.values.sum(axis=1) * grid.spacing[1]


def test_small_lambda_leaves_the_radius_alone():
    """Angles are at once in equilibrium, and r feels the mean force of the conditional Gibbs law.

    With the potential ``-beta log(r int exp(-V / beta) dphi)``, ``r^2 / 2 - beta log(r I_0(.8 r
    / beta))``, it is a problem on a line, solved as one. The gap falls as lambda^2.
    """
    beta, tilt = 0.4, 0.8

    def mean_force(z):
        r = z[..., 0]
        x = tilt * r / beta
        return 0.5 * r**2 - beta * (np.log(r) + np.log(ive(0, x)) + x)

    start, *_ = radial_marginal(0.1)
    line = mf.Grid.box(0.0, 4.5, 40)
    marginal = mf.Density(line, start.values.sum(axis=1) * start.grid.spacing[1])
    problem = mf.Problem(flow(mean_force, beta), marginal, 0.5)
    exact = mf.solve(problem, flux="sg", stepper="mprk22", tolerance=1e-4).densities[-1].values
    free = radial_marginal(100.0)[2]
    scales, gaps = [0.4, 0.2, 0.1, 0.05], []
    for scale in scales:
        _, rho, found = radial_marginal(scale)
        gaps.append(np.abs(found - exact).sum() * line.volume)
    assert order(scales[:3], gaps[:3]) < -1.5
    assert gaps[-1] < 0.1 * np.abs(free - exact).sum() * line.volume
    conditional = np.exp(-tilt * rho.grid.places[..., 0] / beta)
    shares = rho.values / rho.values.sum(axis=1, keepdims=True)
    conditional /= conditional.sum(axis=1, keepdims=True)
    weight = rho.values.sum(axis=1) / rho.values.sum()
    assert weight @ np.abs(shares - conditional).sum(axis=1) < 0.02


def test_threefold_laws_stay_so_to_the_last_bit():
    """On a square grid a threefold law gets a mean; here the group permutes the cells."""
    grid, group = mf.Grid.polar(4.0, (20, 24)), mf.Group.dihedral(3)
    start = mf.symmetrise(mf.Density.gaussian(grid, (1.2, 0.0), 0.1), group)

    def quartic(z):
        square = (z**2).sum(-1)
        return 0.25 * square**2 - 0.5 * square

    for metric in METRICS:
        problem = mf.Problem(flow(quartic, 0.1, metric), start, 0.5)
        plain = mf.solve(problem).densities[-1]
        assert np.abs(plain.mean()).max() < 1e-13
        kept = mf.solve(problem, symmetry=group).densities[-1]
        assert mf.asymmetry(kept, group) == 0.0
        assert abs(kept.expect(lambda z: z[..., 0] ** 3 - 3 * z[..., 0] * z[..., 1] ** 2)) > 0.1


def test_networks_on_a_polar_grid():
    """A risk is taken at the cells' points in the plane, as on a box."""
    data = mf.Data.gauss_hermite(dim=2, nodes=6, target=lambda x: np.tanh(x[..., 0]))
    energy = mf.Risk(mf.Unit.ridge("tanh"), data) + 0.05 * mf.Penalty() + 0.1 * mf.Entropy()
    ends = []
    for grid in (mf.Grid.polar(5.0, (50, 80)), mf.Grid.box((-5, -5), (5, 5), (90, 90))):
        start = mf.Density.gaussian(grid, (0.5, 0.5), 0.4)
        rho = mf.solve(mf.Problem(mf.GradientFlow(energy), start, 1.0), tolerance=3e-4).densities[
            -1
        ]
        ends.append([*rho.mean(), rho.moment(2), energy.value(rho)])
    np.testing.assert_allclose(*ends, atol=4e-3)


def test_claims_hold_on_a_polar_grid():
    """Points, laws and clouds of all claims are those of the plane, and controls fail."""
    data = mf.Data.gauss_hermite(dim=2, nodes=6, target=lambda x: np.tanh(x.sum(-1)))
    energy = mf.Risk(mf.Unit.ridge("tanh"), data) + 0.05 * mf.Penalty() + 0.1 * mf.Entropy()
    start = mf.Density.gaussian(mf.Grid.polar(4.0, (16, 24)), (0.5, 0.2), 0.3)
    report = mf.validate(mf.Problem(mf.GradientFlow(energy), start, 0.5), mf.Group.swap())
    found = {
        row["claim"]: verdict for row, verdict in zip(report.rows, report.verdicts, strict=True)
    }
    assert len(found) > 20
    assert all(found.values()), report.table()


@pytest.mark.parametrize("metric", METRICS, ids=ids)
def test_gap(metric):
    """In |z|^2 / 2 z decays at 1, in a lazy metric at 1 + beta / (2 l^2); |z|^2 at 2 in both."""
    well, exact = mf.Potential(bowl) + 2.0 * mf.Entropy(), 1.0 if metric is None else 2.0
    sizes, errors = [15, 30, 60], []
    for n in sizes:
        law = mf.gibbs(well, mf.Grid.polar(9.0, (n, n)))
        gap, mode = spectral_gap(well, law, metric)
        errors.append(abs(gap - exact))
        turning = np.abs(mode - mode.mean(axis=1, keepdims=True)).max() / np.abs(mode).max()
        assert bool(turning > 0.1) is (metric is None)
    assert errors[-1] < 0.01
    assert abs(order(sizes, errors) - 2) < 0.3


def test_gap_along_the_radius():
    """The potential -beta log r of the chart is part of it."""
    well = mf.Potential(bowl) + 2.0 * mf.Entropy()
    line = mf.Grid.box(0.0, 9.0, 60, chart=mf.Chart.radius(2))
    assert spectral_gap(well, mf.gibbs(well, line))[0] == pytest.approx(2.0, abs=0.02)


# -- particles


def test_particles_turn():
    """Against the density; particles of the Euclidean flow fail the same comparison."""
    grid, beta = mf.Grid.polar(4.5, (40, 60)), 0.3

    def well(z):
        return bowl(z) + 0.4 * z[..., 0]

    start = mf.Density.gaussian(grid, (1.0, 0.5), (0.25, 0.36))
    lazy = mf.Problem(flow(well, beta, mf.LazyMetric(0.5)), start, 0.8)
    run = mf.simulate(lazy, particles=1500, seeds=8, dt=0.01, seed=3)
    density, distances = mf.solve(lazy), ["sliced_w2"]
    assert mf.compare(density, run, distances).passed
    plain = mf.simulate(mf.Problem(flow(well, beta), start, 0.8), 1500, seeds=8, dt=0.01, seed=3)
    assert not mf.compare(density, plain, distances).passed


def test_a_torque_turns_particles_without_noise():
    """V = x: x' = -1 - y^2 / (2 l^2), y' = x y / (2 l^2), by a fine Runge-Kutta solve."""
    scale, end = 0.8, np.array([0.5, 1.0])

    def field(z):
        return np.array([-1 - z[1] ** 2 / (2 * scale**2), z[0] * z[1] / (2 * scale**2)])

    for _ in range(1000):
        a = field(end)
        b = field(end + 5e-4 * a)
        end = end + 1e-3 * b
    problem = mf.Problem(
        flow(lambda z: z[..., 0], 0.0, mf.LazyMetric(scale)), mf.Cloud([[0.5, 1.0]]), 1.0
    )
    sizes = [100, 200, 400]
    found = [mf.simulate(problem, particles=1, dt=1 / n).points[-1, 0, 0] for n in sizes]
    errors = [np.abs(z - end).max() for z in found]
    assert errors[-1] < 5e-3
    assert abs(order(sizes, errors) - 1) < 0.1


# -- files and arguments


def test_files(tmp_path):
    start = mf.Density.gaussian(mf.Grid.polar(4.0, (12, 16)), (0.5, 0.0), 0.2)
    solution = mf.solve(mf.Problem(flow(bowl, 0.3, mf.LazyMetric(1.0)), start, 0.2))
    mf.save_solution(solution, tmp_path / "polar.nc")
    loaded = mf.load_solution(tmp_path / "polar.nc")
    assert loaded.densities[-1].grid == start.grid
    np.testing.assert_array_equal(loaded.densities[-1].values, solution.densities[-1].values)
    assert set(solution.to_dataset()["density"].dims) == {"time", "r", "phi"}


def test_grids_are_refined_as_they_are():
    """Orders of the solver's own study, on polar grids."""

    def problem(grid):
        return mf.Problem(flow(bowl, 0.3), mf.Density.gaussian(grid, (0.8, 0.0), 0.3), 0.3)

    report = mf.convergence(problem, grids=mf.Grid.polar(5.0, (10, 16)), levels=3)
    assert report.passed


def test_wrong_arguments():
    frozen = {"metric": mf.LazyMetric(1.0), "frozen": (1,)}
    refuses(lambda: flow(bowl, 0.3, **frozen), "frozen", "1", "rotations")
    rho = mf.Density.gaussian(mf.Grid.polar(4.0, (16, 16)), (0.5, 0.0), 0.2)
    box = mf.Density.gaussian(mf.Grid.box((-4, -4), (4, 4), (16, 16)), (0.5, 0.0), 0.2)
    lazy = flow(bowl, 0.3, mf.LazyMetric(1.0))
    refuses(lambda: flow(bowl, 0.3, 1.0), "metric", "float", "mf.LazyMetric")
    noisy = {"metric": mf.LazyMetric(1.0), "noise": mf.Group.swap()}
    refuses(lambda: flow(bowl, 0.3, **noisy), "noise", "swap", "rotations")
    refuses(lambda: mf.solve(mf.Problem(lazy, box, 1.0)), "metric", "lazy", "Grid.polar")
    refuses(lambda: mf.simulate(mf.Problem(lazy, box, 1.0)), "metric", "lazy", "Grid.polar")
    problem = mf.Problem(lazy, rho, 0.1)
    for flux in ("rl", "compact", mf.ScharfetterGummel(), 3):
        refuses(lambda f=flux: mf.solve(problem, flux=f), "flux", str(flux)[:2], "leave it out")
    with pytest.raises(ValueError, match="interaction must meet a cartesian grid"):
        mf.Interaction(bowl).value(rho)
    solution = mf.solve(problem, save=11)
    refuses(lambda: mf.residual(solution), "solution", "polar", "closed form")
    cloud = mf.Problem(flow(bowl, 0.1, mf.LazyMetric(1.0)), mf.Cloud(np.eye(3)), 0.1)
    refuses(lambda: mf.simulate(cloud, particles=3), "metric", "3", "plane")
    half = mf.Grid.box((-1, 0), (1, 1), (4, 4), mf.Chart.quotient(mf.Group.reflection(2, 1)))
    law = mf.GroupLaw.arc(1.0)
    refuses(lambda: law.symmetrise(mf.Density.uniform(half)), "mu", "Mirrors", "lift")
    charted = "grid={kind='polar', radius=3.5, cells=[8, 12]}", "chart={kind='radius', dim=2}"
    with pytest.raises(mf.CaseError, match="kind must be box with a table .chart., got polar"):
        mf.load_case("lazy-rotations").with_settings(charted)
