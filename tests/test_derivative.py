"""Gradients of functions that users write: right, or an error."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY, refuses

from meanfield_pde.energies import derivative as module
from meanfield_pde.energies.derivative import Derivative, DerivativeError

POINTS = np.random.default_rng(0).normal(size=(50, 2))


def method(derivative, points=POINTS):
    """Gradient, with the way by which it was found."""
    found = derivative(points)
    return found, derivative._chosen[points.shape[-1]]


def square(z):
    return (z**2).sum(-1)


# name: function, gradient, the method that must be chosen
FUNCTIONS = {
    "square": (square, lambda z: 2 * z, "complex"),
    "sines": (
        lambda z: np.sin(z[..., 0]) * np.exp(z[..., 1]),
        lambda z: np.stack(
            [np.cos(z[..., 0]) * np.exp(z[..., 1]), np.sin(z[..., 0]) * np.exp(z[..., 1])], -1
        ),
        "complex",
    ),
    "constant": (lambda z: 0 * z[..., 0] + 3.0, lambda z: 0 * z, "complex"),
    "cut off": (
        lambda z: (np.maximum(z, 0.0) ** 2).sum(-1),
        lambda z: 2 * np.maximum(z, 0),
        "complex",
    ),
    "norm squared": (lambda z: np.linalg.norm(z, axis=-1) ** 2, lambda z: 2 * z, "differences"),
    "norm to the fourth": (
        lambda z: np.abs(z[..., 0]) ** 4 + np.abs(z[..., 1]) ** 2,
        lambda z: np.stack([4 * z[..., 0] ** 3, 2 * z[..., 1]], axis=-1),
        "differences",
    ),
    "arctan2 has no complex version": (
        lambda z: np.arctan2(z[..., 1] + 9, z[..., 0]),
        lambda z: (
            np.stack([-(z[..., 1] + 9), z[..., 0]], -1) / (z[..., :1] ** 2 + (z[..., 1:] + 9) ** 2)
        ),
        "differences",
    ),
    "written into a real array": (
        lambda z: np.add(z[..., 0] ** 2, 0.0, out=np.empty(z.shape[:-1]), casting="unsafe"),
        lambda z: np.stack([2 * z[..., 0], 0 * z[..., 0]], axis=-1),
        "differences",
    ),
}
TOLERANCE = {
    "complex": 1e-13,  # rounding alone
    # Step 2e-3 max(1, |z|): h^6 f'''''''/140 is below 1e-11, rounding ulp |f| / h about 1e-12.
    "differences": 1e-9,
}


def check_function(function, exact, expected):
    found, chosen = method(Derivative("f", function))
    assert chosen == expected
    np.testing.assert_allclose(found, exact(POINTS), rtol=0, atol=TOLERANCE[chosen] * 50)
    assert method(Derivative("f", function, exact))[1] == "given"


@pytest.mark.parametrize(("function", "exact", "expected"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_gradients(function, exact, expected):
    check_function(function, exact, expected)


def test_planted_trust_in_the_complex_step_is_caught(monkeypatch):
    """|z|^2 is real for complex z: its complex step is 0 everywhere."""
    monkeypatch.setattr(module, "_close", lambda a, b: np.ones(np.shape(a), bool))
    with pytest.raises(AssertionError):
        check_function(*FUNCTIONS["norm squared"])


@PROPERTY
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=7), st.integers(0, 2**32))
def test_polynomials(coefficients, seed):
    """Differences of order 6 are exact to degree 6, the complex step is exact."""
    p = np.polynomial.Polynomial(coefficients)
    z = np.random.default_rng(seed).uniform(-2, 2, size=(9, 1))
    exact = p.deriv()(z) * np.ones_like(z)
    derivative = Derivative("p", lambda z: p(z[..., 0]))
    np.testing.assert_allclose(derivative(z), exact, rtol=0, atol=1e-10)
    by_differences, settled = derivative._differences(z)
    # Values up to 400, rounded, over a step of 2e-3.
    np.testing.assert_allclose(by_differences, exact, rtol=0, atol=1e-9)
    assert settled.all()


def test_differences_are_of_order_six():
    rule = dict(module._central_coefficients())
    exact = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
    assert set(rule) == set(exact)
    for k, c in exact.items():
        assert rule[k] == pytest.approx(c, rel=1e-14)
    derivative, steps, errors = Derivative("f", lambda z: np.exp(3 * z[..., 0])), [], []
    for step in (0.2, 0.1, 0.05):
        errors.append(abs(derivative._central(np.array([[0.3]]), step)[0, 0] - 3 * np.exp(0.9)))
        steps.append(1 / step)
    assert reference.order(steps, errors) == pytest.approx(6, abs=0.2)


def test_differences_of_an_even_function_are_odd_to_the_last_bit():
    derivative = Derivative("f", lambda z: np.abs(z[..., 0]) ** 2.5)
    z = np.linspace(-2, 2, 41)[:, None]
    z = 0.5 * (z - z[::-1])
    found = derivative._differences(z)[0]
    assert (found == -found[::-1]).all()
    assert found[20, 0] == 0.0


def test_vector_values_and_fixed_coordinates():
    """The pair (x, z) to (z_0 x, z_1^2), differentiated in z alone."""

    def f(p):
        x, z = p[..., :1], p[..., 1:]
        return np.stack([z[..., 0] * x[..., 0], z[..., 1] ** 2], axis=-1)

    pairs = np.random.default_rng(1).normal(size=(4, 5, 3))
    found = Derivative("f", f, fixed=1)(pairs)
    assert found.shape == (4, 5, 2, 2)
    exact = np.zeros_like(found)
    exact[..., 0, 0], exact[..., 1, 1] = pairs[..., 0], 2 * pairs[..., 2]
    np.testing.assert_allclose(found, exact, atol=1e-13)
    absolute = Derivative("f", lambda p: np.abs(f(p)) ** 2, fixed=1)(pairs)
    exact[..., 0, 0] *= 2 * pairs[..., 1] * pairs[..., 0]
    exact[..., 1, 1] *= 2 * pairs[..., 2] ** 2
    np.testing.assert_allclose(absolute, exact, atol=1e-8)


@pytest.mark.parametrize(
    "function",
    [
        lambda z: np.linalg.norm(z, axis=-1) ** 2,
        lambda z: (z * np.conj(z)).real.sum(-1),
        lambda z: (np.abs(z) ** 2).sum(-1),
    ],
)
def test_a_start_where_the_gradient_vanishes_proves_nothing(function):
    """At 0 the wrong complex step of |z|^2 agrees with the right gradient: both are 0."""
    derivative = Derivative("f", function)
    assert derivative(np.zeros((3, 2))).tolist() == np.zeros((3, 2)).tolist()
    np.testing.assert_allclose(derivative(POINTS), 2 * POINTS, atol=1e-8)


def test_absolute_value():
    """Away from the kink by differences; on it an error; with a gradient given, as told."""
    kink = Derivative("f", lambda z: np.abs(z).sum(-1))
    far = np.array([[1.0, -2.0], [3.0, 0.5]])
    np.testing.assert_allclose(kink(far), np.sign(far), atol=1e-9)
    with pytest.raises(DerivativeError, match=r"no gradient by differences at 25.*kink.*gradient="):
        kink(np.array([[1.0, 1e-3], [1.0, 1.0]]))
    told = Derivative("f", lambda z: np.abs(z).sum(-1), np.sign)
    assert told(np.array([[1e-3, -1e-3], [0.0, 1.0]])).tolist() == [[1, -1], [0, 1]]


def test_each_dimension_is_chosen_for_itself():
    derivative = Derivative("f", lambda z: np.abs(z[..., 0]) ** (3 - z.shape[-1]) * 1.0)
    np.testing.assert_allclose(derivative(np.array([[-2.0]])), [[-4.0]], atol=1e-9)
    np.testing.assert_allclose(derivative(np.array([[-2.0, 1.0]])), [[-1.0, 0.0]], atol=1e-9)
    assert derivative._chosen == {1: "differences", 2: "differences"}


def test_many_points_are_probed_everywhere():
    """A gradient that is wrong for the last point of many is refused."""
    points = np.linspace(-1, 1, 1001)[:, None]
    wrong = Derivative("f", square, lambda z: 2 * z * (1 + (z > 0.99)))
    with pytest.raises(DerivativeError, match="gradient of f is wrong"):
        wrong(points)


FAR = np.array([[1.0], [2.0], [3.0]])


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (
            lambda: Derivative("f", square, lambda z: -2 * z)(FAR),
            "gradient of f is wrong",
            "is -2, differences of the function give 2",
            "correct it",
        ),
        (
            lambda: Derivative("f", square, lambda z: 2.00001 * z)(FAR),
            "gradient of f is wrong",
            "2.00001",
            "leave it out",
        ),
        (
            lambda: Derivative("f", square, square)(FAR),
            "gradient of f must have shape",
            "got (6,)",
            "new last axis",
        ),
        (
            lambda: Derivative("f", lambda z: (z**2).sum())(FAR),
            "f must map points of shape (3, 1) to (3,)",
            "got ()",
            "sum over the last axis",
        ),
        (
            lambda: Derivative("f", lambda z: z[:, :, None] ** 2)(FAR),
            "f must map points",
            "got (3, 1, 1)",
            "sum over the last axis",
        ),
        (
            lambda: Derivative("f", lambda z: np.sign(z[..., 0]))(np.array([[1e-3], [-1e-3]])),
            "f has no gradient",
            "100.0% of (2,) points",
            "give it by gradient=",
        ),
        (
            lambda: Derivative("f", lambda z: np.where(z[..., 0] > 0, np.nan, 0.0))(FAR),
            "f has no gradient",
            "100.0%",
            "give it by gradient=",
        ),
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)


def test_a_gradient_is_checked_anew_where_points_leave_the_box() -> None:
    """Inside |z| < 1 the function is z^2; outside, abs hides the slope from the complex step."""

    def kinked(z: np.ndarray) -> np.ndarray:
        inside = (z**2).sum(-1)
        return np.where(np.abs(z[..., 0]) < 1, inside, 2 * np.abs(z[..., 0]) - 1)

    derivative = Derivative("f", kinked)
    inner = np.linspace(-0.5, 0.5, 20)[:, None]
    np.testing.assert_allclose(derivative(inner), 2 * inner, atol=1e-12)
    outer = np.linspace(2.0, 3.0, 20)[:, None]
    np.testing.assert_allclose(derivative(outer), 2.0, rtol=1e-9)
