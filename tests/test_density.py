"""Densities: exact Gaussian cell averages, rules of integration, samples."""

import math

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY, ULP, cell_averages, integral, normal_pdf, refuses
from scipy import stats
from scipy.special import ndtr

from meanfield_pde.measures import density as module
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density, LostMassError, monomial
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.group import Group
from meanfield_pde.measures.symmetry import symmetrise

LINE = Grid.box(-6, 6, 48)
PLANE = Grid.box((-3, -2), (3, 4), (8, 12))


def random_density(grid, seed):
    values = np.random.default_rng(seed).exponential(size=grid.shape)
    return Density(grid, values)


# -- Gaussians


def check_tails():
    """Cell averages far out on both sides keep their relative accuracy."""
    grid = Grid.box(-12, 12, 48)
    exact = cell_averages(grid, lambda x: normal_pdf(x, 0.0, 1.0))
    # scipy's ndtr is accurate to a few units in the last place, the difference of two of them
    # over half a standard deviation loses a digit at most; e^-72 is far above underflow.
    np.testing.assert_allclose(Density.gaussian(grid, 0, 1).values, exact, rtol=1e-13)


def check_even():
    """A centred normal law is even to the last bit, on a box and on a torus."""
    for make in (Grid.box, Grid.torus):
        for n in (7, 64, 101):
            values = Density.gaussian(make(-3, 3, n), 0.0, 1.7, lost=1).values
            assert (values == values[::-1]).all()


@pytest.mark.parametrize(("mean", "variance"), [(0.3, 0.04), (-1.0, 1.0), (0.0, 1e-4)])
def test_averages_of_a_normal_density(mean, variance):
    exact = cell_averages(LINE, lambda x: normal_pdf(x, mean, variance), panels=40)
    # The rule is exact to rounding: of the largest density, and of the sum of 1600 terms.
    np.testing.assert_allclose(
        Density.gaussian(LINE, mean, variance).values, exact, rtol=0, atol=1e-14 * exact.max()
    )


def test_tails_of_a_normal_density():
    check_tails()


def test_planted_difference_of_distribution_functions_loses_the_tail(monkeypatch):
    monkeypatch.setattr(module, "_between", lambda a, b: ndtr(b) - ndtr(a))
    with pytest.raises(AssertionError):
        check_tails()


def test_centred_normal_density_is_even():
    check_even()


def rising(reach):
    """The images in rising order, as many as ``reach(mean, deviation, period)`` to either side."""

    def normal_1d(grid, axis, mean, variance):
        period, deviation, total = grid.upper[axis] - grid.lower[axis], np.sqrt(variance), 0.0
        most = reach(mean, deviation, period)
        for k in range(-most, most + 1):
            scaled = (grid.faces[axis] - (mean + k * period)) / deviation
            total = total + module._between(scaled[:-1], scaled[1:])
        return total / grid.spacing[axis]

    return normal_1d


def test_planted_images_in_rising_order_are_not_even(monkeypatch):
    monkeypatch.setattr(module, "_normal_1d", rising(lambda *_: 9))
    with pytest.raises(AssertionError):
        check_even()


def wrapped_by_fourier(grid, mean, variance):
    """Cell averages of ``(1/P) sum_k exp(-(k w s)^2/2) cos(k w (x - m))``, term by term."""
    period, h = grid.upper[0] - grid.lower[0], grid.spacing[0]
    total = np.full(grid.shape, 1.0)
    for k in range(1, 60):
        w = 2 * math.pi * k / period
        damping = 2 * math.exp(-variance * w * w / 2) * math.sin(w * h / 2) / (w * h / 2)
        total += damping * np.cos(w * (grid.axes[0] - mean))
    return total / period


@pytest.mark.parametrize(
    ("low", "mean", "variance"),
    [(0.0, 1.0, 0.3), (-1.0, 1.9, 0.2), (8.0, 0.0, 0.25), (-40.0, 77.7, 0.3), (0.0, 1.0, 9.0)],
)
def test_wrapped_normal_density(low, mean, variance):
    """Against the Fourier series, also where the mean is many periods away from the grid."""
    grid = Grid.torus(low, low + 3, 20)
    values = Density.gaussian(grid, mean, variance).values
    # Positions of size 80 in units of s = .45 are rounded to 80/.45 ulp, the density has slope < 2.
    exact = wrapped_by_fourier(grid, mean, variance)
    np.testing.assert_allclose(values, exact, rtol=0, atol=2000 * ULP)
    assert values.sum() * grid.volume == pytest.approx(1, abs=1e-14)


def test_planted_images_counted_from_zero_miss_the_torus(monkeypatch):
    """Images within reach of the mean, wherever the torus is."""
    grid = Grid.torus(8, 11, 20)
    assert Density.gaussian(grid, 0.0, 0.01).mass == pytest.approx(1, abs=1e-14)
    few = rising(lambda mean, deviation, period: int((abs(mean) + 9 * deviation) / period) + 1)
    monkeypatch.setattr(module, "_normal_1d", few)
    with pytest.raises(LostMassError):
        Density.gaussian(grid, 0.0, 0.01)


def test_diagonal_covariance_is_a_product():
    exact = cell_averages(
        PLANE, lambda x, y: normal_pdf(x, 0.2, 0.3) * normal_pdf(y, 1.0, 0.2), nodes=20
    )
    found = Density.gaussian(PLANE, (0.2, 1.0), (0.3, 0.2), lost=1e-3).values
    # Twenty nodes on cells of 1.1 deviations: the rule's error is below rounding.
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-14)


CORRELATED = {
    "mild": ((0.2, 1.0), [[0.3, 0.1], [0.1, 0.2]]),
    "negative": ((0.0, 0.9), [[0.2, -0.15], [-0.15, 0.3]]),
    "nearly singular": ((0.1, 1.0), [[0.25, 0.2499], [0.2499, 0.25]]),
    "narrow": ((0.1, 1.03), [[1e-3, 5e-4], [5e-4, 2e-3]]),
}


@pytest.mark.parametrize(("mean", "cov"), CORRELATED.values(), ids=CORRELATED)
def test_correlated_normal_density_against_scipy(mean, cov):
    law = stats.multivariate_normal(mean, cov)
    exact = np.empty(PLANE.shape)
    x, y = PLANE.faces
    for i, j in np.ndindex(PLANE.shape):
        exact[i, j] = law.cdf((x[i + 1], y[j + 1]), lower_limit=(x[i], y[j])) / PLANE.volume
    found = Density.gaussian(PLANE, mean, cov, lost=1e-2).values
    # The claim is 1e-13; scipy adds four terms of its bivariate routine, good to 1e-14 each.
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-13)


def test_correlated_agrees_with_quadrature_and_is_transposed_with_its_axes():
    mean, cov = np.array([0.1, 0.4]), np.array([[0.5, 0.3], [0.3, 0.4]])
    inverse, scale = np.linalg.inv(cov), 2 * math.pi * math.sqrt(np.linalg.det(cov))

    def pdf(x, y):
        z = np.array([x, y]) - mean
        return math.exp(-0.5 * z @ inverse @ z) / scale

    grid = Grid.box((-3, -3), (3, 3), (5, 6))
    found = Density.gaussian(grid, mean, cov, lost=1e-3).values
    # 24 nodes on each third of a cell of two deviations: the rule is exact to rounding.
    exact = cell_averages(grid, pdf, nodes=12, panels=3)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-13)
    turned = Grid.box((-3, -3), (3, 3), (6, 5))
    other = Density.gaussian(turned, mean[::-1], cov[::-1, ::-1], lost=1e-3).values
    np.testing.assert_allclose(other.T, found, rtol=0, atol=1e-13)


def test_planted_sign_of_the_correlation_is_caught():
    mean, cov = CORRELATED["negative"]
    wrong = np.abs(cov)
    right = Density.gaussian(PLANE, mean, cov, lost=1e-2).values
    assert np.abs(Density.gaussian(PLANE, mean, wrong, lost=1e-2).values - right).max() > 0.1


def test_lost_mass_is_refused_or_left_out():
    grid = Grid.box(-1, 1, 10)
    outside = 2 * ndtr(-2.0)
    with pytest.raises(LostMassError, match=r"too small.*0\.046 lies outside.*enlarge the grid"):
        Density.gaussian(grid, 0.0, 0.25)
    rho = Density.gaussian(grid, 0.0, 0.25, lost=0.05)
    assert rho.mass == pytest.approx(1 - outside, rel=1e-14)
    assert rho.normalised().mass == pytest.approx(1, rel=1e-15)


# -- other densities


@PROPERTY
@given(st.lists(st.floats(-2, 2), min_size=10, max_size=10), st.floats(-3, 3), st.floats(0.1, 4))
def test_from_function_is_exact_for_polynomials(coefficients, low, side):
    """Five Gauss nodes integrate degree 9 exactly; a constant keeps the averages positive."""
    polynomial = np.polynomial.Polynomial(coefficients)
    primitive = polynomial.integ()
    grid = Grid.box(low, low + side, 6)
    size = sum(abs(c) * 8.0**k for k, c in enumerate(coefficients))
    found = Density.from_function(grid, lambda z: size + polynomial(z[..., 0])).values - size
    exact = np.diff(primitive(grid.faces[0])) / grid.spacing[0]
    # Differences of primitives over h >= .016 lose ulp(size) * 8 / h.
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-12 * (1 + size))


def test_from_function_in_two_dimensions():
    grid = Grid.box((0, 1), (2, 3), (3, 4))
    found = Density.from_function(grid, lambda z: z[..., 0] ** 9 * z[..., 1] ** 8).values
    x, y = (np.diff(f ** (k + 1)) / (k + 1) for f, k in zip(grid.faces, (9, 8), strict=True))
    np.testing.assert_allclose(found, np.outer(x, y) / grid.volume, rtol=1e-12)
    one = Density.from_function(grid, lambda z: z[..., 0] ** 2, nodes=1).values
    np.testing.assert_allclose(one, grid.points[..., 0] ** 2, rtol=4 * ULP)


def test_planted_rule_with_four_nodes_is_not_exact():
    grid = Grid.box(0, 6, 2)
    ninth = np.diff(grid.faces[0] ** 10) / 30
    for nodes, right in ((5, True), (4, False)):
        found = Density.from_function(grid, lambda z: z[..., 0] ** 9, nodes=nodes).values
        assert np.allclose(found, ninth, rtol=1e-13, atol=0) == right


def test_uniform():
    for grid in (Grid.box((0, 0), (2, 5), (3, 4)), Grid.torus(-1, 2, 7)):
        rho = Density.uniform(grid)
        assert np.ptp(rho.values) == 0
        assert rho.mass == pytest.approx(1, rel=4 * ULP)


@PROPERTY
@given(st.integers(0, 2**32), st.floats(0, 1))
def test_mixture_is_linear(seed, share):
    one, two = random_density(PLANE, seed), random_density(PLANE, seed + 1)
    mixed = Density.mixture([one, two], [share, 1 - share])
    np.testing.assert_allclose(
        mixed.values, share * one.values + (1 - share) * two.values, rtol=2 * ULP
    )
    mass = share * one.mass + (1 - share) * two.mass
    assert mixed.mass == pytest.approx(mass, rel=1e-14)


def test_remap_error_goes_with_the_density():
    grid = Grid.box((-4, -4), (4, 4), (16, 16))
    smeared = symmetrise(Density.gaussian(grid, (0.5, 0), 0.3), Group.cyclic(3))
    assert smeared.remap_error > 0.01
    exact = Density.gaussian(grid, (0.5, 0), 0.3)
    assert Density.mixture([smeared, exact], [0.25, 0.75]).remap_error == smeared.remap_error / 4
    twice = Density(grid, 2 * smeared.values, 2 * smeared.remap_error)
    relative = smeared.remap_error / smeared.mass  # a little mass has left the grid
    assert twice.normalised().remap_error == pytest.approx(relative, rel=1e-14)


def test_values_are_kept_and_cannot_be_changed():
    values = np.ones(48)
    rho = Density(LINE, values)
    values[0] = 7.0
    assert rho.values[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        rho.values[0] = 7.0


# -- integrals


@PROPERTY
@given(st.integers(0, 2**32))
def test_moments_against_loops(seed):
    for grid in (LINE, PLANE):
        rho = random_density(grid, seed)
        points = grid.points.reshape(-1, grid.dim)
        masses = [float(v) * grid.volume for v in rho.values.ravel()]
        mean, cov = reference.moments(points.tolist(), masses)
        # Sums of about 100 terms of size 10.
        np.testing.assert_allclose(rho.mean(), mean, rtol=0, atol=1e-13)
        np.testing.assert_allclose(rho.cov(), cov, rtol=0, atol=1e-13)
        assert rho.mass == pytest.approx(math.fsum(masses), rel=1e-14)
        norm = [math.hypot(*z) for z in points]
        for k in range(4):
            power = [z[0] ** k for z in points] if grid.dim == 1 else [r**k for r in norm]
            slow = math.fsum(m * p for m, p in zip(masses, power, strict=True))
            assert rho.moment(k) == pytest.approx(slow, rel=1e-12, abs=1e-10)


def test_moments_of_a_normal_law():
    """Sums over cells are spectrally accurate; cell averages add h^2/12 to the variance."""
    grid = Grid.box((-8, -8), (8, 8), (64, 64))
    cov = np.array([[0.5, 0.2], [0.2, 0.4]])
    rho = Density.gaussian(grid, (0.5, -0.25), cov)
    np.testing.assert_allclose(rho.mean(), (0.5, -0.25), atol=1e-13)
    np.testing.assert_allclose(rho.cov(), cov + np.eye(2) * 0.25**2 / 12, atol=1e-13)
    assert rho.moment((1, 1)) == pytest.approx(0.2 - 0.125, abs=1e-13)


def test_expect():
    rho = random_density(PLANE, 3)
    masses, points = rho.masses.ravel(), PLANE.points.reshape(-1, 2)
    slow = sum(m * np.sin(z[0] * z[1]) for m, z in zip(masses, points, strict=True))
    found = rho.expect(lambda z: np.sin(z[..., 0] * z[..., 1]))
    assert isinstance(found, float)
    assert found == pytest.approx(slow, rel=1e-12)
    vector = rho.expect(lambda z: np.stack([z[..., 0], z[..., 1], 1 + 0 * z[..., 0]], axis=-1))
    assert vector.shape == (3,)
    np.testing.assert_allclose(vector[:2], rho.mass * rho.mean(), rtol=1e-13)
    assert vector[2] == pytest.approx(rho.mass, rel=1e-14)


def test_monomials():
    z = np.array([[3.0, -4.0], [0.0, 2.0]])
    assert monomial(z, 3).tolist() == [125.0, 8.0]
    assert monomial(z, (1, 3)).tolist() == [-192.0, 0.0]
    assert monomial(z, (0, 0)).tolist() == [1.0, 1.0]
    assert monomial(np.array([[-3.0]]), 3).tolist() == [-27.0]
    assert monomial(np.array([[-3.0]]), (3,)).tolist() == [-27.0]


# -- samples


def check_sample(draw):
    """Shares of cells, and the place inside a cell, within five standard deviations."""
    grid = Grid.box((-1, 0), (1, 3), (2, 3))
    rho = Density(grid, [[1.0, 0.0, 2.0], [3.0, 1.0, 0.5]])
    n = 40_000
    points = draw(rho, n, np.random.default_rng(5))
    assert points.shape == (n, 2)
    place = (points - np.array(grid.lower)) / np.array(grid.spacing)
    cell = np.floor(place).astype(int)
    for index in np.ndindex(grid.shape):
        share = rho.masses[index] / rho.mass
        found = (cell == index).all(axis=1).mean()
        assert abs(found - share) <= 5 * math.sqrt(share * (1 - share) / n)
    inside = place - cell
    assert abs(inside.mean() - 0.5) <= 5 * math.sqrt(1 / 12 / (2 * n))
    assert abs(inside.var() - 1 / 12) <= 5 * math.sqrt(1 / 180 / (2 * n))


def test_sample_follows_the_piecewise_constant_law():
    check_sample(Density.sample)


@pytest.mark.parametrize("bug", ["at the centres", "without the masses"])
def test_planted_samples_are_caught(bug):
    def wrong(rho, n, rng):
        if bug == "without the masses":
            return Density.uniform(rho.grid).sample(n, rng)
        points = rho.sample(n, rng) - np.array(rho.grid.lower)
        spacing = np.array(rho.grid.spacing)
        return (np.floor(points / spacing) + 0.5) * spacing + np.array(rho.grid.lower)

    with pytest.raises(AssertionError):
        check_sample(wrong)


def test_sample_is_reproducible():
    rho = Density.gaussian(LINE, 0, 1)
    one, two = (rho.sample(10, np.random.default_rng(3)) for _ in range(2))
    assert (one == two).all()


def test_integral_of_the_reference_is_right():
    """The yardstick itself, against a closed form."""
    assert integral(math.exp, 0.0, 2.0) == pytest.approx(math.exp(2) - 1, rel=4 * ULP)


# -- refusals


FLAT = Density.uniform(LINE)


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: Density(LINE, np.ones(3)), "values", "got (3,)", "one cell average"),
        (lambda: Density(LINE, np.full(48, np.nan)), "values", "nan at flat index 0", "finite"),
        (lambda: Density(LINE, -np.ones(48)), "values must be nonnegative", "-1 at", "negative"),
        (lambda: Density.gaussian(PLANE, 0, 1), "mean must have 2", "(1,)", "one number"),
        (lambda: Density.gaussian(LINE, np.inf, 1), "mean", "got inf", "one number"),
        (lambda: Density.gaussian(PLANE, (0, 0), (1, 1, 1)), "cov", "(3,)", "variances"),
        (lambda: Density.gaussian(LINE, 0, 0), "cov must be symmetric", "[[0.0]]", "above 0"),
        (
            lambda: Density.gaussian(PLANE, (0, 0), [[1, 2], [2, 1]]),
            "cov must be symmetric positive definite",
            "[[1.0, 2.0], [2.0, 1.0]]",
            "variances are squares",
        ),
        (
            lambda: Density.gaussian(PLANE, (0, 0), [[1, 0.2], [0.1, 1]]),
            "cov must be symmetric",
            "[0.1, 1.0]",
            "variances are squares",
        ),
        (
            lambda: Density.gaussian(
                Grid.torus((0, 0), (1, 1), (4, 4)), (0, 0), [[1, 0.1], [0.1, 1]]
            ),
            "cov must be diagonal on a torus",
            "full matrix",
            "from_function",
        ),
        (lambda: Density.gaussian(LINE, 5, 4), "grid", "0.31 lies outside", "enlarge"),
        (lambda: Density.gaussian(LINE, 0, 1, lost=2), "lost", "got 2", "it is a mass"),
        (lambda: Density.gaussian(LINE, 0, 1, lost="no"), "lost", "'no'", "it is a mass"),
        (lambda: Density.mixture([], []), "weights", "(0,)", "one positive number"),
        (lambda: Density.mixture([FLAT], [0.5, 0.5]), "weights", "(2,)", "one positive number"),
        (lambda: Density.mixture([FLAT, FLAT], [0.5, 0.6]), "sum to 1", "0.6", "divide"),
        (lambda: Density.mixture([FLAT, FLAT], [-1, 2]), "nonnegative", "-1.0", "divide"),
        (
            lambda: Density.mixture([FLAT, Density.uniform(Grid.box(-6, 6, 47))], [0.5, 0.5]),
            "components must live on one grid",
            "several",
            "one Grid",
        ),
        (
            lambda: Density.from_function(LINE, lambda z: z),
            "function must map points",
            "(48, 1)",
            "sum over the last axis",
        ),
        (
            lambda: Density.from_function(LINE, lambda z: np.where(z[..., 0] > 0, np.inf, 1.0)),
            "function must be finite",
            "got inf at [0.",
            "singularity",
        ),
        (lambda: Density.from_function(LINE, lambda z: z[..., 0]), "values", "-5.8", "negative"),
        (lambda: Density.from_function(LINE, abs, nodes=0), "nodes", "got 0", "5 a dimension"),
        (lambda: Density(LINE, np.zeros(48)).normalised(), "density", "mass 0", "some mass"),
        (lambda: FLAT.moment(-1), "order", "got -1", "whole orders"),
        (lambda: FLAT.moment(1.5), "order", "got 1.5", "whole orders"),
        (lambda: FLAT.moment((1, 2)), "order", "(1, 2)", "one power a dimension"),
        (lambda: Cloud([[0.0, 1.0]]).moment((1, 0.5)), "order", "got 0.5", "whole orders"),
        (lambda: FLAT.sample(0, np.random.default_rng(0)), "n must be", "got 0", "at least one"),
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)
