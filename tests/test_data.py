"""Data laws: Gauss rules against closed forms, symmetry of laws, and what they refuse."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY, refuses

from meanfield_pde.energies.data import Data
from meanfield_pde.measures.group import Group


def zero(x):
    return 0 * x[..., 0]


def normal_moment(k):
    """E X^k of a standard normal variable: (k - 1)!! for even k."""
    return 0.0 if k % 2 else float(math.prod(range(1, k, 2)))


@PROPERTY
@given(st.integers(1, 12), st.integers(0, 23), st.floats(0.1, 3))
def test_gauss_hermite_is_exact_below_twice_its_nodes(nodes, k, scale):
    data = Data.gauss_hermite(1, nodes, zero, scale=scale)
    found = float(data.weights @ data.x[:, 0] ** k)
    size = float(data.weights @ np.abs(data.x[:, 0]) ** k)
    if k < 2 * nodes:
        assert found == pytest.approx(scale**k * normal_moment(k), rel=1e-12, abs=1e-12 * size)
    elif k == 2 * nodes:  # the first that is not exact: off by n! scale^2n
        missing = scale**k * normal_moment(k) - found
        assert missing == pytest.approx(scale**k * math.factorial(nodes), rel=1e-9)


@PROPERTY
@given(st.integers(1, 12), st.integers(0, 23), st.floats(-2, 2), st.floats(0.1, 4))
def test_gauss_legendre_is_exact_below_twice_its_nodes(nodes, k, low, side):
    data = Data.gauss_legendre(nodes, low, low + side, zero)
    high = low + side
    found = float(data.weights @ data.x[:, 0] ** k)
    exact = (high ** (k + 1) - low ** (k + 1)) / ((k + 1) * (high - low))
    if k < 2 * nodes:
        size = max(abs(low), abs(high)) ** k
        assert found == pytest.approx(exact, rel=1e-10, abs=1e-12 * size / min(side, 1))


def test_rules_in_two_dimensions():
    data = Data.gauss_hermite(2, 5, lambda x: x[..., 0] + 10 * x[..., 1])
    assert (data.size, data.dim, data.outputs) == (25, 2, 1)
    assert data.weights @ (data.x[:, 0] ** 4 * data.x[:, 1] ** 6) == pytest.approx(45, rel=1e-12)
    np.testing.assert_allclose(data.y[:, 0], data.x @ [1, 10], rtol=1e-15)
    box = Data.gauss_legendre(4, (0, 1), (2, 4), zero)
    found = box.weights @ (box.x[:, 0] ** 3 * box.x[:, 1] ** 2)
    assert found == pytest.approx((2**4 / 4) / 2 * (4**3 - 1) / 3 / 3, rel=1e-13)


@pytest.mark.parametrize("nodes", [1, 6, 7])
def test_circle(nodes):
    """Equispaced, symmetric to the last bit, exact for cos(k x) with 0 < k < nodes."""
    data = Data.circle(nodes, zero)
    angles = data.x[:, 0]
    assert (angles == -angles[::-1]).all()
    assert np.abs(angles).max() <= np.pi
    assert data.period == 2 * np.pi
    for k in range(1, nodes):
        assert math.fsum(np.cos(k * angles)) / nodes == pytest.approx(0, abs=1e-14)


def test_rules_are_symmetric_to_the_last_bit():
    for data in (Data.gauss_hermite(1, 9, zero), Data.gauss_legendre(12, -3, 3, zero)):
        assert (data.x == -data.x[::-1]).all()
        assert (data.weights == data.weights[::-1]).all()


def test_samples():
    data = Data.samples([1.0, 2.0, 4.0], [1, 0, 1])
    assert (data.x.shape, data.y.shape) == ((3, 1), (3, 1))
    assert data.weights.tolist() == [1 / 3] * 3
    data = Data.samples([[1.0, 2.0]], [[3.0, 4.0, 5.0]], [1.0])
    assert (data.dim, data.outputs, data.size) == (2, 3, 1)


def test_vector_targets():
    data = Data.gauss_hermite(2, 3, lambda x: np.stack([x[..., 0], x[..., 1], x.sum(-1)], -1))
    assert data.outputs == 3
    assert (data.y[:, 2] == data.y[:, 0] + data.y[:, 1]).all()


# -- symmetry of the law


def invariant(x):
    return np.tanh(2 * x[..., 0]) + np.tanh(2 * x[..., 1])


SWAP = Group.swap()
INVARIANT = {
    "even target": (
        Data.gauss_legendre(40, -3, 3, lambda x: np.cos(x[..., 0])),
        Group.reflection(),
    ),
    "odd target, odd action": (
        Data.gauss_hermite(1, 5, lambda x: x[..., 0] ** 3),
        Group.reflection().acting(y=lambda m: m),
    ),
    "swap": (Data.gauss_hermite(2, 8, invariant), SWAP),
    "swap of outputs": (Data.gauss_hermite(2, 4, np.tanh), SWAP.acting(y=lambda p: p)),
    "circle": (Data.circle(6, lambda x: np.cos(x[..., 0])), Group.reflection()),
    "across the seam": (
        Data([[-3.1], [3.1 - 2 * np.pi]], [1.0, 1.0], [0.5, 0.5], 2 * np.pi),
        Group.reflection(),
    ),
    "turns": (
        Data.samples(
            [[math.cos(a), math.sin(a)] for a in 2 * np.pi * np.arange(6) / 6], np.ones(6)
        ),
        Group.cyclic(3),
    ),
}


@pytest.mark.parametrize(("data", "group"), INVARIANT.values(), ids=INVARIANT)
def test_invariant_laws(data, group):
    place, value = data.invariance_defect(group)
    assert max(place, value) < 1e-13


def test_angles_are_compared_modulo_the_period():
    """-pi and pi are one place: without the period they are 2 pi apart."""
    x, y, weights = [[-np.pi], [0.0]], [1.0, 2.0], [0.5, 0.5]
    assert max(Data(x, y, weights, 2 * np.pi).invariance_defect(Group.reflection())) < 1e-13
    assert Data(x, y, weights).invariance_defect(Group.reflection())[0] == pytest.approx(np.pi)


@pytest.mark.parametrize(
    ("data", "group", "place", "value"),
    [
        (Data.gauss_hermite(1, 3, lambda x: x[..., 0]), Group.reflection(), 0, 2 * math.sqrt(3)),
        (Data.samples([[-1.0], [1.5]], [1, 1]), Group.reflection(), 0.5, 0),
        (Data.samples([[-1.0], [1.0]], [1, 1], [0.4, 0.6]), Group.reflection(), 0.4, 0),
        (
            Data.gauss_hermite(2, 3, lambda x: np.tanh(2 * x[..., 0])),
            SWAP,
            0,
            2 * math.tanh(2 * math.sqrt(3)),
        ),
    ],
)
def test_planted_defects_are_measured(data, group, place, value):
    found = data.invariance_defect(group)
    assert found == pytest.approx((place, value), abs=1e-13)


# -- refusals


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: Data.samples([[np.nan]], [1.0]), "x must be finite", "nan", "inputs of shape"),
        (lambda: Data.samples(np.zeros((2, 2, 2)), [1, 1]), "x", "(2, 2, 2)", "one row a sample"),
        (lambda: Data.samples([["a"]], [1.0]), "x must be numbers", "'a'", "inputs of shape"),
        (lambda: Data.samples([1.0, 2.0], [1.0]), "y must have shape (2,)", "(1, 1)", "one target"),
        (lambda: Data.samples([1.0], [np.inf]), "y must be finite", "inf", "targets of shape"),
        (lambda: Data.samples([1.0, 2.0], [0, 0], [1.0]), "weights", "(1,)", "divide"),
        (lambda: Data.samples([1.0, 2.0], [0, 0], [0.5, 0.6]), "weights", "sum 1.1", "divide"),
        (lambda: Data.samples([1.0, 2.0], [0, 0], [-1, 2]), "weights", "sum 1", "divide"),
        (lambda: Data.gauss_hermite(0, 3, zero), "dim", "got 0", "dimension of x"),
        (lambda: Data.gauss_hermite(1, -3, zero), "nodes", "got -3", "good number"),
        (lambda: Data.gauss_hermite(7, 10, zero), "nodes**dim", "10**7", "fewer"),
        (lambda: Data.gauss_hermite(1, 3, zero, scale=-1), "scale", "-1", "standard deviation"),
        (lambda: Data.gauss_legendre(3, 1, 1, zero), "lower", "[1.0] and [1.0]", "swap"),
        (lambda: Data.gauss_legendre(3, (0, 0), 1, zero), "lower", "[0.0, 0.0] and", "swap"),
        (lambda: Data.gauss_legendre(3, 0, np.inf, zero), "upper", "inf", "upper corner"),
        (lambda: Data.circle(2.0, zero), "nodes", "got 2.0", "good number"),
        (lambda: Data.circle(3, 1.0), "target must be a function", "got 1.0", "Data.samples"),
        (lambda: Data.circle(3, lambda x: 1.0), "target must map", "got ()", "x[..., 0]"),
        (lambda: Data.circle(3, lambda x: np.ones(2)), "target must map", "got (2,)", "x[..., 0]"),
        (
            lambda: Data.circle(3, lambda x: np.full(3, np.nan)),
            "target must be finite",
            "got nan",
            "every node",
        ),
        (
            lambda: Data.circle(3, zero).invariance_defect(Group.swap()),
            "x has dimension 1",
            "acts on x in dimension 2",
            "acting(x",
        ),
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)


def test_invariance_counts_repeated_nodes_together() -> None:
    """Nodes 1, 1, -1 with weights 1/4, 1/4, 1/2 are the fair coin on {1, -1}."""
    fair = Data(np.array([1.0, 1.0, -1.0]), np.ones(3), np.array([0.25, 0.25, 0.5]))
    assert max(fair.invariance_defect(Group.reflection())) < 1e-15
    biased = Data(np.array([1.0, 1.0, -1.0]), np.ones(3), np.array([0.3, 0.3, 0.4]))
    assert max(biased.invariance_defect(Group.reflection())) > 0.1


def test_draws_are_those_of_choice():
    data = Data.gauss_hermite(2, 5, zero)
    drawn = data.draw(1000, np.random.default_rng(3))
    chosen = np.random.default_rng(3).choice(data.size, size=1000, p=data.weights)
    np.testing.assert_array_equal(drawn, chosen)
    assert not np.array_equal(drawn, np.random.default_rng(3).choice(data.size, size=1000))
