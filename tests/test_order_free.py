"""Sums that no permutation changes, and what is built on them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY

import meanfield_pde as mf
from meanfield_pde.eulerian.fixed_point import anderson, least_squares
from meanfield_pde.eulerian.stepper import Equation, State
from meanfield_pde.measures.order_free import (
    folded_sum,
    order_free_mean,
    order_free_sum,
    order_free_sums,
)


def terms(seed):
    """Numbers of both signs and of many sizes, and a permutation."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 500))
    return rng.standard_normal(n) * 10.0 ** rng.integers(-8, 3, n), rng.permutation(n)


@given(st.integers(0, 2**32))
@PROPERTY
def test_no_permutation_changes_a_sum(seed):
    values, order = terms(seed)
    assert order_free_sum(values[order]) == order_free_sum(values)
    assert order_free_sum(values) == pytest.approx(math.fsum(values), abs=1e-13 * abs(values).sum())
    rows = np.stack([values, values[order]])
    assert np.ptp(order_free_sums(rows)) == 0.0
    assert order_free_sum(rows) == order_free_sum(rows.T)
    as_columns = np.asfortranarray(rows)
    np.testing.assert_array_equal(order_free_sums(as_columns), order_free_sums(rows))


@given(st.integers(0, 2**32))
@PROPERTY
def test_no_permutation_changes_a_mean(seed):
    rng = np.random.default_rng(seed)
    stack = rng.standard_normal((6, 40))
    mean = order_free_mean(stack)
    np.testing.assert_array_equal(order_free_mean(rng.permuted(stack, axis=0)), mean)
    np.testing.assert_allclose(mean, stack.mean(axis=0), atol=1e-15)
    np.testing.assert_array_equal(order_free_mean(np.stack([stack[0]] * 6)), stack[0])


def test_ordinary_sums_are_changed():
    """The control: as `numpy` adds, many permutations change the last bit."""
    changed = [values[order].sum() != values.sum() for values, order in map(terms, range(50))]
    assert sum(changed) > 25


SHAPES = [
    (1,),
    (5,),
    (8,),
    (1, 1),
    (1, 4),
    (7, 7),
    (8, 8),
    (7, 5),
    (8, 5),
    (5, 8),
    (6, 8),
    (31, 31),
]


def images(values):
    """All images of a grid function, as views and as copies of them."""
    found = [values, np.flip(values), values[::-1]]
    if values.ndim == 2:
        found.append(values[:, ::-1])
        if values.shape[0] == values.shape[1]:
            found += [values.T, np.rot90(values), np.rot90(values, 3), np.flip(values).T]
    return found + [np.ascontiguousarray(image) for image in found]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_symmetry_changes_a_folded_sum(shape):
    for seed in range(10):
        values = np.random.default_rng(seed).standard_normal(shape)
        assert len({folded_sum(image) for image in images(values)}) == 1
        assert folded_sum(values) == pytest.approx(math.fsum(values.ravel()), abs=1e-12)


def test_folds_in_another_order_are_caught():
    """Planted: both mirrors one after the other tell the axes apart; the half turn does not."""

    def mirrors(a):
        a = a + a[::-1]
        a = a + a[:, ::-1]
        return float((a + a.T).sum()) / 8

    squares = [np.random.default_rng(seed).standard_normal((8, 8)) for seed in range(20)]
    assert any(mirrors(a) != mirrors(a.T) for a in squares)
    assert all(folded_sum(a) == folded_sum(a.T) for a in squares)


def test_what_is_no_number_stays():
    assert np.isnan(folded_sum(np.array([1.0, np.nan, 2.0])))
    assert np.isnan(order_free_sum(np.array([1.0, np.nan, 2.0])))
    assert order_free_sum(np.array([1.0, np.inf])) == np.inf


def test_masses_and_energies_are_those_of_every_image():
    grid = mf.Grid.box((-2, -2), (2, 2), (31, 31))
    rho = np.random.default_rng(1).exponential(size=grid.shape)

    def well(z):
        a, b = np.abs(z[..., 0]), np.abs(z[..., 1])
        return (a + b) + a * b

    energy = mf.Potential(well) + 0.3 * mf.Entropy()
    equation = Equation(grid, energy.smooth.on(grid), 0.3, mf.ScharfetterGummel())
    plain = set()
    found = set()
    for image in (rho, rho.T, rho[::-1], rho[:, ::-1], np.rot90(rho), np.rot90(rho, 2)):
        density = mf.Density(grid, image)
        free = State(equation, density.values).free_energy
        found.add((density.mass, energy.value(density), free, mf.Entropy().value(density)))
        plain.add(float(np.ascontiguousarray(image).sum()))
    assert len(found) == 1
    assert len(plain) > 1


# -- Anderson's method


@given(st.integers(0, 2**32), st.integers(1, 5))
@PROPERTY
def test_least_squares(seed, count):
    rng = np.random.default_rng(seed)
    rows, target = rng.standard_normal((count, 30)), rng.standard_normal(30)
    rows *= 10.0 ** rng.integers(-6, 1, (count, 1))
    expected = np.linalg.lstsq(rows.T, target, rcond=None)[0]
    np.testing.assert_allclose(least_squares(rows, target), expected, rtol=1e-9)
    order = rng.permutation(30)
    np.testing.assert_array_equal(
        least_squares(rows[:, order], target[order]), least_squares(rows, target)
    )


def test_least_squares_of_dependent_rows():
    """A row that is a multiple of one before it is not used; what is left is as small."""
    rng = np.random.default_rng(3)
    rows, target = rng.standard_normal((3, 30)), rng.standard_normal(30)
    rows[1] = 2 * rows[0] * (1 + 1e-15 * rng.standard_normal(30))
    weights = least_squares(rows, target)
    assert weights[1] == 0.0
    best = np.linalg.lstsq(rows[[0, 2]].T, target, rcond=None)[0]
    np.testing.assert_allclose(weights[[0, 2]], best, rtol=1e-12)
    assert (least_squares(np.zeros((2, 30)), target) == 0.0).all()


def coupled(order):
    """A nonlinear contraction whose unknowns are permuted; their sums are order-free too."""

    def function(x):
        mean = order_free_sum(x) / len(x)
        return np.cos(x) * 0.7 + 0.2 * mean + np.sin(np.arange(40.0)[order])

    return function


@pytest.mark.parametrize("seed", range(5))
def test_permutations_change_no_bit_of_a_fixed_point(seed):
    order = np.random.default_rng(seed).permutation(40)
    here = anderson(coupled(np.arange(40)), np.zeros(40), 1e-13)
    there = anderson(coupled(order), np.zeros(40), 1e-13)
    assert here.converged
    assert here.iterations == there.iterations
    np.testing.assert_array_equal(there.point, here.point[order])


def test_ordinary_dot_products_are_caught(monkeypatch):
    """Planted: the same weights by LAPACK."""

    def by_lapack(rows, target):
        return np.linalg.lstsq(rows.T, target, rcond=1e-14)[0]

    monkeypatch.setattr("meanfield_pde.eulerian.fixed_point.least_squares", by_lapack)
    here = anderson(coupled(np.arange(40)), np.zeros(40), 1e-13)
    orders = [np.random.default_rng(seed).permutation(40) for seed in range(5)]
    there = [anderson(coupled(order), np.zeros(40), 1e-13) for order in orders]
    assert any((t.point != here.point[o]).any() for t, o in zip(there, orders, strict=True))


def test_one_mode_takes_few_iterations():
    """What is left of earlier differences is rounding: with it in the weights they are noise."""
    wave = np.cos(2 * np.pi * np.arange(64) / 64)
    rng = np.random.default_rng(0)

    def curve(size):
        return np.tanh(1.5 * size + 0.3)

    def function(x):
        jitter = 1 + 1e-15 * rng.standard_normal(64)
        return curve(2 / 64 * float(wave @ x)) * wave * jitter

    found, alone = anderson(function, 0.1 * wave, 1e-12), anderson(curve, np.array([0.1]), 1e-12)
    assert found.converged
    assert found.iterations <= alone.iterations + 1
