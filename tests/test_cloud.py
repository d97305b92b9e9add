"""Clouds: moments by loops, and what they refuse."""

import math

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY, refuses

from meanfield_pde.measures.cloud import Cloud


def random_cloud(n, dim, seed):
    rng = np.random.default_rng(seed)
    return Cloud(rng.normal(size=(n, dim)), rng.exponential(size=n))


def check_moments(cloud):
    mean, cov = reference.moments(cloud.points.tolist(), cloud.weights.tolist())
    # Sums of at most 30 terms of size 10.
    np.testing.assert_allclose(cloud.mean(), mean, rtol=0, atol=1e-13)
    np.testing.assert_allclose(cloud.cov(), cov, rtol=0, atol=1e-13)


@PROPERTY
@given(st.integers(1, 30), st.integers(1, 4), st.integers(0, 2**32))
def test_moments_against_loops(n, dim, seed):
    cloud = random_cloud(n, dim, seed)
    assert (cloud.size, cloud.dim) == (n, dim)
    assert cloud.mass == pytest.approx(math.fsum(cloud.weights), rel=1e-14)
    check_moments(cloud)
    pairs = list(zip(cloud.weights, cloud.points, strict=True))
    mixed = [dim, *[0] * (dim - 1)]
    slow = math.fsum(w * z[0] ** dim for w, z in pairs)
    assert cloud.moment(mixed) == pytest.approx(slow, rel=1e-12, abs=1e-12)
    norm = [z[0] if dim == 1 else math.hypot(*z) for _, z in pairs]
    slow = math.fsum(w * r**3 for (w, _), r in zip(pairs, norm, strict=True))
    assert cloud.moment(3) == pytest.approx(slow, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("bug", ["weights forgotten", "mass forgotten", "not centred"])
def test_planted_moments_are_caught(monkeypatch, bug):
    mean, cov = {
        "weights forgotten": (lambda c: c.points.mean(axis=0), Cloud.cov),
        "mass forgotten": (lambda c: c.weights @ c.points, Cloud.cov),
        "not centred": (
            Cloud.mean,
            lambda c: (c.points.T * c.weights) @ c.points / c.mass,
        ),
    }[bug]
    monkeypatch.setattr(Cloud, "mean", mean)
    monkeypatch.setattr(Cloud, "cov", cov)
    with pytest.raises(AssertionError):
        check_moments(random_cloud(10, 2, 0))


def test_points_of_the_line_and_equal_weights():
    cloud = Cloud([1, 2, 4])
    assert cloud.points.shape == (3, 1)
    assert cloud.weights.tolist() == [1 / 3] * 3
    assert cloud.mean().tolist() == [pytest.approx(7 / 3, rel=1e-15)]
    assert Cloud([[1.0, 2.0]]).cov().tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_expect():
    cloud = random_cloud(20, 2, 1)
    found = cloud.expect(lambda z: np.cos(z[..., 0]))
    assert isinstance(found, float)
    slow = math.fsum(w * math.cos(z[0]) for w, z in zip(cloud.weights, cloud.points, strict=True))
    assert found == pytest.approx(slow, rel=1e-13)
    np.testing.assert_allclose(cloud.expect(lambda z: z), cloud.mass * cloud.mean(), rtol=1e-13)


def test_sample_follows_the_weights():
    cloud = Cloud([[0.0], [1.0], [2.0]], [1.0, 0.0, 3.0])
    points = cloud.sample(10_000, np.random.default_rng(0))
    assert points.shape == (10_000, 1)
    assert set(points.ravel()) == {0.0, 2.0}
    # Five standard deviations of a share of 1/4 among 10 000.
    assert abs((points == 0).mean() - 0.25) < 5 * math.sqrt(0.1875 / 10_000)


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: Cloud([[0.0], [np.nan]]), "points", "nan at flat index 1", "shape (n, d)"),
        (lambda: Cloud([[0.0, 1.0], [2.0]]), "points must be numbers", "[2.0]", "shape (n, d)"),
        (lambda: Cloud(1.0), "points", "()", "one row a point"),
        (lambda: Cloud([]), "points", "(0, 1)", "one row a point"),
        (lambda: Cloud(np.zeros((2, 2, 2))), "points", "(2, 2, 2)", "one row a point"),
        (lambda: Cloud([1.0, 2.0], [1.0]), "weights must have shape (2,)", "(1,)", "one mass"),
        (lambda: Cloud([1.0, 2.0], [1.0, np.inf]), "weights", "inf", "one mass"),
        (lambda: Cloud([1.0, 2.0], [1.0, -0.5]), "weights", "-0.5", "drop"),
        (lambda: Cloud([1.0]).sample(1.0, np.random.default_rng(0)), "n must", "1.0", "at least"),
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)
