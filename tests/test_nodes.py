"""Nodes that stand for clouds: sums over few points equal sums over all, or are not taken."""

import numpy as np
import pytest

import meanfield_pde as mf
from meanfield_pde.energies import nodes, payoff
from meanfield_pde.energies.nodes import Nodes, few_sources

RNG = np.random.default_rng(5)

SMOOTH = mf.KernelPayoff(lambda x, y: (np.cos(x - 2 * y) + 0.3 * np.sin(x * y)).prod(-1))
NARROW = mf.KernelPayoff(lambda x, y: np.exp(-1e3 * ((x - y) ** 2).sum(-1)))
KINKED = mf.KernelPayoff(lambda x, y: np.abs(y - 0.3).sum(-1) * x.sum(-1))


def clouds(n, dim):
    weights = RNG.uniform(0.5, 1.5, (2, n))
    points = RNG.uniform(-2, 2, (2, n, dim))
    return [mf.Cloud(z, w / w.sum()) for z, w in zip(points, weights, strict=True)]


@pytest.mark.parametrize("dim", [1, 2])
def test_polynomials_are_exact(dim):
    """Degree 7 along each axis by 8 nodes: sums with charges, and interpolated values."""
    cloud = clouds(400, dim)[0]
    found = Nodes.of(cloud.points, 8)
    power = lambda z: (z**7 - z**2 + 3).prod(-1)  # noqa: E731
    charges = found.charges(cloud.weights)
    assert charges @ power(found.places) == pytest.approx(cloud.weights @ power(cloud.points))
    between = found.interpolated(power(found.places)[None])[0]
    np.testing.assert_allclose(between, power(cloud.points), atol=1e-10)


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("given", [SMOOTH, NARROW, KINKED], ids=["smooth", "narrow", "kinked"])
def test_payoffs_of_clouds_are_sums_over_all_pairs(given, dim):
    mu, nu = clouds(600, dim)
    pairs = given.function(mu.points[:, None], nu.points[None])
    exact = pairs @ nu.weights, pairs.T @ mu.weights
    for found, right in zip(given.variations(mu, nu), exact, strict=True):
        np.testing.assert_allclose(found, right, atol=1e-9)


def test_few_points_where_it_is_smooth_and_all_elsewhere():
    mu, nu = clouds(600, 1)
    (x, _), (y, _) = SMOOTH._sources(mu, nu)
    assert max(len(x), len(y)) <= 64
    for other in (NARROW, KINKED):
        assert len(other._sources(mu, nu)[1][0]) == 600


def test_gradients_too(monkeypatch):
    mu, nu = clouds(500, 1)
    found = SMOOTH.drifts(mu, nu)
    monkeypatch.setattr(payoff, "few_sources", lambda cloud, f: (cloud.points, cloud.weights))
    for few, all_pairs in zip(found, SMOOTH.drifts(mu, nu), strict=True):
        np.testing.assert_allclose(few, all_pairs, atol=1e-9)


def test_a_check_of_sums_alone_would_miss_a_narrow_payoff(monkeypatch):
    """Planted: no look at single points; eight nodes then stand for everything."""
    monkeypatch.setattr(nodes, "EXACT", np.inf)
    mu, nu = clouds(600, 1)
    exact = NARROW.function(mu.points[:, None], nu.points[None]) @ nu.weights
    assert np.abs(NARROW.variations(mu, nu)[0] - exact).max() > 1e-2


def test_small_clouds_are_their_own_sources():
    cloud = mf.Cloud([[0.0], [1.0]])
    assert few_sources(cloud, lambda z: z.T)[0] is cloud.points
