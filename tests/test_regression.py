"""The risk gap of linear regression: its closed form against simulated fits."""

import numpy as np
import pytest
from reference import refuses

import meanfield_pde as mf

SWAP = mf.Group.swap()
BOTH = SWAP.acting(y=SWAP.matrices)
THETA = np.array([[1.0, 0.3], [-0.2, 0.8]])


def simulated(theta, group, n, noise, scale, fits, seed=0):
    """Mean and standard error of R(f) - R(Q f) over least-squares fits, risks by their formula."""
    rng = np.random.default_rng(seed)
    k, d = theta.shape
    on_x, on_y = group.on_x(d), group.on_y(k)
    x = scale * rng.standard_normal((fits, n, d))
    y = x @ theta.T + noise * rng.standard_normal((fits, n, k))
    fitted = np.swapaxes(np.linalg.pinv(x) @ y, 1, 2)
    averaged = np.mean([b.T @ fitted @ a for a, b in zip(on_x, on_y, strict=True)], axis=0)
    before, after = (((t - theta) ** 2).sum((1, 2)) for t in (fitted, averaged))
    gaps = scale**2 * (before - after)
    return gaps.mean(), gaps.std() / np.sqrt(fits)


def test_gap_of_two_dimensions_by_hand():
    """Theta_perp = (Theta - S Theta S) / 2 with S the swap; two of four dimensions are dropped."""
    swap = np.array([[0.0, 1.0], [1.0, 0.0]])
    lost = 0.5 * (THETA - swap @ THETA @ swap)
    size = (lost**2).sum()
    assert size == pytest.approx(0.1**2 + 0.25**2 + 0.25**2 + 0.1**2, rel=1e-14)
    gap = {n: mf.linear_regression_gap(THETA, BOTH, n, noise=0.5) for n in (6, 7, 10, 30)}
    for n, value in gap.items():
        assert value == pytest.approx(0.25 * 2 / (n - 3) - size, rel=1e-13)
    assert gap[10] == pytest.approx(-0.07357, abs=5e-6)
    assert gap[30] == pytest.approx(-0.12648, abs=5e-6)
    # Averaging helps while the noise it drops outweighs what the truth lacks in symmetry.
    assert gap[6] > 0 > gap[10]


@pytest.mark.parametrize("n", [10, 30])
def test_gap_against_simulation(n):
    mean, error = simulated(THETA, BOTH, n, 0.5, 1.0, 40_000)
    assert error < 1e-3
    assert abs(mf.linear_regression_gap(THETA, BOTH, n, noise=0.5) - mean) < 4 * error


PERMUTATION = mf.Group.permutation(5)


@pytest.mark.parametrize("n", [1, 2, 3, 9, 14])
def test_gap_in_more_dimensions_against_simulation(n):
    """Fewer samples than dimensions, and more; trivial action on two outputs."""
    theta = np.random.default_rng(3).standard_normal((2, 5))
    mean, error = simulated(theta, PERMUTATION, n, 0.4, 1.5, 20_000)
    exact = mf.linear_regression_gap(theta, PERMUTATION, n, noise=0.4, scale=1.5)
    assert abs(exact - mean) < 4 * error
    # A formula without the noise, or with d and n confused, would be seen.
    assert error < 0.05 * abs(exact)


def test_an_invariant_truth_always_gains():
    theta = np.ones((1, 5))
    for n in (1, 2, 3, 7, 20):
        expected = 0.16 * 4 * (n / (5 * (4 - n)) if n < 5 else 1 / (n - 6))
        size = mf.linear_regression_gap(theta, PERMUTATION, n, noise=0.4)
        # With few samples the fit of an invariant truth is not invariant: that is dropped, too.
        assert size >= expected - 1e-15
        if n > 5:
            assert size == pytest.approx(expected, rel=1e-12)


def test_no_mean_risk_near_interpolation():
    for n in (4, 5, 6):
        assert mf.linear_regression_gap(np.ones((1, 5)), PERMUTATION, n, noise=0.1) == np.inf
        assert np.isfinite(mf.linear_regression_gap(np.ones((1, 5)), PERMUTATION, n, noise=0.0))


def test_a_trivial_group_drops_nothing():
    for n in (1, 2, 3, 10):
        assert mf.linear_regression_gap(THETA, mf.Group.trivial(2), n, noise=0.5) == 0


def test_wrong_input():
    refuses(lambda: mf.linear_regression_gap([1.0], BOTH, 10, 0.5), "theta", "(1,)", "matrix")
    refuses(lambda: mf.linear_regression_gap(THETA, BOTH, 0, 0.5), "samples", "0", "number")
    refuses(lambda: mf.linear_regression_gap(THETA, BOTH, 9, -1.0), "noise", "-1", "deviation")
    refuses(lambda: mf.linear_regression_gap(THETA, "swap", 9, 1.0), "group", "str", "make")
    refuses(lambda: mf.linear_regression_gap(np.ones((1, 2)), BOTH, 9, 1.0), "swap", "y", "acting")
